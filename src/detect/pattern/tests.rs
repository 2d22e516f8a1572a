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
    let unit =
        live.state.units.iter().position(|unit| unit.as_ref().is_some_and(|unit| unit.level == Level::Error)).unwrap()
            as Unit;
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

#[test]
fn a_template_that_only_begins_otherwise_is_the_known_one() {
    let mut patterns = known();
    let text = "payment gateway closed the connection too early";
    let place = patterns.place(7, &Stream::new([("pod", "cart-2")].into_iter().collect::<Labels>()));
    let mut add = |line: &str, level| {
        let entry = Entry { ts: 61 * MINUTE, stream: 0, detected_level: None, line };
        patterns.add(place, &entry, level).0
    };
    let one = add(text, Level::Warn);
    let two = add(&format!("[warn] worker: {text}"), Level::Warn);
    let error = add(&format!("[error] master: {text}"), Level::Error);
    let other = add("payment gateway closed the account too early", Level::Warn);
    let unit = |patterns: &Patterns, template: TemplateId| patterns.state.unit_of.get(&(0, template.0)).copied();
    let units = [one, two, error, other].map(|template| unit(&patterns, template).unwrap());
    assert!(one != two && units[0] == units[1], "{units:?}");
    assert!(units[2] != units[0] && units[3] != units[0], "another level, other words: {units:?}");
    let mut restarted = Patterns::new(&DetectConfig::default(), DetectConfig::default().window);
    restarted.restore(&patterns.snapshot());
    assert_eq!(unit(&restarted, two), Some(units[0]));
}
