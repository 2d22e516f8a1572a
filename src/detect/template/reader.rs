//! From a line to the atoms of its message.
//!
//! What comes in: a line as it came. What goes out: its atoms, its level, its code place; wrapper, colours and header are cut
//! on the way. What never happens here: an allocation in the steady state, or anything that is remembered.

use super::Level;
use super::atoms::{Atoms, View, sequence_hash};
use super::byte::word_hash;
use super::header::Headers;
use crate::detect::level::named;

/// Buffers that are used again for each line.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) atoms: Atoms,
    text: Vec<u8>,
}

/// What was read of a line; the atoms stand in the reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// What the atoms are places in.
    pub(super) text: &'a [u8],
    pub(super) level: Option<Level>,
    /// Hash of the code place in the header; 0 for none.
    pub(super) place: u64,
    /// Whether the header was whole.
    pub(super) fits: bool,
}

impl Reader {
    /// Reads a line that is out of its wrapper.
    pub(super) fn read<'a>(&'a mut self, line: &'a [u8], headers: &Headers) -> (Message<'a>, &'a Atoms) {
        let Self { atoms, text: _ } = self;
        let cut = headers.cut(line);
        let text = line.get(cut.message..).unwrap_or_default();
        let place = cut.place.map_or(0, word_hash);
        atoms.read(text);
        let level = cut.level.and_then(named);
        (Message { text, level, place, fits: cut.fits }, atoms)
    }
}

impl Message<'_> {
    pub(super) fn hash(&self, atoms: &Atoms) -> u64 {
        sequence_hash(atoms.atoms(), self.place)
    }

    pub(super) fn view<'b>(&'b self, atoms: &'b Atoms) -> View<'b> {
        atoms.view(self.text)
    }
}
