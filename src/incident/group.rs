//! Which incidents of several groups are one problem.
//!
//! What comes in: incidents that are open at the same time. What goes out: clusters of them, by DBSCAN (Ester et al. 1996,
//! from linfa-clustering) over how far apart they began and what they have in common. What never happens here: a member
//! that changes its incident; who is in one already only draws others in.

use linfa::ParamGuard;
use linfa::traits::Transformer;
use linfa_clustering::Dbscan;
use linfa_nn::CommonNearestNeighbour;
use linfa_nn::distance::Distance;
use ndarray::{Array2, ArrayView, Dimension};
use serde::{Deserialize, Serialize};

use super::Incident;
use crate::labels::{FNV_OFFSET, fnv1a};
use crate::time::{MINUTE, Nanos};

/// Incidents that are looked at together; with more, the oldest are left out.
pub const MAX_CANDIDATES: usize = 400;

/// Incidents of one place that begin within this time are one problem: windows of a minute close together, and what
/// depends on a service fails within its time-outs.
const NEAR: Nanos = 2 * MINUTE;
/// The same for incidents that share a label or a kind of line beyond their place.
const NEAR_ALIKE: Nanos = 10 * MINUTE;
/// The share of words that two incidents have in common when they speak of the same.
const ALIKE: f64 = 0.5;
/// Words that are remembered of an incident.
const MAX_WORDS: usize = 64;
/// Farther than anything.
const FAR: f64 = 1e9;

/// An open incident, as far as others may belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Only incidents with the same key may be one: the values of `group_by`.
    pub key: String,
    /// Start of its first anomalous window.
    pub started_at: Nanos,
    /// Labels that may be shared, as hashes, sorted; without those of the key and the name of the group.
    pub labels: Vec<u64>,
    /// Words of the lines that it is about, as hashes, sorted.
    pub words: Vec<u64>,
}

impl Candidate {
    /// What an incident shows of itself.
    #[must_use]
    pub fn new(incident: &Incident, key: String) -> Self {
        let evidence = incident.worst.as_ref().map(|worst| &worst.evidence);
        let patterns = evidence.into_iter().flat_map(|one| &one.patterns).filter_map(|one| one.line.as_deref());
        let features = evidence.into_iter().flat_map(|one| &one.features);
        let frequent = features.filter_map(|one| Some(one.frequent.as_ref()?.line.as_str()));
        let lines: Vec<&str> = patterns.chain(frequent).collect();
        let common = evidence.into_iter().flat_map(|one| &one.common);
        let labels = common.map(|one| (one.label.as_str(), one.value.as_str())).chain(incident.labels.iter());
        Self {
            key,
            started_at: incident.started_at,
            labels: sorted(labels.map(|(name, value)| hash(&format!("{name}={value}")))),
            words: sorted(lines.iter().flat_map(|line| words(line)).take(MAX_WORDS)),
        }
    }

    /// At most 1 when the two are one problem.
    fn distance(&self, other: &Self) -> f64 {
        if self.key != other.key {
            return FAR;
        }
        let reach = if self.is_like(other) { NEAR_ALIKE } else { NEAR };
        (self.started_at - other.started_at).abs() as f64 / reach as f64
    }

    fn is_like(&self, other: &Self) -> bool {
        let both = |one: &[u64], two: &[u64]| one.iter().filter(|word| two.binary_search(word).is_ok()).count();
        let words = both(&self.words, &other.words);
        let all = self.words.len() + other.words.len() - words;
        let same_words = words > 0 && words as f64 >= ALIKE * all as f64;
        same_words || both(&self.labels, &other.labels) > 0
    }
}

/// The cluster of each candidate; `None` for one that stands alone. Deterministic: clusters are numbered in the order of
/// their first members.
#[must_use]
pub fn clusters(candidates: &[Candidate]) -> Vec<Option<usize>> {
    let count = candidates.len();
    if count < 2 {
        return vec![None; count];
    }
    let table = Array2::from_shape_fn((count, count), |(one, two)| match (candidates.get(one), candidates.get(two)) {
        (Some(a), Some(b)) => a.distance(b),
        _ => FAR,
    });
    let rows = Array2::from_shape_fn((count, 1), |(row, _)| row as f64);
    let search = Dbscan::params_with(2, Table(table), CommonNearestNeighbour::LinearSearch).tolerance(1.0);
    match search.check() {
        Ok(search) => search.transform(&rows).to_vec(),
        // The parameters are constants that are in range.
        Err(_) => vec![None; count],
    }
}

/// Distances by the numbers of two rows.
#[derive(Clone)]
struct Table(Array2<f64>);

impl Distance<f64> for Table {
    fn distance<D: Dimension>(&self, one: ArrayView<f64, D>, two: ArrayView<f64, D>) -> f64 {
        let row = |point: ArrayView<f64, D>| point.first().map_or(0, |row| *row as usize);
        // DBSCAN takes what is nearer than the tolerance, and 1 is near enough.
        self.0.get((row(one), row(two))).map_or(FAR, |distance| distance * (1.0 - 1e-9))
    }
}

/// Words of three letters and more.
fn words(line: &str) -> impl Iterator<Item = u64> {
    line.split(|c: char| !c.is_alphabetic()).filter(|word| word.chars().count() > 2).map(hash)
}

fn hash(text: &str) -> u64 {
    fnv1a(FNV_OFFSET, text.as_bytes())
}

fn sorted(hashes: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut all: Vec<u64> = hashes.collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(key: &str, minute: i64, labels: &[&str], line: &str) -> Candidate {
        let labels = sorted(labels.iter().copied().map(hash));
        Candidate { key: key.to_owned(), started_at: minute * MINUTE, labels, words: sorted(words(line)) }
    }

    #[test]
    fn what_begins_together_or_is_alike_is_one() {
        let refused = "connection to database refused";
        for (candidates, expected) in [
            (vec![one("a", 0, &[], ""), one("a", 1, &[], "")], vec![Some(0), Some(0)]),
            (vec![one("a", 0, &[], ""), one("a", 2, &[], "")], vec![Some(0), Some(0)]),
            (vec![one("a", 0, &[], ""), one("a", 3, &[], "")], vec![None, None]),
            (vec![one("a", 0, &[], ""), one("b", 0, &[], "")], vec![None, None]),
            (vec![one("a", 0, &["node=n1"], ""), one("a", 8, &["node=n1"], "")], vec![Some(0), Some(0)]),
            (vec![one("a", 0, &["node=n1"], ""), one("a", 8, &["node=n2"], "")], vec![None, None]),
            (vec![one("a", 0, &[], refused), one("a", 9, &[], refused)], vec![Some(0), Some(0)]),
            (vec![one("a", 0, &[], refused), one("a", 9, &[], "cart is empty again")], vec![None, None]),
            (
                vec![one("a", 0, &[], ""), one("b", 0, &[], ""), one("a", 1, &[], ""), one("b", 1, &[], "")],
                vec![Some(0), Some(1), Some(0), Some(1)],
            ),
            (vec![one("a", 0, &[], "")], vec![None]),
            (vec![], vec![]),
        ] {
            assert_eq!(clusters(&candidates), expected, "{candidates:?}");
        }
    }

    proptest! {
        /// No cluster mixes keys, and no member of a cluster stands apart from all others.
        #[test]
        fn clusters_hold_together(starts in proptest::collection::vec((0..3u8, 0..60i64), 0..30)) {
            let all: Vec<Candidate> = starts.iter().map(|(key, at)| one(&key.to_string(), *at, &[], "")).collect();
            let found = clusters(&all);
            for (i, cluster) in found.iter().enumerate() {
                let near = (0..all.len()).any(|j| j != i && all[i].distance(&all[j]) <= 1.0);
                prop_assert_eq!(cluster.is_some(), near);
                for (j, other) in found.iter().enumerate().filter(|(_, other)| cluster.is_some() && *other == cluster) {
                    prop_assert_eq!(&all[i].key, &all[j].key, "{} {:?}", j, other);
                }
            }
        }
    }
}
