//! The first columns of a line, and what kind of thing stands in them.
//!
//! What comes in: a line. What goes out: its columns, split as they are asked for, and tests of one column. What never
//! happens here: a look at other lines.

use super::byte::{all_digits, class, is_alnum, is_blank, is_day, is_level, is_level_letter, is_month, is_zone, strip};

/// Columns that are looked at.
pub(super) const COLUMNS: usize = 12;
/// Splitting a line may look some further, for a name that is a few columns off.
const ROOM: usize = COLUMNS + 4;
/// Longest column in brackets.
const BRACKET: usize = 400;

/// What stands in a column on nearly all lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Time,
    Level,
    Bracket,
    Separator,
    /// Logger or program: ends in `:` or `]`.
    Name,
    /// Digits, with a sign or without.
    Number,
    /// A name that is known by what follows it.
    BareName,
    /// Anything else: host, thread, alert tag, rack.
    Any,
}

super::snapshot::stored_enum!(Kind[Time, Level, Bracket, Separator, Name, Number, BareName, Any]);

impl Kind {
    pub(super) fn fits(self, token: &[u8]) -> bool {
        match self {
            Self::Time => is_time(token),
            Self::Level => is_level(token) || is_level_letter(token),
            Self::Bracket => token.first() == Some(&b'['),
            Self::Separator => is_separator(token),
            Self::Number => is_number(token),
            Self::Name => ends_name(token),
            Self::BareName | Self::Any => true,
        }
    }
}

/// The columns of one line: split at blanks and `|`; one that opens with `[` runs to its closing bracket.
pub(super) struct Columns<'a> {
    line: &'a [u8],
    spans: [(usize, usize); ROOM],
    count: usize,
    at: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { line, spans: [(0, 0); ROOM], count: 0, at: priority_end(line) }
    }

    /// The text of column `i`, if the line has so many.
    #[inline]
    pub(super) fn get(&mut self, i: usize) -> Option<&'a [u8]> {
        while self.count <= i {
            self.split()?;
        }
        let (start, end) = self.spans.get(i)?;
        self.line.get(*start..*end)
    }

    /// Where column `i` ends; only for columns that were got before.
    pub(super) fn end(&self, i: usize) -> usize {
        self.spans.get(i).map_or(0, |span| span.1)
    }

    /// The kinds of the first two columns.
    pub(super) fn form(&mut self) -> [u8; 2] {
        [0, 1].map(|i| match self.get(i) {
            None => b' ',
            Some(token) if is_time(token) => b'T',
            Some(token) if is_level(token) => b'L',
            Some(token) if all_digits(token) => b'D',
            Some(token) if token.first() == Some(&b'[') => b'B',
            Some(_) => b'?',
        })
    }

    /// `INFO:app.views:message`: level and name are columns, although nothing but a colon is between.
    #[inline]
    fn joined_end(&self, start: usize) -> Option<usize> {
        let joined = match self.count {
            0 => self.line.first().is_some_and(u8::is_ascii_uppercase),
            1 => start == self.at && self.line.get(start - 1) == Some(&b':'),
            _ => false,
        };
        if !joined {
            return None;
        }
        let rest = self.line.get(start..)?;
        let length = rest.iter().take(64).position(|b| is_blank(*b) || *b == b':')?;
        let whole =
            rest.get(length) == Some(&b':') && rest.get(length + 1).is_some_and(|b| !is_blank(*b) && *b != b':');
        let level = self.count > 0 || rest.get(..length).is_some_and(is_level);
        if whole && level { Some(start + length + 1) } else { None }
    }

    fn split(&mut self) -> Option<()> {
        let line = self.line;
        let mut start = self.at;
        while line.get(start).is_some_and(|b| is_blank(*b) || *b == b'|') {
            start += 1;
        }
        let first = line.get(start)?;
        let mut end = if *first == b'[' { bracket_end(line, start) } else { start };
        if let Some(end) = self.joined_end(start) {
            *self.spans.get_mut(self.count)? = (start, end);
            self.count += 1;
            self.at = end;
            return Some(());
        }
        while line.get(end).is_some_and(|b| !is_blank(*b) && *b != b'|') {
            end += 1;
        }
        *self.spans.get_mut(self.count)? = (start, end);
        self.count += 1;
        self.at = end;
        Some(())
    }
}

/// Behind a syslog priority such as `<34>`.
fn priority_end(line: &[u8]) -> usize {
    if line.first() != Some(&b'<') {
        return 0;
    }
    let end = line.iter().take(5).position(|b| *b == b'>').unwrap_or(0);
    if line.get(1..end).is_some_and(all_digits) { end + 1 } else { 0 }
}

/// Where the bracket that opens at `start` closes; `start` when it does not.
fn bracket_end(line: &[u8], start: usize) -> usize {
    let mut depth = 0;
    for (i, byte) in line.iter().enumerate().skip(start).take(BRACKET) {
        depth += i32::from(*byte == b'[') - i32::from(*byte == b']');
        if depth == 0 {
            return i;
        }
    }
    start
}

pub(super) fn is_separator(token: &[u8]) -> bool {
    !token.iter().any(|b| is_alnum(*b))
}

pub(super) fn is_number(token: &[u8]) -> bool {
    let token = strip(token, b"[](),:");
    all_digits(token.strip_prefix(b"-").unwrap_or(token))
}

pub(super) fn ends_name(token: &[u8]) -> bool {
    matches!(token.last(), Some(b':' | b']'))
}

/// Digit groups joined by `: - / .` that look like a date or a time of day; a month or a day; an epoch.
pub(super) fn is_time(token: &[u8]) -> bool {
    let token = match (token.first(), token.last()) {
        (Some(first), Some(last)) if first.is_ascii_digit() && last.is_ascii_alphanumeric() => token,
        _ => strip(token, b"[](),|<>"),
    };
    let Some(first) = token.first() else { return false };
    if token.contains(&b' ') {
        return token.split(|b| *b == b' ').filter(|word| !word.is_empty()).take(3).any(is_time);
    }
    if !first.is_ascii_digit() {
        return is_month(token) || is_day(token) || is_zone(token);
    }
    if all_digits(token) {
        let epoch = matches!(token.len(), 10 | 13 | 16 | 19) && *first == b'1';
        return epoch || (token.len() == 8 && (token.starts_with(b"19") || token.starts_with(b"20")));
    }
    Digits::of(token).is_some_and(|digits| digits.is_time())
}

/// The groups of digits of a token, and what stands between them.
#[derive(Default)]
struct Digits {
    /// Widths of the first four groups.
    width: [usize; 4],
    groups: usize,
    widest: usize,
    colons: usize,
    dots: usize,
    others: usize,
}

impl Digits {
    /// `None` when there is anything but digits, separators, names of months, and `T Z + , _`.
    fn of(token: &[u8]) -> Option<Self> {
        let mut digits = Self::default();
        let (mut width, mut at) = (0, 0);
        while let Some(&byte) = token.get(at) {
            at += 1;
            if byte.is_ascii_digit() {
                width += 1;
                continue;
            }
            digits.group(&mut width);
            match byte {
                b':' => digits.colons += 1,
                b'.' => digits.dots += 1,
                b'-' | b'/' => digits.others += 1,
                b'T' | b'Z' | b'+' | b',' | b'_' => {}
                _ if class(byte) & super::byte::LETTER != 0 && token.get(at - 1..at + 2).is_some_and(is_month) => {
                    digits.group(&mut 2);
                    at += 2;
                }
                _ => return None,
            }
        }
        digits.group(&mut width);
        Some(digits)
    }

    fn group(&mut self, width: &mut usize) {
        if *width > 0 {
            if let Some(place) = self.width.get_mut(self.groups) {
                *place = *width;
            }
            self.groups += 1;
            self.widest = self.widest.max(*width);
        }
        *width = 0;
    }

    fn is_time(&self) -> bool {
        let separators = self.colons + self.dots + self.others;
        if self.groups < 2 || separators == 0 {
            return false;
        }
        if self.colons >= 2 || (self.colons == 1 && self.widest <= 3 && self.width[0] <= 2) {
            return true;
        }
        if self.groups == 4 && self.dots == 3 && separators == 3 {
            // An address.
            return false;
        }
        let short = self.width.iter().take(3).all(|width| *width <= 2);
        match self.groups {
            2 => separators == 1 && self.others == 1 && self.widest <= 2,
            _ => self.width[0] == 4 || short,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (token, yes) in [("17", true), ("-1", true), ("[17]", true), ("-", false), ("1-2", false), ("", false)] {
            assert_eq!(is_number(token.as_bytes()), yes, "{token}");
        }
    }

    #[test]
    fn times() {
        for time in [
            "2026-11-20T22:00:00.123Z",
            "2026-11-20",
            "22:00:00,123",
            "[Sun Dec 04 04:47:44 2005]",
            "Nov",
            "17/06/09",
            "20:10:40",
            "1131566461",
            "2005.11.09",
            "2005-06-03-15.42.50.675872",
            "03-17",
            "081109",
            "20171223-22:15:29:606",
            "[20/Nov/2026:22:00:00",
            "[10.30 16:49:06]",
            "UTC",
            "20081109",
        ] {
            assert_eq!(is_time(time.as_bytes()), time != "081109", "{time}");
        }
        for other in [
            "10.0.0.1",
            "12",
            "abc",
            "",
            "[main]",
            "1.2",
            "7#7:",
            "node-246",
            "v1.2.3",
            "00000001@2016/9/27:20:30:31.455",
        ] {
            assert!(!is_time(other.as_bytes()), "{other}");
        }
    }
}
