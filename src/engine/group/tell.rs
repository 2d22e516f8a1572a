//! What is told of a window of a group, or what held it back.
//!
//! What comes in: judgements. What goes out: anomalies with their grade and all that explains them, and near misses. What
//! never happens here: learning.

use super::{About, GroupState, With};
use crate::detect::calibrate::from_score;
use crate::detect::config::Preset;
use crate::detect::gate::{Check, Gate, NearMiss};
use crate::detect::habit::{Habit, Sign};
use crate::detect::pattern::{Found, GroupNumber, Patterns};
use crate::detect::window::MAX_SAMPLES;
use crate::detect::{Anomaly, Common, Evidence, Feature, FeatureEvidence, Grade, Judgement, Odd, PatternEvidence};
use crate::detect::{Sample, Window, explain};
use crate::engine::watch::Shared;
use crate::labels::Labels;

/// So many nats beyond the threshold a finding is told also of a group that is not known for long.
const SURE: f64 = 3.0;

impl GroupState {
    pub(super) fn title(&self, anomaly: &Anomaly) -> String {
        format!("{}: {}", name(&self.group.labels), explain::headline(&anomaly.evidence))
    }

    pub(super) fn anomaly(&self, window: &Window, all: &Judgement, about: &About, with: With<'_>) -> Option<Anomaly> {
        all.anomalous.as_ref()?;
        let (judgement, habit) = match self.unusual(window, about, all, with) {
            Ok(rest) => (rest, None),
            Err(habit) => (all.clone(), Some(habit)),
        };
        let judgement = &judgement;
        let mut features = judgement.anomalous.clone()?;
        if !window.late && self.lines.is_none() {
            self.name_lines(&mut features, window, with.patterns);
        }
        let (score, threshold) = (judgement.score.unwrap_or_default(), judgement.threshold.unwrap_or_default());
        let found =
            strongest(self.number, about.found.iter().chain(&about.rarest)).filter(|_| !judgement.patterns.is_empty());
        let samples = samples(judgement, window);
        let own = [
            Gate::plain(Check::Matters, true),
            Gate::plain(Check::GoesOn, true),
            Gate::least(Check::Budget, from_score(score), from_score(threshold)),
        ];
        let own = own.into_iter().chain(with.patterns.wants(self.number)).collect();
        let counts = features.first().map_or(0.0, |first| first.share);
        let by_pattern = found.filter(|_| judgement.patterns.first().is_some_and(|first| first.share >= counts));
        let mut anomaly = Anomaly {
            group: self.group.clone(),
            range: window.range,
            lines: window.lines,
            late: window.late,
            score,
            threshold,
            grade: self.grade(&features, judgement, habit, with.shared),
            evidence: Evidence {
                common: if window.late { Vec::new() } else { self.common(&features, found, with.patterns) },
                features,
                patterns: judgement.patterns.clone(),
                samples,
                gates: self.gates(by_pattern.map_or(own, |found| found.gates.clone())),
                coverage: window.coverage,
                query: self.query.clone(),
            },
        };
        let begins = || signs(judgement).find_map(|sign| self.habits.begins(window.range, &sign));
        let told = anomaly.grade == Grade::Alert && with.shared.detect.habits;
        let habit = habit.or_else(|| begins().filter(|_| told));
        anomaly.evidence.gates.extend(habit.map(Habit::gate));
        // Marking costs as much as judging: it is done for what may be told.
        if with.patterns.is_explaining() || self.lifecycle.may_tell(&anomaly, &with.shared.incident) {
            with.patterns.mark(&mut anomaly.evidence.samples);
        }
        Some(anomaly)
    }

    /// A surge of ordinary lines wakes nobody, and what comes at this time of the day or the week neither. What is known of a group for less than twice as long as it takes to judge it
    /// says little of what is rare: until then only what is far beyond the threshold is told. The simple detector tells all.
    fn grade(
        &self,
        features: &[FeatureEvidence],
        judgement: &Judgement,
        habit: Option<Habit>,
        shared: &Shared,
    ) -> Grade {
        let (have, need) = self.model.progress();
        let beyond = |score: Option<f64>| from_score(score.unwrap_or_default());
        let sure = beyond(judgement.score) >= beyond(judgement.threshold) + SURE;
        let harmless = |one: &FeatureEvidence| match one.feature {
            Feature::Rate => one.seen > one.expected.1,
            Feature::LineLength | Feature::UniqueMessages => true,
            Feature::ErrorCount | Feature::WarnCount => one.seen <= one.expected.1,
        };
        if shared.detect.preset == Preset::Classic {
            Grade::Alert
        } else if self.lines.is_none() && !sure && have < need.saturating_mul(2) {
            Grade::Learning
        } else if habit.is_some() || judgement.patterns.is_empty() && features.iter().all(harmless) {
            Grade::Notice
        } else {
            Grade::Alert
        }
    }

    /// Says which errors and warnings most of them are, where there are more than expected.
    fn name_lines(&self, features: &mut [FeatureEvidence], window: &Window, patterns: &Patterns) {
        for one in features.iter_mut().filter(|one| one.share > 0.0 && one.seen > one.expected.1) {
            let odd = match one.feature {
                Feature::ErrorCount => Odd::Errors,
                Feature::WarnCount => Odd::Warnings,
                _ => continue,
            };
            one.frequent = patterns.frequent(self.number, odd, window.range.end);
        }
    }

    /// What the lines of the strongest evidence that has lines have in common.
    fn common(&self, features: &[FeatureEvidence], found: Option<&Found>, patterns: &Patterns) -> Vec<Common> {
        let of_pattern = found.map(|found| found.common.clone()).unwrap_or_default();
        if !of_pattern.is_empty() || self.lines.is_some() {
            return of_pattern;
        }
        let odd = features.iter().filter(|one| one.share > 0.0 && one.seen > one.expected.1).find_map(|one| match one
            .feature
        {
            Feature::ErrorCount => Some(Odd::Errors),
            Feature::WarnCount => Some(Odd::Warnings),
            _ => None,
        });
        odd.map(|odd| patterns.common(self.number, odd)).unwrap_or_default()
    }

    /// The conditions of a finding behind the one that the group is known well enough.
    fn gates(&self, of_finding: Vec<Gate>) -> Vec<Gate> {
        let (have, need) = self.model.progress();
        let known = Gate::least(Check::Windows, have.into(), need.into());
        // A finding that asks for windows too asks for no more than these.
        let rest = of_finding.into_iter().filter(|gate| gate.check != Check::Windows || !gate.passed);
        std::iter::once(known).chain(rest).collect()
    }

    /// What speaks most for a window that is not told, and what held it back.
    pub(super) fn near(
        &self,
        window: &Window,
        about: &About,
        judgement: &Judgement,
        with: With<'_>,
    ) -> Option<NearMiss> {
        // What was found of a group that is not known well enough is not told either.
        let early = if judgement.score.is_none() { about.found.as_slice() } else { &[] };
        let missed = strongest(self.number, with.patterns.missed().iter().chain(early).chain(&about.rarest));
        let of_pattern = missed.map(|one| {
            let asked = one.gates.iter().rfind(|gate| matches!(gate.check, Check::Budget | Check::SecondLook));
            let scores = asked.map_or((0.0, 0.0), |gate| (gate.reached, gate.needed));
            let evidence = Evidence {
                patterns: vec![PatternEvidence { share: 1.0, ..one.evidence.clone() }],
                samples: one.sample.iter().cloned().collect(),
                common: one.common.clone(),
                gates: self.gates(one.gates.clone()),
                ..Evidence::default()
            };
            (scores, evidence)
        });
        let of_feature = self.model.nearest(window, about.in_sessions).map(|(feature, scores, gates)| {
            let (mut features, gates) = (vec![feature], self.gates(gates));
            if self.lines.is_none() {
                self.name_lines(&mut features, window, with.patterns);
            }
            let samples = if self.lines.is_none() { self.last.kept().samples() } else { window.samples.clone() };
            (scores, Evidence { features, gates, samples, ..Evidence::default() })
        });
        let near = |((surprise, needed), _): &((f64, f64), Evidence)| surprise / needed.max(1.0);
        let both = of_pattern.into_iter().chain(of_feature);
        let nearest = both.max_by(|one, two| near(one).total_cmp(&near(two)));
        let ((surprise, needed), mut evidence) = nearest.filter(|((surprise, _), _)| *surprise > 0.0)?;
        with.patterns.mark(&mut evidence.samples);
        evidence.coverage = window.coverage;
        evidence.query.clone_from(&self.query);
        let (group, range) = (self.group.clone(), window.range);
        Some(NearMiss { group, range, lines: window.lines, surprise, needed, evidence, windows: 1 })
    }
}

/// The lines that patterns are about; those of the window, the worst first, where its counts speak or there are no others.
fn samples(judgement: &Judgement, window: &Window) -> Vec<Sample> {
    let counts = judgement.anomalous.iter().flatten().map(|one| one.share).sum::<f64>();
    let mut all = judgement.samples.clone();
    if all.is_empty() || counts > 0.0 {
        all.extend(window.samples.iter().cloned());
    }
    let mut kept: Vec<Sample> = Vec::new();
    for one in all {
        if kept.len() < MAX_SAMPLES && !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

/// What was found, as habits tell it apart.
pub(super) fn signs(judgement: &Judgement) -> impl Iterator<Item = Sign> {
    let of_features = judgement.anomalous.iter().flatten().filter_map(Sign::of_feature);
    of_features.chain(judgement.patterns.iter().map(Sign::of_pattern))
}

/// What is most surprising of a group.
fn strongest<'a>(group: GroupNumber, found: impl IntoIterator<Item = &'a Found>) -> Option<&'a Found> {
    let of_group = found.into_iter().filter(|found| found.group == group);
    of_group.max_by(|one, two| one.scores.0.total_cmp(&two.scores.0))
}

/// How people call a group: the values of its labels.
pub(in crate::engine) fn name(labels: &Labels) -> String {
    let values: Vec<&str> = labels.iter().map(|(_, value)| value).collect();
    if values.is_empty() { "all".to_owned() } else { values.join("/") }
}
