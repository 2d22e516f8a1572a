//! What was delivered, counted by unit of time, so that an exact count can tell later whether lines came late.
//!
//! What comes in: the counts of delivered batches. What goes out: which units to count, and what they should hold. Pure.
//! The unit is a minute, or the watch's window when whole windows make a minute. Bounded: about 70 minutes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::collect::page::mix;
use crate::time::{HOUR, MINUTE, Nanos, TimeRange, ceil, floor};

/// Out-of-order ingestion reaches one hour back (`loki.md` §2); ten minutes more are for the audit itself.
const KEPT: Nanos = 70 * MINUTE;
/// At most this many units, for windows of a few seconds.
const MAX_UNITS: usize = 512;
/// Windows whose common multiple with a minute is longer are re-read without regard to minutes.
const MAX_BLOCK: Nanos = 6 * HOUR;

/// What is known of one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Lines delivered.
    #[serde(rename = "n")]
    pub lines: u64,
    /// Lines known to exist and not delivered, see the gaps.
    #[serde(rename = "m", default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Whether an exact count has confirmed it, or it cannot be confirmed.
    #[serde(rename = "a", default, skip_serializing_if = "is_false")]
    pub audited: bool,
    /// Whether it is to be audited although it was not chosen.
    #[serde(rename = "d", default, skip_serializing_if = "is_false")]
    pub doubtful: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Counts of delivered lines by unit, and where reading stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Length of a unit.
    unit: Nanos,
    /// The shortest stretch of whole units that is also made of whole windows.
    block: Nanos,
    /// Before this nothing is known; a unit that starts earlier is not in the ledger.
    since: Nanos,
    /// All before this has been delivered.
    position: Nanos,
    units: BTreeMap<Nanos, Unit>,
}

impl Ledger {
    /// An empty ledger from `since` on. `window` is the watch's window, `None` for windows of lines.
    #[must_use]
    pub fn new(window: Option<Nanos>, since: Nanos) -> Self {
        let window = window.filter(|window| *window > 0).unwrap_or(MINUTE);
        let unit = if MINUTE % window == 0 { window } else { MINUTE };
        let common = window / gcd(window, MINUTE) * MINUTE;
        let block = if MINUTE % window == 0 {
            window
        } else if common <= MAX_BLOCK {
            common
        } else {
            window
        };
        Self { unit, block, since, position: since, units: BTreeMap::new() }
    }

    /// Takes over an earlier ledger at a restart from `resume`: what comes after it is read again. An earlier ledger of
    /// another window is of no use.
    pub fn restore(&mut self, earlier: Self, resume: Nanos) {
        if (earlier.unit, earlier.block) != (self.unit, self.block) || earlier.position < resume {
            return;
        }
        *self = Self { position: resume, since: earlier.since.min(resume), ..earlier };
        let resumed = floor(resume, self.unit);
        self.units.split_off(&resumed);
        if resumed != resume {
            // The unit's first part would be missing.
            self.since = resume;
            self.units.clear();
        }
    }

    /// All before this has been delivered.
    #[must_use]
    pub fn position(&self) -> Nanos {
        self.position
    }

    /// The shortest stretch that may be read again.
    #[must_use]
    pub fn block(&self) -> Nanos {
        self.block
    }

    /// `range` extended to whole blocks.
    #[must_use]
    pub fn extended(&self, range: TimeRange) -> TimeRange {
        TimeRange::new(floor(range.start, self.block), ceil(range.end, self.block))
    }

    /// Takes in the entries of `range`, which starts at the position.
    pub fn delivered(&mut self, range: TimeRange, stamps: impl Iterator<Item = Nanos>) {
        // An idle unit is known to be empty, and that too can be confirmed.
        let mut at = ceil(range.start.max(self.since), self.unit).max(ceil(range.end - KEPT, self.unit));
        at = at.min(floor(range.end, self.unit));
        while at < range.end {
            self.note(at, |_| {});
            at += self.unit;
        }
        for ts in stamps {
            self.note(floor(ts, self.unit), |unit| unit.lines += 1);
        }
        self.position = range.end;
        self.forget();
    }

    /// Notes `lines` of `range` that exist and were not delivered; with `None` the range cannot be confirmed any more.
    pub fn missing(&mut self, range: TimeRange, lines: Option<u64>) {
        match lines {
            Some(lines) => self.note(floor(range.start, self.unit), |unit| unit.missing += lines),
            None => self.each(range, |unit| unit.audited = true),
        }
    }

    /// Leaves out all before `position`: nothing of it will be confirmed.
    pub fn skip_to(&mut self, position: Nanos) {
        self.units.clear();
        (self.since, self.position) = (position, position);
    }

    /// Replaces the counts of whole units in `range` by what was read again; those that end by `settled` count as
    /// confirmed, the others may grow still.
    pub fn amended(&mut self, range: TimeRange, stamps: impl Iterator<Item = Nanos>, settled: Nanos) {
        let mut counts: BTreeMap<Nanos, u64> = BTreeMap::new();
        for ts in stamps {
            *counts.entry(floor(ts, self.unit)).or_default() += 1;
        }
        let unit = self.unit;
        for (start, known) in self.units.range_mut(range.start..range.end) {
            if start + unit <= range.end {
                let lines = counts.get(start).copied().unwrap_or(0);
                let audited = start + unit <= settled;
                *known = Unit { lines, missing: 0, audited, doubtful: !audited };
            }
        }
    }

    /// Marks the units in `range` as confirmed when they end by `settled`. A younger one may grow still: a count of it
    /// says what is there now, and it is to be audited once more when it is old enough.
    pub fn confirm(&mut self, range: TimeRange, settled: Nanos) {
        let length = self.unit;
        for (start, unit) in self.units.range_mut(floor(range.start, length)..range.end) {
            unit.audited = start + length <= settled;
            unit.doubtful = !unit.audited;
        }
    }

    /// Marks the units in `range` as to be audited.
    pub fn doubt(&mut self, range: TimeRange) {
        self.each(range, |unit| (unit.audited, unit.doubtful) = (false, true));
    }

    /// Marks the units beside `range` as to be audited, unless they are confirmed.
    pub fn suspect_around(&mut self, range: TimeRange) {
        let around = TimeRange::new(range.start - self.unit, range.end + self.unit);
        self.each(around, |unit| unit.doubtful |= !unit.audited);
    }

    /// The oldest stretch that is due for its routine audit: closed, at least `late_after` old at `now`, of a chosen
    /// minute (one in `every`, none for 0) or doubtful, and in a closed block, so that it can be read again. At most a
    /// minute long.
    #[must_use]
    pub fn due(&self, now: Nanos, late_after: Nanos, every: u32) -> Option<TimeRange> {
        let closed = |at: Nanos| {
            let end = at + self.unit;
            end <= now.saturating_sub(late_after) && self.extended(TimeRange::new(at, end)).end <= self.position
        };
        let chosen = |at: Nanos, unit: &Unit| {
            !unit.audited && (unit.doubtful || is_chosen(at, every)) && self.is_whole_block(at)
        };
        let mut due = self.units.iter().filter(|(at, unit)| chosen(**at, unit) && closed(**at)).map(|(at, _)| *at);
        let first = due.next()?;
        let mut end = first + self.unit;
        for at in due.take_while(|at| floor(*at, MINUTE) == floor(first, MINUTE)) {
            if at != end {
                break;
            }
            end += self.unit;
        }
        Some(TimeRange::new(first, end))
    }

    /// Whether the block around `at` lies in what the ledger knows.
    fn is_whole_block(&self, at: Nanos) -> bool {
        floor(at, self.block) >= self.since || self.block == self.unit
    }

    /// The runs of units in `range` that are not confirmed, the open one cut at the position.
    #[must_use]
    pub fn unconfirmed(&self, range: TimeRange) -> Vec<TimeRange> {
        let mut runs: Vec<TimeRange> = Vec::new();
        for (at, unit) in self.units.range(floor(range.start, self.unit)..range.end) {
            if unit.audited {
                continue;
            }
            let end = (at + self.unit).min(self.position);
            match runs.last_mut().filter(|run| run.end == *at) {
                Some(run) => run.end = end,
                None => runs.push(TimeRange::new(*at, end)),
            }
        }
        runs
    }

    /// The lines that should be in `range`, delivered and known to be missing. `range` starts at a unit.
    #[must_use]
    pub fn expected(&self, range: TimeRange) -> u64 {
        self.units.range(range.start..range.end).map(|(_, unit)| unit.lines + unit.missing).sum()
    }

    /// Delivered and missing lines in `range`.
    #[must_use]
    pub fn totals(&self, range: TimeRange) -> (u64, u64) {
        let units = self.units.range(floor(range.start, self.unit)..range.end);
        units.fold((0, 0), |(lines, missing), (_, unit)| (lines + unit.lines, missing + unit.missing))
    }

    /// Whether all of `range` is in the ledger.
    #[must_use]
    pub fn covers(&self, range: TimeRange) -> bool {
        let first = self.units.keys().next().copied().unwrap_or(self.position);
        floor(range.start, self.unit) >= first.max(self.since) && range.end <= self.position
    }

    /// The range of the ledger.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.units.keys().next().copied().unwrap_or(self.position), self.position)
    }

    /// The first border of a unit in the middle of `range`, to search in halves; `None` for a single unit.
    #[must_use]
    pub fn middle(&self, range: TimeRange) -> Option<Nanos> {
        let units = (range.len() + self.unit - 1) / self.unit;
        (units > 1).then(|| range.start + units / 2 * self.unit)
    }

    fn note(&mut self, at: Nanos, change: impl FnOnce(&mut Unit)) {
        if at >= self.since {
            change(self.units.entry(at).or_default());
        }
    }

    fn each(&mut self, range: TimeRange, change: impl Fn(&mut Unit)) {
        self.units.range_mut(floor(range.start, self.unit)..range.end).for_each(|(_, unit)| change(unit));
    }

    fn forget(&mut self) {
        let oldest = floor(self.position - KEPT, self.unit);
        if self.units.first_key_value().is_some_and(|(at, _)| *at < oldest) {
            self.units = self.units.split_off(&oldest);
        }
        while self.units.len() > MAX_UNITS {
            self.units.pop_first();
        }
    }
}

/// Whether the minute of `at` is audited by routine: one in `every`, by a hash, so that every process chooses alike and
/// no rhythm of the log can hide from it.
fn is_chosen(at: Nanos, every: u32) -> bool {
    every > 0 && mix(at.div_euclid(MINUTE).cast_unsigned()).is_multiple_of(u64::from(every))
}

fn gcd(a: Nanos, b: Nanos) -> Nanos {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    fn minutes(from: Nanos, to: Nanos) -> TimeRange {
        TimeRange::new(from * MINUTE, to * MINUTE)
    }

    /// One line a minute, from minute 0 on.
    fn filled(window: Option<Nanos>, to: Nanos) -> Ledger {
        let mut ledger = Ledger::new(window, 0);
        ledger.delivered(minutes(0, to), (0..to).map(|n| n * MINUTE));
        ledger
    }

    #[test]
    fn blocks_are_whole_windows_and_whole_units() {
        let sizes = |window| {
            let ledger = Ledger::new(window, 0);
            (ledger.unit / SECOND, ledger.block / SECOND)
        };
        assert_eq!(sizes(None), (60, 60));
        assert_eq!(sizes(Some(10 * SECOND)), (10, 10));
        assert_eq!(sizes(Some(45 * SECOND)), (60, 180));
        assert_eq!(sizes(Some(5 * MINUTE)), (60, 300));
        assert_eq!(sizes(Some(7 * HOUR + SECOND)), (60, 7 * 3600 + 1));
    }

    #[test]
    fn a_minute_is_due_when_it_is_old_enough_and_its_window_is_closed() {
        let mut ledger = filled(Some(5 * MINUTE), 8);
        let late = MINUTE;
        assert_eq!(ledger.due(2 * MINUTE, late, 1), Some(minutes(0, 1)));
        assert_eq!(ledger.due(2 * MINUTE - 1, late, 1), None);
        assert_eq!(ledger.due(20 * MINUTE, late, 0), None, "audits only on demand");
        ledger.confirm(minutes(0, 5), 20 * MINUTE);
        assert_eq!(ledger.due(20 * MINUTE, late, 1), None, "minute 5 lies in a window that is still open");
        ledger.delivered(minutes(8, 10), std::iter::empty());
        assert_eq!(ledger.due(20 * MINUTE, late, 1), Some(minutes(5, 6)));
        ledger.doubt(minutes(1, 2));
        assert_eq!(ledger.due(20 * MINUTE, late, 0), Some(minutes(1, 2)));
    }

    #[test]
    fn a_count_of_a_young_minute_is_not_the_last_word() {
        let mut ledger = filled(None, 3);
        ledger.confirm(minutes(0, 3), 2 * MINUTE);
        assert_eq!(ledger.due(4 * MINUTE - 1, MINUTE, 0), None);
        assert_eq!(ledger.due(4 * MINUTE, MINUTE, 0), Some(minutes(2, 3)), "it ends after what was settled");
        ledger.amended(minutes(2, 3), [2 * MINUTE; 2].into_iter(), 2 * MINUTE);
        assert_eq!((ledger.due(4 * MINUTE, MINUTE, 0), ledger.expected(minutes(2, 3))), (Some(minutes(2, 3)), 2));
        ledger.amended(minutes(2, 3), [2 * MINUTE; 3].into_iter(), 3 * MINUTE);
        assert_eq!(ledger.due(HOUR, MINUTE, 0), None);
    }

    #[test]
    fn one_minute_in_ten_is_chosen() {
        let chosen = (0..1000).filter(|n| is_chosen(n * MINUTE, 10)).count();
        assert!((70..130).contains(&chosen), "{chosen}");
    }

    #[test]
    fn a_restart_keeps_what_comes_before_it() {
        let mut ledger = filled(None, 10);
        ledger.missing(minutes(2, 3), Some(4));
        let mut after = Ledger::new(None, 7 * MINUTE);
        after.restore(ledger.clone(), 7 * MINUTE);
        assert_eq!((after.position(), after.totals(minutes(0, 10))), (7 * MINUTE, (7, 4)));
        assert!(after.covers(minutes(0, 7)) && !after.covers(minutes(0, 8)));
        let mut other = Ledger::new(Some(10 * SECOND), 7 * MINUTE);
        other.restore(ledger, 7 * MINUTE);
        assert_eq!(other.totals(minutes(0, 10)), (0, 0), "another window: of no use");
    }

    #[test]
    fn a_unit_that_was_read_in_part_is_not_in_the_ledger_and_old_ones_are_forgotten() {
        let mut ledger = Ledger::new(None, MINUTE / 2);
        ledger.delivered(TimeRange::new(MINUTE / 2, 3 * MINUTE), [MINUTE - 1, MINUTE].into_iter());
        assert_eq!(ledger.totals(minutes(0, 3)), (1, 0));
        ledger.delivered(minutes(3, 1000), std::iter::empty());
        assert_eq!(ledger.range(), minutes(930, 1000));
        let mut short = Ledger::new(Some(SECOND), 0);
        short.delivered(minutes(0, 60), std::iter::empty());
        assert_eq!(short.units.len(), MAX_UNITS);
    }

    #[test]
    fn amending_replaces_whole_units() {
        let mut ledger = filled(None, 3);
        ledger.missing(minutes(1, 2), Some(9));
        ledger.amended(minutes(1, 2), [MINUTE, MINUTE + 1].into_iter(), 2 * MINUTE);
        assert_eq!(ledger.totals(minutes(0, 3)), (4, 0));
        assert_eq!(ledger.unconfirmed(minutes(0, 3)), [minutes(0, 1), minutes(2, 3)]);
    }
}
