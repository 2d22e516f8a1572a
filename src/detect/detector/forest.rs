//! Our own isolation forest (Liu, Ting, Zhou 2008): axis-parallel cuts, seeded, repeatable bit for bit.
//!
//! What comes in: the rows of the history. What goes out: a score from 0 to 1 and exact, additive shares by feature.
//! With c(n) as the expected further path of a node of n rows, a cut on a feature gives it 1 + c(child) - c(parent);
//! along a path these add up to depth + c(leaf) - c(root), so nothing of the score is left unexplained.

use super::super::history::Row;
use super::super::{Feature, Score};
use super::{Dice, Scale};

/// Trees of a forest; Liu et al. §5: path lengths converge well before 100.
const TREES: usize = 100;
/// Rows that a tree is grown on; Liu et al. §5.
const SAMPLE: usize = 256;
const LEAF: u16 = 7;

/// A fitted forest. About 2 kB a tree at most.
#[derive(Clone, Debug)]
pub struct Forest {
    scale: Scale,
    trees: Vec<Vec<Node>>,
    /// Rows of each tree.
    sample: usize,
}

/// Eight bytes, for there are many: the children lie at `link >> 3` and behind it, the feature is `link & 7`.
#[derive(Clone, Copy, Debug)]
struct Node {
    cut: f32,
    link: u16,
    size: u16,
}

impl Forest {
    /// Grows the forest; `None` without two rows.
    #[must_use]
    pub fn fit(rows: &[&Row], features: &'static [Feature], seed: u64) -> Option<Self> {
        if rows.len() < 2 {
            return None;
        }
        let scale = Scale::fit(rows, features);
        let mut points: Vec<[f32; 5]> = rows.iter().map(|row| scale.apply(row)).collect();
        let sample = points.len().min(SAMPLE);
        let mut dice = Dice(seed);
        let trees = (0..TREES)
            .map(|_| {
                for at in 0..sample {
                    let other = at + dice.below(points.len() - at);
                    points.swap(at, other);
                }
                grow(points.get_mut(..sample).unwrap_or_default(), features.len(), &mut dice)
            })
            .collect();
        Some(Self { scale, trees, sample })
    }

    /// The score of a row and its shares.
    #[must_use]
    pub fn score(&self, row: &Row) -> Score {
        let point = self.scale.apply(row);
        let (path, parts) = self.walk(&point);
        let value = (-path / expected_path(self.sample)).exp2();
        let isolating: f64 = parts.iter().map(|part| (-part).max(0.0)).sum();
        let mut shares = [0.0; 5];
        for (at, feature) in self.scale.features.iter().enumerate() {
            if isolating > 0.0 {
                shares[*feature as usize] = (-parts[at]).max(0.0) / isolating;
            }
        }
        Score { value, shares }
    }

    /// The mean path of a point, and what each feature adds to it against the path that is expected at the root.
    fn walk(&self, point: &[f32; 5]) -> (f64, [f64; 5]) {
        let mut path = 0.0;
        let mut parts = [0.0; 5];
        for tree in &self.trees {
            let mut depth = 0.0;
            let mut at = 0;
            while let Some(node) = tree.get(at) {
                let feature = usize::from(node.link & LEAF);
                let here = expected_path(node.size.into());
                let Some(value) = point.get(feature) else {
                    path += depth + here;
                    break;
                };
                at = usize::from(node.link >> 3) + usize::from(*value >= node.cut);
                let child = tree.get(at).map_or(0.0, |child| expected_path(child.size.into()));
                parts[feature] += 1.0 + child - here;
                depth += 1.0;
            }
        }
        let trees = self.trees.len() as f64;
        (path / trees, parts.map(|part| part / trees))
    }
}

/// One tree over these points, which are put into its order.
fn grow(points: &mut [[f32; 5]], features: usize, dice: &mut Dice) -> Vec<Node> {
    let limit = points.len().max(2).ilog2() + u32::from(!points.len().is_power_of_two());
    let leaf = |size: usize| Node { cut: 0.0, link: LEAF, size: size as u16 };
    let mut nodes = vec![leaf(points.len())];
    let mut open = vec![(0usize, 0usize, points.len(), 0u32)];
    while let Some((node, start, end, depth)) = open.pop() {
        let Some(part) = points.get_mut(start..end) else { continue };
        if depth >= limit || part.len() < 2 {
            continue;
        }
        let Some((feature, cut)) = choose(part, features, dice) else { continue };
        let mut left = 0;
        for at in 0..part.len() {
            if part[at][feature] < cut {
                part.swap(at, left);
                left += 1;
            }
        }
        let (size, child) = (part.len(), nodes.len());
        nodes.push(leaf(left));
        nodes.push(leaf(size - left));
        if let Some(parent) = nodes.get_mut(node) {
            *parent = Node { cut, link: (child as u16) << 3 | feature as u16, size: size as u16 };
        }
        open.push((child, start, start + left, depth + 1));
        open.push((child + 1, start + left, end, depth + 1));
    }
    nodes
}

/// A feature that is not constant among the points, and a cut that leaves points on both sides; `None` when all agree.
fn choose(points: &[[f32; 5]], features: usize, dice: &mut Dice) -> Option<(usize, f32)> {
    let mut left = [0, 1, 2, 3, 4];
    for tried in 0..features.min(left.len()) {
        let pick = tried + dice.below(features - tried);
        left.swap(tried, pick);
        let feature = left[tried];
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for point in points {
            low = low.min(point[feature]);
            high = high.max(point[feature]);
        }
        if low < high {
            let cut = f64::from(low) + dice.unit() * (f64::from(high) - f64::from(low));
            let cut = cut as f32;
            return Some((feature, if cut > low && cut <= high { cut } else { high }));
        }
    }
    None
}

/// Mean path of an unsuccessful search in a binary tree of `n` rows (Liu et al., equation 1).
fn expected_path(n: usize) -> f64 {
    static TABLE: std::sync::LazyLock<[f64; SAMPLE + 1]> = std::sync::LazyLock::new(|| {
        let mut table = [0.0; SAMPLE + 1];
        let mut harmonic = 0.0;
        for (n, path) in table.iter_mut().enumerate().skip(2) {
            harmonic += 1.0 / (n - 1) as f64;
            *path = 2.0 * harmonic - 2.0 * (n - 1) as f64 / n as f64;
        }
        table
    });
    TABLE.get(n).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{rows, spike};
    use super::*;

    #[test]
    fn the_parts_add_up_to_the_path_exactly() {
        let rows = rows(400, 7);
        let forest = Forest::fit(&rows.iter().collect::<Vec<_>>(), &Feature::ALL, 3).unwrap();
        for row in rows.iter().take(50).chain([&spike()]) {
            let (path, parts) = forest.walk(&forest.scale.apply(row));
            let told: f64 = parts.iter().sum();
            assert!((path - expected_path(forest.sample) - told).abs() < 1e-9, "{path} {told}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_forest() {
        let rows = rows(300, 1);
        let rows: Vec<&Row> = rows.iter().collect();
        let score = |seed| Forest::fit(&rows, &Feature::ALL, seed).unwrap().score(&spike());
        assert_eq!(score(1), score(1));
        assert_ne!(score(1), score(2));
    }

    #[test]
    fn an_outlier_scores_high_and_the_shares_name_it() {
        let rows = rows(500, 5);
        let forest = Forest::fit(&rows.iter().collect::<Vec<_>>(), &Feature::ALL, 3).unwrap();
        let (usual, odd) = (forest.score(&rows[0]), forest.score(&spike()));
        assert!(odd.value > usual.value + 0.05, "{odd:?} {usual:?}");
        assert!((odd.shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let most = (0..5).max_by(|a, b| odd.shares[*a].total_cmp(&odd.shares[*b])).unwrap();
        assert_eq!(Feature::ALL[most], Feature::ErrorCount, "{odd:?}");
    }

    #[test]
    fn equal_rows_make_a_forest_too() {
        let row = spike();
        let forest = Forest::fit(&[&row; 64], &Feature::ALL, 1).unwrap();
        assert!((forest.score(&row).value - 0.5).abs() < 1e-9);
        assert!(Forest::fit(&[&row], &Feature::ALL, 1).is_none());
    }

    #[test]
    fn nodes_are_small() {
        assert_eq!(size_of::<Node>(), 8);
    }
}
