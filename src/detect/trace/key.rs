//! Which part of a line says to what request, block or job it belongs, found without being told.
//!
//! What comes in: lines with their templates. What goes out: the session key of a line, as a hash. What never happens
//! here: a regular expression, or a list of known names. The slots where identifiers stand (the word before `=` or `:`,
//! or the prefix of the value) are rated by how well their values tie lines of several templates together; recipe and
//! constants from measurements on four systems: the best slot scored 3.2 and 4.7 there, the next 0.06 and 2.0 of the
//! same lines, and files without sessions 0.

use std::collections::BTreeMap;

use memchr::memmem::Finder;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::detect::mask::head;
use crate::labels::{FNV_OFFSET, fnv1a};

/// Identifiers are looked for in the head of a line only.
const HEAD: usize = 400;
/// Lines after which the slots are rated, until one is good enough; after the last the search ends.
const RATED_AT: [u64; 4] = [4_000, 10_000, 25_000, 50_000];
/// A slot of this score is taken for the session key.
const GOOD: f64 = 1.0;
/// Values of a slot, and slots, that are remembered while searching.
const MAX_VALUES: usize = 20_000;
/// Values of all slots together: 10 MB.
const MAX_ALL: usize = 200_000;
const MAX_SLOTS: usize = 64;
/// Ways to write the marker of one slot, such as `TraceID: ` and `trace_id":"`.
const MAX_MARKERS: usize = 4;

/// Values that two slots have in common before they are one.
const SHARED: usize = 20;

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Shape {
    Number,
    Uuid,
    /// Hexadecimal digits, this many.
    Hex(u16),
    Mixed,
}

/// An identifier in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate<'a> {
    /// The text right before the value that names it; empty when there is none.
    marker: &'a str,
    value: &'a str,
    shape: Shape,
}

impl Candidate<'_> {
    /// The slot: the letters of the marker in lower case, and the shape.
    fn slot(&self) -> (String, Shape) {
        let name: String =
            self.marker.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        (name, self.shape)
    }
}

/// Finds the session key of lines, once it knows where it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFinder {
    /// Begins anew after a restart: it holds much, and is soon where it was.
    #[serde(skip, default = "anew")]
    search: Option<Box<Search>>,
    slot: Option<Slot>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "StoredSlot", into = "StoredSlot")]
struct Slot {
    name: String,
    shape: Shape,
    markers: Vec<(String, Finder<'static>)>,
}

#[derive(Serialize, Deserialize)]
struct StoredSlot {
    name: String,
    shape: Shape,
    markers: Vec<String>,
}

impl From<Slot> for StoredSlot {
    fn from(slot: Slot) -> Self {
        let markers = slot.markers.into_iter().map(|(text, _)| text).collect();
        Self { name: slot.name, shape: slot.shape, markers }
    }
}

impl From<StoredSlot> for Slot {
    fn from(stored: StoredSlot) -> Self {
        let finder = |text: String| {
            let finder = Finder::new(text.as_str()).into_owned();
            (text, finder)
        };
        Self { name: stored.name, shape: stored.shape, markers: stored.markers.into_iter().map(finder).collect() }
    }
}

#[derive(Clone, Debug, Default)]
struct Search {
    lines: u64,
    /// Values of all slots.
    values: usize,
    slots: BTreeMap<(String, Shape), Values>,
}

#[derive(Clone, Debug, Default)]
struct Values {
    markers: BTreeMap<String, u32>,
    by_value: FxHashMap<u64, Seen>,
}

/// Lines with a value, and their templates as bits.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    lines: u32,
    templates: u64,
}

fn anew() -> Option<Box<Search>> {
    Some(Box::default())
}

impl Default for KeyFinder {
    fn default() -> Self {
        Self { search: anew(), slot: None }
    }
}

impl KeyFinder {
    /// The session key of the line, when it has one and the slot is known. Learns while it is not.
    pub fn key(&mut self, line: &str, template: u64) -> Option<u64> {
        if let Some(slot) = &self.slot {
            return slot.find(line);
        }
        let search = self.search.as_mut()?;
        search.add(line, template);
        if RATED_AT.contains(&search.lines) {
            self.slot = search.best();
            if self.slot.is_some() || RATED_AT.last() == Some(&search.lines) {
                self.search = None;
            }
        }
        self.slot.as_ref()?.find(line)
    }

    /// The session key of the line by what is known; learns nothing.
    #[must_use]
    pub fn find(&self, line: &str) -> Option<u64> {
        self.slot.as_ref()?.find(line)
    }

    /// Whether the slot may still be found.
    #[must_use]
    pub fn is_searching(&self) -> bool {
        self.search.is_some()
    }

    /// Ends the search with the lines that were seen: for what is shorter than the search is long.
    pub fn settle(&mut self) {
        if let Some(search) = self.search.take() {
            self.slot = search.best();
        }
    }

    /// How people would call the key: the text before its values, such as `blk_` or `trace_id`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.slot.as_ref().map(|slot| slot.name.as_str())
    }
}

impl Slot {
    fn find(&self, line: &str) -> Option<u64> {
        let head = head(line, 2 * HEAD);
        for (marker, finder) in &self.markers {
            let mut from = 0;
            while let Some(at) = head.get(from..).and_then(|rest| finder.find(rest.as_bytes())) {
                let start = from + at + marker.len();
                if let Some(value) = head.get(start..).map(run).filter(|value| shape(value) == Some(self.shape)) {
                    return Some(hash(value));
                }
                from = start;
            }
        }
        if self.markers.is_empty() {
            let mut found = None;
            candidates(line, |one| {
                if found.is_none() && one.marker.is_empty() && one.shape == self.shape {
                    found = Some(hash(one.value));
                }
            });
            return found;
        }
        None
    }
}

impl Search {
    fn add(&mut self, line: &str, template: u64) {
        self.lines += 1;
        let mut seen: [u64; 8] = [0; 8];
        let mut known = 0;
        candidates(line, |one| {
            let slot = one.slot();
            let id = hash(one.value) ^ hash(&slot.0);
            if known == seen.len() || seen.contains(&id) {
                return;
            }
            seen[known] = id;
            known += 1;
            if self.slots.len() >= MAX_SLOTS && !self.slots.contains_key(&slot) {
                return;
            }
            let values = self.slots.entry(slot).or_default();
            if values.markers.len() < 16 || values.markers.contains_key(one.marker) {
                *values.markers.entry(one.marker.to_owned()).or_default() += 1;
            }
            let value = hash(one.value);
            let room = values.by_value.len() < MAX_VALUES && self.values < MAX_ALL;
            if room || values.by_value.contains_key(&value) {
                self.values += usize::from(!values.by_value.contains_key(&value));
                let seen = values.by_value.entry(value).or_default();
                seen.lines += 1;
                seen.templates |= 1 << (template.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58);
            }
        });
    }

    fn best(&self) -> Option<Slot> {
        let rated = self.slots.iter().map(|(slot, values)| (values.score(self.lines), slot, values));
        // At equal scores the later name wins; names are in order, so this is the same everywhere.
        let (_, (_, shape), values) =
            rated.filter(|(score, ..)| *score >= GOOD).max_by(|one, two| one.0.total_cmp(&two.0))?;
        let mut markers = values.written();
        // Other slots that hold the same values are other ways to write it: `[order,4bf92f35...]` beside `trace_id=4bf92f35...`.
        let mut others: Vec<(&String, &u32)> = self
            .slots
            .iter()
            .filter(|((_, of), other)| of == shape && !std::ptr::eq(*other, values) && other.are_among(values))
            .flat_map(|(_, other)| other.written())
            .collect();
        others.sort_by_key(|(text, count)| (std::cmp::Reverse(**count), *text));
        others.truncate(2 * MAX_MARKERS);
        markers.extend(others);
        let name = markers.first().map_or("id", |(text, _)| text.trim_matches([' ', ':', '=', '"', '\'', '\\', '(']));
        let name = name.trim_end_matches(['"', '=', ':', ' ', '\\']).to_owned();
        let markers = markers.into_iter().map(|(text, _)| text.clone()).collect();
        Some(StoredSlot { name, shape: *shape, markers }.into())
    }
}

impl Values {
    /// How its marker is written, the most frequent ways first.
    fn written(&self) -> Vec<(&String, &u32)> {
        let mut markers: Vec<(&String, &u32)> = self.markers.iter().filter(|(text, _)| !text.is_empty()).collect();
        markers.sort_by_key(|(text, count)| (std::cmp::Reverse(**count), *text));
        markers.truncate(MAX_MARKERS);
        markers
    }

    /// Whether most of the values are values of another slot too.
    fn are_among(&self, other: &Self) -> bool {
        let shared = self.by_value.keys().filter(|value| other.by_value.contains_key(*value)).count();
        shared >= SHARED && 2 * shared >= self.by_value.len()
    }

    /// Share of lines that the slot covers, times share of them in sessions of three lines and two templates or more,
    /// times what is left without the biggest value, times the bits of the mean number of templates.
    fn score(&self, lines: u64) -> f64 {
        let total: u64 = self.by_value.values().map(|seen| u64::from(seen.lines)).sum();
        let real = |seen: &&Seen| seen.lines >= 3 && seen.templates.count_ones() >= 2;
        let sessions = self.by_value.values().filter(real).count();
        let tied: u64 = self.by_value.values().filter(real).map(|seen| u64::from(seen.lines)).sum();
        let templates: u64 =
            self.by_value.values().filter(real).map(|seen| u64::from(seen.templates.count_ones())).sum();
        let biggest = self.by_value.values().map(|seen| seen.lines).max().unwrap_or_default();
        let part = |count: u64, of: u64| count as f64 / of.max(1) as f64;
        let (share, biggest) = (part(tied, total), part(biggest.into(), total));
        if sessions < 20 || biggest >= 0.1 || share < 0.5 {
            return 0.0;
        }
        part(total, lines).min(1.0) * share * (1.0 - biggest) * (1.0 + part(templates, sessions as u64)).log2()
    }
}

/// Calls `found` with each identifier in the head of the line.
fn candidates<'a>(line: &'a str, mut found: impl FnMut(Candidate<'a>)) {
    let line = head(line, HEAD);
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_word(bytes[at]) {
            at += 1;
            continue;
        }
        let word = line.get(at..).map_or("", run);
        let word = if word.is_empty() { line.get(at..=at).unwrap_or_default() } else { word };
        let after = bytes.get(at + word.len()).copied();
        let before = at.checked_sub(1).and_then(|before| bytes.get(before)).copied();
        let alone = before != Some(b'.') && !matches!(after, Some(b'.'))
            || after == Some(b'.') && at + word.len() + 1 >= bytes.len();
        if alone && word.len() >= 8 && word.bytes().filter(u8::is_ascii_digit).count() >= 3 {
            let prefix = word
                .find(['_', '-'])
                .filter(|end| (2..=12).contains(end) && word.bytes().take(*end).all(|b| b.is_ascii_alphabetic()));
            let named = marker(line, at);
            match prefix {
                Some(end) => {
                    let value = word.get(end + 1..).unwrap_or_default();
                    if let Some(shape) = shape(value) {
                        let marker = line.get(at..=at + end).unwrap_or_default();
                        found(Candidate { marker, value, shape });
                    }
                }
                None => {
                    if let Some(shape) = shape(word) {
                        found(Candidate { marker: named, value: word, shape });
                    }
                }
            }
        }
        at += word.len();
    }
}

#[inline]
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// The letters, digits, `_` and `-` that a text begins with.
fn run(text: &str) -> &str {
    let end = text.bytes().position(|byte| !is_word(byte)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// What a value looks like; `None` when it is no identifier.
fn shape(value: &str) -> Option<Shape> {
    let (mut digits, mut letters, mut dashes, mut hex) = (0, 0, 0, true);
    for byte in value.bytes() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'f' | b'A'..=b'F' => letters += 1,
            b'-' => dashes += 1,
            _ => hex = false,
        }
    }
    if value.len() < 8 || digits < 3 {
        return None;
    }
    if hex && letters == 0 && (dashes == 0 || (dashes == 1 && value.starts_with('-'))) {
        return Some(Shape::Number);
    }
    match (hex, dashes) {
        (true, 4) if value.split('-').map(str::len).eq([8, 4, 4, 4, 12]) => Some(Shape::Uuid),
        (true, 0) if value.len() >= 12 => Some(Shape::Hex(value.len() as u16)),
        (true, _) => Some(Shape::Mixed),
        (false, _) => None,
    }
}

/// The text from the word before `:` or `=` up to `at`, with what stands between; empty when there is none.
fn marker(line: &str, at: usize) -> &str {
    let bytes = line.as_bytes();
    let back = |from: usize, what: &[u8]| from.checked_sub(1).filter(|at| what.contains(&bytes[*at]));
    let mut end = at;
    for what in [&b"\"'"[..], b"\\", b" "] {
        end = back(end, what).unwrap_or(end);
    }
    let Some(sign) = back(end, b":=") else { return listed(line, at) };
    let mut end = sign;
    for what in [&b" "[..], b"\"'", b"\\"] {
        end = back(end, what).unwrap_or(end);
    }
    let start =
        bytes.get(..end).unwrap_or_default().iter().rposition(|byte| !(byte.is_ascii_alphabetic() || *byte == b'_'));
    let start = start.map_or(0, |before| before + 1);
    if (2..=20).contains(&(end - start)) { line.get(start..at).unwrap_or_default() } else { "" }
}

/// The name that a list in brackets begins with, as Spring writes application, trace and span: `[order,4bf92f35...,`.
fn listed(line: &str, at: usize) -> &str {
    let Some(before) = line.get(..at).and_then(|before| before.strip_suffix(',')) else { return "" };
    let start =
        before.bytes().rposition(|byte| !is_word(byte)).filter(|start| before.as_bytes().get(*start) == Some(&b'['));
    let name = start.filter(|start| (2..=40).contains(&(before.len() - start - 1)));
    name.and_then(|start| line.get(start..at)).unwrap_or_default()
}

/// FNV-1a with a last mix: the same on every machine.
fn hash(text: &str) -> u64 {
    let hash = fnv1a(FNV_OFFSET, text.as_bytes());
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(line: &str) -> Vec<(&str, &str)> {
        let mut all = Vec::new();
        candidates(line, |one| all.push((one.marker, one.value)));
        all
    }

    #[test]
    fn identifiers_are_seen_with_what_names_them() {
        for (line, found) in [
            ("Receiving block blk_-1608999687919862906 src: /10.0.0.1", vec![("blk_", "-1608999687919862906")]),
            (
                "x TraceID: 4bf92f3577b34da6a3ce929d0e0e4736 SpanID: 00f067aa0ba902b7",
                vec![("TraceID: ", "4bf92f3577b34da6a3ce929d0e0e4736"), ("SpanID: ", "00f067aa0ba902b7")],
            ),
            (r#"{"trace_id":"4bf92f3577b34da6","n":1}"#, vec![("trace_id\":\"", "4bf92f3577b34da6")]),
            (
                "[instance: 96abccce-8d1f-4e07-b6d1-4b2ab87e23b4] up",
                vec![("instance: ", "96abccce-8d1f-4e07-b6d1-4b2ab87e23b4")],
            ),
            (
                "INFO 1 --- [order,4bf92f3577b34da6a3ce929d0e0e4736] [exec-3] up",
                vec![("[order,", "4bf92f3577b34da6a3ce929d0e0e4736")],
            ),
            ("took 35 ms, 10.0.0.1, v1.2.3", vec![]),
        ] {
            assert_eq!(all(line), found, "{line}");
        }
    }

    fn learnt(lines: impl Iterator<Item = (String, u64)>) -> KeyFinder {
        let mut finder = KeyFinder::default();
        for (line, template) in lines {
            finder.key(&line, template);
        }
        finder
    }

    #[test]
    fn other_ways_to_write_the_same_ids_are_found_too() {
        let trace = |n: u64| format!("{:032x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let lines = (0..12_000u64).map(|n| match n % 6 {
            0 => (format!("INFO 1 --- [order,{}] [exec] step", trace(n / 6)), 0),
            step => (format!("step {step} trace_id={}", trace(n / 6)), step),
        });
        let mut finder = learnt(lines);
        let keys = [format!("WARN 1 --- [order,{}] [exec] x", trace(7)), format!("x trace_id={}", trace(7))];
        let keys = keys.map(|line| finder.key(&line, 9));
        assert!(keys[0].is_some() && keys[0] == keys[1], "{keys:?}");
    }

    #[test]
    fn the_slot_that_ties_lines_together_is_found() {
        let trace = |n: u64| format!("{:032x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let lines = (0..6_000u64).map(|n| {
            (format!("step {} trace={} span={:016x} order-{:08}", n % 5, trace(n / 5), n * 77_777_777, n / 500), n % 5)
        });
        let mut finder = learnt(lines);
        assert_eq!(finder.name(), Some("trace"));
        let one = finder.key(&format!("other trace={}", trace(3)), 9);
        assert!(one.is_some());
        assert_eq!(one, finder.key(&format!("more trace={} x", trace(3)), 8));
        assert_eq!(finder.key("none here", 8), None);
    }

    #[test]
    fn lines_without_sessions_have_no_key() {
        let finder =
            learnt((0..60_000u64).map(|n| (format!("node R{:02}-M0 value {n:08} at 2026-11-20", n % 64), n % 7)));
        assert_eq!(finder.name(), None);
        assert!(finder.search.is_none(), "the search ends");
    }
}
