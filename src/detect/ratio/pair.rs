//! One pair of lines that come together, and how far it may be off.
//!
//! The mismatch D = |x - r y| of lines x to lines y is set against the exposure N = x + r y: mismatches per line follow a
//! gamma law that the past tells, so that D follows a negative binomial one (a Gamma-Poisson model).

use serde::{Deserialize, Serialize};

use super::super::calibrate::{Tail, quantile};
use super::super::tail::{lower_tail, upper_tail};
use super::super::trace::tally::Unit;
use super::{Broken, LEAST_LINES, SPANS};

/// Mismatches and lines that are assumed of a pair before it is known.
const FIRST: (f64, f64) = (1.0, 20.0);
/// The youngest windows, whose surprise is not learnt yet.
const LATE: usize = 18;
/// Windows that are believed in at most, and what the peak of the past loses from one to the next.
const MOST: f32 = 20_000.0;
const FADES: f32 = 0.9997;
/// A pair is taken to have been off by so much at least, and a peak is not believed beyond.
const LEAST_PEAK: f32 = 3.0;
const BELIEVED: f32 = 60.0;
/// Nats by which the tail falls to a third.
const SCALE: f64 = 1.5;
/// Pairs that do not fit any more are remembered so many times, so that what they were off by is, when they do again.
const RESTS: u16 = 500;
/// Windows of the past that may be foul.
const FOUL: f64 = 0.15;

/// "`one` comes `ratio` times for each `by`."
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) one: Unit,
    pub(super) by: Unit,
    ratio: f64,
    /// Lines of the first that come at once: so many too few are one coming too few.
    bunch: f64,
    laws: [Law; SPANS.len()],
    /// How many lines of each are usual.
    levels: [Level; 2],
    /// What it was off by, and in the windows of late, which is not learnt yet.
    past: Known,
    late: [f32; LATE],
}

/// What a pair was off by in windows that it had not been fitted to.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    /// Windows that it was judged in, and the most surprising of them.
    windows: f32,
    peak: f32,
    /// How often it has not fitted when pairs were looked for, since it did last.
    rested: u16,
}

/// How mismatches scatter over one span.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Law {
    /// Mismatches per line, and the size of their gamma law.
    rate: f32,
    size: f32,
    /// How surprising ordinary windows were: from where the tail begins, and its scale.
    from: f32,
    scale: f32,
}

impl Pair {
    /// The laws of a pair from the windows of its past: lines of both.
    pub(super) fn fit((one, by): (Unit, Unit), ratio: f64, past: &[(f64, f64)]) -> Self {
        let levels = [Level::of(past.iter().map(|both| both.0)), Level::of(past.iter().map(|both| both.1))];
        let [of_one, of_by] = [bunch(past.iter().map(|both| both.0)), bunch(past.iter().map(|both| both.1))];
        let bunch = of_one.max(ratio * of_by).max(ratio).max(1.0);
        let laws = SPANS.map(|span| {
            let sums =
                past.windows(span).map(|part| part.iter().fold((0.0, 0.0), |(x, y), (one, by)| (x + one, y + by)));
            Law::fit(&sums.map(|(x, y)| ((x - ratio * y).abs() / bunch, (x + ratio * y) / bunch)).collect::<Vec<_>>())
        });
        Self { one, by, ratio, bunch, laws, levels, past: Known::default(), late: [0.0; LATE] }
    }

    /// Its two units.
    pub(super) fn names(&self) -> (Unit, Unit) {
        (self.one, self.by)
    }

    /// What it was off by.
    pub(super) fn past(&self) -> Known {
        self.past
    }

    /// It was known before: as one that fits still, or as one that does again.
    pub(super) fn recall(&mut self, known: Option<&Self>, rested: Option<&Known>) {
        if let Some(known) = known {
            (self.past, self.late) = (known.past, known.late);
        } else if let Some(rested) = rested {
            self.past = Known { rested: 0, ..*rested };
        }
    }

    /// How far it is off, by the span that says most; `None` where nothing is.
    pub(super) fn judge(&mut self, one: [f64; SPANS.len()], by: [f64; SPANS.len()]) -> Option<Broken> {
        let mut worst: Option<Broken> = None;
        let off = |at: usize| (one[at] - self.ratio * by[at]) / self.bunch;
        for (at, span) in SPANS.into_iter().enumerate() {
            let (x, y, expected) = (one[at], by[at], self.ratio * by[at]);
            // It has to go on: what is over was told when it was there.
            let goes_on = off(0) * off(at) > 0.0 && off(0).abs() * span as f64 >= 0.3 * off(at).abs();
            if off(at).abs() < LEAST_LINES || !goes_on {
                continue;
            }
            let surprise =
                self.laws[at].surprise(off(at).abs(), (x + expected) / self.bunch) - (SPANS.len() as f64).ln();
            if surprise > worst.as_ref().map_or(0.0, |worst| worst.surprise) {
                worst = Some(Broken {
                    unit: self.one,
                    by: self.by,
                    seen: x,
                    expected,
                    others: y,
                    ratio: self.ratio,
                    blame: self.blame(off(at), (x, y), span),
                    windows: span,
                    surprise,
                });
            }
        }
        let raw = worst.as_ref().map_or(0.0, |worst| worst.surprise);
        let left = self.left(raw);
        self.past.windows = (self.past.windows + 1.0).min(MOST);
        self.past.peak = (self.past.peak * FADES).max(self.late[0].min(BELIEVED));
        self.late.rotate_left(1);
        self.late[LATE - 1] = raw as f32;
        worst.map(|worst| Broken { surprise: left, ..worst }).filter(|worst| worst.surprise > 0.0)
    }

    /// How much more the lack of lines of the one that lacks is out of the usual than the excess of the other, in nats.
    fn blame(&self, off: f64, (x, y): (f64, f64), span: usize) -> f64 {
        let [one, by] = self.levels;
        let ((lack_one, much_one), (lack_by, much_by)) = (one.surprise(x, span), by.surprise(y, span));
        if off < 0.0 { lack_one - much_by } else { lack_by - much_one }
    }

    /// What is left of a surprise, by what it was in windows that the pair had not been fitted to: an exponential tail
    /// from the most surprising of them on.
    fn left(&self, raw: f64) -> f64 {
        let beyond = (raw - f64::from(self.past.peak.max(LEAST_PEAK))) / SCALE;
        raw.min((f64::from(self.past.windows.max(1.0)).ln() + beyond).max(0.0))
    }
}

/// Lines that come at once, from how windows differ from their neighbours: of bunches that come by Poisson's law, the
/// variance over the mean is the mean size (of sizes that scatter, more).
fn bunch(lines: impl Iterator<Item = f64> + Clone) -> f64 {
    let steps: f64 = lines.clone().zip(lines.clone().skip(1)).map(|(one, two)| (one - two).powi(2) / 2.0).sum();
    steps / lines.sum::<f64>().max(1.0)
}

/// How many lines come in a window, and how they scatter: variance over mean.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Level {
    mean: f32,
    fano: f32,
}

impl Level {
    fn of(lines: impl Iterator<Item = f64> + Clone) -> Self {
        let count = lines.clone().count().max(1) as f64;
        let mean = (lines.clone().sum::<f64>() + 0.5) / count;
        let scatter = lines.map(|lines| (lines - mean).powi(2)).sum::<f64>() / count;
        Self { mean: mean as f32, fano: (scatter / mean).max(1.2) as f32 }
    }

    /// How surprising it is that so many windows have no more, and no fewer, lines.
    fn surprise(self, lines: f64, span: usize) -> (f64, f64) {
        let (mean, fano) = (f64::from(self.mean) * span as f64, self.fano.into());
        let above = if lines > mean { -upper_tail(lines, mean, fano) } else { 0.0 };
        (-lower_tail(lines, mean, fano), above)
    }
}

impl Known {
    /// The same of a pair that does not fit any more; `None` when it has not for long.
    pub(super) fn rest(self) -> Option<Self> {
        if self.rested < RESTS { Some(Self { rested: self.rested + 1, ..self }) } else { None }
    }
}

impl Law {
    fn fit(past: &[(f64, f64)]) -> Self {
        let mut shares: Vec<f64> = past.iter().map(|(off, of)| off / (of + 2.0)).collect();
        shares.sort_by(f64::total_cmp);
        let most = quantile(&shares, 1.0 - FOUL) + 1e-9;
        let kept: Vec<(f64, f64)> = past.iter().copied().filter(|(off, of)| off / (of + 2.0) <= most).collect();
        let (off, of) = kept.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let rate = (off + FIRST.0) / (of + FIRST.1);
        let scatter: f64 = kept.iter().map(|(off, of)| (off - rate * of).powi(2)).sum();
        let fano = (scatter + 2.0 * FIRST.0) / (rate * of + FIRST.0);
        let usual = rate * of / kept.len().max(1) as f64;
        let clustered = if fano > 1.0 { (usual + 0.05) / (fano - 1.0).max(1e-3) } else { 1e9 };
        let size = (off + FIRST.0).min(clustered).clamp(0.1, 1e6);
        let mut law = Self { rate: rate as f32, size: size as f32, from: 0.0, scale: 1.0 };
        let tail = Tail::fit(past.iter().map(|(off, of)| law.raw(*off, *of)).collect(), 1.0, f64::MAX);
        let (from, scale) = tail.parts();
        (law.from, law.scale) = (from as f32, scale as f32);
        law
    }

    /// How surprising a mismatch is by the law alone.
    fn raw(&self, off: f64, of: f64) -> f64 {
        let mean = f64::from(self.rate) * of;
        let off = (off - 0.5).ceil();
        if off < 1.0 || off <= mean { 0.0 } else { -upper_tail(off, mean, 1.0 + mean / f64::from(self.size)) }
    }

    fn surprise(&self, off: f64, of: f64) -> f64 {
        Tail::of((self.from.into(), self.scale.into())).surprise(self.raw(off, of))
    }
}
