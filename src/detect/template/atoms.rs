//! The message as a sequence of atoms, in one pass over its bytes.
//!
//! What comes in: the message of a line, header and wrapper cut. What goes out: atoms (words, delimiters, variables) with
//! their places in the message. What never happens here: an allocation, or a look at other lines.

use memchr::memchr;

use super::byte::{
    AT, BLANK, DIGIT, DOT, NOT_HEX, SLASH, STOP, Unit, class, is_alnum, is_blank, is_day, is_host, is_method, is_month,
    is_place, is_source_ending, is_stop, is_truth, mix, strip_end, unit_of, word_hash,
};

/// Atoms of a message that are looked at.
pub(super) const ATOMS: usize = 96;
/// A step may put two atoms more than are looked at.
const ROOM: usize = ATOMS + 4;
/// Longest quoted string that is one value.
const QUOTED: usize = 400;
/// The atom that stands for a variable. Delimiters are their byte; words have the highest bit set.
pub(super) const V: u64 = 1;

/// Start and end in bytes.
pub(super) type Span = (u32, u32);

/// The atoms of one message; reused from line to line.
pub(super) struct Atoms {
    hash: [u64; ROOM],
    span: [Span; ROOM],
    len: usize,
    open: [u8; ROOM],
    opens: usize,
}

/// A sequence of atoms with the text that they are places in.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) atoms: &'a [u64],
    pub(super) spans: &'a [Span],
    pub(super) text: &'a [u8],
}

impl<'a> View<'a> {
    /// The text of an atom; nothing for a variable.
    pub(super) fn word(&self, i: usize) -> &'a [u8] {
        match (self.atoms.get(i), self.spans.get(i)) {
            (Some(atom), Some((start, end))) if *atom != V => {
                self.text.get(*start as usize..*end as usize).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// Whether a blank stands between the atom and the one before.
    pub(super) fn is_spaced(&self, i: usize) -> bool {
        let start = self.spans.get(i).map_or(0, |span| span.0 as usize);
        let before = i.checked_sub(1).and_then(|i| self.spans.get(i)).map_or(start, |span| span.1 as usize);
        let gap = self.text.get(before..(start + 1).min(self.text.len())).unwrap_or_default();
        gap.iter().any(|b| is_blank(*b))
    }
}

pub(super) fn is_word(atom: u64) -> bool {
    atom >> 63 == 1
}

/// The hash of a sequence, and the sum that it is made from; `place` is the code place of the header, 0 for none.
pub(super) fn sequence_hash(atoms: &[u64], place: u64) -> u64 {
    atoms.iter().enumerate().fold(mix(place, ROOM), |sum, (i, atom)| sum.wrapping_add(mix(*atom, i)))
}

/// The hash of a sequence with a variable at place `i`.
pub(super) fn wild_hash(hash: u64, atom: u64, i: usize) -> u64 {
    hash.wrapping_sub(mix(atom, i)).wrapping_add(mix(V, i))
}

impl Default for Atoms {
    fn default() -> Self {
        Self { hash: [0; ROOM], span: [(0, 0); ROOM], len: 0, open: [0; ROOM], opens: 0 }
    }
}

impl Atoms {
    /// The sequence of the message last read.
    pub(super) fn view<'a>(&'a self, text: &'a [u8]) -> View<'a> {
        View { atoms: &self.hash[..self.len], spans: &self.span[..self.len], text }
    }

    pub(super) fn atoms(&self) -> &[u64] {
        &self.hash[..self.len]
    }

    /// Reads a message.
    pub(super) fn read(&mut self, message: &[u8]) {
        (self.len, self.opens) = (0, 0);
        let mut at = 0;
        // The end of a quoted message that is read as words.
        let mut unquote = usize::MAX;
        while self.len < ATOMS {
            let Some(&byte) = message.get(at) else { break };
            let class = class(byte);
            if class & STOP == 0 {
                at = self.word(message, at);
            } else if class & BLANK != 0 {
                at += 1;
            } else if byte == b'"' && at != unquote {
                at = match quoted_end(message, at) {
                    Some(end) if self.len == 0 && is_sentence(&message[at + 1..end - 1]) => {
                        unquote = end - 1;
                        self.delimiter(message, byte, at);
                        at + 1
                    }
                    Some(end) => self.quoted(message, at, end),
                    None => self.single(message, at, byte),
                };
            } else {
                at = self.single(message, at, byte);
            }
        }
    }

    /// A quoted string is a value. The method of a request is not: `GET` and `DELETE` are different events.
    fn quoted(&mut self, message: &[u8], at: usize, end: usize) -> usize {
        let inside = &message[at + 1..end - 1];
        let first = inside.split(|b| *b == b' ').next().unwrap_or_default();
        if is_method(first) {
            self.put(word_hash(first), at + 1, at + 1 + first.len());
            self.variable(at + 1 + first.len(), end);
        } else {
            self.variable(at, end);
        }
        end
    }

    /// A delimiter and what goes with it. Returns where to go on.
    fn single(&mut self, message: &[u8], at: usize, byte: u8) -> usize {
        let next = message.get(at + 1).copied().unwrap_or(b' ');
        let before = at.checked_sub(1).and_then(|at| message.get(at)).copied().unwrap_or(b' ');
        // `<1 ms`
        if matches!(byte, b'<' | b'>') && next.is_ascii_digit() && at > 0 && before == b' ' {
            return at + 1;
        }
        // Empty values, so that a line with the value and one without meet: `()`, `key= `.
        if byte == b')' && self.len > 0 && self.hash[self.len - 1] == u64::from(b'(') {
            self.variable(at, at);
        }
        self.delimiter(message, byte, at);
        if byte == b'=' && is_blank(next) && at > 0 && !is_blank(before) && !value_follows(message, at + 1) {
            self.variable(at + 1, at + 1);
        }
        at + 1
    }

    /// The word that starts at `start`. Returns where to go on.
    #[inline]
    fn word(&mut self, message: &[u8], start: usize) -> usize {
        let (mut end, mut seen) = (start, 0);
        for &byte in &message[start..] {
            let class = class(byte);
            if class & STOP != 0 {
                break;
            }
            seen |= class;
            end += 1;
        }
        let word = &message[start..end];
        if seen & (DIGIT | SLASH | DOT | AT) == 0 && message.get(end) != Some(&b':') {
            self.plain(message, word, start, end, seen);
            return end;
        }
        self.special(message, word, (start, end), seen)
    }

    /// A word of letters: a unit, a month, or itself.
    #[inline]
    fn plain(&mut self, message: &[u8], word: &[u8], start: usize, end: usize, seen: u8) {
        if seen & NOT_HEX == 0 && word.len() >= 8 {
            return self.variable(start, end);
        }
        let after_variable = self.len > 0 && self.hash[self.len - 1] == V;
        if after_variable && word.len() <= 16 && unit_of(core(word)).is_some() {
            self.span[self.len - 1].1 = end as u32;
            return;
        }
        // What was masked before it came, or did not fit its column.
        if word.len() > 1 && word.iter().all(|b| *b == b'*') {
            return self.variable(start, end);
        }
        let last = if self.len > 0 { self.hash[self.len - 1] } else { 0 };
        if (last == u64::from(b'=') || last == u64::from(b':')) && is_truth(core(word)) {
            return self.variable(start, end);
        }
        if word.len() == 3 && (is_month(word) || is_day(word)) && date_follows(message, end) {
            return self.variable(start, end);
        }
        self.put(word_hash(word), start, end);
    }

    /// A word with a digit, a slash, a dot, a `@` or a `#`, or before a colon. Returns where to go on.
    fn special(&mut self, message: &[u8], word: &[u8], (start, end): (usize, usize), seen: u8) -> usize {
        if message.get(end) == Some(&b':') {
            let further = if seen & NOT_HEX == 0 && word.len() <= 4 { groups_end(message, start) } else { None };
            if let Some(end) = further.or_else(|| url_end(message, end)) {
                self.variable(start, end);
                return end;
            }
            if seen & DOT != 0
                && let Some(end) = place_end(message, word, start, end)
            {
                self.put(word_hash(&message[start..end]), start, end);
                return end;
            }
        }
        let core = core(word);
        if seen & DIGIT != 0 {
            if seen & AT != 0 && is_place(core) {
                self.put(word_hash(word), start, end);
            } else if let Some(length) = leader(core) {
                self.put(word_hash(&word[..length]), start, start + length);
                self.variable(start + length, end);
            } else {
                self.variable(start, end);
            }
            return end;
        }
        let is_path = seen & SLASH != 0 && is_path(word);
        let host = || is_host(strip_end(word, b"."), port_follows(message, end));
        if is_path || (seen & DOT != 0 && host()) || (seen & AT != 0 && is_address(word)) {
            self.variable(start, end);
        } else {
            self.plain(message, word, start, end, seen);
        }
        end
    }

    fn put(&mut self, atom: u64, start: usize, end: usize) {
        if let (Some(hash), Some(span)) = (self.hash.get_mut(self.len), self.span.get_mut(self.len)) {
            *hash = atom;
            *span = (start as u32, end as u32);
            self.len += 1;
        }
    }

    /// A variable; lists of variables, and `host:port`, are one.
    fn variable(&mut self, start: usize, end: usize) {
        let n = self.len;
        if n > 0 && self.hash[n - 1] == V {
            self.span[n - 1].1 = end as u32;
        } else if n > 1
            && self.hash[n - 2] == V
            && (self.hash[n - 1] == u64::from(b',') || self.hash[n - 1] == u64::from(b':'))
        {
            self.len -= 1;
            self.span[n - 2].1 = end as u32;
        } else {
            self.put(V, start, end);
        }
    }

    fn delimiter(&mut self, message: &[u8], byte: u8, at: usize) {
        match byte {
            b'(' | b'[' | b'{' => {
                if let Some(open) = self.open.get_mut(self.opens) {
                    *open = self.len as u8;
                    self.opens += 1;
                }
            }
            b')' | b']' | b'}' if self.opens > 0 && self.close(message, at) => return,
            _ => {}
        }
        self.put(u64::from(byte), at, at + 1);
    }

    /// Whether the bracket that opens at atom `open` says the amount before it again in another unit, and nothing else.
    fn is_said_again(&self, message: &[u8], open: usize) -> bool {
        let round = self.hash.get(open) == Some(&u64::from(b'('));
        let before = open.checked_sub(1).filter(|before| self.hash.get(*before) == Some(&V));
        let Some(before) = before.filter(|_| round && self.len == open + 2 && self.hash.get(open + 1) == Some(&V))
        else {
            return false;
        };
        let amount = |i: usize| {
            let (start, end) = *self.span.get(i)?;
            amount(message.get(start as usize..end as usize)?)
        };
        match (amount(before), amount(open + 1)) {
            (Some(before), Some(Some(Unit::Size))) => before.is_none_or(|unit| unit == Unit::Size),
            (Some(before), Some(Some(Unit::Time))) => before == Some(Unit::Time),
            _ => false,
        }
    }

    /// Whether the bracket that opens at atom `open` belongs to a named object with nothing but a variable in it, which is the
    /// value of a field.
    fn is_object(&self, open: usize) -> bool {
        let inner = self.hash.get(open + 1..self.len).unwrap_or_default();
        let before =
            open.checked_sub(2).and_then(|from| Some((self.hash.get(from..open)?, self.span.get(from..=open)?)));
        let Some(([equals, name], [_, (_, end), (start, _)])) = before else { return false };
        let is_value = *equals == u64::from(b'=') && is_word(*name) && end == start;
        is_value && self.hash.get(open) == Some(&u64::from(b'{')) && (inner.is_empty() || *inner == [V])
    }

    /// What a closing bracket makes of what it closes; true when the bracket itself is no atom any more.
    fn close(&mut self, message: &[u8], at: usize) -> bool {
        self.opens -= 1;
        let open = usize::from(self.open[self.opens]).min(self.len);
        if self.is_said_again(message, open) {
            // With it or without: `512 bytes`, `1190 bytes (1.16 KB)`.
            self.span[open - 1].1 = (at + 1) as u32;
            self.len = open;
            return true;
        }
        if self.is_object(open) {
            // `owner=WorkSource{10111}`: the value of a field, as `owner=null` is.
            let start = self.span[open - 1].0 as usize;
            self.len = open - 1;
            self.variable(start, at + 1);
            return true;
        }
        let inner = self.hash.get(open + 1..self.len).unwrap_or_default();
        let (comma, equals) = (u64::from(b','), u64::from(b'='));
        if self.opens >= 2 && inner.iter().any(|atom| *atom == comma || *atom == equals) {
            // An object inside an object is one value.
            let start = self.span[open].0 as usize;
            self.len = open;
            self.variable(start, at + 1);
            return true;
        }
        let is_list = inner.len() >= 3
            && inner.iter().enumerate().all(
                |(i, atom)| {
                    if i % 2 == 1 { *atom == comma } else { *atom == V || is_word(*atom) }
                },
            );
        if is_list && inner.len() % 2 == 1 {
            let end = self.span[self.len - 1].1;
            self.hash[open + 1] = V;
            self.span[open + 1].1 = end;
            self.len = open + 2;
        }
        false
    }
}

/// The unit of the amount that a text ends in: `Some(None)` for a number without one.
fn amount(text: &[u8]) -> Option<Option<Unit>> {
    let text = text.rsplit(|b| matches!(b, b',' | b':' | b'=')).next().unwrap_or_default().trim_ascii();
    let digits = text.iter().position(|b| !(b.is_ascii_digit() || *b == b'.')).unwrap_or(text.len());
    match text.get(digits..).unwrap_or_default().trim_ascii() {
        _ if digits == 0 => None,
        b"" => Some(None),
        unit => unit_of(unit).map(Some),
    }
}

/// The end of the string that opens at `at`, behind its quote.
fn quoted_end(message: &[u8], at: usize) -> Option<usize> {
    let rest = message.get(at + 1..)?;
    let rest = rest.get(..QUOTED - 1).unwrap_or(rest);
    memchr(b'"', rest).map(|end| at + end + 2)
}

/// A quoted string that opens the message is the message, when it is one: words with a blank between, and no request.
fn is_sentence(inside: &[u8]) -> bool {
    let first = inside.split(|b| *b == b' ').next().unwrap_or_default();
    first.len() < inside.len() && first.iter().any(u8::is_ascii_alphabetic) && !is_method(first)
}

/// Without the marks that end a sentence.
fn core(word: &[u8]) -> &[u8] {
    match word.last() {
        Some(b'.' | b'!' | b'?' | b'*') => {
            let core = strip_end(word, b".!?*");
            if core.is_empty() { word } else { core }
        }
        _ => word,
    }
}

/// The length of the word before dots, dashes or underscores that lead to a number: `exception.........0`.
fn leader(core: &[u8]) -> Option<usize> {
    let lead = core.iter().rposition(|b| !b.is_ascii_digit())? + 1;
    let lead = core.get(..lead)?;
    let four = lead.get(lead.len().checked_sub(4)?..)?;
    if !matches!(four, b"...." | b"____" | b"----") {
        return None;
    }
    lead.iter().rposition(|b| !matches!(b, b'.' | b'_' | b'-')).map(|at| at + 1)
}

fn is_path(word: &[u8]) -> bool {
    let count = |byte: u8| word.iter().filter(|b| **b == byte).count();
    (word.first() == Some(&b'/') && word.len() > 1) || count(b'/') >= 2 || count(b'\\') >= 2
}

/// `somebody@host.name`
fn is_address(word: &[u8]) -> bool {
    let Some(at) = word.iter().rposition(|b| *b == b'@') else { return false };
    at > 0 && at + 1 < word.len() && word.get(at..).is_some_and(|host| host.contains(&b'.'))
}

/// Whether the next word, behind blanks, is the value of the `=` before it; not when it is a key itself, or nothing.
fn value_follows(message: &[u8], from: usize) -> bool {
    let rest = message.get(from..).unwrap_or_default().trim_ascii_start();
    let length = rest.iter().position(|b| is_stop(*b)).unwrap_or(rest.len());
    length > 0 && rest.get(length) != Some(&b'=')
}

fn port_follows(message: &[u8], end: usize) -> bool {
    message.get(end) == Some(&b':') && message.get(end + 1).is_some_and(u8::is_ascii_digit)
}

/// The end of four or more groups of hexadecimal digits joined by colons: MAC and IPv6 addresses.
fn groups_end(message: &[u8], start: usize) -> Option<usize> {
    let (mut groups, mut width, mut end) = (1, 0, start);
    while let Some(&byte) = message.get(end) {
        if byte == b':' {
            groups += 1;
            width = 0;
        } else if byte.is_ascii_hexdigit() {
            width += 1;
        } else {
            break;
        }
        if width > 4 {
            return None;
        }
        end += 1;
    }
    let closed = message.get(end).is_none_or(|b| !is_alnum(*b));
    if groups >= 4 && closed { Some(end) } else { None }
}

/// The end of the URL whose scheme ends at `end`.
fn url_end(message: &[u8], end: usize) -> Option<usize> {
    let rest = message.get(end..)?;
    if !rest.starts_with(b"://") {
        return None;
    }
    let stop = |b: &u8| is_blank(*b) || matches!(b, b'"' | b'\'' | b'`' | b'<' | b'>' | b']' | b')' | b'}' | b',');
    let url = rest.get(..rest.iter().position(stop).unwrap_or(rest.len()))?;
    // What follows it is no part of it: `http://a/b: connection refused`.
    Some(end + strip_end(url, b":.;").len().max(3))
}

/// The end of `file.ext:12` whose name ends at `end`.
fn place_end(message: &[u8], word: &[u8], start: usize, end: usize) -> Option<usize> {
    let ending = word.rsplit(|b| *b == b'.').next().unwrap_or_default();
    if !is_source_ending(ending) {
        return None;
    }
    let digits = message.get(end + 1..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    let end = end + 1 + digits;
    if digits > 0 && is_place(message.get(start..end)?) { Some(end) } else { None }
}

/// Whether a digit or a month comes right after the name of a day or month.
fn date_follows(message: &[u8], end: usize) -> bool {
    let rest = message.get(end..(end + 5).min(message.len())).unwrap_or_default();
    let rest = rest.trim_ascii_start();
    rest.first().is_some_and(u8::is_ascii_digit) || rest.get(..3).is_some_and(is_month)
}

/// Whether an atom's text can be a name or a word at all.
pub(super) fn has_alnum(word: &[u8]) -> bool {
    word.iter().any(|b| is_alnum(*b)) && !(word.len() == 1 && is_stop(word[0]))
}
