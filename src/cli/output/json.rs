//! Findings as JSON: one object a line, `"type"` first.
//!
//! What comes in: anomalies, incidents, near misses. What goes out: the same content as the text, for machines.

use serde::Serialize;
use serde_json::{Map, Value};

use super::why;
use crate::collect::{Coverage, Level};
use crate::detect::{Anomaly, Common, Evidence, FeatureEvidence, Gate, NearMiss, PatternEvidence, Sample};
use crate::detect::{calibrate, explain};
use crate::incident::{Severity, State, Transition, TransitionKind};
use crate::labels::{Fingerprint, Labels};
use crate::notify::render::weighty;
use crate::time::{Nanos, SECOND, TimeRange, rfc3339};

/// A window that is not normal.
#[derive(Serialize)]
pub(super) struct AnomalyLine<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    place: Place<'a>,
    late: bool,
    /// `alert` is told, `notice` and `learning` are shown only.
    grade: &'static str,
    score: f64,
    threshold: f64,
    /// In nats: what the score and the threshold stand for.
    surprise: f64,
    needed: f64,
    reason: String,
    #[serde(flatten)]
    why: Why<'a>,
    coverage: Coverage,
    query: &'a str,
}

/// When and where.
#[derive(Serialize)]
struct Place<'a> {
    start: String,
    end: String,
    start_ns: Nanos,
    end_ns: Nanos,
    /// First and last line, where lines are counted for want of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    between: Option<(Nanos, Nanos)>,
    group: &'a Labels,
    fingerprint: Fingerprint,
    lines: u64,
}

/// All that speaks for it, without what weighs nothing.
#[derive(Default, Serialize)]
struct Why<'a> {
    /// Shares of the detectors.
    detectors: Map<String, Value>,
    features: Vec<FeatureEvidence>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    patterns: Vec<PatternEvidence>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    common: &'a [Common],
    gates: &'a [Gate],
    samples: Vec<SampleLine<'a>>,
}

/// A log line, also with its variable parts in `‹›`.
#[derive(Serialize)]
struct SampleLine<'a> {
    ts: Nanos,
    level: Level,
    line: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    marked: Option<String>,
}

impl<'a> Place<'a> {
    fn new(range: TimeRange, (group, fingerprint): (&'a Labels, Fingerprint), lines: u64, counted: bool) -> Self {
        let TimeRange { start, end } = range;
        Self {
            start: rfc3339(start),
            end: rfc3339(end),
            start_ns: start,
            end_ns: end,
            between: counted.then_some((start / SECOND, (end - 1) / SECOND)),
            group,
            fingerprint,
            lines,
        }
    }
}

impl<'a> Why<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let shares = explain::detectors(evidence);
        let Evidence { features, patterns, .. } = weighty(evidence);
        Self {
            detectors: shares.into_iter().map(|(name, share)| (name.replace(' ', "_"), share.into())).collect(),
            features,
            patterns,
            common: &evidence.common,
            gates: &evidence.gates,
            samples: evidence.samples.iter().map(SampleLine::new).collect(),
        }
    }
}

impl<'a> SampleLine<'a> {
    fn new(sample: &'a Sample) -> Self {
        let marked = (!sample.variables.is_empty()).then(|| explain::marked(sample));
        Self { ts: sample.ts, level: sample.level, line: &sample.line, marked }
    }
}

impl<'a> AnomalyLine<'a> {
    pub(super) fn new(anomaly: &'a Anomaly, counted: bool) -> Self {
        let group = (&anomaly.group.labels, anomaly.group.fingerprint);
        Self {
            r#type: "anomaly",
            place: Place::new(anomaly.range, group, anomaly.lines, counted),
            late: anomaly.late,
            grade: anomaly.grade.as_str(),
            score: anomaly.score,
            threshold: anomaly.threshold,
            surprise: calibrate::from_score(anomaly.score),
            needed: calibrate::from_score(anomaly.threshold),
            reason: why(&anomaly.evidence),
            why: Why::new(&anomaly.evidence),
            coverage: anomaly.evidence.coverage,
            query: &anomaly.evidence.query,
        }
    }
}

/// A window that was not told.
#[derive(Serialize)]
pub(super) struct NearMissLine<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    place: Place<'a>,
    surprise: f64,
    needed: f64,
    /// What it did not pass.
    held_by: Option<&'a Gate>,
    held_in_words: Option<String>,
    /// Windows in which the same came near; this is the nearest.
    windows: u64,
    reason: String,
    #[serde(flatten)]
    why: Why<'a>,
    coverage: Coverage,
    query: &'a str,
}

impl<'a> NearMissLine<'a> {
    pub(super) fn new(miss: &'a NearMiss, counted: bool) -> Self {
        Self {
            r#type: "near_miss",
            place: Place::new(miss.range, (&miss.group.labels, miss.group.fingerprint), miss.lines, counted),
            surprise: miss.surprise,
            needed: miss.needed,
            held_by: miss.held(),
            held_in_words: miss.held().map(explain::gate),
            windows: miss.windows,
            reason: why(&miss.evidence),
            why: Why::new(&miss.evidence),
            coverage: miss.evidence.coverage,
            query: &miss.evidence.query,
        }
    }
}

/// A transition of an incident.
#[derive(Serialize)]
pub(super) struct IncidentLine<'a> {
    r#type: &'static str,
    transition: TransitionKind,
    id: &'a str,
    number: u64,
    at: String,
    at_ns: Nanos,
    title: &'a str,
    severity: Severity,
    state: State,
    watch: &'a str,
    group: &'a Labels,
    labels: &'a Labels,
    started_at: String,
    last_seen: String,
    resolved_at: Option<String>,
    started_at_ns: Nanos,
    last_seen_ns: Nanos,
    windows: u64,
    lines: u64,
    score: Option<f64>,
    threshold: Option<f64>,
    reason: Option<String>,
    #[serde(flatten)]
    why: Why<'a>,
    rates: &'a [f64],
    coverage: Option<Coverage>,
    query: Option<&'a str>,
}

impl<'a> IncidentLine<'a> {
    pub(super) fn new(transition: &'a Transition) -> Self {
        let incident = &transition.incident;
        let worst = incident.worst.as_ref();
        let evidence = worst.map(|worst| &worst.evidence);
        let reason = evidence.map(why);
        Self {
            r#type: "incident",
            transition: transition.kind,
            id: &incident.id,
            number: transition.number,
            at: rfc3339(transition.at),
            at_ns: transition.at,
            title: &incident.title,
            severity: incident.severity,
            state: incident.state,
            watch: &incident.watch,
            group: &incident.group.labels,
            labels: &incident.labels,
            started_at: rfc3339(incident.started_at),
            last_seen: rfc3339(incident.last_seen),
            resolved_at: incident.resolved_at.map(rfc3339),
            started_at_ns: incident.started_at,
            last_seen_ns: incident.last_seen,
            windows: incident.windows,
            lines: incident.lines,
            score: worst.map(|worst| worst.score),
            threshold: worst.map(|worst| worst.threshold),
            reason: reason.or_else(|| incident.detail.clone()),
            why: evidence.map(Why::new).unwrap_or_default(),
            rates: &incident.rates,
            coverage: evidence.map(|evidence| evidence.coverage),
            query: evidence.map(|evidence| evidence.query.as_str()),
        }
    }
}
