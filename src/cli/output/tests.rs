//! Tests of `output`.

use super::*;
use crate::collect::{Coverage, Known};
use crate::detect::{Check, Evidence, Feature, FeatureEvidence, Gate, Group};
use crate::detect::{NearMiss, PatternEvidence, PatternKind};
use crate::incident::State;
use crate::labels::Fingerprint;
use crate::time::{MINUTE, TimeRange};

const START: Nanos = 1_795_212_000 * SECOND;

fn anomaly() -> Anomaly {
    let labels: Labels = [("service_name", "cart")].into_iter().collect();
    let sample = |second: Nanos, level, line: &str| Sample {
        ts: START + second * SECOND,
        level,
        line: line.to_owned(),
        variables: Vec::new(),
    };
    Anomaly {
        group: Group { fingerprint: Fingerprint(0x1234), labels },
        range: TimeRange::new(START, START + MINUTE),
        lines: 3412,
        late: false,
        score: 0.8125,
        threshold: 0.625,
        grade: crate::detect::Grade::Alert,
        evidence: Evidence {
            patterns: Vec::new(),
            features: vec![
                FeatureEvidence {
                    feature: Feature::ErrorCount,
                    seen: 48.0,
                    expected: (0.0, 3.0),
                    share: 0.75,
                    windows: 1,
                    presence: false,
                    seasonal: false,
                    forest: 0.0,
                    frequent: None,
                },
                FeatureEvidence {
                    feature: Feature::Rate,
                    seen: 56.9,
                    expected: (10.0, 20.5),
                    share: 0.25,
                    windows: 1,
                    presence: false,
                    seasonal: false,
                    forest: 0.0,
                    frequent: None,
                },
            ],
            samples: vec![
                sample(1, Level::Error, "ERROR db \u{1b}[2Jrefused\r"),
                sample(2, Level::Info, "INFO caf\u{e9}\t\u{202e}up"),
            ],
            coverage: Coverage { known: Known::Audited, seen: 3412, missing: 0 },
            common: Vec::new(),
            gates: vec![Gate::least(Check::Windows, 312.0, 60.0), Gate::least(Check::Budget, 15.4, 10.27)],
            query: r#"{service_name="cart"}"#.to_owned(),
        },
    }
}

fn transition(kind: TransitionKind) -> Transition {
    let worst = anomaly();
    let resolved = kind == TransitionKind::Resolved;
    Transition {
        kind,
        number: 1,
        at: START + if resolved { 8 } else { 1 } * MINUTE,
        incident: Incident {
            id: "00c0ffee00c0ffee".to_owned(),
            group: worst.group.clone(),
            watch: "scan".to_owned(),
            labels: Labels::new(),
            owner: None,
            runbook_url: None,
            state: if resolved { State::Resolved } else { State::Firing },
            severity: Severity::Warning,
            title: "cart: more errors than usual".to_owned(),
            started_at: START,
            last_seen: START + if resolved { 3 } else { 1 } * MINUTE,
            resolved_at: resolved.then_some(START + 8 * MINUTE),
            windows: 3,
            lines: 9000,
            worst: Some(worst),
            rates: vec![10.0, 12.0, 11.0, 57.0],
            detail: None,
            handling: crate::incident::Handling::default(),
        },
    }
}

fn show(format: Format, colour: bool, show: impl FnOnce(&mut Printer<Vec<u8>>) -> io::Result<()>) -> String {
    let mut printer = Printer::new(Vec::new(), format, colour);
    show(&mut printer).unwrap();
    String::from_utf8(printer.into_inner()).unwrap()
}

#[test]
fn text_is_for_people() {
    let text = show(Format::Text, false, |printer| {
        printer.note("windows of 1m")?;
        printer.anomaly(&anomaly())?;
        printer.transition(&transition(TransitionKind::Opened))?;
        printer.transition(&transition(TransitionKind::Continued))?;
        printer.transition(&transition(TransitionKind::Resolved))
    });
    insta::assert_snapshot!(text, @r#"
    windows of 1m
    2026-11-20 22:00:00  anomaly   cart  errors 48, expected 0 to 3
    2026-11-20 22:00:00  ● warning   cart: more errors than usual  ▂▂▂█
                         errors 48, expected 0 to 3 (75 %)
                         rate 56.9 lines/s, expected 10 to 20.5 (25 %)
                         passed: 312 windows learnt (60 needed) · by chance once in 4,900,000 looks (29,000 needed)
                         score 0.81, unusual from 0.62 · every line seen, counted exactly
                         {service_name="cart"}
                         │ ERROR db \u{1b}[2Jrefused\u{d}
                         │ INFO café	\u{202e}up
    2026-11-20 22:01:00  ◐ goes on   cart: more errors than usual  ▂▂▂█
                         errors 48, expected 0 to 3 (75 %)
                         rate 56.9 lines/s, expected 10 to 20.5 (25 %)
                         │ ERROR db \u{1b}[2Jrefused\u{d}
                         │ INFO café	\u{202e}up
    2026-11-20 22:08:00  ○ over      cart: more errors than usual  ▂▂▂█
                         3 minutes, 9,000 lines in 3 unusual windows
    "#);
}

#[test]
fn a_step_is_told_in_the_order_of_time() {
    let later = Anomaly { range: TimeRange::new(START + 2 * MINUTE, START + 3 * MINUTE), ..anomaly() };
    let step = Step {
        anomalies: vec![anomaly(), later],
        transitions: vec![transition(TransitionKind::Opened)],
        ..Step::default()
    };
    let kinds = |format, word: &str| {
        let text = show(format, false, |printer| {
            printer.step(&step)?;
            assert_eq!(printer.tally(), Tally { anomalies: 2, incidents: 1, ..Tally::default() });
            Ok(())
        });
        text.lines().map(|line| line.contains(word)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(Format::Json, r#""type":"incident""#), [false, true, false]);
    assert_eq!(kinds(Format::Text, "anomaly"), [false, false, false, false, false, false, false, false, true]);
}

#[test]
fn lines_are_counted_where_there_is_no_time() {
    let mut counted = anomaly();
    counted.range = TimeRange::new(21 * SECOND, 40 * SECOND + 1);
    let show = |format| {
        show(format, false, |printer| {
            printer.count_lines();
            printer.anomaly(&counted)
        })
    };
    insta::assert_snapshot!(show(Format::Text), @"line 21              anomaly   cart  errors 48, expected 0 to 3");
    assert!(show(Format::Json).contains(r#""between":[21,40]"#));
}

#[test]
fn colours_are_asked_for() {
    let text = show(Format::Text, true, |printer| printer.transition(&transition(TransitionKind::Opened)));
    assert!(text.contains("\u{1b}[33;1m●"), "{text:?}");
    assert!(!text.contains("\u{1b}[2J"), "a line must not clear the screen: {text:?}");
}

#[test]
fn json_is_one_object_a_line_with_the_type_first() {
    let text = show(Format::Json, false, |printer| {
        printer.note("not shown here")?;
        printer.anomaly(&anomaly())?;
        printer.transition(&transition(TransitionKind::Opened))
    });
    insta::assert_snapshot!(text.replace('\u{202e}', "<RLO>"), @r#"
        {"type":"anomaly","start":"2026-11-20T22:00:00Z","end":"2026-11-20T22:01:00Z","start_ns":1795212000000000000,"end_ns":1795212060000000000,"group":{"service_name":"cart"},"fingerprint":"v1:0000000000001234","lines":3412,"late":false,"grade":"alert","score":0.8125,"threshold":0.625,"surprise":8.369882167858357,"needed":4.904146265058631,"reason":"errors 48, expected 0 to 3","detectors":{"counts":1.0},"features":[{"feature":"error_count","seen":48.0,"expected":[0.0,3.0],"share":0.75,"windows":1,"presence":false},{"feature":"rate","seen":56.9,"expected":[10.0,20.5],"share":0.25,"windows":1,"presence":false}],"gates":[{"check":"windows","reached":312.0,"needed":60.0,"passed":true},{"check":"budget","reached":15.4,"needed":10.27,"passed":true}],"samples":[{"ts":1795212001000000000,"level":"error","line":"ERROR db \u001b[2Jrefused\r"},{"ts":1795212002000000000,"level":"info","line":"INFO café\t<RLO>up"}],"coverage":{"known":"audited","seen":3412,"missing":0},"query":"{service_name=\"cart\"}"}
        {"type":"incident","transition":"opened","id":"00c0ffee00c0ffee","number":1,"at":"2026-11-20T22:01:00Z","at_ns":1795212060000000000,"title":"cart: more errors than usual","severity":"warning","state":"firing","watch":"scan","group":{"service_name":"cart"},"labels":{},"started_at":"2026-11-20T22:00:00Z","last_seen":"2026-11-20T22:01:00Z","resolved_at":null,"started_at_ns":1795212000000000000,"last_seen_ns":1795212060000000000,"windows":3,"lines":9000,"score":0.8125,"threshold":0.625,"reason":"errors 48, expected 0 to 3","detectors":{"counts":1.0},"features":[{"feature":"error_count","seen":48.0,"expected":[0.0,3.0],"share":0.75,"windows":1,"presence":false},{"feature":"rate","seen":56.9,"expected":[10.0,20.5],"share":0.25,"windows":1,"presence":false}],"gates":[{"check":"windows","reached":312.0,"needed":60.0,"passed":true},{"check":"budget","reached":15.4,"needed":10.27,"passed":true}],"samples":[{"ts":1795212001000000000,"level":"error","line":"ERROR db \u001b[2Jrefused\r"},{"ts":1795212002000000000,"level":"info","line":"INFO café\t<RLO>up"}],"rates":[10.0,12.0,11.0,57.0],"coverage":{"known":"audited","seen":3412,"missing":0},"query":"{service_name=\"cart\"}"}
        "#);
}

#[test]
fn the_summary_has_its_fields_and_those_of_the_command() {
    let extra: Map<String, Value> = [("planted".to_owned(), Value::from(12))].into_iter().collect();
    let text = show(Format::Json, false, |printer| {
        printer.anomaly(&anomaly())?;
        printer.transition(&transition(TransitionKind::Opened))?;
        printer.summary(3412, &Meter::start(), extra)
    });
    let last = text.lines().last().unwrap();
    assert!(last.starts_with(r#"{"type":"summary","lines":3412,"windows":0,"anomalies":1,"incidents":1,"#), "{last}");
    let summary: Value = serde_json::from_str(last).unwrap();
    assert_eq!(summary["planted"], 12);
    assert!(summary["lines_per_second"].as_f64().unwrap() > 0.0);
    if cfg!(target_os = "linux") {
        assert!(summary["peak_rss_bytes"].as_u64().unwrap() > 1_000_000);
        assert!(summary["cpu_seconds"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn the_summary_in_words() {
    let summary = SummaryLine {
        r#type: "summary",
        lines: 125_942,
        windows: 2160,
        notices: 0,
        anomalies: 1,
        incidents: 3,
        seconds: 0.15,
        lines_per_second: 839_613.0,
        cpu_seconds: None,
        lines_per_cpu_second: None,
        peak_rss_bytes: Some(21_300_000),
        extra: Map::new(),
    };
    insta::assert_snapshot!(summary.words(1), @"
        125,942 lines in 2,160 windows: 1 anomaly, 3 incidents (1 still open at the end)
        0.15 s, 839,613 lines/s, peak memory 21.3 MB
        ");
}

fn near_miss() -> NearMiss {
    let Anomaly { group, range, lines, evidence, .. } = anomaly();
    let mut samples = evidence.samples;
    samples[0] = Sample { variables: vec![(6, 8)], line: "ERROR db refused 17".to_owned(), ..samples[0].clone() };
    samples.truncate(1);
    let pattern = PatternEvidence {
        line: Some("ERROR db refused <*>".to_owned()),
        before: Some(crate::detect::Before { first: Some(START - MINUTE), last: None }),
        seen: 3.0,
        of: 3.0,
        expected: 0.25,
        share: 1.0,
        ..PatternEvidence::of(PatternKind::Burst)
    };
    NearMiss {
        group,
        range,
        lines,
        surprise: 9.0,
        needed: 10.27,
        evidence: Evidence {
            features: Vec::new(),
            patterns: vec![pattern],
            samples,
            gates: vec![Gate::least(Check::Windows, 312.0, 60.0), Gate::least(Check::Budget, 9.0, 10.27)],
            ..evidence
        },
        windows: 2,
    }
}

#[test]
fn explanations_say_it_all_and_what_came_near() {
    let mut told = anomaly();
    told.evidence.features[1].share = 0.001;
    let step = Step { anomalies: vec![told], near_misses: vec![near_miss(), near_miss()], ..Step::default() };
    let show = |format| {
        show(format, false, |printer| {
            printer.explain();
            printer.step(&step)?;
            printer.show_nearest()
        })
    };
    insta::assert_snapshot!(show(Format::Text), @r#"
    2026-11-20 22:00:00  anomaly   cart  errors 48, expected 0 to 3
                         errors 48, expected 0 to 3 (75 %)
                         passed: 312 windows learnt (60 needed) · by chance once in 4,900,000 looks (29,000 needed)
                         score 0.81, unusual from 0.62 · every line seen, counted exactly
                         {service_name="cart"}
                         │ ERROR db \u{1b}[2Jrefused\u{d}
                         │ INFO café	\u{202e}up
    nearest to being told, and not told:
    2026-11-20 22:00:00  near miss cart  problem 3 times in 1 window, expected 0.2: "ERROR db refused <*>"; first seen 2026-11-20 21:59:00
                         held back: by chance once in 8,100 looks (29,000 needed)
                         passed: 312 windows learnt (60 needed)
                         the same came near in 4 windows
                         │ ERROR ‹db› refused 17
    "#);
    insta::assert_snapshot!(show(Format::Json).lines().last().unwrap_or_default(), @r#"{"type":"near_miss","start":"2026-11-20T22:00:00Z","end":"2026-11-20T22:01:00Z","start_ns":1795212000000000000,"end_ns":1795212060000000000,"group":{"service_name":"cart"},"fingerprint":"v1:0000000000001234","lines":3412,"surprise":9.0,"needed":10.27,"held_by":{"check":"budget","reached":9.0,"needed":10.27,"passed":false},"held_in_words":"by chance once in 8,100 looks (29,000 needed)","windows":4,"reason":"problem 3 times in 1 window, expected 0.2: \"ERROR db refused <*>\"","detectors":{"bursts":1.0},"features":[],"patterns":[{"kind":"burst","line":"ERROR db refused <*>","before":{"first":1795211940000000000,"last":null},"seen":3.0,"of":3.0,"expected":0.25,"windows":1,"share":1.0}],"gates":[{"check":"windows","reached":312.0,"needed":60.0,"passed":true},{"check":"budget","reached":9.0,"needed":10.27,"passed":false}],"samples":[{"ts":1795212001000000000,"level":"error","line":"ERROR db refused 17","marked":"ERROR ‹db› refused 17"}],"coverage":{"known":"audited","seen":3412,"missing":0},"query":"{service_name=\"cart\"}"}"#);
}
