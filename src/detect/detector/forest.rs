//! Our own isolation forest (Liu, Ting, Zhou 2008): axis-parallel cuts, seeded, repeatable bit for bit.
//!
//! What comes in: the rows of the history. What goes out: a score from 0 to 1 and exact, additive shares by feature.
//! With c(n) as the expected further path of a node of n rows, a cut on a feature gives it 1 + c(child) - c(parent);
//! along a path these add up to depth + c(leaf) - c(root), so nothing of the score is left unexplained.

use std::sync::LazyLock;

use super::super::held::list;
use super::super::history::Row;
use super::super::{Feature, Score};
use super::{Dice, Scale};

/// Trees of a forest; Liu et al. §5: path lengths converge well before 100.
const TREES: usize = 100;
/// Rows that a tree is grown on; Liu et al. §5.
const SAMPLE: usize = 256;
const LEAF: u16 = 7;
/// Trees that are walked at once.
const AT_ONCE: usize = 10;

/// A fitted forest. About 2 kB a tree at most.
#[derive(Clone, Debug)]
pub struct Forest {
    scale: Scale,
    trees: Vec<Vec<Node>>,
    /// Rows of each tree.
    sample: usize,
    /// Cuts on the longest path.
    depth: u32,
}

/// Eight bytes, for there are many: the children lie at `link >> 3` and behind it, the feature is `link & 7`. A leaf leads to
/// itself: no value reaches its cut.
#[derive(Clone, Copy, Debug)]
struct Node {
    cut: f32,
    link: u16,
    size: u16,
}

impl Forest {
    /// Bytes that it holds besides itself.
    #[must_use]
    pub fn held(&self) -> usize {
        self.trees.iter().map(|tree| size_of::<Vec<Node>>() + list::<Node>(tree.len())).sum()
    }

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
        Some(Self { scale, trees, sample, depth: depth(sample) })
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

    /// The mean path of a point, and what each feature adds to it against the path that is expected at the root. Several
    /// trees are walked at once, all to the full depth (a leaf leads back to itself), for a processor waits for the answer
    /// to each single step and guesses every other one wrong.
    fn walk(&self, point: &[f32; 5]) -> (f64, [f64; 5]) {
        let mut values = [0.0; 8];
        values[..5].copy_from_slice(point);
        // What a leaf would add lands behind the features, and is left out.
        let mut parts = [0.0; 8];
        let paths = &*PATHS;
        let path = |node: &Node| paths.get(usize::from(node.size)).copied().unwrap_or_default();
        for trees in self.trees.chunks(AT_ONCE) {
            let mut places = [0; AT_ONCE];
            for _ in 0..self.depth {
                for (tree, at) in trees.iter().zip(&mut places) {
                    let Some(node) = tree.get(*at) else { continue };
                    let feature = usize::from(node.link & LEAF);
                    *at = usize::from(node.link >> 3) + usize::from(values[feature] >= node.cut);
                    parts[feature] += 1.0 + tree.get(*at).map_or(0.0, path) - path(node);
                }
            }
        }
        let trees = self.trees.len() as f64;
        let parts = [0, 1, 2, 3, 4].map(|at| parts[at] / trees);
        (expected_path(self.sample) + parts.iter().sum::<f64>(), parts)
    }
}

/// One tree over these points, which are put into its order.
fn grow(points: &mut [[f32; 5]], features: usize, dice: &mut Dice) -> Vec<Node> {
    let limit = depth(points.len());
    let leaf = |at: usize, size: usize| Node { cut: f32::INFINITY, link: (at as u16) << 3 | LEAF, size: size as u16 };
    let mut nodes = vec![leaf(0, points.len())];
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
        nodes.push(leaf(child, left));
        nodes.push(leaf(child + 1, size - left));
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

/// Cuts on the longest path of a tree of so many rows (Liu et al. §4: the mean height of a tree, rounded up).
fn depth(rows: usize) -> u32 {
    rows.max(2).ilog2() + u32::from(!rows.is_power_of_two())
}

/// Mean path of an unsuccessful search in a binary tree of `n` rows (Liu et al., equation 1).
fn expected_path(n: usize) -> f64 {
    PATHS.get(n).copied().unwrap_or_default()
}

static PATHS: LazyLock<[f64; SAMPLE + 1]> = LazyLock::new(|| {
    let mut table = [0.0; SAMPLE + 1];
    let mut harmonic = 0.0;
    for (n, path) in table.iter_mut().enumerate().skip(2) {
        harmonic += 1.0 / (n - 1) as f64;
        *path = 2.0 * harmonic - 2.0 * (n - 1) as f64 / n as f64;
    }
    table
});

#[cfg(test)]
mod tests {
    use super::super::tests::{rows, spike};
    use super::*;

    /// The mean path, tree by tree and cut by cut.
    fn plainly(forest: &Forest, point: &[f32; 5]) -> f64 {
        let mut sum = 0.0;
        for tree in &forest.trees {
            let (mut at, mut cuts) = (0, 0);
            while tree[at].link & LEAF != LEAF {
                let node = tree[at];
                at = usize::from(node.link >> 3) + usize::from(point[usize::from(node.link & LEAF)] >= node.cut);
                cuts += 1;
            }
            sum += f64::from(cuts) + expected_path(tree[at].size.into());
        }
        sum / forest.trees.len() as f64
    }

    #[test]
    fn the_parts_add_up_to_the_path_exactly() {
        let rows = rows(400, 7);
        let forest = Forest::fit(&rows.iter().collect::<Vec<_>>(), &Feature::ALL, 3).unwrap();
        for row in rows.iter().take(50).chain([&spike()]) {
            let point = forest.scale.apply(row);
            let (path, parts) = forest.walk(&point);
            assert!((path - plainly(&forest, &point)).abs() < 1e-9, "{path}");
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
