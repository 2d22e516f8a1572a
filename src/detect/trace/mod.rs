//! Sessions of a watch (requests, blocks, jobs): what they usually do, and what many of them no longer do.
//!
//! What comes in: events, and the ends of windows. What goes out: [`Deviation`]s: a step that is missing, comes where it
//! never came, comes too often, takes too long, or comes in another order, in more sessions than the past allows. One
//! odd session is no deviation worth telling; several of a kind in a few windows are. What never happens here: learning
//! from windows that are younger than the longest span that is judged, or judging by what was learnt from them.

pub mod blame;
pub mod broken;
pub mod key;
mod limit;
pub mod open;
mod start;
pub mod tally;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use rustc_hash::FxHashSet;

use key::KeyFinder;
use limit::{Part, deviations, durations, over, present, sum};
use open::{Hop, MAX_OPEN, OpenSessions};
use tally::{MAX_ALL, SPANS, Tally, TypeTally, Unit, WHOLE, median, sorted, span_end};

use super::PatternKind;
use super::held;
use super::past::Past;
use super::{Check, Gate, LULL};
use crate::time::{HOUR, Nanos};

/// Windows that deviations are added up over.
pub const SCALES: [usize; 5] = [1, 3, 6, 12, 36];
/// The youngest windows, not learnt yet.
const RECENT: usize = 36;
/// Sessions of a type before it is judged.
const ENOUGH: f32 = 20.0;
/// What fewer sessions do than this share is a deviation.
const RARE: f64 = 0.15;
/// A deviation goes on when the last third of its windows is as surprising as this, in nats.
const GOES_ON: f64 = 1.5;
/// Nobody is woken for less than twice what is usual, however many sessions there are.
const TWICE: f64 = 2.0;
/// What takes so many seconds is felt (Nielsen, Usability Engineering, 1993), and so is this part of what whole sessions usually
/// take; never what takes less than the least.
const LONG: f64 = 0.1;
const MATTERS: f64 = 0.1;
const LEAST_LONG: f64 = 0.01;
/// What takes less than so many times what nearly all take is no slow-down that anybody would look into.
const SLOWER: f64 = 1.5;
/// Deviations that are remembered as told.
const MAX_WRONG: usize = 2_000;
/// Windows for which what was told still explains what comes with it.
const LATELY: usize = 6;
/// Sessions of a type after which half is forgotten.
const MOST: f32 = 20_000.0;

/// What is different about sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A line that sessions of this type seldom have.
    Present(Unit),
    /// A line that they nearly always have is missing.
    Absent(Unit),
    /// A line comes more often in a session than it used to.
    Many(Unit),
    /// A line comes less often in a session than it used to.
    Few(Unit),
    /// They stay longer in a group.
    Slow(u32),
    /// It takes longer from a line to the next one.
    Wait(Hop),
    /// The second follows the first.
    Order(Unit, Unit),
    /// A known line that sessions hardly ever begin with is the first.
    Start(Unit),
    /// So are many different ones.
    Lost,
}

impl Kind {
    /// Whether it is about durations.
    fn is_slow(self) -> bool {
        matches!(self, Self::Slow(_) | Self::Wait(_))
    }

    /// What is told of it. `bad` says of a unit whether its level is warn or worse.
    #[must_use]
    pub fn told(self, bad: impl Fn(Unit) -> bool) -> PatternKind {
        match self {
            Self::Present(_) => PatternKind::Unexpected,
            Self::Absent(_) => PatternKind::Missing,
            Self::Many(_) => PatternKind::MoreOften,
            Self::Few(_) => PatternKind::LessOften,
            Self::Slow(_) | Self::Wait(_) => PatternKind::Slow,
            Self::Lost => PatternKind::Lost,
            Self::Start(at) if bad(at) => PatternKind::Begins,
            Self::Order(..) | Self::Start(_) => PatternKind::Order,
        }
    }
}

/// Something that more sessions do than the past allows.
#[derive(Clone, Debug)]
pub struct Deviation {
    /// What.
    pub kind: Kind,
    /// Sessions that do it, of how many, over the windows.
    pub seen: f64,
    /// Sessions of these types over the windows.
    pub sessions: f64,
    /// How many of them were expected to.
    pub expected: f64,
    /// How surprising, in nats, as the past's frequencies have it.
    pub surprise: f64,
    /// Windows in a row, this one the last.
    pub windows: usize,
    /// The bucket that durations are beyond, where they are slow.
    pub limit: Option<usize>,
    /// How long it took in the middle one of those that are slow, and what makes it matter, both in seconds.
    pub took: Option<(f64, f64)>,
    /// Earlier sessions of these types, and how many of them were so.
    pub past: (f64, f64),
    /// Variance over mean of how many are so.
    pub fano: f64,
}

impl Deviation {
    /// Whether anybody cares: a thousandth of a second more is no trouble, however unusual it is.
    #[must_use]
    pub fn matters(&self) -> bool {
        self.took.is_none_or(|(took, least)| took >= least)
    }

    /// What it had to pass before its surprise was looked at.
    pub fn gates(&self) -> impl Iterator<Item = Gate> {
        let (sessions, so) = self.past;
        let matters = self.took.map(|(took, least)| Gate::least(Check::Matters, took, least));
        let gates = [
            Gate::least(Check::Requests, sessions, ENOUGH.into()),
            Gate::below(Check::Unusual, so.max(0.0) / sessions.max(1.0), RARE),
            Gate::least(Check::Excess, self.seen / self.expected.max(1e-9), TWICE),
        ];
        gates.into_iter().chain(matters)
    }
}

/// The sessions of a watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trace {
    keys: KeyFinder,
    open: OpenSessions,
    recent: VecDeque<Tally>,
    /// Gaps inside of sessions, of each recent window.
    #[serde(default)]
    gaps: VecDeque<Vec<u64>>,
    model: Tally,
    /// The greatest surprise of each recent window.
    peaks: VecDeque<f64>,
    past: Past,
    /// The same of durations, which scatter in another way: slow requests come together.
    #[serde(default)]
    slow_peaks: VecDeque<f64>,
    #[serde(default)]
    slow_past: Past,
    /// What was wrong lately: first and last window.
    wrong: Vec<(Kind, u64, u64)>,
    /// Windows so far, and in a day.
    windows: u64,
    day: u64,
    /// Parts of a tally; 0: [`MAX_ALL`]. Not stored: it follows from the settings.
    #[serde(skip)]
    most: usize,
    /// Of windows that were learnt, for their memory.
    #[serde(skip)]
    spare: Tally,
    #[serde(skip)]
    spare_types: Vec<TypeTally>,
}

impl Trace {
    /// Nothing known yet; `window` is the length of a window.
    #[must_use]
    pub fn new(window: Nanos) -> Self {
        Self { day: u64::try_from(24 * HOUR / window.max(1)).unwrap_or(1), ..Self::default() }
    }

    /// From now on it holds at most this share of what it may hold, 0 to 1. Also to be called after a restart.
    pub fn limit(&mut self, share: f64) {
        let part = |most: usize| (most as f64 * share.clamp(0.0, 1.0)) as usize;
        self.open.limit(part(MAX_OPEN).max(500));
        self.most = part(MAX_ALL).max(1_000);
    }

    fn most_parts(&self) -> usize {
        if self.most == 0 { MAX_ALL } else { self.most }
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        let tallies: usize = self.recent.iter().chain([&self.model]).map(Tally::held).sum();
        let ended = self.recent.back().map_or(0.0, Tally::sessions) as usize;
        let gaps: usize = self.gaps.iter().map(|gaps| held::list::<u64>(gaps.len())).sum();
        self.open.held(ended) + tallies + gaps + held::list::<Tally>(self.recent.len())
    }

    /// Forgets units, and groups.
    pub fn forget(&mut self, gone: &FxHashSet<Unit>, groups: &[u32]) {
        self.open.forget(gone);
        self.recent.iter_mut().for_each(|tally| tally.forget(gone, groups));
        self.model.forget(gone, groups);
        let has = |unit: Unit| gone.contains(&unit);
        self.wrong.retain(|(kind, ..)| match *kind {
            Kind::Present(at) | Kind::Absent(at) | Kind::Many(at) | Kind::Few(at) | Kind::Start(at) => !has(at),
            Kind::Order(from, to) => !has(from) && !has(to),
            Kind::Slow(group) => !groups.contains(&group),
            Kind::Lost => true,
            Kind::Wait(hop) => !groups.iter().any(|group| hop.has(*group)),
        });
    }

    /// Counts an event. `None` when it belongs to no session, else whether sessions of this type usually have it in their
    /// midst: how many begin with it is for its own count to say.
    pub fn add(&mut self, ts: Nanos, (group, unit): (u32, Unit), line: &str) -> Option<bool> {
        let key = self.keys.key(line, unit.into())?;
        let root = self.open.add(key, ts, group, unit)?;
        let model = self.model.types.get(&root).filter(|model| root != unit && model.sessions >= ENOUGH);
        Some(model.is_some_and(|model| present(model, unit) >= RARE * f64::from(model.sessions)))
    }

    /// How people would call the session key.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.keys.name()
    }

    /// Ends a window: the sessions that are over by now are judged together with those of the windows before. `bad` says
    /// of a unit whether its level is warn or worse: only such lines are told when they are where they never were. `group`
    /// says who writes it.
    pub fn close(&mut self, end: Nanos, bad: impl Fn(Unit) -> bool, group: impl Fn(Unit) -> u32) -> Vec<Deviation> {
        let mut now = std::mem::take(&mut self.spare);
        let most = self.most_parts();
        let types = &mut self.spare_types;
        self.open.close(end, |session| now.add(session, most, types));
        self.recent.push_back(now);
        self.gaps.push_back(self.open.take_gaps());
        self.windows += 1;
        let found = self.judge(bad, group);
        if self.recent.len() > RECENT {
            self.forget_oldest();
        }
        found
    }

    /// The oldest of the recent windows is learnt, but for what was wrong since it was new.
    fn forget_oldest(&mut self) {
        let Some(mut oldest) = self.recent.pop_front() else { return };
        let then = self.windows - RECENT as u64;
        self.wrong.retain(|(_, _, last)| *last >= then);
        if let Some(gaps) = self.gaps.pop_front().filter(|_| self.wrong.is_empty()) {
            self.open.learn(&gaps);
        }
        // What goes along with something wrong, or goes before it, is not ordinary.
        if let Some(peak) = self.peaks.pop_front().filter(|_| self.wrong.is_empty()) {
            self.past.add(peak);
        }
        // What an earlier version stored has none of the first windows.
        let whole = self.slow_peaks.len() > RECENT;
        if let Some(peak) = self.slow_peaks.pop_front_if(|_| whole).filter(|_| self.wrong.is_empty()) {
            self.slow_past.add(peak);
        }
        for (kind, first, last) in &self.wrong {
            // What has been so for a day is how it is now.
            if last - first < self.day {
                oldest.correct(*kind, &self.model);
            }
        }
        // What lacks lines is no example.
        if !self.lacked(then) {
            self.model.merge(&oldest, self.most_parts());
        }
        oldest.clear_into(&mut self.spare_types);
        self.spare = oldest;
        self.model.age(MOST);
    }

    /// Takes in what was found in a window: what is wrong (`true`) is not learnt, the rest says how the past scatters.
    pub fn learn(&mut self, found: &[(Deviation, bool)]) {
        let most = |slow: bool| {
            let of_them = found.iter().filter(|(one, _)| one.kind.is_slow() == slow);
            of_them.map(|(one, _)| one.surprise).fold(0.0, f64::max)
        };
        self.peaks.push_back(most(false));
        self.slow_peaks.push_back(most(true));
        for (deviation, _) in found.iter().filter(|(_, wrong)| *wrong) {
            let room = self.wrong.len() < MAX_WRONG;
            match self.wrong.iter_mut().find(|(kind, ..)| *kind == deviation.kind) {
                Some((_, _, last)) => *last = self.windows,
                None if room => {
                    self.wrong.push((deviation.kind, self.windows, self.windows));
                }
                None => {}
            }
        }
    }

    /// What the past says of a deviation: how surprising a window with it is, in nats.
    #[must_use]
    pub fn surprise(&self, deviation: &Deviation) -> f64 {
        let past = if deviation.kind.is_slow() { &self.slow_past } else { &self.past };
        past.surprise(deviation.surprise)
    }

    /// Who makes sessions wait, of all hops that were too long lately.
    #[must_use]
    pub fn blame(&self) -> Vec<(Hop, u32)> {
        let lately = self.wrong.iter().filter(|(.., last)| last + LATELY as u64 >= self.windows);
        let hops = lately.filter_map(|(kind, ..)| if let Kind::Wait(hop) = kind { Some(*hop) } else { None });
        let mut hops: Vec<Hop> = hops.collect();
        hops.sort_unstable();
        let named = blame::blame(&hops);
        hops.into_iter().zip(named).collect()
    }

    /// Forgets the open sessions: lines before `start` were not read.
    pub fn jump(&mut self, start: Nanos) {
        self.open.jump(start);
    }

    /// A template became part of another, and its unit with it.
    pub fn rename(&mut self, from: Unit, into: Unit) {
        self.open.rename(from, into);
        self.model.rename(from, into);
        self.recent.iter_mut().for_each(|tally| tally.rename(from, into));
    }

    fn judge(&self, bad: impl Fn(Unit) -> bool, group: impl Fn(Unit) -> u32) -> Vec<Deviation> {
        let Some(now) = self.recent.back() else { return Vec::new() };
        let mut kinds: Vec<Kind> = Vec::new();
        for (root, tally) in &now.types {
            if let Some(model) = self.model.types.get(root).filter(|model| model.sessions >= ENOUGH) {
                deviations(model, tally, &mut kinds);
            } else if self.is_no_start(*root) {
                kinds.push(Kind::Start(*root));
            }
        }
        kinds.retain(|kind| match *kind {
            Kind::Present(unit) => bad(unit),
            // Everyday problems come anywhere.
            Kind::Order(from, to) => !bad(from) && !bad(to),
            _ => true,
        });
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() {
            return Vec::new();
        }
        let known = sorted(&self.model.types).into_iter().filter(|(_, model)| model.sessions >= ENOUGH);
        let known: Vec<(Unit, &TypeTally)> = known.map(|(root, model)| (*root, model)).collect();
        let lost = if kinds.iter().any(|kind| matches!(kind, Kind::Start(_))) { self.lost(bad, group) } else { None };
        kinds.into_iter().filter_map(|kind| self.weigh(kind, &known)).chain(lost).collect()
    }

    /// The span of windows over which a deviation is most surprising.
    fn weigh(&self, kind: Kind, known: &[(Unit, &TypeTally)]) -> Option<Deviation> {
        let mut best: Option<Deviation> = None;
        let mut before: Option<f64> = None;
        let span = self.since_told(kind);
        let mut parts: Vec<Part> = known.iter().filter_map(|(root, model)| Part::of(*root, model, kind)).collect();
        let mut starts = (0.0, 0.0);
        for (at, tally) in self.recent.iter().rev().take(span).enumerate() {
            if let Kind::Start(root) = kind {
                starts.0 += tally.sessions();
                starts.1 += tally.types.get(&root).map_or(0.0, |one| f64::from(one.sessions));
            } else {
                sum(kind, tally, &mut parts);
            }
            if !SCALES.contains(&(at + 1)) {
                continue;
            }
            let one = if let Kind::Start(root) = kind {
                self.start_over(root, starts, at + 1)
            } else {
                over(kind, &parts, at + 1)
            };
            // It has to go on: what is over was told when it was there.
            let goes_on = before.is_none_or(|before| before >= GOES_ON);
            before = Some(one.surprise);
            if goes_on && best.as_ref().is_none_or(|best| one.surprise > best.surprise) {
                best = Some(one);
            }
        }
        best.map(|one| Deviation { took: self.took(&one, &parts), ..one })
    }

    /// How long it took in the middle one of the slow ones, and from how long on anybody cares.
    fn took(&self, one: &Deviation, parts: &[Part]) -> Option<(f64, f64)> {
        if !one.kind.is_slow() {
            return None;
        }
        let (mut slow, mut usual) = ([0.0f64; SPANS], [0.0f64; SPANS]);
        for tally in self.recent.iter().rev().take(one.windows) {
            // In the order of the types: what is summed here is no whole number.
            for (root, tally) in sorted(&tally.types) {
                let at = parts.binary_search_by_key(root, |part| part.root);
                let Some(part) = at.ok().and_then(|at| parts.get(at)) else { continue };
                let counts = durations(tally, one.kind).into_iter().flatten().enumerate().skip(part.limit.0);
                counts.for_each(|(at, count)| slow[at] += f64::from(*count));
                let lengths = self.model.types.get(root).and_then(|model| model.spans.get(&WHOLE));
                let sessions = f64::from(tally.sessions);
                let lengths = lengths.into_iter().flatten().zip(&mut usual);
                lengths.for_each(|(count, sum)| *sum += sessions * f64::from(*count));
            }
        }
        let least = median(&usual).map_or(LONG, |usual| (MATTERS * usual).clamp(LEAST_LONG, LONG));
        let ordinary = one.limit.map_or(0.0, |limit| span_end(limit.saturating_sub(1)));
        Some((median(&slow)?, least.max(SLOWER * ordinary)))
    }

    /// Windows that may be added up: all, but after a lull only those since it was told last, for that was told.
    fn since_told(&self, kind: Kind) -> usize {
        let last = self.wrong.iter().find(|(wrong, ..)| *wrong == kind).map(|(.., last)| *last);
        let since = last.map_or(usize::MAX, |last| usize::try_from(self.windows - last).unwrap_or(usize::MAX));
        if since > LULL { since } else { usize::MAX }
    }
}

#[cfg(test)]
mod tests;
