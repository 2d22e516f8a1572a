//! Transitions for the tests of messages.

use proptest::prelude::*;

use super::{Links, Notification};
use crate::collect::{Coverage, Known, Level};
use crate::detect::{
    Anomaly, Before, Check, Common, Evidence, Feature, FeatureEvidence, Frequent, Gate, Group, Odd, PatternEvidence,
    PatternKind, Sample,
};
use crate::incident::{Incident, Severity, State, Transition, TransitionKind};
use crate::labels::{Fingerprint, Labels};
use crate::time::{MINUTE, Nanos, SECOND, TimeRange};

/// 2026-11-20T22:00:00Z.
pub(crate) const START: Nanos = 1_795_212_000 * SECOND;

fn sample(seconds: i64, level: Level, line: &str) -> Sample {
    Sample { ts: START + seconds * SECOND, level, line: line.to_owned(), variables: Vec::new() }
}

fn worst(group: Group) -> Anomaly {
    let feature = |feature, seen, expected, share| FeatureEvidence {
        feature,
        seen,
        expected,
        share,
        forest: 0.0,
        frequent: None,
        windows: 1,
        presence: false,
        seasonal: false,
    };
    Anomaly {
        range: TimeRange::new(START + 2 * MINUTE, START + 3 * MINUTE),
        lines: 1_204,
        late: false,
        score: 0.934,
        threshold: 0.71,
        grade: crate::detect::Grade::Alert,
        evidence: Evidence {
            patterns: Vec::new(),
            features: vec![
                FeatureEvidence {
                    frequent: Some(Frequent {
                        line: "payment gateway timeout".to_owned(),
                        part: 0.8,
                        before: Some(Before::default()),
                    }),
                    ..feature(Feature::ErrorCount, 48.0, (0.0, 3.0), 0.71)
                },
                feature(Feature::UniqueMessages, 131.0, (20.0, 42.5), 0.19),
                feature(Feature::Rate, 20.066, (4.0, 9.25), 0.08),
                feature(Feature::LineLength, 214.4, (80.0, 220.0), 0.02),
            ],
            samples: vec![
                sample(121, Level::Error, "level=error msg=\"payment gateway timeout\" order=<*>"),
                sample(
                    122,
                    Level::Error,
                    "java.net.SocketTimeoutException: Read timed out\n\tat Pay.call(Pay.java:42)",
                ),
                Sample {
                    variables: vec![(34, 35)],
                    ..sample(150, Level::Warn, "level=warn msg=\"retrying\" attempt=3")
                },
                sample(151, Level::Warn, "level=warn msg=\"retrying\" attempt=4"),
            ],
            common: vec![Common {
                label: "pod".to_owned(),
                value: "cart-7".to_owned(),
                odd: Odd::Errors,
                seen: 48,
                of: 48,
                others: 0.12,
            }],
            gates: vec![Gate::least(Check::Windows, 1_440.0, 60.0), Gate::least(Check::Budget, 13.6, 6.19)],
            coverage: Coverage { known: Known::Audited, seen: 1_204, missing: 0 },
            query: "{service_name=\"cart\"}".to_owned(),
        },
        group,
    }
}

/// An incident of an ordinary service, just opened.
pub(crate) fn opened() -> Transition {
    let labels: Labels = [("service_name", "cart")].into_iter().collect();
    let group = Group { fingerprint: Fingerprint::of("default", "shop", &labels), labels };
    let incident = Incident {
        id: "00c0ffee00c0ffee".to_owned(),
        worst: Some(worst(group.clone())),
        group,
        watch: "shop".to_owned(),
        labels: [("cluster", "eu-1")].into_iter().collect(),
        owner: Some("team-shop".to_owned()),
        runbook_url: Some("https://wiki.example.com/cart?a=1&b=2".to_owned()),
        state: State::Firing,
        severity: Severity::Critical,
        title: "cart: more errors than usual".to_owned(),
        started_at: START,
        last_seen: START + 3 * MINUTE,
        resolved_at: None,
        windows: 3,
        lines: 3_412,
        rates: vec![5.0, 5.5, 4.8, 12.0, 18.4, 20.066],
        detail: None,
        handling: crate::incident::Handling::default(),
    };
    Transition { kind: TransitionKind::Opened, number: 1, at: START + 3 * MINUTE, incident }
}

/// An incident about lines rather than their number, just opened.
pub(crate) fn patterns() -> Transition {
    let mut transition = opened();
    "cart: a step is missing".clone_into(&mut transition.incident.title);
    let before = Before { first: Some(START - 90 * MINUTE), last: Some(START - MINUTE) };
    let pattern = |kind, line: &str, before, share| PatternEvidence {
        line: Some(line.to_owned()),
        key: Some("trace_id".to_owned()),
        before,
        share,
        ..PatternEvidence::of(kind)
    };
    if let Some(worst) = &mut transition.incident.worst {
        let evidence = &mut worst.evidence;
        evidence.features.truncate(1);
        evidence.features[0].share = 0.004;
        evidence.common[0].odd = Odd::Pattern;
        evidence.patterns = vec![
            PatternEvidence {
                seen: 14.0,
                of: 15.0,
                expected: 0.12,
                most: Some(2.0),
                windows: 3,
                ..pattern(PatternKind::Missing, "order <*> stored", Some(before), 0.596)
            },
            pattern(PatternKind::New, "stock of <*> is negative", Some(Before::default()), 0.4),
        ];
        evidence.gates.insert(1, Gate::least(Check::Requests, 1_240.0, 20.0));
        evidence.gates.insert(2, Gate::below(Check::Unusual, 0.0008, 0.15));
    }
    transition
}

/// The same, half an hour later.
pub(crate) fn continued() -> Transition {
    let mut transition = opened();
    transition.kind = TransitionKind::Continued;
    transition.number = 2;
    transition.at = START + 33 * MINUTE;
    transition.incident.last_seen = transition.at;
    transition.incident.windows = 33;
    transition.incident.lines = 38_912;
    transition
}

/// The same, over.
pub(crate) fn resolved() -> Transition {
    let mut transition = continued();
    transition.kind = TransitionKind::Resolved;
    transition.number = 3;
    transition.at = START + 38 * MINUTE;
    transition.incident.state = State::Resolved;
    transition.incident.resolved_at = Some(transition.at);
    transition
}

/// An incident about sigyn itself.
pub(crate) fn internal() -> Transition {
    let mut transition = opened();
    let labels: Labels = [("service", "sigyn"), ("problem", "loki_unreachable"), ("on", "shop")].into_iter().collect();
    let incident = &mut transition.incident;
    incident.group = Group { fingerprint: Fingerprint::of("default", "sigyn", &labels), labels };
    incident.watch = "sigyn".to_owned();
    incident.worst = None;
    incident.rates = Vec::new();
    incident.severity = Severity::Warning;
    incident.title = "sigyn: cannot reach Loki".to_owned();
    incident.detail = Some(
        "GET http://loki:3100/loki/api/v1/query_range: connection refused; is Loki up, and is loki.url right?"
            .to_owned(),
    );
    (incident.windows, incident.lines) = (0, 0);
    (incident.owner, incident.runbook_url) = (None, None);
    transition
}

/// The same, well again.
pub(crate) fn internal_resolved() -> Transition {
    let mut transition = internal();
    transition.kind = TransitionKind::Resolved;
    transition.number = 2;
    transition.incident.state = State::Resolved;
    transition.incident.resolved_at = Some(transition.incident.last_seen);
    transition
}

/// An incident whose log lines and labels want to do harm.
pub(crate) fn hostile(text: &str) -> Transition {
    let mut transition = opened();
    let incident = &mut transition.incident;
    incident.title = format!("{text}: more errors than usual");
    incident.group.labels.insert("service_name", text);
    incident.labels.insert("cluster", text);
    incident.watch = text.to_owned();
    incident.owner = Some(text.to_owned());
    incident.runbook_url = Some(text.to_owned());
    if let Some(worst) = &mut incident.worst {
        worst.group = incident.group.clone();
        worst.evidence.query = incident.group.labels.to_string();
        worst.evidence.common[0].value = text.to_owned();
        worst.evidence.features[0].frequent = Some(Frequent { line: text.to_owned(), part: 1.0, before: None });
        worst.evidence.samples = vec![sample(121, Level::Error, text), sample(122, Level::Error, text)];
    }
    transition
}

/// A transition on its way.
pub(crate) fn notification(transition: Transition, receiver: &str) -> Notification {
    Notification {
        key: format!("{}/{}/{receiver}", transition.incident.id, transition.number),
        links: Links {
            incident: Some(format!("https://sigyn.example.com/incidents/{}", transition.incident.id)),
            explore: Some("https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D".to_owned()),
        },
        transition,
    }
}

/// Text made of the pieces that do harm.
pub(crate) fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<!channel>"),
        Just("<@U1>"),
        Just("@here"),
        Just("@org/team"),
        Just("`"),
        Just("```"),
        Just("</pre>"),
        Just("<script>"),
        Just("{{DATE(1)}}"),
        Just("{{ title }}"),
        Just("\""),
        Just("'"),
        Just("&lt;"),
        Just("\r\nBcc: a@b.c"),
        Just("~~~"),
        Just("<!--"),
        Just("-->"),
        Just("-"),
        Just(">"),
        Just("<"),
        Just("\n"),
        Just("\r"),
        Just("#"),
        Just("1"),
        Just("GH"),
        Just("gh-2"),
        Just("![i](http://x)"),
        Just("]("),
        Just("://"),
        Just(":/"),
        Just("/"),
        Just("www."),
        Just("</details>"),
        Just("|"),
        Just("\\"),
        Just("\u{200b}"),
        Just("\u{202e}"),
        Just("\u{1b}["),
    ]
    .prop_map(str::to_owned);
    prop::collection::vec(prop_oneof![4 => piece, 1 => any::<String>()], 0..24).prop_map(|parts| parts.concat())
}
