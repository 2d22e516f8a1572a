//! The stand-in's time: what "now" is for push limits and the `Date` header, and the spellings of time that Loki uses.
//! All instants are nanoseconds since 1970 as `i64`; all durations are nanoseconds as `i64`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// Where the stand-in takes its time from.
#[derive(Clone)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Simulated time: `origin` (ns) at the moment `since`, from there on `speed` times as fast as the machine.
    Fast {
        /// Simulated time at `since`, in ns.
        origin: i64,
        /// Simulated seconds in one real second.
        speed: f64,
        /// The real moment of `origin`.
        since: Instant,
    },
    /// Whatever the function says, in ns.
    Function(Arc<dyn Fn() -> i64 + Send + Sync>),
}

impl Clock {
    /// Simulated time that is `origin` (ns) now and runs `speed` times as fast as the machine's.
    pub fn fast(origin: i64, speed: f64) -> Self {
        Self::Fast { origin, speed, since: instant() }
    }

    /// A clock that stands still at `now` (ns).
    pub fn fixed(now: i64) -> Self {
        Self::Function(Arc::new(move || now))
    }

    /// Now, in ns.
    pub fn now(&self) -> i64 {
        match self {
            Self::System => system(),
            Self::Fast { origin, speed, since } => {
                let passed = instant().duration_since(*since).as_secs_f64() * speed;
                origin.saturating_add((passed * SECOND as f64) as i64)
            }
            Self::Function(now) => now(),
        }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::Fast { origin, speed, .. } => write!(f, "Fast({origin} x {speed})"),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the stand-in's one way to the machine's clock")]
fn system() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

#[expect(clippy::disallowed_methods, reason = "simulated time runs along the machine's steady clock")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// A time parameter as Loki reads it: seconds with a point, seconds of at most ten digits, nanoseconds, RFC 3339.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        let whole = seconds.trunc();
        let fraction = ((seconds - whole) * 1000.0).round() / 1000.0;
        return Some((whole as i64).checked_mul(SECOND)?.saturating_add((fraction * SECOND as f64) as i64));
    }
    match text.parse::<i64>() {
        Ok(n) if text.len() <= 10 => n.checked_mul(SECOND),
        Ok(n) => Some(n),
        Err(_) => parse_rfc3339(text),
    }
}

/// `2026-11-20T21:58:00.5Z` or with an offset such as `+01:00`.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let field = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if marks.iter().any(|&(at, mark)| text.get(at..at + 1) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let rest = text.get(19..)?;
    let (nanos, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let shown = rest.get(..digits.min(9))?;
            (format!("{shown:0<9}").parse::<i64>().ok()?, rest.get(digits..)?)
        }
        None => (0, rest),
    };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = match zone.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let hours: i64 = zone.get(1..3)?.parse().ok()?;
            let minutes: i64 = zone.get(4..6)?.parse().ok()?;
            sign * (hours * 3600 + minutes * 60)
        }
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(SECOND)?.checked_add(nanos)
}

/// `2026-11-20T21:58:00Z`: whole seconds, as in Loki's error texts.
pub(crate) fn rfc3339(ns: i64) -> String {
    let (year, month, day, second) = civil(ns);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// `2026-11-20 19:58:07.5 +0000 UTC`: the way Go prints a time.
pub(crate) fn go_time(ns: i64) -> String {
    let (year, month, day, second) = civil(ns);
    let mut text =
        format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    let nanos = ns.rem_euclid(SECOND);
    if nanos != 0 {
        let _ = write!(text, ".{}", format!("{nanos:09}").trim_end_matches('0'));
    }
    text + " +0000 UTC"
}

/// `Fri, 20 Nov 2026 22:03:15 GMT`: the `Date` header.
pub(crate) fn http_date(ns: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, second) = civil(ns);
    let weekday = DAYS.get(ns.div_euclid(DAY).rem_euclid(7) as usize).copied().unwrap_or_default();
    let month = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    format!("{weekday}, {day:02} {month} {year:04} {:02}:{:02}:{:02} GMT", second / 3600, second / 60 % 60, second % 60)
}

/// A LogQL or step duration: `60s`, `1h30m`, `5m`, `1ns`, `1d`, `0.5s`.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 10] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", SECOND),
        ("m", MINUTE),
        ("h", HOUR),
        ("d", DAY),
        ("w", 7 * DAY),
        ("y", 365 * DAY),
    ];
    let mut rest = text;
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let number = rest.get(..digits)?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let unit = UNITS.iter().find(|(name, _)| rest.get(..letters) == Some(*name))?.1;
        rest = rest.get(letters..)?;
        let part = match number.parse::<i64>() {
            Ok(n) => n.checked_mul(unit)?,
            Err(_) => Some(number.parse::<f64>().ok()? * unit as f64).filter(|ns| *ns < 9e18)? as i64,
        };
        total = total.checked_add(part)?;
    }
    (!text.is_empty()).then_some(total)
}

/// `744h0m0s`, `1h59m59.306s`, `15m0s`: the way Go prints a duration of a second and more.
pub(crate) fn go_duration(ns: i64) -> String {
    let (hours, minutes) = (ns / HOUR, ns / MINUTE % 60);
    let seconds = (ns % MINUTE) as f64 / SECOND as f64;
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `30d1h`, `1h`, `10m`: the way limits are printed. Years and weeks only when they fit exactly.
pub(crate) fn limit_duration(ns: i64) -> String {
    let mut rest = ns / 1_000_000;
    let mut text = String::new();
    for (name, unit, exact) in [
        ("y", 365 * DAY, true),
        ("w", 7 * DAY, true),
        ("d", DAY, false),
        ("h", HOUR, false),
        ("m", MINUTE, false),
        ("s", SECOND, false),
        ("ms", 1_000_000, false),
    ] {
        let unit = unit / 1_000_000;
        let count = rest / unit;
        if count > 0 && !(exact && rest % unit != 0) {
            let _ = write!(text, "{count}{name}");
            rest -= count * unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Year, month, day and the second of that day (proleptic Gregorian, UTC).
fn civil(ns: i64) -> (i64, i64, i64, i64) {
    let seconds = ns.div_euclid(SECOND);
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day, seconds.rem_euclid(86_400))
}

/// Days since 1970-01-01.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_795_211_880_000_000_000;

    #[test]
    fn every_spelling_of_a_time() {
        for (text, wanted) in [
            ("1795211880000000000", Some(T)),
            ("1795211880", Some(T)),
            ("1795211882.500", Some(T + 2_500_000_000)),
            ("2026-11-20T21:58:00.000000000Z", Some(T)),
            ("2026-11-20T21:58:02.5Z", Some(T + 2_500_000_000)),
            ("2026-11-20T22:58:00+01:00", Some(T)),
            ("2026-11-20", None),
            ("yesterday", None),
            ("", None),
            ("2026-13-20T22:58:00Z", None),
        ] {
            assert_eq!(parse_time(text), wanted, "{text}");
        }
    }

    #[test]
    fn printed_as_loki_prints() {
        assert_eq!(rfc3339(T + 7), "2026-11-20T21:58:00Z");
        assert_eq!(go_time(T + 1), "2026-11-20 21:58:00.000000001 +0000 UTC");
        assert_eq!(go_time(T), "2026-11-20 21:58:00 +0000 UTC");
        assert_eq!(http_date(T), "Fri, 20 Nov 2026 21:58:00 GMT");
        assert_eq!(go_duration(744 * HOUR), "744h0m0s");
        assert_eq!(go_duration(7_199_306_000_000), "1h59m59.306s");
        assert_eq!(limit_duration(721 * HOUR), "30d1h");
        assert_eq!(limit_duration(10 * MINUTE), "10m");
    }

    #[test]
    fn durations() {
        for (text, wanted) in [
            ("60s", Some(MINUTE)),
            ("1h30m", Some(90 * MINUTE)),
            ("1ns", Some(1)),
            ("0.5s", Some(SECOND / 2)),
            ("5", None),
            ("x", None),
            ("", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(parse_duration(text), wanted, "{text}");
        }
    }

    #[test]
    fn dates_go_there_and_back() {
        for ns in [0, T, T + 86_400 * SECOND * 100, 951_782_400 * SECOND, 4_107_542_399 * SECOND] {
            assert_eq!(parse_rfc3339(&rfc3339(ns)), Some(ns));
        }
    }
}
