//! Whether a window is anomalous.
//!
//! What comes in: the forest's surprise and what is not as expected. What goes out: a [`Verdict`]. A forest's score
//! saturates (a window a thousand times out of range scores as one just outside), so it never decides alone: at least
//! one feature must lie outside its expected range, and how far it lies decides.

use super::expect::Finding;
use super::{Feature, calibrate};

/// What was found about a window, before it is put into words.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How surprising the window is, in nats, corrected for the number of looks.
    pub surprise: f64,
    /// The surprise by feature; its sum is what the shares are shares of.
    pub parts: [f64; 5],
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
    for (part, share) in verdict.parts.iter_mut().zip(shares) {
        *part += share * forest;
    }
    verdict.surprise = if findings.is_empty() { forest } else { strongest.max(0.0) + forest };
    verdict
}

/// Score and threshold on the scale of [`calibrate::to_score`].
#[must_use]
pub fn scores(verdict: &Verdict, needed: f64) -> (f64, f64) {
    (calibrate::to_score(verdict.surprise), calibrate::to_score(needed))
}
