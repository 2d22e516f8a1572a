//! Where requests lack steps first.
//!
//! What comes in: steps that more sessions lack than the past allows. What goes out: for each, the first of all that the same
//! sessions lack, and whether they end there. A request that breaks off lacks all that would have followed, in every service that
//! it would have come to; one thing has happened, and it is told once, where it has. Steps are in the order in which sessions
//! usually come to them first.

use std::cmp::Ordering;

use super::limit::{Limit, present};
use super::tally::{TypeTally, Unit, sorted};
use super::{Deviation, ENOUGH, Kind, LATELY, Trace};

/// Nearly all sessions of a type have a usual step: so large a share.
const USUAL: f64 = 0.85;
/// The same sessions lack two steps when one is lacking at least so often as the other.
const SAME: f64 = 0.7;
/// Usual steps behind the first that is lacking, before a session is said to end there.
const LEAST_LATER: usize = 2;

/// Where sessions lack steps first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The first step that they lack.
    pub first: Unit,
    /// The usual step before it, where nothing usual comes after.
    pub last: Option<Unit>,
    /// Steps that they lack besides.
    pub others: Vec<Unit>,
}

impl Trace {
    /// What is behind a step that is lacking; `None` of other deviations.
    #[must_use]
    pub fn lead(&self, one: &Deviation) -> Option<Lead> {
        let (Kind::Absent(unit) | Kind::Few(unit)) = one.kind else { return None };
        let lack = |root: Unit, model: &TypeTally, kind: Kind| -> f64 {
            let Some(limit) = Limit::of(model, kind) else { return 0.0 };
            let types = self.recent.iter().rev().take(one.windows).filter_map(|tally| tally.types.get(&root));
            types.map(|tally| limit.count(tally, kind)).sum()
        };
        // The type of which most sessions lack it.
        let mut most: Option<(f64, Unit, &TypeTally)> = None;
        for (root, model) in sorted(&self.model.types).into_iter().filter(|(_, model)| model.sessions >= ENOUGH) {
            let lacks = lack(*root, model, one.kind);
            if lacks > most.map_or(0.0, |(most, ..)| most) {
                most = Some((lacks, *root, model));
            }
        }
        let (lacks, root, model) = most?;
        let lately =
            self.wrong.iter().filter(|(.., last)| last + LATELY as u64 >= self.windows).map(|(kind, ..)| *kind);
        let lacking = lately.filter_map(|kind| match kind {
            Kind::Absent(at) | Kind::Few(at) if lack(root, model, kind) >= SAME * lacks => Some(at),
            _ => None,
        });
        let mut lacking: Vec<Unit> = lacking.chain([unit]).collect();
        lacking.sort_by(|one, two| by_rank(model, *one, *two));
        lacking.dedup();
        let first = *lacking.first()?;
        lacking.remove(0);
        let (before, later): (Vec<Unit>, Vec<Unit>) = usual(model)
            .into_iter()
            .filter(|unit| *unit != first)
            .partition(|unit| by_rank(model, *unit, first).is_lt());
        let gone = later.iter().filter(|unit| lack(root, model, Kind::Absent(**unit)) >= SAME * lacks).count();
        let ends = later.len() >= LEAST_LATER && 2 * gone > later.len();
        let last = before.into_iter().max_by(|one, two| by_rank(model, *one, *two)).filter(|_| ends);
        Some(Lead { first, last, others: lacking })
    }
}

/// The steps that nearly all sessions of a type have.
pub(super) fn usual(model: &TypeTally) -> Vec<Unit> {
    let units = sorted(&model.units).into_iter().map(|(unit, _)| *unit);
    units.filter(|unit| present(model, *unit) >= USUAL * f64::from(model.sessions)).collect()
}

/// Which step sessions of a type usually come to first.
pub(super) fn by_rank(model: &TypeTally, one: Unit, two: Unit) -> Ordering {
    let rank = |unit| model.ranks.get(&unit).map_or(0.0, |sum| f64::from(*sum)) / present(model, unit).max(1e-9);
    rank(one).total_cmp(&rank(two)).then(one.cmp(&two))
}
