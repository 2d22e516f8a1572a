//! Time stamps in log lines: which form a file uses, and reading it from every line.
//!
//! What comes in: the bytes of a line. What goes out: nanoseconds since the epoch, or nothing when the line bears no
//! stamp. What never happens here: a clock, an allocation or a regular expression per line. Stamps without a zone are
//! UTC; those without a year take it from the hint (a file's time of change) and count on over New Year.

use std::fmt;

use memchr::memmem::Finder;

use crate::time::{HOUR, MINUTE, Nanos, SECOND};

/// How a file writes its time stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A field of a JSON object, as text in one of the other forms or as a number of epoch seconds to nanoseconds.
    Json(&'static str),
    /// ISO 8601 and its kin: `2026-11-20T22:00:01.5+01:00`, `2026/11/20 22:00:01,123`, `2005-06-03-15.42.50.675872`.
    Iso,
    /// Common log format: `[20/Nov/2026:22:00:01 +0000]`.
    Common,
    /// Hadoop and Spark: `081109 203615`, `17/06/09 20:10:40`.
    Hadoop,
    /// Kubernetes' own components: `E1120 22:00:01.000`.
    Klog,
    /// Syslog: `Nov 20 22:00:01`; Apache's error log: `[Sun Dec 04 04:47:44 2005]`.
    Syslog,
    /// A number of 10, 13, 16 or 19 digits: seconds, milliseconds, microseconds or nanoseconds since the epoch.
    Epoch,
}

impl Form {
    /// In the order in which they win when two fit equally many lines: the more exact first.
    const ALL: [Self; 10] = [
        Self::Json("\"timestamp\""),
        Self::Json("\"ts\""),
        Self::Json("\"time\""),
        Self::Json("\"@timestamp\""),
        Self::Iso,
        Self::Common,
        Self::Hadoop,
        Self::Klog,
        Self::Syslog,
        Self::Epoch,
    ];

    /// Whether the stamps name no year, so that it is guessed.
    #[must_use]
    pub fn lacks_year(self) -> bool {
        matches!(self, Self::Klog | Self::Syslog)
    }

    /// Smallest share of lines (one in so many) that must bear it. Stack traces may outnumber the stamped lines by far;
    /// a bare number is too easily something else.
    fn one_in(self) -> usize {
        if self == Self::Epoch { 2 } else { 10 }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(key) => write!(f, "JSON field {key}"),
            Self::Iso => f.write_str("ISO 8601"),
            Self::Common => f.write_str("common log format"),
            Self::Hadoop => f.write_str("Hadoop (yymmdd hhmmss)"),
            Self::Klog => f.write_str("klog (Immdd hh:mm:ss)"),
            Self::Syslog => f.write_str("syslog (Mmm dd hh:mm:ss)"),
            Self::Epoch => f.write_str("seconds since 1970, or parts of them"),
        }
    }
}

/// Reads the stamps of one file.
#[derive(Clone, Debug)]
pub struct Stamper {
    form: Form,
    key: Finder<'static>,
    years: Years,
}

impl Stamper {
    /// The form that most of `lines` bear, when enough of them do. `hint`: a moment near the last line, for forms
    /// without a year; without it they start in 1970.
    pub fn find<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone, hint: Option<Nanos>) -> Option<Self> {
        let total = lines.clone().count();
        let mut best: Option<(usize, Self)> = None;
        for form in Form::ALL {
            let mut stamper = Self::of(form, hint);
            let start = stamper.clone();
            let fit = lines.clone().filter(|line| stamper.read(line).is_some()).count();
            if fit > best.as_ref().map_or(0, |(most, _)| *most) && fit * form.one_in() >= total {
                best = Some((fit, start));
            }
        }
        best.map(|(_, stamper)| stamper)
    }

    fn of(form: Form, hint: Option<Nanos>) -> Self {
        let key = if let Form::Json(key) = form { key } else { "" };
        Self { form, key: Finder::new(key), years: Years { hint: hint.map(civil), year: None, month: 0 } }
    }

    /// The form that is read.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The stamp of one line; `None` when it bears none of this form.
    pub fn read(&mut self, line: &[u8]) -> Option<Nanos> {
        match self.form {
            Form::Json(_) => json(line, &self.key),
            Form::Iso => seek(line, |byte| byte.is_ascii_digit(), iso),
            Form::Common => seek(line, |byte| byte.is_ascii_digit(), common),
            Form::Hadoop => seek(line, |byte| byte.is_ascii_digit(), hadoop),
            Form::Epoch => seek(line, |byte| byte.is_ascii_digit(), epoch),
            Form::Klog => self.years.place(klog(line)?),
            Form::Syslog => {
                let years = &mut self.years;
                seek(line, |byte| byte.is_ascii_uppercase(), |rest| syslog(rest).and_then(|moment| years.place(moment)))
            }
        }
    }
}

/// How far into a line a stamp may begin: behind an address, a user and a host name, before the message.
const REACH: usize = 160;

/// Tries `parse` at the words of the line's beginning whose first byte can start a stamp.
#[inline]
fn seek(line: &[u8], first: impl Fn(u8) -> bool, mut parse: impl FnMut(&[u8]) -> Option<Nanos>) -> Option<Nanos> {
    let mut border = true;
    for (at, &byte) in line.iter().enumerate().take(REACH) {
        if border && first(byte) {
            let found = parse(line.get(at..)?);
            if found.is_some() {
                return found;
            }
        }
        border = matches!(byte, b' ' | b'\t' | b'[' | b'(' | b'=' | b'"' | b'\'' | b'<' | b'>' | b'|' | b',' | b':');
    }
    None
}

/// A moment as written, in parts; without a year when the form has none.
#[derive(Clone, Copy, Debug)]
struct Moment {
    year: Option<i64>,
    month: i64,
    day: i64,
    /// Seconds of the day.
    seconds: i64,
    /// Nanoseconds of the second.
    nanos: i64,
}

impl Moment {
    /// Nanoseconds since the epoch; `offset` is the zone's distance from UTC in seconds.
    #[inline]
    fn at(self, year: i64, offset: i64) -> Option<Nanos> {
        if !(1..=12).contains(&self.month) || !(1..=31).contains(&self.day) || !(1970..=LAST_YEAR).contains(&year) {
            return None;
        }
        let seconds = days(year, self.month, self.day) * 86_400 + self.seconds - offset;
        (seconds >= 0).then_some(seconds * SECOND + self.nanos)
    }
}

/// Years after this one are taken for numbers that are no years.
const LAST_YEAR: i64 = 2200;

/// No stamp lies at or after this: 2201-01-01.
pub const LAST: Nanos = 7_289_654_400 * SECOND;

/// Days from 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `days_from_civil`).
#[inline]
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a moment (the same source, `civil_from_days`).
fn civil(at: Nanos) -> (i64, i64, i64) {
    let shifted = at.div_euclid(86_400 * SECOND) + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// Gives stamps without a year their year: that of the hint, or the one before it when the first stamp would lie after
/// the hint; one more at every New Year since.
#[derive(Clone, Debug)]
struct Years {
    hint: Option<(i64, i64, i64)>,
    year: Option<i64>,
    month: i64,
}

impl Years {
    fn place(&mut self, moment: Moment) -> Option<Nanos> {
        if let Some(year) = moment.year {
            return moment.at(year, 0);
        }
        let first = || match self.hint {
            Some((year, month, day)) if (moment.month, moment.day) > (month, day + 1) => (year - 1).max(1970),
            Some((year, ..)) => year,
            None => 1970,
        };
        let year = self.year.unwrap_or_else(first);
        let month = if self.month == 0 { moment.month } else { self.month };
        // Half a year back is New Year; half a year on is a line of last year that came late.
        let (year, keep) = match moment.month - month {
            ..=-7 => (year + 1, true),
            7.. => (year - 1, false),
            _ => (year, true),
        };
        let at = moment.at(year, 0)?;
        if keep {
            (self.year, self.month) = (Some(year), moment.month);
        }
        Some(at)
    }
}

/// The number that `N` digits write.
#[inline]
fn digits<const N: usize>(text: &[u8], at: usize) -> Option<i64> {
    let digits: &[u8; N] = text.get(at..at + N)?.first_chunk()?;
    let mut number = 0;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        number = number * 10 + i64::from(value);
    }
    Some(number)
}

/// Seconds of the day from `hh?mm?ss` at `at`.
#[inline]
fn clock(text: &[u8], at: usize, between: u8) -> Option<i64> {
    if *text.get(at + 2)? != between || *text.get(at + 5)? != between {
        return None;
    }
    let (hour, minute, second) = (digits::<2>(text, at)?, digits::<2>(text, at + 3)?, digits::<2>(text, at + 6)?);
    // 60 is a leap second.
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// Nanoseconds of a fraction that may follow (`.` or `,` and digits), and where it ends.
#[inline]
fn fraction(text: &[u8], at: usize) -> (i64, usize) {
    if !matches!(text.get(at), Some(b'.' | b',')) {
        return (0, at);
    }
    let (mut nanos, mut unit, mut end) = (0, SECOND / 10, at + 1);
    while let Some(digit) = text.get(end).filter(|byte| byte.is_ascii_digit()) {
        nanos += i64::from(digit - b'0') * unit;
        unit /= 10;
        end += 1;
    }
    (nanos, end)
}

/// Distance from UTC in seconds that may follow: `Z`, `+01:00`, `+0100`, `+01`, each also after a blank; else 0.
#[inline]
fn zone(text: &[u8], at: usize) -> i64 {
    let at = if text.get(at) == Some(&b' ') && matches!(text.get(at + 1), Some(b'+' | b'-')) { at + 1 } else { at };
    let sign = match text.get(at) {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return 0,
    };
    let Some(hours) = digits::<2>(text, at + 1).filter(|hours| *hours <= 14) else { return 0 };
    let colon = usize::from(text.get(at + 3) == Some(&b':'));
    let minutes = digits::<2>(text, at + 3 + colon).filter(|minutes| *minutes < 60).unwrap_or(0);
    sign * (hours * 3600 + minutes * 60)
}

fn iso(text: &[u8]) -> Option<Nanos> {
    let dash = *text.get(4)?;
    if !matches!(dash, b'-' | b'/') || *text.get(7)? != dash {
        return None;
    }
    let between = match text.get(10)? {
        b'T' | b't' | b' ' | b'_' => b':',
        b'-' => b'.', // Blue Gene: 2005-06-03-15.42.50.675872
        _ => return None,
    };
    let (year, month, day) = (digits::<4>(text, 0)?, digits::<2>(text, 5)?, digits::<2>(text, 8)?);
    let seconds = clock(text, 11, between)?;
    let (nanos, end) = fraction(text, 19);
    Moment { year: None, month, day, seconds, nanos }.at(year, zone(text, end))
}

fn common(text: &[u8]) -> Option<Nanos> {
    if text.get(2) != Some(&b'/') || text.get(6) != Some(&b'/') || text.get(11) != Some(&b':') {
        return None;
    }
    let (day, month, year) = (digits::<2>(text, 0)?, month(text.get(3..6)?)?, digits::<4>(text, 7)?);
    let seconds = clock(text, 12, b':')?;
    let (nanos, end) = fraction(text, 20);
    Moment { year: None, month, day, seconds, nanos }.at(year, zone(text, end))
}

fn hadoop(text: &[u8]) -> Option<Nanos> {
    let (date, seconds) = if text.get(2) == Some(&b'/') && text.get(5) == Some(&b'/') {
        ([0, 3, 6], clock(text, 9, b':')?)
    } else {
        let of_day = |at, below| digits::<2>(text, at).filter(|number| *number < below);
        ([0, 2, 4], of_day(7, 24)? * 3600 + of_day(9, 60)? * 60 + of_day(11, 61)?)
    };
    let [year, month, day] = date;
    let gap = day + 2;
    let ends = text.get(gap + if day == 4 { 7 } else { 9 }).is_none_or(|byte| !byte.is_ascii_digit());
    if text.get(gap) != Some(&b' ') || !ends {
        return None;
    }
    let (year, month, day) = (digits::<2>(text, year)?, digits::<2>(text, month)?, digits::<2>(text, day)?);
    let year = if year < 70 { 2000 + year } else { 1900 + year };
    Moment { year: None, month, day, seconds, nanos: 0 }.at(year, 0)
}

fn klog(text: &[u8]) -> Option<Moment> {
    if !matches!(text.first()?, b'I' | b'W' | b'E' | b'F') || *text.get(5)? != b' ' {
        return None;
    }
    let (month, day, seconds) = (digits::<2>(text, 1)?, digits::<2>(text, 3)?, clock(text, 6, b':')?);
    Some(Moment { year: None, month, day, seconds, nanos: fraction(text, 14).0 })
}

fn syslog(text: &[u8]) -> Option<Moment> {
    if text.get(3) != Some(&b' ') || text.get(6) != Some(&b' ') {
        return None;
    }
    let month = month(text.get(..3)?)?;
    let day = if text.get(4) == Some(&b' ') { digits::<1>(text, 5)? } else { digits::<2>(text, 4)? };
    let seconds = clock(text, 7, b':')?;
    let (nanos, end) = fraction(text, 15);
    // Apache's error log closes its bracket after the year.
    let year = if text.get(end) == Some(&b' ') && text.get(end + 5) == Some(&b']') {
        digits::<4>(text, end + 1)
    } else {
        None
    };
    Some(Moment { year, month, day, seconds, nanos })
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

#[inline]
fn month(text: &[u8]) -> Option<i64> {
    MONTHS.iter().position(|name| *name == text).and_then(|index| i64::try_from(index + 1).ok())
}

fn epoch(text: &[u8]) -> Option<Nanos> {
    let mut number = 0i64;
    let mut count = 0;
    while let Some(digit) = text.get(count).filter(|byte| byte.is_ascii_digit()) {
        if count == 19 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
        count += 1;
    }
    let (nanos, end) = match count {
        10 => {
            let (nanos, end) = fraction(text, 10);
            (number.checked_mul(SECOND)?.checked_add(nanos)?, end)
        }
        13 => (number.checked_mul(1_000_000)?, 13),
        16 => (number.checked_mul(1000)?, 16),
        19 => (number, 19),
        _ => return None,
    };
    let ends = text.get(end).is_none_or(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'/'));
    (ends && (EPOCH_FIRST..EPOCH_LAST).contains(&nanos)).then_some(nanos)
}

/// Bare numbers are taken for times from 2001-09-09 (the first with 10 digits) to 2100: longer ids seldom fall there.
const EPOCH_FIRST: Nanos = 1_000_000_000 * SECOND;
const EPOCH_LAST: Nanos = 4_102_444_800 * SECOND;

fn json(line: &[u8], key: &Finder<'static>) -> Option<Nanos> {
    if line.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    key.find_iter(line).find_map(|at| {
        let rest = line.get(at + key.needle().len()..)?.trim_ascii_start();
        match rest.strip_prefix(b":")?.trim_ascii_start() {
            [b'"', text @ ..] => iso(text).or_else(|| epoch(text)).or_else(|| common(text)),
            number => epoch(number).or_else(|| scientific(number)),
        }
    })
}

/// zap writes its default time as `1.7321400011234567e+09`.
fn scientific(text: &[u8]) -> Option<Nanos> {
    let length =
        text.iter().take(32).take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+')).count();
    let number: f64 = str::from_utf8(text.get(..length)?).ok()?.parse().ok()?;
    let nanos = number * SECOND as f64;
    (nanos >= EPOCH_FIRST as f64 && nanos < EPOCH_LAST as f64).then_some(nanos as Nanos)
}

/// Makes stamps rise: the engine's time never goes back.
///
/// A line that is a little late takes the time of the one before. When many lines in a row lie far behind (a second
/// file pasted behind the first, the end of summer time), the time goes on from where it was, shifted. A single stamp
/// more than a year ahead is not believed.
#[derive(Clone, Debug)]
pub struct Order {
    now: Nanos,
    /// What [`Order::nudge`] has promised: nothing comes before it any more.
    floor: Nanos,
    shift: Nanos,
    behind: u32,
    ahead: u32,
    /// Lines that took the time of the line before because theirs was earlier, or not to be believed.
    pub late: u64,
    /// How often the time went far back and stayed there.
    pub restarts: u64,
}

/// Further back than this is no line that is a little late.
const FAR_BACK: Nanos = 10 * MINUTE;
/// Further ahead than this is most likely no time of this file.
const FAR_AHEAD: Nanos = 366 * 24 * HOUR;
/// So many lines in a row make the improbable true.
const CONFIRM: u32 = 20;

impl Order {
    /// Starts at the time of the first line.
    #[must_use]
    pub fn new(start: Nanos) -> Self {
        Self { now: start, floor: start, shift: 0, behind: 0, ahead: 0, late: 0, restarts: 0 }
    }

    /// The time of the last line.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now.max(self.floor)
    }

    /// The time of a line with this stamp: never before that of the line before.
    #[inline]
    pub fn place(&mut self, stamp: Nanos) -> Nanos {
        let at = stamp.saturating_add(self.shift).min(LAST);
        if at >= self.now && at - self.now <= FAR_AHEAD {
            (self.behind, self.ahead) = (0, 0);
            self.now = at;
        } else {
            self.late += 1;
            self.unlikely(at);
        }
        self.now()
    }

    fn unlikely(&mut self, at: Nanos) {
        if at > self.now {
            (self.behind, self.ahead) = (0, self.ahead + 1);
            if self.ahead >= CONFIRM {
                (self.now, self.ahead) = (at, 0);
            }
        } else if self.now - at > FAR_BACK {
            (self.behind, self.ahead) = (self.behind + 1, 0);
            if self.behind >= CONFIRM {
                self.shift = self.shift.saturating_add(self.now - at);
                self.behind = 0;
                self.restarts += 1;
            }
        } else {
            (self.behind, self.ahead) = (0, 0);
        }
    }

    /// Moves on by a nanosecond, so that a batch can end among lines of one instant.
    pub fn nudge(&mut self) -> Nanos {
        self.floor = self.now() + 1;
        self.floor
    }
}

#[cfg(test)]
mod tests;
