//! All that is known of one group.
//!
//! What comes in: closed windows, one after the other. What goes out: judgements. A model is a fold over the group's
//! windows: a snapshot and the windows since give the same model, bit for bit (but with `kind: extended`). What never happens
//! here: judging a window with what was learnt from it, or learning from a window that is anomalous or was not seen whole.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::calibrate::{Tail, needed};
use super::config::{DetectConfig, Preset};
use super::detector::{Isolation, features, mix};
use super::expect::{Expectation, Finding, SPANS};
use super::history::{History, Row};
use super::{Check, Detector, Feature, FeatureEvidence, Gate, Judgement, Window, decide};
use crate::labels::Fingerprint;

/// Version of the text of a snapshot.
const VERSION: u32 = 1;
/// Forest scores are kept in steps of this.
const SCORE_STEP: f64 = 1e-4;
/// Windows without anything after which an anomaly is over.
const LULL: usize = 6;
/// After a day of anomalous windows without a normal one, their level is the new normal.
const DAY_MILLIS: u64 = 86_400_000;

/// The model of one group.
#[derive(Clone, Debug)]
pub struct Model {
    config: DetectConfig,
    isolation: Isolation,
    /// Forest scores of learnt windows, given before they were learnt, in steps.
    scores: VecDeque<u16>,
    /// The last windows, learnt or not, the newest first.
    trail: VecDeque<Row>,
    /// Windows since the last that was anomalous.
    since: usize,
    /// Milliseconds of anomalous windows since the last normal one.
    refused_millis: u64,
    /// Follows from the rest at each fit.
    expectation: Option<Expectation>,
    tail: Tail,
    needed: f64,
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    version: u32,
    config: DetectConfig,
    learnt: u64,
    fitted_at: u64,
    refused_millis: u64,
    rows: Vec<i64>,
    scores: VecDeque<u16>,
    trail: VecDeque<Row>,
    #[serde(default = "long_ago")]
    since: usize,
}

fn long_ago() -> usize {
    usize::MAX
}

impl Model {
    /// A model that knows nothing yet.
    #[must_use]
    pub fn new(config: &DetectConfig, group: Fingerprint) -> Self {
        let isolation = Isolation::new(config, mix(config.seed, group.0));
        Self::with(config, isolation)
    }

    fn with(config: &DetectConfig, isolation: Isolation) -> Self {
        Self {
            config: config.clone(),
            isolation,
            scores: VecDeque::new(),
            trail: VecDeque::new(),
            since: long_ago(),
            refused_millis: 0,
            expectation: None,
            tail: Tail::fit(Vec::new(), 0.02, 0.0),
            needed: f64::MAX,
        }
    }

    /// What is found about a window with what is known before it. Never learns; the score is `None` while warming up.
    #[must_use]
    pub fn judge(&self, window: &Window) -> Judgement {
        self.judge_in(window, false)
    }

    /// The same for a group whose lines all belong to sessions (`in_sessions`): more lines, or others, are more sessions, or
    /// others, and what is wrong with those is found there.
    #[must_use]
    pub fn judge_in(&self, window: &Window, in_sessions: bool) -> Judgement {
        let Some(expectation) = &self.expectation else { return Judgement::default() };
        let score = self.isolation.score(window);
        let row = self.isolation.history().row(window);
        let recent = self.isolation.history().newest(usize::MAX);
        // What was told some windows ago is no part of what is added up now.
        let trail = if self.since > LULL { self.since } else { usize::MAX };
        let mut findings = expectation.findings(&row, self.trail.iter().take(trail), recent);
        let heard = self.config.detectors;
        findings.retain(|finding| heard.has(finding.feature));
        if in_sessions {
            findings.retain(is_apart);
        }
        let (surprise, shares) =
            score.as_ref().map_or((0.0, [0.0; 5]), |score| (self.tail.surprise(score.value), score.shares));
        let verdict = decide::weigh(&findings, surprise, &shares);
        let (value, threshold) = decide::scores(&verdict, self.needed);
        let anomalous = !findings.is_empty() && self.is_telling(&findings) && value >= threshold;
        let value = if anomalous { value } else { value.min(threshold - 1e-9) };
        let evidence = || self.evidence(expectation, &row, &findings, &verdict);
        Judgement {
            score: Some(value),
            threshold: Some(threshold),
            anomalous: if anomalous { Some(evidence()) } else { None },
            patterns: Vec::new(),
            samples: Vec::new(),
            raw: score.map(|score| score.value),
        }
    }

    /// What the lines look like, without more or less of anything, is for the simple detector alone to tell.
    fn is_telling(&self, findings: &[Finding]) -> bool {
        let shape = |finding: &Finding| matches!(finding.feature, Feature::LineLength | Feature::UniqueMessages);
        self.config.preset == Preset::Classic || !findings.iter().all(shape)
    }

    /// The features that have a part in it by falling share; of those that are as expected, what is expected in one window.
    fn evidence(
        &self,
        expectation: &Expectation,
        row: &Row,
        findings: &[Finding],
        verdict: &decide::Verdict,
    ) -> Vec<FeatureEvidence> {
        let recent = self.isolation.history().newest(usize::MAX);
        let heard = self.config.detectors;
        let has_part = |feature: Feature| heard.has(feature) && verdict.parts[feature as usize] > 0.0;
        let mut all: Vec<FeatureEvidence> = features(self.config.preset)
            .iter()
            .filter(|feature| has_part(**feature))
            .filter_map(|feature| {
                let (share, forest) = (verdict.parts[*feature as usize], verdict.forest[*feature as usize]);
                if let Some(finding) = strongest(findings.iter().filter(|finding| finding.feature == *feature)) {
                    return Some(FeatureEvidence { share, forest, ..told(finding) });
                }
                let (seen, expected) = (row.get(*feature)?, expectation.range(*feature, row, recent.clone())?);
                Some(FeatureEvidence {
                    feature: *feature,
                    seen,
                    expected,
                    share,
                    forest,
                    frequent: None,
                    windows: 1,
                    presence: false,
                })
            })
            .collect();
        // Of those that are named: a feature that the window has not, such as the length of no line, is not.
        let total: f64 = all.iter().map(|one| one.share).sum();
        for one in all.iter_mut().filter(|_| total > 0.0) {
            (one.share, one.forest) = (one.share / total, one.forest / total);
        }
        all.sort_by(|one, two| two.share.total_cmp(&one.share));
        all
    }

    /// What speaks most for a window that is not anomalous, its surprise, the surprise that is needed, and the conditions
    /// up to the first that it did not meet. `None` when nothing does. For explanations, before the window is learnt.
    #[must_use]
    pub fn nearest(&self, window: &Window, in_sessions: bool) -> Option<(FeatureEvidence, (f64, f64), Vec<Gate>)> {
        let row = self.isolation.history().row(window);
        let recent = self.isolation.history().newest(usize::MAX);
        let trail = if self.since > LULL { self.since } else { usize::MAX };
        let mut all = self.expectation.as_ref()?.findings(&row, self.trail.iter().take(trail), recent);
        all.retain(|finding| self.config.detectors.has(finding.feature));
        let kept: Vec<Finding> = all.iter().filter(|finding| !in_sessions || is_apart(finding)).cloned().collect();
        let apart = !kept.is_empty() || all.is_empty();
        let findings = if apart { kept } else { all };
        let one = strongest(findings.iter())?;
        let score = self.isolation.score(window);
        let (forest, shares) =
            score.as_ref().map_or((0.0, [0.0; 5]), |score| (self.tail.surprise(score.value), score.shares));
        let surprise = decide::weigh(&findings, forest, &shares).surprise;
        let gates = vec![
            Gate::plain(Check::Matters, true),
            Gate::plain(Check::Apart, apart),
            Gate::plain(Check::Shape, self.is_telling(&findings)),
            Gate::least(Check::Budget, surprise, self.needed),
        ];
        Some((FeatureEvidence { share: 1.0, ..told(one) }, (surprise, self.needed), gates))
    }

    /// Takes a judged window in and says whether it was learnt: not when it is anomalous, was not seen whole, or is a
    /// late version of one that was judged before. After a day of nothing but anomalous windows, they are the new normal.
    pub fn learn(&mut self, window: &Window, judgement: &Judgement) -> bool {
        let fit = window.coverage.is_whole() && !window.late;
        let learnt = fit && (judgement.anomalous.is_none() || self.refused_millis >= DAY_MILLIS);
        self.take(window, judgement, learnt);
        learnt
    }

    /// The same from a stored row: the window, what was found, and whether it was learnt.
    pub fn fold(&mut self, window: &Window, judgement: &Judgement, learnt: bool) {
        self.take(window, judgement, learnt);
    }

    fn take(&mut self, window: &Window, judgement: &Judgement, learnt: bool) {
        if window.late {
            return;
        }
        let row = self.isolation.history().row(window);
        self.trail.push_front(row);
        self.trail.truncate(SPANS.iter().max().copied().unwrap_or(1) - 1);
        self.since = if judgement.anomalous.is_some() { 0 } else { self.since.saturating_add(1) };
        if judgement.anomalous.is_some() {
            let millis = u64::try_from(window.range.len() / 1_000_000).unwrap_or_default();
            self.refused_millis = self.refused_millis.saturating_add(millis.max(1));
        } else if learnt {
            self.refused_millis = 0;
        }
        if !learnt {
            return;
        }
        // The judgement brings the detector's score along, unless it comes from the store.
        let scored = || self.isolation.score(window).map(|score| score.value);
        if let Some(value) = judgement.raw.or_else(scored) {
            self.scores.push_back((value / SCORE_STEP).round() as u16);
            if self.scores.len() > self.isolation.history().capacity() {
                self.scores.pop_front();
            }
        }
        let before = self.isolation.fitted_at();
        self.isolation.learn(window);
        if self.isolation.fitted_at() != before {
            self.calibrate();
        }
    }

    /// What follows from the history and the scores, anew after each fit.
    fn calibrate(&mut self) {
        let rows = self.isolation.fitted_rows();
        let seconds = rows.clone().map(Row::seconds).sum::<f64>() / rows.clone().count().max(1) as f64;
        self.needed = needed(&self.config, seconds);
        self.expectation = Some(Expectation::fit(rows, features(self.config.preset), self.config.window));
        let since = self.isolation.history().learnt() - self.isolation.fitted_at();
        let known = self.scores.len().saturating_sub(usize::try_from(since).unwrap_or(usize::MAX));
        // As many as are still there when the next fit is due, so that a restart finds the same.
        let oldest = known.saturating_sub(self.isolation.keep());
        let scores: Vec<f64> = self.scores.range(oldest..known).map(|score| f64::from(*score) * SCORE_STEP).collect();
        let most = if scores.len() < 20 { 0.0 } else { (4.0 * scores.len() as f64).ln() };
        self.tail = Tail::fit(scores, 0.02, most);
    }

    /// Windows learnt, and how many are needed before the group is judged.
    #[must_use]
    pub fn progress(&self) -> (u32, u32) {
        let have = u32::try_from(self.isolation.history().learnt()).unwrap_or(u32::MAX);
        (have, self.config.warm_up.max(2))
    }

    /// The model as text, for [`Model::restore`].
    #[must_use]
    pub fn snapshot(&self) -> String {
        let (learnt, rows) = self.isolation.history().to_numbers();
        let snapshot = Snapshot {
            version: VERSION,
            config: self.config.clone(),
            learnt,
            fitted_at: self.isolation.fitted_at(),
            refused_millis: self.refused_millis,
            rows,
            scores: self.scores.clone(),
            trail: self.trail.clone(),
            since: self.since,
        };
        serde_json::to_string(&snapshot).unwrap_or_default()
    }

    /// The model of a snapshot; `None` when the text is of another version, was made with other settings of windows,
    /// features or history, or is damaged: then the group starts anew, from its stored windows.
    #[must_use]
    pub fn restore(config: &DetectConfig, group: Fingerprint, text: &str) -> Option<Self> {
        let snapshot: Snapshot = serde_json::from_str(text).ok()?;
        let same = snapshot.version == VERSION
            && snapshot.config.window == config.window
            && snapshot.config.preset == config.preset
            && snapshot.config.kind == config.kind
            && snapshot.config.history == config.history
            && snapshot.config.warm_up == config.warm_up
            && snapshot.config.refit_every == config.refit_every;
        if !same || snapshot.fitted_at > snapshot.learnt {
            return None;
        }
        let seed = mix(config.seed, group.0);
        let capacity = Isolation::new(config, seed).history().capacity();
        let history = History::from_numbers(config, capacity, snapshot.learnt, &snapshot.rows)?;
        let mut model = Self::with(config, Isolation::restore(config, seed, history, snapshot.fitted_at));
        model.scores = snapshot.scores;
        model.trail = snapshot.trail;
        model.since = snapshot.since;
        model.refused_millis = snapshot.refused_millis;
        if snapshot.fitted_at > 0 {
            model.calibrate();
        }
        Some(model)
    }
}

/// What is wrong with the lines of a group that are in sessions, which are judged by themselves, beside that.
fn is_apart(finding: &Finding) -> bool {
    match finding.feature {
        Feature::LineLength | Feature::UniqueMessages => false,
        Feature::Rate => finding.seen < finding.expected.0,
        Feature::ErrorCount | Feature::WarnCount => true,
    }
}

/// The last of equals.
fn strongest<'a>(findings: impl Iterator<Item = &'a Finding>) -> Option<&'a Finding> {
    findings.max_by(|one, two| one.surprise.total_cmp(&two.surprise))
}

/// A finding as evidence, with a share of nothing yet.
fn told(finding: &Finding) -> FeatureEvidence {
    FeatureEvidence {
        feature: finding.feature,
        seen: finding.seen,
        expected: finding.expected,
        share: 0.0,
        forest: 0.0,
        frequent: None,
        windows: u32::try_from(finding.span).unwrap_or(1),
        presence: finding.presence,
    }
}

#[cfg(test)]
mod tests {
    use super::super::detector::Dice;
    use super::super::detector::tests::{ordinary, window};
    use super::*;
    use crate::collect::{Coverage, Known};
    use crate::detect::Evidence;
    use crate::detect::config::Kind;
    use crate::detect::explain::{headline, reason};
    use crate::detect::pattern::{Found, GroupNumber};
    use crate::detect::{PatternEvidence, PatternKind};
    use crate::time::Span;

    const GROUP: Fingerprint = Fingerprint(7);

    fn title(features: &[FeatureEvidence]) -> String {
        headline(&Evidence { features: features.to_vec(), ..Evidence::default() })
    }

    fn learnt(config: &DetectConfig, windows: impl Iterator<Item = Window>) -> Model {
        let mut model = Model::new(config, GROUP);
        for window in windows {
            let judgement = model.judge(&window);
            model.learn(&window, &judgement);
        }
        model
    }

    fn day() -> Model {
        let mut dice = Dice(3);
        learnt(&DetectConfig::default(), (0..600).map(move |at| ordinary(&mut dice, at)))
    }

    #[track_caller]
    fn check(model: &Model, window: &Window, text: &str) {
        let judgement = model.judge(window);
        let found = judgement.anomalous.as_deref().map(|all| format!("{}: {}", title(all), reason(all)));
        assert_eq!(found.unwrap_or_default(), text, "{judgement:?}");
    }

    #[test]
    fn plain_faults_are_found_and_explained() {
        let model = day();
        check(&model, &window(600, 205, [141.0, 2.0, 6.0, 30.0]), "");
        check(
            &model,
            &window(600, 205, [141.0, 48.0, 6.0, 30.0]),
            "more errors than usual: errors 48, expected 0 to 7",
        );
        check(
            &model,
            &window(600, 205, [141.0, 1.0, 90.0, 30.0]),
            "more warnings than usual: warnings 90, expected 0 to 15",
        );
        check(&model, &window(600, 0, [0.0, 0.0, 0.0, 0.0]), "gone silent: rate 0 lines/s, expected 2.1 to 4.8");
        check(
            &model,
            &window(600, 2000, [141.0, 1.0, 5.0, 30.0]),
            "more lines than usual: rate 33 lines/s, expected 2.1 to 4.8",
        );
        let longer = window(600, 200, [900.0, 1.0, 5.0, 30.0]);
        check(&model, &longer, "");
        let judgement = model.judge(&longer);
        assert!(judgement.score < judgement.threshold, "{judgement:?}");
        let config = DetectConfig { preset: Preset::Classic, ..DetectConfig::default() };
        let mut dice = Dice(3);
        let simple = learnt(&config, (0..600).map(move |at| ordinary(&mut dice, at)));
        check(&simple, &longer, "longer lines than usual: line length 900 bytes, expected 120 to 163");
    }

    #[test]
    fn nothing_is_judged_while_warming_up() {
        let mut dice = Dice(3);
        let model = learnt(&DetectConfig::default(), (0..59).map(move |at| ordinary(&mut dice, at)));
        assert_eq!(model.judge(&window(60, 205, [141.0, 480.0, 6.0, 30.0])), Judgement::default());
        assert_eq!(model.progress(), (59, 60));
    }

    #[test]
    fn what_is_odd_late_or_partial_is_not_learnt() {
        let mut model = day();
        let before = model.progress();
        let mut burst = window(600, 205, [141.0, 48.0, 6.0, 30.0]);
        let judgement = model.judge(&burst);
        assert!(!model.learn(&burst, &judgement));
        burst.late = true;
        assert!(!model.learn(&burst, &Judgement::default()));
        let mut partial = window(601, 205, [141.0, 1.0, 6.0, 30.0]);
        partial.coverage = Coverage { known: Known::Partial, seen: 205, missing: 10 };
        let judgement = model.judge(&partial);
        assert!(!model.learn(&partial, &judgement));
        assert_eq!(model.progress(), before);
    }

    #[test]
    fn a_day_of_anomalies_is_the_new_normal() {
        let mut model = day();
        let mut last = 0;
        for at in 600..4000 {
            let burst = window(at, 205, [141.0, 48.0, 6.0, 30.0]);
            let judgement = model.judge(&burst);
            if judgement.anomalous.is_some() {
                last = at;
            }
            model.learn(&burst, &judgement);
        }
        assert!((2040..2600).contains(&last), "{last}");
    }

    #[test]
    fn a_foul_stretch_does_not_blind() {
        let mut dice = Dice(3);
        let foul = |at: i64| (300..330).contains(&at);
        let windows = (0..1500)
            .map(|at| if foul(at) { window(at, 900, [141.0, 300.0, 60.0, 90.0]) } else { ordinary(&mut dice, at) });
        let mut model = Model::new(&DetectConfig::default(), GROUP);
        for window in windows {
            model.learn(&window, &Judgement::default());
        }
        assert!(model.judge(&window(1500, 205, [141.0, 48.0, 6.0, 30.0])).anomalous.is_some());
        assert!(model.judge(&window(1500, 0, [0.0; 4])).anomalous.is_some());
    }

    #[test]
    fn two_lines_a_minute_do_not_cry_wolf() {
        let mut dice = Dice(9);
        let mut wrong = 0;
        let mut model = Model::new(&DetectConfig::default(), GROUP);
        for at in 0..3000 {
            // About two lines a minute, each an error one time in fifty.
            let lines = (0..20).filter(|_| dice.unit() < 0.1).count() as u64;
            let errors = (0..lines).filter(|_| dice.unit() < 0.02).count() as f64;
            let window = window(at, lines, [80.0 + 200.0 * dice.unit(), errors, 0.0, lines as f64]);
            let judgement = model.judge(&window);
            wrong += u32::from(judgement.anomalous.is_some());
            model.learn(&window, &judgement);
        }
        assert_eq!(wrong, 0);
    }

    #[test]
    fn a_daily_rhythm_does_not_alarm_and_silence_does() {
        let mut dice = Dice(5);
        let mut model = Model::new(&DetectConfig::default(), GROUP);
        let mut wrong = 0;
        for at in 0..2880 {
            let level = 1.0 + 0.8 * (at as f64 / 1440.0 * std::f64::consts::TAU).sin();
            let mut window = ordinary(&mut dice, at);
            window.lines = (window.lines as f64 * level) as u64;
            window.features.0[1] = window.features.0[1].map(|errors| (errors * level).round());
            window.features.0[2] = window.features.0[2].map(|warns| (warns * level).round());
            window.features.0[4] = Some(window.lines as f64 / 60.0);
            let judgement = model.judge(&window);
            wrong += u32::from(judgement.anomalous.is_some());
            model.learn(&window, &judgement);
        }
        assert_eq!(wrong, 0);
        let found = model.judge(&window(2880, 0, [0.0; 4])).anomalous.unwrap();
        assert_eq!(title(&found), "gone silent");
    }

    #[test]
    fn shares_sum_to_one() {
        let judgement = day().judge(&window(600, 900, [141.0, 48.0, 60.0, 30.0]));
        let sum: f64 = judgement.anomalous.unwrap().iter().map(|one| one.share).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        assert!(judgement.score > judgement.threshold);
    }

    #[test]
    fn snapshots_are_small_and_refuse_other_settings() {
        let config = DetectConfig::default();
        let mut dice = Dice(3);
        let model = learnt(&config, (0..3200).map(move |at| ordinary(&mut dice, at)));
        let text = model.snapshot();
        assert!(text.len() < 100_000, "{}", text.len());
        assert!(Model::restore(&config, GROUP, &text).is_some());
        let other =
            DetectConfig { window: super::super::config::WindowSpec::Time(Span::seconds(10)), ..config.clone() };
        assert!(Model::restore(&other, GROUP, &text).is_none());
        for damaged in ["", "{}", &text[..text.len() / 2], &text.replace("\"version\":1", "\"version\":0")] {
            assert!(Model::restore(&config, GROUP, damaged).is_none());
        }
    }

    #[test]
    fn the_extended_kind_and_the_classic_preset_find_a_burst_too() {
        for (kind, preset) in
            [(Kind::Extended, Preset::Standard), (Kind::Extended, Preset::Classic), (Kind::Forest, Preset::Classic)]
        {
            let config = DetectConfig { kind, preset, ..DetectConfig::default() };
            let mut dice = Dice(3);
            let model = learnt(&config, (0..300).map(move |at| ordinary(&mut dice, at)));
            let found = model.judge(&window(300, 205, [141.0, 48.0, 6.0, 30.0])).anomalous.unwrap();
            assert_eq!(found[0].feature, crate::detect::Feature::ErrorCount);
            assert!(found.iter().all(|one| one.share > 0.0), "{found:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(48))]
        /// Whatever judges, the shares of all evidence are parts of one whole, and so are those of the detectors.
        #[test]
        fn shares_over_all_evidence_sum_to_one(
            seed in 0u64..1000, kind in 0usize..3, classic: bool,
            lines in proptest::prop_oneof![proptest::strategy::Just(0u64), 1u64..4000],
            counts in (0.0f64..3000.0, 0u32..400, 0u32..400, 0u32..400),
            found in proptest::collection::vec(0.95f64..1.0, 0..5),
        ) {
            let kind = [Kind::None, Kind::Forest, Kind::Extended][kind];
            let preset = if classic { Preset::Classic } else { Preset::Standard };
            let config = DetectConfig { kind, preset, ..DetectConfig::default() };
            let mut dice = Dice(seed);
            let model = learnt(&config, (0..120).map(move |at| ordinary(&mut dice, at)));
            let (length, errors, warns, unique) = counts;
            let judgement = model.judge(&window(120, lines, [length, errors.into(), warns.into(), unique.into()]));
            let kinds = [PatternKind::New, PatternKind::Burst, PatternKind::Missing, PatternKind::Rare];
            let found: Vec<Found> = found.iter().zip(kinds.iter().cycle()).map(|(score, kind)| Found {
                group: GroupNumber::default(),
                scores: (*score, 0.9),
                evidence: PatternEvidence::of(*kind),
                sample: None,
                gates: Vec::new(),
                common: Vec::new(),
            }).collect();
            let judgement = decide::join(judgement, found.iter());
            if let Some(features) = judgement.anomalous {
                let evidence = Evidence { features, patterns: judgement.patterns, ..Evidence::default() };
                let features = evidence.features.iter().map(|one| one.share);
                let shares: Vec<f64> = features.chain(evidence.patterns.iter().map(|one| one.share)).collect();
                proptest::prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
                proptest::prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
                let parts = crate::detect::explain::detectors(&evidence);
                proptest::prop_assert!((parts.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
            } else {
                proptest::prop_assert!(found.is_empty());
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(12))]
        /// Snapshot, restore and fold: the same as never stopped, bit for bit.
        #[test]
        fn a_restart_changes_nothing(seed in 0u64..1000, cut in 1usize..260, more in 0usize..60) {
            let config = DetectConfig { warm_up: 20, history: 90, refit_every: 25, kind: Kind::Forest, ..DetectConfig::default() };
            let mut dice = Dice(seed);
            let mut windows: Vec<Window> = (0..cut + more + 40).map(|at| ordinary(&mut dice, at as i64)).collect();
            for at in (0..windows.len()).filter(|at| at % 37 == 36) {
                windows[at] = window(at as i64, 205, [141.0, 70.0, 6.0, 30.0]);
            }
            let mut live = Model::new(&config, GROUP);
            let mut stored = Vec::new();
            let mut snapshot = String::new();
            for (at, window) in windows.iter().enumerate() {
                if at == cut {
                    snapshot = live.snapshot();
                    stored.clear();
                }
                let judgement = live.judge(window);
                let learnt = live.learn(window, &judgement);
                stored.push((window, judgement, learnt));
            }
            let mut restarted = Model::restore(&config, GROUP, &snapshot).unwrap();
            for (at, (window, judgement, learnt)) in stored.iter().enumerate() {
                if at % 2 == 0 {
                    proptest::prop_assert_eq!(&restarted.judge(window), judgement);
                }
                restarted.fold(window, judgement, *learnt);
            }
            proptest::prop_assert_eq!(restarted.snapshot(), live.snapshot());
        }
    }
}
