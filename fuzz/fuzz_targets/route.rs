//! Any text as settings of routes and time intervals (JSON, `[route, time_intervals]`) and as a file of silences: nothing
//! may panic, somebody always hears, and what is exported must read back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sigyn::labels::Labels;
use sigyn::notify::interval::TimeInterval;
use sigyn::notify::route::{RouteConfig, Router, Rules};
use sigyn::notify::silence::file;

const NOW: i64 = 1_795_212_000_000_000_000;

fuzz_target!(|text: &str| {
    let receivers = ["slack".to_owned()];
    if let Ok((route, time_intervals)) = serde_json::from_str::<(RouteConfig, Vec<TimeInterval>)>(text) {
        for interval in &time_intervals {
            let _ = interval.contains(NOW);
        }
        let rules = Rules { route: &route, time_intervals: &time_intervals, receivers: &receivers };
        if let Ok(router) = Router::new(&rules) {
            let labels: Labels = [("team", "shop"), ("severity", "critical")].into_iter().collect();
            let found = router.matching(&labels);
            assert!(!found.is_empty());
            for route in found {
                assert!(route.next_digest(NOW) > NOW && route.day(NOW).contains(NOW));
                let _ = (route.muted(NOW), route.group_key(&labels));
            }
        }
    }
    if let Ok(silences) = file::parse(text) {
        assert_eq!(file::parse(&file::export(&silences)).as_ref(), Ok(&silences));
        for silence in &silences {
            let _ = silence.state(NOW);
        }
    }
});
