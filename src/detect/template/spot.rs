//! The variable parts of a line, for explanations.
//!
//! What comes in: a line. What goes out: where its variable parts stand, and of what kind they are. What never happens here:
//! learning; or haste: no line is read here that nobody asks about.

use std::ops::Range;

use super::header::Headers;
use super::reader::Reader;
use super::{Miner, StreamSlot, TemplateId, ValueKind, Variable, atoms, kind_of, value, wrapper};

impl Miner {
    /// The variable parts of a line, in order. Slow: for explanations.
    #[must_use]
    pub fn variables(&self, slot: StreamSlot, line: &str) -> Vec<Variable> {
        let common = &self.common.headers;
        let headers = self.streams.get(slot.0 as usize).map_or(common, |stream| stream.in_force(common));
        self.variables_with(headers, line)
    }

    /// Where the variable parts of a line of any stream stand, in bytes, in order. Its header is taken to be the longest that
    /// fits, of those learnt last. Slow: for explanations.
    #[must_use]
    pub fn marks(&self, line: &str) -> Vec<Range<usize>> {
        let mut wrap = wrapper::Wrap::default();
        let bare = wrapper::strip(line.as_bytes(), &mut wrap);
        let fitting = self.recent.iter().filter(|headers| headers.columns() > 0 && headers.cut(bare).fits);
        let headers = fitting.max_by_key(|headers| headers.columns()).unwrap_or(&self.common.headers);
        let mut reader = Reader::default();
        let message = reader.whole(line.as_bytes(), headers).text;
        // A message that had to be unescaped is nowhere in the line: all of it is read for itself.
        let start = (message.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize);
        let inside = start..start.saturating_add(message.len());
        let inside = if line.get(inside.clone()).is_some() { inside } else { 0..0 };
        let known = self.slots(&mut reader, (headers, line), |range, _, _| range).into_iter().flatten();
        let rest = value::loose(line).filter(|part| part.end <= inside.start || part.start >= inside.end);
        let mut parts: Vec<Range<usize>> = known.chain(rest).collect();
        parts.retain(|part| line.get(part.clone()).is_some());
        parts.sort_by_key(|part| part.start);
        parts
    }

    /// The kinds of the variable parts of a template's lines, in order, by its example.
    #[must_use]
    pub fn kinds(&self, id: TemplateId) -> Vec<ValueKind> {
        let Some(row) = self.store.by_id(id.0) else { return Vec::new() };
        let stream = self.streams.iter().find(|stream| stream.serial == row.stream);
        let common = &self.common.headers;
        let headers = stream.map_or(common, |stream| stream.in_force(common));
        self.variables_with(headers, &row.example).iter().map(|variable| variable.kind).collect()
    }

    fn variables_with(&self, headers: &Headers, line: &str) -> Vec<Variable> {
        let variable = |range, text: &[u8], word: bool| {
            let text = String::from_utf8_lossy(text).into_owned();
            let kind = if word { ValueKind::Word } else { kind_of(&text) };
            Variable { range, text, kind }
        };
        self.slots(&mut Reader::default(), (headers, line), variable)
    }

    /// What is made of the variable parts of a line: where each stands, its text, and whether it is a word.
    fn slots<T>(
        &self,
        reader: &mut Reader,
        (headers, line): (&Headers, &str),
        make: impl Fn(Option<Range<usize>>, &[u8], bool) -> T,
    ) -> Vec<T> {
        let mut message = reader.whole(line.as_bytes(), headers);
        if self.groups.places.idle {
            message.place = 0;
        }
        let view = message.view();
        let row = self.store.peek(message.hash()).filter(|row| row.seq.atoms.len() == view.atoms.len());
        // The message is a part of the line, or was unescaped elsewhere.
        let offset = (message.text.as_ptr() as usize).checked_sub(line.as_ptr() as usize);
        let offset = offset.filter(|offset| offset + message.text.len() <= line.len());
        let is_slot = |i: usize| row.is_some_and(|row| row.seq.atoms.get(i) == Some(&atoms::V));
        let variable = |i: usize| {
            let (start, end) = *view.spans.get(i)?;
            let (start, end) = (start as usize, end as usize);
            let word = view.atoms.get(i).is_some_and(|atom| *atom != atoms::V);
            let range = offset.map(|offset| offset + start..offset + end);
            Some(make(range, view.text.get(start..end)?, word))
        };
        let wild = |i: &usize| view.atoms.get(*i) == Some(&atoms::V) || is_slot(*i);
        (0..view.atoms.len()).filter(wild).filter_map(variable).collect()
    }
}
