//! When the lines of each unit were seen, and how the first one of the open window looks.
//!
//! What comes in: entries in the order of time. What goes out: a masked sample, and the times before a window. What never
//! happens here: a decision. A line costs one write beside the unit's own place.

use std::ops::Range;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::mask::{head, sample};
use super::trace::tally::Unit;
use super::{Before, Level, Sample};
use crate::collect::Entry;
use crate::time::Nanos;

/// Lines that are kept of a window, and bytes of one.
const MAX_SAMPLES: usize = 2_000;
const SAMPLED: usize = 1_024;
const MILLI: Nanos = 1_000_000;
/// A unit without a line yet, and one that was known before its times were.
const NEVER: i64 = i64::MAX;
const UNKNOWN: i64 = i64::MIN;

/// When a unit was seen, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(from = "(i64, i64)", into = "(i64, i64)")]
struct Times {
    first: i64,
    last: i64,
    /// The last time before the window that `last` lies in, and that window's number.
    before: i64,
    window: u32,
}

impl From<(i64, i64)> for Times {
    fn from((first, since): (i64, i64)) -> Self {
        Self { first, last: first.saturating_add(since), before: UNKNOWN, window: u32::MAX }
    }
}

impl From<Times> for (i64, i64) {
    fn from(times: Times) -> Self {
        (times.first, times.last.saturating_sub(times.first))
    }
}

/// When units were seen. Survives a restart between two windows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Seen {
    times: Vec<Times>,
}

impl Seen {
    /// Units up to this number that nothing is known of were there before, nobody knows since when.
    pub(super) fn fill(&mut self, units: usize) {
        if self.times.len() < units {
            self.times.resize(units, Times { first: UNKNOWN, ..Times::from((0, 0)) });
        }
    }

    /// Forgets a unit, whose number another may get.
    pub(super) fn forget(&mut self, unit: Unit) {
        if let Some(times) = self.times.get_mut(unit as usize) {
            *times = Times { first: NEVER, ..Times::from((0, 0)) };
        }
    }

    /// When a unit was seen last, in milliseconds; the least when nobody knows.
    pub(super) fn last(&self, unit: Unit) -> i64 {
        let known = self.times.get(unit as usize).filter(|times| times.first != NEVER && times.first != UNKNOWN);
        known.map_or(i64::MIN, |times| times.last)
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        super::held::list::<Times>(self.times.len())
    }

    /// A unit became a part of another.
    pub(super) fn merge(&mut self, from: Unit, into: Unit) {
        let Some(from) = self.times.get(from as usize).copied() else { return };
        let Some(into) = self.times.get_mut(into as usize) else { return };
        into.first = into.first.min(from.first);
        into.last = into.last.max(from.last);
        into.before = into.before.max(from.before);
    }

    /// When a unit was seen before `start`.
    pub(super) fn before(&self, unit: Unit, start: Nanos) -> Option<Before> {
        let times = self.times.get(unit as usize).filter(|times| times.first != UNKNOWN && times.first != NEVER)?;
        let start = start.div_euclid(MILLI);
        let nanos = |millis: i64| millis.saturating_mul(MILLI);
        if times.first >= start {
            return Some(Before::default());
        }
        let last = [times.last, times.before].into_iter().find(|last| (times.first..start).contains(last));
        Some(Before { first: Some(nanos(times.first)), last: last.map(nanos) })
    }
}

/// The first line of each unit in the open window, as it came; at most so many, and so much of each.
#[derive(Debug, Default)]
pub(super) struct Samples {
    window: u32,
    lines: FxHashMap<Unit, (Nanos, Level, Range<usize>)>,
    /// What `lines` point into.
    text: String,
}

impl Samples {
    /// Takes a line of a unit in.
    pub(super) fn keep(&mut self, seen: &mut Seen, unit: Unit, entry: &Entry<'_>, level: Level) {
        if self.note(seen, unit, entry.ts) && self.lines.len() < MAX_SAMPLES {
            let start = self.text.len();
            self.text.push_str(head(entry.line, SAMPLED));
            self.lines.insert(unit, (entry.ts, level, start..self.text.len()));
        }
    }

    /// Only the time of a line of a unit. Whether it is the first in the window.
    pub(super) fn note(&self, seen: &mut Seen, unit: Unit, ts: Nanos) -> bool {
        let (at, now) = (unit as usize, ts.div_euclid(MILLI));
        if seen.times.len() <= at {
            seen.times.resize(at + 1, Times { first: NEVER, ..Times::from((0, 0)) });
        }
        let Some(times) = seen.times.get_mut(at) else { return false };
        if times.window == self.window {
            times.last = now;
            return false;
        }
        (times.before, times.window) = (if times.first == NEVER { UNKNOWN } else { times.last }, self.window);
        (times.first, times.last) = (times.first.min(now), now);
        true
    }

    /// The line of a unit, secrets masked.
    pub(super) fn get(&self, unit: Unit) -> Option<Sample> {
        let (ts, level, place) = self.lines.get(&unit)?;
        Some(sample(*ts, *level, self.text.get(place.clone())?))
    }

    /// Ends the window.
    pub(super) fn close(&mut self) {
        self.window = (self.window + 1) % u32::MAX;
        self.lines.clear();
        self.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    fn line(seen: &mut Seen, samples: &mut Samples, unit: Unit, second: Nanos) {
        let entry = Entry { ts: second * SECOND, stream: 0, detected_level: None, line: "order 17 stored" };
        samples.keep(seen, unit, &entry, Level::Info);
    }

    #[test]
    fn times_before_a_window_are_known_also_after_a_restart() {
        let (mut seen, mut samples) = (Seen::default(), Samples::default());
        for (unit, second) in [(0, 1), (1, 2), (0, 5)] {
            line(&mut seen, &mut samples, unit, second);
        }
        samples.close();
        let text = serde_json::to_string(&seen).unwrap();
        assert_eq!(text, "[[1000,4000],[2000,0]]");
        for mut seen in [seen, serde_json::from_str(&text).unwrap()] {
            for (unit, second) in [(0, 11), (0, 13), (2, 14)] {
                line(&mut seen, &mut samples, unit, second);
            }
            let told = |unit| seen.before(unit, 10 * SECOND).map(|before| (before.first, before.last));
            assert_eq!(told(0), Some((Some(SECOND), Some(5 * SECOND))));
            assert_eq!(told(1), Some((Some(2 * SECOND), Some(2 * SECOND))));
            assert_eq!(told(2), Some((None, None)), "never before");
            assert_eq!(told(3), None, "nothing is known of it");
            seen.merge(1, 2);
            assert_eq!(seen.before(2, 10 * SECOND).unwrap().first, Some(2 * SECOND));
            samples.close();
        }
    }

    #[test]
    fn of_what_was_known_before_times_were_nothing_is_said() {
        let (mut seen, mut samples) = (Seen::default(), Samples::default());
        seen.fill(1);
        line(&mut seen, &mut samples, 0, 1);
        line(&mut seen, &mut samples, 1, 1);
        assert_eq!(seen.before(0, 0), None);
        assert_eq!(seen.before(1, 0), Some(Before::default()));
    }

    #[test]
    fn so_many_samples_and_no_more() {
        let (mut seen, mut samples) = (Seen::default(), Samples::default());
        (0..3_000).for_each(|unit| line(&mut seen, &mut samples, unit, 1));
        assert_eq!(samples.lines.len(), MAX_SAMPLES);
        assert!(samples.get(1).is_some() && samples.get(2_999).is_none());
        assert_eq!(seen.before(2_999, 2 * SECOND).unwrap().first, Some(SECOND));
    }
}
