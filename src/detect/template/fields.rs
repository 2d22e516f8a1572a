//! Lines that are made of fields: JSON and `key=value`.
//!
//! What comes in: a line without its header. What goes out: its message, level and code place. A line of fields without a
//! message is read as `key=value` of its fields, so that its keys and its states make its template. What never happens here:
//! a list of known programs.

use memchr::memmem;

use super::Level;
use super::byte::{all_digits, is_alnum, is_blank, place_in, word_hash};
use super::column::Columns;
use super::json::{Pairs, Value, string_end, unescape, unescape_into};
use super::number::{self, Number};
use crate::detect::level::of_value;

/// What the fields of a line say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub(super) message: &'a [u8],
    pub(super) level: Option<Level>,
    /// Hash of the code place, 0 for none.
    pub(super) place: u64,
}

/// What a key is for, with the rank of the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Message(u8),
    Level,
    Name,
    Time,
    Other,
}

fn use_of(key: &[u8]) -> Use {
    let mut lower = [0u8; 16];
    let Some(lower) = lower.get_mut(..key.len()) else { return Use::Other };
    lower.copy_from_slice(key);
    lower.make_ascii_lowercase();
    match &*lower {
        b"@mt" => Use::Message(0),
        b"msg" => Use::Message(1),
        b"message" => Use::Message(2),
        b"event" => Use::Message(3),
        b"log" => Use::Message(4),
        b"body" => Use::Message(5),
        b"short_message" => Use::Message(6),
        b"text" => Use::Message(7),
        b"textpayload" => Use::Message(8),
        b"level" | b"severity" | b"lvl" | b"loglevel" | b"log.level" | b"levelname" | b"severity_text" | b"@l" => {
            Use::Level
        }
        b"logger" | b"logger_name" | b"caller" | b"component" | b"module" | b"source" | b"target" => Use::Name,
        b"time" | b"timestamp" | b"ts" | b"@timestamp" | b"@t" | b"date" | b"datetime" => Use::Time,
        _ => Use::Other,
    }
}

/// The fields of a line that is made of nothing else.
#[inline]
pub(super) fn fields<'a>(text: &'a [u8], buffer: &'a mut Vec<u8>, numbers: &mut Vec<Number>) -> Option<Fields<'a>> {
    let text = text.trim_ascii();
    match text.first()? {
        b'{' => json(text, buffer, numbers),
        first if is_key(*first) => logfmt(text, buffer, numbers),
        _ => None,
    }
}

/// Where the JSON with a message begins that stands behind a header that is not known yet; 0 when there is none.
#[inline]
pub(super) fn behind_header(line: &[u8]) -> usize {
    if line.last() != Some(&b'}') || line.first() == Some(&b'{') {
        return 0;
    }
    let head = line.get(..HEAD).unwrap_or(line);
    let begins = |line| matches!(Columns::new(line).form()[0], b'T' | b'L');
    let start = memmem::find(head, b" {\"").filter(|_| begins(line)).map_or(0, |at| at + 1);
    if start > 0 && line.get(start..).and_then(message_of).is_some() { start } else { 0 }
}

/// Where a header ends at the latest.
const HEAD: usize = 200;

#[derive(Clone, Copy, Default)]
struct Found<'a> {
    message: Option<(u8, &'a [u8])>,
    level: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    pairs: usize,
}

impl<'a> Found<'a> {
    fn add(&mut self, key: &'a [u8], text: &'a [u8], quoted: bool) {
        self.pairs += 1;
        match use_of(key) {
            Use::Message(rank) if quoted && self.message.is_none_or(|(best, _)| rank < best) => {
                self.message = Some((rank, text));
            }
            Use::Level if self.level.is_none() => self.level = Some(text),
            Use::Name if self.name.is_none() => self.name = Some(text),
            _ => {}
        }
    }

    fn fields(&self, message: &'a [u8]) -> Fields<'a> {
        let place = self.name.and_then(place_in).map_or(0, word_hash);
        Fields { message, level: self.level.and_then(of_value), place }
    }
}

fn json<'a>(text: &'a [u8], buffer: &'a mut Vec<u8>, numbers: &mut Vec<Number>) -> Option<Fields<'a>> {
    let mut found = Found::default();
    let mut pairs = Pairs::new(text)?;
    let mut inner = None;
    for (key, value) in pairs.by_ref() {
        match value {
            Value::Text(text) => found.add(key, text, true),
            Value::Bare(text) => {
                found.add(key, text, false);
                number::field(numbers, key, text);
            }
            Value::Object(text) => {
                inner = inner.or_else(|| message_of(text));
                found.pairs += 1;
            }
            Value::Array => found.pairs += 1,
        }
    }
    if pairs.broken || found.pairs == 0 {
        return None;
    }
    match found.message.or(inner) {
        Some((_, message)) => Some(found.fields(unescape(message, buffer))),
        None => {
            // They stand in the message now.
            numbers.clear();
            flatten(text, buffer)?;
            Some(found.fields(buffer))
        }
    }
}

/// The message of an object inside: `{"fields":{"message":"..."}}`.
fn message_of(object: &[u8]) -> Option<(u8, &[u8])> {
    let mut found = Found::default();
    for (key, value) in Pairs::new(object)? {
        if let Value::Text(text) = value {
            found.add(key, text, true);
        }
    }
    found.message
}

/// The fields as `key=value`; times and levels are left out.
fn flatten(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    for (key, value) in Pairs::new(text)? {
        if matches!(use_of(key), Use::Time | Use::Level) {
            continue;
        }
        out.extend_from_slice(key);
        out.push(b'=');
        match value {
            Value::Text(text) if text.iter().any(|b| is_blank(*b) || *b == b'\\') => {
                out.push(b'"');
                let start = out.len();
                unescape_into(text, out);
                for byte in out.iter_mut().skip(start).filter(|byte| **byte == b'"') {
                    *byte = b'\'';
                }
                out.push(b'"');
            }
            Value::Text(text) | Value::Bare(text) => out.extend_from_slice(text),
            Value::Object(_) => out.extend_from_slice(b"{}"),
            Value::Array => out.extend_from_slice(b"[]"),
        }
        out.push(b' ');
    }
    Some(())
}

fn is_key(byte: u8) -> bool {
    is_alnum(byte) || matches!(byte, b'_' | b'.' | b'-' | b'@' | b'/')
}

/// `key=value key="quoted value" ...` to the end of the line, with a message among them.
fn logfmt<'a>(text: &'a [u8], buffer: &'a mut Vec<u8>, numbers: &mut Vec<Number>) -> Option<Fields<'a>> {
    let mut found = Found::default();
    let mut at = 0;
    while at < text.len() {
        let rest = text.get(at..)?;
        let length = rest.iter().position(|b| !is_key(*b))?;
        if length == 0 || rest.get(length) != Some(&b'=') {
            return None;
        }
        let key = rest.get(..length)?;
        let start = at + length + 1;
        let quoted = text.get(start) == Some(&b'"');
        let end = if quoted {
            string_end(text, start + 1)?
        } else {
            start + text.get(start..)?.iter().position(|b| is_blank(*b)).unwrap_or(text.len() - start)
        };
        let value = text.get(start + usize::from(quoted)..end)?;
        found.add(key, value, !value.is_empty() && !all_digits(value));
        number::field(numbers, key, value);
        at = end + usize::from(quoted);
        while text.get(at).is_some_and(|b| is_blank(*b)) {
            at += 1;
        }
    }
    let (_, message) = found.message.filter(|_| found.pairs > 1)?;
    Some(found.fields(unescape(message, buffer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, message: Option<&str>, level: Option<Level>) {
        let mut buffer = Vec::new();
        let found = fields(line.as_bytes(), &mut buffer, &mut Vec::new());
        assert_eq!(found.map(|fields| String::from_utf8_lossy(fields.message).into_owned()).as_deref(), message);
        assert_eq!(found.and_then(|fields| fields.level), level);
    }

    #[test]
    fn messages_of_fields() {
        check(r#"{"level":"warn","msg":"disk \"a\" full","n":1}"#, Some("disk \"a\" full"), Some(Level::Warn));
        check(r#"{"level":30,"time":1,"msg":"up"}"#, Some("up"), Some(Level::Info));
        check(r#"{"@t":"2026","@mt":"got {n}","@l":"Error","n":3}"#, Some("got {n}"), Some(Level::Error));
        check(
            r#"{"timestamp":"x","level":"INFO","fields":{"message":"up","n":3},"target":"a"}"#,
            Some("up"),
            Some(Level::Info),
        );
        check(r#"{"event":{"kind":"x"},"message":"up"}"#, Some("up"), None);
        check(
            r#"{"ts":1,"method":"GET","path":"/a b","ok":true,"l":[1]}"#,
            Some("method=GET path=\"/a b\" ok=true l=[] "),
            None,
        );
        check(r#"{"a":"b""#, None, None);
        check("{}", None, None);
        check(
            r#"ts=2026 caller=cart.go:87 level=info msg="item \"x\" added" n=1"#,
            Some("item \"x\" added"),
            Some(Level::Info),
        );
        check("level=error msg=failed", Some("failed"), Some(Level::Error));
        check("msg=failed", None, None);
        check("a=1 b=2", None, None);
        check("failed for user=x msg=y", None, None);
    }
}
