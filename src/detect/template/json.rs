//! JSON, read as far as a log line needs it.
//!
//! What comes in: a line. What goes out: its pairs of the outermost object, as they stand. What never happens here: a tree, an
//! allocation but for escapes, or recursion.

use memchr::memchr2;

use super::byte::is_blank;

/// A value as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Between the quotes, still escaped.
    Text(&'a [u8]),
    /// With its braces.
    Object(&'a [u8]),
    Array,
    /// A number, `true`, `false`, `null`.
    Bare(&'a [u8]),
}

/// The pairs of an object.
#[derive(Clone, Debug)]
pub(super) struct Pairs<'a> {
    line: &'a [u8],
    at: usize,
    /// Set when what follows is no JSON.
    pub(super) broken: bool,
}

impl<'a> Pairs<'a> {
    /// The pairs of an object that fills the text.
    pub(super) fn new(text: &'a [u8]) -> Option<Self> {
        if text.first() == Some(&b'{') && text.last() == Some(&b'}') {
            Some(Self { line: text, at: 1, broken: false })
        } else {
            None
        }
    }

    fn pair(&mut self) -> Option<(&'a [u8], Value<'a>)> {
        let start = skip(self.line, self.at) + 1;
        if self.line.get(start - 1) != Some(&b'"') {
            return None;
        }
        let end = string_end(self.line, start)?;
        let key = self.line.get(start..end)?;
        let colon = skip(self.line, end + 1);
        if self.line.get(colon) != Some(&b':') {
            return None;
        }
        let (value, end) = value(self.line, skip(self.line, colon + 1))?;
        self.at = skip(self.line, end);
        match self.line.get(self.at)? {
            b',' => self.at += 1,
            b'}' => self.at = self.line.len(),
            _ => return None,
        }
        Some((key, value))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.line.len() || self.broken {
            return None;
        }
        let pair = self.pair();
        // `{}` has no pairs and is no failure.
        self.broken = pair.is_none() && self.line.get(skip(self.line, self.at)) != Some(&b'}');
        if pair.is_none() {
            self.at = self.line.len();
        }
        pair
    }
}

fn skip(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(|b| is_blank(*b)) {
        at += 1;
    }
    at
}

/// The value that starts at `start`, and where it ends.
fn value(line: &[u8], start: usize) -> Option<(Value<'_>, usize)> {
    match line.get(start)? {
        b'"' => {
            let end = string_end(line, start + 1)?;
            Some((Value::Text(line.get(start + 1..end)?), end + 1))
        }
        open @ (b'{' | b'[') => {
            let end = nested_end(line, start)?;
            let value = if *open == b'{' { Value::Object(line.get(start..end)?) } else { Value::Array };
            Some((value, end))
        }
        _ => {
            let rest = line.get(start..)?;
            let length = rest.iter().position(|b| matches!(b, b',' | b'}' | b']') || is_blank(*b))?;
            Some((Value::Bare(rest.get(..length)?), start + length))
        }
    }
}

/// Behind the object or array that opens at `start`.
fn nested_end(line: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut at) = (0u32, start);
    loop {
        match line.get(at)? {
            b'"' => at = string_end(line, at + 1)?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Where the quote stands that closes the string whose text begins at `from`.
#[inline]
pub(super) fn string_end(line: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr2(b'"', b'\\', line.get(from..)?)?;
        if line.get(at) == Some(&b'"') {
            return Some(at);
        }
        from = at + 2;
    }
}

/// The text of a string; `buffer` is used only when something is escaped.
pub(super) fn unescape<'a>(text: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    if !text.contains(&b'\\') {
        return text;
    }
    buffer.clear();
    unescape_into(text, buffer);
    buffer
}

pub(super) fn unescape_into(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match text.get(at) {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'b' | b'f') => out.push(b' '),
            Some(b'u') => {
                let code = text.get(at + 1..at + 5).and_then(|hex| std::str::from_utf8(hex).ok());
                let code = code.and_then(|hex| u32::from_str_radix(hex, 16).ok());
                let sign = code.and_then(char::from_u32).unwrap_or('\u{fffd}');
                out.extend_from_slice(sign.encode_utf8(&mut [0; 4]).as_bytes());
                at += 4;
            }
            Some(other) => out.push(*other),
            None => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_an_object() {
        let text = br#"{"a": "x\"y", "b" : {"c":[1,"}"]},"d":-1.5 , "e":[{}],"f":null}"#;
        let pairs: Vec<_> = Pairs::new(text).unwrap().collect();
        assert_eq!(
            pairs,
            [
                (&b"a"[..], Value::Text(br#"x\"y"#)),
                (b"b", Value::Object(br#"{"c":[1,"}"]}"#)),
                (b"d", Value::Bare(b"-1.5")),
                (b"e", Value::Array),
                (b"f", Value::Bare(b"null")),
            ]
        );
        for broken in [r#"{"a" 1}"#, "{x}", r#"{"a":"}"#, r#"{"a":1 "b":2}"#] {
            let mut pairs = Pairs::new(broken.as_bytes()).unwrap();
            while pairs.next().is_some() {}
            assert!(pairs.broken, "{broken}");
        }
        let mut none = Pairs::new(b"{ }").unwrap();
        assert!(none.next().is_none() && !none.broken);
    }
}
