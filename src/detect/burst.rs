//! Problems that come in bursts: lines of level warn or worse, each template of a group against its own past.
//!
//! What comes in: how often each came, and the ends of windows. What goes out: [`Burst`]s, with how surprising they are.
//! Bursts come by Poisson's law and their sizes by a geometric one, so a template that always comes in threes is not
//! surprising in threes. What never happens here: learning from windows that are younger than the longest span.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::held;
use super::past::Past;
use super::tail::upper_tail;
use super::trace::tally::Unit;
use super::{Check, Gate, LULL};

/// Windows that lines are added up over.
const SPANS: [usize; 4] = [1, 3, 6, 36];
/// The youngest windows, not learnt yet.
const RECENT: usize = 36;
/// Windows before anything is judged.
const ENOUGH: f64 = 30.0;
/// What is assumed of a template before it is known: one burst of three lines.
const FIRST_BURST: f64 = 3.0;
/// Windows after which what was of late has faded to a third.
const LATELY: f64 = 500.0;
/// So many windows with a template are a habit.
const AGAIN: f64 = 8.0;
/// Nobody is woken for less than twice what is usual.
const TWICE: f64 = 2.0;
/// No burst is told of fewer lines.
const LEAST_LINES: f64 = 3.0;
/// Templates that are remembered; further ones are not judged here.
const MAX_UNITS: usize = 20_000;
/// Windows after which half is forgotten.
const MOST: f64 = 20_000.0;

/// A template that came more often than its past allows.
#[derive(Clone, Debug)]
pub struct Burst {
    /// Which.
    pub unit: Unit,
    /// Lines over the windows.
    pub seen: f64,
    /// Lines that were expected.
    pub expected: f64,
    /// Windows in a row, this one the last.
    pub windows: usize,
    /// How surprising, in nats, by its own past.
    pub surprise: f64,
    /// Variance over mean of its lines.
    pub fano: f64,
}

/// The bursts of a watch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bursts {
    known: Vec<(Unit, Known)>,
    now: BTreeMap<Unit, u32>,
    recent: VecDeque<Vec<(Unit, u32)>>,
    peaks: VecDeque<f64>,
    past: Past,
    /// What was told lately, and when last.
    told: BTreeMap<Unit, u64>,
    /// Windows learnt, old ones weighing less; and windows ever.
    learnt: f64,
    windows: u64,
}

/// What is known of a template: windows that had it, and lines.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Known {
    bursts: f64,
    lines: f64,
    /// The same of late, told or not, older windows weighing less; and the window that this is of.
    #[serde(default)]
    late: (f64, f64),
    #[serde(default)]
    at: u64,
}

impl Known {
    /// Takes in what another knew: windows with both are counted twice, which makes bursts smaller and more frequent.
    fn merge(&mut self, other: &Self) {
        let at = self.at.max(other.at);
        let (one, two) = (self.lately(at), other.lately(at));
        (self.late, self.at) = ((one.0 + two.0, one.1 + two.1), at);
        self.bursts += other.bursts;
        self.lines += other.lines;
    }

    /// What is known of late, as of this window.
    fn lately(&self, window: u64) -> (f64, f64) {
        let kept = (-(window.saturating_sub(self.at) as f64) / LATELY).exp();
        (self.late.0 * kept, self.late.1 * kept)
    }

    /// How many lines are expected of one window out of `learnt`, and of one burst. What has gone on for hours is usual,
    /// whatever was before.
    fn usual(&self, learnt: f64, window: u64) -> (f64, f64) {
        let law = |bursts: f64, lines: f64, windows: f64| {
            let size = (lines + FIRST_BURST) / (bursts + 1.0);
            ((bursts + 0.5) / (windows + 1.0) * size, size)
        };
        let (bursts, lines) = self.lately(window);
        let (ever, late) = (law(self.bursts, self.lines, learnt), law(bursts, lines, learnt.min(LATELY)));
        if late.0 > ever.0 && bursts >= AGAIN { late } else { ever }
    }
}

impl Bursts {
    /// Counts a line.
    pub fn add(&mut self, unit: Unit) {
        if self.now.len() < MAX_UNITS || self.now.contains_key(&unit) {
            *self.now.entry(unit).or_default() += 1;
        }
    }

    /// A unit became a part of another: its past and its lines are that one's.
    pub fn merge(&mut self, from: Unit, into: Unit) {
        let add = |counts: &mut Vec<(Unit, u32)>| {
            let Ok(at) = counts.binary_search_by_key(&from, |(unit, _)| *unit) else { return };
            let (_, lines) = counts.remove(at);
            match counts.binary_search_by_key(&into, |(unit, _)| *unit) {
                Ok(at) => counts.get_mut(at).into_iter().for_each(|(_, sum)| *sum += lines),
                Err(at) => counts.insert(at, (into, lines)),
            }
        };
        self.recent.iter_mut().for_each(add);
        if let Some(lines) = self.now.remove(&from) {
            *self.now.entry(into).or_default() += lines;
        }
        if let Some(last) = self.told.remove(&from) {
            let known = self.told.entry(into).or_default();
            *known = last.max(*known);
        }
        let Ok(at) = self.known.binary_search_by_key(&from, |(unit, _)| *unit) else { return };
        let (_, gone) = self.known.remove(at);
        match self.known.binary_search_by_key(&into, |(unit, _)| *unit) {
            Ok(at) => self.known.get_mut(at).into_iter().for_each(|(_, known)| known.merge(&gone)),
            Err(at) => self.known.insert(at, (into, gone)),
        }
    }

    /// Ends a window: all templates that came in it, against their past.
    pub fn close(&mut self) -> Vec<Burst> {
        let now: Vec<(Unit, u32)> = std::mem::take(&mut self.now).into_iter().collect();
        self.recent.push_back(now);
        self.windows += 1;
        let now = self.recent.back().map(Vec::as_slice).unwrap_or_default();
        let found = if self.learnt < ENOUGH {
            Vec::new()
        } else {
            now.iter().filter_map(|(unit, _)| self.judge(*unit)).collect()
        };
        if self.recent.len() > RECENT {
            self.learn();
        }
        found
    }

    /// What is left of a surprise, by how surprising ordinary windows were.
    #[must_use]
    pub fn surprise(&self, burst: &Burst) -> f64 {
        self.past.surprise(burst.surprise)
    }

    /// What a burst had to pass before its surprise was looked at.
    #[must_use]
    pub fn gates(&self, burst: &Burst) -> [Gate; 3] {
        [
            Gate::least(Check::Windows, self.learnt, ENOUGH),
            Gate::least(Check::Lines, burst.seen, LEAST_LINES),
            Gate::least(Check::Excess, burst.seen / burst.expected.max(1e-9), TWICE),
        ]
    }

    /// Takes in what was found in a window and whether it was told: what was told is not learnt for good.
    pub fn told(&mut self, found: &[(Burst, bool)]) {
        self.peaks.push_back(found.iter().map(|(burst, _)| burst.surprise).fold(0.0, f64::max));
        for (burst, _) in found.iter().filter(|(_, told)| *told) {
            self.told.insert(burst.unit, self.windows);
        }
    }

    /// Forgets units.
    pub fn forget(&mut self, gone: &FxHashSet<Unit>) {
        self.known.retain(|(unit, _)| !gone.contains(unit));
        self.known.shrink_to_fit();
        self.now.retain(|unit, _| !gone.contains(unit));
        self.recent.iter_mut().for_each(|window| window.retain(|(unit, _)| !gone.contains(unit)));
        self.told.retain(|unit, _| !gone.contains(unit));
    }

    /// Bytes that they hold.
    #[must_use]
    pub fn held(&self) -> usize {
        let recent: usize = self.recent.iter().map(|window| window.len() * size_of::<(Unit, u32)>()).sum();
        held::list::<(Unit, Known)>(self.known.len()) + recent + held::tree::<Unit, u64>(self.told.len())
    }

    /// Forgets the open window: it was not seen whole.
    pub fn jump(&mut self) {
        self.now.clear();
    }

    fn learn(&mut self) {
        let Some(oldest) = self.recent.pop_front() else { return };
        let then = self.windows - RECENT as u64;
        self.told.retain(|_, last| *last >= then);
        if let Some(peak) = self.peaks.pop_front().filter(|_| self.told.is_empty()) {
            self.past.add(peak);
        }
        self.learnt += 1.0;
        for (unit, lines) in oldest {
            let at = match self.known.binary_search_by_key(&unit, |(unit, _)| *unit) {
                Ok(at) => at,
                Err(_) if self.known.len() >= MAX_UNITS => continue,
                Err(at) => {
                    self.known.insert(at, (unit, Known::default()));
                    at
                }
            };
            let told = self.told.contains_key(&unit);
            if let Some((_, known)) = self.known.get_mut(at) {
                let late = known.lately(then);
                (known.late, known.at) = ((late.0 + 1.0, late.1 + f64::from(lines)), then);
                if !told {
                    known.bursts += 1.0;
                    known.lines += f64::from(lines);
                }
            }
        }
        if self.learnt > MOST {
            self.learnt /= 2.0;
            for (_, known) in &mut self.known {
                (known.bursts, known.lines) = (known.bursts / 2.0, known.lines / 2.0);
            }
            self.known.retain(|(_, known)| known.bursts > 0.1 || known.late.0 > 0.1);
        }
    }

    /// The span over which a template is most surprising.
    fn judge(&self, unit: Unit) -> Option<Burst> {
        let known = self.known.binary_search_by_key(&unit, |(unit, _)| *unit).ok();
        let known = known.and_then(|at| self.known.get(at)).map(|(_, known)| *known).unwrap_or_default();
        let (usual, size) = known.usual(self.learnt, self.windows);
        let mut best: Option<Burst> = None;
        let (mut seen, mut before) = (0.0, 0.0);
        let since = self.told.get(&unit).map_or(u64::MAX, |last| self.windows - last);
        let span = if since > LULL as u64 { usize::try_from(since).unwrap_or(usize::MAX) } else { usize::MAX };
        for (at, window) in self.recent.iter().rev().take(span).enumerate() {
            let lines = window.binary_search_by_key(&unit, |(unit, _)| *unit).ok().and_then(|at| window.get(at));
            seen += lines.map_or(0.0, |(_, lines)| f64::from(*lines));
            if !SPANS.contains(&(at + 1)) {
                continue;
            }
            let expected = usual * (at + 1) as f64;
            let more = seen >= TWICE * expected && seen >= LEAST_LINES;
            let fano = 2.0 * size - 1.0;
            let surprise = if more { -upper_tail(seen, expected, fano) } else { 0.0 };
            // It has to go on: what is over was told when it was there. And a long time only says something of what is rare:
            // over half an hour, what comes all the time follows the traffic.
            let rare = at + 1 < RECENT || expected < 1.0;
            let goes_on = rare && (at == 0 || before >= 0.1 * seen);
            if goes_on && best.as_ref().is_none_or(|best| surprise > best.surprise) {
                best = Some(Burst { unit, seen, expected, windows: at + 1, surprise, fano });
            }
            before = seen;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 400 windows with these lines of one unit, then one with `last`: the surprise of that.
    fn surprise(usual: impl Fn(u32) -> u32, last: u32) -> f64 {
        let mut bursts = Bursts::default();
        for window in 0..400 {
            for _ in 0..usual(window) {
                bursts.add(7);
            }
            let found: Vec<(Burst, bool)> = bursts.close().into_iter().map(|burst| (burst, false)).collect();
            bursts.told(&found);
        }
        for _ in 0..last {
            bursts.add(7);
        }
        bursts.close().first().map_or(0.0, |burst| bursts.surprise(burst))
    }

    /// A problem that had never come, and then comes in one window of four.
    #[test]
    fn what_stays_is_usual_after_some_hours() {
        let mut bursts = Bursts::default();
        let mut told = Vec::new();
        for window in 0..20_000 {
            if window > 8_000 && window % 4 == 0 {
                bursts.add(7);
            }
            let found: Vec<(Burst, bool)> = bursts
                .close()
                .into_iter()
                .map(|burst| (burst.clone(), bursts.surprise(&burst) > 12.0))
                .inspect(|(_, wrong)| told.extend(wrong.then_some(window - 8_000)))
                .collect();
            bursts.told(&found);
        }
        assert!(told.first().is_some_and(|first| *first < 80), "{told:?}");
        assert!(told.last().is_some_and(|last| *last < 300), "{told:?}");
    }

    #[test]
    fn what_merges_brings_its_past_along() {
        let mut bursts = Bursts::default();
        for window in 0..2_000u32 {
            (0..4).for_each(|_| bursts.add(7));
            (0..40).filter(|_| window % 3 == 0).for_each(|_| bursts.add(9));
            bursts.close();
            bursts.told(&[]);
        }
        bursts.merge(9, 7);
        (0..50).for_each(|_| bursts.add(7));
        let found = bursts.close();
        assert!(found.iter().all(|burst| burst.surprise < 5.0), "{found:?}");
        assert_eq!(bursts.known.iter().map(|(unit, _)| *unit).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn a_burst_is_measured_by_its_own_past() {
        let never = |_| 0;
        let in_tens = |window| if window % 20 == 0 { 10 } else { 0 };
        let always = |window| 4 + window % 3;
        for (usual, last, least, most) in [
            (&never as &dyn Fn(u32) -> u32, 2, 0.0, 0.0),
            (&never, 12, 7.0, 20.0),
            (&never, 60, 14.0, 60.0),
            (&in_tens, 10, 0.0, 4.0),
            (&in_tens, 400, 7.0, 60.0),
            (&always, 6, 0.0, 2.0),
            (&always, 120, 9.0, 80.0),
        ] {
            let found = surprise(usual, last);
            assert!((least..=most).contains(&found), "{last}: {found}, expected {least} to {most}");
        }
    }
}
