//! How much to ask for at once: the limit of a page and the length of its range, learnt from what came back.
//!
//! What comes in: how large pages were, how requests failed. What goes out: the next limit and window. Pure: no I/O, no
//! clock. The rules are those of `loki.md` §10, points 2, 3, 6 and 7.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::collect::wire::Kind;
use crate::time::{HOUR, Nanos, SECOND, TimeRange, ceil};

/// Pages stay below this, because one over 4 MiB never answers (`loki.md` §0, point 2).
const PAGE_BYTES: f64 = 3e6;
/// A page is aimed at this share of the limit, so that it is seldom cut.
const AIM: f64 = 0.65;
/// The limit is halved down to here first, then the window, then the limit down to one line.
const LOW_LIMIT: u32 = 50;
/// The window is never halved below.
const LOW_WINDOW: Nanos = SECOND;
/// After so many good pages what was halved grows by a quarter; far below the most that may work, it doubles.
const GOOD_PAGES: u32 = 20;
/// Far below: this part of it.
const FAR_BELOW: u32 = 4;
/// After so many good pages under a limit that Loki has set, the one of the settings is tried again: Loki's may have been
/// raised. It costs one refused request.
const TRY_MAX: u32 = 500;
/// So many refusals of the smallest possible request, and its range is given up.
const GIVE_UP: u32 = 3;
/// Pauses after failures grow up to here.
const MAX_PAUSE: f64 = 60.0;

/// The adaptive sizes of one watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pager {
    /// The most that the settings and Loki allow.
    max: u32,
    /// The most that the settings allow.
    #[serde(skip)]
    set: u32,
    /// Good pages since Loki has allowed less.
    #[serde(default)]
    under: u32,
    /// The limit after halving; grows back to `max`.
    limit: u32,
    /// The longest range of a request; an hour unless halved.
    window: Nanos,
    /// Entries per nanosecond, smoothed.
    rate: Option<f64>,
    /// Bytes of an answer per entry, labels and metadata included, smoothed.
    line: Option<f64>,
    good: u32,
    /// Failures in a row.
    #[serde(default)]
    failures: u32,
    /// Of these, deterministic refusals of the smallest possible request.
    #[serde(default)]
    refusals: u32,
    /// Drives the jitter: a counter, so that it is repeatable.
    #[serde(default)]
    seed: u64,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Ask at once again, with what was learnt.
    Again,
    /// Ask again after this pause.
    Pause(Duration),
    /// Loki will not answer for the smallest possible range: leave it out.
    GiveUp,
}

impl Pager {
    /// Starts at the settings' limit. `seed` tells the jitter of watches apart.
    #[must_use]
    pub fn new(limit: u32, seed: u64) -> Self {
        let max = limit.max(1);
        Self {
            max,
            set: max,
            under: 0,
            limit: max,
            window: HOUR,
            rate: None,
            line: None,
            good: 0,
            failures: 0,
            refusals: 0,
            seed,
        }
    }

    /// Takes over what an earlier process has learnt, within the settings' limit.
    pub fn restore(&mut self, earlier: &Self) {
        let max = self.max.min(earlier.max.max(1));
        let (seed, set) = (self.seed, self.set);
        *self =
            Self { max, set, limit: earlier.limit.clamp(1, max), failures: 0, refusals: 0, seed, ..earlier.clone() };
        self.window = self.window.clamp(LOW_WINDOW, HOUR);
    }

    /// Entries to ask for.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.min(self.largest())
    }

    /// The largest limit that may work, for a group of entries of one instant.
    #[must_use]
    pub fn largest(&self) -> u32 {
        let by_bytes = self.line.map_or(self.max, |line| (PAGE_BYTES / line.max(1.0)) as u32);
        self.max.min(by_bytes).max(1)
    }

    /// The range to ask for: from `start` on, up to `end` at most, never across an aligned hour.
    #[must_use]
    pub fn range(&self, start: Nanos, end: Nanos) -> TimeRange {
        let by_rate = match self.rate {
            Some(rate) if rate > 0.0 => (AIM * f64::from(self.limit()) / rate) as Nanos,
            _ => HOUR,
        };
        let length = by_rate.clamp(LOW_WINDOW, self.window.max(LOW_WINDOW));
        TimeRange::new(start, end.min(start.saturating_add(length)).min(ceil(start.saturating_add(1), HOUR)))
    }

    /// Learns from a page: `lines` entries of `bytes` in all over `covered` nanoseconds.
    pub fn succeeded(&mut self, lines: usize, bytes: usize, covered: Nanos) {
        (self.failures, self.refusals) = (0, 0);
        let smooth = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| 0.5 * (old + new)));
        // A group of one instant says nothing about the rate.
        if covered > 1 {
            self.rate = smooth(self.rate, lines as f64 / covered as f64);
        }
        // `stats` is some 4 kB of every answer, and says nothing about the lines.
        if lines >= 20 {
            let line = bytes.saturating_sub(4000) as f64 / lines as f64;
            // A jump up counts at once: stack traces are ten times longer than ordinary lines.
            self.line = if self.line.is_some_and(|old| line > old) { Some(line) } else { smooth(self.line, line) };
        }
        self.under = if self.max < self.set { self.under + 1 } else { 0 };
        if self.under >= TRY_MAX {
            (self.max, self.under) = (self.set, 0);
        }
        self.good += 1;
        if self.good >= GOOD_PAGES {
            self.good = 0;
            let more = if self.limit < self.largest() / FAR_BELOW { self.limit } else { (self.limit / 4).max(1) };
            self.limit = (self.limit + more).min(self.max);
            self.window = (self.window + self.window / 4).min(HOUR);
        }
    }

    /// Learns from the failure of a request over `asked` nanoseconds and says what to do next. Nothing is ever skipped but by [`After::GiveUp`].
    pub fn failed(&mut self, kind: Kind, asked: Nanos) -> After {
        self.good = 0;
        self.failures = self.failures.saturating_add(1);
        match kind {
            Kind::MaxEntries(max) if max < self.max => {
                self.max = max;
                self.under = 0;
                self.limit = self.limit.min(max);
                self.failures -= 1;
                return After::Again;
            }
            Kind::TooLong | Kind::TooManyBytes => {
                if self.halve_window(asked) {
                    return After::Again;
                }
                self.refusals += 1;
                if self.refusals >= GIVE_UP {
                    return After::GiveUp;
                }
            }
            Kind::Deadline => _ = self.halve_window(asked) || self.halve_limit(1),
            Kind::Closed | Kind::Timeout | Kind::TooBig | Kind::BadAnswer => {
                _ = self.halve_limit(LOW_LIMIT) || self.halve_window(asked) || self.halve_limit(1);
            }
            _ => {}
        }
        After::Pause(self.pause(kind))
    }

    /// Counts a failure that says nothing about sizes, and gives the pause after it.
    pub fn unlucky(&mut self, kind: Kind) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.pause(kind)
    }

    /// Loki has answered something else than a page: the next failure is a first one again.
    pub fn recovered(&mut self) {
        self.failures = 0;
    }

    /// Full jitter between 1 s and a ceiling that doubles with each failure, up to a minute; a minute for what only a
    /// change of the settings can heal.
    fn pause(&mut self, kind: Kind) -> Duration {
        use Kind::{BadQuery, Forbidden, NotFound, Redirected, Settings, Tls, TooManySeries, Unauthorized};
        let wrong = [Unauthorized, Forbidden, NotFound, Redirected, BadQuery, TooManySeries, Settings, Tls];
        if wrong.contains(&kind) {
            return Duration::from_secs_f64(MAX_PAUSE);
        }
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let share = (mix(self.seed) >> 11) as f64 / (1u64 << 53) as f64;
        let ceiling = 2f64.powi(self.failures.min(16) as i32).min(MAX_PAUSE);
        Duration::from_secs_f64(1.0 + share * (ceiling - 1.0))
    }

    fn halve_limit(&mut self, floor: u32) -> bool {
        let halved = (self.limit() / 2).max(floor);
        let changed = halved < self.limit();
        if changed {
            self.limit = halved;
        }
        changed
    }

    /// Halves what was really asked for, which may have been shorter than the window.
    fn halve_window(&mut self, asked: Nanos) -> bool {
        let changed = asked > LOW_WINDOW;
        if changed {
            self.window = (asked / 2).max(LOW_WINDOW);
        }
        changed
    }
}

/// A hash of a number whose bits are all mixed (splitmix64, Steele, Lea, Flood 2014).
#[must_use]
pub(super) fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MINUTE;

    #[test]
    fn a_range_never_crosses_an_hour_and_follows_the_rate() {
        let mut pager = Pager::new(5000, 1);
        let last = 2 * HOUR - SECOND;
        assert_eq!(pager.range(last, 5 * HOUR), TimeRange::new(last, 2 * HOUR));
        assert_eq!(pager.range(HOUR, 5 * HOUR), TimeRange::new(HOUR, 2 * HOUR));
        assert_eq!(pager.range(HOUR, HOUR + 5), TimeRange::new(HOUR, HOUR + 5));
        pager.succeeded(6000, 600_000, MINUTE);
        // 100 lines/s: 3250 lines take 32.5 s.
        assert_eq!(pager.range(HOUR, 2 * HOUR).len(), 32_500_000_000);
    }

    #[test]
    fn long_lines_lower_the_limit() {
        let mut pager = Pager::new(5000, 1);
        pager.succeeded(1000, 6_004_000, MINUTE);
        assert_eq!(pager.limit(), 500);
        pager.succeeded(1, 9_000, MINUTE);
        assert_eq!(pager.limit(), 500, "an idle poll says nothing about the lines");
    }

    #[test]
    fn a_closed_connection_halves_the_limit_then_the_window_then_goes_down_to_one_line() {
        let mut pager = Pager::new(400, 1);
        let mut seen = Vec::new();
        for _ in 0..30 {
            assert!(matches!(pager.failed(Kind::Closed, pager.range(0, HOUR).len()), After::Pause(_)));
            seen.push((pager.limit(), pager.range(0, HOUR).len() / SECOND));
        }
        assert_eq!(seen[..5], [(200, 3600), (100, 3600), (50, 3600), (50, 1800), (50, 900)]);
        assert_eq!(seen[29], (1, 1));
        for _ in 0..2000 {
            pager.succeeded(10, 5000, SECOND);
        }
        assert_eq!((pager.limit(), pager.window), (400, HOUR));
    }

    #[test]
    fn refusals_are_learnt_from_at_once_and_end_in_giving_up() {
        let mut pager = Pager::new(5000, 1);
        assert_eq!(pager.failed(Kind::MaxEntries(10), HOUR), After::Again);
        assert_eq!((pager.limit(), pager.largest()), (10, 10));
        assert!(matches!(pager.failed(Kind::MaxEntries(10), HOUR), After::Pause(_)), "no endless loop");
        let mut steps = 0;
        while pager.failed(Kind::TooManyBytes, pager.range(0, HOUR).len()) == After::Again {
            steps += 1;
        }
        assert_eq!(steps, 12, "from an hour to a second");
        assert!(matches!(pager.failed(Kind::TooManyBytes, pager.range(0, HOUR).len()), After::Pause(_)));
        assert_eq!(pager.failed(Kind::TooManyBytes, pager.range(0, HOUR).len()), After::GiveUp);
    }

    #[test]
    fn a_limit_that_loki_has_set_is_forgotten_some_time() {
        let mut pager = Pager::new(5000, 1);
        pager.failed(Kind::MaxEntries(1000), HOUR);
        // A restart remembers it, and that it is not the settings' own.
        let text = serde_json::to_string(&pager).unwrap();
        let mut pager = Pager::new(5000, 1);
        pager.restore(&serde_json::from_str(&text).unwrap());
        for _ in 0..TRY_MAX - 1 {
            pager.succeeded(1000, 200_000, SECOND);
        }
        assert_eq!(pager.limit(), 1000);
        for _ in 0..2 * GOOD_PAGES {
            pager.succeeded(1000, 200_000, SECOND);
        }
        assert!(pager.limit() > 1000, "{}", pager.limit());
        assert_eq!(pager.failed(Kind::MaxEntries(1000), HOUR), After::Again, "Loki still means it");
        assert_eq!(pager.limit(), 1000);
    }

    #[test]
    fn small_pages_grow_fast_and_large_ones_slowly() {
        let mut pager = Pager::new(4096, 1);
        for _ in 0..100 {
            pager.failed(Kind::Closed, SECOND);
        }
        assert_eq!(pager.limit(), 1);
        let mut steps = Vec::new();
        for _ in 0..13 {
            (0..GOOD_PAGES).for_each(|_| pager.succeeded(1, 200, SECOND));
            steps.push(pager.limit());
        }
        assert_eq!(steps, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1280, 1600, 2000]);
    }

    #[test]
    fn pauses_stay_between_a_second_and_a_minute_and_are_repeatable() {
        let run = || {
            let mut pager = Pager::new(5000, 7);
            (0..50).map(|_| pager.failed(Kind::RateLimited, HOUR)).collect::<Vec<_>>()
        };
        let pauses = run();
        assert_eq!(pauses, run());
        for after in &pauses {
            let After::Pause(pause) = after else { panic!("{after:?}") };
            assert!((1.0..=60.0).contains(&pause.as_secs_f64()));
        }
        assert!(pauses.iter().any(|after| matches!(after, After::Pause(p) if p.as_secs() > 30)));
    }
}
