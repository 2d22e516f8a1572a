//! Snapshots of what is known of templates.

use super::*;
use crate::detect::Before;
use crate::labels::Labels;
use crate::time::SECOND;

/// An hour of a service that has a problem now and then.
fn known() -> Patterns {
    let config = DetectConfig::default();
    let mut patterns = Patterns::new(&config, config.window);
    let stream = Stream::new([("pod", "cart-1")].into_iter().collect::<Labels>());
    for minute in 0..60 {
        let place = patterns.place(7, &stream);
        for n in 0..20 {
            let (line, level) = if n == 7 && minute % 9 == 0 {
                (format!("payment {n} refused by the bank"), Level::Error)
            } else {
                (format!("item {n} stored"), Level::Info)
            };
            let ts = minute * MINUTE + n * SECOND;
            patterns.add(place, &Entry { ts, stream: 0, detected_level: None, line: &line }, level);
        }
        patterns.close((minute + 1) * MINUTE, true);
    }
    patterns
}

/// The snapshot with its state changed as text.
fn changed(bytes: &[u8], change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (state, miner) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut state: serde_json::Value = serde_json::from_slice(state).unwrap();
    change(&mut state);
    let state = serde_json::to_vec(&state).unwrap();
    [&(state.len() as u64).to_le_bytes()[..], &state, miner].concat()
}

#[test]
fn times_survive_a_restart_and_a_snapshot_without_them_is_read() {
    let live = known();
    let bytes = live.snapshot();
    let config = DetectConfig::default();
    let restored = |bytes: &[u8]| {
        let mut patterns = Patterns::new(&config, config.window);
        patterns.restore(bytes);
        patterns
    };
    let before = |patterns: &Patterns, unit| patterns.before(unit, 60 * MINUTE);
    let seen = Before { first: Some(7 * SECOND), last: Some(54 * MINUTE + 7 * SECOND) };
    let unit = live.state.units.iter().position(|unit| unit.level == Level::Error).unwrap() as Unit;
    assert_eq!(before(&live, unit), Some(seen));
    assert_eq!(before(&restored(&bytes), unit), Some(seen));
    // What an earlier version wrote: all of it is known still, but for the times.
    let old = changed(&bytes, |state| drop(state.as_object_mut().unwrap().remove("seen")));
    let old = restored(&old);
    assert_eq!(old.state.units.len(), live.state.units.len());
    assert_eq!(before(&old, unit), None);
    let newer = restored(&changed(&bytes, |state| state["version"] = 99.into()));
    assert!(newer.state.units.is_empty(), "it is learnt anew");
}
