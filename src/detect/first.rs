//! The first line of each unit in the open window, for what may be told of it.
//!
//! What comes in: entries with their units. What goes out: masked samples of the units that are asked for; most are not.
//! What never happens here: an allocation per line, or a line that leaves unmasked. Bounded: lines, and bytes of each.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::mask::sample;
use super::trace::tally::Unit;
use super::{Level, Sample};
use crate::collect::Entry;
use crate::time::Nanos;

/// Lines of a window, and bytes of one; 2 MB in all.
const MAX_SAMPLES: usize = 2_000;
const SAMPLED: usize = 1_024;

/// The first line of each unit in the open window.
#[derive(Debug, Default)]
pub(super) struct FirstLines {
    window: u32,
    /// By unit: the last window that it was kept in.
    kept: Vec<u32>,
    lines: FxHashMap<Unit, (Nanos, Level, Range<usize>)>,
    /// What `lines` point into.
    text: String,
}

impl FirstLines {
    /// Keeps a line when it is the first of its unit.
    pub(super) fn keep(&mut self, unit: Unit, entry: &Entry<'_>, level: Level) {
        let at = unit as usize;
        if self.kept.len() <= at {
            self.kept.resize(at + 1, u32::MAX);
        }
        if self.kept.get(at) == Some(&self.window) || self.lines.len() >= MAX_SAMPLES {
            return;
        }
        if let Some(kept) = self.kept.get_mut(at) {
            *kept = self.window;
        }
        let start = self.text.len();
        self.text.push_str(head(entry.line, SAMPLED));
        self.lines.insert(unit, (entry.ts, level, start..self.text.len()));
    }

    /// The line of a unit, masked.
    pub(super) fn get(&self, unit: Unit) -> Option<Sample> {
        let (ts, level, place) = self.lines.get(&unit)?;
        Some(sample(*ts, *level, self.text.get(place.clone())?))
    }

    /// Begins the next window.
    pub(super) fn close(&mut self) {
        self.window = self.window.wrapping_add(1);
        self.lines.clear();
        self.text.clear();
    }
}

/// The first bytes of a text, at most so many.
pub(super) fn head(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}
