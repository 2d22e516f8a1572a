//! The request budget of one watch: a bucket that refills with the clock that is handed in. Pure.

use std::time::Duration;

use crate::time::{MINUTE, Nanos};

/// So many requests a minute, saved up for at most a minute.
#[derive(Debug)]
pub struct Budget {
    per_minute: f64,
    left: f64,
    at: Nanos,
}

impl Budget {
    /// A full bucket.
    #[must_use]
    pub fn new(per_minute: u32, now: Nanos) -> Self {
        let per_minute = f64::from(per_minute.max(1));
        Self { per_minute, left: per_minute, at: now }
    }

    /// Takes one request.
    ///
    /// # Errors
    /// With the time until the next is there, when none is left.
    pub fn take(&mut self, now: Nanos) -> Result<(), Duration> {
        self.refill(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        let minutes = (1.0 - self.left) / self.per_minute;
        Err(Duration::from_nanos((minutes * MINUTE as f64).ceil() as u64))
    }

    /// Takes one request even when none is left, down to a minute's worth of debt: for what cannot wait.
    pub fn overdraw(&mut self, now: Nanos) {
        self.refill(now);
        self.left = (self.left - 1.0).max(-self.per_minute);
    }

    fn refill(&mut self, now: Nanos) {
        let passed = (now - self.at).max(0);
        self.left = (self.left + passed as f64 / MINUTE as f64 * self.per_minute).min(self.per_minute);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    #[test]
    fn a_minute_holds_as_many_requests_as_it_may() {
        let mut budget = Budget::new(60, 0);
        assert!((0..60).all(|_| budget.take(0).is_ok()));
        assert_eq!(budget.take(0), Err(Duration::from_secs(1)));
        assert_eq!((budget.take(SECOND), budget.take(SECOND).is_err()), (Ok(()), true));
        budget.overdraw(SECOND);
        assert_eq!(budget.take(SECOND), Err(Duration::from_secs(2)));
        assert_eq!(budget.take(0), Err(Duration::from_secs(2)), "a clock that goes back gives nothing");
    }
}
