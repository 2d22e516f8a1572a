//! What is found about single instances of groups at the end of a window, put into words and gates.
//!
//! What comes in: the end of a window of time. What goes out: [`Found`]s, and near misses where they are asked for. What never
//! happens here: a word about windows of lines, whose streams are not known any more after a restart.

use super::super::calibrate::to_score;
use super::super::config::WindowSpec;
use super::super::instance::{Class, Instances, Odd};
use super::super::tail::ordinary;
use super::super::trace::tally::Unit;
use super::super::{Check, Gate, Level, Odd as OddLines, PatternEvidence, PatternKind};
use super::{Found, GroupNumber, Patterns};
use crate::time::Nanos;

impl Patterns {
    pub(super) fn instances(&mut self, end: Nanos) -> Vec<Found> {
        if !matches!(self.config.window, WindowSpec::Time(_)) || !self.config.detectors.has(PatternKind::Instance) {
            return Vec::new();
        }
        let groups = &self.state.groups;
        let counts = self.spread.instances().filter_map(|(group, instance, lines)| {
            Some(((groups.get(group as usize).copied().flatten()?, instance), lines))
        });
        let found = self.state.instances.close(counts);
        let known = &self.state.instances;
        let judged: Vec<(Odd, bool)> = found
            .into_iter()
            .map(|one| (known.surprise(&one) >= self.needed, one))
            .map(|(told, one)| (one, told))
            .collect();
        let told = judged.iter().filter(|(_, told)| *told).map(|(one, _)| self.instance(one, end)).collect();
        let missed = judged.iter().filter(|(_, told)| !told);
        let missed: Vec<(f64, &Odd)> = missed.map(|(one, _)| (known.surprise(one), one)).collect();
        self.miss(missed, |this, one| this.instance(one, end));
        self.state.instances.told(&judged);
        told
    }

    fn instance(&self, one: &Odd, end: Nanos) -> Found {
        let (fingerprint, instance) = one.key;
        let group = self.state.group_of.get(&fingerprint).copied().unwrap_or_default();
        let (errors, odd) = match one.class {
            Class::Errors => (true, OddLines::Errors),
            Class::Warnings => (false, OddLines::Warnings),
        };
        let is_odd = |unit: Unit| self.state.info(unit).is_some_and(|known| (known.level >= Level::Error) == errors);
        let unit = self.spread.most_frequent_of((group, instance), is_odd);
        let about = unit.map(|unit| self.evidence(PatternKind::Instance, unit, end));
        let evidence = PatternEvidence {
            key: self.spread.instance((group, instance)),
            seen: one.seen,
            of: one.of,
            expected: one.expected,
            most: Some(ordinary(one.expected, one.fano)),
            windows: u32::try_from(one.windows).unwrap_or(u32::MAX),
            ..about.unwrap_or_else(|| PatternEvidence::of(PatternKind::Instance))
        };
        let left = self.state.instances.surprise(one);
        let gates = Instances::gates(one).into_iter().chain([
            Gate::least(Check::Budget, one.surprise, self.needed),
            Gate::least(Check::SecondLook, left, self.needed),
        ]);
        Found {
            group: GroupNumber(group),
            scores: (to_score(left), to_score(self.needed)),
            evidence,
            sample: unit.and_then(|unit| self.samples.get(unit)),
            gates: gates.collect(),
            common: self.spread.of_level(group, odd),
        }
    }
}
