//! When in a session its templates come, and how long sessions pause.
//!
//! What comes in: the time from a session's start to the first line of a template, and from line to line. What goes out:
//! from when on a template is overdue, and after which quiet a session is over.

use std::collections::BTreeMap;

use super::vector::Unit;
use crate::time::{HOUR, Nanos, SECOND};

/// Buckets: two an octave from 1 ms on, the last (from 35 days on) open.
const BUCKETS: usize = 64;
/// Templates whose lags are known; further ones are never overdue.
const MAX_UNITS: usize = 1 << 14;
/// A template is overdue after the time in which it came to all but one in a hundred sessions that have it.
const LATE: f64 = 0.01;
/// Gaps before their quantile is trusted; until then no session is over.
const ENOUGH: u64 = 1_000;
/// A session is over after this many times the gap that all but one in a thousand are below.
const QUIET: i64 = 4;

#[derive(Clone, Debug)]
struct Counts([u32; BUCKETS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Counts {
    fn add(&mut self, nanos: Nanos) {
        if let Some(count) = self.0.get_mut(bucket(nanos)) {
            *count = count.saturating_add(1);
        }
    }

    /// End of the bucket that all but this share are in or below.
    fn all_but(&self, share: f64) -> Nanos {
        let total: u64 = self.0.iter().copied().map(u64::from).sum();
        let mut left = (share * total as f64) as u64;
        let last = self.0.iter().rposition(|count| {
            let past = u64::from(*count) > left;
            left = left.saturating_sub(u64::from(*count));
            past
        });
        end(last.unwrap_or_default())
    }
}

fn bucket(nanos: Nanos) -> usize {
    let millis = nanos.max(0) as f64 / 1e6;
    if millis < 1.0 { 0 } else { (1 + (millis.log2() * 2.0) as usize).min(BUCKETS - 1) }
}

fn end(bucket: usize) -> Nanos {
    ((bucket as f64 / 2.0).exp2() * 1e6) as Nanos
}

/// What is known of the times inside of sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Lags {
    first: BTreeMap<Unit, Counts>,
    gaps: Counts,
    known: u64,
}

impl Lags {
    /// A template came to a session for the first time.
    pub(super) fn came(&mut self, unit: Unit, lag: Nanos) {
        if self.first.len() < MAX_UNITS || self.first.contains_key(&unit) {
            self.first.entry(unit).or_default().add(lag);
        }
    }

    /// A session went on after this pause.
    pub(super) fn paused(&mut self, gap: Nanos) {
        self.gaps.add(gap);
        self.known += 1;
    }

    /// How long a session has to be quiet to be over.
    pub(super) fn quiet(&self) -> Nanos {
        if self.known < ENOUGH {
            return Nanos::MAX;
        }
        (QUIET * self.gaps.all_but(0.001)).clamp(2 * SECOND, 168 * HOUR)
    }

    /// By template, how old a session has to be for it to be overdue.
    pub(super) fn late(&self, resolve: impl Fn(Unit) -> Unit) -> BTreeMap<Unit, Nanos> {
        let mut late: BTreeMap<Unit, Nanos> = BTreeMap::new();
        for (unit, counts) in &self.first {
            let known = late.entry(resolve(*unit)).or_default();
            *known = (*known).max(counts.all_but(LATE));
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overdue_is_later_than_nearly_all() {
        let mut lags = Lags::default();
        for n in 0..1_000 {
            lags.came(7, if n < 5 { 900 * SECOND } else { n % 10 * SECOND });
            lags.paused(n % 3 * SECOND);
        }
        let late = lags.late(|unit| unit + 1)[&8];
        assert!((9 * SECOND..15 * SECOND).contains(&late), "{late}");
        assert!((8 * SECOND..14 * SECOND).contains(&lags.quiet()), "{}", lags.quiet());
        assert_eq!(Lags::default().quiet(), Nanos::MAX);
    }
}
