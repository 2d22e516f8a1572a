//! Time as every stage speaks of it: nanoseconds since the Unix epoch, half-open ranges, Prometheus durations.
//!
//! No clock is read here.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch, as Loki stamps its entries.
pub type Nanos = i64;

/// One second in [`Nanos`].
pub const SECOND: Nanos = 1_000_000_000;
/// One minute in [`Nanos`].
pub const MINUTE: Nanos = 60 * SECOND;
/// One hour in [`Nanos`].
pub const HOUR: Nanos = 60 * MINUTE;

/// A half-open range of time: `start` belongs to it, `end` does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// First nanosecond of the range.
    pub start: Nanos,
    /// First nanosecond after the range.
    pub end: Nanos,
}

impl TimeRange {
    /// The range `[start, end)`; an `end` before `start` gives the empty range at `start`.
    #[must_use]
    pub fn new(start: Nanos, end: Nanos) -> Self {
        Self { start, end: end.max(start) }
    }

    /// Length in nanoseconds.
    #[must_use]
    pub fn len(&self) -> Nanos {
        self.end - self.start
    }

    /// Whether no instant lies in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Nanos) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether the two share an instant.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// `at` rounded down to a multiple of `step` (also for times before 1970). `step` must be positive.
#[must_use]
pub fn floor(at: Nanos, step: Nanos) -> Nanos {
    at - at.rem_euclid(step.max(1))
}

/// `at` rounded up to a multiple of `step`.
#[must_use]
pub fn ceil(at: Nanos, step: Nanos) -> Nanos {
    let down = floor(at, step);
    if down == at { at } else { down.saturating_add(step.max(1)) }
}

/// `at` in RFC 3339, UTC, to the second (milliseconds when it has them).
#[must_use]
pub fn rfc3339(at: Nanos) -> String {
    let stamp = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or_default();
    if at.rem_euclid(SECOND) == 0 { format!("{stamp:.0}") } else { format!("{stamp:.3}") }
}

/// A length of time as the settings write it, in Prometheus' grammar: `30s`, `1m30s`, `500ms`, `7d`, `1w`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Span(pub Duration);

impl Span {
    /// `n` seconds.
    #[must_use]
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// `n` minutes.
    #[must_use]
    pub const fn minutes(n: u64) -> Self {
        Self(Duration::from_secs(n * 60))
    }

    /// `n` hours.
    #[must_use]
    pub const fn hours(n: u64) -> Self {
        Self(Duration::from_secs(n * 3600))
    }

    /// As nanoseconds; lengths over 292 years are cut there.
    #[must_use]
    pub fn nanos(self) -> Nanos {
        Nanos::try_from(self.0.as_nanos()).unwrap_or(Nanos::MAX)
    }
}

const UNITS: [(&str, u64); 7] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("ms", 1),
    ("m", 60_000),
    ("s", 1_000),
    ("y", 365 * 86_400_000),
];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no duration; write it like 30s, 5m, 1h30m or 7d");
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut millis = 0u64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let (unit, size) = UNITS
                .iter()
                .filter(|(unit, _)| rest.starts_with(unit))
                .max_by_key(|(unit, _)| unit.len())
                .ok_or_else(wrong)?;
            rest = &rest[unit.len()..];
            millis = count.checked_mul(*size).and_then(|part| millis.checked_add(part)).ok_or_else(wrong)?;
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Self(Duration::from_millis(millis))) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_prometheus_grammar() {
        for (text, millis) in [("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("7d", 604_800_000), ("0", 0)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }
        for text in ["", "5", "m", "5x", "-5s", "99999999999999999999s", "9999999999999w"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn rounding_holds_before_the_epoch_too() {
        assert_eq!((floor(-1, 10), ceil(-1, 10), floor(20, 10), ceil(20, 10)), (-10, 0, 20, 20));
    }

    #[test]
    fn stamps_are_rfc3339() {
        assert_eq!(rfc3339(1_795_212_000 * SECOND), "2026-11-20T22:00:00Z");
        assert_eq!(rfc3339(1_795_212_000 * SECOND + 250_000_000), "2026-11-20T22:00:00.250Z");
    }
}
