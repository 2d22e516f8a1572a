//! What is expected of each feature, from the group's past.
//!
//! What comes in: the rows of the history. What goes out: for a value, how surprising it is (in nats) and between which
//! values it was expected. Counts follow a negative binomial law around a band of levels: the levels that blocks of the
//! past have had, and the recent one, so that a daily rhythm and a slow rise stay inside. Every part is a quantile or a
//! median, so that one foul stretch does not blind the group.

use std::cell::LazyCell;

use super::calibrate::{Tail, quantile, quantile_of};
use super::held::list;
use super::history::Row;
use super::tail::{Upper, lower_tail};
use super::{Feature, config::WindowSpec};

/// Least windows of a block.
const BLOCK: usize = 30;
/// A block takes half an hour where windows are shorter than a minute: long enough for a level and its spread, short
/// against a daily rhythm.
const BLOCK_SECONDS: f64 = 1800.0;
/// Windows that counts are summed over: one, and a few in a row, for what is too rare to show in one.
pub const SPANS: [usize; 4] = [1, 3, 10, 30];
/// Windows before the last that the longest span takes.
const LONGEST: usize = 29;
/// The newest windows may be the onset of what is to be found, so the recent level is taken from those before them.
const SKIP: usize = 10;

/// No threshold is lower: what is less surprising says nothing by itself, in nats.
const LEAST: f64 = 4.6;

/// What is left of the recent level from one window to the next at the least.
const SUDDEN: f64 = 0.5;

/// Something about a window that is not as expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which feature.
    pub feature: Feature,
    /// What was seen; over several windows in a row, their sum, or the mean of a rate.
    pub seen: f64,
    /// What was expected.
    pub expected: (f64, f64),
    /// How surprising it is, in nats.
    pub surprise: f64,
    /// Windows in a row that it was seen over.
    pub span: usize,
    /// Whether windows that have any are counted, not how many they have.
    pub presence: bool,
    /// Whether it is expected of this hour of the week, not of all.
    pub seasonal: bool,
}

/// A range of what is expected of every feature.
#[derive(Clone, Debug)]
pub struct Expectation {
    counts: Vec<Count>,
    reals: Vec<Real>,
    /// Of windows of time.
    quiet: Option<Quiet>,
    block: usize,
}

impl Expectation {
    /// What the rows, the oldest first, let expect.
    #[must_use]
    pub fn fit<'a>(rows: impl Iterator<Item = &'a Row> + Clone, features: &[Feature], window: WindowSpec) -> Self {
        let timed = matches!(window, WindowSpec::Time(_));
        let block = match window {
            WindowSpec::Time(span) => {
                ((BLOCK_SECONDS / span.0.as_secs_f64().max(1.0)) as usize).clamp(BLOCK, 12 * BLOCK)
            }
            WindowSpec::Lines { .. } => BLOCK,
        };
        let mut counts = Vec::new();
        let mut reals = Vec::new();
        for feature in features {
            match feature {
                Feature::LineLength => reals.push(Real::fit(rows.clone(), *feature)),
                Feature::Rate if !timed => reals.push(Real::fit(rows.clone(), *feature)),
                _ => {
                    let values: Vec<f64> = rows.clone().map(|row| count_of(row, *feature)).collect();
                    let spans = if *feature == Feature::UniqueMessages || !timed { 1 } else { SPANS.len() };
                    counts.extend(
                        SPANS
                            .iter()
                            .take(spans)
                            .filter_map(|span| Count::fit(&values, (*feature, *span, false), block)),
                    );
                    if matches!(feature, Feature::ErrorCount | Feature::WarnCount) {
                        let values: Vec<f64> = values.iter().map(|value| value.min(1.0)).collect();
                        counts.extend(
                            SPANS.iter().skip(1).filter_map(|span| Count::fit(&values, (*feature, *span, true), block)),
                        );
                    }
                }
            }
        }
        let quiet = match window {
            WindowSpec::Time(span) => Quiet::fit(rows, mean_rate(&counts, span.0.as_secs_f64())),
            WindowSpec::Lines { .. } => None,
        };
        Self { counts, reals, quiet, block }
    }

    /// Bytes that it holds besides itself.
    #[must_use]
    pub fn held(&self) -> usize {
        list::<Count>(self.counts.len()) + list::<Real>(self.reals.len())
    }

    /// All that is not as expected. `trail` and `recent` hold the rows before this one, the newest first; the trail holds
    /// all of them, the recent ones are those that were learnt.
    #[must_use]
    pub fn findings<'a>(
        &self,
        row: &Row,
        trail: impl Iterator<Item = &'a Row> + Clone,
        recent: impl Iterator<Item = &'a Row> + Clone,
    ) -> Vec<Finding> {
        let settled = LazyCell::new(|| Settled::of(recent.clone().skip(SKIP).take(self.block)));
        let mut found = Vec::new();
        let mut trailed: [f64; LONGEST] = [0.0; LONGEST];
        let mut known = 0;
        let mut last = None;
        for count in &self.counts {
            let now = count.value(row);
            if now <= 0.0 && count.feature != Feature::Rate {
                // More of what there is none of: no need to look back.
                continue;
            }
            // Counts of one feature stand together and differ in their spans only, the shorter before the longer.
            if last != Some((count.feature, count.presence)) {
                (last, known) = (Some((count.feature, count.presence)), 0);
            }
            if let Some(more) = trailed.get_mut(known..count.span - 1) {
                let values = trail.clone().skip(known).map(|row| count.value(row));
                known += more.iter_mut().zip(values).map(|(to, value)| *to = value).count();
            }
            if let Some(before) = trailed.get(..(count.span - 1).min(known)).filter(|b| b.len() + 1 == count.span) {
                found.extend(count.finding(now, before, || settled.of_count(count), row.seconds()));
            }
        }
        if row.lines() == 0
            && let Some(quiet) = &self.quiet
        {
            let run = 1 + trail.clone().take_while(|row| row.lines() == 0).count();
            found.extend(quiet.finding(run));
        }
        for real in &self.reals {
            found.extend(real.finding(row, recent.clone().skip(SKIP).take(self.block)));
        }
        found
    }

    /// Where a feature's values are expected in one window.
    #[must_use]
    pub fn range<'a>(
        &self,
        feature: Feature,
        row: &Row,
        recent: impl Iterator<Item = &'a Row> + Clone,
    ) -> Option<(f64, f64)> {
        if let Some(count) = self.counts.iter().find(|count| count.feature == feature) {
            let latest = Recent::of(recent.skip(SKIP).take(self.block).map(|row| count_of(row, feature)));
            let scale = if feature == Feature::Rate { row.seconds() } else { 1.0 };
            let (low, high) = count.range(count.band(latest));
            return Some((low / scale, high / scale));
        }
        let real = self.reals.iter().find(|real| real.feature == feature)?;
        Some(real.range(row, recent.skip(SKIP).take(self.block)))
    }
}

/// The recent windows of a count: how many, and their sum.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    count: usize,
    sum: f64,
}

impl Recent {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        values.fold(Self::default(), |recent, value| Self { count: recent.count + 1, sum: recent.sum + value })
    }
}

/// The recent windows, summed once for all counts; whole numbers, so the order of adding does not show.
#[derive(Clone, Copy, Debug, Default)]
struct Settled {
    count: usize,
    errors: [f64; 2],
    warns: [f64; 2],
    unique: f64,
    lines: f64,
}

impl Settled {
    fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Self {
        rows.fold(Self::default(), |mut sums, row| {
            let of = |feature| count_of(row, feature);
            sums.count += 1;
            for (sum, value) in [(&mut sums.errors, of(Feature::ErrorCount)), (&mut sums.warns, of(Feature::WarnCount))]
            {
                sum[0] += value;
                sum[1] += value.min(1.0);
            }
            sums.unique += of(Feature::UniqueMessages);
            sums.lines += of(Feature::Rate);
            sums
        })
    }

    fn of_count(&self, count: &Count) -> Recent {
        let presence = usize::from(count.presence);
        let sum = match count.feature {
            Feature::ErrorCount => self.errors[presence],
            Feature::WarnCount => self.warns[presence],
            Feature::UniqueMessages => self.unique,
            Feature::Rate => self.lines,
            Feature::LineLength => 0.0,
        };
        Recent { count: self.count, sum }
    }
}

/// Counts of a window; of the rate, its lines.
fn count_of(row: &Row, feature: Feature) -> f64 {
    if feature == Feature::Rate { row.lines().into() } else { row.get(feature).unwrap_or(0.0) }
}

/// A count summed over `span` windows.
#[derive(Clone, Debug)]
struct Count {
    feature: Feature,
    span: usize,
    /// Whether windows are counted that have any, not how many they have: a rare thing that comes again and again.
    presence: bool,
    /// Windows of a block, and windows that it is known from.
    block: f64,
    windows: f64,
    /// Low and high level of blocks, for one window.
    low: f64,
    high: f64,
    /// Variance over mean of the sums.
    fano: f64,
    /// Sums beyond these have not been seen but in a few blocks.
    least: f64,
    most: f64,
    tail: Tail,
}

impl Count {
    fn fit(values: &[f64], (feature, span, presence): (Feature, usize, bool), block: usize) -> Option<Self> {
        let sums: Vec<f64> = values.rchunks_exact(span).rev().map(|chunk| chunk.iter().sum()).collect();
        let blocks: Vec<&[f64]> = sums.rchunks(BLOCK).filter(|block| block.len() > BLOCK / 3).collect();
        if blocks.is_empty() {
            return None;
        }
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let levels =
            sorted(values.rchunks(block).filter(|part| 3 * part.len() >= block.min(values.len())).map(mean).collect());
        // A burst of two stands for what a feature does that has never been seen.
        let fanos = blocks.iter().filter_map(|block| fano(block)).chain([if presence { 1.2 } else { 2.0 }]);
        let fano = quantile(&sorted(fanos.collect()), 0.6).max(1.2);
        let known = (blocks.len() / 20).min(blocks.len() - 1);
        let fold = |block: &[f64], pick: fn(f64, f64) -> f64, from: f64| block.iter().copied().fold(from, pick);
        let tops = sorted(blocks.iter().map(|block| fold(block, f64::max, 0.0)).collect());
        let bottoms = sorted(blocks.iter().map(|block| fold(block, f64::min, f64::MAX)).collect());
        let mut count = Self {
            feature,
            span,
            presence,
            block: block as f64,
            windows: values.len() as f64,
            low: quantile(&levels, 0.1),
            high: quantile(&levels, 0.9),
            fano,
            least: bottoms.get(known).copied().unwrap_or(0.0),
            most: tops.get(tops.len() - 1 - known).copied().unwrap_or(0.0),
            tail: Tail::fit(Vec::new(), 1.0, f64::MAX),
        };
        let band = count.band(Recent::default());
        let above = Upper::new(band.1, count.fano);
        let surprise = |sum: f64| if sum > band.1 { -above.tail(sum) } else { count.lack(sum, band.0) };
        // Most sums are one of a few small numbers.
        let mut few = [None; 64];
        let surprises = sums.iter().map(|sum| match few.get_mut(*sum as usize) {
            Some(known) => *known.get_or_insert_with(|| surprise(*sum)),
            None => surprise(*sum),
        });
        count.tail = Tail::fit(surprises.collect(), 1.0, f64::MAX);
        Some(count)
    }

    fn value(&self, row: &Row) -> f64 {
        let count = count_of(row, self.feature);
        if self.presence { count.min(1.0) } else { count }
    }

    /// Low and high mean of the sums, with the recent level inside, and what the estimate may be off.
    fn band(&self, recent: Recent) -> (f64, f64) {
        let span = self.span as f64;
        let level = if recent.count > BLOCK / 3 { Some(recent.sum / recent.count as f64) } else { None };
        let low = level.map_or(self.low, |level| level.min(self.low));
        let high = level.map_or(self.high, |level| level.max(self.high));
        let off = |mean: f64| (self.fano * mean / self.block.min(self.windows)).sqrt();
        // Few blocks have not shown yet how far the level wanders.
        let wander = 1.0 + 0.5 / (self.windows / self.block).max(1.0).sqrt();
        let (low, high) = ((low / wander - off(low)).max(0.0), high * wander + off(high) + 0.5 / self.windows);
        (low * span, high * span)
    }

    fn surprise(&self, sum: f64, (low, high): (f64, f64)) -> f64 {
        if sum > high { -Upper::new(high, self.fano).tail(sum) } else { self.lack(sum, low) }
    }

    /// How surprising it is that a sum is so low.
    fn lack(&self, sum: f64, low: f64) -> f64 {
        if sum < low { -lower_tail(sum, low, self.fano) } else { 0.0 }
    }

    fn finding(&self, now: f64, before: &[f64], recent: impl Fn() -> Recent, seconds: f64) -> Option<Finding> {
        let span = self.span as f64;
        // A burst that is over counts no more than what still goes on: it was told when it was there.
        let lasting = now + before.iter().map(|earlier| earlier.min(2.0 * now + 2.0)).sum::<f64>();
        let whole = now + before.iter().sum::<f64>();
        if lasting <= self.most && whole >= self.least {
            // Both have been seen before, whichever way it is off.
            return None;
        }
        let recent = recent();
        let mut band = self.band(recent);
        if self.feature == Feature::Rate && recent.count > BLOCK / 3 {
            // The band knows nights; but from one minute to the next the lines of a day do not become those of a night.
            band.0 = band.0.max(SUDDEN * recent.sum / recent.count as f64 * span);
        }
        let up = lasting > band.1;
        if !up && self.feature != Feature::Rate {
            // Nobody cares for fewer of anything but lines.
            return None;
        }
        let sum = if up { lasting } else { whole };
        // What is over must not be told again because it is still in the sum.
        let going_on = if up {
            now * span > band.1 && now * span >= 0.3 * sum
        } else {
            now * span < band.0 && now * span <= 3.0 * sum
        };
        let unseen = if up { sum > self.most } else { sum < self.least };
        if !going_on || !unseen || !self.matters(sum, band, up) {
            return None;
        }
        let surprise = self.tail.surprise(self.surprise(sum, band));
        // Sums of neighbouring windows overlap, so there are that many times fewer to be wrong in.
        let surprise = if surprise > 0.0 { surprise + span.ln() } else { 0.0 };
        if surprise <= 0.0 {
            return None;
        }
        let scale = if self.feature == Feature::Rate { span * seconds } else { 1.0 };
        let (low, high) = self.range(band);
        Some(Finding {
            feature: self.feature,
            seen: sum / scale,
            expected: (low / scale, high / scale),
            surprise,
            span: self.span,
            presence: self.presence,
            seasonal: false,
        })
    }

    /// Whether the difference is big enough for anybody to care.
    fn matters(&self, sum: f64, (low, high): (f64, f64), up: bool) -> bool {
        match (self.feature, up) {
            (Feature::WarnCount, true) if self.presence => sum >= high + 3.0,
            (Feature::ErrorCount, true) => sum >= 1.5 * high + 3.0,
            (Feature::WarnCount, true) => sum >= 2.0 * high + 5.0,
            (Feature::UniqueMessages, true) => sum >= 1.5 * high + 5.0,
            (Feature::Rate, true) => sum >= 3.0 * high + 20.0,
            (Feature::Rate, false) => sum <= 0.5 * low && low >= 5.0,
            _ => false,
        }
    }

    /// Sums that are ordinary: all but one in a hundred.
    fn range(&self, (low, high): (f64, f64)) -> (f64, f64) {
        let limit = -(200f64.ln());
        let above = Upper::new(high, self.fano);
        let outside = |sum: f64| above.tail(sum) < limit;
        let (mut from, mut to) = (high.floor(), high.floor() + 1.0);
        while !outside(to) && to < 1e12 {
            to = 2.0 * to + 1.0;
        }
        while to - from > 1.0 {
            let middle = ((from + to) / 2.0).floor();
            if outside(middle) { to = middle } else { from = middle }
        }
        let (mut under, mut over) = (-1.0, low.ceil());
        while over - under > 1.0 {
            let middle = ((under + over) / 2.0).floor();
            if lower_tail(middle, low, self.fano) < limit { under = middle } else { over = middle }
        }
        (over.max(0.0), from)
    }
}

/// Windows without a line: how often they begin, and go on. A group that is never quiet is missed sooner than its counts
/// alone would have it, for lines come in bursts.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    /// -ln of the chance that the next window is the first empty one, and that one more follows.
    begins: f64,
    goes_on: f64,
    /// The longest that it went on.
    longest: usize,
    /// Lines a second over many windows.
    usual: (f64, f64),
}

/// Between which values the rate is expected over many windows of these seconds.
fn mean_rate(counts: &[Count], seconds: f64) -> (f64, f64) {
    let longest = counts.iter().filter(|count| count.feature == Feature::Rate).max_by_key(|count| count.span);
    let range = |count: &Count| {
        let (low, high) = count.range(count.band(Recent::default()));
        let scale = count.span as f64 * seconds;
        (low / scale, high / scale)
    };
    longest.map(range).unwrap_or_default()
}

impl Quiet {
    fn fit<'a>(rows: impl Iterator<Item = &'a Row>, usual: (f64, f64)) -> Option<Self> {
        let (mut windows, mut empty, mut stays, mut run, mut longest) = (0.0, 0.0, 0.0, 0, 0);
        for row in rows {
            let now = row.lines() == 0;
            windows += 1.0;
            empty += f64::from(u8::from(now));
            stays += f64::from(u8::from(now && run > 0));
            run = if now { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        let begins: f64 = (empty - stays + 0.5) / (windows - empty + 1.0);
        let goes_on: f64 = (stays + 1.0) / (empty + 2.0);
        if windows < 2.0 * BLOCK as f64 {
            None
        } else {
            Some(Self { begins: -begins.ln(), goes_on: -goes_on.ln(), longest, usual })
        }
    }

    fn finding(&self, run: usize) -> Option<Finding> {
        let surprise = self.begins + (run - 1) as f64 * self.goes_on;
        if run <= 2 * self.longest + 1 || surprise <= LEAST || self.usual.0 <= 0.0 {
            return None;
        }
        let (feature, expected) = (Feature::Rate, self.usual);
        Some(Finding { feature, seen: 0.0, expected, surprise, span: run, presence: false, seasonal: false })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Variance over mean; `None` of zeros.
fn fano(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let variance =
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len().saturating_sub(1).max(1) as f64;
    if mean > 0.0 { Some(variance / mean) } else { None }
}

/// A measure that is no count: line length, and the rate of windows of lines, on a logarithmic scale.
#[derive(Clone, Debug)]
struct Real {
    feature: Feature,
    centre: f64,
    /// Spread of the measure itself, and of the mean of one line.
    spread: f64,
    line_spread: f64,
    least: f64,
    most: f64,
    tail: Tail,
}

impl Real {
    fn fit<'a>(rows: impl Iterator<Item = &'a Row> + Clone, feature: Feature) -> Self {
        let points: Vec<(f64, f64)> =
            rows.filter_map(|row| Some((log_of(row, feature)?, f64::from(row.lines())))).collect();
        let sorted = |values: &mut dyn Iterator<Item = f64>| {
            let mut values: Vec<f64> = values.collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let mut room = Vec::with_capacity(points.len());
        let mut part = |values: &mut dyn Iterator<Item = f64>, q: f64| {
            room.clear();
            room.extend(values);
            quantile_of(&mut room, q)
        };
        let centre = part(&mut points.iter().map(|point| point.0), 0.5);
        let usual = part(&mut points.iter().map(|point| point.1), 0.5);
        // 0.68: the share of a normal law within one standard deviation.
        let spread = part(&mut points.iter().filter(|p| p.1 >= usual).map(|p| (p.0 - centre).abs()), 0.68);
        let line_spread = part(&mut points.iter().map(|p| (p.0 - centre).abs() * p.1.sqrt()), 0.68);
        let blocks: Vec<&[(f64, f64)]> = points.rchunks(BLOCK).collect();
        let known = blocks.len() / 32;
        let ends = |pick: fn(f64, f64) -> f64, from: f64| {
            sorted(&mut blocks.iter().map(|block| block.iter().map(|point| point.0).fold(from, pick)))
        };
        let tops = ends(f64::max, f64::MIN);
        let mut real = Self {
            feature,
            centre,
            spread,
            line_spread,
            least: ends(f64::min, f64::MAX).get(known).copied().unwrap_or(0.0),
            most: tops.len().checked_sub(known + 1).and_then(|at| tops.get(at)).copied().unwrap_or(0.0),
            tail: Tail::fit(Vec::new(), 1.0, f64::MAX),
        };
        let surprises = points.iter().map(|point| 1.5 * (point.0 - centre).abs() / real.sigma(point.1)).collect();
        real.tail = Tail::fit(surprises, 1.0, f64::MAX);
        real
    }

    /// Spread of a window of so many lines; 0.05: nobody cares for a change of a twentieth.
    fn sigma(&self, lines: f64) -> f64 {
        self.spread.max(self.line_spread / lines.max(1.0).sqrt()).max(0.05)
    }

    fn centre<'a>(&self, recent: impl Iterator<Item = &'a Row>) -> (f64, f64) {
        let mut values: Vec<f64> = recent.filter_map(|row| log_of(row, self.feature)).collect();
        values.sort_by(f64::total_cmp);
        let level = if values.len() > BLOCK / 3 { quantile(&values, 0.5) } else { self.centre };
        (level.min(self.centre), level.max(self.centre))
    }

    fn range<'a>(&self, row: &Row, recent: impl Iterator<Item = &'a Row>) -> (f64, f64) {
        let (low, high) = self.centre(recent);
        let sigma = 3.0 * self.sigma(row.lines().into());
        ((low - sigma).exp(), (high + sigma).exp())
    }

    fn finding<'a>(&self, row: &Row, recent: impl Iterator<Item = &'a Row> + Clone) -> Option<Finding> {
        let value = log_of(row, self.feature)?;
        if row.lines() < 10 || (self.least..=self.most).contains(&value) {
            // What has been seen before is no finding; the recent windows need not be sorted to say so.
            return None;
        }
        let (low, high) = self.centre(recent.clone());
        let off = (value - high).max(low - value);
        // A mean of less than ten lines says little; a change of less than a third nobody cares for.
        let unseen = if value > high { value > self.most } else { value < self.least };
        let least = if self.feature == Feature::Rate { 3f64.ln() } else { 0.3 };
        if off < least || !unseen {
            return None;
        }
        let surprise = self.tail.surprise(1.5 * off / self.sigma(row.lines().into()));
        let seen = row.get(self.feature)?;
        if surprise > 0.0 {
            Some(Finding {
                feature: self.feature,
                seen,
                expected: self.range(row, recent),
                surprise,
                span: 1,
                presence: false,
                seasonal: false,
            })
        } else {
            None
        }
    }
}

fn log_of(row: &Row, feature: Feature) -> Option<f64> {
    row.get(feature).filter(|value| *value > 0.0).map(f64::ln)
}
