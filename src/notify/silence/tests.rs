//! Tests of silences: when they hold, their life, files, bounds.

use proptest::prelude::*;

use super::*;
use crate::labels::matcher::parse as matchers;
use crate::time::{HOUR, SECOND};

const NOW: Nanos = 1_795_212_000 * SECOND;

fn labels(text: &str) -> Labels {
    matchers(text).unwrap().iter().map(|matcher| (matcher.name(), matcher.value())).collect()
}

fn silence(text: &str) -> Silence {
    let silence = Silence::new(matchers(text).unwrap());
    Silence { starts_at: NOW, ends_at: NOW + HOUR, ..silence }.checked().unwrap()
}

#[test]
fn a_silence_holds_for_its_time_and_its_labels() {
    let silence = silence("service_name=cart,severity!=critical");
    for (at, labels_, holds, state) in [
        (NOW - 1, "service_name=cart", false, SilenceState::Pending),
        (NOW, "service_name=cart", true, SilenceState::Active),
        (NOW, "service_name=cart,severity=critical", false, SilenceState::Active),
        (NOW, "service_name=search", false, SilenceState::Active),
        (NOW + HOUR - 1, "service_name=cart,severity=info", true, SilenceState::Active),
        (NOW + HOUR, "service_name=cart", false, SilenceState::Expired),
    ] {
        assert_eq!((silence.holds(&labels(labels_), at), silence.state(at)), (holds, state), "{at} {labels_}");
    }
}

#[test]
fn a_maintenance_window_comes_again() {
    let json =
        r#"{"matchers": ["a=b"], "schedule": {"cron": "0 2 * * SUN", "for": "2h", "time_zone": "Europe/Berlin"}}"#;
    let silence = Silence::read(json).unwrap();
    for (at, state) in [
        ("2026-11-21T12:00:00Z", SilenceState::Pending),
        ("2026-11-22T01:00:00Z", SilenceState::Active),
        ("2026-11-22T03:00:00Z", SilenceState::Pending),
        ("2026-03-29T01:00:00Z", SilenceState::Active),
    ] {
        let at = read_time(at).unwrap();
        assert_eq!(silence.state(at), state, "{at}");
        assert_eq!(silence.holds(&labels("a=b"), at), state == SilenceState::Active);
    }
}

#[test]
fn what_is_no_silence_is_told() {
    for (json, told) in [
        (r#"{"matchers": []}"#, "at least one must name a value"),
        (r#"{"matchers": ["a=~\".*\"", "b!=\"c\""]}"#, "at least one must name a value"),
        (r#"{"matchers": ["a"]}"#, "column 2: expected `=`"),
        (
            r#"{"matchers": ["a=b"], "starts_at": "2026-11-21T12:00:00Z", "ends_at": "2026-11-21T12:00:00Z"}"#,
            "must be after starts_at",
        ),
        (r#"{"matchers": ["a=b"], "ends_at": "tomorrow"}"#, "`tomorrow` is no time"),
        (r#"{"matchers": ["a=b"], "id": "a/b"}"#, "id: must be at most 64 letters"),
        (r#"{"matchers": ["a=b"], "schedule": {"cron": "0 2 * * SUN", "for": "0"}}"#, "`for` must be longer than 0"),
        (r#"{"matchers": ["a=b"], "schedule": {"cron": "x"}}"#, "is no cron pattern"),
        (r#"{"matchers": ["a=b"], "until": "x"}"#, "unknown field `until`"),
        ("[]", "this is no silence"),
    ] {
        let error = Silence::read(json).unwrap_err().to_string();
        assert!(error.contains(told), "{json}: {error}");
    }
}

#[test]
fn commands_set_and_end_silences() {
    let mut all = Silences::new();
    let one = silence("a=b");
    all.apply(&one.id, Some(&one.document()), NOW).unwrap();
    // Again: nothing changes.
    all.apply(&one.id, Some(&one.document()), NOW).unwrap();
    assert_eq!(all.iter().collect::<Vec<_>>(), [&one]);
    assert_eq!(all.held(&labels("a=b"), NOW + 1), Some(&one));
    assert_eq!(all.find(&one.id[..3]).unwrap(), &one);
    assert_eq!(all.apply(&one.id, None, NOW + 5).unwrap().ends_at, NOW + 5);
    assert_eq!(all.held(&labels("a=b"), NOW + 5), None);
    // Ended again, it stays ended when it was.
    assert_eq!(all.expire(&one.id, NOW + 9).unwrap().ends_at, NOW + 5);
    assert_eq!(all.apply("none", None, NOW), Err(SilenceError::Unknown("none".to_owned())));
    assert!(matches!(all.apply("x", Some("{}"), NOW), Err(SilenceError::Wrong(_))));
    all.forget(NOW + 6);
    assert!(all.is_empty());
    // One that has not begun never does.
    let later = Silence { starts_at: NOW + HOUR, ends_at: NOW + 2 * HOUR, ..silence("a=b") };
    all.set(later.clone()).unwrap();
    assert_eq!(all.expire(&later.id, NOW).unwrap().state(NOW + HOUR), SilenceState::Expired);
}

#[test]
fn what_a_file_declares_is_ended_there_alone() {
    let mut all = Silences::new();
    let declared = Silence { file: Some("silences.yaml".to_owned()), ..silence("a=b") };
    all.set(declared.clone()).unwrap();
    let told = all.expire(&declared.id, NOW).unwrap_err().to_string();
    insta::assert_snapshot!(told, @"the silence `7f406df100bd6442` is declared in silences.yaml, and can only be ended there: take it out, or set its `ends_at`");
    assert!(matches!(all.set(silence("a=b")), Err(SilenceError::Declared { .. })));
    all.forget(Nanos::MAX);
    assert_eq!(all.len(), 1);
}

#[test]
fn there_are_at_most_so_many() {
    let mut all = Silences::new();
    for index in 0..MAX_SILENCES {
        all.set(silence(&format!("a={index}"))).unwrap();
    }
    assert_eq!(all.set(silence("a=b")), Err(SilenceError::Full));
    all.set(silence("a=1")).unwrap();
    assert!(matches!(all.find(""), Err(SilenceError::Unknown(_))));
    assert!(matches!(all.find("0"), Err(SilenceError::Ambiguous(_))));
    let mut all = Silences::new();
    let heavy = |index: usize| silence(&format!("a=~\"x[ab]{index}\""));
    for index in 0..MAX_REGEXES {
        all.set(heavy(index)).unwrap();
    }
    assert_eq!(all.set(heavy(MAX_REGEXES)), Err(SilenceError::Heavy));
    all.set(heavy(1)).unwrap();
    all.set(silence("a=~\"web-.*|b\"")).unwrap_err();
    all.set(silence("a=~\"web-.*\"")).unwrap();
    all.forget(NOW + 2 * HOUR);
    all.set(heavy(0)).unwrap();
}

#[test]
fn a_file_holds_silences() {
    let text = "# ours\nsilences:\n  - matchers: ['service_name=\"billing\"', severity!=critical]\n    schedule: {cron: '0 2 * * SUN', for: 2h, time_zone: Europe/Berlin}\n    comment: month's end runs\n  - id: freeze\n    matchers: ['team=~\"shop|search\"']\n    starts_at: 2026-12-20T00:00:00+01:00\n    ends_at: 2027-01-02T00:00:00Z\n    created_by: anna\n";
    let silences = file::parse(text).unwrap();
    insta::assert_snapshot!(file::export(&silences), @r#"
    silences:
      - id: 'ea056d61126f544e'
        matchers: ['service_name="billing"', 'severity!="critical"']
        schedule: {cron: '0 2 * * SUN', for: '2h', time_zone: 'Europe/Berlin'}
        comment: 'month''s end runs'
      - id: 'freeze'
        matchers: ['team=~"shop|search"']
        starts_at: '2026-12-19T23:00:00Z'
        ends_at: '2027-01-02T00:00:00Z'
        created_by: 'anna'
    "#);
    assert_eq!(file::parse(text).unwrap(), silences, "the same ids");
    // JSON is YAML.
    let json = serde_json::json!({ "silences": silences });
    assert_eq!(file::parse(&json.to_string()).unwrap(), silences);
    for empty in ["", "# nothing\n", "silences:\n", "silences: []\n", "{}"] {
        assert_eq!(file::parse(empty).map(|all| all.len()).unwrap_or(0), 0, "{empty}");
    }
    assert_eq!(file::export(&[]), "silences: []\n");
}

#[test]
fn a_file_that_is_wrong_says_where() {
    for (text, told) in [
        ("a: [", "column 1: this is not YAML"),
        ("- a", "expected the key `silences:`"),
        ("silences: 5", "expected the key `silences:` with a list"),
        ("silences: []\nroutes: []", "and nothing beside it"),
        ("silences: [{matchers: [a]}]", "silences[0]: column 2"),
        ("silences: [{matchers: [a=b]}, {matchers: [a=b]}]", "stands here twice"),
        ("silences: [{matchers: [a=b], comment: 5}]", "silences[0]: invalid type"),
        ("---\n---\n", "a second document"),
    ] {
        let error = file::parse(text).unwrap_err();
        assert!(error.contains(told), "{text}: {error}");
    }
    assert!(file::parse(&format!("silences:\n{}a", "- ".repeat(10_000))).is_err());
    assert!(file::parse(&"[".repeat(100_000)).is_err());
    let error = file::load(std::path::Path::new("/no/such/file")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /no/such/file: "), "{error}");
}

fn any_silence() -> impl Strategy<Value = Silence> {
    let text = "\\PC{0,12}|[a:'\"#\n\t\u{7}\u{85}\u{2028}\\\\ -]{0,12}";
    let schedule = prop::option::of(Just(r#"{"cron": "0 2 * * *", "for": "1h", "time_zone": "Asia/Kathmandu"}"#));
    (text, text, text, any::<i64>(), any::<i64>(), schedule).prop_map(|(value, by, comment, a, b, schedule)| {
        let mut silence = Silence::new([crate::labels::Matcher::equal("l", format!("v{value}"))].into_iter().collect());
        (silence.starts_at, silence.ends_at) = (a.min(b), a.max(b).saturating_add(1));
        silence.schedule = schedule.map(|json| serde_json::from_str(json).unwrap());
        (silence.created_by, silence.comment) = (by, comment);
        silence.named()
    })
}

proptest! {
    #[test]
    fn what_is_exported_is_imported(silences in prop::collection::vec(any_silence(), 0..4)) {
        let silences: std::collections::BTreeMap<_, _> = silences.into_iter().map(|one| (one.id.clone(), one)).collect();
        let text = file::export(silences.values());
        let read = file::parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(&read, &silences.values().cloned().collect::<Vec<_>>());
        for silence in &read {
            prop_assert_eq!(&Silence::read(&silence.document()).unwrap(), silence);
        }
    }

    #[test]
    fn any_text_gives_an_answer(text in prop_oneof!["\\PC{0,80}", "(silences:\n)?[-:\\[\\]{} \na-cimstr=\"']{0,80}"]) {
        let _ = file::parse(&text);
    }
}
