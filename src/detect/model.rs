//! All that is known of one group.
//!
//! What comes in: closed windows, one after the other. What goes out: judgements. A model is a fold over the group's
//! windows: a snapshot and the windows since give the same model, bit for bit (with `kind: forest`). What never happens
//! here: judging a window with what was learnt from it, or learning from a window that is anomalous or was not seen whole.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::calibrate::{Tail, needed};
use super::config::DetectConfig;
use super::detector::{Isolation, features, mix};
use super::expect::{Expectation, RECENT, SPANS};
use super::history::{History, Row};
use super::{Detector, FeatureEvidence, Judgement, Score, Window, decide};
use crate::labels::Fingerprint;

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
            refused_millis: 0,
            expectation: None,
            tail: Tail::fit(Vec::new(), 0.02, 0.0),
            needed: f64::MAX,
        }
    }

    /// What is found about a window with what is known before it. Never learns; the score is `None` while warming up.
    #[must_use]
    pub fn judge(&self, window: &Window) -> Judgement {
        let (Some(expectation), Some(score)) = (&self.expectation, self.isolation.score(window)) else {
            return Judgement::default();
        };
        let row = self.isolation.history().row(window);
        let recent = self.isolation.history().newest(RECENT);
        let findings = expectation.findings(&row, self.trail.iter(), recent.clone());
        let verdict = decide::weigh(&findings, self.tail.surprise(score.value), &score.shares);
        let (value, threshold) = decide::scores(&verdict, self.needed);
        let anomalous = !findings.is_empty() && value >= threshold;
        let evidence = || {
            let total: f64 = verdict.parts.iter().sum();
            let mut all: Vec<FeatureEvidence> = features(self.config.preset)
                .iter()
                .filter_map(|feature| {
                    let strongest = findings
                        .iter()
                        .filter(|finding| finding.feature == *feature)
                        .max_by(|one, two| one.surprise.total_cmp(&two.surprise));
                    let (seen, expected) = match strongest {
                        Some(finding) => (finding.seen, finding.expected),
                        None => (row.get(*feature)?, expectation.range(*feature, &row, recent.clone())?),
                    };
                    let share = if total > 0.0 { verdict.parts[*feature as usize] / total } else { 0.0 };
                    Some(FeatureEvidence { feature: *feature, seen, expected, share })
                })
                .collect();
            all.sort_by(|one, two| two.share.total_cmp(&one.share));
            all
        };
        Judgement {
            score: Some(value),
            threshold: Some(threshold),
            anomalous: if anomalous { Some(evidence()) } else { None },
        }
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
        if judgement.anomalous.is_some() {
            let millis = u64::try_from(window.range.len() / 1_000_000).unwrap_or_default();
            self.refused_millis = self.refused_millis.saturating_add(millis.max(1));
        } else if learnt {
            self.refused_millis = 0;
        }
        if !learnt {
            return;
        }
        if let Some(Score { value, .. }) = self.isolation.score(window) {
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
        let oldest =
            known.saturating_sub(self.isolation.history().capacity() - self.config.refit_every.max(1) as usize);
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
        model.refused_millis = snapshot.refused_millis;
        if snapshot.fitted_at > 0 {
            model.calibrate();
        }
        Some(model)
    }
}
