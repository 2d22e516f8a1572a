//! From the message of a line to its atoms.
//!
//! What comes in: a line out of its wrapper, its header cut. What goes out: its atoms, its level, its code place; and what was
//! thrown, when the line holds a whole stack trace. What never happens here: an allocation in the steady state, or anything
//! that is remembered.

use memchr::memchr;

use super::Level;
use super::atoms::{Atoms, View, sequence_hash};
use super::byte::word_hash;
use super::fields::{behind_header, fields};
use super::header::{Cut, Headers};
use super::number::{self, Number};
use super::trace::{Part, Signature, Trace};
use super::wrapper::{Wrap, strip as unwrap};
use crate::detect::level::of_value;

/// Lines of one entry that are looked at for a stack trace.
const LINES: usize = 200;

/// Buffers that are used again for each line.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) wrap: Wrap,
    pub(super) body: Body,
}

/// Buffers for the message.
#[derive(Default)]
pub(super) struct Body {
    pub(super) atoms: Atoms,
    text: Vec<u8>,
    /// The numbers of the line.
    pub(super) numbers: Vec<Number>,
}

/// What was read of a line; the atoms stand in the body.
pub(super) struct Message<'a> {
    /// What the atoms are places in.
    pub(super) text: &'a [u8],
    pub(super) atoms: &'a Atoms,
    pub(super) level: Option<Level>,
    /// Hash of the code place, 0 for none.
    pub(super) place: u64,
    /// The stack trace that the line holds.
    pub(super) trace: Option<Signature>,
}

impl Body {
    /// Reads the message of a line whose header ends as `cut` says.
    pub(super) fn read<'a>(&'a mut self, line: &'a [u8], cut: &Cut<'a>) -> Message<'a> {
        let Self { atoms, text: buffer, numbers } = self;
        numbers.clear();
        let text = line.get(cut.message..).unwrap_or_default();
        let start = text.iter().position(|b| !matches!(b, b' ' | b'\t' | b'|')).unwrap_or(text.len());
        let text = if cut.message > 0 { text.get(start..).unwrap_or_default() } else { text };
        let mut level = cut.level.and_then(of_value);
        let mut place = cut.place.map_or(0, word_hash);
        let mut message = text;
        let json = if cut.message == 0 { behind_header(text) } else { 0 };
        if let Some(fields) = fields(text.get(json..).unwrap_or(text), buffer, numbers) {
            level = fields.level.or(level);
            place = if fields.place == 0 { place } else { fields.place };
            message = fields.message;
        } else {
            numbers.clear();
        }
        let mut trace = None;
        if let Some(end) = memchr(b'\n', message) {
            trace = entry(message);
            if trace.is_some() {
                message = message.get(..end).unwrap_or(message);
            }
        }
        atoms.read(message);
        number::message(numbers, atoms.view(message));
        Message { text: message, atoms, level, place, trace }
    }
}

impl Reader {
    /// Reads a whole line at once.
    pub(super) fn whole<'a>(&'a mut self, line: &'a [u8], headers: &Headers) -> Message<'a> {
        let line = unwrap(line, &mut self.wrap);
        let cut = headers.cut(line);
        self.body.read(line, &cut)
    }
}

impl Message<'_> {
    pub(super) fn hash(&self) -> u64 {
        sequence_hash(self.atoms.atoms(), self.place)
    }

    pub(super) fn view(&self) -> View<'_> {
        self.atoms.view(self.text)
    }
}

/// The stack trace that one entry of several lines holds.
#[cold]
fn entry(message: &[u8]) -> Option<Signature> {
    let mut trace = Trace::default();
    for line in message.split(|b| *b == b'\n').take(LINES) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if trace.part(line, false, true) == Part::Event && trace.signature(true).is_some() {
            break;
        }
    }
    let whole = trace.signature(true).cloned();
    whole.or_else(|| trace.told().cloned())
}
