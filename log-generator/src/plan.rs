//! What to generate: a plan is all that decides the bytes.

use std::time::Duration;

use crate::fault::{FaultKind, Truth};
use crate::schedule;

/// A time when everybody comes at once, with nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// First instant, nanoseconds since the Unix epoch; cut to whole seconds.
    pub start: i64,
    /// First instant after it.
    pub end: i64,
    /// All ordinary lines are so many times as frequent.
    pub factor: f64,
}

/// Everything that decides what comes out. The same plan gives the same bytes on every machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Chooses everything that is left open below.
    pub seed: u64,
    /// First instant, nanoseconds since the Unix epoch; cut to whole seconds.
    pub start: i64,
    /// How much time the lines span; cut to whole seconds.
    pub duration: Duration,
    /// Mean lines per second over all services and over a week; held within 0.1 and 200,000.
    pub rate: f64,
    /// The faults to plant, in this order (kinds may repeat); empty for none, `FaultKind::ALL.to_vec()` for all.
    pub faults: Vec<FaultKind>,
    /// Whether harmless surprises (deploys, batch jobs, cron bursts, a slow rise) occur.
    pub benign: bool,
    /// Quiet time before the first fault's share of the time begins. When it leaves no room, half the duration.
    pub first_fault_after: Duration,
    /// How much the day shapes the traffic: 0 is flat, 0.5 swings from 0.5 to 1.5 times the mean; at most 0.9.
    pub rhythm: f64,
    /// Share of everyday warnings among all lines when nothing happens; with `errors` at most 0.8.
    pub warnings: f64,
    /// Share of everyday errors among all lines when nothing happens.
    pub errors: f64,
    /// Further traffic at certain times.
    pub bursts: Vec<Burst>,
}

impl Default for Plan {
    /// One hour of Monday, 2 March 2026, from 08:00 UTC, at 100 lines/s, with every fault after a quarter of an hour.
    fn default() -> Self {
        Self {
            seed: 1,
            start: 1_772_438_400_000_000_000,
            duration: Duration::from_secs(3600),
            rate: 100.0,
            faults: FaultKind::ALL.to_vec(),
            benign: true,
            first_fault_after: Duration::from_secs(900),
            rhythm: 0.4,
            warnings: 0.25,
            errors: 0.05,
            bursts: Vec::new(),
        }
    }
}

impl Plan {
    /// What is planted, and when. A pure function of the plan.
    #[must_use]
    pub fn truth(&self) -> Truth {
        schedule::truth(self)
    }

    /// First second, and first second after the end (seconds since the Unix epoch).
    pub(crate) fn seconds(&self) -> (i64, i64) {
        let first = self.start.div_euclid(1_000_000_000);
        (first, first + i64::try_from(self.duration.as_secs()).unwrap_or(i64::MAX / 4_000_000_000))
    }

    /// Ordinary traffic in `second` against the usual, from bursts.
    pub(crate) fn burst(&self, second: i64) -> f64 {
        let at = second * 1_000_000_000;
        let now = self.bursts.iter().filter(|burst| (burst.start..burst.end).contains(&at));
        now.map(|burst| burst.factor.clamp(0.0, 1000.0)).product()
    }

    /// First instant after the last line, nanoseconds since the Unix epoch.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.seconds().1 * 1_000_000_000
    }
}
