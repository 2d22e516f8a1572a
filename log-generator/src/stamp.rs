//! Time stamps as text, in the forms that log lines use, and back.
//!
//! The calendar part of a second is written once and kept, since thousands of lines share it.

/// The text forms of one second, kept until the second changes.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    second: i64,
    /// `2026-03-02`
    pub(crate) date: [u8; 10],
    /// `08:00:00`
    pub(crate) clock: [u8; 8],
    /// `02/Mar/2026`
    pub(crate) clf: [u8; 11],
    /// `Mar  2`
    pub(crate) syslog: [u8; 6],
}

const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

impl Stamp {
    pub(crate) fn new() -> Self {
        let mut stamp = Self { second: -1, date: [0; 10], clock: [0; 8], clf: [0; 11], syslog: [0; 6] };
        stamp.set(0);
        stamp
    }

    /// Moves to the second of `second`, seconds since the Unix epoch.
    #[inline]
    pub(crate) fn set(&mut self, second: i64) {
        if second != self.second {
            self.write(second);
        }
    }

    fn write(&mut self, second: i64) {
        self.second = second;
        let (year, month, day) = civil(second.div_euclid(86_400));
        let of_day = second.rem_euclid(86_400) as u32;
        let name = &MONTHS[(month as usize - 1) * 3..month as usize * 3];
        digits(&mut self.date[0..4], year as u32);
        self.date[4] = b'-';
        digits(&mut self.date[5..7], month);
        self.date[7] = b'-';
        digits(&mut self.date[8..10], day);
        digits(&mut self.clock[0..2], of_day / 3600);
        self.clock[2] = b':';
        digits(&mut self.clock[3..5], of_day / 60 % 60);
        self.clock[5] = b':';
        digits(&mut self.clock[6..8], of_day % 60);
        self.clf[0..2].copy_from_slice(&self.date[8..10]);
        self.clf[2] = b'/';
        self.clf[3..6].copy_from_slice(name);
        self.clf[6] = b'/';
        self.clf[7..11].copy_from_slice(&self.date[0..4]);
        self.syslog[0..3].copy_from_slice(name);
        self.syslog[3] = b' ';
        self.syslog[4] = if day < 10 { b' ' } else { self.date[8] };
        self.syslog[5] = self.date[9];
    }
}

fn digits(out: &mut [u8], mut number: u32) {
    for place in out.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a day number since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month as u32, (doy - (153 * mp + 2) / 5 + 1) as u32)
}

/// The inverse of [`civil`].
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// Nanoseconds since the Unix epoch from `2026-03-02T08:00:00Z` (fraction allowed, `Z` may be missing), from
/// `2026-03-02`, or from a number of nanoseconds.
///
/// # Errors
/// A text for people when `text` is none of these.
pub fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no time; write it like 2026-03-02T08:00:00Z, or as nanoseconds since 1970");
    if let Ok(nanos) = text.parse() {
        return Ok(nanos);
    }
    let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let (clock, fraction) = match clock.trim_end_matches('Z').split_once('.') {
        Some((clock, fraction)) => (clock, format!("{fraction:0<9.9}").parse().map_err(|_| wrong())?),
        None => (clock.trim_end_matches('Z'), 0i64),
    };
    let part = |text: &str, sign: char, index: usize, highest: i64| {
        let value = text.split(sign).nth(index).and_then(|part| part.parse::<i64>().ok());
        value.filter(|value| (0..=highest).contains(value) && text.matches(sign).count() == 2).ok_or_else(wrong)
    };
    let (year, month, day) = (part(date, '-', 0, 2200)?, part(date, '-', 1, 12)?, part(date, '-', 2, 31)?);
    let of_day = part(clock, ':', 0, 23)? * 3600 + part(clock, ':', 1, 59)? * 60 + part(clock, ':', 2, 59)?;
    Ok((day_number(year, month.max(1), day.max(1)) * 86_400 + of_day) * 1_000_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_agree() {
        let mut stamp = Stamp::new();
        stamp.set(1_772_438_400);
        assert_eq!(&stamp.date, b"2026-03-02");
        assert_eq!(&stamp.clock, b"08:00:00");
        assert_eq!(&stamp.clf, b"02/Mar/2026");
        assert_eq!(&stamp.syslog, b"Mar  2");
    }

    #[test]
    fn text_reads_back() {
        for (text, nanos) in [
            ("2026-03-02T08:00:00Z", 1_772_438_400_000_000_000),
            ("2026-03-02 08:00:00.5", 1_772_438_400_500_000_000),
            ("1970-01-01", 0),
            ("12345", 12345),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
        for text in ["", "now", "2026-03", "2026-13-02", "2026-03-02T25:00:00Z", "2026-03-02T08:00"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn calendar_is_its_own_inverse() {
        for days in (-200_000..200_000).step_by(37) {
            let (year, month, day) = civil(days);
            assert_eq!(day_number(year, i64::from(month), i64::from(day)), days);
        }
    }
}
