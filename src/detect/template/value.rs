//! What stands in the variable parts of a line.
//!
//! What comes in: a line, or a part of it. What goes out: the kind of a value, a duration, the tokens that look like ids.
//! What never happens here: the path of each line; all of this is on request.

use std::ops::Range;

use super::byte::{all_digits, is_alnum, is_host, strip};
use super::column::is_time;

/// The kind of a variable part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueKind {
    /// `17`, `-0.5`, `12%`.
    Number,
    /// `35 ms`, `1.2s`.
    Duration,
    /// `12 KB`.
    Size,
    /// Date, time of day, epoch.
    Time,
    /// IPv4, IPv6, MAC; with a port or without.
    Address,
    /// Host name, with a port or without.
    Host,
    /// `a@b.c`.
    Email,
    /// `x://...`.
    Url,
    /// A path of files or of a request.
    Path,
    /// As the standard writes it.
    Uuid,
    /// Eight or more hexadecimal digits.
    Hex,
    /// A quoted string.
    Quoted,
    /// Letters and digits: `blk_-1608`, `sha256`.
    Id,
    /// A word in a slot that has shown many.
    Word,
    /// Nothing, or several values.
    Mixed,
}

/// A variable part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Where it stands in the line, in bytes; `None` when the line had to be unescaped first.
    pub range: Option<Range<usize>>,
    /// What stands there.
    pub text: String,
    /// What it is.
    pub kind: ValueKind,
}

/// The kind of a value.
#[must_use]
pub fn kind_of(text: &str) -> ValueKind {
    use ValueKind::{
        Address, Duration, Email, Hex, Host, Id, Mixed, Number, Path, Quoted, Size, Time, Url, Uuid, Word,
    };
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'"') {
        return Quoted;
    }
    let bytes = strip(bytes, b"()[]{}<>,;'. ");
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    let hex = bytes.iter().all(u8::is_ascii_hexdigit);
    let has = |byte: u8| bytes.contains(&byte);
    let number = |bytes: &[u8]| {
        let bytes = bytes.strip_prefix(b"-").or(bytes.strip_prefix(b"+")).unwrap_or(bytes);
        bytes.first().is_some_and(u8::is_ascii_digit)
            && bytes.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'%'))
    };
    match () {
        () if bytes.is_empty() => Mixed,
        () if text.contains("://") => Url,
        () if is_uuid(bytes) => Uuid,
        () if is_address(bytes) => Address,
        () if is_time(bytes) && bytes.len() >= 5 => Time,
        () if number(bytes) => Number,
        () if (bytes.starts_with(b"0x") && bytes.iter().skip(2).all(u8::is_ascii_hexdigit))
            || (hex && bytes.len() >= 8) =>
        {
            Hex
        }
        () if seconds_of(text).is_some() => Duration,
        () if is_size(bytes) => Size,
        () if has(b'@') && !has(b' ') => Email,
        () if has(b'/') || has(b'\\') => Path,
        () if has(b' ') => Mixed,
        () if is_host(bytes.split(|b| *b == b':').next().unwrap_or_default(), has(b':')) => Host,
        () if digits > 0 => Id,
        () => Word,
    }
}

/// Values that stand alone in the rest of a line, which no template knows: numbers, addresses, ids. Not times, which every
/// line has, nor words. In bytes, in order.
pub(super) fn loose(line: &str) -> impl Iterator<Item = Range<usize>> {
    let stop = |c: char| c.is_whitespace() || "\"'=,;()[]{}<>|".contains(c);
    line.split(stop).filter_map(move |word| {
        let bare = word.trim_matches([':', '.']);
        // The name of a field is no value.
        let name = line
            .get(offset(line, word) + word.len()..)
            .is_some_and(|rest| rest.starts_with('=') || rest.starts_with("\":"));
        let value = matches!(
            kind_of(bare),
            ValueKind::Number
                | ValueKind::Duration
                | ValueKind::Size
                | ValueKind::Address
                | ValueKind::Email
                | ValueKind::Uuid
                | ValueKind::Hex
        );
        let digits = bare.bytes().filter(u8::is_ascii_digit).count();
        // `ORD-4711`, but not `Travel2Controller#115` or `http2`.
        let id = digits > 2 && !bare.contains(['.', '#', '/']) && kind_of(bare) == ValueKind::Id;
        let value = value || id;
        let start = offset(line, bare);
        (value && !name && !bare.is_empty()).then(|| start..start + bare.len())
    })
}

/// Where a part of a line begins in it.
fn offset(line: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(line.as_ptr() as usize)
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn is_address(bytes: &[u8]) -> bool {
    let bytes = strip(bytes, b"/[]");
    let host = bytes.split(|b| *b == b':').next().unwrap_or_default();
    let four = host.split(|b| *b == b'.').filter(|part| all_digits(part) && part.len() <= 3).count() == 4
        && host.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    let colons = bytes.iter().filter(|b| **b == b':').count();
    four || (colons >= 3 && bytes.iter().all(|b| b.is_ascii_hexdigit() || *b == b':'))
}

/// The number that a text begins with, and the text behind it.
fn number(text: &str) -> Option<(f64, &str)> {
    let mut dots = 0;
    let end = text.bytes().position(|b| {
        dots += u32::from(b == b'.');
        !(b.is_ascii_digit() || (b == b'.' && dots < 2))
    });
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    let number = number.strip_suffix('.').unwrap_or(number);
    if number.starts_with(|c: char| c.is_ascii_digit()) { Some((number.parse().ok()?, rest)) } else { None }
}

fn unit_of_time(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "ns" | "nanos" | "nanoseconds" => 1e-9,
        "us" | "µs" | "μs" | "usec" | "micros" | "microseconds" => 1e-6,
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        _ => return None,
    })
}

fn is_size(bytes: &[u8]) -> bool {
    let Some((_, unit)) = std::str::from_utf8(bytes).ok().and_then(number) else { return false };
    let unit = unit.trim().to_ascii_lowercase();
    matches!(
        unit.as_str(),
        "b" | "kb" | "mb" | "gb" | "tb" | "kib" | "mib" | "gib" | "tib" | "bytes" | "byte" | "k" | "g"
    )
}

/// `35 ms`, `1.2s`, `1m2.5s`; in seconds.
fn seconds_of(text: &str) -> Option<f64> {
    let (mut rest, mut sum, mut any) = (text.trim(), 0.0, false);
    while !rest.is_empty() {
        let (value, after) = number(rest)?;
        let after = after.trim_start();
        let end = after.bytes().position(|b| b.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let unit = unit.trim_end();
        // A bare `m` is a minute only inside of `1m2s`.
        let factor = if unit == "m" && (any || !after.is_empty()) { 60.0 } else { unit_of_time(unit)? };
        (sum, rest, any) = (sum + value * factor, after, true);
    }
    if any { Some(sum) } else { None }
}

/// A duration that the line speaks of, in seconds: `took 35 ms`, `duration=1.2s`, `elapsed: 30`, `"duration_ms":12.5`. One that
/// is named comes before one that only has a unit; a named one without a unit is in milliseconds, or in seconds when it has a
/// fraction.
#[must_use]
pub fn duration(line: &str) -> Option<f64> {
    let stop = |c: char| c.is_whitespace() || "=:,;()[]{}<>\"'|".contains(c);
    let mut words = line.split(stop).filter(|word| !word.is_empty()).take(256).peekable();
    let (mut before, mut found) = (["", ""], None);
    while let Some(word) = words.next() {
        let named = before.iter().rev().find_map(|word| cue(word));
        if word.starts_with(|c: char| c.is_ascii_digit())
            && let Some((value, rest)) = number(word)
        {
            let attached = if rest.is_empty() { None } else { seconds_of(word.trim_end_matches('.')) };
            let next = words.peek().map_or("", |next| next.trim_end_matches('.'));
            let spaced = if rest.is_empty() { unit_of_time(next).map(|unit| value * unit) } else { None };
            let with_unit = attached.or(spaced);
            let seconds = match named {
                Some(Some(factor)) if rest.is_empty() => Some(value * factor),
                Some(None) if rest.is_empty() && with_unit.is_none() => {
                    Some(if word.contains('.') { value } else { value / 1e3 })
                }
                _ => with_unit,
            };
            match (seconds, named) {
                (Some(seconds), Some(_)) => return Some(seconds),
                (Some(seconds), None) => found = found.or(Some(seconds)),
                _ => {}
            }
        }
        before = [before[1], word];
    }
    found
}

/// Whether a word names a duration; with the factor to seconds when the name has the unit.
fn cue(word: &str) -> Option<Option<f64>> {
    let lower = word.to_ascii_lowercase();
    let names = ["took", "duration", "elapsed", "latency", "spent", "cost", "runtime", "response_time", "responsetime"];
    let (name, unit) = lower.rsplit_once(['_', '-', '.']).unwrap_or((&lower, ""));
    let factor = unit_of_time(unit);
    let named = |name: &str| names.iter().any(|known| name == *known || name.ends_with(&format!("_{known}")));
    let joined = lower.strip_suffix("ms").filter(|name| named(name)).map(|_| 1e-3);
    if joined.is_some() {
        return Some(joined);
    }
    let is_named = named(&lower) || (factor.is_some() && (named(name) || name.ends_with("time")));
    if is_named { Some(factor) } else { None }
}

/// A token that may be the key of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdToken<'a> {
    /// Its prefix (`blk_`) or the word that names it (`traceid`); empty for none.
    pub name: &'a str,
    /// How it is written.
    pub kind: IdKind,
    /// The token, with its prefix.
    pub text: &'a str,
}

/// How an id is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdKind {
    /// Digits, with a sign or without.
    Number,
    /// As the standard writes it.
    Uuid,
    /// So many hexadecimal digits.
    Hex(u8),
    /// Anything else.
    Mixed,
}

/// The tokens of a line that look like ids: eight or more hexadecimal digits, three of them decimal, with a short prefix or
/// without. Times are left out.
pub fn ids(line: &str) -> impl Iterator<Item = IdToken<'_>> {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let bytes = line.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + bytes.get(at..)?.iter().position(|b| inside(*b))?;
            let length = bytes.get(start..)?.iter().position(|b| !inside(*b)).unwrap_or(bytes.len() - start);
            at = start + length;
            if let Some(token) = line.get(start..at).and_then(|text| id(line, start, text)) {
                return Some(token);
            }
        }
    })
}

fn id<'a>(line: &'a str, start: usize, text: &'a str) -> Option<IdToken<'a>> {
    let bytes = text.as_bytes();
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    if digits < 3 || bytes.len() < 8 || is_time(bytes) {
        return None;
    }
    // `blk_-1608`: what stands before the last underscore, or before a sign, is a prefix.
    let prefix = bytes.iter().rposition(|b| *b == b'_').map_or(0, |at| at + 1);
    let prefix = if prefix <= 12 && bytes.len() - prefix >= 8 { prefix } else { 0 };
    let value = bytes.get(prefix..)?;
    let kind = if is_uuid(value) {
        IdKind::Uuid
    } else if all_digits(value.strip_prefix(b"-").unwrap_or(value)) {
        IdKind::Number
    } else if value.iter().all(u8::is_ascii_hexdigit) {
        IdKind::Hex(value.len().min(255) as u8)
    } else if value.iter().filter(|b| b.is_ascii_hexdigit()).count() >= 8
        && value.iter().all(|b| is_alnum(*b) || *b == b'-')
    {
        IdKind::Mixed
    } else {
        return None;
    };
    let name = if prefix > 0 { text.get(..prefix)? } else { name_before(line.get(..start)?) };
    Some(IdToken { name, kind, text })
}

/// The word before `:` or `=`.
fn name_before(before: &str) -> &str {
    let before = before.trim_end_matches(['"', ' ', '\'']);
    let Some(before) = before.strip_suffix([':', '=']) else { return "" };
    let before = before.trim_end_matches(['"', ' ', '\'']);
    let start = before.bytes().rposition(|b| !(is_alnum(b) || matches!(b, b'_' | b'.' | b'-'))).map_or(0, |at| at + 1);
    before.get(start..).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_stand_alone_are_found() {
        let found = |line: &str| loose(line).filter_map(|part| line.get(part)).collect::<Vec<_>>().join(" ");
        for (line, text) in [
            (
                r#"{"timestamp":"2026-03-02T16:11:24.409106Z","level":"error","trace_id":"bf5025373cc7560e","attempt":2,"sku":"SKU-20036"}"#,
                "bf5025373cc7560e 2 SKU-20036",
            ),
            ("ts=2026-03-02T16:35:02Z level=warn h2=x1 duration_ms=539 addr=10.0.0.7:80", "539 10.0.0.7:80"),
            (
                "16:23:17.144 ERROR 1 --- [order,f1d5987666d78ac5] [nio-8080-exec-4] t.Travel2Controller#115 http2",
                "1 f1d5987666d78ac5 nio-8080-exec-4",
            ),
            ("", ""),
        ] {
            assert_eq!(found(line), text, "{line}");
        }
    }

    #[test]
    fn kinds() {
        for (text, kind) in [
            ("17", ValueKind::Number),
            ("35 ms", ValueKind::Duration),
            ("1.2s", ValueKind::Duration),
            ("4 KB", ValueKind::Size),
            ("2026-11-20T22:00:00Z", ValueKind::Time),
            ("/10.0.0.1:5010", ValueKind::Address),
            ("aa:bb:cc:dd:ee:ff", ValueKind::Address),
            ("db.shop.local:5432", ValueKind::Host),
            ("a@b.com", ValueKind::Email),
            ("http://a/b", ValueKind::Url),
            ("/var/log", ValueKind::Path),
            ("123e4567-e89b-12d3-a456-426614174000", ValueKind::Uuid),
            ("0xfe", ValueKind::Hex),
            ("\"a b\"", ValueKind::Quoted),
            ("blk_-1608", ValueKind::Id),
            ("root", ValueKind::Word),
            ("", ValueKind::Mixed),
        ] {
            assert_eq!(kind_of(text), kind, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (line, seconds) in [
            ("request took 35 ms", Some(0.035)),
            ("took=12.2ms user=1", Some(0.0122)),
            ("duration=1.2s", Some(1.2)),
            ("elapsed: 30", Some(0.03)),
            ("elapsed: 0.5", Some(0.5)),
            ("{\"duration_ms\":12.5}", Some(0.0125)),
            ("size 12 in 7s, elapsedMs=9", Some(0.009)),
            ("done in 1m2.5s", Some(62.5)),
            ("12 items at 10:00:01", None),
            ("", None),
        ] {
            let found = duration(line);
            assert!(found.zip(seconds).map_or(found == seconds, |(a, b)| (a - b).abs() < 1e-9), "{line}: {found:?}");
        }
    }

    #[test]
    fn tokens_of_ids() {
        let show = |line: &str| {
            ids(line).map(|id| format!("{} {:?} {}", id.name, id.kind, id.text)).collect::<Vec<_>>().join("; ")
        };
        insta::assert_snapshot!(show("Receiving block blk_-1608999687919862906 src: /10.250.19.102:54106"), @"blk_ Number blk_-1608999687919862906");
        insta::assert_snapshot!(show("TraceID: 178033d2bbc2c4346b5451bbb00b52a7 SpanID: bc4494273ffe6785 [x]"), @"TraceID Hex(32) 178033d2bbc2c4346b5451bbb00b52a7; SpanID Hex(16) bc4494273ffe6785");
        insta::assert_snapshot!(show("{\"order\":\"123e4567-e89b-12d3-a456-426614174000\",\"n\":12,\"d\":\"20261120\"}"), @"order Uuid 123e4567-e89b-12d3-a456-426614174000");
    }
}
