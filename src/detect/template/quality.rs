//! Whether templates say anything about a set of streams.
//!
//! What comes in: what a miner knows of the streams. What goes out: a state; in a bad one a detector should fall back to
//! levels, rates and lengths, and say so. What never happens here: a decision about a line.

use super::atoms::V;
use super::store::{Row, Store};
use super::stream::Stream;
use crate::time::{HOUR, Nanos};

/// Lines until it can be told.
const LINES: u64 = 1_000;
/// Templates until shares of them say anything.
const TEMPLATES: usize = 20;
/// Letters of a word that says something.
const LETTERS: usize = 2;
/// Time until it can be told that templates do not settle: every start of a service has lines that come once.
const LONG: Nanos = 2 * HOUR;
/// In each quarter of the time but the first, one template in so many has come anew.
const FRESH: usize = 8;
/// One line in so many had a template that has gone: rare lines come and go in any log.
const GONE: u64 = 4;

/// What templates are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Too few lines to tell.
    #[default]
    Unknown,
    /// They tell the lines apart, and come again.
    Good,
    /// All lines have one template, whose words say what they are, as those of a health check.
    OneTemplate,
    /// All lines have one template, and it has no word: whatever they say is variable.
    Wordless,
    /// Most lines made a template of their own, or the limits are reached.
    Singletons,
    /// More than half of the templates have not come again in the newer half of the time.
    Dead,
    /// More than half have not come again in the newest quarter of the time, with many of the lines; new ones keep coming.
    Unsettled,
}

/// The quality of the templates of some streams.
pub(super) fn quality<'a>(streams: impl Iterator<Item = &'a Stream>, store: &Store, coarse: bool) -> Quality {
    let (mut lines, mut fresh, mut seen, mut event, mut serials) = (0, 0, [0u64; 4], 0, Vec::new());
    for stream in streams {
        lines += stream.lines;
        fresh += stream.fresh;
        seen.iter_mut().zip(stream.seen).for_each(|(all, own)| *all |= own);
        event = event.max(stream.event);
        serials.push(stream.serial);
    }
    if lines < LINES {
        return Quality::Unknown;
    }
    if seen.iter().map(|bits| bits.count_ones()).sum::<u32>() <= 1 {
        return alike(store.by_id(store.resolve(event)));
    }
    if coarse || 2 * fresh > lines {
        return Quality::Singletons;
    }
    serials.sort_unstable();
    let own: Vec<&Row> = store.living().filter(|row| serials.binary_search(&row.stream).is_ok()).collect();
    if let [row] = own.as_slice()
        && 1_000 * row.count >= 999 * lines
    {
        // What had a template of its own at first has become part of it.
        return alike(Some(row));
    }
    let single = own.iter().filter(|row| row.count == 1).count();
    if own.len() < TEMPLATES {
        return Quality::Good;
    }
    if 4 * single > 3 * own.len() && 10 * own.len() as u64 > lines {
        return Quality::Singletons;
    }
    settled(&own)
}

/// Of lines that all have this template.
fn alike(row: Option<&Row>) -> Quality {
    let Some(row) = row else { return Quality::OneTemplate };
    let view = row.seq.view();
    let says = |i: usize| view.word(i).iter().filter(|b| b.is_ascii_alphabetic() || **b >= 128).count() >= LETTERS;
    let wordless = view.atoms.contains(&V) && !(0..view.atoms.len()).any(says);
    if wordless { Quality::Wordless } else { Quality::OneTemplate }
}

/// Whether templates come again, and if not, whether new ones keep coming. A start that comes once has its templates in the
/// first quarter of the time; rare problems that come and go have few of the lines.
fn settled(own: &[&Row]) -> Quality {
    let newest: Nanos = own.iter().map(|row| row.last).max().unwrap_or(0);
    let oldest: Nanos = own.iter().map(|row| row.first).min().unwrap_or(0);
    let span = newest - oldest;
    if span <= 0 {
        return Quality::Good;
    }
    let gone = |row: &&&Row| row.last < newest - span / 4;
    let mut born = [0usize; 4];
    for row in own {
        let quarter = (i128::from(row.first - oldest) * 4 / i128::from(span)) as usize;
        born.get_mut(quarter.min(3)).into_iter().for_each(|count| *count += 1);
    }
    let keep_coming = born.iter().skip(1).all(|count| FRESH * count >= own.len());
    let lines: u64 = own.iter().map(|row| row.count).sum();
    let lost: u64 = own.iter().filter(gone).map(|row| row.count).sum();
    let most = |gone: usize| 2 * gone > own.len();
    if span >= LONG && keep_coming && GONE * lost >= lines && most(own.iter().filter(gone).count()) {
        return Quality::Unsettled;
    }
    if most(own.iter().filter(|row| row.last < oldest + span / 2).count()) { Quality::Dead } else { Quality::Good }
}
