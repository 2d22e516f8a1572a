//! From which count or duration on a session deviates, and how many sessions do.
//!
//! What comes in: what sessions of a type did in the past, and what those of some windows did. What goes out: [`Deviation`]s,
//! weighed by a law that follows from the past. What never happens here: a decision.

use super::super::tail::upper_tail;
use super::tally::{COUNTS, SPANS, Tally, TypeTally, Unit, WHOLE};
use super::{Deviation, ENOUGH, Kind, RARE, TWICE};

/// The part of counts and durations that is far out.
const FAR: f64 = 0.02;
/// Sessions with a line that make it known.
const KNOWN: f64 = 150.0;
/// Sessions that repeat a step before it is told.
const LEAST_AGAIN: f64 = 3.0;

/// A type of sessions as one deviation sees it.
pub(super) struct Part {
    pub(super) root: Unit,
    pub(super) limit: Limit,
    /// Sessions of the past, and those of them that deviate, a half added.
    pub(super) past: f64,
    pub(super) size: f64,
    /// Sessions of the windows so far, and those of them that deviate; `None` before the first.
    pub(super) sums: Option<(f64, f64)>,
}

impl Part {
    pub(super) fn of(root: Unit, model: &TypeTally, kind: Kind) -> Option<Self> {
        let limit = Limit::of(model, kind)?;
        let (past, size) = (f64::from(model.sessions), limit.count(model, kind) + 0.5);
        Some(Self { root, limit, past, size, sums: None })
    }
}

/// Adds a window's sessions, and those of them that deviate; the parts are in the order of their types.
pub(super) fn sum(kind: Kind, tally: &Tally, parts: &mut [Part]) {
    for (root, one) in &tally.types {
        let at = parts.binary_search_by_key(root, |part| part.root);
        let Some(part) = at.ok().and_then(|at| parts.get_mut(at)) else { continue };
        let sums = part.sums.get_or_insert_default();
        sums.0 += f64::from(one.sessions);
        sums.1 += part.limit.count(one, kind);
    }
}

pub(super) fn over(kind: Kind, parts: &[Part], windows: usize) -> Deviation {
    let (mut seen, mut sessions, mut expected, mut spread) = (0.0, 0.0, 0.0, 0.0);
    let (mut bucket, mut known) = (None, (0.0, 0.0));
    for Part { limit, past, size, sums, .. } in parts {
        let Some((count, found)) = sums else { continue };
        known = (known.0 + past, known.1 + size - 0.5);
        if kind.is_slow() {
            // Of several kinds of requests, the shortest limit that any of them was beyond.
            bucket = bucket.into_iter().chain((*found > 0.0).then_some(limit.0)).min();
        }
        seen += found;
        sessions += count;
        expected += count * size / (past + 1.0);
        spread += (count / (past + 1.0)).powi(2) * size;
    }
    // A gamma law for the rate and a Poisson law for the count: negative binomial.
    let fano = 1.0 + spread / f64::max(expected, 1e-12);
    // Two that try again are no trouble.
    let few = matches!(kind, Kind::Many(_)) && seen < LEAST_AGAIN;
    let surprise = if seen >= TWICE * expected && !few { -upper_tail(seen, expected, fano) } else { 0.0 };
    Deviation { kind, seen, sessions, expected, surprise, windows, limit: bucket, took: None, past: known, fano }
}

/// From which bucket on a count or a duration is a deviation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(pub(super) usize);

impl Limit {
    /// `None` where this type does not take part: it is no deviation there.
    pub(super) fn of(model: &TypeTally, kind: Kind) -> Option<Self> {
        let past = f64::from(model.sessions) + 1.0;
        let rare = |count: f64| (count + 0.5) / past < RARE;
        match kind {
            Kind::Present(unit) => Some(Self(0)).filter(|_| rare(present(model, unit))),
            Kind::Absent(unit) => Some(Self(0)).filter(|_| rare(f64::from(model.sessions) - present(model, unit))),
            Kind::Many(unit) => {
                let counts = model.units.get(&unit)?;
                let total: f64 = counts.iter().copied().map(f64::from).sum();
                let at = last(counts, FAR * total) + 1;
                Some(Self(at)).filter(|_| at < COUNTS && total > f64::from(ENOUGH))
            }
            Kind::Few(unit) => {
                let counts = model.units.get(&unit)?;
                let total: f64 = counts.iter().copied().map(f64::from).sum();
                let at = first(counts, FAR * total);
                Some(Self(at)).filter(|_| at > 0 && total > f64::from(ENOUGH))
            }
            Kind::Slow(_) | Kind::Wait(_) => Self::slow(durations(model, kind)?),
            Kind::Start(_) | Kind::Lost => None,
            // A line that is new brings new orders along; only known lines in another order say something.
            Kind::Order(from, to) => {
                let known = present(model, from).min(present(model, to));
                Some(Self(0)).filter(|_| known >= KNOWN && step(model, kind) + 0.5 < RARE * known)
            }
        }
    }

    /// Durations that all but few are below.
    fn slow(counts: &[f32; SPANS]) -> Option<Self> {
        let total: f64 = counts.iter().copied().map(f64::from).sum();
        let at = last(counts, FAR * total) + 1;
        Some(Self(at)).filter(|_| at < SPANS && total > f64::from(ENOUGH))
    }

    /// Sessions of a tally that deviate.
    pub(super) fn count(self, tally: &TypeTally, kind: Kind) -> f64 {
        let from = |counts: Option<&[f32]>| {
            counts.map_or(0.0, |counts| counts.iter().skip(self.0).copied().map(f64::from).sum())
        };
        match kind {
            Kind::Present(unit) => present(tally, unit),
            Kind::Absent(unit) => f64::from(tally.sessions) - present(tally, unit),
            Kind::Many(unit) => from(tally.units.get(&unit).map(<[f32; COUNTS]>::as_slice)),
            Kind::Few(unit) => present(tally, unit) - from(tally.units.get(&unit).map(<[f32; COUNTS]>::as_slice)),
            Kind::Slow(_) | Kind::Wait(_) => from(durations(tally, kind).map(<[f32; SPANS]>::as_slice)),
            Kind::Order(..) => step(tally, kind),
            Kind::Start(_) | Kind::Lost => 0.0,
        }
    }
}

/// All that sessions of the window do and the model's seldom did, in no order.
pub(super) fn deviations(model: &TypeTally, tally: &TypeTally, kinds: &mut Vec<Kind>) {
    let mut take = |kind: Kind| {
        if Limit::of(model, kind).is_some_and(|limit| limit.count(tally, kind) > 0.0) {
            kinds.push(kind);
        }
    };
    for unit in tally.units.keys() {
        take(Kind::Present(*unit));
        take(Kind::Many(*unit));
        take(Kind::Few(*unit));
    }
    for unit in model.units.keys() {
        take(Kind::Absent(*unit));
    }
    for group in tally.spans.keys().filter(|group| **group != WHOLE) {
        take(Kind::Slow(*group));
    }
    for hop in tally.waits.keys() {
        take(Kind::Wait(*hop));
    }
    for (from, to) in tally.steps.keys() {
        take(Kind::Order(*from, *to));
    }
}

/// Sessions of a tally by how long they took.
pub(super) fn durations(tally: &TypeTally, kind: Kind) -> Option<&[f32; SPANS]> {
    match kind {
        Kind::Slow(group) => tally.spans.get(&group),
        Kind::Wait(hop) => tally.waits.get(&hop),
        _ => None,
    }
}

pub(super) fn present(tally: &TypeTally, unit: Unit) -> f64 {
    tally.units.get(&unit).map_or(0.0, |counts| counts.iter().copied().map(f64::from).sum())
}

pub(super) fn step(tally: &TypeTally, kind: Kind) -> f64 {
    let Kind::Order(from, to) = kind else { return 0.0 };
    tally.steps.get(&(from, to)).copied().map_or(0.0, f64::from)
}

/// The last bucket that, with those after it, holds more than this.
pub(super) fn last(counts: &[f32], more: f64) -> usize {
    let mut sum = 0.0;
    let at = counts.iter().rposition(|count| {
        sum += f64::from(*count);
        sum > more
    });
    at.unwrap_or_default()
}

/// The first bucket that, with those before it, holds more than this.
pub(super) fn first(counts: &[f32], more: f64) -> usize {
    let mut sum = 0.0;
    let at = counts.iter().position(|count| {
        sum += f64::from(*count);
        sum > more
    });
    at.unwrap_or_default()
}
