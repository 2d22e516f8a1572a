//! Notifications that no log has caused: to test a receiver by hand, and to try what hostile text does to renderers.
//!
//! What comes in: a time or a text. What goes out: a [`Notification`]. What never happens here: anything that is stored.

use super::{Links, Notification};
use crate::collect::Level;
use crate::detect::{
    Anomaly, Common, Evidence, Feature, FeatureEvidence, Frequent, Grade, Group, Odd, PatternEvidence, PatternKind,
    Sample,
};
use crate::incident::{Handling, Incident, Mark, Member, SIGYN, Severity, State, Transition, TransitionKind};
use crate::labels::{Fingerprint, Labels};
use crate::time::{MINUTE, Nanos, TimeRange};

/// A test message to `receiver`, sent at `at`: opened, and with `resolved` its end. Clearly marked as a test.
#[must_use]
pub fn test(receiver: &str, at: Nanos, resolved: bool) -> Notification {
    let labels: Labels = [("service", "sigyn"), ("problem", "test"), ("on", receiver)].into_iter().collect();
    let mut incident = plain(labels, at);
    // The same over its two messages, and another for every test.
    incident.id = format!("{:016x}", at.unsigned_abs());
    incident.title = "sigyn: TEST, nothing is wrong".to_owned();
    let detail = format!(
        "this is a test of the receiver `{receiver}`, sent by hand with `sigyn notify test`; nobody needs to do anything"
    );
    incident.detail = Some(detail);
    incident.severity = Severity::Info;
    let (kind, number) = if resolved { (TransitionKind::Resolved, 2) } else { (TransitionKind::Opened, 1) };
    if resolved {
        incident.state = State::Resolved;
        incident.resolved_at = Some(at);
    }
    notification(Transition { kind, number, at, incident }, receiver)
}

/// A notification of this kind with `text` wherever strangers' text can stand.
#[must_use]
pub fn hostile(text: &str, kind: TransitionKind) -> Notification {
    let at = 1_795_212_000_000_000_000;
    let labels: Labels = [("service_name", text), ("pod", text)].into_iter().collect();
    let mut incident = plain(labels, at);
    incident.title = text.to_owned();
    incident.watch = text.to_owned();
    incident.labels = [("cluster", text)].into_iter().collect();
    incident.owner = Some(text.to_owned());
    incident.runbook_url = Some(text.to_owned());
    incident.severity = Severity::Critical;
    incident.windows = 3;
    incident.lines = 1_000;
    incident.rates = vec![1.0, 2.0, 9.0];
    let member = Member { title: text.to_owned(), ..Member::from(&incident) };
    let mark = Mark { by: text.to_owned(), at, note: Some(text.to_owned()) };
    incident.handling =
        Handling { members: vec![member; 12], acknowledged: Some(mark), held_back: 3, ..Handling::default() };
    incident.worst = Some(worst(incident.group.clone(), at, text));
    if kind == TransitionKind::Resolved {
        incident.state = State::Resolved;
        incident.resolved_at = Some(at + 9 * MINUTE);
    }
    let mut made = notification(Transition { kind, number: 7, at, incident }, text);
    made.links.explore = Some(format!("https://grafana.example.com/explore?q={text}"));
    made
}

fn plain(labels: Labels, at: Nanos) -> Incident {
    let group = Group { fingerprint: Fingerprint::of("default", SIGYN, &labels), labels };
    let id = "00c0ffee00c0ffee".to_owned();
    Incident { id, group, ..Incident::about_sigyn("default", ("", ""), String::new(), at) }
}

fn worst(group: Group, at: Nanos, text: &str) -> Anomaly {
    let sample = Sample { ts: at, level: Level::Error, line: text.to_owned(), variables: Vec::new() };
    let frequent = Frequent { line: text.to_owned(), part: 1.0, before: None };
    let feature = FeatureEvidence {
        feature: Feature::ErrorCount,
        seen: 48.0,
        expected: (0.0, 3.0),
        share: 0.6,
        forest: 0.0,
        frequent: Some(frequent),
        windows: 1,
        presence: false,
        seasonal: false,
    };
    let pattern = PatternEvidence {
        line: Some(text.to_owned()),
        key: Some(text.to_owned()),
        share: 0.4,
        ..PatternEvidence::of(PatternKind::New)
    };
    Anomaly {
        range: TimeRange::new(at, at + MINUTE),
        lines: 1_000,
        late: false,
        score: 0.9,
        threshold: 0.7,
        grade: Grade::Alert,
        evidence: Evidence {
            features: vec![feature],
            patterns: vec![pattern],
            samples: vec![sample; 4],
            common: vec![Common {
                label: text.to_owned(),
                value: text.to_owned(),
                odd: Odd::Errors,
                seen: 4,
                of: 4,
                others: 0.1,
            }],
            query: group.labels.to_string(),
            ..Evidence::default()
        },
        group,
    }
}

fn notification(transition: Transition, receiver: &str) -> Notification {
    let key = format!("{}/{}/{receiver}", transition.incident.id, transition.number);
    Notification { key, transition, links: Links::default() }
}
