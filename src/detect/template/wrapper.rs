//! What a container runtime and a terminal put around a line.
//!
//! What comes in: a line as it came. What goes out: the line that the program wrote: out of Docker's JSON and the runtime
//! interface's prefix, without colours. What never happens here: an allocation in the steady state.

use memchr::{memchr, memchr2};

use super::byte::all_digits;
use super::json::{string_end, unescape};

/// Buffers that are used again for each line.
#[derive(Debug, Default)]
pub(super) struct Wrap {
    json: Vec<u8>,
    colour: Vec<u8>,
}

/// The line that the program wrote.
#[inline]
pub(super) fn strip<'a>(line: &'a [u8], wrap: &'a mut Wrap) -> &'a [u8] {
    let line = match line.first() {
        Some(b'{') => docker(line, &mut wrap.json).unwrap_or(line),
        Some(b'1'..=b'9') => interface(line).unwrap_or(line),
        Some(b'<') => syslog(line).unwrap_or(line),
        Some(0xef) => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
        _ => line,
    };
    let line = plain(line, &mut wrap.colour);
    line.trim_ascii_end()
}

/// `{"log":"...\n","stream":"stdout","time":"..."}`
fn docker<'a>(line: &'a [u8], text: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let inner = line.strip_prefix(b"{\"log\":\"")?;
    let end = string_end(inner, 0)?;
    if !inner.get(end..)?.starts_with(b"\",\"stream\":\"std") {
        return None;
    }
    Some(unescape(inner.get(..end)?, text))
}

/// `2026-11-20T22:00:00.123456789Z stdout F ...`
fn interface(line: &[u8]) -> Option<&[u8]> {
    if line.get(10) != Some(&b'T') {
        return None;
    }
    let stamp = memchr(b' ', line.get(..40).unwrap_or(line))?;
    let rest = line.get(stamp + 1..)?;
    match rest.strip_prefix(b"stdout ").or(rest.strip_prefix(b"stderr "))? {
        [b'F' | b'P', b' ', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// `<34>1 2026-11-20T22:00:00Z host app 123 id [data] ...`: RFC 5424. The older form has no fixed columns; its header is learnt.
fn syslog(line: &[u8]) -> Option<&[u8]> {
    let close = line.iter().take(5).position(|b| *b == b'>')?;
    if !line.get(1..close).is_some_and(all_digits) {
        return None;
    }
    let mut rest = line.get(close + 1..)?.strip_prefix(b"1 ")?;
    for _ in 0..5 {
        rest = rest.get(memchr(b' ', rest)? + 1..)?;
    }
    while rest.first() == Some(&b'[') {
        rest = rest.get(memchr(b']', rest)? + 1..)?;
    }
    let rest = rest.strip_prefix(b"-").unwrap_or(rest);
    let rest = rest.trim_ascii_start();
    Some(rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest))
}

/// The line without escape sequences.
#[inline]
fn plain<'a>(line: &'a [u8], text: &'a mut Vec<u8>) -> &'a [u8] {
    if memchr(0x1b, line).is_none() {
        return line;
    }
    text.clear();
    let mut at = 0;
    while let Some(found) = line.get(at..).and_then(|rest| memchr(0x1b, rest)) {
        text.extend_from_slice(line.get(at..at + found).unwrap_or_default());
        at = escape_end(line, at + found);
    }
    text.extend_from_slice(line.get(at..).unwrap_or_default());
    text
}

/// Behind the escape sequence that begins at `at`: `ESC [ ... letter`, `ESC ] ... BEL`, or two bytes.
fn escape_end(line: &[u8], at: usize) -> usize {
    let rest = line.get(at + 2..).unwrap_or_default();
    let length = match line.get(at + 1) {
        Some(b'[') => rest.iter().position(|b| (0x40..=0x7e).contains(b)),
        Some(b']') => memchr2(0x07, 0x1b, rest),
        _ => return line.len().min(at + 2),
    };
    length.map_or(line.len(), |length| at + 2 + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let mut wrap = Wrap::default();
        assert_eq!(String::from_utf8_lossy(strip(line.as_bytes(), &mut wrap)), expected);
    }

    #[test]
    fn wrappers_go() {
        check("{\"log\":\"a \\\"b\\\"\\tc\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-20T22:00:00Z\"}", "a \"b\"\tc");
        check("{\"log\":\"\\u001b[32minfo\\u001b[0m up\\n\",\"stream\":\"stderr\",\"time\":\"x\"}", "info up");
        check("{\"log\":\"a\",\"message\":\"b\"}", "{\"log\":\"a\",\"message\":\"b\"}");
        check("2026-11-20T22:00:00.123456789Z stdout F hello you", "hello you");
        check("2026-11-20T22:00:00.123456789+01:00 stderr P hello", "hello");
        check("2026-11-20T22:00:00Z out F hello", "2026-11-20T22:00:00Z out F hello");
        check("<34>1 2026-11-20T22:00:00Z host app 12 ID [a b=\"c\"][d] su failed", "su failed");
        check("<34>1 2026-11-20T22:00:00Z host app 12 - - su failed", "su failed");
        check("<34>Nov 20 22:00:00 host su: failed", "<34>Nov 20 22:00:00 host su: failed");
        check("\u{1b}[1;31mERROR\u{1b}[0m no \u{1b}]0;title\u{7}more\u{1b}", "ERROR no more");
    }
}
