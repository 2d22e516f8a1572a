//! What the sessions of one window did, added up by type: all that is judged and learnt.
//!
//! What comes in: closed sessions. What goes out: counts. Sums only, so the order in which sessions are closed does not
//! matter. Everything is bounded: types, and per type units and steps.

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::super::held;
use super::Kind;
use super::open::{Hop, Session};

/// A line of one group with one template: the letters that sessions are spelt with.
pub type Unit = u32;

/// Count buckets: 1, 2, 3, then two an octave, the last open.
pub const COUNTS: usize = 12;
/// Buckets of durations: two an octave from 1 ms on; the last, from 25 minutes on, is open.
pub const SPANS: usize = 44;
/// Stands for all groups together.
pub const WHOLE: u32 = u32::MAX;
/// Types of sessions, and units and steps of a type, that are told apart.
const MAX_TYPES: usize = 256;
const MAX_PARTS: usize = 1_024;
/// Units, groups and steps of all types together: some 2 MB.
pub(super) const MAX_ALL: usize = 20_000;
/// A hop holds as much as so many of the others.
const WAIT_PARTS: usize = 4;
/// Types whose memory is used again, and parts that one had at most: the memory of big ones is given back.
const SPARE: usize = 64;
const SPARE_PARTS: usize = 64;

/// Sessions of one type.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TypeTally {
    /// Sessions.
    pub sessions: f32,
    /// By unit: sessions that have it so often.
    #[serde(with = "buckets")]
    pub units: FxHashMap<Unit, [f32; COUNTS]>,
    /// By unit: the sum of its places in the order in which sessions came to their units first.
    #[serde(with = "pairs", default)]
    pub ranks: FxHashMap<Unit, f32>,
    /// By group: sessions that spent so long in it; by [`WHOLE`]: that lasted so long.
    #[serde(with = "buckets")]
    pub spans: FxHashMap<u32, [f32; SPANS]>,
    /// By hop: sessions whose longest one was so long.
    #[serde(with = "buckets", default)]
    pub waits: FxHashMap<Hop, [f32; SPANS]>,
    /// Sessions in which the second follows the first in the same group.
    #[serde(with = "pairs")]
    pub steps: FxHashMap<(Unit, Unit), f32>,
}

/// Sessions by type: the unit that they begin with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// By first unit.
    #[serde(with = "pairs")]
    pub types: FxHashMap<Unit, TypeTally>,
    /// Units, groups and steps of all types.
    #[serde(default)]
    parts: usize,
}

impl Tally {
    /// Counts a closed session; all types together get so many parts.
    pub fn add(&mut self, session: &Session, most_parts: usize, spare: &mut Vec<TypeTally>) {
        if self.types.len() >= MAX_TYPES && !self.types.contains_key(&session.root()) {
            return;
        }
        // Once full, sessions are still counted, by the parts that are known.
        let most = if self.parts < most_parts { MAX_PARTS } else { 0 };
        let tally = self.types.entry(session.root()).or_insert_with(|| spare.pop().unwrap_or_default());
        let before = tally.parts();
        tally.sessions += 1.0;
        for (rank, (unit, count)) in (0u16..).zip(session.counts()) {
            if tally.units.len() < most || tally.units.contains_key(unit) {
                tally.units.entry(*unit).or_default()[count_bucket(*count)] += 1.0;
                *tally.ranks.entry(*unit).or_default() += f32::from(rank);
            }
        }
        for (group, nanos) in session.spans().chain([(WHOLE, session.length())]) {
            if tally.spans.len() < most || tally.spans.contains_key(&group) {
                tally.spans.entry(group).or_insert([0.0; SPANS])[span_bucket(nanos)] += 1.0;
            }
        }
        for (hop, nanos) in session.waits() {
            if tally.waits.len() < most || tally.waits.contains_key(&hop) {
                tally.waits.entry(hop).or_insert([0.0; SPANS])[span_bucket(nanos)] += 1.0;
            }
        }
        for step in session.steps() {
            if tally.steps.len() < most || tally.steps.contains_key(step) {
                *tally.steps.entry(*step).or_default() += 1.0;
            }
        }
        self.parts += tally.parts() - before;
    }

    /// Adds another tally to this one; all types together get so many parts.
    pub fn merge(&mut self, other: &Self, most_parts: usize) {
        for (root, from) in sorted(&other.types) {
            if self.types.len() >= MAX_TYPES && !self.types.contains_key(root) {
                continue;
            }
            let most = if self.parts < most_parts { MAX_PARTS } else { 0 };
            let to = self.types.entry(*root).or_default();
            let before = to.parts();
            to.merge(from, most);
            self.parts += to.parts() - before;
        }
    }
}

impl Tally {
    /// Makes what is wrong look as usual, so that it is not learnt: these sessions do it as often as the past's. Were it
    /// only left out, the usual share would sink for as long as it is told, and it would be told for ever.
    pub(super) fn correct(&mut self, kind: Kind, model: &Self) {
        for (root, one) in &mut self.types {
            let usual = model.types.get(root);
            let part = usual.map_or(0.0, |model| one.sessions / model.sessions.max(1.0));
            match kind {
                Kind::Absent(unit) | Kind::Many(unit) | Kind::Few(unit) | Kind::Present(unit) => {
                    match usual.and_then(|model| model.units.get(&unit)) {
                        Some(counts) => {
                            one.units.insert(unit, counts.map(|count| count * part));
                            let ranks = usual.and_then(|model| model.ranks.get(&unit)).copied();
                            one.ranks.insert(unit, ranks.unwrap_or_default() * part);
                        }
                        None if matches!(kind, Kind::Present(_)) => {
                            one.units.remove(&unit);
                            one.ranks.remove(&unit);
                        }
                        None => {}
                    }
                }
                Kind::Slow(group) => match usual.and_then(|model| model.spans.get(&group)) {
                    Some(counts) => drop(one.spans.insert(group, counts.map(|count| count * part))),
                    None => drop(one.spans.remove(&group)),
                },
                Kind::Wait(hop) => match usual.and_then(|model| model.waits.get(&hop)) {
                    Some(counts) => drop(one.waits.insert(hop, counts.map(|count| count * part))),
                    None => drop(one.waits.remove(&hop)),
                },
                Kind::Order(from, to) => match usual.and_then(|model| model.steps.get(&(from, to))) {
                    Some(count) => drop(one.steps.insert((from, to), count * part)),
                    None => drop(one.steps.remove(&(from, to))),
                },
                Kind::Start(_) | Kind::Lost => {}
            }
        }
        if let Kind::Start(root) = kind {
            self.types.remove(&root);
        }
    }

    /// Halves types of more sessions than these.
    pub(super) fn age(&mut self, most: f32) {
        self.types.values_mut().filter(|one| one.sessions > most).for_each(TypeTally::halve);
        self.parts = self.types.values().map(TypeTally::parts).sum();
    }

    /// Forgets everything but the memory of its types, which it hands on.
    pub(super) fn clear_into(&mut self, spare: &mut Vec<TypeTally>) {
        for (_, mut one) in self.types.drain() {
            if spare.len() < SPARE && one.parts() <= SPARE_PARTS {
                one.sessions = 0.0;
                one.units.clear();
                one.ranks.clear();
                one.spans.clear();
                one.waits.clear();
                one.steps.clear();
                spare.push(one);
            }
        }
        self.parts = 0;
    }

    /// Forgets units and groups.
    pub(super) fn forget(&mut self, gone: &FxHashSet<Unit>, groups: &[u32]) {
        self.types.retain(|root, _| !gone.contains(root));
        for one in self.types.values_mut() {
            one.units.retain(|unit, _| !gone.contains(unit));
            one.ranks.retain(|unit, _| !gone.contains(unit));
            one.steps.retain(|(from, to), _| !gone.contains(from) && !gone.contains(to));
            one.spans.retain(|group, _| !groups.contains(group));
            one.waits.retain(|hop, _| !groups.iter().any(|group| hop.has(*group)));
            one.units.shrink_to_fit();
            one.ranks.shrink_to_fit();
            one.steps.shrink_to_fit();
        }
        self.types.shrink_to_fit();
        self.parts = self.types.values().map(TypeTally::parts).sum();
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        let one = |one: &TypeTally| {
            held::map::<Unit, [f32; COUNTS]>(one.units.len())
                + held::map::<Unit, f32>(one.ranks.len())
                + held::map::<u32, [f32; SPANS]>(one.spans.len())
                + held::map::<Hop, [f32; SPANS]>(one.waits.len())
                + held::map::<(Unit, Unit), f32>(one.steps.len())
        };
        held::map::<Unit, TypeTally>(self.types.len()) + self.types.values().map(one).sum::<usize>()
    }

    /// Sessions of all types.
    pub(super) fn sessions(&self) -> f64 {
        self.types.values().map(|one| f64::from(one.sessions)).sum()
    }

    /// Counts one unit as another from now on.
    pub(super) fn rename(&mut self, from: Unit, into: Unit) {
        for one in self.types.values_mut() {
            if let Some(counts) = one.units.remove(&from) {
                let to = one.units.entry(into).or_default();
                to.iter_mut().zip(counts).for_each(|(to, from)| *to += from);
                let rank = one.ranks.remove(&from).unwrap_or_default();
                *one.ranks.entry(into).or_default() += rank;
            }
            let moved = |unit: Unit| if unit == from { into } else { unit };
            let steps: Vec<((Unit, Unit), f32)> =
                sorted(&one.steps).into_iter().map(|(step, count)| (*step, *count)).collect();
            if steps.iter().any(|((a, b), _)| *a == from || *b == from) {
                one.steps.clear();
                for ((a, b), count) in steps {
                    *one.steps.entry((moved(a), moved(b))).or_default() += count;
                }
            }
        }
        if let Some(tally) = self.types.remove(&from) {
            self.types.entry(into).or_default().merge(&tally, MAX_PARTS);
        }
    }
}

impl TypeTally {
    /// Units, groups, hops and steps, as much as they hold.
    fn parts(&self) -> usize {
        self.units.len() + self.spans.len() + WAIT_PARTS * self.waits.len() + self.steps.len()
    }

    /// With room for all of them, the order in which they are taken does not show.
    fn merge(&mut self, other: &Self, most: usize) {
        self.sessions += other.sessions;
        if self.parts() + other.parts() <= most {
            let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            other.units.iter().for_each(|(unit, counts)| add(self.units.entry(*unit).or_default(), counts));
            other.ranks.iter().for_each(|(unit, rank)| *self.ranks.entry(*unit).or_default() += rank);
            other
                .spans
                .iter()
                .for_each(|(group, counts)| add(self.spans.entry(*group).or_insert([0.0; SPANS]), counts));
            other.waits.iter().for_each(|(hop, counts)| add(self.waits.entry(*hop).or_insert([0.0; SPANS]), counts));
            other.steps.iter().for_each(|(step, count)| *self.steps.entry(*step).or_default() += count);
            return;
        }
        for (unit, counts) in sorted(&other.units) {
            if self.units.len() < most || self.units.contains_key(unit) {
                let to = self.units.entry(*unit).or_default();
                to.iter_mut().zip(counts).for_each(|(to, from)| *to += from);
                *self.ranks.entry(*unit).or_default() += other.ranks.get(unit).copied().unwrap_or_default();
            }
        }
        for (group, counts) in sorted(&other.spans) {
            if self.spans.len() < most || self.spans.contains_key(group) {
                let to = self.spans.entry(*group).or_insert([0.0; SPANS]);
                to.iter_mut().zip(counts).for_each(|(to, from)| *to += from);
            }
        }
        for (hop, counts) in sorted(&other.waits) {
            if self.waits.len() < most || self.waits.contains_key(hop) {
                let to = self.waits.entry(*hop).or_insert([0.0; SPANS]);
                to.iter_mut().zip(counts).for_each(|(to, from)| *to += from);
            }
        }
        for (step, count) in sorted(&other.steps) {
            if self.steps.len() < most || self.steps.contains_key(step) {
                *self.steps.entry(*step).or_default() += count;
            }
        }
    }

    /// Forgets half of everything; what becomes next to nothing goes.
    fn halve(&mut self) {
        self.sessions /= 2.0;
        self.units.values_mut().flatten().for_each(|count| *count /= 2.0);
        self.spans.values_mut().flatten().for_each(|count| *count /= 2.0);
        self.waits.values_mut().flatten().for_each(|count| *count /= 2.0);
        self.steps.values_mut().for_each(|count| *count /= 2.0);
        self.ranks.values_mut().for_each(|sum| *sum /= 2.0);
        self.units.retain(|_, counts| counts.iter().sum::<f32>() > 0.1);
        self.ranks.retain(|unit, _| self.units.contains_key(unit));
        self.spans.retain(|_, counts| counts.iter().sum::<f32>() > 0.1);
        self.waits.retain(|_, counts| counts.iter().sum::<f32>() > 0.1);
        self.steps.retain(|_, count| *count > 0.1);
    }
}

/// The entries of a map in the order of its keys: where the order shows in the result.
#[must_use]
pub fn sorted<K: Ord, V>(map: &FxHashMap<K, V>) -> Vec<(&K, &V)> {
    let mut all: Vec<(&K, &V)> = map.iter().collect();
    all.sort_unstable_by(|one, two| one.0.cmp(two.0));
    all
}

fn count_bucket(count: u16) -> usize {
    match count {
        0..=3 => usize::from(count.max(1)) - 1,
        _ => (3 + ((f64::from(count) / 4.0).log2() * 2.0) as usize).min(COUNTS - 1),
    }
}

/// The bucket of a duration.
#[must_use]
pub fn span_bucket(nanos: i64) -> usize {
    let millis = nanos.max(0) as f64 / 1e6;
    if millis < 1.0 { 0 } else { (1 + (millis.log2() * 2.0) as usize).min(SPANS - 1) }
}

/// The middle one of all durations, in seconds, as the middle of its bucket; `None` when there are none.
#[must_use]
pub fn median(counts: &[f64; SPANS]) -> Option<f64> {
    let mut left = counts.iter().sum::<f64>() / 2.0;
    let at = counts.iter().position(|count| {
        left -= count;
        left < 0.0
    });
    at.map(|bucket| span_end(bucket) / std::f64::consts::SQRT_2.sqrt())
}

/// The longest duration of a bucket in seconds.
#[must_use]
pub fn span_end(bucket: usize) -> f64 {
    (bucket as f64 / 2.0).exp2() / 1000.0
}

/// A map as a list of pairs in the order of its keys.
pub(super) mod pairs {
    use std::hash::Hash;

    use rustc_hash::FxHashMap;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<K: Ord + Serialize, V: Serialize, S: Serializer>(
        map: &FxHashMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(super::sorted(map))
    }

    pub(in super::super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<FxHashMap<K, V>, D::Error>
    where
        K: Eq + Hash + Deserialize<'de>,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// A map to buckets as pairs of a key and the buckets that are not empty.
mod buckets {
    use std::hash::Hash;

    use rustc_hash::FxHashMap;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Ord + Serialize, const N: usize, S: Serializer>(
        map: &FxHashMap<K, [f32; N]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(super::sorted(map).into_iter().map(|(key, counts)| {
            let full: Vec<(usize, f32)> =
                counts.iter().copied().enumerate().filter(|(_, count)| *count > 0.0).collect();
            (key, full)
        }))
    }

    pub(super) fn deserialize<'de, K, const N: usize, D>(deserializer: D) -> Result<FxHashMap<K, [f32; N]>, D::Error>
    where
        K: Eq + Hash + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, Vec<(usize, f32)>)>::deserialize(deserializer)?;
        let full = |(key, counts): (K, Vec<(usize, f32)>)| {
            let mut all = [0.0; N];
            for (at, count) in counts {
                if let Some(to) = all.get_mut(at) {
                    *to = count;
                }
            }
            (key, all)
        };
        Ok(pairs.into_iter().map(full).collect())
    }
}
