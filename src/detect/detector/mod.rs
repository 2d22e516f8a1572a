//! Detectors: how unusual a window is against the windows learnt before it.
//!
//! What comes in: rows of the group's history. What goes out: a [`Score`]. The history, the refit schedule and what a
//! restart needs are the same for all kinds and live in [`Isolation`]; a kind is a file with `fit` and `score`.

pub mod extended;
pub mod forest;

use std::sync::Arc;

use super::config::{DetectConfig, Kind, Preset};
use super::history::{History, Row};
use super::{Detector, Feature, Score, Window};
use extended::Extended;
use forest::Forest;

/// A fitted detector of any kind.
#[derive(Clone, Debug)]
enum Fit {
    Forest(Forest),
    Extended(Arc<Extended>),
}

/// The history of a group and the forest that was fitted on a part of it.
#[derive(Clone, Debug)]
pub struct Isolation {
    kind: Kind,
    features: &'static [Feature],
    seed: u64,
    warm_up: u64,
    refit_every: u64,
    /// Windows that a fit sees.
    keep: u64,
    history: History,
    fitted_at: u64,
    fit: Option<Fit>,
}

/// The features that a preset looks at.
#[must_use]
pub fn features(preset: Preset) -> &'static [Feature] {
    match preset {
        Preset::Standard => &Feature::ALL,
        Preset::Classic => &[Feature::LineLength, Feature::ErrorCount, Feature::WarnCount, Feature::UniqueMessages],
    }
}

impl Isolation {
    /// A detector without history. The seed decides its trees, with the number of windows learnt at each fit.
    #[must_use]
    pub fn new(config: &DetectConfig, seed: u64) -> Self {
        let warm_up = config.warm_up.max(2);
        let refit_every = config.refit_every.max(1);
        let keep = u64::from(config.history.max(warm_up));
        // What the last fit has seen must still be there when the next is due, for a restart repeats the last fit.
        let longest = keep + u64::from(refit_every).max(keep / 8);
        Self {
            kind: match (config.kind, config.preset) {
                (Kind::Auto, Preset::Classic) => Kind::Forest,
                (Kind::Auto, Preset::Standard) => Kind::None,
                (kind, _) => kind,
            },
            features: features(config.preset),
            seed,
            warm_up: u64::from(warm_up),
            refit_every: u64::from(refit_every),
            keep,
            history: History::new(config, longest as usize),
            fitted_at: 0,
            fit: None,
        }
    }

    /// The same, with the history and the fit of an earlier life.
    #[must_use]
    pub fn restore(config: &DetectConfig, seed: u64, history: History, fitted_at: u64) -> Self {
        let mut detector = Self::new(config, seed);
        detector.history = history;
        if fitted_at > 0 {
            detector.refit(fitted_at);
        }
        detector
    }

    /// Bytes that it holds besides itself.
    #[must_use]
    pub fn held(&self) -> usize {
        let fit = match &self.fit {
            None => 0,
            Some(Fit::Forest(forest)) => forest.held(),
            // The crate does not say; as ours at most.
            Some(Fit::Extended(_)) => 400_000,
        };
        self.history.held() + fit
    }

    /// What was learnt.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Rows of the last fit, the oldest first; the same before and after a restart.
    pub fn fitted_rows(&self) -> impl DoubleEndedIterator<Item = &Row> + Clone {
        self.history.until(self.fitted_at, self.keep())
    }

    /// How many windows a fit sees at most.
    #[must_use]
    pub fn keep(&self) -> usize {
        self.keep as usize
    }

    /// How many windows had been learnt at the last fit; 0 before the first.
    #[must_use]
    pub fn fitted_at(&self) -> u64 {
        self.fitted_at
    }

    fn is_due(&self) -> bool {
        let learnt = self.history.learnt();
        let doubled =
            learnt >= self.warm_up && learnt.is_multiple_of(self.warm_up) && (learnt / self.warm_up).is_power_of_two();
        // A longer past changes more slowly: growing anew for an eighth of it costs the same per window at any age.
        let every = self.refit_every.max(self.fitted_at.min(self.keep) / 8);
        doubled || (self.fitted_at > 0 && learnt - self.fitted_at >= every)
    }

    fn refit(&mut self, at: u64) {
        self.fitted_at = at;
        let rows: Vec<&Row> = self.fitted_rows().collect();
        let seed = mix(self.seed, at);
        let fit = match self.kind {
            Kind::Auto | Kind::None => None,
            Kind::Forest => Forest::fit(&rows, self.features, seed).map(Fit::Forest),
            Kind::Extended => Extended::fit(&rows, self.features).map(|fit| Fit::Extended(Arc::new(fit))),
        };
        self.fit = fit.or(self.fit.take());
    }
}

impl Detector for Isolation {
    fn score(&self, window: &Window) -> Option<Score> {
        let row = self.history.row(window);
        match self.fit.as_ref()? {
            Fit::Forest(forest) => Some(forest.score(&row)),
            Fit::Extended(forest) => forest.score(&row),
        }
    }

    fn learn(&mut self, window: &Window) {
        self.history.push(window);
        if self.is_due() {
            self.refit(self.history.learnt());
        }
    }
}

/// One seed of two numbers (splitmix64).
#[must_use]
pub fn mix(one: u64, two: u64) -> u64 {
    let mut dice = Dice(one ^ two.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    dice.roll();
    dice.roll()
}

/// Seeded dice: splitmix64 (Steele, Lea, Flood 2014). The same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which must be positive.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.roll()) * n as u128) >> 64) as usize
    }

    /// A number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How rows become numbers of one scale: by the median and half the distance between the 16 % and 84 % quantiles, with
/// floors; what is missing becomes the median.
#[derive(Clone, Debug)]
pub struct Scale {
    features: &'static [Feature],
    centre: [f64; 5],
    spread: [f64; 5],
}

/// A scaled value is cut here; no forest needs to tell apart what lies further out.
const FAR: f64 = 1e6;

impl Scale {
    /// The scale of these rows.
    #[must_use]
    pub fn fit(rows: &[&Row], features: &'static [Feature]) -> Self {
        let mut scale = Self { features, centre: [0.0; 5], spread: [1.0; 5] };
        for (at, feature) in features.iter().enumerate() {
            let mut values: Vec<f64> = rows.iter().filter_map(|row| row.get(*feature)).collect();
            values.sort_by(f64::total_cmp);
            let centre = super::calibrate::quantile(&values, 0.5);
            let half = (super::calibrate::quantile(&values, 0.84) - super::calibrate::quantile(&values, 0.16)) / 2.0;
            scale.centre[at] = centre;
            // Below a percent of the middle, or a tenth of a unit, a spread says nothing about logs.
            scale.spread[at] = half.max(centre.abs() * 0.01).max(if *feature == Feature::Rate { 0.001 } else { 0.1 });
        }
        scale
    }

    /// The row in the order of the scale's features; the rest is 0.
    #[must_use]
    pub fn apply(&self, row: &Row) -> [f32; 5] {
        let mut out = [0.0; 5];
        for (at, feature) in self.features.iter().enumerate() {
            let value = row.get(*feature).unwrap_or(self.centre[at]);
            out[at] = ((value - self.centre[at]) / self.spread[at]).clamp(-FAR, FAR) as f32;
        }
        out
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::collect::Coverage;
    use crate::detect::Features;
    use crate::time::{MINUTE, TimeRange};

    pub(crate) fn window(at: i64, lines: u64, [length, errors, warns, unique]: [f64; 4]) -> Window {
        let range = TimeRange::new(at * MINUTE, (at + 1) * MINUTE);
        let length = if lines == 0 { None } else { Some(length) };
        let features = Features([length, Some(errors), Some(warns), Some(unique), Some(lines as f64 / 60.0)]);
        Window { range, lines, features, coverage: Coverage::default(), late: false, samples: Vec::new() }
    }

    /// An ordinary window of a service with about 200 lines a minute.
    pub(crate) fn ordinary(dice: &mut Dice, at: i64) -> Window {
        let mut bell = |spread: f64| spread * (0..12).map(|_| dice.unit()).sum::<f64>() - 6.0 * spread;
        let lines = (200.0 + bell(20.0)).max(0.0).round();
        let errors = (1.0 + bell(1.2)).max(0.0).round();
        let warns = (5.0 + bell(2.0)).max(0.0).round();
        window(at, lines as u64, [140.0 + bell(5.0), errors, warns, (30.0 + bell(3.0)).round()])
    }

    pub(crate) fn rows(count: i64, seed: u64) -> Vec<Row> {
        let history = History::new(&DetectConfig::default(), 1);
        let mut dice = Dice(seed);
        (0..count).map(|at| history.row(&ordinary(&mut dice, at))).collect()
    }

    pub(crate) fn spike() -> Row {
        History::new(&DetectConfig::default(), 1).row(&window(0, 210, [141.0, 60.0, 5.0, 31.0]))
    }

    #[test]
    fn dice_are_fair_and_bounded() {
        let mut dice = Dice(1);
        let mean = (0..10_000).map(|_| dice.unit()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02);
        assert!((0..1000).all(|_| dice.below(7) < 7));
    }
}
