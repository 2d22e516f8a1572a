//! The level of a line.
//!
//! What comes in: a line and what Loki says of it. What goes out: the level to believe. Order: an explicit field of the
//! line, then our own words, then Loki's `detected_level`, which calls `no error` an error. What never happens here: an
//! allocation, or looking at words inside a quoted field that has nothing to do with the message.

use memchr::{memchr, memchr2, memmem};

use super::Level;

/// A level word is looked for in the head of a line only: BGL has it as the ninth word, after some 120 bytes.
const HEAD: usize = 160;
/// In so many words of it: names and times are many words; BGL's level is the 25th.
const WORDS: usize = 32;

/// The level to believe: the line's own field, then our own words, then `detected`, then [`Level::Unknown`].
#[must_use]
pub fn level_of(line: &str, detected: Option<Level>) -> Level {
    let line = line.trim_ascii_start().as_bytes();
    let own = if line.first() == Some(&b'{') { json(line) } else { plain(line) };
    own.or(detected).unwrap_or_default()
}

/// The level that a level field's value names, in any case: `err`, `WARNING`, `I`.
pub(super) fn named(word: &[u8]) -> Option<Level> {
    if word == b"INFO" {
        // Most lines.
        return Some(Level::Info);
    }
    let mut lower = [0u8; 16];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"trace" | b"trc" | b"t" | b"verbose" | b"vrb" | b"finest" | b"finer" | b"silly" => Level::Trace,
        b"debug" | b"dbg" | b"d" | b"fine" | b"config" => Level::Debug,
        b"info" | b"inf" | b"i" | b"information" | b"informational" | b"notice" | b"n" | b"log" | b"normal" => {
            Level::Info
        }
        b"warn" | b"warning" | b"wrn" | b"w" => Level::Warn,
        b"error" | b"err" | b"e" | b"eror" | b"severe" => Level::Error,
        b"critical" | b"crit" | b"c" | b"fatal" | b"ftl" | b"f" | b"panic" | b"dpanic" | b"alert" | b"emerg"
        | b"emergency" => Level::Critical,
        _ => return None,
    })
}

/// The level that a level field's value names or numbers.
pub(super) fn of_value(value: &[u8]) -> Option<Level> {
    named(value).or_else(|| number(value).and_then(numbered))
}

/// Levels as numbers: syslog's 1 to 7 (RFC 5424, as GELF has them), pino's and bunyan's 10 to 60.
fn numbered(number: u32) -> Option<Level> {
    Some(match number {
        1 | 2 | 60 => Level::Critical,
        3 | 50 => Level::Error,
        4 | 40 => Level::Warn,
        5 | 6 | 30 => Level::Info,
        7 | 20 => Level::Debug,
        10 => Level::Trace,
        _ => return None,
    })
}

fn is_level_key(key: &[u8]) -> bool {
    let key = key.strip_prefix(b"log.").or(key.strip_prefix(b"log_")).unwrap_or(key);
    let known: [&[u8]; 9] = [
        b"level",
        b"severity",
        b"lvl",
        b"loglevel",
        b"levelname",
        b"severity_text",
        b"severityText",
        b"@l",
        b"log_level",
    ];
    (2..=13).contains(&key.len()) && known.iter().any(|name| key.eq_ignore_ascii_case(name))
}

fn is_message_key(key: &[u8]) -> bool {
    matches!(key, b"message" | b"msg" | b"log" | b"body" | b"text" | b"@m" | b"MESSAGE" | b"Message")
}

/// Index after the closing quote of a string whose content starts at `from`.
fn string_end(line: &[u8], mut from: usize) -> usize {
    while let Some(at) = line.get(from..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        let at = from + at;
        if line.get(at) == Some(&b'"') {
            return at + 1;
        }
        from = at + 2;
    }
    line.len()
}

/// The unquoted value that starts at `from`: up to a comma, a bracket or a blank.
fn bare(line: &[u8], from: usize) -> &[u8] {
    let rest = line.get(from..).unwrap_or_default();
    let end = rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\t')).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

/// A JSON line: a level key at any depth; else what the message says; else an `error` key with something in it.
fn json(line: &[u8]) -> Option<Level> {
    let mut message: Option<&[u8]> = None;
    let mut error_key = false;
    let mut at = 0;
    while let Some(quote) = line.get(at..).and_then(|rest| memchr(b'"', rest)) {
        let key_start = at + quote + 1;
        let key_end = string_end(line, key_start);
        let after = skip_blanks(line, key_end);
        if line.get(after) != Some(&b':') {
            at = key_end;
            continue;
        }
        let key = line.get(key_start..key_end.saturating_sub(1)).unwrap_or_default();
        let start = skip_blanks(line, after + 1);
        let quoted = line.get(start) == Some(&b'"');
        at = if quoted { string_end(line, start + 1) } else { start };
        let value =
            if quoted { line.get(start + 1..at.saturating_sub(1)).unwrap_or_default() } else { bare(line, start) };
        if is_level_key(key) {
            if let Some(level) = of_value(value) {
                return Some(level);
            }
        } else if quoted && message.is_none() && is_message_key(key) {
            message = Some(value);
        } else if matches!(key, b"error" | b"err" | b"exception") {
            error_key |= !is_nothing(value);
        }
    }
    message.and_then(plain).or(if error_key { Some(Level::Error) } else { None })
}

fn skip_blanks(line: &[u8], mut at: usize) -> usize {
    while matches!(line.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

fn number(word: &[u8]) -> Option<u32> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Values that say that there is none: `0`, `none`, `null`, an empty string.
fn is_nothing(word: &[u8]) -> bool {
    let word = word.strip_suffix(b".").unwrap_or(word);
    word.is_empty()
        || word.iter().all(|b| matches!(b, b'0' | b'.' | b'%'))
        || [&b"none"[..], b"null", b"nil", b"false", b"no", b"-", b"<nil>", b"ok", b"undefined", b"n/a", b"{}", b"[]"]
            .iter()
            .any(|nothing| word.eq_ignore_ascii_case(nothing))
}

/// A line that is not JSON: its fields, its head, then its words.
fn plain(line: &[u8]) -> Option<Level> {
    syslog(line)
        .or_else(|| klog(line))
        .or_else(|| logfmt(line))
        .or_else(|| head(line))
        .or_else(|| access_status(line))
        .or_else(|| words(line))
}

/// `<34>` at the start: RFC 5424 priority, of which the last three bits are the severity.
fn syslog(line: &[u8]) -> Option<Level> {
    let rest = line.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|b| *b == b'>')?;
    let priority = number(rest.get(..end)?).filter(|priority| *priority < 192)?;
    if priority % 8 == 0 { Some(Level::Critical) } else { numbered(priority % 8) }
}

/// `E0102 12:00:00.000`: klog's letter, month and day.
fn klog(line: &[u8]) -> Option<Level> {
    let [letter @ (b'I' | b'W' | b'E' | b'F'), rest @ ..] = line else { return None };
    let date = rest.get(..4)?.iter().all(u8::is_ascii_digit);
    let clock = rest.get(4) == Some(&b' ') && rest.get(7) == Some(&b':');
    if date && clock { named(&[*letter]) } else { None }
}

/// `level=warn` outside of quotes.
fn logfmt(line: &[u8]) -> Option<Level> {
    let mut at = 0;
    while let Some(equals) = line.get(at..).and_then(|rest| memchr(b'=', rest)) {
        let equals = at + equals;
        let before = line.get(at..equals).unwrap_or_default();
        let key =
            before.rsplit(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))).next().unwrap_or_default();
        let quoted = line.get(equals + 1) == Some(&b'"');
        at = if quoted { string_end(line, equals + 2) } else { equals + 1 };
        if is_level_key(key) {
            let value =
                if quoted { line.get(equals + 2..at.saturating_sub(1)).unwrap_or_default() } else { bare(line, at) };
            if let Some(level) = of_value(value) {
                return Some(level);
            }
        }
    }
    None
}

/// One alphanumeric word of a line, with its place.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a [u8],
    start: usize,
    end: usize,
}

/// The alphanumeric words of a line.
fn split(line: &[u8]) -> impl Iterator<Item = Word<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + line.get(at..)?.iter().position(|b| is_word_byte(*b))?;
        let rest = line.get(start..)?;
        let end = start + rest.iter().position(|b| !is_word_byte(*b)).unwrap_or(rest.len());
        at = end;
        Some(Word { text: line.get(start..end)?, start, end })
    })
}

fn is_word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80
}

/// A level word in the head: in capitals anywhere (`2026-11-20 ERROR [main]`), in brackets in any case (`[error]`,
/// `[core:warn]`), or first and followed by a colon (`warning: ...`).
fn head(line: &[u8]) -> Option<Level> {
    let head = line.get(..HEAD).unwrap_or(line);
    for word in split(head).take(WORDS) {
        if !(3..=13).contains(&word.text.len()) || !word.text.first().is_some_and(u8::is_ascii_alphabetic) {
            continue;
        }
        let next = line.get(word.end).copied().unwrap_or(b' ');
        let before = word.start.checked_sub(1).and_then(|at| line.get(at)).copied().unwrap_or(b' ');
        let capitals = word.text.iter().all(u8::is_ascii_uppercase)
            && matches!(before, b' ' | b'\t' | b'[' | b'(' | b'<' | b'|' | b':' | b'"' | b'-')
            && matches!(next, b' ' | b'\t' | b']' | b')' | b'>' | b'|' | b':' | b'"' | b',' | b'-');
        let bracketed = matches!(before, b'[' | b'<' | b':') && matches!(next, b']' | b'>');
        let first = word.start == 0 && next == b':';
        if !(capitals || bracketed || first) || says_none(line, word.end) {
            continue;
        }
        // `CONFIG`, `NORMAL` and `LOG` are ordinary words too; Postgres writes `LOG:`.
        let ambiguous = [&b"config"[..], b"normal", b"log", b"fine", b"alert", b"notice"]
            .iter()
            .any(|other| word.text.eq_ignore_ascii_case(other));
        if ambiguous && !(bracketed || next == b':') {
            continue;
        }
        if let Some(level) = named(word.text) {
            return Some(level);
        }
    }
    None
}

/// Whether what follows a word says that there is none of it: `: none`, `=0`, ` count: 0`.
fn says_none(line: &[u8], end: usize) -> bool {
    let Some(b':' | b'=') = line.get(end) else { return false };
    let value = bare(line, skip_blanks(line, end + 1));
    let value = value.strip_prefix(b"\"").map_or(value, |inner| inner.strip_suffix(b"\"").unwrap_or(inner));
    let value = value.split(|b| *b == b';' || *b == b'&').next().unwrap_or_default();
    !(value.is_empty() && line.get(end) == Some(&b':')) && is_nothing(value)
}

/// What our own words say: the worst of those that stand alone and are not negated.
fn words(line: &[u8]) -> Option<Level> {
    let mut found = None;
    let mut before: [&[u8]; 2] = [b"", b""];
    for word in split(line) {
        if let Some(level) = word_level(line, word)
            && Some(level) > found
            && !is_negated(before)
            && !says_none(line, word.end)
            && !names_a_thing(line, word.end)
        {
            found = Some(level);
        }
        before = [before[1], word.text];
    }
    found
}

/// The level that one word speaks for, when it stands alone: not in a path, a file name, an identifier.
fn word_level(line: &[u8], word: Word<'_>) -> Option<Level> {
    let level = spoken(word.text)?;
    let before = word.start.checked_sub(1).and_then(|at| line.get(at)).copied().unwrap_or(b' ');
    let exception = word.text.len() > 9;
    if matches!(before, b'/' | b'-' | b'$' | b'#' | b'@' | b'%' | b'&') || (before == b'.' && !exception) {
        return None;
    }
    let next = line.get(word.end).copied().unwrap_or(b' ');
    let after = line.get(word.end + 1).copied().unwrap_or(b' ');
    let joined =
        matches!(next, b'/' | b'-' | b'$' | b'#' | b'@' | b'(') || (next == b'.' && after.is_ascii_alphanumeric());
    if joined { None } else { Some(level) }
}

fn spoken(word: &[u8]) -> Option<Level> {
    if !(3..=64).contains(&word.len()) {
        return None;
    }
    if word.len() > 9 {
        let thrown = word.ends_with(b"Exception") || word.ends_with(b"Error");
        return if thrown && word.first().is_some_and(u8::is_ascii_uppercase) { Some(Level::Error) } else { None };
    }
    if !matches!(word.first()?.to_ascii_lowercase(), b'e' | b'f' | b'p' | b'w' | b's' | b'c') {
        // `TypeError`, `ValueError` and the like are at most nine letters long only now and then.
        return if word.ends_with(b"Error") && word.len() > 5 { Some(Level::Error) } else { None };
    }
    let mut lower = [0u8; 9];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"fatal" | b"panic" | b"segfault" => Level::Critical,
        b"error" | b"errors" | b"err" | b"exception" | b"failed" | b"failure" | b"failures" | b"severe" => Level::Error,
        b"warn" | b"warning" | b"warnings" => Level::Warn,
        _ => return None,
    })
}

/// `no error`, `without any error`, `0 errors`, `not an error`, `ignoring error`.
fn is_negated([second, first]: [&[u8]; 2]) -> bool {
    let denies = |word: &[u8]| {
        [&b"no"[..], b"0", b"zero", b"without", b"not", b"never", b"non", b"ignoring", b"ignored", b"isn", b"if", b"on"]
            .iter()
            .any(|no| word.eq_ignore_ascii_case(no))
    };
    let filler = |word: &[u8]| {
        [&b"any"[..], b"an", b"a", b"more", b"further", b"t", b"new", b"known", b"fatal", b"critical"]
            .iter()
            .any(|fill| word.eq_ignore_ascii_case(fill))
    };
    denies(first) || (filler(first) && denies(second))
}

/// `error rate`, `error budget`, `warning threshold`: a thing that has errors in its name.
fn names_a_thing(line: &[u8], end: usize) -> bool {
    if line.get(end) != Some(&b' ') {
        return false;
    }
    let Some(next) = line.get(end..).and_then(|rest| split(rest).next()) else { return false };
    let things: [&[u8]; 14] = [
        b"rate",
        b"rates",
        b"budget",
        b"budgets",
        b"handler",
        b"handlers",
        b"handling",
        b"page",
        b"reporting",
        b"reporter",
        b"threshold",
        b"thresholds",
        b"policy",
        b"tracking",
    ];
    next.start == 1 && things.iter().any(|thing| next.text.eq_ignore_ascii_case(thing))
}

/// The status of an access log line: `"GET / HTTP/1.1" 503`. Server errors are errors; the client's are not ours. It comes
/// before the words, for the words of such a line are the client's.
fn access_status(line: &[u8]) -> Option<Level> {
    let at = memmem::find(line, b" HTTP/")?;
    let rest = line.get(at + 6..)?;
    let quote = rest.iter().take(4).position(|b| *b == b'"')?;
    match rest.get(quote + 1..quote + 5)? {
        [b' ', b'5', b'0'..=b'9', b'0'..=b'9'] => Some(Level::Error),
        [b' ', b'1'..=b'4', b'0'..=b'9', b'0'..=b'9'] => Some(Level::Info),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Level) {
        assert_eq!(level_of(line, None), expected, "{line}");
    }

    #[test]
    fn explicit_fields_come_first() {
        for (line, level) in [
            ("level=trace logfmt", Level::Trace),
            ("level=err short", Level::Error),
            (r#"ts=1 level="warn" msg="error error""#, Level::Warn),
            (r#"level=info msg="error budget report""#, Level::Info),
            (r#"msg="the level=error was set" lvl=debug"#, Level::Debug),
            (r#"{"severity":"WARNING","msg":"json"}"#, Level::Warn),
            (r#"{"lvl":"ERR"}"#, Level::Error),
            (r#"{"level": "info","message":"retry after error succeeded"}"#, Level::Info),
            (r#"{"message":"a \"level\":\"error\" text","level":"debug"}"#, Level::Debug),
            (r#"{"time":1,"log":{"level":"fatal"},"x":2}"#, Level::Critical),
            (r#"{"log.level":"warn"}"#, Level::Warn),
            (r#"{"level":50,"msg":"pino"}"#, Level::Error),
            (r#"{"level":4,"short_message":"gelf"}"#, Level::Warn),
            (r#"{"log":"2026-01-01 ERROR it broke\n","stream":"stderr"}"#, Level::Error),
            (r#"{"msg":"x","error":null}"#, Level::Unknown),
            (r#"{"msg":"x","error":"timed out"}"#, Level::Error),
            (r#"{"msg":"done","path":"/error","errors":3}"#, Level::Unknown),
            ("<11>1 2026-01-01T00:00:00Z host app - - - text", Level::Error),
            ("<0>kernel is gone", Level::Critical),
            ("E0102 10:00:00.000000 1 klog.go:12] cannot sync", Level::Error),
            ("I0102 10:00:00.000000 1 klog.go:12] error is fine", Level::Info),
            ("2026-01-01 ERROR plain text with level word", Level::Error),
            ("2026-01-01 10:00:00,123 - shop - WARNING - low stock", Level::Warn),
            ("08:00:02.193 INFO  p.c.Controller#35 failed", Level::Info),
            ("081109 203615 148 INFO dfs.DataNode$PacketResponder: error", Level::Info),
            (
                "- 1117838570 2005.06.03 R02-M1-N0 2005-06-03-15.42.50.675872 R02-M1-N0 RAS KERNEL FATAL data",
                Level::Critical,
            ),
            (
                "- 1117838570 2005.06.03 R02-M1-N0-C:J12-U11 2005-06-03-15.42.50.675872 R02-M1-N0-C:J12-U11 RAS KERNEL INFO \
                 instruction cache parity error corrected",
                Level::Info,
            ),
            ("2026/01/01 10:00:00 [error] 12#0: upstream", Level::Error),
            ("[Mon Jan 01] [core:warn] [pid 1] text", Level::Warn),
            ("[warning] bracketed", Level::Warn),
            ("INFO: starts with info", Level::Info),
            ("warning: unused variable", Level::Warn),
            ("2026-01-01 UTC [7] LOG:  checkpoint starting", Level::Info),
            ("CRITICAL disk failure", Level::Critical),
            ("INFO errors=0", Level::Info),
            ("panic: runtime error: index out of range", Level::Critical),
        ] {
            check(line, level);
        }
    }

    #[test]
    fn words_are_bounded_and_know_negation() {
        for (line, level) in [
            ("no error", Level::Unknown),
            ("finished without error in 3s", Level::Unknown),
            ("finished without any error", Level::Unknown),
            ("Warning: none", Level::Unknown),
            ("0 errors, 0 warnings", Level::Unknown),
            ("errors: 0, warnings: 0", Level::Unknown),
            ("scan done error=0 failed=0", Level::Unknown),
            ("error=\"\" done", Level::Unknown),
            ("error=nil", Level::Unknown),
            ("5 passed, 0 failed", Level::Unknown),
            ("GET /error-page 200 in 3ms", Level::Unknown),
            ("wrote error.log and /var/log/errors/a", Level::Unknown),
            ("error rate 0.1 %", Level::Unknown),
            ("terror in errorland, mirrored", Level::Unknown),
            ("this is not an error", Level::Unknown),
            ("a non-fatal thing", Level::Unknown),
            ("Failed to connect", Level::Error),
            ("an error occurred", Level::Error),
            ("3 errors", Level::Error),
            ("error=timeout", Level::Error),
            ("no error at first, then an error", Level::Error),
            ("java.lang.IllegalStateException: nope", Level::Error),
            ("Caused by: OutOfMemoryError", Level::Error),
            ("\tat com.shop.ErrorHandler.handle(ErrorHandler.java:3)", Level::Unknown),
            ("fatal error: all goroutines are asleep", Level::Critical),
            ("deprecated warning given", Level::Warn),
            (r#"1.2.3.4 - - [x] "GET /a HTTP/1.1" 503 12"#, Level::Error),
            (r#"1.2.3.4 - - [x] "GET /error HTTP/1.1" 404 12"#, Level::Info),
            ("", Level::Unknown),
            ("no level at all", Level::Unknown),
        ] {
            check(line, level);
        }
    }

    #[test]
    fn detected_level_is_the_last_resort() {
        assert_eq!(level_of("nothing to see", Some(Level::Warn)), Level::Warn);
        assert_eq!(level_of("level=info x", Some(Level::Error)), Level::Info);
        assert_eq!(level_of("it failed", Some(Level::Info)), Level::Error);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(line in "(?s)[ -~ä\"\\\\={}:\\[\\]<>]{0,80}") {
            let _ = level_of(&line, None);
        }
    }
}
