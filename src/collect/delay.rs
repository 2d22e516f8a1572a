//! How long lines are under way from their stamp to Loki, learnt from what audits find.
//!
//! What comes in: what each poll has read, by stream, and when; what exact counts confirmed, or found to have grown. What
//! goes out: the time within which 99 % of the lines are there, and when `eval_delay` should be raised to it. Pure.
//!
//! The age of what a poll reads says nothing: a line that is an hour old may have been the last one. Only lines that were
//! missing when their range was read are known to have been under way: for longer than their age at that moment. A shipper
//! holds back what is newest, so of each stream the late lines are taken to be the last of the range that was read. What
//! is longer than `eval_delay` and `interval` together is found in steps. A backlog that is caught up does not count.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::time::{MINUTE, Nanos, SECOND, TimeRange, ceil, floor};

/// This share of the lines may take longer.
const SLOWEST: f64 = 0.01;
/// What an audit has told counts so much after the next one: half after some 70 audits, half a day by default.
const KEEP: f64 = 0.99;
/// One stalled shipper is not the rule: so many audits must have found late lines.
const OCCASIONS: u32 = 3;
/// Told again when so much more is needed.
const MORE: f64 = 1.5;
/// Delays are told apart by this factor.
const STEP: f64 = 1.1;
/// Counts by stream that are remembered, over all polls.
const MAX_COUNTS: usize = 50_000;
/// Polls that are remembered, each cut at borders of units.
const MAX_READS: usize = 4_000;

/// What is known of one watch's delays.
#[derive(Debug, Default)]
pub(super) struct Delay {
    learnt: Learnt,
    reads: VecDeque<Read>,
    counts: usize,
}

/// What must be found again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Learnt {
    /// Lines that were there when they were read; older ones weigh less.
    in_time: f64,
    /// Lines that were not, by the logarithm of their delay.
    late: BTreeMap<i32, f64>,
    /// Audits that found late lines.
    occasions: u32,
    /// What was told last, in nanoseconds; each process may tell once.
    #[serde(skip)]
    told: Nanos,
}

/// What a poll has read of one unit.
#[derive(Debug)]
struct Read {
    range: TimeRange,
    at: Nanos,
    /// Lines by hash of their stream.
    counts: BTreeMap<u64, usize>,
}

impl Delay {
    pub(super) fn learnt(&self) -> Learnt {
        self.learnt.clone()
    }

    pub(super) fn restore(&mut self, learnt: Learnt) {
        self.learnt = learnt;
    }

    /// Notes what a poll has read of `range` at `at`: time stamps and hashes of streams. `unit` is what audits look at.
    pub(super) fn read(
        &mut self,
        range: TimeRange,
        at: Nanos,
        unit: Nanos,
        entries: impl Iterator<Item = (Nanos, u64)>,
    ) {
        let unit = unit.min(MINUTE);
        let mut pieces: BTreeMap<Nanos, BTreeMap<u64, usize>> = BTreeMap::new();
        let mut start = floor(range.start, unit);
        while start < range.end {
            pieces.insert(start, BTreeMap::new());
            start += unit;
        }
        for (ts, stream) in entries {
            *pieces.entry(floor(ts, unit)).or_default().entry(stream).or_default() += 1;
        }
        for (start, counts) in pieces {
            self.counts += counts.len();
            let range = TimeRange::new(start.max(range.start), (start + unit).min(range.end));
            self.reads.push_back(Read { range, at, counts });
        }
        while self.counts > MAX_COUNTS || self.reads.len() > MAX_READS {
            self.counts -= self.reads.pop_front().map_or(0, |read| read.counts.len());
        }
    }

    /// An exact count has found nothing late in `range`.
    pub(super) fn confirmed(&mut self, range: TimeRange) {
        self.learnt.fade();
        let inside = self.reads.iter().filter(|read| within(read.range, range));
        let lines: usize = inside.flat_map(|read| read.counts.values()).sum();
        self.learnt.in_time += lines as f64;
    }

    /// `range` had grown and was read again at `at`: all its time stamps, in order, and hashes of streams.
    pub(super) fn amended(&mut self, range: TimeRange, at: Nanos, entries: impl Iterator<Item = (Nanos, u64)>) {
        self.learnt.fade();
        let mut again: BTreeMap<u64, Vec<Nanos>> = BTreeMap::new();
        for (ts, stream) in entries {
            again.entry(stream).or_default().push(ts);
        }
        let mut found = false;
        for read in self.reads.iter_mut().filter(|read| within(read.range, range)) {
            for (stream, stamps) in &again {
                let from = stamps.partition_point(|ts| *ts < read.range.start);
                let to = stamps.partition_point(|ts| *ts < read.range.end);
                let stamps = stamps.get(from..to).unwrap_or_default();
                if stamps.is_empty() {
                    continue;
                }
                let known = read.counts.entry(*stream).or_default();
                let (in_time, late) = stamps.split_at(stamps.len().min(*known));
                *known = stamps.len();
                found |= !late.is_empty();
                self.learnt.in_time += in_time.len() as f64;
                late.iter().for_each(|ts| self.learnt.add(read.at - ts));
            }
            // What comes still later was missing now, too.
            read.at = at;
        }
        self.learnt.occasions += u32::from(found);
    }

    /// Within this time of their stamp 99 % of the lines are there. Less than `eval_delay` cannot be told. `None`: no
    /// line was audited yet.
    pub(super) fn quantile(&self, eval_delay: Nanos) -> Option<Nanos> {
        self.learnt.quantile(eval_delay)
    }

    /// What `eval_delay` should be, when it is too small and that was not told yet: whole seconds, from 10 s on fives.
    pub(super) fn wanted(&mut self, eval_delay: Nanos) -> Option<Nanos> {
        let learnt = &mut self.learnt;
        let needed = learnt.quantile(eval_delay).filter(|needed| *needed > eval_delay)?;
        // What was told was heeded, and is not enough.
        if learnt.told <= eval_delay {
            learnt.told = 0;
        }
        if learnt.occasions < OCCASIONS || (needed as f64) < MORE * learnt.told as f64 {
            return None;
        }
        learnt.told = needed;
        Some(ceil(needed, if needed < 10 * SECOND { SECOND } else { 5 * SECOND }))
    }
}

impl Learnt {
    fn fade(&mut self) {
        self.in_time *= KEEP;
        self.late.values_mut().for_each(|weight| *weight *= KEEP);
        self.late.retain(|_, weight| *weight > 1e-3);
    }

    fn add(&mut self, delay: Nanos) {
        let seconds = delay.max(SECOND / 1000) as f64 / SECOND as f64;
        *self.late.entry((seconds.ln() / STEP.ln()).ceil() as i32).or_default() += 1.0;
    }

    fn quantile(&self, eval_delay: Nanos) -> Option<Nanos> {
        let all = self.in_time + self.late.values().sum::<f64>();
        if all <= 0.0 {
            return None;
        }
        let mut slower = 0.0;
        for (step, weight) in self.late.iter().rev() {
            slower += weight;
            if slower > SLOWEST * all {
                return Some(((STEP.powi(*step) * SECOND as f64) as Nanos).max(eval_delay));
            }
        }
        Some(eval_delay)
    }
}

fn within(inner: TimeRange, outer: TimeRange) -> bool {
    inner.start >= outer.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVAL_DELAY: Nanos = 10 * SECOND;
    const INTERVAL: Nanos = 30 * SECOND;

    /// A stream: seconds between its lines, and how many seconds each of them is under way.
    type Shipped = (i64, fn(Nanos) -> i64);

    /// Polls these streams for so many minutes, counting each minute exactly when it is two minutes old.
    fn learn(streams: &[Shipped], minutes: Nanos, delay: &mut Delay) -> Vec<i64> {
        let lines: Vec<(Nanos, Nanos, u64)> = (0u64..)
            .zip(streams)
            .flat_map(|(hash, (every, under_way))| {
                let stamps = (0..minutes * MINUTE / SECOND).step_by(*every as usize);
                stamps.map(move |at| (at * SECOND, (at + under_way(at)) * SECOND, hash))
            })
            .collect();
        let shown = |range: TimeRange, now: Nanos| {
            let mut shown: Vec<_> =
                lines.iter().filter(|line| range.contains(line.0) && line.1 <= now).map(|l| (l.0, l.2)).collect();
            shown.sort_unstable();
            shown
        };
        let (mut position, mut told, mut seen) = (0, Vec::new(), BTreeMap::new());
        // Polls do not fall on full minutes.
        let mut now = 17 * SECOND;
        while now < minutes * MINUTE {
            let range = TimeRange::new(position, now - EVAL_DELAY);
            let read = shown(range, now);
            for (ts, _) in &read {
                *seen.entry(floor(*ts, MINUTE)).or_insert(0) += 1;
            }
            delay.read(range, now, MINUTE, read.into_iter());
            position = range.end;
            let minute = floor(now, MINUTE) - 3 * MINUTE;
            if now - floor(now, MINUTE) < INTERVAL && minute >= 0 {
                let range = TimeRange::new(minute, minute + MINUTE);
                let again = shown(range, now);
                if again.len() > seen.get(&minute).copied().unwrap_or(0) {
                    delay.amended(range, now, again.into_iter());
                } else {
                    delay.confirmed(range);
                }
                told.extend(delay.wanted(EVAL_DELAY).map(|wanted| wanted / SECOND));
            }
            now += INTERVAL;
        }
        told
    }

    fn check(streams: &[Shipped], minutes: Nanos, seconds: std::ops::RangeInclusive<i64>, wanted: &[i64]) {
        let mut delay = Delay::default();
        let told = learn(streams, minutes, &mut delay);
        let learnt = delay.quantile(EVAL_DELAY).unwrap() / SECOND;
        assert!(seconds.contains(&learnt) && told == wanted, "{learnt} s in {seconds:?}, told {told:?} {wanted:?}");
    }

    #[test]
    fn delays_are_learnt() {
        // Quick shippers: no more is known than that eval_delay is enough.
        check(&[(1, |_| 2)], 30, 10..=10, &[]);
        check(&[(1, |_| 2), (7, |_| 9)], 30, 10..=10, &[]);
        // A slow one, of all lines or of a few.
        check(&[(1, |_| 25)], 30, 22..=27, &[30]);
        check(&[(1, |_| 2), (4, |_| 25)], 60, 22..=27, &[25]);
        // What is longer than eval_delay and interval comes in steps.
        check(&[(1, |_| 70)], 30, 39..=44, &[45]);
        // One line in an hour, quick: its age at the poll says nothing.
        check(&[(3600, |_| 3)], 20 * 60, 10..=10, &[]);
        // Lines in bursts with silence between them.
        check(&[(60, |_| 1), (60, |_| 1)], 60, 10..=10, &[]);
        // One stall of a few minutes is not the rule.
        check(&[(1, |at| if (1800..1860).contains(&at) { 30 } else { 2 })], 300, 10..=10, &[]);
        // One line in two hundred may be slow.
        check(&[(1, |at| if at % 200 == 0 { 30 } else { 2 })], 300, 10..=10, &[]);
        // It may change.
        check(&[(1, |at| if at < 7200 { 15 } else { 32 })], 300, 31..=36, &[15, 30]);
    }

    #[test]
    fn what_heals_is_forgotten() {
        let mut delay = Delay::default();
        learn(&[(1, |_| 25)], 60, &mut delay);
        for _ in 0..2000 {
            let range = TimeRange::new(0, MINUTE);
            delay.read(range, MINUTE + EVAL_DELAY, MINUTE, (0..60).map(|n| (n * SECOND, 1)));
            delay.confirmed(range);
        }
        assert_eq!(delay.quantile(EVAL_DELAY), Some(EVAL_DELAY));
        assert!(delay.reads.len() <= MAX_READS && delay.counts <= MAX_COUNTS);
    }

    #[test]
    fn what_was_never_polled_in_time_does_not_count() {
        let mut delay = Delay::default();
        delay.amended(TimeRange::new(0, MINUTE), 2 * MINUTE, [(5, 1)].into_iter());
        assert_eq!((delay.quantile(EVAL_DELAY), delay.wanted(EVAL_DELAY)), (None, None));
    }
}
