//! Lines that come by the clock, and have stopped: a timer that does not fire, a job that does not end.
//!
//! What comes in: which templates each window had. What goes out: [`Stopped`] ones, with how surprising that is by the
//! pauses that each has made before. What never happens here: a word about lines that follow the traffic (those are
//! compared with others, see [`super::ratio`]), about a group that is silent as a whole, or about one whose lines have
//! changed since: a new version writes other lines.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::held;
use super::past::Past;
use super::trace::tally::Unit;
use super::{Check, Gate};

/// Windows that a line must be known for, and times that it must have come; more of those where it comes in nearly each
/// window: even traffic may look like a clock for an hour.
const ENOUGH: f64 = 60.0;
const TIMES: f64 = 30.0;
const TIMES_ALWAYS: f64 = 1000.0;
/// A pause is looked at when it is so many times the longest, and a window.
const LONGER: f64 = 1.5;
/// What comes by the clock: pauses scatter by no more than this share of their mean, and the longest is no more than so many
/// means.
const CLOCK: f64 = 0.3;
const LONGEST: f64 = 4.0;
/// What comes more often than in each second window comes in nearly each. Of that, the lines of a window scatter: their variance is no more than this share of their
/// mean. By pure chance it is the mean.
const ALWAYS: f64 = 2.0;
const EVEN: f64 = 0.3;
/// A longer pause fades from one to the next.
const FADES: f32 = 0.999;
/// Windows after which nobody waits any more; at least so many times the longest pause.
const GIVEN_UP: u64 = 360;
/// The youngest windows, which say nothing of ordinary ones yet.
const RECENT: usize = 36;
/// Lines that are remembered; further ones are not waited for.
const MAX_UNITS: usize = 20_000;

/// A line that has stopped.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Which.
    pub unit: Unit,
    /// Windows since it came last, this one too.
    pub pause: u64,
    /// Windows from one to the next: their mean, and the longest.
    pub usual: (f64, f64),
    /// Times that it came.
    pub times: f64,
    /// How surprising, in nats.
    pub surprise: f64,
}

/// The regular lines of a watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Silence {
    known: BTreeMap<Unit, Known>,
    /// Those that did not come in the last window, and the last one that had them.
    pausing: BTreeMap<Unit, u64>,
    /// Those that did.
    present: Vec<Unit>,
    /// By group: the window in which it had a new template last.
    newest: Vec<u64>,
    windows: u64,
    peaks: VecDeque<f64>,
    past: Past,
    told: Option<u64>,
}

/// What is known of a line. It changes only when a pause ends: most lines come in each window.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Known {
    /// The window that it came in first.
    born: u64,
    /// Pauses of more than one window: their number, sum, sum of squares, and the longest.
    pauses: f32,
    sum: f32,
    squares: f32,
    longest: f32,
}

impl Silence {
    /// Ends a window that had these units; by group, how many lines it had. `group` tells which group a unit is of, `even`
    /// the variance over mean of its lines in a window.
    pub fn close(
        &mut self,
        mut units: Vec<Unit>,
        lines: &[(u32, u32)],
        group: impl Fn(Unit) -> u32,
        even: impl Fn(Unit) -> f64,
    ) -> Vec<Stopped> {
        units.sort_unstable();
        self.windows += 1;
        self.newest.resize(self.newest.len().max(lines.len()), 0);
        for unit in self.present.iter().filter(|unit| units.binary_search(unit).is_err()) {
            if self.known.contains_key(unit) {
                self.pausing.insert(*unit, self.windows - 1);
            }
        }
        for unit in &units {
            self.came(*unit, group(*unit));
        }
        self.present = units;
        let alive = |unit: Unit| lines.get(group(unit) as usize).is_some_and(|(lines, _)| *lines > 0);
        let pausing = self.pausing.iter().map(|(unit, last)| (*unit, *last)).filter(|(unit, _)| alive(*unit));
        let late: Vec<Stopped> = pausing.filter_map(|(unit, last)| self.judge(unit, last, group(unit))).collect();
        let by_the_clock = |one: &Stopped| one.usual.0 >= ALWAYS || even(one.unit) <= EVEN;
        let (found, traffic): (Vec<Stopped>, Vec<Stopped>) = late.into_iter().partition(by_the_clock);
        // To look at its lines is dear: once a pause.
        for one in &traffic {
            self.pausing.remove(&one.unit);
        }
        self.give_up(&group);
        found
    }

    /// What is left of a surprise, by how surprising ordinary windows were.
    #[must_use]
    pub fn surprise(&self, stopped: &Stopped) -> f64 {
        self.past.surprise(stopped.surprise)
    }

    /// What it had to pass before its surprise was looked at.
    #[must_use]
    pub fn gates(stopped: &Stopped) -> [Gate; 2] {
        [
            Gate::least(Check::Lines, stopped.times, TIMES),
            Gate::least(Check::Excess, stopped.pause as f64 / stopped.usual.1.max(1.0), LONGER),
        ]
    }

    /// Takes in what was found in a window and whether it was told: such windows say nothing of ordinary ones.
    pub fn told(&mut self, found: &[(Stopped, bool)]) {
        self.peaks.push_back(found.iter().map(|(one, _)| one.surprise).fold(0.0, f64::max));
        if found.iter().any(|(_, told)| *told) {
            self.told = Some(self.windows);
        }
        if self.peaks.len() > RECENT
            && let Some(peak) = self.peaks.pop_front()
            && self.told.is_none_or(|last| last + 2 * (RECENT as u64) < self.windows)
        {
            self.past.add(peak);
        }
    }

    /// A unit became a part of another: what comes of either is one.
    pub fn merge(&mut self, from: Unit, into: Unit) {
        self.known.remove(&from);
        self.pausing.remove(&from);
        if let Ok(at) = self.present.binary_search(&from) {
            self.present.remove(at);
            if let Err(at) = self.present.binary_search(&into) {
                self.present.insert(at, into);
                self.pausing.remove(&into);
            }
        }
    }

    /// Forgets units.
    pub fn forget(&mut self, gone: &FxHashSet<Unit>) {
        self.known.retain(|unit, _| !gone.contains(unit));
        self.pausing.retain(|unit, _| !gone.contains(unit));
        self.present.retain(|unit| !gone.contains(unit));
    }

    /// Forgets a group, whose number is given again.
    pub fn retire(&mut self, group: u32) {
        self.newest.get_mut(group as usize).into_iter().for_each(|known| *known = self.windows);
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        held::tree::<Unit, Known>(self.known.len())
            + held::tree::<Unit, u64>(self.pausing.len())
            + held::list::<Unit>(self.present.len())
            + held::list::<u64>(self.newest.len())
    }

    /// Windows were not read: nobody knows what came in them, so no pause is one.
    pub fn jump(&mut self) {
        self.pausing.clear();
        self.present.clear();
    }

    fn came(&mut self, unit: Unit, group: u32) {
        let Some(known) = self.known.get_mut(&unit) else {
            if self.known.len() < MAX_UNITS {
                self.known.insert(unit, Known { born: self.windows, ..Known::default() });
            }
            self.newest.get_mut(group as usize).into_iter().for_each(|newest| *newest = self.windows);
            return;
        };
        if let Some(last) = self.pausing.remove(&unit) {
            let pause = (self.windows - last) as f32;
            known.pauses += 1.0;
            known.sum += pause;
            known.squares += pause * pause;
            known.longest = pause.max(known.longest * FADES);
        }
    }

    fn judge(&self, unit: Unit, last: u64, group: u32) -> Option<Stopped> {
        let known = self.known.get(&unit)?;
        let (pause, lived) = (self.windows - last, (last - known.born) as f64);
        let longest = f64::from(known.longest).max(1.0);
        let changed = self.newest.get(group as usize).is_some_and(|newest| *newest >= last);
        if (pause as f64) <= LONGER * longest + 1.0 || lived < ENOUGH || changed {
            return None;
        }
        // All pauses that are not longer are of one window.
        let ones = (lived - f64::from(known.sum)).max(0.0);
        let times = ones + f64::from(known.pauses);
        let mean = lived / times.max(1.0);
        let spread = ((ones + f64::from(known.squares)) / times.max(1.0) - mean * mean).max(0.0).sqrt();
        let enough = if mean < ALWAYS { TIMES_ALWAYS } else { TIMES };
        let regular = longest <= LONGEST * mean && (mean < ALWAYS || spread <= CLOCK * mean);
        if times < enough || !regular {
            return None;
        }
        let surprise = times.ln() + (pause as f64 - longest) / spread.max(0.25 * longest).max(1.0);
        Some(Stopped { unit, pause, usual: (mean, longest), times, surprise })
    }

    /// What has not come for long does not come any more, and nobody waits for lines of the version before.
    fn give_up(&mut self, group: impl Fn(Unit) -> u32) {
        let Self { known, pausing, newest, windows, .. } = self;
        pausing.retain(|unit, last| {
            let longest = known.get(unit).map_or(0.0, |known| known.longest) as u64;
            let changed = newest.get(group(*unit) as usize).is_some_and(|newest| *newest >= *last);
            let most = if changed { 10 * longest.max(6) } else { GIVEN_UP.max(10 * longest) };
            let wait = *windows - *last <= most;
            if !wait {
                known.remove(unit);
            }
            wait
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::detector::Dice;

    /// A line that comes in these windows among others, then no more: after how many windows its surprise is above 10, and
    /// whether it ever was before.
    fn stops(comes: impl Fn(&mut Dice, u64) -> bool, even: f64) -> (bool, Option<u64>) {
        let (mut silence, mut dice, mut early) = (Silence::default(), Dice(9), false);
        for window in 0..2_400 {
            let mut units = vec![1];
            if window < 2_000 && comes(&mut dice, window) {
                units.push(7);
            }
            let found = silence.close(units, &[(40, 0)], |_| 0, |_| even);
            let sure = found.iter().any(|one| silence.surprise(one) > 10.0);
            silence.told(&found.into_iter().map(|one| (one, sure)).collect::<Vec<_>>());
            if sure && window >= 2_000 {
                return (early, Some(window - 2_000));
            }
            early |= sure;
        }
        (early, None)
    }

    #[test]
    fn a_clock_that_stops_is_missed_after_a_few_beats() {
        for (every, most) in [(1, 10), (5, 20), (15, 60)] {
            let (early, after) = stops(|_, window| window % every == 0, 0.0);
            assert!(!early && after.is_some_and(|after| after < most), "{every}: {after:?}");
        }
        // A timer that is late now and then.
        let (early, after) = stops(|dice, window| (window + u64::from(dice.unit() < 0.03)) % 5 == 0, 0.0);
        assert!(!early && after.is_some_and(|after| after < 40), "{after:?}");
    }

    #[test]
    fn what_follows_the_traffic_is_not_waited_for() {
        for even in [1.0, 5.0] {
            assert_eq!(stops(|_, _| true, even), (false, None));
        }
        assert_eq!(stops(|dice, _| dice.unit() < 0.4, 0.0), (false, None));
        assert_eq!(stops(|dice, window| window / 40 % 5 == 0 && dice.unit() < 0.5, 0.0), (false, None));
    }

    #[test]
    fn a_new_version_stops_nothing() {
        let mut silence = Silence::default();
        for window in 0..1_000 {
            let units = if window < 500 { vec![1, 2] } else { vec![1, 3] };
            assert!(silence.close(units, &[(9, 0)], |_| 0, |_| 0.0).is_empty());
        }
        assert_eq!(silence.known.keys().copied().collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn a_pause_of_the_whole_group_or_of_reading_is_none() {
        let mut silence = Silence::default();
        for window in 0..400 {
            let silent = (300..350).contains(&window);
            let units = if silent { Vec::new() } else { vec![1, 2] };
            assert!(silence.close(units, &[(if silent { 0 } else { 9 }, 0)], |_| 0, |_| 0.0).is_empty());
        }
        silence.jump();
        assert!(silence.close(vec![1], &[(9, 0)], |_| 0, |_| 0.0).is_empty());
    }

    #[test]
    fn what_is_known_survives_and_merges() {
        let mut silence = Silence::default();
        for window in 0..200_u32 {
            silence.close(if window % 3 == 0 { vec![1, 2, 4] } else { vec![1] }, &[(9, 0)], |_| 0, |_| 0.0);
        }
        let text = serde_json::to_string(&silence).unwrap();
        let back: Silence = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        silence.merge(4, 2);
        assert_eq!(silence.known.keys().copied().collect::<Vec<_>>(), [1, 2]);
        silence.forget(&[2].into_iter().collect());
        assert!(silence.pausing.is_empty() && silence.held() > 0);
    }
}
