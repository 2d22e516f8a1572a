//! The crate extended-isolation-forest (Hariri, Kind, Brunner 2021): oblique cuts, extension level 1.
//!
//! It draws from the operating system's dice, so two fits of the same rows never agree and a restart changes scores;
//! the mean of three fits halves that. It has no exact shares. It panics on numbers that are not finite or too far apart:
//! what goes in is scaled and cut, and a panic ends at the wall here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use extended_isolation_forest::{Forest, ForestOptions};

use super::super::history::Row;
use super::super::{Feature, Score};
use super::Scale;

/// Fits that are averaged.
const FITS: usize = 3;
/// Trees of one fit.
const TREES: usize = 100;
/// Rows that a tree is grown on.
const SAMPLE: usize = 256;
/// Beyond this many spreads all values count alike; the crate panics at very large ones.
const FAR: f64 = 1e4;

/// Three fitted forests, over four or five features.
pub struct Extended {
    scale: Scale,
    forests: Forests,
}

enum Forests {
    Four(Vec<Forest<f64, 4>>),
    Five(Vec<Forest<f64, 5>>),
}

impl std::fmt::Debug for Extended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extended").field("scale", &self.scale).finish_non_exhaustive()
    }
}

impl Extended {
    /// Fits the forests; `None` when the rows are too few or the crate fails.
    #[must_use]
    pub fn fit(rows: &[&Row], features: &'static [Feature]) -> Option<Self> {
        let scale = Scale::fit(rows, features);
        let forests =
            if features.len() == 4 { Forests::Four(fit(&scale, rows)?) } else { Forests::Five(fit(&scale, rows)?) };
        Some(Self { scale, forests })
    }

    /// The mean score; the shares are all zero.
    #[must_use]
    pub fn score(&self, row: &Row) -> Option<Score> {
        let value = match &self.forests {
            Forests::Four(forests) => score(forests, &point(&self.scale, row)),
            Forests::Five(forests) => score(forests, &point(&self.scale, row)),
        }?;
        Some(Score { value: value.clamp(0.0, 1.0), shares: [0.0; 5] })
    }
}

fn point<const N: usize>(scale: &Scale, row: &Row) -> [f64; N] {
    let scaled = scale.apply(row);
    std::array::from_fn(|at| scaled.get(at).map_or(0.0, |value| f64::from(*value).clamp(-FAR, FAR)))
}

fn fit<const N: usize>(scale: &Scale, rows: &[&Row]) -> Option<Vec<Forest<f64, N>>> {
    let points: Vec<[f64; N]> = rows.iter().map(|row| point(scale, row)).collect();
    let options = ForestOptions {
        n_trees: TREES,
        sample_size: points.len().min(SAMPLE),
        max_tree_depth: None,
        extension_level: 1,
    };
    if points.len() < 2 {
        return None;
    }
    let fit = || (0..FITS).map(|_| Forest::from_slice(&points, &options).ok()).collect();
    catch_unwind(AssertUnwindSafe(fit)).ok().flatten()
}

fn score<const N: usize>(forests: &[Forest<f64, N>], point: &[f64; N]) -> Option<f64> {
    let sum = || forests.iter().map(|forest| forest.score(point)).sum::<f64>() / forests.len().max(1) as f64;
    catch_unwind(AssertUnwindSafe(sum)).ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::forest::Forest as Own;
    use super::super::tests::{rows, spike};
    use super::*;

    fn ranks(values: &[f64]) -> Vec<f64> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|one, two| values[*one].total_cmp(&values[*two]));
        let mut ranks = vec![0.0; values.len()];
        for (rank, at) in order.into_iter().enumerate() {
            ranks[at] = rank as f64;
        }
        ranks
    }

    /// Spearman's rank correlation; ties are not looked for, scores have none.
    fn spearman(one: &[f64], two: &[f64]) -> f64 {
        let n = one.len() as f64;
        let apart: f64 = ranks(one).iter().zip(ranks(two)).map(|(a, b)| (a - b).powi(2)).sum();
        1.0 - 6.0 * apart / (n * (n * n - 1.0))
    }

    #[test]
    fn our_forest_and_the_crate_rank_alike() {
        let rows = rows(1000, 11);
        let rows: Vec<&Row> = rows.iter().collect();
        for features in [&Feature::ALL[..], &Feature::ALL[..4]] {
            let own = Own::fit(&rows, features_of(features), 1).unwrap();
            let theirs = Extended::fit(&rows, features_of(features)).unwrap();
            let own: Vec<f64> = rows.iter().map(|row| own.score(row).value).collect();
            let theirs: Vec<f64> = rows.iter().map(|row| theirs.score(row).unwrap().value).collect();
            let correlation = spearman(&own, &theirs);
            println!("{} features: {correlation:.3}", features.len());
            assert!(correlation >= 0.8, "{correlation}");
        }
    }

    fn features_of(features: &[Feature]) -> &'static [Feature] {
        super::super::features(if features.len() == 4 {
            super::super::Preset::Classic
        } else {
            super::super::Preset::Standard
        })
    }

    #[test]
    fn equal_and_huge_rows_do_no_harm() {
        let row = spike();
        assert!(
            Extended::fit(&[&row; 300], &Feature::ALL).is_none_or(|fit| fit.score(&row).is_none_or(|s| s.value <= 1.0))
        );
        assert!(Extended::fit(&[&row], &Feature::ALL).is_none());
    }
}
