//! One group of a watch: its open windows, its model, its incident.

mod tell;

use std::collections::VecDeque;

pub(super) use tell::name;
use tell::signs;

use super::JudgedWindow;
use super::carry::GroupCarry;
use super::narrow::narrow;
use super::watch::{Out, Shared};
use super::{Snapshot, WatchOptions};
use crate::collect::{Coverage, Entry, Known};
use crate::detect::Grade;
use crate::detect::config::{Preset, WindowSpec};
use crate::detect::habit::{Habit, Habits, Sign};
use crate::detect::model::Model;
use crate::detect::pattern::{Found, GroupNumber, Patterns};
use crate::detect::window::{LineWindows, OpenWindow};
use crate::detect::{Anomaly, Feature, FeatureEvidence, Group, Judgement, Level, Window, decide, held};
use crate::incident::lifecycle::{Lifecycle, Observation, Origin, Outcome, RATES};
use crate::labels::{Fingerprint, Labels};
use crate::time::{MINUTE, Nanos, TimeRange};

/// How long closed windows are remembered so that late lines can be told from known ones: Loki takes lines up to an
/// hour behind the newest of their stream (`max_chunk_age` / 2).
pub(super) const REMEMBER: Nanos = 70 * MINUTE;

/// Bytes of the lines that two windows keep for the case that one of them is told.
const KEPT_LINES: usize = 2 * 2_048;

/// What is known of one group.
#[derive(Debug)]
pub(super) struct GroupState {
    pub(super) group: Group,
    /// The watch's query narrowed to it.
    query: String,
    pub(super) last_line: Nanos,
    /// Its number among the watch's patterns.
    pub(super) number: GroupNumber,
    model: Model,
    model_until: Nanos,
    /// When it became known, and when its model began anew.
    pub(super) born: Nanos,
    /// When its model was stored last, or when it became known.
    pub(super) stored_at: Nanos,
    model_from: Nanos,
    open: OpenWindow,
    /// The window of time that was closed last, until it is judged.
    last: OpenWindow,
    lines: Option<LineWindows>,
    lifecycle: Lifecycle,
    rates: VecDeque<f64>,
    closed: VecDeque<Closed>,
    habits: Habits,
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
#[derive(Clone, Copy, Debug)]
pub(super) struct With<'a> {
    pub(super) options: &'a WatchOptions,
    pub(super) shared: &'a Shared,
    pub(super) patterns: &'a Patterns,
}

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
            query: narrow(&options.query, &labels),
            group: Group { fingerprint, labels },
            last_line: 0,
            number: GroupNumber::default(),
            model_until: 0,
            born: Nanos::MIN,
            stored_at: 0,
            model_from: Nanos::MIN,
            open: OpenWindow::new(),
            last: OpenWindow::new(),
            lines,
            lifecycle: Lifecycle::default(),
            rates: VecDeque::new(),
            closed: VecDeque::new(),
            habits: Habits::default(),
        }
    }

    pub(super) fn spend(&mut self, false_alerts_per_day: f64) {
        self.model.spend(false_alerts_per_day);
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
        let judgement = self.judged(window, about, |_| false);
        self.note(window, &judgement);
        self.model.learn(window, &judgement);
        self.model_until = self.model_until.max(window.range.end);
        self.remember(window);
    }

    /// Judges a closed window, learns it, and takes it into the life of the incident. Of a window that was not seen
    /// whole nothing is said: what is missing would look like silence.
    pub(super) fn judge(&mut self, mut window: Window, about: &About, with: With<'_>, out: &mut Out) {
        let whole = window.coverage.is_whole();
        if with.patterns.is_poor(self.number) {
            window.features.0[Feature::UniqueMessages as usize] = None;
        }
        let judgement = if whole { self.judged(&window, about, |_| false) } else { Judgement::default() };
        if whole && judgement.anomalous.is_none() && with.patterns.is_explaining() {
            out.near_misses.extend(self.near(&window, about, &judgement, with));
        }
        if judgement.anomalous.is_some() && self.lines.is_none() {
            window.samples = self.last.kept().samples();
        }
        let anomaly = self.anomaly(&window, &judgement, about, with);
        self.note(&window, &judgement);
        let learnt = self.model.learn(&window, &judgement);
        self.model_until = self.model_until.max(window.range.end);
        self.remember(&window);
        self.tell(&window, anomaly, with, out);
        out.windows.push(self.row(window, judgement, learnt, 0));
    }

    /// What is found about a window beside what is usual.
    fn judged(&self, window: &Window, about: &About, usual: impl Fn(&Sign) -> bool) -> Judgement {
        let of_feature = |one: &FeatureEvidence| Sign::of_feature(one).is_some_and(|sign| usual(&sign));
        let judgement = self.model.judge_beside(window, about.in_sessions, of_feature);
        let judgement = match &about.rarest {
            Some(rarest) => decide::join_rarest(judgement, rarest),
            None => judgement,
        };
        let of_group = about.found.iter().filter(|found| found.group == self.number);
        decide::join(judgement, of_group.filter(|found| !usual(&Sign::of_pattern(&found.evidence))))
    }

    /// What of an anomalous window is not usual at this time of the day or of the week, or the habit that it is.
    fn unusual(&self, window: &Window, about: &About, all: &Judgement, with: With<'_>) -> Result<Judgement, Habit> {
        if with.shared.detect.preset == Preset::Classic || !with.shared.detect.habits {
            return Ok(all.clone());
        }
        let first = signs(all).filter_map(|sign| self.habits.usual(window.range, &sign)).next();
        let Some(habit) = first else { return Ok(all.clone()) };
        let rest = self.judged(window, about, |sign| self.habits.usual(window.range, sign).is_some());
        if rest.anomalous.is_some() { Ok(rest) } else { Err(habit) }
    }

    /// Remembers what was found at this time.
    fn note(&mut self, window: &Window, judgement: &Judgement) {
        if judgement.anomalous.is_some() && self.lines.is_none() {
            self.habits.note(window.range, signs(judgement));
        }
    }

    /// Judges a window again that grew after it was closed. Returns how many lines are new. Its model has learnt the
    /// window as it was first seen and keeps it so: a model is a fold over first revisions.
    pub(super) fn rejudge(&mut self, mut window: Window, with: With<'_>, out: &mut Out) -> u64 {
        let before = self.closed.iter_mut().find(|closed| closed.range == window.range);
        let Some(closed) = before.filter(|closed| closed.lines < window.lines) else { return 0 };
        let more = window.lines - closed.lines;
        closed.lines = window.lines;
        closed.revision += 1;
        let revision = closed.revision;
        window.late = true;
        let judgement = self.model.judge(&window);
        let anomaly = self.anomaly(&window, &judgement, &About::default(), with);
        self.tell(&window, anomaly, with, out);
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
            born: self.born,
            model_from: self.model_from,
            habits: self.habits.clone(),
        }
    }

    pub(super) fn uncarry(&mut self, carry: GroupCarry) {
        self.last_line = carry.last_line;
        self.rates = carry.rates.into();
        self.lifecycle = carry.lifecycle;
        self.habits = carry.habits;
        (self.born, self.model_from) = (carry.born, carry.model_from);
        if self.lines.is_some() && carry.lines.is_some() {
            self.lines = carry.lines;
        }
    }

    /// Puts its model back, unless that is of an earlier life: whoever was forgotten and came back begins anew.
    pub(super) fn restore_model(&mut self, snapshot: &Snapshot, shared: &Shared) {
        if snapshot.until <= self.born.max(self.model_from) {
            return;
        }
        if let Some(model) = Model::restore(&shared.detect, self.group.fingerprint, &snapshot.model) {
            self.model = model;
            (self.model_until, self.stored_at) = (snapshot.until, snapshot.until);
        }
    }

    /// Takes a stored window back: into the model when it is younger than the snapshot, and into memory.
    pub(super) fn refold(&mut self, row: &JudgedWindow) {
        if row.window.range.end <= self.born {
            return;
        }
        if row.window.range.end > self.model_until.max(self.model_from) {
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

    fn tell(&mut self, window: &Window, anomaly: Option<Anomaly>, with: With<'_>, out: &mut Out) {
        let alert = anomaly.as_ref().filter(|anomaly| anomaly.grade == Grade::Alert);
        let titled = alert.map(|anomaly| (anomaly.clone(), self.title(anomaly)));
        let seen = Observation {
            range: window.range,
            rates: if titled.is_some() { self.rates.iter().copied().collect() } else { self.rates() },
            anomaly: titled,
            whole: window.coverage.is_whole(),
            confirmed: window.coverage.known == Known::Audited,
        };
        let origin = origin(&self.group, with.options, with.shared);
        let outcome =
            if window.late { self.lifecycle.amend(&origin, seen) } else { self.lifecycle.observe(&origin, seen) };
        self.take(outcome, with.shared, out);
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
            self.model_from = self.model_until;
        }
    }

    /// Bytes that it holds, with room for a window like the last.
    pub(super) fn held(&self) -> usize {
        let labels: usize = self.group.labels.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let unique = held::map::<u64, ()>(self.model.last_unique().max(8));
        let incident = self.lifecycle.incident().map_or(0, |_| 16 << 10);
        let lines = self.lines.as_ref().map_or(KEPT_LINES, LineWindows::held);
        size_of::<Self>()
            + 3 * labels
            + self.query.len()
            + self.model.held()
            + 2 * unique
            + lines
            + incident
            + RATES * size_of::<f64>()
            + held::list::<Closed>(self.closed.len())
            + self.habits.held()
    }

    /// Windows that it has learnt.
    pub(super) fn learnt(&self) -> u32 {
        self.model.progress().0
    }

    fn row(&self, window: Window, judgement: Judgement, learnt: bool, revision: u32) -> JudgedWindow {
        JudgedWindow { group: self.group.clone(), window, judgement, learnt, revision }
    }
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
