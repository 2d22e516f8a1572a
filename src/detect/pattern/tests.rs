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

/// A shop whose front asks the cart, which asks the prices; then the network of the prices is slow.
#[test]
fn who_makes_all_others_wait_is_named_and_nobody_else() {
    let config = DetectConfig::default();
    let mut patterns = Patterns::new(&config, config.window);
    let names = ["front", "cart", "prices"];
    let streams = names.map(|name| Stream::new([("service_name", name)].into_iter().collect::<Labels>()));
    let mut found = Vec::new();
    for minute in 0..320i64 {
        let slow = if minute >= 315 { 1_000 } else { 0 };
        for n in 0..30 {
            let mut millis = 0;
            for (group, text, takes) in [
                (0, "order comes in", 1 + n % 3),
                (1, "cart is filled", 2),
                (2, "prices are asked for", 3 + slow),
                (2, "prices are found", 5),
                (1, "cart has prices", 2 + slow),
                (0, "order is answered", 4),
            ] {
                let place = patterns.place(group as u64, &streams[group]);
                patterns.call(place.group, names[group].to_owned());
                millis += takes;
                let key = (minute as u64 * 100 + n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let line = format!("{text} trace_id={key:016x}");
                let ts = minute * MINUTE + n * 2 * SECOND + millis * 1_000_000;
                patterns.add(place, &Entry { ts, stream: 0, detected_level: None, line: &line }, Level::Info);
            }
        }
        let more = patterns.close((minute + 1) * MINUTE, true);
        assert!(minute >= 315 || more.is_empty(), "{minute}: {more:?}");
        found.extend(more);
    }
    assert!(!found.is_empty());
    for one in &found {
        assert_eq!(patterns.names[one.group.0 as usize], "prices", "{one:?}");
        assert!(one.gates.iter().all(|gate| gate.passed), "{:?}", one.gates);
    }
    let told = found.iter().map(|one| crate::detect::explain::pattern(&one.evidence));
    let told: Vec<String> =
        told.map(|(what, seen, _, place)| format!("{what} {seen} {}", place.unwrap_or_default())).collect();
    let text = "(trace_id) from a line of cart to the next, of prices";
    assert!(
        told.iter().any(|told| told.starts_with("longer than 0.004 s (about 0.9 s) in") && told.ends_with(text)),
        "{told:?}"
    );
}

/// Eight pods of a service with an error now and then, and from some window on one that has many; the others have none then, so
/// that the sum of all is as ever.
#[test]
fn one_pod_that_is_ill_is_named_with_what_it_says() {
    let config = DetectConfig::default();
    let mut patterns = Patterns::new(&config, config.window);
    let streams: Vec<_> = (0..16)
        .map(|at: u32| {
            let (pod, level) = (format!("cart-{}", at / 2), if at.is_multiple_of(2) { "info" } else { "error" });
            let labels = [("service_name", "cart".to_owned()), ("pod", pod), ("level", level.to_owned())];
            Stream::new(labels.into_iter().collect::<Labels>())
        })
        .collect();
    let mut found = Vec::new();
    for minute in 0..320i64 {
        for pod in 0..8usize {
            let ill = minute >= 315;
            let errors = if ill { 24 * usize::from(pod == 5) } else { 1 + (minute as usize * 7 + pod * 3) % 4 };
            for n in 0..30 {
                let bad = n < errors;
                let place = patterns.place(7, &streams[2 * pod + usize::from(bad)]);
                let line = if bad { format!("payment {n} refused by the bank") } else { format!("item {n} stored") };
                let ts = minute * MINUTE + n as i64 * SECOND;
                let level = if bad { Level::Error } else { Level::Info };
                patterns.add(place, &Entry { ts, stream: 0, detected_level: None, line: &line }, level);
            }
        }
        let more = patterns.close((minute + 1) * MINUTE, true);
        found
            .extend(more.into_iter().filter(|one| one.evidence.kind == PatternKind::Instance).map(|one| (minute, one)));
        if minute == 200 {
            let bytes = patterns.snapshot();
            patterns = Patterns::new(&config, config.window);
            patterns.restore(&bytes);
        }
    }
    let (minute, one) = found.first().expect("it is found");
    assert!((315..317).contains(minute), "{minute}");
    let told = crate::detect::explain::pattern(&one.evidence);
    assert_eq!(told.3.as_deref(), Some("pod=\"cart-5\", most of it \"payment <*> refused by the bank\""));
    assert!(one.gates.iter().all(|gate| gate.passed), "{:?}", one.gates);
    assert_eq!(one.common.first().map(|one| (one.label.as_str(), one.value.as_str())), Some(("pod", "cart-5")));
    assert!(one.sample.as_ref().is_some_and(|sample| sample.line.contains("refused")));
}
