//! Loki 2.9 from the start to the incident: no `service_name`, no `detected_level`, no `categorize-labels`, and series only
//! with a matcher.

use std::collections::BTreeSet;

use serde_json::Value;
use sigyn::time::{MINUTE, floor, rfc3339};

use crate::child::Place;
use crate::shop::shop;

#[test]
fn a_loki_of_2_9_is_read_and_judged_without_settings() {
    let shop = shop();
    let loki = shop.old_loki();
    let place = Place::new().set("LOKI_URL", loki.url()).set("SIGYN__COLLECT__MAX_REQUESTS_PER_MINUTE", "100000");
    let checked = place.run(&["check", "--online"]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.contains("answers, version 2.9.10"), "{}", checked.stdout);
    assert!(checked.stdout.contains("watch `all`: {app=~\".+\"}, grouped by app"), "{}", checked.stdout);

    let ended = place.run(&["once", "--lookback", &shop.lookback(), "--output", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let opened = |line: &&Value| line["type"] == "incident" && line["transition"] == "opened" && line["watch"] == "all";
    let incidents: Vec<&Value> = lines.iter().filter(opened).collect();
    let about = |incident: &&Value| {
        let text = |name: &str| incident[name].as_str().unwrap().to_owned();
        (incident["group"]["app"].as_str().unwrap().to_owned(), text("started_at"), text("title"))
    };
    let told: Vec<_> = incidents.iter().map(about).collect();
    for fault in &shop.truth.faults {
        // A service needs a while to be itself again; what is told then belongs to the fault.
        let (from, to) = (rfc3339(floor(fault.scripted_start, MINUTE)), rfc3339(fault.end + 10 * MINUTE));
        let found = told.iter().any(|(service, started, _)| {
            fault.services().any(|name| name == service) && (&from..&to).contains(&started)
        });
        assert!(found, "not told: {fault:?}, of {told:#?}");
    }
    // Levels come from the lines themselves.
    let levels: BTreeSet<&str> =
        incidents.iter().flat_map(|i| i["samples"].as_array().unwrap()).filter_map(|s| s["level"].as_str()).collect();
    assert!(levels.contains("error"), "{levels:?}");

    // Nothing is asked for that came after 2.9, and nothing is refused but the series without a matcher.
    let asked = loki.requests();
    let paths: BTreeSet<&str> = asked.iter().map(|request| request.path.as_str()).collect();
    let known = ["labels", "query", "query_range", "series", "status/buildinfo"];
    let known: BTreeSet<String> = known.iter().map(|path| format!("/loki/api/v1/{path}")).collect();
    assert!(paths.iter().all(|path| known.contains(*path)), "{paths:?}");
    let refused: Vec<_> = asked.iter().filter(|request| request.status != 200).collect();
    assert!(refused.iter().all(|request| request.path.ends_with("/series")), "{refused:?}");
    assert!(!refused.is_empty(), "this Loki is not old");
}
