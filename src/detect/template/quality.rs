//! Whether templates say anything about a set of streams.
//!
//! What comes in: what a miner knows of the streams. What goes out: a state; in a bad one a detector should fall back to
//! levels, rates and lengths, and say so. What never happens here: a decision about a line.

use super::store::Row;
use super::stream::Stream;
use crate::time::Nanos;

/// Lines until it can be told.
const LINES: u64 = 1_000;
/// Templates until shares of them say anything.
const TEMPLATES: usize = 20;

/// What templates are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Too few lines to tell.
    #[default]
    Unknown,
    /// They tell the lines apart, and come again.
    Good,
    /// All lines have one template: it says no more than their number.
    OneTemplate,
    /// Most lines made a template of their own, or the limits are reached.
    Singletons,
    /// More than half of the templates have not come again in the newer half of the time.
    Dead,
}

/// The quality of the templates of some streams.
pub(super) fn quality<'a>(
    streams: impl Iterator<Item = &'a Stream>,
    rows: impl Iterator<Item = &'a Row>,
    coarse: bool,
) -> Quality {
    let (mut lines, mut fresh, mut seen, mut serials) = (0, 0, [0u64; 4], Vec::new());
    for stream in streams {
        lines += stream.lines;
        fresh += stream.fresh;
        seen.iter_mut().zip(stream.seen).for_each(|(all, own)| *all |= own);
        serials.push(stream.serial);
    }
    if lines < LINES {
        return Quality::Unknown;
    }
    if seen.iter().map(|bits| bits.count_ones()).sum::<u32>() <= 1 {
        return Quality::OneTemplate;
    }
    if coarse || 2 * fresh > lines {
        return Quality::Singletons;
    }
    serials.sort_unstable();
    let own: Vec<&Row> = rows.filter(|row| serials.binary_search(&row.stream).is_ok()).collect();
    let single = own.iter().filter(|row| row.count == 1).count();
    if own.len() < TEMPLATES {
        return Quality::Good;
    }
    if 4 * single > 3 * own.len() && 10 * own.len() as u64 > lines {
        return Quality::Singletons;
    }
    let newest: Nanos = own.iter().map(|row| row.last).max().unwrap_or(0);
    let oldest: Nanos = own.iter().map(|row| row.first).min().unwrap_or(0);
    let middle = oldest + (newest - oldest) / 2;
    let dead = own.iter().filter(|row| row.last < middle).count();
    if newest > oldest && 2 * dead > own.len() { Quality::Dead } else { Quality::Good }
}
