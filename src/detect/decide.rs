//! Whether a window is anomalous.
//!
//! What comes in: the forest's surprise and what is not as expected. What goes out: a [`Verdict`]. A forest's score
//! saturates (a window a thousand times out of range scores as one just outside), so it never decides alone: at least
//! one feature must lie outside its expected range, and how far it lies decides.

use super::expect::Finding;
use super::pattern::Found;
use super::{Feature, FeatureEvidence, Judgement, calibrate};

/// What was found about a window, before it is put into words.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How surprising the window is, in nats, corrected for the number of looks.
    pub surprise: f64,
    /// The surprise by feature; its sum is what the shares are shares of.
    pub parts: [f64; 5],
    /// What of it the forest says.
    pub forest: [f64; 5],
}

/// The share of the budget that a feature may spend: errors are what people want to hear of, a change of length is
/// seldom worth a message. The shares sum to 1.
fn share_of_budget(feature: Feature) -> f64 {
    match feature {
        Feature::ErrorCount => 0.4,
        Feature::Rate => 0.3,
        Feature::WarnCount => 0.15,
        Feature::UniqueMessages => 0.1,
        Feature::LineLength => 0.05,
    }
}

/// The forest may add this much to what the features say, in nats: it sees combinations, but it saturates.
const FOREST_MOST: f64 = 2.0;

/// Weighs what was found. `forest` is the forest's surprise, `shares` what each feature has in it.
#[must_use]
pub fn weigh(findings: &[Finding], forest: f64, shares: &[f64; 5]) -> Verdict {
    let mut verdict = Verdict::default();
    let forest = forest.clamp(0.0, FOREST_MOST);
    let mut strongest: f64 = 0.0;
    for finding in findings {
        let looks = share_of_budget(finding.feature).ln() - (super::expect::SPANS.len() as f64).ln();
        let surprise = finding.surprise + looks;
        strongest = strongest.max(surprise);
        let part = &mut verdict.parts[finding.feature as usize];
        *part = part.max(finding.surprise);
    }
    verdict.forest = shares.map(|share| share * forest);
    for (part, of_forest) in verdict.parts.iter_mut().zip(verdict.forest) {
        *part += of_forest;
    }
    verdict.surprise = if findings.is_empty() { forest } else { strongest.max(0.0) + forest };
    verdict
}

/// A judgement by features together with what patterns were found: the stronger decides, the shares are of both.
pub fn join<'a>(mut judgement: Judgement, found: impl Iterator<Item = &'a Found>) -> Judgement {
    let (Some(score), Some(threshold)) = (judgement.score, judgement.threshold) else { return judgement };
    let found: Vec<&Found> = found.collect();
    let Some(strongest) = found.iter().max_by(|one, two| one.scores.0.total_cmp(&two.scores.0)) else {
        return judgement;
    };
    let weight = |score: f64| -5.0 * (1.0 - score.min(1.0 - 1e-12)).ln();
    let of_features = if judgement.anomalous.is_some() { weight(score) } else { 0.0 };
    let total = of_features + found.iter().map(|one| weight(one.scores.0)).sum::<f64>();
    if total <= 0.0 {
        return judgement;
    }
    for feature in judgement.anomalous.get_or_insert_default() {
        feature.share *= of_features / total;
        feature.forest *= of_features / total;
    }
    judgement.samples = found.iter().filter_map(|one| one.sample.clone()).collect();
    judgement.patterns = found.iter().map(|one| one.evidence.clone()).collect();
    for (pattern, one) in judgement.patterns.iter_mut().zip(&found) {
        pattern.share = weight(one.scores.0) / total;
    }
    judgement.patterns.sort_by(|one, two| two.share.total_cmp(&one.share));
    if strongest.scores.0 - strongest.scores.1 > score - threshold || of_features == 0.0 {
        judgement.score = Some(strongest.scores.0);
        judgement.threshold = Some(strongest.scores.1);
    }
    judgement
}

/// A judgement of a window of lines together with its rarest line. Before enough is known of the features it judges alone.
/// How long lines are and how many differ follows from which lines they are, so that these features say nothing beside it.
#[must_use]
pub fn join_rarest(mut judgement: Judgement, rarest: &Found) -> Judgement {
    let (surprise, needed) = rarest.scores;
    let follows = |one: &&FeatureEvidence| matches!(one.feature, Feature::LineLength | Feature::UniqueMessages);
    let by = judgement.anomalous.iter().flatten().filter(follows).map(|one| one.share).sum::<f64>();
    if by > 0.5 {
        (judgement.score, judgement.anomalous) = (None, None);
    }
    let score = *judgement.score.get_or_insert_default();
    judgement.threshold.get_or_insert(needed);
    if surprise >= needed {
        return join(judgement, std::iter::once(rarest));
    }
    // Below the threshold, what is rarer stands above what is not, whatever the features say.
    if judgement.anomalous.is_none() {
        (judgement.score, judgement.threshold) = (Some(score.max(surprise).min(needed)), Some(needed));
    }
    judgement
}

/// Score and threshold on the scale of [`calibrate::to_score`].
#[must_use]
pub fn scores(verdict: &Verdict, needed: f64) -> (f64, f64) {
    (calibrate::to_score(verdict.surprise), calibrate::to_score(needed))
}
