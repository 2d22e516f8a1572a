//! Lines that come together: "A comes once for each B". A pair that breaks is the sign of steps that are missing, also
//! where lines bear no request's id.
//!
//! What comes in: how often each template of each group came, and the ends of windows. What goes out: [`Broken`] pairs,
//! with how surprising they are. What never happens here: learning from windows that are younger than the longest span. The
//! foulest windows are left aside when pairs are fitted, whether they were told or not.

mod fit;
mod pair;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::held;
use super::past::Past;
use super::trace::tally::Unit;
use super::{Check, Gate};
use pair::{Known, Pair};

/// Windows that lines are added up over.
const SPANS: [usize; 3] = [1, 3, 6];
/// Windows that pairs are found in, besides the youngest.
const KEEP: usize = 300;
/// The youngest windows, not learnt yet.
const RECENT: usize = 6;
/// Windows before pairs are looked for; they are looked for again when this part of the past is new.
const ENOUGH: usize = 60;
const AGAIN: usize = 5;
/// Units of a window that are remembered: those known longest.
const MAX_UNITS: usize = 512;
/// Fewer lines too few or too many nobody is woken for.
const LEAST_LINES: f64 = 3.0;
/// Nobody is woken where more than this part of the lines still comes.
const MOST_LEFT: f64 = 0.6;
/// The lack of lines of the one may be less out of the usual than the surplus of the other by so many nats.
const LEAST_BLAME: f64 = -2.0;
/// Pairs that do not fit any more and are remembered.
const MAX_RESTED: usize = 1_024;
/// What goes along with something told, or soon after it, is not ordinary.
const QUIET: u64 = 2 * RECENT as u64;

/// Two lines that used to come together, and do not.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The one that is wrong.
    pub unit: Unit,
    /// The one that it is measured by.
    pub by: Unit,
    /// Lines of the first over the windows.
    pub seen: f64,
    /// Lines of the first that were expected.
    pub expected: f64,
    /// Lines of the other.
    pub others: f64,
    /// Lines of the first for one of the other.
    pub ratio: f64,
    /// How much more the lack of the one is out of the usual than the excess of the other, in nats.
    blame: f64,
    /// Windows in a row, this one the last.
    pub windows: usize,
    /// How surprising, in nats, by their own past.
    pub surprise: f64,
}

/// The pairs of a watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ratios {
    open: Open,
    ring: VecDeque<Counts>,
    /// By their units.
    pairs: Vec<Pair>,
    /// What is known of pairs that fitted once.
    rested: Vec<((Unit, Unit), Known)>,
    /// The units of pairs, in order.
    units: Vec<Unit>,
    peaks: VecDeque<f64>,
    past: Past,
    /// The window in which something was told last.
    told: Option<u64>,
    windows: u64,
    /// Windows since pairs were looked for.
    unfitted: usize,
}

/// Lines by unit, in the order of units.
type Counts = Vec<(Unit, u32)>;

/// Lines of the open window by unit, and the units that have any.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Counts", into = "Counts")]
struct Open {
    lines: Vec<u32>,
    touched: Vec<Unit>,
}

impl Ratios {
    /// Counts a line.
    pub fn add(&mut self, unit: Unit) {
        self.open.add(unit, 1);
    }

    /// A unit became a part of another: its lines are that one's, and what was known of both is looked for again.
    pub fn merge(&mut self, from: Unit, into: Unit) {
        for window in &mut self.ring {
            let Ok(at) = window.binary_search_by_key(&from, |(unit, _)| *unit) else { continue };
            let (_, lines) = window.remove(at);
            match window.binary_search_by_key(&into, |(unit, _)| *unit) {
                Ok(at) => window.get_mut(at).into_iter().for_each(|(_, sum)| *sum += lines),
                Err(at) => window.insert(at, (into, lines)),
            }
        }
        let lines = self.open.remove(from);
        if lines > 0 {
            self.open.add(into, lines);
        }
        self.drop_pairs(|unit| unit == from || unit == into);
    }

    /// Ends a window: all pairs against their past. `group` tells which group a unit is of.
    pub fn close(&mut self, group: impl Fn(Unit) -> u32) -> Vec<Broken> {
        let counts = self.open.take();
        self.windows += 1;
        if counts.is_empty() {
            // When nothing came at all, nothing is known of what comes together.
            return Vec::new();
        }
        self.ring.push_back(counts);
        if self.ring.len() > KEEP + RECENT {
            self.ring.pop_front();
        }
        self.unfitted += 1;
        let broken = self.judge();
        let learnt = self.ring.len().saturating_sub(RECENT);
        if learnt >= ENOUGH && AGAIN * self.unfitted >= learnt {
            self.unfitted = 0;
            self.renew(fit::fit(self.ring.iter().take(learnt), group));
        }
        broken
    }

    /// The units that came in the open window.
    #[must_use]
    pub fn present(&self) -> Vec<Unit> {
        self.open.touched.clone()
    }

    /// Variance over mean of the lines of a unit in those of the last windows that had it; infinite where none had.
    #[must_use]
    pub fn scatter(&self, unit: Unit) -> f64 {
        let of = |window: &Vec<(Unit, u32)>| {
            let at = window.binary_search_by_key(&unit, |(unit, _)| *unit).ok()?;
            window.get(at).map(|(_, lines)| f64::from(*lines))
        };
        let (windows, sum, squares) = (self.ring.iter().filter_map(of))
            .fold((0.0, 0.0, 0.0), |(n, sum, squares), lines| (n + 1.0, sum + lines, squares + lines * lines));
        if windows > 0.0 { (squares / sum - sum / windows).max(0.0) } else { f64::INFINITY }
    }

    /// What is left of a surprise, by how surprising ordinary windows were.
    #[must_use]
    pub fn surprise(&self, broken: &Broken) -> f64 {
        self.past.surprise(broken.surprise)
    }

    /// What a broken pair had to pass before its surprise was looked at.
    #[must_use]
    pub fn gates(&self, broken: &Broken) -> [Gate; 2] {
        [
            Gate::least(Check::Windows, self.windows as f64, ENOUGH as f64),
            Gate::least(Check::Lines, (broken.seen - broken.expected).abs(), LEAST_LINES),
        ]
    }

    /// Takes in what was found in a window and whether it was told: such windows say nothing of ordinary ones.
    pub fn told(&mut self, found: &[(Broken, bool)]) {
        self.peaks.push_back(found.iter().map(|(broken, _)| broken.surprise).fold(0.0, f64::max));
        if found.iter().any(|(_, told)| *told) {
            self.told = Some(self.windows);
        }
        if self.peaks.len() > RECENT
            && let Some(peak) = self.peaks.pop_front()
            && self.told.is_none_or(|last| last + QUIET < self.windows)
            && !self.pairs.is_empty()
        {
            self.past.add(peak);
        }
    }

    /// Forgets units.
    pub fn forget(&mut self, gone: &FxHashSet<Unit>) {
        self.ring.iter_mut().for_each(|window| window.retain(|(unit, _)| !gone.contains(unit)));
        self.drop_pairs(|unit| gone.contains(&unit));
        self.open.touched.retain(|unit| !gone.contains(unit));
        for unit in gone {
            self.open.remove(*unit);
        }
    }

    /// Bytes that they hold, but for what is counted in the open window.
    #[must_use]
    pub fn held(&self) -> usize {
        let ring: usize = self.ring.iter().map(|window| held::list::<(Unit, u32)>(window.len())).sum();
        ring + held::list::<Pair>(self.pairs.len())
            + held::list::<((Unit, Unit), Known)>(self.rested.len())
            + held::list::<Unit>(self.units.len())
    }

    /// Forgets the open window: it was not seen whole.
    pub fn jump(&mut self) {
        self.open.take();
    }

    fn drop_pairs(&mut self, of: impl Fn(Unit) -> bool) {
        let names = |(one, by): (Unit, Unit)| of(one) || of(by);
        self.pairs.retain(|pair| !names(pair.names()));
        self.rested.retain(|(pair, _)| !names(*pair));
    }

    /// Takes newly fitted pairs; what was known of them and of the others is kept.
    fn renew(&mut self, mut pairs: Vec<Pair>) {
        for pair in &mut pairs {
            let known = self.pairs.binary_search_by_key(&pair.names(), Pair::names).ok();
            let rested = self.rested.iter().find(|(names, _)| *names == pair.names()).map(|(_, known)| known);
            pair.recall(known.and_then(|at| self.pairs.get(at)), rested);
        }
        let fits = |names: (Unit, Unit)| pairs.binary_search_by_key(&names, Pair::names).is_ok();
        let gone = self.pairs.iter().map(|pair| (pair.names(), pair.past()));
        let gone = gone.chain(self.rested.iter().copied()).filter(|(names, _)| !fits(*names));
        self.rested = gone.filter_map(|(names, known)| Some((names, known.rest()?))).take(MAX_RESTED).collect();
        self.units = pairs.iter().flat_map(|pair| [pair.one, pair.by]).collect();
        self.units.sort_unstable();
        self.units.dedup();
        self.pairs = pairs;
    }

    /// Each unit that lacks lines, by the pair that says so most. Where rather the other one has too many, nothing lacks: a
    /// surplus of ordinary lines wakes nobody.
    fn judge(&mut self) -> Vec<Broken> {
        let sums = self.sums();
        let sum = |unit: Unit| match self.units.binary_search(&unit) {
            Ok(at) => sums.get(at).copied().unwrap_or_default(),
            Err(_) => Default::default(),
        };
        let mut worst: BTreeMap<Unit, Broken> = BTreeMap::new();
        for pair in &mut self.pairs {
            let Some(broken) = pair.judge(sum(pair.one), sum(pair.by)) else { continue };
            let broken = if broken.seen < broken.expected { broken } else { broken.turned() };
            let known = worst.get(&broken.unit).map_or(0.0, |known| known.surprise);
            let matters = broken.seen <= MOST_LEFT * broken.expected;
            if matters && broken.blame >= LEAST_BLAME && broken.surprise > known {
                worst.insert(broken.unit, broken);
            }
        }
        worst.into_values().collect()
    }

    /// Lines over each span, by unit.
    fn sums(&self) -> Vec<[f64; SPANS.len()]> {
        let mut sums = vec![[0.0; SPANS.len()]; self.units.len()];
        for (age, window) in self.ring.iter().rev().take(RECENT).enumerate() {
            for (unit, lines) in window {
                let Some(sum) = self.units.binary_search(unit).ok().and_then(|at| sums.get_mut(at)) else { continue };
                for (sum, span) in sum.iter_mut().zip(SPANS) {
                    *sum += if age < span { f64::from(*lines) } else { 0.0 };
                }
            }
        }
        sums
    }
}

impl Open {
    fn add(&mut self, unit: Unit, lines: u32) {
        let at = unit as usize;
        if self.lines.len() <= at {
            self.lines.resize(at + 1, 0);
        }
        if let Some(count) = self.lines.get_mut(at) {
            if *count == 0 {
                self.touched.push(unit);
            }
            *count += lines;
        }
    }

    fn remove(&mut self, unit: Unit) -> u32 {
        let lines = self.lines.get_mut(unit as usize).map(std::mem::take).unwrap_or_default();
        if lines > 0 {
            self.touched.retain(|one| *one != unit);
        }
        lines
    }

    /// What was counted, of the units known longest.
    fn take(&mut self) -> Counts {
        self.touched.sort_unstable();
        let mut counts = Counts::with_capacity(self.touched.len().min(MAX_UNITS));
        for unit in self.touched.drain(..) {
            let lines = self.lines.get_mut(unit as usize).map(std::mem::take).unwrap_or_default();
            if counts.len() < MAX_UNITS {
                counts.push((unit, lines));
            }
        }
        counts
    }
}

impl From<Counts> for Open {
    fn from(counts: Counts) -> Self {
        let mut open = Self::default();
        counts.into_iter().for_each(|(unit, lines)| open.add(unit, lines));
        open
    }
}

impl From<Open> for Counts {
    fn from(open: Open) -> Self {
        let lines = |unit: Unit| open.lines.get(unit as usize).copied().unwrap_or_default();
        let mut counts: Self = open.touched.iter().map(|unit| (*unit, lines(*unit))).collect();
        counts.sort_unstable();
        counts
    }
}

impl Broken {
    /// The same, told of the other unit.
    fn turned(self) -> Self {
        let (unit, by, seen, others) = (self.by, self.unit, self.others, self.seen);
        Self { unit, by, seen, others, expected: others / self.ratio, ratio: self.ratio.recip(), ..self }
    }
}
