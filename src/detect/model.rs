//! All that is known of one group.
//!
//! What comes in: closed windows, one after the other. What goes out: judgements. A model is a fold over the group's
//! windows: a snapshot and the windows since give the same model, bit for bit (but with `kind: extended`). What never happens
//! here: judging a window with what was learnt from it, or learning from a window that is anomalous or was not seen whole.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::calibrate::{Tail, needed};
use super::config::{DetectConfig, Preset, WindowSpec};
use super::detector::{Isolation, features, mix};
use super::expect::{Expectation, Finding, SPANS};
use super::history::{History, Row};
use super::season::Season;
use super::tide::Tide;
use super::{Check, Detector, Feature, FeatureEvidence, Gate, Judgement, LULL, Window, decide, held};
use crate::labels::Fingerprint;
use crate::time::TimeRange;

/// Version of the text of a snapshot.
const VERSION: u32 = 1;
/// Forest scores are kept in steps of this.
const SCORE_STEP: f64 = 1e-4;
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
    season: Season,
    tide: Tide,
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
    #[serde(default)]
    season: Season,
    #[serde(default)]
    tide: Tide,
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
            season: Season::default(),
            tide: Tide::default(),
        }
    }

    /// From now on the group may bring so many false alarms a day, times [`super::calibrate::GROUPS`].
    pub fn spend(&mut self, false_alerts_per_day: f64) {
        self.config.false_alerts_per_day = false_alerts_per_day;
        if self.expectation.is_some() {
            self.needed = needed(&self.config, self.seconds());
        }
    }

    /// How long a window takes on average.
    fn seconds(&self) -> f64 {
        let rows = self.isolation.fitted_rows();
        rows.clone().map(Row::seconds).sum::<f64>() / rows.count().max(1) as f64
    }

    /// What is found about a window with what is known before it. Never learns; the score is `None` while warming up.
    #[must_use]
    pub fn judge(&self, window: &Window) -> Judgement {
        self.judge_beside(window, false, |_| false)
    }

    /// The same beside what is `usual`, and for a group whose lines all belong to sessions (`in_sessions`): more lines, or
    /// others, are more sessions, or others, and what is wrong with those is found there.
    #[must_use]
    pub fn judge_beside(
        &self,
        window: &Window,
        in_sessions: bool,
        usual: impl Fn(&FeatureEvidence) -> bool,
    ) -> Judgement {
        let Some(expectation) = &self.expectation else { return Judgement::default() };
        let score = self.isolation.score(window);
        let row = self.isolation.history().row(window);
        let mut findings = self.findings(expectation, window.range, &row);
        findings.retain(|finding| !usual(&told(finding)));
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

    /// All that is not as expected.
    fn findings(&self, expectation: &Expectation, range: TimeRange, row: &Row) -> Vec<Finding> {
        let recent = self.isolation.history().newest(usize::MAX);
        let mut findings = expectation.findings(row, self.summed(), recent.clone());
        findings.extend(self.season.findings(range, row, self.summed(), recent.clone()).0);
        findings.extend(self.tide.finding(range, row, self.summed(), recent).0);
        findings.retain(|finding| self.config.detectors.has(finding.feature));
        findings
    }

    /// The windows before that are added up: what was told some windows ago is no part of what is found now.
    fn summed(&self) -> impl Iterator<Item = &Row> + Clone {
        self.trail.iter().take(if self.since > LULL { self.since } else { usize::MAX })
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
                    seasonal: false,
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
        let all = self.findings(self.expectation.as_ref()?, window.range, &row);
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
        if learnt && matches!(self.config.window, WindowSpec::Time(_)) {
            let recent = self.isolation.history().newest(usize::MAX);
            let (_, problems) = self.season.findings(window.range, &row, self.summed(), recent.clone());
            let (_, lines) = self.tide.finding(window.range, &row, self.summed(), recent);
            self.season.learn(window.range, &row, problems);
            self.tide.learn(window.range, &row, lines);
        }
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
        self.needed = needed(&self.config, self.seconds());
        self.expectation =
            Some(Expectation::fit(self.isolation.fitted_rows(), features(self.config.preset), self.config.window));
        let since = self.isolation.history().learnt() - self.isolation.fitted_at();
        let known = self.scores.len().saturating_sub(usize::try_from(since).unwrap_or(usize::MAX));
        // As many as are still there when the next fit is due, so that a restart finds the same.
        let oldest = known.saturating_sub(self.isolation.keep());
        let scores: Vec<f64> = self.scores.range(oldest..known).map(|score| f64::from(*score) * SCORE_STEP).collect();
        let most = if scores.len() < 20 { 0.0 } else { (4.0 * scores.len() as f64).ln() };
        self.tail = Tail::fit(scores, 0.02, most);
    }

    /// Bytes that it holds. Follows from its history alone, so that a model that was read back weighs the same.
    #[must_use]
    pub fn held(&self) -> usize {
        let expectation = self.expectation.as_ref().map_or(0, Expectation::held);
        let trail = SPANS.iter().max().map_or(0, |longest| longest * size_of::<Row>());
        self.isolation.held()
            + held::list::<u16>(self.scores.len())
            + trail
            + expectation
            + self.season.held()
            + self.tide.held()
    }

    /// Distinct messages of the last window.
    #[must_use]
    pub fn last_unique(&self) -> usize {
        let last = self.trail.front().and_then(|row| row.get(Feature::UniqueMessages));
        last.unwrap_or_default() as usize
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
            season: self.season.clone(),
            tide: self.tide.clone(),
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
        model.season = snapshot.season;
        model.tide = snapshot.tide;
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
        seasonal: finding.seasonal,
    }
}

#[cfg(test)]
mod tests;
