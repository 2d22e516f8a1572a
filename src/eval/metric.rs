//! Figures of how well scores and alarms match labels.
//!
//! What comes in: one [`Scored`] a unit. What goes out: numbers. Pure; the bootstrap is seeded. Definitions are those of
//! scikit-learn: ROC-AUC by ranks with ties halved, PR-AUC as average precision (a step a distinct score, no
//! interpolation), best F1 over all thresholds.

/// One unit with its judgement and its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The greater, the more anomalous. A unit that was not judged has 0.
    pub score: f64,
    /// Whether it was alarmed at the judge's own threshold.
    pub alarm: bool,
    /// Whether it is anomalous.
    pub label: bool,
}

/// How alarms match labels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hits {
    /// Right alarms over all alarms; 0 without alarms.
    pub precision: f64,
    /// Right alarms over all anomalous units.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// Precision, recall and F1 at the judge's own threshold; `None` when no unit is anomalous.
#[must_use]
pub fn hits(units: &[Scored]) -> Option<Hits> {
    let count = |alarm: bool, label: bool| units.iter().filter(|u| u.alarm == alarm && u.label == label).count() as f64;
    let (right, wrong, missed) = (count(true, true), count(true, false), count(false, true));
    if right + missed == 0.0 {
        return None;
    }
    let precision = if right + wrong > 0.0 { right / (right + wrong) } else { 0.0 };
    let recall = right / (right + missed);
    Some(Hits { precision, recall, f1: harmonic(precision, recall) })
}

fn harmonic(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// What follows from the scores alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranking {
    /// The best F1 over all thresholds.
    pub best_f1: f64,
    /// Chance that an anomalous unit scores above a normal one.
    pub roc_auc: f64,
    /// Average precision.
    pub pr_auc: f64,
    /// 95 % of bootstrap samples lie between these.
    pub pr_auc_range: (f64, f64),
}

/// `None` unless there are both anomalous and normal units. The bootstrap draws blocks of `block` neighbours, since
/// neighbouring windows are not independent; 1 draws single units.
#[must_use]
pub fn ranking(units: &[Scored], block: usize) -> Option<Ranking> {
    let order = order(units);
    let ones = vec![1u32; units.len()];
    let (best_f1, roc_auc, pr_auc) = areas(units, &order, &ones)?;
    Some(Ranking { best_f1, roc_auc, pr_auc, pr_auc_range: bootstrap(units, &order, block) })
}

/// How many neighbouring windows the bootstrap draws at once: about the square root, so that both the blocks and their
/// number grow with the set.
#[must_use]
pub fn block(units: usize) -> usize {
    ((units as f64).sqrt().round() as usize).max(1)
}

/// Places of the units by falling score.
fn order(units: &[Scored]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by(|one, two| units[*two].score.total_cmp(&units[*one].score));
    order
}

/// Best F1, ROC-AUC and average precision, each unit counted as often as `weights` says.
fn areas(units: &[Scored], order: &[usize], weights: &[u32]) -> Option<(f64, f64, f64)> {
    let total = |label: bool| -> f64 {
        units.iter().zip(weights).filter(|(unit, _)| unit.label == label).map(|(_, weight)| f64::from(*weight)).sum()
    };
    let (positive, negative) = (total(true), total(false));
    if positive == 0.0 || negative == 0.0 {
        return None;
    }
    let (mut right, mut wrong) = (0.0, 0.0);
    let (mut best, mut roc, mut average) = (0.0f64, 0.0, 0.0);
    let mut at = 0;
    while let Some(first) = order.get(at) {
        let score = units[*first].score;
        let (mut ups, mut downs) = (0.0, 0.0);
        while let Some(place) = order.get(at).filter(|place| units[**place].score == score) {
            let weight = f64::from(weights[*place]);
            *(if units[*place].label { &mut ups } else { &mut downs }) += weight;
            at += 1;
        }
        roc += downs * (right + ups / 2.0);
        right += ups;
        wrong += downs;
        if right + wrong > 0.0 {
            let (precision, recall) = (right / (right + wrong), right / positive);
            average += precision * ups / positive;
            best = best.max(harmonic(precision, recall));
        }
    }
    Some((best, roc / (positive * negative), average))
}

const ROUNDS: usize = 1000;

/// The middle 95 % of average precision over samples drawn with replacement, in blocks that wrap around the end.
fn bootstrap(units: &[Scored], order: &[usize], block: usize) -> (f64, f64) {
    let count = units.len();
    let mut dice = Dice(0x5157_9a3c_e1f0_2b47);
    let mut found = Vec::with_capacity(ROUNDS);
    let mut weights = vec![0u32; count];
    for _ in 0..ROUNDS {
        weights.fill(0);
        let mut drawn = 0;
        while drawn < count {
            let start = dice.below(count);
            for offset in 0..block.min(count - drawn) {
                weights[(start + offset) % count] += 1;
            }
            drawn += block;
        }
        found.extend(areas(units, order, &weights).map(|(.., average)| average));
    }
    found.sort_by(f64::total_cmp);
    let at = |share: f64| found.get(((found.len() as f64) * share) as usize).copied().unwrap_or(f64::NAN);
    (at(0.025), at(0.975))
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, and good enough to draw places.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((u128::from(bits) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(scores: &[f64], labels: &[u8], threshold: f64) -> Vec<Scored> {
        let pairs = scores.iter().zip(labels);
        pairs.map(|(score, label)| Scored { score: *score, alarm: *score >= threshold, label: *label == 1 }).collect()
    }

    fn near(one: f64, two: f64) {
        assert!((one - two).abs() < 1e-9, "{one} {two}");
    }

    /// Figures of scikit-learn's roc_auc_score, average_precision_score and precision_recall_curve.
    #[test]
    fn figures_are_those_of_scikit_learn() {
        let set = units(&[0.1, 0.4, 0.35, 0.8], &[0, 0, 1, 1], 0.4);
        let ranking = ranking(&set, 1).unwrap();
        near(ranking.roc_auc, 0.75);
        near(ranking.pr_auc, 5.0 / 6.0);
        near(ranking.best_f1, 0.8);
        near(hits(&set).unwrap().f1, 0.5);
        // Ties: half the pairs of equal scores count, and average precision takes them in one step.
        let ties = super::ranking(&units(&[1.0, 1.0, 1.0, 0.0], &[1, 0, 1, 0], 1.0), 1).unwrap();
        near(ties.roc_auc, 0.75);
        near(ties.pr_auc, 2.0 / 3.0);
    }

    #[test]
    fn nothing_to_find_or_nothing_else_gives_no_figures() {
        assert_eq!(hits(&units(&[0.5, 0.1], &[0, 0], 0.3)), None);
        assert_eq!(ranking(&units(&[0.5, 0.1], &[0, 0], 0.3), 1), None);
        assert_eq!(ranking(&units(&[0.5, 0.1], &[1, 1], 0.3), 1), None);
        assert_eq!(hits(&units(&[0.1, 0.1], &[1, 0], 0.3)), Some(Hits::default()));
        assert_eq!(ranking(&[], 1), None);
    }

    #[test]
    fn the_interval_holds_the_figure_and_is_repeatable() {
        let scores: Vec<f64> = (0..400).map(|n| f64::from(n * 37 % 101) / 101.0).collect();
        let labels: Vec<u8> =
            scores.iter().enumerate().map(|(n, s)| u8::from(s + (n % 7) as f64 / 7.0 > 1.2)).collect();
        let set = units(&scores, &labels, 0.9);
        let one = ranking(&set, block(set.len())).unwrap();
        assert!(one.pr_auc_range.0 < one.pr_auc && one.pr_auc < one.pr_auc_range.1, "{one:?}");
        assert_eq!(Some(one), ranking(&set, block(set.len())));
    }

    proptest! {
        /// ROC-AUC is the share of pairs in the right order.
        #[test]
        fn areas_are_those_of_the_pairs(set in proptest::collection::vec((0u8..6, any::<bool>()), 2..40)) {
            let set: Vec<Scored> =
                set.iter().map(|(s, label)| Scored { score: f64::from(*s), alarm: *s > 3, label: *label }).collect();
            let order = order(&set);
            if let Some((best, roc, average)) = areas(&set, &order, &vec![1; set.len()]) {
                let (mut sum, mut pairs) = (0.0, 0.0);
                for up in set.iter().filter(|unit| unit.label) {
                    for down in set.iter().filter(|unit| !unit.label) {
                        pairs += 1.0;
                        sum += if up.score > down.score { 1.0 } else if up.score == down.score { 0.5 } else { 0.0 };
                    }
                }
                prop_assert!((roc - sum / pairs).abs() < 1e-9);
                prop_assert!(best >= hits(&set).map_or(0.0, |hits| hits.f1) - 1e-9);
                prop_assert!(average > 0.0 && average <= 1.0 + 1e-9);
            }
        }
    }
}
