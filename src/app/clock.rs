//! The one clock of the daemon. Its speed is 1 except in the demo and the soak, where the log's time runs faster.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Nanos;

/// The time of the log: the wall clock, or a faster one that started at `origin`.
#[derive(Clone, Debug)]
pub struct Clock {
    fast: Option<Fast>,
}

#[derive(Clone, Debug)]
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
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn fast(origin: Nanos, speed: f64) -> Self {
        Self { fast: Some(Fast { origin, started: Instant::now(), speed: speed.max(1e-6) }) }
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Nanos {
        match &self.fast {
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
        self.fast.as_ref().map_or(1.0, |fast| fast.speed)
    }

    /// How long to wait by the wall clock for `span` of the log's time to pass.
    #[must_use]
    pub fn wall(&self, span: Duration) -> Duration {
        self.fast.as_ref().map_or(span, |fast| span.div_f64(fast.speed))
    }

    /// The clock as a function, for parts that need nothing else of it.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn Fn() -> Nanos + Send + Sync> {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

fn nanos(span: Duration) -> Nanos {
    Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX)
}
