//! What is found in the templates of a watch: in sessions over all of its groups, and in what a group never wrote before.
//!
//! What comes in: entries in the order of time with their groups, and the ends of windows. What goes out: for the groups
//! concerned, [`PatternEvidence`]. What never happens here: learning from the windows that are judged.

mod find;
mod instances;
mod room;
#[cfg(test)]
mod tests;
mod unit;
mod worth;

use std::cell::Cell;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::burst::Bursts;
use super::calibrate::{needed, to_score};
use super::config::{DetectConfig, WindowSpec};
use super::instance::Instances;
use super::novelty::Novelty;
use super::rarity::Rarity;
use super::ratio::Ratios;
use super::seen::{Samples, Seen};
use super::silence::Silence;
use super::spread::{Origin, Spread};
use super::template::{Limits, Miner, StreamSlot, TemplateId};
use super::trace::Trace;
use super::trace::tally::Unit;
use super::value::Values;
use super::voice::Detectors;
use super::{Check, Common, Frequent, Gate, Level, Odd, PatternEvidence, PatternKind, Sample};
use room::{Free, Gone};
use unit::UnitInfo;
use worth::Worth;

use crate::collect::{Entry, Stream};
use crate::time::{MINUTE, Nanos};

/// Lines of one group with one template that are told apart; further ones are one a group until the window ends: then those
/// that were seen longest ago make room.
const MAX_UNITS: usize = 50_000;
/// Findings that are kept of a group and a window.
const MAX_FOUND: usize = 5;
/// Of what was not told, so much is kept of each kind and window.
const MAX_MISSED: usize = 10;
/// Detectors that share the budget: features, sessions, their durations, and lines by themselves.
const FAMILIES: f64 = 4.0;
const DAY_SECONDS: f64 = 86_400.0;
/// A group is in sessions from this share of its lines on, over so many windows at least; older ones weigh less.
const IN_SESSIONS: f32 = 0.8;
const ENOUGH_WINDOWS: f32 = 20.0;
const AGE: f32 = 0.995;
/// Bytes of a line that a finding shows.
const SHOWN: usize = 160;

/// A group as the patterns number it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupNumber(u32);

/// Where an entry belongs; good for one batch.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    group: GroupNumber,
    stream: StreamSlot,
    origin: Origin,
}

/// Something found about a group.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which group.
    pub group: GroupNumber,
    /// Its surprise and the one that was needed, as scores.
    pub scores: (f64, f64),
    /// What, with a share of nothing yet.
    pub evidence: PatternEvidence,
    /// One of the lines in the window, where there is one.
    pub sample: Option<Sample>,
    /// What it had to pass; of what is not told, not all is passed.
    pub gates: Vec<Gate>,
    /// Labels that its lines have in common.
    pub common: Vec<Common>,
}

/// All that is known of the templates of a watch.
pub struct Patterns {
    miner: Miner,
    state: State,
    fresh: Vec<(Unit, f64)>,
    /// What people call the groups, by number.
    names: Vec<String>,
    samples: Samples,
    spread: Spread,
    limits: Limits,
    /// Units that are told apart.
    most: usize,
    /// Length of a window.
    window: Nanos,
    needed: f64,
    config: DetectConfig,
    /// What was not told of the last window, where that is asked for.
    missed: Option<Vec<Found>>,
    /// Bytes of the last snapshot.
    snapshot: Cell<usize>,
}

/// What a restart needs besides the miner.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    version: u32,
    /// By number; `None` is free.
    groups: Vec<Option<u64>>,
    /// By group: lines of this window, and those in sessions.
    keyed: Vec<(u32, u32)>,
    /// By group: windows with lines, and the sum of their shares of lines in sessions; older ones weigh less.
    in_sessions: Vec<(f32, f32)>,
    /// By number; `None` is free.
    units: Vec<Option<UnitInfo>>,
    trace: Trace,
    novelty: Novelty,
    bursts: Bursts,
    #[serde(default)]
    ratios: Ratios,
    #[serde(default)]
    silence: Silence,
    #[serde(default)]
    instances: Instances,
    #[serde(default)]
    rarity: Rarity,
    #[serde(default)]
    values: Values,
    #[serde(default)]
    seen: Seen,
    #[serde(default)]
    worth: Worth,
    /// When lines were last told to be lost, and of which group.
    #[serde(default)]
    lost_at: Option<(Nanos, u32)>,
    /// Units that had to go, as hashes: when one comes back, it is nothing new.
    #[serde(default)]
    gone: Gone,
    #[serde(skip)]
    group_of: FxHashMap<u64, u32>,
    /// Free numbers; the least is given next.
    #[serde(skip)]
    free: Free,
    /// Templates of a group that only begin otherwise than a known one: the stream's header was learnt anew, or is longer.
    #[serde(default)]
    again: Vec<(u32, TemplateId, Unit)>,
    #[serde(skip)]
    unit_of: FxHashMap<(u32, u32), Unit>,
    /// By group and ending.
    #[serde(skip)]
    endings: FxHashMap<(u32, u64), Unit>,
}

/// Bytes of a number at the head of a snapshot: how long its first part is.
const LENGTH: usize = 8;
/// Version of the text of a snapshot.
const VERSION: u32 = 1;

impl Patterns {
    /// Nothing known yet.
    #[must_use]
    pub fn new(config: &DetectConfig, window: WindowSpec) -> Self {
        let nanos = match window {
            WindowSpec::Time(span) => span.nanos(),
            WindowSpec::Lines { .. } => MINUTE,
        };
        let limits = Limits::within(config.memory_limit.0);
        let mut state = State { version: VERSION, trace: Trace::new(nanos), ..State::default() };
        let share = room::share(&limits);
        state.trace.limit(share);
        Self {
            miner: Miner::new(limits),
            state,
            fresh: Vec::new(),
            names: Vec::new(),
            samples: Samples::default(),
            spread: Spread::default(),
            limits,
            most: (MAX_UNITS as f64 * share) as usize,
            window: nanos,
            missed: None,
            snapshot: Cell::new(0),
            config: DetectConfig { window, ..config.clone() },
            needed: needed_of(nanos, config.false_alerts_per_day),
        }
    }

    /// From now on the watch may bring so many false alarms a day, and a group of it so many, times
    /// [`super::calibrate::GROUPS`].
    pub fn spend(&mut self, watch: f64, group: f64) {
        self.needed = needed_of(self.window, watch);
        self.config.false_alerts_per_day = group;
    }

    /// The number of a group, by its fingerprint.
    pub fn group(&mut self, fingerprint: u64) -> GroupNumber {
        if let Some(number) = self.state.group_of.get(&fingerprint) {
            return GroupNumber(*number);
        }
        GroupNumber(self.state.number(fingerprint))
    }

    /// What people call a group.
    pub fn call(&mut self, group: GroupNumber, name: String) {
        let at = group.0 as usize;
        if self.names.len() <= at {
            self.names.resize(at + 1, String::new());
        }
        self.names.get_mut(at).into_iter().for_each(|known| name.clone_into(known));
    }

    /// From now on [`Patterns::missed`] says what was not told.
    pub fn explain(&mut self) {
        self.missed = Some(Vec::new());
    }

    /// Where the entries of a stream of a group belong.
    pub fn place(&mut self, group: u64, stream: &Arc<Stream>) -> Place {
        let group = self.group(group);
        let slot = self.miner.stream(stream.hash);
        self.state.worth.add(group.0, slot);
        Place { group, stream: slot, origin: self.spread.origin(group.0, stream) }
    }

    /// Forgets where lines come from when there are too many places. True when it did: places are to be asked for again.
    pub fn forget_places(&mut self) -> bool {
        self.spread.forget()
    }

    /// Takes an entry in and gives its template, and the level to count it with: a problem that belongs to the ordinary
    /// course of its session is none.
    pub fn add(&mut self, place: Place, entry: &Entry<'_>, level: Level) -> (TemplateId, Level) {
        let (template, level) = self.take(place, entry, level);
        self.spread.add(place.origin, level);
        (template, level)
    }

    fn take(&mut self, place: Place, entry: &Entry<'_>, level: Level) -> (TemplateId, Level) {
        let group = place.group.0;
        let mined = self.miner.mine(place.stream, entry.ts, level, entry.line);
        if let Some(trace) = mined.trace {
            let unit = self.unit(group, trace, Level::Error);
            self.state.bursts.add(unit);
            self.samples.note(&mut self.state.seen, unit, entry.ts);
            self.spread.add_problem(place.origin, unit);
        }
        if mined.continues {
            return (mined.template, level);
        }
        let unit = self.unit(group, mined.template, level);
        self.samples.keep(&mut self.state.seen, unit, entry, level);
        self.state.values.add(unit, self.miner.numbers());
        let follow = self.config.detectors.has_any(Detectors::TRACE);
        if self.config.detectors.has(PatternKind::Ratio) || self.config.detectors.has(PatternKind::Stopped) {
            self.state.ratios.add(unit);
        }
        let in_session = if follow { self.state.trace.add(entry.ts, (group, unit), entry.line) } else { None };
        if let Some((lines, with_key)) = self.state.keyed.get_mut(group as usize) {
            *lines += 1;
            *with_key += u32::from(in_session.is_some());
        }
        if in_session == Some(true) {
            return (mined.template, level.min(Level::Info));
        }
        if level >= Level::Warn {
            self.state.bursts.add(unit);
            self.spread.add_problem(place.origin, unit);
        }
        (mined.template, level)
    }

    /// The template of an entry that was missed before: it is no part of a session any more.
    pub fn template(&mut self, place: Place, entry: &Entry<'_>, level: Level) -> TemplateId {
        self.miner.mine(place.stream, entry.ts, level, entry.line).template
    }

    /// Whether nearly all lines of a group belong to sessions: then how many there are follows from the sessions.
    #[must_use]
    pub fn is_in_sessions(&self, group: GroupNumber) -> bool {
        let known = self.state.in_sessions.get(group.0 as usize);
        known.is_some_and(|(windows, share)| *windows >= ENOUGH_WINDOWS && *share >= IN_SESSIONS * windows)
    }

    /// The rarest line of a window of lines that begins at `start`, as a finding that is told when its score reaches its
    /// threshold; `None` while too little is known.
    #[must_use]
    pub fn rarest(&self, group: GroupNumber, window: &[(TemplateId, Level)], start: Nanos) -> Option<Found> {
        if !self.config.detectors.has(PatternKind::Rare) {
            return None;
        }
        let rarest = self.state.rarity.judge(group.0, window)?;
        let unit = self.state.unit_of.get(&(group.0, rarest.template.0)).copied();
        let evidence = PatternEvidence {
            line: unit.and_then(|unit| self.text(unit)),
            before: unit.and_then(|unit| self.state.seen.before(unit, start)),
            seen: rarest.seen,
            of: rarest.of,
            expected: rarest.seen / rarest.of.max(1.0),
            ..PatternEvidence::of(PatternKind::Rare)
        };
        let needed = needed(&self.config, rarest.seconds);
        let quiet = rarest.surprise < needed;
        let surprise = if quiet { rarest.order.min(needed - 1e-6) } else { rarest.order };
        let mut gates = vec![Gate::least(Check::Windows, rarest.of, rarest.enough())];
        gates.push(Gate::plain(Check::Level, rarest.surprise > 0.0));
        gates.push(Gate::least(Check::Budget, if quiet { rarest.surprise } else { surprise }, needed));
        let scores = (to_score(surprise), to_score(needed));
        Some(Found { group, scores, evidence, sample: None, gates, common: Vec::new() })
    }

    /// What has become of the templates of a window: each once, with its worst level.
    #[must_use]
    pub fn resolved(&self, window: &[(u64, Level)]) -> Vec<(TemplateId, Level)> {
        let id = |message: u64| TemplateId(u32::try_from(message).unwrap_or(u32::MAX));
        let mut all: Vec<(TemplateId, Level)> =
            window.iter().map(|(message, level)| (self.miner.resolve(id(*message)), *level)).collect();
        all.sort_unstable();
        all.reverse();
        all.dedup_by_key(|(template, _)| *template);
        all
    }

    /// Counts the templates of a window of lines that took so many seconds.
    pub fn learn_window(&mut self, group: GroupNumber, window: &[(TemplateId, Level)], seconds: f64) {
        self.state.rarity.learn(group.0, window, seconds);
    }

    /// Ends a window. Of one that was not seen whole nothing is said, and what is open is forgotten.
    pub fn close(&mut self, end: Nanos, whole: bool) -> Vec<Found> {
        self.follow_merges();
        self.missed.iter_mut().for_each(Vec::clear);
        if !whole {
            self.jump(end);
            return Vec::new();
        }
        self.spread.close();
        self.state.worth.close(&self.miner);
        let mut found = self.stopped(end);
        found.extend(self.sessions(end));
        found.extend(self.novel(end));
        found.extend(self.bursts(end));
        found.extend(self.values(end));
        found.extend(self.ratios(end));
        found.extend(self.instances(end));
        self.samples.close();
        found.retain(|one| {
            self.state.worth.look(one.group, &self.miner);
            // Levels say something where templates do not.
            one.evidence.kind == PatternKind::Instance || self.state.worth.poor(one.group).is_none()
        });
        found.sort_by(|one, two| {
            (one.group, two.scores.0).partial_cmp(&(two.group, one.scores.0)).unwrap_or(std::cmp::Ordering::Equal)
        });
        let mut kept: Vec<Found> = Vec::new();
        for one in found {
            if kept.iter().filter(|kept| kept.group == one.group).count() < MAX_FOUND {
                kept.push(one);
            }
        }
        kept
    }

    /// Whether templates say nothing about a group. Then it is judged by levels, rates and lengths alone.
    #[must_use]
    pub fn is_poor(&self, group: GroupNumber) -> bool {
        self.state.worth.poor(group).is_some()
    }

    /// What the templates of a group lack where they say nothing about it: a condition that is not met.
    #[must_use]
    pub fn wants(&self, group: GroupNumber) -> Option<Gate> {
        self.state.worth.poor(group).map(|check| Gate::plain(check, false))
    }

    /// Groups about which templates say nothing.
    #[must_use]
    pub fn poor(&self) -> u32 {
        self.state.worth.count()
    }

    /// Forgets what is open: entries before `start` were not read.
    pub fn jump(&mut self, start: Nanos) {
        self.state.trace.jump(start);
        self.state.bursts.jump();
        self.state.ratios.jump();
        self.state.silence.jump();
        self.state.instances.jump();
        self.state.values.jump();
        self.samples.close();
        self.spread.discard();
        self.fresh.clear();
    }

    /// What was not told of the last window, the nearest of each kind, and what it did not pass.
    #[must_use]
    pub fn missed(&self) -> &[Found] {
        self.missed.as_deref().unwrap_or_default()
    }

    /// Whether it is asked for what was not told.
    #[must_use]
    pub fn is_explaining(&self) -> bool {
        self.missed.is_some()
    }

    /// What the errors or the warnings of a group in the last window have in common.
    #[must_use]
    pub fn common(&self, group: GroupNumber, odd: Odd) -> Vec<Common> {
        self.spread.of_level(group.0, odd)
    }

    /// The line that comes most often among the errors or the warnings of a group in the window that has ended at `end`.
    #[must_use]
    pub fn frequent(&self, group: GroupNumber, odd: Odd, end: Nanos) -> Option<Frequent> {
        let is_odd = |unit: Unit| {
            let known = self.state.info(unit).filter(|known| known.group == group.0);
            known.is_some_and(|known| (known.level >= Level::Error) == (odd == Odd::Errors))
        };
        let (unit, part) = self.spread.most_frequent(is_odd)?;
        Some(Frequent { line: self.text(unit)?, part, before: self.before(unit, end - self.window) })
    }

    /// Marks the variable parts of lines.
    pub fn mark(&self, samples: &mut [Sample]) {
        for one in samples {
            let parts = self.miner.marks(&one.line).into_iter();
            one.variables = parts.map(|part| (part.start as u32, part.end as u32)).collect();
        }
    }

    /// What a restart needs, as bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        // As much room as the one before took, so that it does not grow step by step.
        let mut out = Vec::with_capacity(self.snapshot.get() + self.snapshot.get() / 16 + 1024);
        out.extend([0; LENGTH]);
        // Writing to memory cannot fail.
        let written = serde_json::to_writer(&mut out, &self.state);
        if written.is_err() {
            out.truncate(LENGTH);
        }
        let length = (out.len() - LENGTH) as u64;
        if let Some(at) = out.first_chunk_mut::<LENGTH>() {
            *at = length.to_le_bytes();
        }
        self.miner.put(&mut out);
        self.snapshot.set(out.len());
        out
    }

    /// Puts a snapshot back; one of another version or a damaged one is left aside, and all is learnt anew.
    pub fn restore(&mut self, bytes: &[u8]) {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else { return };
        let Some((state, miner)) = rest.split_at_checked(u64::from_le_bytes(*length) as usize) else { return };
        let miner = Miner::restore(self.limits, miner);
        let state = serde_json::from_slice::<State>(state).ok().filter(|state| state.version == VERSION);
        let (Some(mut state), Some(miner)) = (state, miner) else { return };
        state.seen.fill(state.units.len());
        state.trace.limit(room::share(&self.limits));
        state.index();
        (self.state, self.miner) = (state, miner);
    }
}

/// The surprise that is needed in windows of this length.
fn needed_of(window: Nanos, false_alerts_per_day: f64) -> f64 {
    let windows = DAY_SECONDS / (window as f64 / 1e9).max(1.0);
    (windows * FAMILIES / false_alerts_per_day.clamp(1e-6, 1e6)).max(100.0).ln()
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patterns").field("units", &self.state.units.len()).finish_non_exhaustive()
    }
}
