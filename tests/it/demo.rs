//! The demo, as somebody would try it first.

use serde_json::Value;

use crate::child::Place;

#[test]
fn the_demo_finds_faults() {
    // Long enough to have learnt the shop's past, also in a debug build on a busy machine.
    let ended = Place::new().run(&["demo", "--for", "20s", "--output", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.last().unwrap();
    assert_eq!(summary["type"], "summary");
    assert!(summary["planted"].as_u64().unwrap() >= 1, "{summary}");
    assert!(summary["found"].as_u64().unwrap() >= 1, "{summary}");
    assert!(summary["false_alarms"].is_u64(), "{summary}");
}
