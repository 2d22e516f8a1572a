//! Whether code places tell messages apart.
//!
//! What comes in: the place and the shape of each new sequence. What goes out: whether there are far more places than shapes.
//! A statement has one place, so then what looks like a place is a number like any other. What never happens here: a place kept.

use super::snapshot::stored;

/// Bits of a sketch; beyond half of them it counts no more.
const WORDS: usize = 32;
/// Places until it can be told, and how many of them there are to a shape.
const PLACES: u32 = 64;
const TIMES: u32 = 4;

/// Counts places and shapes, each once, in two sketches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    places: [u64; WORDS],
    shapes: [u64; WORDS],
    /// Places say nothing here.
    pub(super) idle: bool,
}

stored!(Places { places, shapes, idle });

impl Places {
    /// Takes note of a new sequence; true when it is now known that places say nothing.
    pub(super) fn saw(&mut self, place: u64, shape: u64) -> bool {
        if place == 0 || self.idle {
            return false;
        }
        mark(&mut self.places, place);
        mark(&mut self.shapes, shape);
        let count = |sketch: &[u64; WORDS]| sketch.iter().map(|bits| bits.count_ones()).sum::<u32>();
        let places = count(&self.places);
        self.idle = places >= PLACES && places > TIMES * count(&self.shapes);
        self.idle
    }
}

fn mark(sketch: &mut [u64; WORDS], hash: u64) {
    let bit = hash >> 20;
    if let Some(bits) = sketch.get_mut((bit >> 6) as usize % WORDS) {
        *bits |= 1 << (bit & 63);
    }
}
