//! Finds the pairs.
//!
//! What comes in: the windows of the past. What goes out: for each busy line the line whose count tells most about it, one
//! of all and one of another group, where they fit in each quarter of the past. The cost is bounded: so many lines by so
//! many windows.

use super::super::trace::tally::Unit;
use super::Counts;
use super::pair::Pair;

/// Lines that are paired: those in most windows.
const MAX_PAIRED: usize = 128;
/// A line is paired that came so often, in so many windows.
const LINES: f64 = 25.0;
const WINDOWS: usize = 12;
/// Partners of a line in its own group, and in others.
const PARTNERS: usize = 2;
/// Parts of the past in each of which a pair must fit.
const BLOCKS: usize = 4;
/// Mean square of the mismatch over what is expected, at most.
const FITS: f64 = 0.35;
/// What is left of a line's own scatter beside a partner, at most: lines that come at their own pace have none.
const TELLS: f64 = 0.5;
/// So many windows are looked at first.
const LOOKS: usize = 32;
/// The share of windows that fits best and is looked at.
const SOUND: f64 = 0.85;

/// Lines by window, and their sum.
type Column<'a> = (&'a [f64], f64);

/// The pairs of these windows, the oldest first.
pub(super) fn fit<'a>(windows: impl Iterator<Item = &'a Counts>, group: impl Fn(Unit) -> u32) -> Vec<Pair> {
    let windows: Vec<&Counts> = windows.collect();
    let busy = busy(&windows);
    let columns: Vec<Vec<f64>> = busy.iter().map(|unit| column(*unit, &windows)).collect();
    let lines = |column: &[f64]| column.iter().sum::<f64>();
    let all: Vec<(Unit, u32, Column<'_>)> =
        busy.iter().zip(&columns).map(|(unit, of)| (*unit, group(*unit), (of.as_slice(), lines(of)))).collect();
    let mut pairs = Vec::new();
    for (at, (unit, own, x)) in all.iter().enumerate() {
        let most = FITS.min(TELLS * alone(x.0, x.1));
        let mut best = [Best::default(), Best::default()];
        for (with, (_, of, y)) in all.iter().enumerate().filter(|(with, _)| *with != at) {
            let Some(best) = best.get_mut(usize::from(of != own)) else { continue };
            if let Some((misfit, ratio)) = misfit(*x, *y, best.limit(most)) {
                best.add((misfit, ratio, with, *of), of != own);
            }
        }
        for (_, ratio, with, _) in best.into_iter().flat_map(|best| best.0) {
            let Some((by, _, y)) = all.get(with) else { continue };
            let both: Vec<(f64, f64)> = x.0.iter().copied().zip(y.0.iter().copied()).collect();
            pairs.push(Pair::fit((*unit, *by), ratio, &both));
        }
    }
    pairs.sort_by_key(Pair::names);
    pairs
}

/// The partners of a line that fit best: how badly, how many come for one, which, and of which group.
#[derive(Default)]
struct Best(Vec<(f64, f64, usize, u32)>);

impl Best {
    /// What is no better than this is not wanted; `most` is as long as there are too few.
    fn limit(&self, most: f64) -> f64 {
        if self.0.len() < PARTNERS { most } else { self.0.last().map_or(most, |worst| worst.0) }
    }

    /// Takes one in; of each other group only the best, so that they do not all speak for the same thing.
    fn add(&mut self, one: (f64, f64, usize, u32), once: bool) {
        if once && let Some(at) = self.0.iter().position(|known| known.3 == one.3) {
            if self.0.get(at).is_some_and(|known| known.0 <= one.0) {
                return;
            }
            self.0.remove(at);
        }
        let at = self.0.partition_point(|known| known.0 <= one.0);
        self.0.insert(at, one);
        self.0.truncate(PARTNERS);
    }
}

/// The lines that come often enough, in the order of units.
fn busy(windows: &[&Counts]) -> Vec<Unit> {
    let mut all: Vec<(Unit, u32)> = windows.iter().flat_map(|window| window.iter().copied()).collect();
    all.sort_unstable();
    // What has fewer windows than may be foul cannot be told from what fits nothing.
    let least = WINDOWS.max((windows.len() as f64 * (1.0 - SOUND)) as usize);
    let mut busy: Vec<(usize, Unit)> = all
        .chunk_by(|one, two| one.0 == two.0)
        .filter(|part| part.len() >= least && part.iter().map(|(_, lines)| f64::from(*lines)).sum::<f64>() >= LINES)
        .filter_map(|part| Some((part.len(), part.first()?.0)))
        .collect();
    busy.sort_by(|one, two| two.0.cmp(&one.0).then(one.1.cmp(&two.1)));
    busy.truncate(MAX_PAIRED);
    let mut busy: Vec<Unit> = busy.into_iter().map(|(_, unit)| unit).collect();
    busy.sort_unstable();
    busy
}

fn column(unit: Unit, windows: &[&Counts]) -> Vec<f64> {
    let lines = |window: &&Counts| {
        let at = window.binary_search_by_key(&unit, |(unit, _)| *unit).ok()?;
        window.get(at).map(|(_, lines)| f64::from(*lines))
    };
    windows.iter().map(|window| lines(window).unwrap_or_default()).collect()
}

/// How badly lines `x` fit to no other lines, but to the same number in each window.
fn alone(x: &[f64], sum: f64) -> f64 {
    let mean = sum / x.len().max(1) as f64;
    let mut off: Vec<f64> = x.iter().map(|x| (x - mean).powi(2) / (mean + 1.0)).collect();
    off.sort_unstable_by(f64::total_cmp);
    let sound = (x.len() as f64 * SOUND) as usize;
    off.iter().take(sound).sum::<f64>() / x.len().max(1) as f64
}

/// How badly lines `x` fit to lines `y`, and how many come for one; `None` where worse than `most`, or too few are known.
fn misfit((x, sum_x): Column<'_>, (y, sum_y): Column<'_>, most: f64) -> Option<(f64, f64)> {
    let off = |x: f64, y: f64, ratio: f64| (x - ratio * y).powi(2) / (ratio * y + 1.0);
    let first = sum_x / sum_y.max(1e-9);
    // Most lines have nothing to do with each other, which a look at a few windows tells.
    let mut few = [0.0; LOOKS];
    let every = x.len().div_ceil(LOOKS).max(1);
    for ((x, y), few) in x.iter().zip(y).step_by(every).zip(&mut few) {
        *few = off(*x, *y, first);
    }
    few.sort_unstable_by(f64::total_cmp);
    let sound = (LOOKS as f64 * SOUND) as usize;
    if few.iter().take(sound).sum::<f64>() > 3.0 * FITS * sound as f64 {
        return None;
    }
    // Trimmed windows take away at most so much: most pairs have nothing to do with each other.
    let all: Vec<f64> = x.iter().zip(y).map(|(x, y)| off(*x, *y, first)).collect();
    let mut sorted = all.clone();
    let place = ((all.len() as f64 * SOUND) as usize).min(all.len().saturating_sub(1));
    let (_, limit, _) = sorted.select_nth_unstable_by(place, f64::total_cmp);
    let limit = *limit + 1e-9;
    let kept = || x.iter().zip(y).zip(&all).filter(|(_, off)| **off <= limit).map(|(both, _)| both);
    let (kept_x, kept_y) = kept().fold((0.0, 0.0), |sum, (x, y)| (sum.0 + x, sum.1 + y));
    let ratio = kept_x / kept_y.max(1e-9);
    if ratio <= 0.0 || kept_y <= 0.0 {
        return None;
    }
    let block = (x.len() / BLOCKS).max(1);
    let parts = || x.chunks(block).zip(y.chunks(block)).zip(all.chunks(block)).take(BLOCKS);
    let active = |part: &[f64]| part.iter().filter(|lines| **lines > 0.0).count() >= 2;
    let (of_x, of_y) = parts()
        .fold((0, 0), |(of_x, of_y), ((x, y), _)| (of_x + usize::from(active(x)), of_y + usize::from(active(y))));
    if of_x.min(of_y) * 10 < BLOCKS * 6 {
        return None;
    }
    let mut worst: f64 = 0.0;
    for ((x, y), first) in parts() {
        let sound = x.iter().zip(y).zip(first).filter(|(_, first)| **first <= limit);
        let sum: f64 = sound.map(|((x, y), _)| off(*x, *y, ratio)).sum();
        worst = worst.max(sum / block as f64);
        if worst >= most {
            return None;
        }
    }
    Some((worst, ratio))
}
