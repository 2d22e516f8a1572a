//! The life of the incidents of one group, as a pure state machine.
//!
//! ```text
//!            anomaly                confirmed                quiet for keep_firing_for, seen whole, confirmed
//! (nothing) ─────────▶ pending ─────────────────▶ firing ───────────────────────────────────────▶ resolved
//!                         │ withdrawn: the window grew and is normal          │ anomaly: longer, perhaps `Continued`
//!                         ▼                                                   │ open for expire_after: resolved as expired
//!                      resolved, and nobody was told
//! ```
//!
//! When its watch is there no more, whatever is open is withdrawn at once, and that is told ([`Lifecycle::withdrawn`]).
//!
//! Before it opens or resolves, an incident asks for an exact count of the range that it rests on ([`Lifecycle::wish`]);
//! the wish is repeated until [`Lifecycle::confirm`] answers it. What is observed meanwhile waits, and is taken when the
//! answer is there: so it does not matter how many windows a batch closed before anybody could count. Windows of sources
//! that cannot grow come confirmed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::config::IncidentConfig;
use super::{Incident, Severity, State, Transition, TransitionKind};
use crate::detect::calibrate::from_score;
use crate::detect::window::MAX_SAMPLES;
use crate::detect::{Anomaly, Evidence, Feature, FeatureEvidence, Group, PatternEvidence, PatternKind, Sample};
use crate::labels::{FNV_OFFSET, Labels, fnv1a};
use crate::time::{Nanos, TimeRange};

/// Rates kept for the sparkline.
pub const RATES: usize = 30;

/// Observations that may wait for a count. When there are more, the count counts as answered.
const MAX_WAITING: usize = 1000;

/// So many times more than what was told is much worse.
const ESCALATES: f64 = 5.0;

/// A part of the score that is worth telling again, and how many reasons are remembered.
const WEIGHTY: f64 = 0.2;
const MAX_REASONS: usize = 64;
/// Patterns in a message, where several windows are put together.
const MAX_JOINED: usize = 8;

/// How the detail of an incident begins that was closed for another reason than that it is over.
pub const WITHDRAWN: &str = "withdrawn: ";

/// What every incident of a group starts from: the watch's part of it.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// Where.
    pub group: &'a Group,
    /// Name of the watch.
    pub watch: &'a str,
    /// The watch's and the external labels.
    pub labels: &'a Labels,
    /// Who owns the watch.
    pub owner: Option<&'a str>,
    /// Where to read what to do.
    pub runbook_url: Option<&'a str>,
    /// When incidents end.
    pub config: &'a IncidentConfig,
}

/// One closed window of the group, or a tick where windows are not cut by time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The window; of a tick, the time since the last one.
    pub range: TimeRange,
    /// Set when the window is anomalous, with its title.
    pub anomaly: Option<(Anomaly, String)>,
    /// Whether it was seen whole.
    pub whole: bool,
    /// Whether an exact count has confirmed it, or its source cannot grow.
    pub confirmed: bool,
    /// Lines per second over the last windows, the newest last; empty while nothing is open.
    pub rates: Vec<f64>,
}

/// The open incident of one group, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lifecycle {
    open: Option<Open>,
    /// Observed since the wish was made.
    waiting: VecDeque<Observation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    incident: Incident,
    /// Transitions told so far.
    told: u64,
    /// When the last one was told.
    told_at: Nanos,
    /// All before it is confirmed, from the start of the incident on.
    confirmed_until: Nanos,
    /// The quiet time counts from here: the end of the last window that was anomalous or not seen whole.
    quiet_from: Nanos,
    /// The count that is waited for.
    wish: Option<TimeRange>,
    /// How bad it was when it was told last, and the most that was told so far, in times of what is expected.
    #[serde(default = "nothing_told")]
    told_severity: Severity,
    #[serde(default)]
    told_excess: f64,
    /// The most so far, in times of what is expected.
    #[serde(default)]
    excess: f64,
    /// What was said so far, as hashes, and when each was seen last.
    #[serde(default)]
    said: Vec<(u64, Nanos)>,
    /// The window that says something new, of which nobody has heard yet, with what weaker ones say besides.
    #[serde(default)]
    news: Option<Anomaly>,
}

/// Of incidents that were stored without it: their severity counts as told.
fn nothing_told() -> Severity {
    Severity::Critical
}

/// What followed from an observation, or from an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What people may want to hear.
    pub transitions: Vec<Transition>,
    /// Incidents that changed, as they are now; the newest last.
    pub incidents: Vec<Incident>,
    /// Whether one was closed because it had been open too long: its level is the new normal.
    pub expired: bool,
}

impl Outcome {
    fn changed(incident: &Incident) -> Self {
        Self { incidents: vec![incident.clone()], ..Self::default() }
    }

    fn told(transition: Transition) -> Self {
        Self { incidents: vec![transition.incident.clone()], transitions: vec![transition], expired: false }
    }

    fn then(&mut self, next: Self) {
        self.transitions.extend(next.transitions);
        self.incidents.extend(next.incidents);
        self.expired |= next.expired;
    }
}

impl Lifecycle {
    /// The incident that is pending or firing.
    #[must_use]
    pub fn incident(&self) -> Option<&Incident> {
        self.open.as_ref().map(|open| &open.incident)
    }

    /// The closed range whose exact count is waited for.
    #[must_use]
    pub fn wish(&self) -> Option<TimeRange> {
        self.open.as_ref().and_then(|open| open.wish)
    }

    /// Whether the window of an anomaly could be shown in a message: nothing is open, it is the worst so far, it is news,
    /// or that is not known yet because something is being counted.
    #[must_use]
    pub fn may_tell(&self, anomaly: &Anomaly, config: &IncidentConfig) -> bool {
        let Some(open) = &self.open else { return true };
        let worse = open.incident.worst.as_ref().is_none_or(|worst| anomaly.score > worst.score);
        worse || open.wish.is_some() || open.is_news(anomaly, config)
    }

    /// Takes the next window, or a tick, in order of time.
    pub fn observe(&mut self, origin: &Origin<'_>, seen: Observation) -> Outcome {
        let Some(wish) = self.wish() else { return self.apply(origin, &seen) };
        self.waiting.push_back(seen);
        if self.waiting.len() > MAX_WAITING { self.confirm(origin, wish) } else { Outcome::default() }
    }

    /// Takes a window that was closed before, grew, and was judged again. A pending incident that rests on it alone is
    /// withdrawn when it turns out normal.
    pub fn amend(&mut self, origin: &Origin<'_>, seen: Observation) -> Outcome {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.range == seen.range) {
            *waiting = seen;
            return Outcome::default();
        }
        match (&seen.anomaly, &mut self.open) {
            (Some((anomaly, title)), Some(open)) if open.incident.started_at <= seen.range.start => {
                open.weigh(anomaly, title);
                Outcome::changed(&open.incident)
            }
            // A second incident of the group cannot be, and the open one began later: it is about the same thing.
            (Some(_), Some(_)) => Outcome::default(),
            (Some(_), None) => self.observe(origin, seen),
            (None, Some(open)) if open.rests_on(seen.range) => {
                let mut outcome =
                    self.withdraw(seen.range.end, "late lines arrived, and the window is normal with them");
                outcome.then(self.catch_up(origin));
                outcome
            }
            (None, _) => Outcome::default(),
        }
    }

    /// Takes the answer to [`Lifecycle::wish`]: all of `range` has been counted, and what grew was amended before.
    pub fn confirm(&mut self, origin: &Origin<'_>, range: TimeRange) -> Outcome {
        let Some(open) = &mut self.open else { return Outcome::default() };
        let Some(wish) = open.wish.filter(|wish| range.start <= wish.start && wish.end <= range.end) else {
            return Outcome::default();
        };
        open.wish = None;
        open.confirmed_until = open.confirmed_until.max(wish.end);
        let mut outcome = match open.incident.state {
            State::Pending if open.has_lasted(origin.config) => self.fire(wish.end),
            State::Firing if wish.end - open.quiet_from >= origin.config.keep_firing_for.nanos() => {
                self.resolve(wish.end, None)
            }
            _ => Outcome::default(),
        };
        outcome.then(self.catch_up(origin));
        outcome
    }

    /// Nobody looks there any more, for this reason: closes what is open, without a count.
    pub fn withdrawn(&mut self, at: Nanos, reason: &str) -> Outcome {
        self.waiting.clear();
        let Some(open) = &self.open else { return Outcome::default() };
        match open.incident.state {
            State::Pending => self.withdraw(at, reason),
            _ => self.resolve(at, Some(format!("{WITHDRAWN}{reason}"))),
        }
    }

    /// Takes what has waited, until something must be counted again.
    fn catch_up(&mut self, origin: &Origin<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        while self.wish().is_none() {
            let Some(seen) = self.waiting.pop_front() else { break };
            outcome.then(self.apply(origin, &seen));
        }
        outcome
    }

    fn apply(&mut self, origin: &Origin<'_>, seen: &Observation) -> Outcome {
        match &seen.anomaly {
            Some((anomaly, title)) => self.anomalous(origin, seen, anomaly, title),
            None => self.quiet(origin, seen),
        }
    }

    fn anomalous(&mut self, origin: &Origin<'_>, seen: &Observation, anomaly: &Anomaly, title: &str) -> Outcome {
        let fresh = self.open.is_none();
        let open = self.open.get_or_insert_with(|| Open::new(origin, anomaly, title));
        open.incident.rates = seen.rates.clone();
        if !fresh {
            open.weigh(anomaly, title);
        }
        let news = open.is_news(anomaly, origin.config);
        open.hear(anomaly);
        open.incident.windows += 1;
        open.incident.lines += anomaly.lines;
        open.incident.last_seen = open.incident.last_seen.max(anomaly.range.end);
        open.quiet_from = open.quiet_from.max(anomaly.range.end);
        if seen.confirmed {
            open.confirmed_until = open.confirmed_until.max(seen.range.end);
        }
        match open.incident.state {
            State::Pending if !open.has_lasted(origin.config) => Outcome::changed(&open.incident),
            State::Pending if open.confirmed_until >= open.incident.last_seen => self.fire(seen.range.end),
            State::Pending => {
                open.wish = Some(TimeRange::new(open.incident.started_at, open.incident.last_seen));
                Outcome::changed(&open.incident)
            }
            _ => self.go_on(origin, seen.range.end, news.then_some(anomaly)),
        }
    }

    /// `news`: the window, when it says something new.
    fn go_on(&mut self, origin: &Origin<'_>, at: Nanos, news: Option<&Anomaly>) -> Outcome {
        let Some(open) = &mut self.open else { return Outcome::default() };
        open.wish = None;
        if at - open.incident.started_at >= origin.config.expire_after.nanos() {
            return self.expire(at);
        }
        if let Some(anomaly) = news {
            open.news = Some(match open.news.take() {
                Some(known) if known.score > anomaly.score => join(known, anomaly),
                Some(known) => join(anomaly.clone(), &known),
                None => anomaly.clone(),
            });
        }
        let since = at - open.told_at;
        // News too soon after a message waits: it is told late, not never.
        let kind = if open.escalates(at, origin.config) {
            TransitionKind::Escalated
        } else if since >= origin.config.update_interval.nanos()
            || (open.news.is_some() && since >= origin.config.news_interval.nanos())
        {
            TransitionKind::Continued
        } else {
            return Outcome::changed(&open.incident);
        };
        let news = open.news.take();
        let mut told = open.tell(kind, at);
        // What is new is what they should look at; the incident keeps its worst window.
        told.incident.worst = news.or(told.incident.worst);
        Outcome::told(told)
    }

    fn quiet(&mut self, origin: &Origin<'_>, seen: &Observation) -> Outcome {
        let Some(open) = &mut self.open else { return Outcome::default() };
        if seen.confirmed && open.confirmed_until >= seen.range.start {
            open.confirmed_until = open.confirmed_until.max(seen.range.end);
        }
        if open.incident.state == State::Pending {
            if seen.whole && !open.has_lasted(origin.config) {
                return self.withdraw(seen.range.end, "it was over before incident.for had passed");
            }
            return Outcome::default();
        }
        open.incident.rates = seen.rates.clone();
        if !seen.whole {
            // Blind is not quiet.
            open.quiet_from = open.quiet_from.max(seen.range.end);
        }
        let at = seen.range.end;
        if at - open.incident.started_at >= origin.config.expire_after.nanos() {
            return self.expire(at);
        }
        if at - open.quiet_from < origin.config.keep_firing_for.nanos() {
            return Outcome::default();
        }
        if open.confirmed_until >= at {
            return self.resolve(at, None);
        }
        open.wish = Some(TimeRange::new(open.quiet_from, at));
        Outcome::default()
    }

    fn fire(&mut self, at: Nanos) -> Outcome {
        let Some(open) = &mut self.open else { return Outcome::default() };
        open.incident.state = State::Firing;
        Outcome::told(open.tell(TransitionKind::Opened, at))
    }

    fn resolve(&mut self, at: Nanos, detail: Option<String>) -> Outcome {
        let Some(mut open) = self.open.take() else { return Outcome::default() };
        open.incident.state = State::Resolved;
        open.incident.resolved_at = Some(at);
        open.incident.detail = detail;
        Outcome::told(open.tell(TransitionKind::Resolved, at))
    }

    fn expire(&mut self, at: Nanos) -> Outcome {
        let detail = "expired: it has been so for so long that it is taken as the new normal".to_owned();
        Outcome { expired: true, ..self.resolve(at, Some(detail)) }
    }

    fn withdraw(&mut self, at: Nanos, reason: &str) -> Outcome {
        let Some(mut open) = self.open.take() else { return Outcome::default() };
        open.incident.state = State::Resolved;
        open.incident.resolved_at = Some(at);
        open.incident.detail = Some(format!("{WITHDRAWN}{reason}"));
        Outcome::changed(&open.incident)
    }
}

impl Open {
    fn new(origin: &Origin<'_>, anomaly: &Anomaly, title: &str) -> Self {
        let start = anomaly.range.start;
        let id = fnv1a(fnv1a(FNV_OFFSET, &origin.group.fingerprint.0.to_le_bytes()), &start.to_le_bytes());
        let incident = Incident {
            id: format!("{id:016x}"),
            group: origin.group.clone(),
            watch: origin.watch.to_owned(),
            labels: origin.labels.clone(),
            owner: origin.owner.map(str::to_owned),
            runbook_url: origin.runbook_url.map(str::to_owned),
            state: State::Pending,
            severity: severity_of(&anomaly.evidence),
            title: title.to_owned(),
            started_at: start,
            last_seen: anomaly.range.end,
            resolved_at: None,
            windows: 0,
            lines: 0,
            worst: Some(anomaly.clone()),
            rates: Vec::new(),
            detail: None,
            handling: crate::incident::Handling::default(),
        };
        Self {
            incident,
            told: 0,
            told_at: start,
            confirmed_until: start,
            quiet_from: anomaly.range.end,
            wish: None,
            told_severity: Severity::Info,
            told_excess: 0.0,
            excess: excess(anomaly),
            said: Vec::new(),
            news: None,
        }
    }

    /// Whether a window says something that the incident did not say before, or not for as long as would have resolved
    /// it: another reason, or that it is back after having been quiet for `news_interval`.
    fn is_news(&self, anomaly: &Anomaly, config: &IncidentConfig) -> bool {
        let old = anomaly.range.start.saturating_sub(config.keep_firing_for.nanos());
        let fresh = |reason: &u64| match self.said.iter().find(|(known, _)| known == reason) {
            Some((_, seen)) => *seen < old,
            None => self.said.len() < MAX_REASONS,
        };
        let back = anomaly.range.start - self.incident.last_seen >= config.news_interval.nanos();
        !self.said.is_empty() && (back || reasons(anomaly).iter().any(fresh))
    }

    /// Remembers what a window says.
    fn hear(&mut self, anomaly: &Anomaly) {
        for reason in reasons(anomaly) {
            if let Some((_, seen)) = self.said.iter_mut().find(|(known, _)| *known == reason) {
                *seen = anomaly.range.end;
            } else if self.said.len() < MAX_REASONS {
                self.said.push((reason, anomaly.range.end));
            }
        }
    }

    /// Whether it has gone on for as long as it must before it fires.
    fn has_lasted(&self, config: &IncidentConfig) -> bool {
        self.incident.last_seen - self.incident.started_at >= config.pending_for.nanos()
    }

    /// Whether it is much worse than what was told: another severity, or many times more.
    fn escalates(&self, at: Nanos, config: &IncidentConfig) -> bool {
        let many = self.excess >= ESCALATES * self.told_excess.max(1.0);
        self.incident.severity > self.told_severity || (many && at - self.told_at >= config.news_interval.nanos())
    }

    /// Keeps the worst window. Nobody has heard of a pending incident, so its title follows the worst window too; later
    /// it stays, so that the ticket keeps its name.
    fn weigh(&mut self, anomaly: &Anomaly, title: &str) {
        self.incident.severity = self.incident.severity.max(severity_of(&anomaly.evidence));
        self.excess = self.excess.max(excess(anomaly));
        let worst = self.incident.worst.as_ref().map_or(f64::MIN, |worst| worst.score);
        let again = self.incident.worst.as_ref().is_some_and(|worst| worst.range == anomaly.range);
        if anomaly.score > worst || again {
            self.incident.worst = Some(anomaly.clone());
            if self.incident.state == State::Pending {
                title.clone_into(&mut self.incident.title);
            }
        }
    }

    fn rests_on(&self, range: TimeRange) -> bool {
        let only = self.incident.windows == 1 && self.incident.state == State::Pending;
        only && self.incident.worst.as_ref().is_some_and(|worst| worst.range == range)
    }

    fn tell(&mut self, kind: TransitionKind, at: Nanos) -> Transition {
        self.told += 1;
        self.told_at = at;
        (self.told_severity, self.told_excess) = (self.incident.severity, self.excess);
        Transition { kind, number: self.told, at, incident: self.incident.clone() }
    }
}

/// How many times what is expected the greatest count of an anomaly is, in a window: what is only added up over more of
/// them is no worse.
fn excess(anomaly: &Anomaly) -> f64 {
    let counts = anomaly.evidence.features.iter();
    let counts = counts.filter(|one| matches!(one.feature, Feature::ErrorCount | Feature::WarnCount | Feature::Rate));
    let counts = counts.map(|one| (one.seen, one.expected.1, one.windows));
    let lines = anomaly.evidence.patterns.iter().map(|one| (one.seen, one.expected, one.windows));
    let times = |(seen, expected, windows): (f64, f64, u32)| seen / expected.max(windows.max(1).into());
    counts.chain(lines).map(times).filter(|times| times.is_finite()).fold(0.0, f64::max)
}

/// What an anomaly says, as hashes: kinds of findings with the lines that they are about. Of each only what has a
/// good part of the score, or would have been enough by itself.
fn reasons(anomaly: &Anomaly) -> Vec<u64> {
    let features = anomaly.evidence.features.iter().filter(|one| weighs(anomaly, one.share)).map(feature_reason);
    let patterns = anomaly.evidence.patterns.iter().filter(|one| weighs(anomaly, one.share));
    features.chain(patterns.map(|one| pattern_reason(anomaly, one))).collect()
}

/// Whether this share of its score is worth telling by itself.
fn weighs(anomaly: &Anomaly, share: f64) -> bool {
    let (surprise, needed) = (from_score(anomaly.score), from_score(anomaly.threshold));
    share >= WEIGHTY || share * surprise >= needed
}

fn feature_reason(one: &FeatureEvidence) -> u64 {
    let up = one.seen > one.expected.1;
    fnv1a(FNV_OFFSET, &[1, one.feature as u8, u8::from(up)])
}

fn pattern_reason(anomaly: &Anomaly, one: &PatternEvidence) -> u64 {
    // Of an instance, which one it is.
    let what = if one.kind == PatternKind::Instance { &one.key } else { &one.line };
    let line = what.as_deref().unwrap_or_default();
    // A step that is missing here and there is one thing, a service that says nothing any more another.
    let silent = one.kind == PatternKind::Missing && anomaly.lines == 0;
    fnv1a(fnv1a(FNV_OFFSET, &[2, one.kind as u8, u8::from(silent)]), line.as_bytes())
}

/// What a window says, with what a weaker one says besides: each with the share of what both say.
fn join(mut strong: Anomaly, weak: &Anomaly) -> Anomaly {
    let known: Vec<u64> = strong.evidence.patterns.iter().map(|one| pattern_reason(&strong, one)).collect();
    let fresh = |one: &&PatternEvidence| weighs(weak, one.share) && !known.contains(&pattern_reason(weak, one));
    let room = MAX_JOINED.saturating_sub(strong.evidence.patterns.len());
    let patterns: Vec<PatternEvidence> = weak.evidence.patterns.iter().filter(fresh).take(room).cloned().collect();
    let known: Vec<u64> = reasons(&strong);
    let fresh = |one: &&FeatureEvidence| weighs(weak, one.share) && !known.contains(&feature_reason(one));
    let features: Vec<FeatureEvidence> = weak.evidence.features.iter().filter(fresh).cloned().collect();
    let taken: f64 = patterns.iter().map(|one| one.share).chain(features.iter().map(|one| one.share)).sum();
    let (own, other) = (from_score(strong.score), from_score(weak.score));
    let all = own + other * taken;
    if taken <= 0.0 || all <= 0.0 {
        return strong;
    }
    let evidence = &mut strong.evidence;
    evidence.patterns.iter_mut().for_each(|one| one.share *= own / all);
    evidence.features.iter_mut().for_each(|one| one.share *= own / all);
    evidence.patterns.extend(patterns.into_iter().map(|one| PatternEvidence { share: one.share * other / all, ..one }));
    evidence.features.retain(|one| features.iter().all(|more| more.feature != one.feature) || one.share > 0.0);
    evidence.features.extend(features.into_iter().map(|one| FeatureEvidence { share: one.share * other / all, ..one }));
    let more: Vec<Sample> =
        weak.evidence.samples.iter().filter(|one| !evidence.samples.contains(one)).cloned().collect();
    evidence.samples.extend(more);
    evidence.samples.truncate(MAX_SAMPLES);
    strong
}

/// How bad an anomaly is: critical when lines stop or errors are ten times what is expected, info when only the shape
/// of the lines has changed, warning otherwise.
#[must_use]
pub fn severity_of(evidence: &Evidence) -> Severity {
    let outside: Vec<&FeatureEvidence> =
        evidence.features.iter().filter(|e| e.seen < e.expected.0 || e.seen > e.expected.1).collect();
    let critical = outside.iter().any(|e| match e.feature {
        Feature::ErrorCount => e.seen >= 10.0 * e.expected.1.max(1.0),
        Feature::Rate => e.seen <= 0.0 && e.expected.0 > 0.0,
        _ => false,
    });
    let shape = |e: &&FeatureEvidence| matches!(e.feature, Feature::LineLength | Feature::UniqueMessages);
    match (critical, outside.iter().all(shape) && evidence.patterns.is_empty()) {
        (true, _) => Severity::Critical,
        (false, true) => Severity::Info,
        (false, false) => Severity::Warning,
    }
}

#[cfg(test)]
mod tests;
