//! From scores to tail probabilities, and from the budget to the probability that is needed.
//!
//! What comes in: the scores that a detector gave to normal windows before it learnt them. What goes out: how surprising
//! a score is, in nats (-ln of a tail probability). What never happens here: looking at a window.

use super::config::{DetectConfig, WindowSpec};

/// Groups that share the budget of a watch, unless its share says otherwise. A model knows its own group only; twenty is an
/// ordinary number of services, and ten times more or less moves the needed surprise by a fifth.
pub const GROUPS: f64 = 20.0;
const SECONDS_A_DAY: f64 = 86_400.0;

/// The tail of a set of scores: the rank up to the 90 % quantile, an exponential law beyond it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail {
    from: f64,
    scale: f64,
    /// No surprise beyond this is believed.
    most: f64,
}

impl Tail {
    /// The tail of `scores`, whose order does not matter. `unit` is the scale that is assumed until they say otherwise:
    /// it counts as eight of them, and a tail is never taken to be thinner.
    #[must_use]
    pub fn fit(mut scores: Vec<f64>, unit: f64, most: f64) -> Self {
        let from = quantile_of(&mut scores, 0.9);
        let mut excess: Vec<f64> = scores.iter().map(|score| score - from).filter(|excess| *excess > 0.0).collect();
        excess.extend([unit * std::f64::consts::LN_2; 8]);
        // The median, not the mean: one foul day among the scores must not blind the group.
        Self { from, scale: (quantile_of(&mut excess, 0.5) / std::f64::consts::LN_2).max(unit), most }
    }

    /// A tail that was fitted before, from its [`Tail::parts`].
    #[must_use]
    pub fn of((from, scale): (f64, f64)) -> Self {
        Self { from, scale, most: f64::MAX }
    }

    /// Where the tail begins, and its scale.
    #[must_use]
    pub fn parts(&self) -> (f64, f64) {
        (self.from, self.scale)
    }

    /// How surprising a score is, in nats; 0 up to the 90 % quantile.
    #[must_use]
    pub fn surprise(&self, score: f64) -> f64 {
        if score <= self.from {
            return 0.0;
        }
        (std::f64::consts::LN_10 + (score - self.from) / self.scale).min(self.most)
    }
}

/// The surprise that a window must have to be anomalous: the budget of false alarms a day, over the windows of a day and
/// the groups of a watch. `seconds` is how long a window takes on average.
#[must_use]
pub fn needed(config: &DetectConfig, seconds: f64) -> f64 {
    let seconds = match config.window {
        WindowSpec::Time(span) => span.0.as_secs_f64(),
        WindowSpec::Lines { size, step } => seconds * f64::from(step) / f64::from(size.max(1)),
    };
    let windows = (SECONDS_A_DAY / seconds.max(0.01)).max(1.0) * GROUPS;
    (windows / config.false_alerts_per_day.clamp(1e-6, 1e6)).max(100.0).ln()
}

/// A surprise in nats as a score: 0 is ordinary, 0.9 one in a hundred thousand, 1 impossible.
#[must_use]
pub fn to_score(surprise: f64) -> f64 {
    1.0 - (-surprise.max(0.0) / 5.0).exp()
}

/// The surprise of a score, for explanations.
#[must_use]
pub fn from_score(score: f64) -> f64 {
    -5.0 * (1.0 - score.clamp(0.0, 1.0 - 1e-15)).ln()
}

/// The value below which a share `q` of sorted values lies, between neighbours in proportion; 0 of nothing.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let low = sorted.get(at.floor() as usize).copied().unwrap_or_default();
    let high = sorted.get(at.ceil() as usize).copied().unwrap_or(low);
    low + (high - low) * at.fract()
}

/// The same of values in any order, which it changes: only the two that are asked for are put in their places.
#[must_use]
pub fn quantile_of(values: &mut [f64], q: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (_, low, rest) = values.select_nth_unstable_by(at.floor() as usize, f64::total_cmp);
    let next = rest.iter().copied().min_by(f64::total_cmp);
    let high = if at.fract() > 0.0 { next.unwrap_or(*low) } else { *low };
    *low + (high - *low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 1.0), 3.0);
    }

    #[test]
    fn a_foul_day_does_not_blind_the_tail() {
        let clean: Vec<f64> = (0..2000).map(|n| f64::from(n % 100) / 100.0).collect();
        let foul: Vec<f64> = clean.iter().copied().chain((0..80).map(|_| 500.0)).collect();
        let (clean, foul) = (Tail::fit(clean, 0.1, 50.0), Tail::fit(foul, 0.1, 50.0));
        assert!(foul.surprise(3.0) > 0.7 * clean.surprise(3.0), "{clean:?} {foul:?}");
    }

    #[test]
    fn the_budget_is_shared_over_windows() {
        let minute = DetectConfig::default();
        let second =
            DetectConfig { window: crate::detect::config::WindowSpec::Time(Span::seconds(1)), ..minute.clone() };
        assert!((needed(&second, 0.0) - needed(&minute, 0.0) - 60f64.ln()).abs() < 1e-9);
        assert!((to_score(5.0 * std::f64::consts::LN_10) - 0.9).abs() < 1e-9);
    }

    proptest::proptest! {
        #[test]
        fn a_quantile_is_the_same_in_any_order(
            mut values in proptest::collection::vec(-1e3f64..1e3, 0..40), q in 0.0..=1.0f64,
        ) {
            let mut mixed = values.clone();
            values.sort_by(f64::total_cmp);
            proptest::prop_assert_eq!(quantile(&values, q).to_bits(), quantile_of(&mut mixed, q).to_bits());
        }
    }
}
