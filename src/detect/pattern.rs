//! What is found in the templates of a watch: in sessions over all of its groups, and in what a group never wrote before.
//!
//! What comes in: entries in the order of time with their groups, and the ends of windows. What goes out: for the groups
//! concerned, [`PatternEvidence`]. What never happens here: learning from the windows that are judged.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::burst::{Burst, Bursts};
use super::calibrate::{needed, to_score};
use super::config::{DetectConfig, WindowSpec};
use super::first::{FirstLines, head};
use super::mask::mask_secrets;
use super::novelty::Novelty;
use super::rarity::Rarity;
use super::template::{Limits, Miner, StreamSlot, TemplateId};
use super::trace::tally::{Unit, span_end};
use super::trace::{Deviation, Kind, Trace};
use super::value::Values;
use super::voice::Detectors;
use super::{Level, OddValue, PatternEvidence, PatternKind, Sample};
use crate::collect::Entry;
use crate::time::{MINUTE, Nanos};

/// Lines of one group with one template that are told apart; further ones are one a group.
const MAX_UNITS: usize = 50_000;
/// Findings that are kept of a group and a window.
const MAX_FOUND: usize = 5;
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
}

/// All that is known of the templates of a watch.
pub struct Patterns {
    miner: Miner,
    state: State,
    fresh: Vec<(Unit, f64)>,
    samples: FirstLines,
    needed: f64,
    config: DetectConfig,
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
            samples: FirstLines::default(),
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

    /// Where the entries of a stream of a group belong.
    pub fn place(&mut self, group: u64, stream: u64) -> Place {
        Place { group: self.group(group), stream: self.miner.stream(stream) }
    }

    /// Takes an entry in and gives its template, and the level to count it with: a problem that belongs to the ordinary
    /// course of its session is none.
    pub fn add(&mut self, place: Place, entry: &Entry<'_>, level: Level) -> (TemplateId, Level) {
        let group = place.group.0;
        let mined = self.miner.mine(place.stream, entry.ts, level, entry.line);
        if let Some(trace) = mined.trace {
            let unit = self.unit(group, trace, Level::Error);
            self.state.bursts.add(unit);
        }
        if mined.continues {
            return (mined.template, level);
        }
        let unit = self.unit(group, mined.template, level);
        self.samples.keep(unit, entry, level);
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

    /// The rarest line of a window of lines, as a finding that is told when its score reaches its threshold; `None` while
    /// too little is known.
    #[must_use]
    pub fn rarest(&self, group: GroupNumber, window: &[(TemplateId, Level)]) -> Option<Found> {
        if !self.config.detectors.has(PatternKind::Rare) {
            return None;
        }
        let rarest = self.state.rarity.judge(group.0, window)?;
        let unit = self.state.unit_of.get(&(group.0, rarest.template.0));
        let text = unit.and_then(|unit| self.text(*unit));
        let evidence = PatternEvidence {
            kind: PatternKind::Rare,
            line: text,
            after: None,
            key: None,
            seen: rarest.seen,
            of: rarest.of,
            expected: rarest.seen / rarest.of.max(1.0),
            seconds: None,
            value: None,
            windows: 1,
            share: 0.0,
        };
        let needed = needed(&self.config, rarest.seconds);
        let quiet = rarest.surprise < needed;
        let surprise = if quiet { rarest.order.min(needed - 1e-6) } else { rarest.order };
        Some(Found { group, scores: (to_score(surprise), to_score(needed)), evidence, sample: None })
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
        if !whole {
            self.jump(end);
            return Vec::new();
        }
        let mut found = self.sessions(end);
        found.extend(self.novel());
        found.extend(self.bursts());
        found.extend(self.values());
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
                    Some(known) if *known != unit => self.state.trace.rename(unit, *known),
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
        let wrong = judged.iter().filter(|(_, wrong)| *wrong);
        wrong.map(|(one, _)| self.told(one)).collect()
    }

    fn told(&self, one: &Deviation) -> Found {
        let (unit, after) = match one.kind {
            Kind::Present(at) | Kind::Absent(at) | Kind::Many(at) | Kind::Few(at) | Kind::Start(at) => (at, None),
            Kind::Slow(_) => (Unit::MAX, None),
            Kind::Order(from, to) => (to, self.text(from)),
        };
        let evidence = PatternEvidence {
            kind: one.kind.told(|unit| self.is_bad(unit)),
            line: self.text(unit),
            after,
            key: self.state.trace.name().map(str::to_owned),
            seen: one.seen,
            of: one.sessions,
            expected: one.expected,
            seconds: one.limit.map(span_end),
            value: None,
            windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
            share: 0.0,
        };
        let mut found = self.found(unit, self.state.trace.surprise(one), evidence);
        if let Kind::Slow(group) = one.kind {
            found.group = GroupNumber(group);
        }
        found
    }

    fn group_of(&self, unit: Unit) -> u32 {
        self.state.units.get(unit as usize).map_or(0, |info| info.group)
    }

    fn novel(&mut self) -> Vec<Found> {
        let fresh = std::mem::take(&mut self.fresh);
        let mut found = Vec::new();
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
                found.push(self.found(unit, surprise, self.problem(PatternKind::New, unit)));
            }
        }
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

    fn bursts(&mut self) -> Vec<Found> {
        let mut bursts = self.state.bursts.close();
        bursts.retain(|_| self.config.detectors.has(PatternKind::Burst));
        let surprise = |burst: &Burst| self.state.bursts.surprise(burst);
        let judged: Vec<(Burst, bool)> =
            bursts.into_iter().map(|one| (surprise(&one) >= self.needed, one)).map(|(told, one)| (one, told)).collect();
        let told = judged.iter().filter(|(_, told)| *told).map(|(one, _)| {
            let problem = PatternEvidence {
                seen: one.seen,
                of: one.seen,
                expected: one.expected,
                windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
                ..self.problem(PatternKind::Burst, one.unit)
            };
            self.found(one.unit, surprise(one), problem)
        });
        let told = told.collect();
        self.state.bursts.told(&judged);
        told
    }

    fn values(&mut self) -> Vec<Found> {
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
                    ..self.problem(PatternKind::Value, one.unit)
                };
                self.found(one.unit, surprise, evidence)
            })
            .collect()
    }

    fn is_bad(&self, unit: Unit) -> bool {
        self.state.units.get(unit as usize).is_some_and(|info| info.level >= Level::Warn)
    }

    fn problem(&self, kind: PatternKind, unit: Unit) -> PatternEvidence {
        PatternEvidence {
            kind,
            line: self.text(unit),
            after: None,
            key: None,
            seen: 1.0,
            of: 1.0,
            expected: 0.0,
            seconds: None,
            value: None,
            windows: 1,
            share: 0.0,
        }
    }

    fn found(&self, unit: Unit, surprise: f64, evidence: PatternEvidence) -> Found {
        Found {
            group: GroupNumber(self.group_of(unit)),
            scores: (to_score(surprise), to_score(self.needed)),
            evidence,
            sample: self.samples.get(unit),
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
