//! Dice that fall the same way on every machine.
//!
//! What comes in: a seed. What goes out: uniform, normal, log-normal and Poisson numbers. Only `+ - * /`, `sqrt` and
//! bit operations are used, which IEEE 754 fixes to the last bit; the platform's `ln`, `exp` and `cos` are not, and are
//! never called here.

/// SplitMix64 (Steele, Lea, Flood 2014): one word of state, good enough for traffic and very fast.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads `x` over all 64 bits: the output function of SplitMix64.
#[inline]
pub(crate) fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// A stream of its own for each `(seed, purpose)`.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(purpose)))
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let out = mix(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        out
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    #[inline]
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    #[inline]
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Uniform in `[0, 1)`.
    #[inline]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    #[inline]
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of `items`; `None` when there are none.
    #[inline]
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Standard normal, as the sum of four uniforms (Irwin-Hall): tails end at 3.46.
    #[inline]
    pub(crate) fn normal(&mut self) -> f64 {
        const ROOT_THREE: f64 = 1.732_050_807_568_877_2;
        let bits = self.next();
        let sum = (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
        (sum as f64 * (1.0 / 65_536.0) - 2.0) * ROOT_THREE
    }

    /// Log-normal with the given median; `sigma` is the spread of the logarithm.
    #[inline]
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * exp(sigma * self.normal())
    }

    /// Poisson count with mean `lambda`: by products below 30 (Knuth), by the normal above.
    pub(crate) fn poisson(&mut self, lambda: f64) -> u32 {
        if lambda <= 0.0 {
            return 0;
        }
        if lambda >= 30.0 {
            return (lambda + lambda.sqrt() * self.normal() + 0.5).max(0.0) as u32;
        }
        let floor = exp(-lambda);
        let mut product = self.unit();
        let mut count = 0;
        while product > floor {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// e to the `x` from basic operations, to about 1e-9; `x` is held within -60 and 60.
#[inline]
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-60.0, 60.0);
    let scaled = x * std::f64::consts::LOG2_E;
    let whole = (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i64;
    let r = x - whole as f64 * std::f64::consts::LN_2;
    let series = 1.0
        + r * (1.0
            + r * (1.0 / 2.0
                + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r / 5040.0))))));
    series * f64::from_bits(((1023 + whole) as u64) << 52)
}

/// Cosine of `turns` whole turns after Bhaskara I, within 0.002; its mean over a turn is zero.
pub(crate) fn cosine(turns: f64) -> f64 {
    let part = turns - turns.floor();
    let bow = |half_turns: f64| (1.0 - 4.0 * half_turns * half_turns) / (1.0 + half_turns * half_turns);
    let half_turns = part * 2.0;
    if half_turns < 0.5 {
        bow(half_turns)
    } else if half_turns < 1.5 {
        -bow(half_turns - 1.0)
    } else {
        bow(half_turns - 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(count: u32, mut draw: impl FnMut(&mut Rng) -> f64) -> f64 {
        let mut rng = Rng::new(7, 1);
        (0..count).map(|_| draw(&mut rng)).sum::<f64>() / f64::from(count)
    }

    #[test]
    fn shapes_have_their_moments() {
        assert!((mean(40_000, Rng::unit) - 0.5).abs() < 0.01);
        assert!(mean(40_000, Rng::normal).abs() < 0.02);
        for lambda in [0.2, 3.0, 29.0, 400.0] {
            let seen = mean(20_000, |rng| f64::from(rng.poisson(lambda)));
            assert!((seen / lambda - 1.0).abs() < 0.05, "{lambda}: {seen}");
        }
    }

    #[test]
    fn own_functions_are_near_the_real_ones() {
        for step in -200..200 {
            let x = f64::from(step) / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-7, "exp {x}");
            assert!((cosine(x) - (x * std::f64::consts::TAU).cos()).abs() < 0.002, "cos {x}");
        }
    }

    #[test]
    fn purposes_do_not_share_dice() {
        assert_ne!(Rng::new(1, 2).next(), Rng::new(1, 3).next());
        assert_ne!(Rng::new(1, 2).next(), Rng::new(2, 2).next());
    }
}
