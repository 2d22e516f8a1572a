//! One group of a watch: its open windows, its model, its incident.

use std::collections::VecDeque;

use super::JudgedWindow;
use super::carry::GroupCarry;
use super::watch::{Out, Shared};
use super::{Snapshot, WatchOptions};
use crate::collect::{Coverage, Entry, Known};
use crate::detect::config::WindowSpec;
use crate::detect::model::Model;
use crate::detect::pattern::{Found, GroupNumber};
use crate::detect::window::{LineWindows, MAX_SAMPLES, OpenWindow};
use crate::detect::{Anomaly, Evidence, Feature, Group, Judgement, Level, Sample, Window};
use crate::detect::{decide, explain};
use crate::incident::lifecycle::{Lifecycle, Observation, Origin, Outcome, RATES};
use crate::labels::{Fingerprint, Labels, quote};
use crate::time::{MINUTE, Nanos, TimeRange};

/// How long closed windows are remembered so that late lines can be told from known ones: Loki takes lines up to an
/// hour behind the newest of their stream (`max_chunk_age` / 2).
pub(super) const REMEMBER: Nanos = 70 * MINUTE;

/// What is known of one group.
#[derive(Debug)]
pub(super) struct GroupState {
    pub(super) group: Group,
    pub(super) last_line: Nanos,
    /// Its number among the watch's patterns.
    pub(super) number: GroupNumber,
    model: Model,
    model_until: Nanos,
    open: OpenWindow,
    /// The window of time that was closed last, until it is judged.
    last: OpenWindow,
    lines: Option<LineWindows>,
    lifecycle: Lifecycle,
    rates: VecDeque<f64>,
    closed: VecDeque<Closed>,
}

/// What the patterns of the watch say of a window.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) found: Vec<Found>,
    /// Whether nearly all lines of the group are in sessions.
    pub(super) in_sessions: bool,
    /// The rarest line of a window of lines.
    pub(super) rarest: Option<Found>,
}

/// What a group is judged with.
pub(super) type Settings<'a> = (&'a WatchOptions, &'a Shared);

/// A window of time that was closed lately.
#[derive(Clone, Copy, Debug)]
struct Closed {
    range: TimeRange,
    lines: u64,
    revision: u32,
}

impl GroupState {
    pub(super) fn new(labels: Labels, options: &WatchOptions, shared: &Shared) -> Self {
        let fingerprint = Fingerprint::of(&shared.tenant, &options.name, &labels);
        let lines = match options.window {
            WindowSpec::Lines { size, step } => Some(LineWindows::new(size, step)),
            WindowSpec::Time(_) => None,
        };
        Self {
            model: Model::new(&shared.detect, fingerprint),
            group: Group { fingerprint, labels },
            last_line: 0,
            number: GroupNumber::default(),
            model_until: 0,
            open: OpenWindow::new(),
            last: OpenWindow::new(),
            lines,
            lifecycle: Lifecycle::default(),
            rates: VecDeque::new(),
            closed: VecDeque::new(),
        }
    }

    pub(super) fn ready(&self) -> bool {
        let (have, need) = self.model.progress();
        have >= need
    }

    /// Whether nothing is open: only then may the group be forgotten, or its incident would never end.
    pub(super) fn idle(&self) -> bool {
        self.lifecycle.incident().is_none()
    }

    pub(super) fn wish(&self) -> Option<TimeRange> {
        self.lifecycle.wish()
    }

    /// Adds an entry to the open window, or to the windows of lines, one of which it may close.
    pub(super) fn add(&mut self, entry: &Entry<'_>, level: Level, message: u64, known: Known) -> Option<Window> {
        self.last_line = self.last_line.max(entry.ts);
        match &mut self.lines {
            Some(lines) => lines.add(entry, level, message, known),
            None => {
                self.open.add(entry, level, message);
                None
            }
        }
    }

    /// The messages of the window of lines that was filled last.
    pub(super) fn messages(&self) -> Vec<(u64, Level)> {
        self.lines.as_ref().map(LineWindows::messages).unwrap_or_default()
    }

    /// Closes the open window of time.
    pub(super) fn close(&mut self, range: TimeRange, coverage: Coverage) -> Window {
        let coverage = Coverage { seen: self.open.lines(), ..coverage };
        let window = self.open.close(range, coverage, false);
        std::mem::swap(&mut self.open, &mut self.last);
        self.open.clear();
        window
    }

    /// Forgets the open window: what it holds was not seen from its start.
    pub(super) fn discard(&mut self) {
        self.open.clear();
    }

    /// Scores and learns a window of history; nobody is told.
    pub(super) fn study(&mut self, window: &Window, about: &About) {
        let judgement = self.judged(window, about);
        self.model.learn(window, &judgement);
        self.model_until = self.model_until.max(window.range.end);
        self.remember(window);
    }

    /// Judges a closed window, learns it, and takes it into the life of the incident. Of a window that was not seen
    /// whole nothing is said: what is missing would look like silence.
    pub(super) fn judge(&mut self, mut window: Window, about: &About, (options, shared): Settings<'_>, out: &mut Out) {
        let whole = window.coverage.is_whole();
        let judgement = if whole { self.judged(&window, about) } else { Judgement::default() };
        let learnt = self.model.learn(&window, &judgement);
        self.model_until = self.model_until.max(window.range.end);
        self.remember(&window);
        if judgement.anomalous.is_some() && self.lines.is_none() {
            window.samples = self.last.kept().samples();
        }
        self.tell(&window, &judgement, options, shared, out);
        out.windows.push(self.row(window, judgement, learnt, 0));
    }

    fn judged(&self, window: &Window, about: &About) -> Judgement {
        let judgement = self.model.judge_in(window, about.in_sessions);
        let judgement = match &about.rarest {
            Some(rarest) => decide::join_rarest(judgement, rarest),
            None => judgement,
        };
        decide::join(judgement, about.found.iter().filter(|found| found.group == self.number))
    }

    /// Judges a window again that grew after it was closed. Returns how many lines are new. Its model has learnt the
    /// window as it was first seen and keeps it so: a model is a fold over first revisions.
    pub(super) fn rejudge(
        &mut self,
        mut window: Window,
        options: &WatchOptions,
        shared: &Shared,
        out: &mut Out,
    ) -> u64 {
        let before = self.closed.iter_mut().find(|closed| closed.range == window.range);
        let Some(closed) = before.filter(|closed| closed.lines < window.lines) else { return 0 };
        let more = window.lines - closed.lines;
        closed.lines = window.lines;
        closed.revision += 1;
        let revision = closed.revision;
        window.late = true;
        let judgement = self.model.judge(&window);
        self.tell(&window, &judgement, options, shared, out);
        out.windows.push(self.row(window, judgement, false, revision));
        more
    }

    /// Lets time pass where windows are not cut by time.
    pub(super) fn tick(
        &mut self,
        range: TimeRange,
        known: Known,
        options: &WatchOptions,
        shared: &Shared,
        out: &mut Out,
    ) {
        let (whole, confirmed) = (known >= Known::Paged, known == Known::Audited);
        let seen = Observation { range, anomaly: None, whole, confirmed, rates: self.rates() };
        let outcome = self.lifecycle.observe(&origin(&self.group, options, shared), seen);
        self.take(outcome, shared, out);
    }

    /// Takes the answer to a wish.
    pub(super) fn confirm(&mut self, range: TimeRange, options: &WatchOptions, shared: &Shared, out: &mut Out) {
        let outcome = self.lifecycle.confirm(&origin(&self.group, options, shared), range);
        self.take(outcome, shared, out);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot { group: self.group.fingerprint, until: self.model_until, model: self.model.snapshot() }
    }

    pub(super) fn carry(&self) -> GroupCarry {
        GroupCarry {
            labels: self.group.labels.clone(),
            last_line: self.last_line,
            rates: self.rates.iter().copied().collect(),
            lines: self.lines.clone(),
            lifecycle: self.lifecycle.clone(),
        }
    }

    pub(super) fn uncarry(&mut self, carry: GroupCarry) {
        self.last_line = carry.last_line;
        self.rates = carry.rates.into();
        self.lifecycle = carry.lifecycle;
        if self.lines.is_some() && carry.lines.is_some() {
            self.lines = carry.lines;
        }
    }

    pub(super) fn restore_model(&mut self, snapshot: &Snapshot, shared: &Shared) {
        if let Some(model) = Model::restore(&shared.detect, self.group.fingerprint, &snapshot.model) {
            self.model = model;
            self.model_until = snapshot.until;
        }
    }

    /// Takes a stored window back: into the model when it is younger than the snapshot, and into memory.
    pub(super) fn refold(&mut self, row: &JudgedWindow) {
        if row.window.range.end > self.model_until {
            self.model.fold(&row.window, &row.judgement, row.learnt);
            self.model_until = row.window.range.end;
        }
        self.remember_closed(&row.window);
    }

    fn remember(&mut self, window: &Window) {
        self.rates.push_back(window.features.get(Feature::Rate).unwrap_or_default());
        if self.rates.len() > RATES {
            self.rates.pop_front();
        }
        self.remember_closed(window);
    }

    fn remember_closed(&mut self, window: &Window) {
        if self.lines.is_some() {
            return;
        }
        self.closed.push_back(Closed { range: window.range, lines: window.lines, revision: 0 });
        while self.closed.front().is_some_and(|closed| closed.range.end < window.range.end - REMEMBER) {
            self.closed.pop_front();
        }
    }

    fn tell(&mut self, window: &Window, judgement: &Judgement, options: &WatchOptions, shared: &Shared, out: &mut Out) {
        let anomaly = self.anomaly(window, judgement, options);
        let titled = anomaly.as_ref().map(|anomaly| (anomaly.clone(), self.title(anomaly)));
        let seen = Observation {
            range: window.range,
            rates: if anomaly.is_some() { self.rates.iter().copied().collect() } else { self.rates() },
            anomaly: titled,
            whole: window.coverage.is_whole(),
            confirmed: window.coverage.known == Known::Audited,
        };
        let origin = origin(&self.group, options, shared);
        let outcome =
            if window.late { self.lifecycle.amend(&origin, seen) } else { self.lifecycle.observe(&origin, seen) };
        self.take(outcome, shared, out);
        out.anomalies.extend(anomaly);
    }

    /// For the sparkline of an incident, while there is one.
    fn rates(&self) -> Vec<f64> {
        let rates = self.lifecycle.incident().map(|_| self.rates.iter().copied().collect());
        rates.unwrap_or_default()
    }

    fn take(&mut self, outcome: Outcome, shared: &Shared, out: &mut Out) {
        out.transitions.extend(outcome.transitions);
        for incident in outcome.incidents {
            out.incidents.retain(|known| known.id != incident.id);
            out.incidents.push(incident);
        }
        if outcome.expired {
            // What has been so for so long is normal from now on: learn it from the start.
            self.model = Model::new(&shared.detect, self.group.fingerprint);
        }
    }

    fn title(&self, anomaly: &Anomaly) -> String {
        format!("{}: {}", name(&self.group.labels), explain::headline(&anomaly.evidence))
    }

    fn anomaly(&self, window: &Window, judgement: &Judgement, options: &WatchOptions) -> Option<Anomaly> {
        let features = judgement.anomalous.clone()?;
        Some(Anomaly {
            group: self.group.clone(),
            range: window.range,
            lines: window.lines,
            late: window.late,
            score: judgement.score.unwrap_or_default(),
            threshold: judgement.threshold.unwrap_or_default(),
            evidence: Evidence {
                features,
                patterns: judgement.patterns.clone(),
                samples: samples(judgement, window),
                coverage: window.coverage,
                query: narrow(&options.query, &self.group.labels),
            },
        })
    }

    fn row(&self, window: Window, judgement: Judgement, learnt: bool, revision: u32) -> JudgedWindow {
        JudgedWindow { group: self.group.clone(), window, judgement, learnt, revision }
    }
}

/// The lines that patterns are about; those of the window, the worst first, where its counts speak or there are no others.
fn samples(judgement: &Judgement, window: &Window) -> Vec<Sample> {
    let counts = judgement.anomalous.iter().flatten().map(|one| one.share).sum::<f64>();
    let mut all = judgement.samples.clone();
    if all.is_empty() || counts > 0.0 {
        all.extend(window.samples.iter().cloned());
    }
    let mut kept: Vec<Sample> = Vec::new();
    for one in all {
        if kept.len() < MAX_SAMPLES && !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

fn origin<'a>(group: &'a Group, options: &'a WatchOptions, shared: &'a Shared) -> Origin<'a> {
    Origin {
        group,
        watch: &options.name,
        labels: &options.labels,
        owner: options.owner.as_deref(),
        runbook_url: options.runbook_url.as_deref(),
        config: &shared.incident,
    }
}

/// How people call a group: the values of its labels.
fn name(labels: &Labels) -> String {
    let values: Vec<&str> = labels.iter().map(|(_, value)| value).collect();
    if values.is_empty() { "all".to_owned() } else { values.join("/") }
}

/// The query narrowed to the group: its labels become matchers of the selector.
fn narrow(query: &str, group: &Labels) -> String {
    let Some(rest) = query.trim_start().strip_prefix('{') else { return query.to_owned() };
    // A matcher that anything passes says nothing beside one that names the value.
    let any = group.iter().map(|(name, _)| format!("{name}=~\".+\""));
    let rest = any.fold(rest.to_owned(), |rest, any| {
        let rest = rest.replacen(&format!("{any}, "), "", 1).replacen(&format!("{any},"), "", 1);
        rest.replacen(&format!(", {any}"), "", 1).replacen(&any, "", 1)
    });
    let known = |name: &str| rest.split('}').next().unwrap_or("").contains(&format!("{name}=\""));
    let matchers: Vec<String> =
        group.iter().filter(|(name, _)| !known(name)).map(|(name, value)| format!("{name}={}", quote(value))).collect();
    let comma = if rest.trim_start().starts_with('}') || matchers.is_empty() { "" } else { ", " };
    format!("{{{}{comma}{rest}", matchers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_narrowed_to_the_group() {
        let group: Labels = [("service_name", "ca\"rt")].into_iter().collect();
        for (query, narrowed) in [
            (r#"{env="prod"} != "x""#, r#"{service_name="ca\"rt", env="prod"} != "x""#),
            (r#"{service_name=~".+"}"#, r#"{service_name="ca\"rt"}"#),
            (r#"{service_name=~".+", env="x"} |= "a""#, r#"{service_name="ca\"rt", env="x"} |= "a""#),
            ("{}", r#"{service_name="ca\"rt"}"#),
            (r#"{service_name="cart"}"#, r#"{service_name="cart"}"#),
        ] {
            assert_eq!(narrow(query, &group), narrowed);
        }
    }
}
