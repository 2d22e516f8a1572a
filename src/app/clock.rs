//! The one clock of the daemon. Its speed is 1 except in the demo and the soak, where the log's time runs faster.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Nanos;

/// A fast clock that is waited for may be steered: it is looked at again so often.
const LOOK: Duration = Duration::from_millis(200);

/// The time of the log: the wall clock, or a faster one that started at `origin`.
#[derive(Clone, Debug)]
pub struct Clock {
    fast: Option<Arc<Mutex<Fast>>>,
}

#[derive(Clone, Copy, Debug)]
struct Fast {
    origin: Nanos,
    started: Instant,
    speed: f64,
}

impl Clock {
    /// The wall clock.
    #[must_use]
    pub fn real() -> Self {
        Self { fast: None }
    }

    /// A clock that shows `origin` now and then runs `speed` times as fast as the wall clock.
    #[must_use]
    pub fn fast(origin: Nanos, speed: f64) -> Self {
        Self { fast: Some(Arc::new(Mutex::new(Fast::new(origin, speed)))) }
    }

    /// Lets this clock and its clones go on from `origin` at another speed; nothing when it is the wall clock.
    pub fn steer(&self, origin: Nanos, speed: f64) {
        if let Some(fast) = &self.fast {
            *fast.lock().unwrap_or_else(PoisonError::into_inner) = Fast::new(origin, speed);
        }
    }

    /// Whether it is the wall clock.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.fast.is_none()
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Nanos {
        match self.running() {
            None => nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            Some(fast) => {
                let passed = fast.started.elapsed().as_nanos() as f64 * fast.speed;
                fast.origin.saturating_add(passed as Nanos)
            }
        }
    }

    /// Seconds of the log's time in one of the wall clock.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.running().map_or(1.0, |fast| fast.speed)
    }

    /// How long to wait by the wall clock for `span` of the log's time to pass.
    #[must_use]
    pub fn wall(&self, span: Duration) -> Duration {
        self.running().map_or(span, |fast| span.div_f64(fast.speed))
    }

    /// Waits for `span` of the log's time to pass, also when the clock is steered in the meantime.
    pub async fn sleep(&self, span: Duration) {
        if self.is_real() {
            return tokio::time::sleep(span).await;
        }
        let until = self.now().saturating_add(Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX));
        loop {
            let left = until.saturating_sub(self.now());
            if left <= 0 {
                return;
            }
            tokio::time::sleep(self.wall(Duration::from_nanos(left.unsigned_abs())).min(LOOK)).await;
        }
    }

    /// The clock as a function, for parts that need nothing else of it.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn Fn() -> Nanos + Send + Sync> {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }

    fn running(&self) -> Option<Fast> {
        self.fast.as_ref().map(|fast| *fast.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Fast {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn new(origin: Nanos, speed: f64) -> Self {
        Self { origin, started: Instant::now(), speed: speed.max(1e-6) }
    }
}

fn nanos(span: Duration) -> Nanos {
    Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::HOUR;

    #[test]
    fn all_clones_of_a_fast_clock_are_steered_and_the_real_one_is_not() {
        let (fast, real) = (Clock::fast(0, 1.0), Clock::real());
        let clone = fast.clone();
        for clock in [&fast, &real] {
            clock.steer(5 * HOUR, 1e-6);
        }
        assert_eq!((clone.now() / HOUR, clone.speed()), (5, 1e-6));
        assert_eq!(clone.wall(Duration::from_millis(1)), Duration::from_secs(1000));
        assert!(real.now() > 1000 * HOUR && real.is_real() && !fast.is_real());
    }

    #[tokio::test]
    async fn who_waits_sees_that_the_clock_is_steered() {
        let clock = Clock::fast(0, 1.0);
        let steered = clock.clone();
        let (waited, ()) = tokio::join!(
            async {
                clock.sleep(Duration::from_secs(3600)).await;
                clock.now()
            },
            async {
                tokio::task::yield_now().await;
                steered.steer(2 * HOUR, 1.0);
            }
        );
        assert!(waited >= 2 * HOUR);
    }
}
