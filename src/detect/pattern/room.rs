//! What the patterns of a watch may hold and hold, and what goes first.
//!
//! What comes in: bytes, and groups that are gone. What goes out: numbers that are free again; what goes was seen longest ago.
//! What never happens here: anything in the midst of a window, or a decision that depends on more than what a restart finds again.

use std::cmp::Reverse;
use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::super::held;
use super::super::spread::Spread;
use super::super::template::{Limits, TemplateId};
use super::super::trace::tally::Unit;
use super::unit::UnitInfo;
use super::{GroupNumber, Patterns, State};

/// Units that had to go and are remembered.
const GONE: usize = 20_000;

/// How much of what a watch may hold at most it may hold, 0 to 1.
pub(super) fn share(limits: &Limits) -> f64 {
    limits.templates as f64 / Limits::default().templates as f64
}

/// Units that had to go, as hashes, the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<u64>", into = "Vec<u64>")]
pub(super) struct Gone {
    order: VecDeque<u64>,
    known: FxHashSet<u64>,
}

impl From<Vec<u64>> for Gone {
    fn from(order: Vec<u64>) -> Self {
        Self { known: order.iter().copied().collect(), order: order.into() }
    }
}

impl From<Gone> for Vec<u64> {
    fn from(gone: Gone) -> Self {
        gone.order.into()
    }
}

impl Gone {
    fn add(&mut self, hash: u64) {
        if self.known.insert(hash) {
            self.order.push_back(hash);
        }
        if self.order.len() > GONE
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Numbers that may be given again, the least last.
#[derive(Clone, Debug, Default)]
pub(super) struct Free {
    pub(super) units: Vec<Unit>,
    groups: Vec<u32>,
}

impl State {
    /// Units that have a number.
    pub(super) fn alive(&self) -> usize {
        self.units.len() - self.free.units.len()
    }

    /// Groups that have a number, in order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let known: Vec<u32> = (0..).zip(&self.groups).filter(|(_, group)| group.is_some()).map(|(at, _)| at).collect();
        known.into_iter()
    }

    /// Gives a group the least number that is free.
    pub(super) fn number(&mut self, fingerprint: u64) -> u32 {
        let number = self.free.groups.pop().unwrap_or(self.groups.len() as u32);
        let at = number as usize;
        if self.groups.len() <= at {
            self.groups.push(None);
            self.keyed.push((0, 0));
            self.in_sessions.push((0.0, 0.0));
        }
        if let Some(place) = self.groups.get_mut(at) {
            *place = Some(fingerprint);
        }
        self.group_of.insert(fingerprint, number);
        number
    }

    /// Whether a unit was known once and had to go.
    pub(super) fn is_back(&self, group: u32, template: TemplateId) -> bool {
        !self.gone.known.is_empty() && self.gone.known.contains(&self.hash(group, template))
    }

    fn hash(&self, group: u32, template: TemplateId) -> u64 {
        let group = self.groups.get(group as usize).copied().flatten().unwrap_or_default();
        (group ^ u64::from(template.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ group
    }

    /// Makes anew what follows from the rest.
    pub(super) fn index(&mut self) {
        let groups = self.groups.iter().zip(0..);
        self.group_of = groups.clone().filter_map(|(group, at)| Some(((*group)?, at))).collect();
        self.free.groups = groups.filter(|(group, _)| group.is_none()).map(|(_, at)| at).collect();
        self.free.groups.reverse();
        self.free.units = (0..).zip(&self.units).filter(|(_, info)| info.is_none()).map(|(unit, _)| unit).collect();
        self.free.units.reverse();
        let known = || (0..).zip(&self.units).filter_map(|(unit, info)| Some((unit, info.as_ref()?)));
        self.unit_of = known().map(|(unit, info)| ((info.group, info.template.0), unit)).collect();
        self.unit_of.extend(self.again.iter().map(|(group, template, unit)| ((*group, template.0), *unit)));
        let mut endings: FxHashMap<(u32, u64), Unit> = FxHashMap::default();
        for (unit, info) in known() {
            endings.entry((info.group, info.ending)).or_insert(unit);
        }
        self.endings = endings;
    }
}

impl Patterns {
    /// Bytes that they hold, but for what is counted in the open window.
    #[must_use]
    pub fn held(&self) -> usize {
        let state = &self.state;
        let units = state.alive();
        self.miner.held()
            + state.trace.held()
            + state.bursts.held()
            + state.ratios.held()
            + state.silence.held()
            + state.instances.held()
            + state.values.held()
            + state.novelty.held()
            + state.rarity.held()
            + state.seen.held()
            + state.worth.held()
            + held::list::<Option<UnitInfo>>(state.units.len())
            + held::map::<(u32, u32), Unit>(units + state.again.len())
            + held::map::<(u32, u64), Unit>(units)
            + held::list::<(u32, TemplateId, Unit)>(state.again.len())
            + held::map::<u64, ()>(state.gone.order.len())
            + held::list::<u64>(state.gone.order.len())
            + state.groups.len() * 64
    }

    /// Bytes that would be free without a group: its part of the units, as if all held the same.
    #[must_use]
    pub fn held_by(&self, groups: &[GroupNumber]) -> Vec<usize> {
        let mut units: FxHashMap<u32, usize> = FxHashMap::default();
        self.state.units.iter().flatten().for_each(|info| *units.entry(info.group).or_default() += 1);
        // A unit's own records; sessions and templates are shared.
        groups.iter().map(|group| 256 * units.get(&group.0).copied().unwrap_or_default()).collect()
    }

    /// Ends a window's counting of units: when there are nearly too many, those go that were seen longest ago; and groups that
    /// are not among `alive` any more, when there are more than twice `most` with those. True when numbers are free that
    /// places may still name.
    pub fn bound(&mut self, alive: &FxHashSet<GroupNumber>, most: usize) -> bool {
        if 8 * self.state.alive() >= 7 * self.most {
            self.shed_units(self.state.alive().div_ceil(4));
        }
        let known = self.state.groups.len() - self.state.free.groups.len();
        if known <= 2 * most.max(1) {
            return false;
        }
        let mut last: FxHashMap<u32, i64> = FxHashMap::default();
        for (unit, info) in (0..).zip(&self.state.units) {
            let Some(info) = info else { continue };
            let known = last.entry(info.group).or_insert(i64::MIN);
            *known = self.state.seen.last(unit).max(*known);
        }
        let mut dead: Vec<(i64, u32)> = (self.state.numbers())
            .filter(|number| !alive.contains(&GroupNumber(*number)))
            .map(|number| (last.get(&number).copied().unwrap_or(i64::MIN), number))
            .collect();
        dead.sort_unstable();
        let gone: Vec<GroupNumber> =
            dead.into_iter().take(known - most).map(|(_, number)| GroupNumber(number)).collect();
        self.retire(&gone)
    }

    /// Forgets groups with all their units. True when there were any: places may name their numbers.
    pub fn retire(&mut self, groups: &[GroupNumber]) -> bool {
        if groups.is_empty() {
            return false;
        }
        let numbers: Vec<u32> = groups.iter().map(|group| group.0).collect();
        let of_them = |info: &Option<UnitInfo>| info.as_ref().is_some_and(|info| numbers.contains(&info.group));
        let units = (0..).zip(&self.state.units).filter(|(_, info)| of_them(info)).map(|(unit, _)| unit);
        let gone: FxHashSet<Unit> = units.collect();
        self.forget(&gone, &numbers);
        for number in numbers {
            let at = number as usize;
            self.state.novelty.forget(number);
            self.state.rarity.forget(number);
            self.state.silence.retire(number);
            self.state.worth.forget(number);
            self.state.keyed.get_mut(at).into_iter().for_each(|place| *place = (0, 0));
            self.state.in_sessions.get_mut(at).into_iter().for_each(|place| *place = (0.0, 0.0));
            self.state.groups.get_mut(at).into_iter().for_each(|place| *place = None);
        }
        self.state.index();
        // It numbers streams with their groups.
        self.spread = Spread::default();
        true
    }

    /// Gives up what was seen longest ago: a quarter of the templates, with their units, and a quarter of the units. Says how
    /// many templates and units went.
    pub fn shed(&mut self) -> (usize, usize) {
        let templates = self.miner.shed();
        let known = |info: &UnitInfo| self.miner.get(self.miner.resolve(info.template)).is_some();
        let orphans = (0..).zip(&self.state.units).filter(|(_, info)| info.as_ref().is_some_and(|info| !known(info)));
        let orphans: FxHashSet<Unit> = orphans.map(|(unit, _)| unit).collect();
        let before = self.state.alive();
        self.forget(&orphans, &[]);
        let quarter = before.div_ceil(4);
        self.shed_units(quarter.saturating_sub(orphans.len()));
        (templates, before - self.state.alive())
    }

    fn shed_units(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let known = (0..).zip(&self.state.units).filter(|(_, info)| info.is_some());
        let mut by_age: Vec<(i64, Reverse<Unit>)> =
            known.map(|(unit, _)| (self.state.seen.last(unit), Reverse(unit))).collect();
        by_age.sort_unstable();
        let gone = by_age.into_iter().take(count).map(|(_, unit)| unit.0).collect();
        self.forget(&gone, &[]);
    }

    /// Frees the numbers of units, wherever they are named.
    fn forget(&mut self, gone: &FxHashSet<Unit>, groups: &[u32]) {
        let state = &mut self.state;
        state.trace.forget(gone, groups);
        if gone.is_empty() {
            return;
        }
        state.bursts.forget(gone);
        state.ratios.forget(gone);
        state.silence.forget(gone);
        state.values.forget(gone);
        let mut units: Vec<Unit> = gone.iter().copied().collect();
        units.sort_unstable();
        for unit in units {
            state.seen.forget(unit);
            let Some(info) = state.units.get_mut(unit as usize).and_then(Option::take) else { continue };
            let hash = state.hash(info.group, info.template);
            state.gone.add(hash);
        }
        state.again.retain(|(.., unit)| !gone.contains(unit));
        state.index();
        self.fresh.retain(|(unit, _)| !gone.contains(unit));
    }
}
