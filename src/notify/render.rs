//! What a message says, once for all receivers: plain words and numbers from a transition.
//!
//! What comes in: a [`Notification`]. What goes out: a [`Message`] of plain text that receivers escape and lay out. No
//! markup is made here, and nothing is escaped: the text of log lines in it is as hostile as it came.

use serde::Serialize;

use super::{Links, Notification};
use crate::collect::{Coverage, Known};
use crate::detect::explain;
use crate::detect::{Anomaly, Evidence, Feature, FeatureEvidence, PatternEvidence, Sample};
use crate::incident::lifecycle::WITHDRAWN;
use crate::incident::{Handling, Incident, Mark, Member, Severity, State, TransitionKind};
use crate::labels::Labels;
use crate::time::{MINUTE, Nanos, SECOND, rfc3339};

pub use super::words::{count, duration, number, sparkline};

/// What is said about a transition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Message {
    /// Which kind of transition it is.
    pub kind: TransitionKind,
    /// How bad the incident is.
    pub severity: Severity,
    /// Id of the incident.
    pub id: String,
    /// What is wrong, without counts: `cart: more errors than usual`.
    pub title: String,
    /// When and how long, in words.
    pub when: String,
    /// How much: windows and lines; empty for incidents about sigyn itself.
    pub size: Option<String>,
    /// Lines per second as a row of bars, the newest right.
    pub bars: Option<String>,
    /// The group's labels as a selector.
    pub place: String,
    /// The watch's and the external labels: `cluster=eu-1, team=shop`.
    pub labels: Option<String>,
    /// Name of the watch.
    pub watch: String,
    /// All that weighs anything, by falling share of the score.
    pub why: Vec<Reason>,
    /// Shares of the detectors, where there are several.
    pub detectors: Option<String>,
    /// Labels that the odd lines have in common, not escaped.
    pub common: Vec<String>,
    /// What the strongest reason had to pass.
    pub gates: Vec<String>,
    /// Score and threshold.
    pub score: Option<String>,
    /// How much of the worst window was seen.
    pub coverage: Option<String>,
    /// Log lines of the worst window.
    pub samples: Vec<Line>,
    /// For incidents about sigyn itself: what is wrong and what to do.
    pub detail: Option<String>,
    /// How it ended.
    pub ended: Option<String>,
    /// Other groups that are part of the same problem, one a line, not escaped.
    pub members: Vec<String>,
    /// Who looks after it, until when nobody wants to hear of it; not escaped.
    pub care: Option<String>,
    /// What was not sent since the last message.
    pub held_back: Option<String>,
    /// Who owns the watch.
    pub owner: Option<String>,
    /// Where it is written what to do.
    pub runbook: Option<String>,
    /// The query that shows the lines, and the same for a shell.
    pub query: Option<Query>,
    /// Where to look further.
    pub links: Links,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reason {
    /// What was measured: `errors`.
    pub what: &'static str,
    /// What was seen, with its unit.
    pub seen: String,
    /// What was expected, in the same unit: `0 to 3`.
    pub expected: String,
    /// Whether it lies outside of what was expected.
    pub outside: bool,
    /// Its share of the score: `71 %`.
    pub share: String,
    /// The lines that it is about, masked, not escaped.
    pub line: Option<String>,
    /// When such a line was seen before, `never seen before`; of counts, which line most of them are. Not escaped.
    pub before: Option<String>,
}

impl Reason {
    /// Whether it has more than a trifling part in the score.
    #[must_use]
    pub fn weighs(&self) -> bool {
        !matches!(self.share.as_str(), "0 %" | "1 %" | "2 %" | "3 %" | "4 %")
    }

    /// `errors 48, expected 0 to 3`, `step missing in 14 of 15 sessions, expected 0.1: "order stored"`; not escaped.
    #[must_use]
    pub fn words(&self) -> String {
        let line = self.line.as_deref().map(|line| format!(": {line}")).unwrap_or_default();
        format!("{} {}, expected {}{line}", self.what, self.seen, self.expected)
    }

    /// The same with what was before: `new problem 1, expected 0: "db refused"; never seen before`.
    #[must_use]
    pub fn all_words(&self) -> String {
        let before = self.before.as_deref().map(|before| format!("; {before}")).unwrap_or_default();
        format!("{}{before}", self.words())
    }
}

/// Why an anomaly is one: the same for every output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explained {
    /// See [`Message::why`].
    pub why: Vec<Reason>,
    /// See [`Message::detectors`].
    pub detectors: Option<String>,
    /// See [`Message::common`].
    pub common: Vec<String>,
    /// See [`Message::gates`].
    pub gates: Vec<String>,
    /// See [`Message::samples`].
    pub samples: Vec<Line>,
}

/// Says why. `moment` writes a time.
#[must_use]
pub fn explained(evidence: &Evidence, moment: impl Fn(Nanos) -> String) -> Explained {
    let mut detectors = explain::detectors(evidence);
    detectors.retain(|(_, share)| shows(*share));
    let shares = detectors.iter().map(|(name, share)| format!("{name} {}", percent(*share)));
    Explained {
        why: reasons(evidence, moment),
        detectors: (detectors.len() > 1).then(|| shares.collect::<Vec<_>>().join(", ")),
        common: evidence.common.iter().map(explain::common).collect(),
        gates: evidence.gates.iter().map(explain::gate).collect(),
        samples: evidence.samples.iter().map(line).collect(),
    }
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Time of day in UTC, `22:02:01Z`.
    pub time: String,
    /// The line, masked, its variable parts marked, not escaped.
    pub text: String,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Query {
    /// In LogQL.
    pub logql: String,
    /// A command that asks Loki.
    pub logcli: String,
}

/// Says what a notification has to say.
#[must_use]
pub fn message(notification: &Notification) -> Message {
    let transition = &notification.transition;
    let incident = &transition.incident;
    let worst = incident.worst.as_ref();
    let Explained { why, detectors, common, gates, samples } =
        worst.map(|worst| explained(&worst.evidence, second)).unwrap_or_default();
    Message {
        kind: transition.kind,
        severity: incident.severity,
        id: incident.id.clone(),
        title: incident.title.clone(),
        when: when(incident),
        size: (incident.windows > 0).then(|| size(incident)),
        bars: sparkline(&incident.rates),
        place: incident.group.labels.to_string(),
        labels: pairs(&incident.labels),
        watch: incident.watch.clone(),
        why,
        detectors,
        common,
        gates,
        score: worst.map(score),
        coverage: worst.map(seen),
        samples,
        // Of the others it says how they ended.
        detail: incident.detail.clone().filter(|text| worst.is_none() && !text.starts_with(WITHDRAWN)),
        ended: (transition.kind == TransitionKind::Resolved).then(|| ended(incident)),
        members: incident.handling.members.iter().map(member).collect(),
        care: care(&incident.handling),
        held_back: (incident.handling.held_back > 0)
            .then(|| format!("{} held back since the last one", count(incident.handling.held_back, "message"))),
        owner: incident.owner.clone(),
        runbook: incident.runbook_url.clone(),
        query: worst.map(|worst| query(worst, incident)),
        links: notification.links.clone(),
    }
}

impl Message {
    /// State and severity in one or two words; the colour of a receiver never says more than this.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match (self.kind, self.severity) {
            (TransitionKind::Resolved, _) => "RESOLVED",
            (TransitionKind::Acknowledged, _) => "ACKNOWLEDGED",
            (TransitionKind::Reopened, Severity::Critical) => "CRITICAL AGAIN",
            (TransitionKind::Reopened, _) => "BACK AGAIN",
            (TransitionKind::Escalated, Severity::Critical) => "WORSE, CRITICAL",
            (TransitionKind::Escalated, _) => "WORSE",
            (TransitionKind::Opened, Severity::Critical) => "CRITICAL",
            (TransitionKind::Opened, Severity::Warning) => "WARNING",
            (TransitionKind::Opened, Severity::Info) => "INFO",
            (TransitionKind::Continued, Severity::Critical) => "STILL CRITICAL",
            (TransitionKind::Continued, Severity::Warning) => "STILL WARNING",
            (TransitionKind::Continued, Severity::Info) => "STILL GOING ON",
        }
    }

    /// A coloured sign for the state, always beside its word.
    #[must_use]
    pub fn sign(&self) -> char {
        match (self.kind, self.severity) {
            (TransitionKind::Resolved, _) => '🟢',
            (TransitionKind::Acknowledged, _) => '👀',
            (_, Severity::Critical) => '🔴',
            (_, Severity::Warning) => '🟠',
            (_, Severity::Info) => '🔵',
        }
    }

    /// What lies outside of what was expected, else what has the greatest share.
    #[must_use]
    pub fn told(&self) -> Vec<&Reason> {
        let outside: Vec<&Reason> = self.why.iter().filter(|reason| reason.outside).collect();
        if outside.is_empty() { self.why.iter().take(1).collect() } else { outside }
    }

    /// The strongest reason in words, else the detail.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.told().first().map(|reason| reason.words()).or_else(|| self.detail.clone())
    }

    /// Score, detectors and coverage in one line.
    #[must_use]
    pub fn sure(&self) -> Option<String> {
        let parts: Vec<&str> =
            [&self.score, &self.detectors, &self.coverage].into_iter().flatten().map(String::as_str).collect();
        (!parts.is_empty()).then(|| parts.join(" · "))
    }
}

/// A share below this is shown as `0 %` and says nothing.
const LEAST_SHARE: f64 = 0.005;

fn shows(share: f64) -> bool {
    share >= LEAST_SHARE
}

/// Leaves out what weighs nothing; when nothing weighs anything, the first stays.
#[must_use]
pub fn weighty(evidence: &Evidence) -> Evidence {
    let mut told = evidence.clone();
    told.features.retain(|one| shows(one.share));
    told.patterns.retain(|one| shows(one.share));
    if told.features.is_empty() && told.patterns.is_empty() {
        told.features.extend(evidence.features.first().cloned());
    }
    told
}

/// The reasons that weigh anything, by falling share; when none does, the first. `moment` writes a time.
#[must_use]
pub fn reasons(evidence: &Evidence, moment: impl Fn(Nanos) -> String) -> Vec<Reason> {
    let patterns = evidence.patterns.iter().map(|one| (one.share, pattern(one, &moment)));
    let features = evidence.features.iter().map(|one| (one.share, reason(one, &moment)));
    let mut all: Vec<(f64, Reason)> = patterns.chain(features).collect();
    all.sort_by(|one, two| two.0.total_cmp(&one.0));
    let told = all.iter().filter(|(share, _)| shows(*share)).count().max(1);
    all.into_iter().take(told).map(|(_, reason)| reason).collect()
}

/// The reason with the greatest share: the first of [`reasons`].
#[must_use]
pub fn strongest(evidence: &Evidence) -> Option<Reason> {
    // Of equal shares the first is told, patterns before features, as in the whole list.
    let pattern_first = evidence.patterns.iter().rev().max_by(|one, two| one.share.total_cmp(&two.share));
    let feature_first = evidence.features.iter().rev().max_by(|one, two| one.share.total_cmp(&two.share));
    match (pattern_first, feature_first) {
        (Some(one), Some(two)) if two.share.total_cmp(&one.share).is_gt() => Some(reason(two, second)),
        (Some(one), _) => Some(pattern(one, second)),
        (None, two) => two.map(|two| reason(two, second)),
    }
}

/// A time to the second.
fn second(at: Nanos) -> String {
    rfc3339(at - at.rem_euclid(SECOND))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", (share * 100.0).clamp(0.0, 100.0))
}

fn pattern(evidence: &PatternEvidence, moment: impl Fn(Nanos) -> String) -> Reason {
    let (what, seen, expected, line) = explain::pattern(evidence);
    let before = explain::before(evidence, moment);
    Reason { what, seen, expected, outside: true, share: percent(evidence.share), line, before }
}

fn reason(evidence: &FeatureEvidence, moment: impl Fn(Nanos) -> String) -> Reason {
    let (what, unit) = match evidence.feature {
        Feature::LineLength => ("line length", " bytes"),
        Feature::ErrorCount => ("errors", ""),
        Feature::WarnCount => ("warnings", ""),
        Feature::UniqueMessages => ("different messages", ""),
        Feature::Rate => ("rate", " lines/s"),
    };
    let (low, high) = (number(evidence.expected.0), number(evidence.expected.1));
    let range = if low == high { low } else { format!("{low} to {high}") };
    Reason {
        what,
        seen: explain::seen(evidence, &number(evidence.seen), unit),
        expected: if evidence.seasonal { format!("{range} at this hour") } else { range },
        outside: evidence.seen < evidence.expected.0 || evidence.seen > evidence.expected.1,
        share: percent(evidence.share),
        line: None,
        before: explain::frequent(evidence, moment),
    }
}

/// `cluster=eu-1, team=shop`.
fn pairs(labels: &Labels) -> Option<String> {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    (!pairs.is_empty()).then(|| pairs.join(", "))
}

/// `payments: errors never seen before, warning, since 22:04:00Z`.
fn member(member: &Member) -> String {
    let over = if member.state == State::Resolved { ", over" } else { "" };
    format!("{}, {}, since {}{over}", member.title, member.severity.as_str(), second(member.started_at))
}

fn care(handling: &Handling) -> Option<String> {
    let mark = |what: &str, mark: &Mark| {
        let note = mark.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
        format!("{what} by {} at {}{note}", mark.by, second(mark.at))
    };
    let snoozed = handling.snoozed.as_ref().map(|snooze| {
        let until = snooze.until.map(|until| format!(" until {}", second(until))).unwrap_or_default();
        mark(&format!("snoozed{until}"), &snooze.mark)
    });
    let said = [
        handling.acknowledged.as_ref().map(|one| mark("acknowledged", one)),
        snoozed,
        handling.closed.as_ref().map(|one| mark("closed", one)),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn when(incident: &Incident) -> String {
    let start = rfc3339(incident.started_at);
    match incident.resolved_at {
        None => format!("since {start}, {} so far", duration(incident.last_seen - incident.started_at)),
        Some(_) => format!(
            "{start} to {}, {}",
            rfc3339(incident.last_seen),
            duration(incident.last_seen - incident.started_at)
        ),
    }
}

fn size(incident: &Incident) -> String {
    format!("{} in {}", count(incident.lines, "line"), count(incident.windows, "unusual window"))
}

/// Score and threshold in words.
#[must_use]
pub fn score(worst: &Anomaly) -> String {
    format!("score {:.2}, unusual from {:.2}", worst.score, worst.threshold)
}

/// How much of the window was seen, in words.
#[must_use]
pub fn seen(worst: &Anomaly) -> String {
    let late = if worst.late { ", some of them late" } else { "" };
    format!("{}{late}", coverage(&worst.evidence.coverage))
}

fn coverage(coverage: &Coverage) -> String {
    let missing = |share: f64| {
        format!("{} of {} not seen", number(share * 100.0) + " %", count(coverage.seen + coverage.missing, "line"))
    };
    match coverage.known {
        Known::Audited => "every line seen, counted exactly".to_owned(),
        Known::Paged => "every line seen".to_owned(),
        Known::Partial if coverage.missing > 0 => missing(1.0 - coverage.share()),
        Known::Partial => "some lines were not seen".to_owned(),
        Known::Unknown => "it is not known how much was seen".to_owned(),
    }
}

fn line(sample: &Sample) -> Line {
    let stamp = second(sample.ts);
    let time = stamp.split_once('T').map_or(stamp.as_str(), |(_, time)| time).to_owned();
    Line { time, text: explain::marked(sample) }
}

/// An incident that was resolved while it was still unusual has expired: that is how the two are told apart.
fn ended(incident: &Incident) -> String {
    let Some(end) = incident.resolved_at else { return "over".to_owned() };
    if let Some(reason) = incident.detail.as_deref().and_then(|detail| detail.strip_prefix(WITHDRAWN)) {
        return reason.to_owned();
    }
    let quiet = end - incident.last_seen;
    if quiet > 0 {
        format!("quiet for {}", duration(quiet))
    } else if incident.worst.is_some() {
        "closed while it still went on: what it does now counts as usual".to_owned()
    } else {
        "well again".to_owned()
    }
}

fn query(worst: &Anomaly, incident: &Incident) -> Query {
    let logql = worst.evidence.query.clone();
    let (from, to) = (rfc3339(incident.started_at - MINUTE), rfc3339(incident.last_seen + MINUTE));
    let logcli = format!("logcli query --from={from} --to={to} --limit=500 {}", shell(&logql));
    Query { logql, logcli }
}

/// One word for a POSIX shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;

    #[test]
    fn the_strongest_is_the_first_of_all_reasons() {
        let feature = |feature, share| FeatureEvidence {
            feature,
            seen: 48.0,
            expected: (0.0, 3.0),
            share,
            forest: 0.0,
            frequent: None,
            windows: 1,
            presence: false,
            seasonal: false,
        };
        for shares in [[0.2, 0.5, 0.5], [0.5, 0.5, 0.1], [0.0, 0.1, 0.9], [0.0; 3]] {
            let features = vec![
                feature(Feature::Rate, shares[0]),
                feature(Feature::ErrorCount, shares[1]),
                feature(Feature::WarnCount, shares[2]),
            ];
            let evidence = Evidence { features, ..Evidence::default() };
            assert_eq!(strongest(&evidence), reasons(&evidence, second).into_iter().next());
            // What says nothing is left out, but something is said.
            let told = shares.iter().filter(|share| **share > 0.0).count().max(1);
            assert_eq!(reasons(&evidence, second).len(), told);
        }
        assert_eq!(strongest(&Evidence::default()), None);
    }

    #[test]
    fn only_what_is_outside_is_told() {
        let mut transition = fixture::opened();
        let told = |transition: &crate::incident::Transition| -> Vec<&'static str> {
            let said = message(&fixture::notification(transition.clone(), "slack"));
            said.told().into_iter().map(|reason| reason.what).collect()
        };
        assert_eq!(told(&transition), ["errors", "different messages", "rate"]);
        for one in &mut transition.incident.worst.as_mut().unwrap().evidence.features {
            one.seen = one.expected.0;
        }
        assert_eq!(told(&transition), ["errors"]);
    }

    #[test]
    fn coverage_is_honest() {
        let of = |known, seen, missing| coverage(&Coverage { known, seen, missing });
        assert_eq!(of(Known::Partial, 90, 10), "10 % of 100 lines not seen");
        assert_eq!(of(Known::Partial, 90, 0), "some lines were not seen");
        assert_eq!(of(Known::Unknown, 0, 0), "it is not known how much was seen");
        assert_eq!(of(Known::Paged, 9, 0), "every line seen");
    }

    #[test]
    fn an_end_says_how() {
        let mut incident = fixture::resolved().incident;
        assert_eq!(ended(&incident), "quiet for 5 minutes");
        incident.resolved_at = Some(incident.last_seen);
        assert_eq!(ended(&incident), "closed while it still went on: what it does now counts as usual");
        incident.worst = None;
        assert_eq!(ended(&incident), "well again");
    }

    #[test]
    fn a_query_is_one_word_for_the_shell() {
        let transition = fixture::hostile("it's; rm -rf /\n");
        let said = message(&fixture::notification(transition, "slack"));
        insta::assert_snapshot!(said.query.unwrap().logcli, @r#"logcli query --from=2026-11-20T21:59:00Z --to=2026-11-20T22:04:00Z --limit=500 '{service_name="it'\''s; rm -rf /\n"}'"#);
    }
}
