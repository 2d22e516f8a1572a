//! What is found in the templates of a watch: in sessions over all of its groups, and in what a group never wrote before.
//!
//! What comes in: entries in the order of time with their groups, and the ends of windows. What goes out: for the groups
//! concerned, [`PatternEvidence`]. What never happens here: learning from the windows that are judged.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::burst::{Burst, Bursts};
use super::calibrate::{needed, to_score};
use super::config::{DetectConfig, WindowSpec};
use super::mask::mask_secrets;
use super::novelty::Novelty;
use super::rarity::Rarity;
use super::seen::{Samples, Seen};
use super::spread::{Origin, Spread};
use super::tail::ordinary;
use super::template::{Limits, Miner, StreamSlot, TemplateId};
use super::trace::tally::{Unit, span_end};
use super::trace::{Deviation, Kind, Trace};
use super::value::Values;
use super::voice::Detectors;
use super::{Before, Check, Common, Frequent, Gate, Level, Odd, OddValue, PatternEvidence, PatternKind, Sample};
use crate::collect::{Entry, Stream};
use crate::time::{MINUTE, Nanos};

/// Lines of one group with one template that are told apart; further ones are one a group.
const MAX_UNITS: usize = 50_000;
/// Findings that are kept of a group and a window.
const MAX_FOUND: usize = 5;
/// Of what was not told, so much is kept of each kind and window.
const MAX_MISSED: usize = 10;
/// Detectors that share the budget: features, sessions, new lines, and one for what is to come.
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
    samples: Samples,
    spread: Spread,
    /// Length of a window.
    window: Nanos,
    needed: f64,
    config: DetectConfig,
    /// What was not told of the last window, where that is asked for.
    missed: Option<Vec<Found>>,
}

/// What a restart needs besides the miner.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    version: u32,
    groups: Vec<u64>,
    /// By group: lines of this window, and those in sessions.
    keyed: Vec<(u32, u32)>,
    /// By group: windows with lines, and the sum of their shares of lines in sessions; older ones weigh less.
    in_sessions: Vec<(f32, f32)>,
    units: Vec<UnitInfo>,
    trace: Trace,
    novelty: Novelty,
    bursts: Bursts,
    #[serde(default)]
    rarity: Rarity,
    #[serde(default)]
    values: Values,
    #[serde(default)]
    seen: Seen,
    #[serde(skip)]
    group_of: FxHashMap<u64, u32>,
    /// Templates of a group that only begin otherwise than a known one: the stream's header was learnt anew, or is longer.
    #[serde(default)]
    again: Vec<(u32, TemplateId, Unit)>,
    #[serde(skip)]
    unit_of: FxHashMap<(u32, u32), Unit>,
    /// By group and ending.
    #[serde(skip)]
    endings: FxHashMap<(u32, u64), Unit>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct UnitInfo {
    group: u32,
    template: TemplateId,
    level: Level,
    /// How its text ended when it was first seen, as a hash.
    #[serde(default)]
    ending: u64,
}

/// Version of the text of a snapshot.
const VERSION: u32 = 1;
/// Two texts end alike when so many words do; and are the same but for their beginning when one is at least so many
/// tenths of the other.
const ENDING: usize = 4;
const ALIKE: usize = 6;

impl Patterns {
    /// Nothing known yet.
    #[must_use]
    pub fn new(config: &DetectConfig, window: WindowSpec) -> Self {
        let nanos = match window {
            WindowSpec::Time(span) => span.nanos(),
            WindowSpec::Lines { .. } => MINUTE,
        };
        let windows = DAY_SECONDS / (nanos as f64 / 1e9).max(1.0);
        let budget = config.false_alerts_per_day.clamp(1e-6, 1e6);
        Self {
            miner: Miner::new(Limits::default()),
            state: State { version: VERSION, trace: Trace::new(nanos), ..State::default() },
            fresh: Vec::new(),
            samples: Samples::default(),
            spread: Spread::default(),
            window: nanos,
            missed: None,
            config: DetectConfig { window, ..config.clone() },
            needed: (windows * FAMILIES / budget).max(100.0).ln(),
        }
    }

    /// The number of a group, by its fingerprint.
    pub fn group(&mut self, fingerprint: u64) -> GroupNumber {
        let State { groups, keyed, in_sessions, group_of, .. } = &mut self.state;
        GroupNumber(*group_of.entry(fingerprint).or_insert_with(|| {
            groups.push(fingerprint);
            keyed.push((0, 0));
            in_sessions.push((0.0, 0.0));
            groups.len() as u32 - 1
        }))
    }

    /// From now on [`Patterns::missed`] says what was not told.
    pub fn explain(&mut self) {
        self.missed = Some(Vec::new());
    }

    /// Where the entries of a stream of a group belong.
    pub fn place(&mut self, group: u64, stream: &Arc<Stream>) -> Place {
        let group = self.group(group);
        Place { group, stream: self.miner.stream(stream.hash), origin: self.spread.origin(group.0, stream) }
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

    fn unit(&mut self, group: u32, template: TemplateId, level: Level) -> Unit {
        if let Some(unit) = self.state.unit_of.get(&(group, template.0)) {
            return *unit;
        }
        if self.state.units.len() >= MAX_UNITS {
            let other = TemplateId(u32::MAX);
            return match self.state.unit_of.get(&(group, other.0)) {
                Some(unit) => *unit,
                None => self.state.push(UnitInfo { group, template: other, level: Level::Unknown, ending: 0 }),
            };
        }
        let text = self.miner.get(template).map_or("", |template| template.text);
        let unknown = self.state.novelty.unknown_words(text);
        let ending = ending(text);
        if let Some(known) = self.known_as((group, ending), level, text) {
            self.state.again.push((group, template, known));
            self.state.unit_of.insert((group, template.0), known);
            return known;
        }
        let unit = self.state.push(UnitInfo { group, template, level, ending });
        self.fresh.push((unit, unknown));
        unit
    }

    /// The unit of the group that this text is of, but for its beginning.
    fn known_as(&self, ending: (u32, u64), level: Level, text: &str) -> Option<Unit> {
        let unit = *self.state.endings.get(&ending).filter(|_| ending.1 != 0 && self.state.again.len() < MAX_UNITS)?;
        let info = self.state.units.get(unit as usize).filter(|info| info.level == level)?;
        let known = self.miner.get(self.miner.resolve(info.template))?.text;
        let (one, two): (Vec<&str>, Vec<&str>) = (words(text).collect(), words(known).collect());
        let (short, long) = if one.len() < two.len() { (one, two) } else { (two, one) };
        let same = 10 * short.len() >= ALIKE * long.len() && long.ends_with(&short);
        if same { Some(unit) } else { None }
    }

    /// The text of a unit's template as it is now, secrets masked, cut.
    fn text(&self, unit: Unit) -> Option<String> {
        let template = self.state.units.get(unit as usize)?.template;
        let text = self.miner.get(self.miner.resolve(template)).map_or("other lines", |template| template.text);
        Some(head(&mask_secrets(text), SHOWN).to_owned())
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
        let mut found = self.sessions(end);
        found.extend(self.novel(end));
        found.extend(self.bursts(end));
        found.extend(self.values(end));
        self.samples.close();
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

    /// Forgets what is open: entries before `start` were not read.
    pub fn jump(&mut self, start: Nanos) {
        self.state.trace.jump(start);
        self.state.bursts.jump();
        self.state.values.jump();
        self.samples.close();
        self.spread.discard();
        self.fresh.clear();
    }

    fn follow_merges(&mut self) {
        let merges: Vec<(TemplateId, TemplateId)> = self.miner.merges().collect();
        for (from, into) in merges {
            let into = self.miner.resolve(into);
            self.state.rarity.merge(from, into);
            for group in 0..self.state.groups.len() as u32 {
                let Some(unit) = self.state.unit_of.remove(&(group, from.0)) else { continue };
                if self.state.units.get(unit as usize).is_some_and(|info| info.template != from) {
                    // Counted as another already, which it stays.
                    if !self.state.unit_of.contains_key(&(group, into.0)) {
                        self.state.again.push((group, into, unit));
                        self.state.unit_of.insert((group, into.0), unit);
                    }
                    continue;
                }
                match self.state.unit_of.get(&(group, into.0)) {
                    Some(known) if *known != unit => {
                        self.state.trace.rename(unit, *known);
                        self.state.seen.merge(unit, *known);
                    }
                    Some(_) => {}
                    None => {
                        self.state.unit_of.insert((group, into.0), unit);
                        if let Some(info) = self.state.units.get_mut(unit as usize) {
                            info.template = into;
                        }
                    }
                }
            }
        }
    }

    fn sessions(&mut self, end: Nanos) -> Vec<Found> {
        let State { units, trace, .. } = &mut self.state;
        let bad = |unit: Unit| units.get(unit as usize).is_some_and(|one| one.level >= Level::Warn);
        let judged: Vec<(Deviation, bool)> = trace
            .close(end, bad)
            .into_iter()
            .filter(|one| self.config.detectors.has(one.kind.told(bad)))
            .map(|one| {
                let wrong = trace.surprise(&one) >= self.needed;
                (one, wrong)
            })
            .collect();
        trace.learn(&judged);
        let missed = judged.iter().filter(|(_, wrong)| !wrong).map(|(one, _)| (self.state.trace.surprise(one), one));
        let missed: Vec<(f64, &Deviation)> = missed.collect();
        self.miss(missed, |this, one| this.told(one, end));
        let wrong = judged.iter().filter(|(_, wrong)| *wrong);
        wrong.map(|(one, _)| self.told(one, end)).collect()
    }

    fn told(&self, one: &Deviation, end: Nanos) -> Found {
        let (unit, after) = match one.kind {
            Kind::Present(at) | Kind::Absent(at) | Kind::Many(at) | Kind::Few(at) | Kind::Start(at) => (at, None),
            Kind::Slow(_) => (Unit::MAX, None),
            Kind::Order(from, to) => (to, self.text(from)),
        };
        let kind = one.kind.told(|unit| self.is_bad(unit));
        let evidence = PatternEvidence {
            after,
            key: self.state.trace.name().map(str::to_owned),
            seen: one.seen,
            of: one.sessions,
            expected: one.expected,
            most: Some(ordinary(one.expected, one.fano)),
            seconds: one.limit.map(span_end),
            value: None,
            windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
            ..self.evidence(kind, unit, end)
        };
        let left = self.state.trace.surprise(one);
        let gates = one.gates().into_iter().chain([
            Gate::least(Check::Budget, one.surprise, self.needed),
            Gate::least(Check::SecondLook, left, self.needed),
        ]);
        let mut found = self.found(unit, left, evidence, gates.collect());
        if let Kind::Slow(group) = one.kind {
            found.group = GroupNumber(group);
        }
        found
    }

    /// Keeps what of all that was not told came nearest, where that is asked for. All come with their surprise.
    fn miss<T>(&mut self, mut all: Vec<(f64, T)>, found: impl Fn(&Self, &T) -> Found) {
        if self.missed.is_none() {
            return;
        }
        all.retain(|(surprise, _)| *surprise > 0.0);
        all.sort_by(|one, two| two.0.total_cmp(&one.0));
        let near: Vec<Found> = all.iter().take(MAX_MISSED).map(|(_, one)| found(self, one)).collect();
        self.missed.iter_mut().for_each(|missed| missed.extend(near.iter().cloned()));
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
            let known = self.state.units.get(unit as usize).filter(|known| known.group == group.0);
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

    fn group_of(&self, unit: Unit) -> u32 {
        self.state.units.get(unit as usize).map_or(0, |info| info.group)
    }

    fn novel(&mut self, end: Nanos) -> Vec<Found> {
        let fresh = std::mem::take(&mut self.fresh);
        let (mut found, mut quiet) = (Vec::new(), Vec::new());
        let mut with_new: Vec<u32> = Vec::new();
        for (unit, unknown) in fresh {
            let Some((group, level)) = self.state.units.get(unit as usize).map(|info| (info.group, info.level)) else {
                continue;
            };
            if level < Level::Warn {
                continue;
            }
            with_new.push(group);
            let surprise = self.state.novelty.surprise(group, level, unknown);
            if surprise >= self.needed && self.config.detectors.has(PatternKind::New) {
                found.push(self.fresh(unit, surprise, end));
            } else {
                quiet.push((surprise, (surprise, unit)));
            }
        }
        self.miss(quiet, |this, (surprise, unit)| this.fresh(*unit, *surprise, end));
        for group in 0..self.state.groups.len() as u32 {
            self.state.novelty.close(group, with_new.contains(&group));
        }
        for ((lines, keyed), (windows, share)) in self.state.keyed.iter_mut().zip(&mut self.state.in_sessions) {
            if *lines > 0 {
                (*windows, *share) = (*windows * AGE + 1.0, *share * AGE + *keyed as f32 / *lines as f32);
            }
            (*lines, *keyed) = (0, 0);
        }
        found
    }

    fn fresh(&self, unit: Unit, surprise: f64, end: Nanos) -> Found {
        let gates = vec![
            Gate::plain(Check::Level, true),
            self.state.novelty.history(self.group_of(unit)),
            Gate::least(Check::Budget, surprise, self.needed),
        ];
        self.found(unit, surprise, self.evidence(PatternKind::New, unit, end), gates)
    }

    fn bursts(&mut self, end: Nanos) -> Vec<Found> {
        let mut bursts = self.state.bursts.close();
        bursts.retain(|_| self.config.detectors.has(PatternKind::Burst));
        let surprise = |burst: &Burst| self.state.bursts.surprise(burst);
        let judged: Vec<(Burst, bool)> =
            bursts.into_iter().map(|one| (surprise(&one) >= self.needed, one)).map(|(told, one)| (one, told)).collect();
        let told = judged.iter().filter(|(_, told)| *told).map(|(one, _)| self.burst(one, end)).collect();
        let missed = judged.iter().filter(|(_, told)| !told).map(|(one, _)| (self.state.bursts.surprise(one), one));
        let missed: Vec<(f64, &Burst)> = missed.collect();
        self.miss(missed, |this, one| this.burst(one, end));
        self.state.bursts.told(&judged);
        told
    }

    fn burst(&self, one: &Burst, end: Nanos) -> Found {
        let problem = PatternEvidence {
            seen: one.seen,
            of: one.seen,
            expected: one.expected,
            most: Some(ordinary(one.expected, one.fano)),
            windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
            ..self.evidence(PatternKind::Burst, one.unit, end)
        };
        let left = self.state.bursts.surprise(one);
        let gates = self.state.bursts.gates(one).into_iter().chain([
            Gate::least(Check::Budget, one.surprise, self.needed),
            Gate::least(Check::SecondLook, left, self.needed),
        ]);
        self.found(one.unit, left, problem, gates.collect())
    }

    fn values(&mut self, end: Nanos) -> Vec<Found> {
        let mut odd = self.state.values.close();
        odd.retain(|_| self.config.detectors.has(PatternKind::Value));
        let judged = odd.into_iter().map(|one| (self.state.values.surprise(&one), one));
        // A number that may be somebody's PIN is not told.
        let secret = |name: &str| matches!(mask_secrets(&format!("{name}=x")), Cow::Owned(_));
        let wrong = judged.filter(|(surprise, one)| *surprise >= self.needed && !secret(&one.name));
        wrong
            .map(|(surprise, one)| {
                let name = one.name;
                let evidence = PatternEvidence {
                    seen: one.seen.into(),
                    of: one.seen.into(),
                    windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
                    value: Some(OddValue { name, seen: one.value, expected: one.usual }),
                    ..self.evidence(PatternKind::Value, one.unit, end)
                };
                let gates = vec![Gate::least(Check::SecondLook, surprise, self.needed)];
                self.found(one.unit, surprise, evidence, gates)
            })
            .collect()
    }

    fn is_bad(&self, unit: Unit) -> bool {
        self.state.units.get(unit as usize).is_some_and(|info| info.level >= Level::Warn)
    }

    /// A finding about a unit in the window that ends now: its line, and when it was seen before.
    fn evidence(&self, kind: PatternKind, unit: Unit, end: Nanos) -> PatternEvidence {
        let before = self.before(unit, end - self.window);
        PatternEvidence { line: self.text(unit), before, ..PatternEvidence::of(kind) }
    }

    /// When a unit, or what it has become a part of, was seen before.
    fn before(&self, unit: Unit, start: Nanos) -> Option<Before> {
        let UnitInfo { group, template, .. } = self.state.units.get(unit as usize)?;
        let now = self.state.unit_of.get(&(*group, self.miner.resolve(*template).0));
        self.state.seen.before(now.copied().unwrap_or(unit), start)
    }

    fn found(&self, unit: Unit, surprise: f64, evidence: PatternEvidence, gates: Vec<Gate>) -> Found {
        let group = self.group_of(unit);
        let lines = matches!(
            evidence.kind,
            PatternKind::New | PatternKind::Burst | PatternKind::Begins | PatternKind::Unexpected
        );
        Found {
            group: GroupNumber(group),
            scores: (to_score(surprise), to_score(self.needed)),
            evidence,
            sample: self.samples.get(unit),
            gates,
            common: if lines { self.spread.of_unit(group, unit) } else { Vec::new() },
        }
    }

    /// What a restart needs, as bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let state = serde_json::to_vec(&self.state).unwrap_or_default();
        let mut out = (state.len() as u64).to_le_bytes().to_vec();
        out.extend(state);
        out.extend(self.miner.snapshot());
        out
    }

    /// Puts a snapshot back; one of another version or a damaged one is left aside, and all is learnt anew.
    pub fn restore(&mut self, bytes: &[u8]) {
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return };
        let Some((state, miner)) = rest.split_at_checked(u64::from_le_bytes(*length) as usize) else { return };
        let miner = Miner::restore(Limits::default(), miner);
        let state = serde_json::from_slice::<State>(state).ok().filter(|state| state.version == VERSION);
        let (Some(mut state), Some(miner)) = (state, miner) else { return };
        state.seen.fill(state.units.len());
        state.group_of = state.groups.iter().copied().zip(0..).collect();
        state.unit_of = state.units.iter().map(|one| (one.group, one.template.0)).zip(0..).collect();
        state.unit_of.extend(state.again.iter().map(|(group, template, unit)| ((*group, template.0), *unit)));
        for (unit, one) in (0..).zip(&state.units) {
            state.endings.entry((one.group, one.ending)).or_insert(unit);
        }
        (self.state, self.miner) = (state, miner);
    }
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patterns").field("units", &self.state.units.len()).finish_non_exhaustive()
    }
}

impl State {
    fn push(&mut self, info: UnitInfo) -> Unit {
        let unit = self.units.len() as Unit;
        self.unit_of.insert((info.group, info.template.0), unit);
        self.endings.entry((info.group, info.ending)).or_insert(unit);
        self.units.push(info);
        unit
    }
}

/// The words of a template that do not vary.
fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 1);
    words.filter(|word| !word.bytes().any(|byte| byte.is_ascii_digit()))
}

/// The last words of a template as a hash; 0 when there are too few to tell.
fn ending(text: &str) -> u64 {
    let last = words(text).rev().take(ENDING);
    let (count, hash) = last.fold((0, 0xcbf2_9ce4_8422_2325), |(count, hash), word| {
        let hash = word.bytes().fold(hash, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        (count + 1, hash.rotate_left(1))
    });
    if count < ENDING { 0 } else { hash }
}

/// The first bytes of a text, at most so many.
pub(super) fn head(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::time::SECOND;

    /// An hour of a service that has a problem now and then.
    fn known() -> Patterns {
        let config = DetectConfig::default();
        let mut patterns = Patterns::new(&config, config.window);
        let stream = Stream::new([("pod", "cart-1")].into_iter().collect::<Labels>());
        for minute in 0..60 {
            let place = patterns.place(7, &stream);
            for n in 0..20 {
                let (line, level) = if n == 7 && minute % 9 == 0 {
                    (format!("payment {n} refused by the bank"), Level::Error)
                } else {
                    (format!("item {n} stored"), Level::Info)
                };
                let ts = minute * MINUTE + n * SECOND;
                patterns.add(place, &Entry { ts, stream: 0, detected_level: None, line: &line }, level);
            }
            patterns.close((minute + 1) * MINUTE, true);
        }
        patterns
    }

    /// The snapshot with its state changed as text.
    fn changed(bytes: &[u8], change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (state, miner) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut state: serde_json::Value = serde_json::from_slice(state).unwrap();
        change(&mut state);
        let state = serde_json::to_vec(&state).unwrap();
        [&(state.len() as u64).to_le_bytes()[..], &state, miner].concat()
    }

    #[test]
    fn times_survive_a_restart_and_a_snapshot_without_them_is_read() {
        let live = known();
        let bytes = live.snapshot();
        let config = DetectConfig::default();
        let restored = |bytes: &[u8]| {
            let mut patterns = Patterns::new(&config, config.window);
            patterns.restore(bytes);
            patterns
        };
        let before = |patterns: &Patterns, unit| patterns.before(unit, 60 * MINUTE);
        let seen = Before { first: Some(7 * SECOND), last: Some(54 * MINUTE + 7 * SECOND) };
        let unit = live.state.units.iter().position(|unit| unit.level == Level::Error).unwrap() as Unit;
        assert_eq!(before(&live, unit), Some(seen));
        assert_eq!(before(&restored(&bytes), unit), Some(seen));
        // What an earlier version wrote: all of it is known still, but for the times.
        let old = changed(&bytes, |state| drop(state.as_object_mut().unwrap().remove("seen")));
        let old = restored(&old);
        assert_eq!(old.state.units.len(), live.state.units.len());
        assert_eq!(before(&old, unit), None);
        let newer = restored(&changed(&bytes, |state| state["version"] = 99.into()));
        assert!(newer.state.units.is_empty(), "it is learnt anew");
    }
}
