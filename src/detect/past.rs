//! How surprising ordinary windows were: what keeps sessions that fail in clusters from crying wolf.
//!
//! What comes in: the greatest surprise of each window in which nothing was told, nor soon after. What goes out: the
//! surprise of a window with a deviation, among such windows. One number a window, for deviations come together: a
//! request that ends early lacks forty steps.

use serde::{Deserialize, Serialize};

/// Two buckets a nat, up to 64.
const BUCKETS: usize = 128;
/// Windows before their tail is believed.
const ENOUGH: f32 = 200.0;
/// Windows after which half is forgotten.
const MOST: f32 = 50_000.0;
/// The tail begins where this share of the windows lies.
const TAIL: f32 = 0.05;
/// Independent looks at a window that are assumed until the past is known: ordinary windows had 2 to 7.
const LOOKS: f64 = 5.0;

/// A histogram of surprises.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Past {
    peaks: Vec<f32>,
}

impl Past {
    /// Counts a window.
    pub(super) fn add(&mut self, peak: f64) {
        self.peaks.resize(BUCKETS, 0.0);
        let bucket = ((peak.max(0.0) * 2.0) as usize).min(BUCKETS - 1);
        if let Some(count) = self.peaks.get_mut(bucket) {
            *count += 1.0;
        }
        if self.peaks.iter().sum::<f32>() > MOST {
            self.peaks.iter_mut().for_each(|count| *count /= 2.0);
        }
    }

    /// Whether enough windows are known for their tail to be believed.
    pub(super) fn is_known(&self) -> bool {
        self.peaks.iter().sum::<f32>() >= ENOUGH
    }

    /// Bytes that it holds besides itself.
    pub(super) fn held(&self) -> usize {
        super::held::list::<f32>(self.peaks.len())
    }

    /// What is left of a surprise: an exponential tail through the 95 % quantile and the median of what lies beyond. It
    /// never becomes more than what one of several looks is worth.
    pub(super) fn surprise(&self, surprise: f64) -> f64 {
        let one = (surprise - LOOKS.ln()).max(0.0);
        let total: f32 = self.peaks.iter().sum();
        if total < ENOUGH {
            return one;
        }
        let above = |share: f32| {
            let mut left = total * share;
            let at = self.peaks.iter().rposition(|count| {
                left -= count;
                left < 0.0
            });
            at.unwrap_or_default() as f64 / 2.0
        };
        let (from, middle) = (above(TAIL), above(TAIL / 2.0));
        let scale = ((middle - from) / std::f64::consts::LN_2).max(1.0);
        let known = -f64::from(TAIL).ln();
        if surprise <= from { one.min(known) } else { one.min(known + (surprise - from) / scale) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_past_takes_little_and_a_wild_one_takes_much() {
        let (mut exact, mut wild) = (Past::default(), Past::default());
        for n in 1..20_000u32 {
            let nats = -(f64::from(n) / 20_000.0).ln();
            exact.add(nats);
            wild.add(5.0 * nats);
        }
        let one = 20.0 - LOOKS.ln();
        assert!((exact.surprise(20.0) - one).abs() < 5.0, "{}", exact.surprise(20.0));
        assert!(wild.surprise(20.0) < 6.0, "{}", wild.surprise(20.0));
        assert!(wild.surprise(60.0) > 10.0);
        assert_eq!(Past::default().surprise(20.0), one);
    }
}
