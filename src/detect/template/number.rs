//! The numbers of a line, with what stands before each.
//!
//! What comes in: fields of a line, and the atoms of its message. What goes out: [`Number`]s. What never happens here: an
//! allocation in the steady state; or taking for a number what is one of the digits of an id, a time or an address.

use serde::{Deserialize, Serialize};

use super::atoms::{V, View, is_word};

/// Numbers of a line that are looked at.
const MOST: usize = 16;
/// Longer digits are ids.
const DIGITS: usize = 15;
/// Letters of a unit: `ms`, `KiB`.
const UNIT: usize = 3;

/// Key of a field, or the word before a number, cut; and its place among the atoms of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u8, String)", into = "(u8, String)")]
pub struct Name {
    at: u8,
    length: u8,
    text: [u8; 16],
}

/// A number in a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// Where it stands.
    pub name: Name,
    /// What it is.
    pub value: f64,
}

impl Name {
    /// Of a text, of which only the beginning counts, and only when it is ASCII.
    #[must_use]
    pub fn new(text: &[u8], at: u8) -> Self {
        let mut name = Self { at, ..Self::default() };
        let text = text.get(..name.text.len()).unwrap_or(text);
        if let Some(room) = name.text.get_mut(..text.len()).filter(|_| text.is_ascii()) {
            room.copy_from_slice(text);
            name.length = text.len() as u8;
        }
        name
    }

    /// The text; empty when nothing names the number.
    #[must_use]
    pub fn text(&self) -> String {
        let text = self.text.get(..usize::from(self.length)).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

impl From<(u8, String)> for Name {
    fn from((at, text): (u8, String)) -> Self {
        Self::new(text.as_bytes(), at)
    }
}

impl From<Name> for (u8, String) {
    fn from(name: Name) -> Self {
        (name.at, name.text())
    }
}

/// Takes a field in when its value is a number.
#[inline]
pub(super) fn field(numbers: &mut Vec<Number>, key: &[u8], text: &[u8]) {
    if numbers.len() < MOST
        && let Some(value) = number(text)
    {
        numbers.push(Number { name: Name::new(key, u8::MAX), value });
    }
}

/// Takes the numbers of a message in.
#[inline]
pub(super) fn message(numbers: &mut Vec<Number>, view: View<'_>) {
    for (at, (atom, (start, end))) in view.atoms.iter().zip(view.spans).enumerate() {
        if *atom != V || numbers.len() >= MOST {
            continue;
        }
        let text = view.text.get(*start as usize..*end as usize).unwrap_or_default();
        let Some(value) = number(text) else { continue };
        let word = (at.saturating_sub(2)..at).rev().find(|before| view.atoms.get(*before).is_some_and(|a| is_word(*a)));
        let name = word.map_or(&[][..], |before| view.word(before));
        numbers.push(Number { name: Name::new(name, at as u8), value });
    }
}

/// `17`, `-3.5`, `12ms`, `40%`. Not `007`, `1.2.3.4`, `0x1f`, nor what has more digits than a quantity has.
#[inline]
fn number(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if !digits.first()?.is_ascii_digit()
        || (digits.first() == Some(&b'0') && digits.get(1).is_some_and(u8::is_ascii_digit))
    {
        return None;
    }
    let (mut value, mut scale, mut seen, mut at) = (0u64, 1f64, 0, 0);
    let mut point = false;
    while let Some(byte) = digits.get(at) {
        match byte {
            b'0'..=b'9' => {
                seen += 1;
                if seen > DIGITS {
                    return None;
                }
                value = value * 10 + u64::from(byte - b'0');
                scale = if point { scale * 10.0 } else { scale };
            }
            b'.' if !point => point = true,
            _ => break,
        }
        at += 1;
    }
    let unit = digits.get(at..).unwrap_or_default();
    let unit = unit.strip_prefix(b" ").unwrap_or(unit);
    if unit.len() > UNIT || !unit.iter().all(|b| b.is_ascii_alphabetic() || *b == b'%') {
        return None;
    }
    let value = value as f64 / scale;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::super::reader::Body;
    use super::*;

    #[test]
    fn numbers_and_what_is_none() {
        for (text, expected) in [
            ("17", Some(17.0)),
            ("-3.5", Some(-3.5)),
            ("12ms", Some(12.0)),
            ("12 ms", Some(12.0)),
            ("40%", Some(40.0)),
            ("0", Some(0.0)),
            ("0.25", Some(0.25)),
            ("007", None),
            ("10.0.0.1", None),
            ("0x1f", None),
            ("2026-03-02", None),
            ("12:30", None),
            ("1234567890123456", None),
            ("", None),
            ("-", None),
            ("abc", None),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn numbers_have_their_names() {
        for (line, expected) in [
            (
                r#"{"level":"info","message":"item 17 added","quantity":-2147483648,"took":1.5,"id":"x-9"}"#,
                "quantity -2147483648; took 1.5; item 17",
            ),
            ("level=info msg=\"cart of 3 items\" total=99.5 n=4", "total 99.5; n 4; of 3"),
            ("Received block blk_-1608 of size 67108864 from 10.0.0.1", "size 67108864"),
            ("total: 12 ms, left=3", "total 12; left 3"),
        ] {
            let mut body = Body::default();
            body.read(line.as_bytes(), &Default::default());
            let found: Vec<String> =
                body.numbers.iter().map(|one| format!("{} {}", one.name.text(), one.value)).collect();
            assert_eq!(found.join("; "), expected);
        }
    }
}
