//! What a session did, as a vector: its templates, each with a bucket of its count.
//!
//! What comes in: templates and counts of sessions. What goes out: the distinct vectors and how many sessions have each.
//! There are far fewer of them than sessions (120 of 5,750 blocks of HDFS), so that fitting again is cheap. What never
//! happens here: growth beyond the limit.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

/// A template, by its id.
pub(super) type Unit = u32;

/// A template and how often it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Part {
    /// The template.
    pub(super) unit: Unit,
    /// Bucket of its count.
    pub(super) bucket: u8,
}

/// By rising template, each once.
pub(super) type Vector = Box<[Part]>;

/// Buckets: 1, 2, 3, then two an octave, the last open.
pub(super) const BUCKETS: usize = 32;

/// The bucket of a count.
#[must_use]
pub(super) fn bucket(count: u32) -> u8 {
    match count {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        _ => (3 + ((f64::from(count) / 4.0).log2() * 2.0) as usize).min(BUCKETS - 1) as u8,
    }
}

/// The least count of a bucket.
#[must_use]
pub(super) fn least(bucket: u8) -> u32 {
    if bucket < 3 { u32::from(bucket) + 1 } else { (4.0 * (f64::from(bucket - 3) / 2.0).exp2()).ceil() as u32 }
}

/// The vector of a session. Templates that have become one are counted together.
pub(super) fn of(parts: &[(Unit, u16)], resolve: impl Fn(Unit) -> Unit) -> Vector {
    let counts = parts.iter().map(|(unit, count)| (resolve(*unit), u32::from(*count)));
    merged(counts.collect())
}

fn merged(mut counts: Vec<(Unit, u32)>) -> Vector {
    counts.sort_unstable();
    counts.dedup_by(|next, before| {
        let same = next.0 == before.0;
        if same {
            before.1 = before.1.saturating_add(next.1);
        }
        same
    });
    counts.into_iter().map(|(unit, count)| Part { unit, bucket: bucket(count) }).collect()
}

/// Distinct vectors, and the sessions of each.
#[derive(Clone, Debug)]
pub(super) struct Vectors {
    limit: usize,
    known: FxHashMap<Vector, Count>,
    learnt: u64,
    serial: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    sessions: u32,
    serial: u64,
}

impl Vectors {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(2), known: FxHashMap::default(), learnt: 0, serial: 0 }
    }

    pub(super) fn add(&mut self, vector: Vector) {
        self.put(vector, 1);
        self.learnt += 1;
        if self.known.len() > self.limit {
            self.forget();
        }
    }

    fn put(&mut self, vector: Vector, sessions: u32) {
        self.serial += 1;
        let count = self.known.entry(vector).or_insert(Count { sessions: 0, serial: 0 });
        count.sessions = count.sessions.saturating_add(sessions);
        count.serial = self.serial;
    }

    /// Sessions learnt, forgotten ones too.
    pub(super) fn learnt(&self) -> u64 {
        self.learnt
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// In the order of the vectors.
    pub(super) fn sorted(&self) -> Vec<(&[Part], f64)> {
        let mut all: Vec<(&[Part], f64)> =
            self.known.iter().map(|(vector, count)| (&**vector, f64::from(count.sessions))).collect();
        all.sort_unstable_by(|one, two| one.0.cmp(two.0));
        all
    }

    /// Puts vectors together whose templates have become one.
    pub(super) fn resolve(&mut self, resolve: impl Fn(Unit) -> Unit) {
        let stale = |vector: &Vector| vector.iter().any(|part| resolve(part.unit) != part.unit);
        let mut old: Vec<(Vector, Count)> = self.known.extract_if(|vector, _| stale(vector)).collect();
        old.sort_unstable_by_key(|(_, count)| count.serial);
        for (vector, count) in old {
            let counts = vector.iter().map(|part| (resolve(part.unit), least(part.bucket)));
            self.put(merged(counts.collect()), count.sessions);
        }
    }

    /// Forgets half of the vectors: those of the fewest sessions, the oldest first.
    fn forget(&mut self) {
        let mut ages: Vec<_> =
            self.known.values().map(|count| (Reverse(count.sessions), Reverse(count.serial))).collect();
        ages.sort_unstable();
        ages.truncate(self.limit / 2);
        let Some(last) = ages.last().copied() else { return };
        self.known.retain(|_, count| (Reverse(count.sessions), Reverse(count.serial)) <= last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_fine_where_counts_are_small() {
        for (count, expected) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 3), (6, 4), (8, 5), (16, 7), (u32::MAX, 31)] {
            assert_eq!(bucket(count), expected, "{count}");
        }
        for one in 0..BUCKETS as u8 {
            assert_eq!(bucket(least(one)), one);
        }
    }

    #[test]
    fn templates_that_became_one_are_one() {
        let resolve = |unit: Unit| if unit == 9 { 2 } else { unit };
        let mut vectors = Vectors::new(10);
        vectors.add(of(&[(9, 1), (1, 1)], |unit| unit));
        vectors.add(of(&[(1, 1), (2, 1)], |unit| unit));
        vectors.add(of(&[(9, 2), (2, 1), (1, 1)], resolve));
        assert_eq!(vectors.len(), 3);
        vectors.resolve(resolve);
        let all: Vec<_> = vectors.sorted().into_iter().map(|(vector, sessions)| (vector.to_vec(), sessions)).collect();
        let part = |unit, bucket| Part { unit, bucket };
        assert_eq!(all, [(vec![part(1, 0), part(2, 0)], 2.0), (vec![part(1, 0), part(2, 2)], 1.0)]);
    }

    #[test]
    fn the_rarest_are_forgotten_first() {
        let mut vectors = Vectors::new(100);
        for n in 0..10_000u32 {
            vectors.add(of(&[(n % 2 * n, 1)], |unit| unit));
            assert!(vectors.len() <= 100);
        }
        let all = vectors.sorted();
        assert_eq!(all[0].1, 5_000.0);
        assert_eq!(vectors.learnt(), 10_000);
    }
}
