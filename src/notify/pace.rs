//! How fast a receiver may be asked: an exact limit over a sliding time, not an average.

use std::collections::VecDeque;
use std::time::Duration;

use super::zone::Zone;
use crate::incident::TransitionKind;
use crate::time::Nanos;

/// At most `count` in any stretch of `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many; 0 counts as 1.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

/// What a receiver may be asked, given with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For every message.
    pub sends: Quota,
    /// For an incident's first message, when that makes something new there (an issue).
    pub creations: Option<Quota>,
}

/// At most `cap` messages on a calendar day. The store counts them, so a restart forgets none.
#[derive(Clone, Debug)]
pub struct Daily {
    /// How many.
    pub cap: u32,
    /// Where the calendar hangs.
    pub zone: Zone,
    /// Which kinds cost one.
    pub counts: fn(TransitionKind) -> bool,
}

/// Keeps a [`Quota`]: remembers the last `count` uses. A token bucket would let twice as many through in the first
/// stretch.
#[derive(Debug)]
pub(super) struct Pace {
    count: usize,
    per: Nanos,
    used: VecDeque<Nanos>,
}

impl Pace {
    pub(super) fn new(quota: Quota) -> Self {
        let per = Nanos::try_from(quota.per.as_nanos()).unwrap_or(Nanos::MAX);
        Self { count: quota.count.max(1) as usize, per, used: VecDeque::new() }
    }

    /// How long to wait for the next use; 0 when it may be now. Never longer than the quota's time: what was used in a time
    /// that has not come yet, because the clock was set back, counts as used now.
    pub(super) fn wait(&mut self, now: Nanos) -> Nanos {
        for used in self.used.iter_mut().filter(|used| **used > now) {
            *used = now;
        }
        if self.used.len() < self.count {
            return 0;
        }
        let free = self.used.front().map_or(now, |oldest| oldest.saturating_add(self.per));
        free.saturating_sub(now).clamp(0, self.per)
    }

    /// Counts a use.
    pub(super) fn take(&mut self, now: Nanos) {
        while self.used.len() >= self.count {
            self.used.pop_front();
        }
        self.used.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    #[test]
    fn no_stretch_of_time_sees_more_than_the_quota() {
        let mut pace = Pace::new(Quota { count: 3, per: Duration::from_secs(10) });
        let (mut now, mut used) = (0, Vec::new());
        while now < 100 * SECOND {
            if pace.wait(now) == 0 {
                pace.take(now);
                used.push(now);
            }
            now += SECOND;
        }
        assert_eq!(used.len(), 30);
        assert!(used.windows(4).all(|four| four[3] - four[0] >= 10 * SECOND), "{used:?}");
        let back = -1_000_000 * SECOND;
        assert_eq!(pace.wait(back), 10 * SECOND, "a clock that was set back");
        assert_eq!(pace.wait(back + 4 * SECOND), 6 * SECOND, "and that goes on from there");
    }
}
