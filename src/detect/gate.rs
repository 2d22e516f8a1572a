//! What a finding has to pass before it is told, and windows that came near to it.
//!
//! What comes in: figures of findings, told or not. What goes out: [`Gate`]s, for explanations. What never happens here: a
//! decision. Those are made where the figures come from; a gate says what they were.

use serde::{Deserialize, Serialize};

use super::{Evidence, Group};
use crate::time::TimeRange;

/// Near misses that are worth showing.
pub const NEAREST: usize = 20;

/// What is asked of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Enough windows of the group are known.
    Windows,
    /// Enough requests of their kind are known.
    Requests,
    /// Less than a share (0 to 1) of the earlier requests of their kind did so.
    Unusual,
    /// So many lines at least.
    Lines,
    /// So many times what is expected.
    Excess,
    /// The difference is large enough for anybody to care.
    Matters,
    /// It has not ended yet.
    GoesOn,
    /// The line calls itself a warning or worse.
    Level,
    /// More has changed than how lines look.
    Shape,
    /// Its lines are no part of requests, which are judged by themselves.
    Apart,
    /// The group's lines have templates that come again.
    Templates,
    /// It did not come at this time of the day before: reached are days on which it did, needed those looked at.
    Daily,
    /// It did not come at this time of the week before: reached are weeks in which it did, needed those looked at.
    Weekly,
    /// The one template of all its lines has a word.
    Words,
    /// Its templates come again, or at least no new ones keep coming.
    Settles,
    /// Surprise against what the budget of false alarms asks for, in nats.
    Budget,
    /// What is left of the surprise beside ordinary windows of the past, in nats.
    SecondLook,
}

/// One of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Which.
    pub check: Check,
    /// What the finding has; 0 where it is not counted.
    pub reached: f64,
    /// What it needs.
    pub needed: f64,
    /// Whether it has it.
    pub passed: bool,
}

impl Gate {
    /// A condition of a least amount.
    #[must_use]
    pub fn least(check: Check, reached: f64, needed: f64) -> Self {
        Self { check, reached, needed, passed: reached >= needed }
    }

    /// A condition of an amount that has to stay below.
    #[must_use]
    pub fn below(check: Check, reached: f64, needed: f64) -> Self {
        Self { check, reached, needed, passed: reached < needed }
    }

    /// A condition that is met or not.
    #[must_use]
    pub fn plain(check: Check, passed: bool) -> Self {
        Self { check, reached: 0.0, needed: 0.0, passed }
    }
}

/// A window that was not told, with what spoke most for telling it.
#[derive(Clone, Debug, PartialEq)]
pub struct NearMiss {
    /// Where.
    pub group: Group,
    /// When.
    pub range: TimeRange,
    /// Entries in the window.
    pub lines: u64,
    /// How surprising it is, in nats.
    pub surprise: f64,
    /// The surprise from which on it is told.
    pub needed: f64,
    /// The one finding that came nearest, with its gates.
    pub evidence: Evidence,
    /// Windows in which the same came near, from the first that was among the nearest on.
    pub windows: u64,
}

impl NearMiss {
    /// What held it back.
    #[must_use]
    pub fn held(&self) -> Option<&Gate> {
        self.evidence.gates.iter().find(|gate| !gate.passed)
    }

    /// 1 where it would have been told.
    fn nearness(&self) -> f64 {
        self.surprise / self.needed.max(1.0)
    }

    /// Whether it is the same thing in another window.
    fn is_again(&self, other: &Self) -> bool {
        let what = |miss: &Self| {
            let feature = miss.evidence.features.first().map(|one| one.feature);
            let pattern = miss.evidence.patterns.first().map(|one| (one.kind, one.line.clone()));
            (miss.group.fingerprint, feature, pattern)
        };
        what(self) == what(other)
    }
}

/// The windows that came nearest, the same thing once.
#[derive(Clone, Debug, Default)]
pub struct Nearest(Vec<NearMiss>);

impl Nearest {
    /// Takes another one; the farthest goes when there are too many.
    pub fn add(&mut self, mut miss: NearMiss) {
        if let Some(at) = self.0.iter().position(|known| known.is_again(&miss)) {
            let known = self.0.remove(at);
            let windows = known.windows + miss.windows;
            miss = if miss.nearness() > known.nearness() { miss } else { known };
            miss.windows = windows;
        }
        // The first to come so near stays before those that come as near later.
        let at = self.0.partition_point(|known| known.nearness() >= miss.nearness());
        self.0.insert(at, miss);
        self.0.truncate(NEAREST);
    }

    /// The nearest first.
    #[must_use]
    pub fn all(&self) -> &[NearMiss] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{PatternEvidence, PatternKind};
    use crate::labels::{Fingerprint, Labels};

    fn miss(group: u64, line: &str, surprise: f64) -> NearMiss {
        let pattern = PatternEvidence { line: Some(line.to_owned()), ..PatternEvidence::of(PatternKind::New) };
        NearMiss {
            group: Group { fingerprint: Fingerprint(group), labels: Labels::new() },
            range: TimeRange::new(0, 1),
            lines: 1,
            surprise,
            needed: 10.0,
            evidence: Evidence {
                patterns: vec![pattern],
                gates: vec![Gate::plain(Check::Level, true), Gate::least(Check::Budget, surprise, 10.0)],
                ..Evidence::default()
            },
            windows: 1,
        }
    }

    #[test]
    fn the_nearest_are_kept_and_the_same_is_one() {
        let mut nearest = Nearest::default();
        for n in 0..100 {
            nearest.add(miss(1, &format!("line {n}"), f64::from(n) / 20.0));
        }
        for surprise in [9.0, 3.0, 1.0] {
            nearest.add(miss(2, "again", surprise));
        }
        assert_eq!(nearest.all().len(), NEAREST);
        let first = &nearest.all()[0];
        assert_eq!((first.surprise, first.windows, first.group.fingerprint), (9.0, 3, Fingerprint(2)));
        assert_eq!(first.held().map(|gate| gate.check), Some(Check::Budget));
        assert!(nearest.all().is_sorted_by(|one, two| one.surprise >= two.surprise));
    }
}
