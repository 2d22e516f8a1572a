//! Tails of counts, as logarithms of probabilities.
//!
//! What comes in: a count, its mean, and how much it scatters. What never happens here: a probability of zero, or one
//! above one.

/// ln P(X >= x) of a negative binomial with this mean and variance over mean, for x over the mean: the probability of x
/// itself times the geometric series that bounds what follows.
#[must_use]
pub fn upper_tail(x: f64, mean: f64, fano: f64) -> f64 {
    Upper::new(mean, fano).tail(x)
}

/// What upper tails of one mean and one variance over mean have in common, so that it is computed once.
#[derive(Clone, Copy, Debug)]
pub struct Upper {
    fano: f64,
    /// Size of the negative binomial; the same and never zero, with its ln gamma.
    size: f64,
    kept: f64,
    gamma: f64,
    /// ln of the chance of a failure.
    ln_p: f64,
}

impl Upper {
    /// For counts of this mean and variance over mean.
    #[must_use]
    pub fn new(mean: f64, fano: f64) -> Self {
        let size = mean / (fano - 1.0);
        let kept = size.max(1e-9);
        Self { fano, size, kept, gamma: ln_gamma(kept), ln_p: (1.0 - 1.0 / fano).ln() }
    }

    /// As [`upper_tail`].
    #[must_use]
    pub fn tail(&self, x: f64) -> f64 {
        let ratio = (x + self.size) / (x + 1.0) * (1.0 - 1.0 / self.fano);
        if ratio >= 1.0 { 0.0 } else { (self.ln_pmf(x) - (1.0 - ratio).ln()).min(0.0) }
    }

    fn ln_pmf(&self, x: f64) -> f64 {
        let size = self.kept;
        ln_gamma(x + size) - self.gamma - ln_gamma(x + 1.0) - size * self.fano.ln() + x * self.ln_p
    }
}

/// The greatest count that is ordinary: in all but one of a hundred cases there are no more.
#[must_use]
pub fn ordinary(mean: f64, fano: f64) -> f64 {
    let (law, limit) = (Upper::new(mean, fano), -(100f64.ln()));
    let (mut from, mut to) = (mean.floor(), mean.floor() + 1.0);
    while law.tail(to) >= limit && to < 1e12 {
        (from, to) = (to, 2.0 * to + 1.0);
    }
    while to - from > 1.0 {
        let middle = ((from + to) / 2.0).floor();
        if law.tail(middle) >= limit { from = middle } else { to = middle }
    }
    from
}

/// ln P(X <= x), for x under the mean: lines come in bursts of about `fano`, and the bursts follow Poisson's law. A
/// negative binomial would find silence far too surprising.
#[must_use]
pub fn lower_tail(x: f64, mean: f64, fano: f64) -> f64 {
    let (bursts, usual) = (x / fano, mean / fano);
    let ratio = bursts / usual;
    if ratio >= 1.0 {
        return 0.0;
    }
    (bursts * usual.ln() - usual - ln_gamma(bursts + 1.0) - (1.0 - ratio).ln()).min(0.0)
}

/// ln of the gamma function for positive numbers: Stirling's series from 7 on, shifted there (Abramowitz, Stegun 6.1.41).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 7.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    shift + (x - 0.5) * x.ln() - x + 0.918_938_533_204_672_8 + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_is_more_than_ordinary() {
        for (mean, fano, most) in [(0.001, 1.001, 0.0), (0.02, 1.001, 1.0), (1.0, 1.001, 4.0), (14.0, 3.0, 33.0)] {
            let found = ordinary(mean, fano);
            assert!((found - most).abs() <= 1.0, "{mean} {fano}: {found}, expected about {most}");
            assert!(upper_tail(found + 1.0, mean, fano) < -(100f64.ln()));
        }
    }
}
