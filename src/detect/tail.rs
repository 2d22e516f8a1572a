//! Tails of counts, as logarithms of probabilities.
//!
//! What comes in: a count, its mean, and how much it scatters. What never happens here: a probability of zero, or one
//! above one.

/// ln P(X >= x) of a negative binomial with this mean and variance over mean, for x over the mean: the probability of x
/// itself times the geometric series that bounds what follows.
#[must_use]
pub fn upper_tail(x: f64, mean: f64, fano: f64) -> f64 {
    let size = mean / (fano - 1.0);
    let ratio = (x + size) / (x + 1.0) * (1.0 - 1.0 / fano);
    if ratio >= 1.0 { 0.0 } else { (ln_pmf(x, mean, fano) - (1.0 - ratio).ln()).min(0.0) }
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

fn ln_pmf(x: f64, mean: f64, fano: f64) -> f64 {
    let size = (mean / (fano - 1.0)).max(1e-9);
    ln_gamma(x + size) - ln_gamma(size) - ln_gamma(x + 1.0) - size * fano.ln() + x * (1.0 - 1.0 / fano).ln()
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
