//! The first start: learning from Loki's past, within a number of lines.
//!
//! What comes in: the look-back. What goes out: whole windows of it in order of time, sampled evenly, everything when it
//! fits. What never happens here: chance; the same past gives the same sample.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::collect::loki::{Loki, coverage};
use crate::collect::page::mix;
use crate::collect::read::{Stop, Tally};
use crate::collect::{Batch, Known, Purpose};
use crate::time::{MINUTE, Nanos, Span, TimeRange};

/// Learning in progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Learning {
    /// The look-back; judging begins at its end.
    pub(super) range: TimeRange,
    /// All before this has been learnt from or left out.
    at: Nanos,
    /// Lines read so far.
    read: u64,
    /// The stretch being read: whole windows.
    #[serde(skip)]
    stretch: Option<TimeRange>,
    /// Where the next stretch is looked for after this one.
    #[serde(skip)]
    next: Nanos,
    /// How many lines there are, by hour; counted anew after a restart.
    #[serde(skip)]
    tally: Option<Tally>,
    /// The last tenth of the way that was told.
    #[serde(skip)]
    told: u32,
}

impl Learning {
    pub(super) fn new(range: TimeRange) -> Self {
        Self { range, at: range.start, read: 0, stretch: None, next: range.start, tally: None, told: 0 }
    }

    /// Goes back to `position` after a restart.
    pub(super) fn resume(&mut self, position: Nanos) {
        self.at = self.at.min(position).max(self.range.start);
        self.next = self.at;
    }

    /// How much of the look-back is done, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        let done = (self.at - self.range.start) as f64 / self.range.len().max(1) as f64;
        done.clamp(0.0, 1.0)
    }

    /// Chooses the next stretch of whole `step`s: one of every k, so that what is left of the look-back fits what is left
    /// of `lines`. Which of the k is a hash, so that nothing that recurs every k windows is always hit or always missed.
    fn choose(&mut self, step: Nanos, lines: u64) {
        let (at, end) = (self.next, self.range.end);
        let ahead = self.tally.as_ref().map_or(0, |tally| ahead(tally, at));
        let left = lines.saturating_sub(self.read);
        if at >= end || left == 0 {
            (self.at, self.stretch) = (end, None);
            return;
        }
        if ahead <= left {
            (self.stretch, self.next) = (Some(TimeRange::new(at, end)), end);
            return;
        }
        let k = Nanos::try_from(ahead.div_ceil(left)).unwrap_or(Nanos::MAX);
        let windows = k.min((end - at + step - 1) / step);
        let pick = (mix((at / step).cast_unsigned()) % windows.cast_unsigned()).cast_signed();
        let start = at + pick * step;
        self.stretch = Some(TimeRange::new(start, (start + step).min(end)));
        self.next = (at + windows * step).min(end);
    }
}

/// Lines from `at` on; of the chunk that `at` lies in, its share.
fn ahead(tally: &Tally, at: Nanos) -> u64 {
    let ends = tally.parts.iter().skip(1).map(|(start, _)| *start).chain([tally.range.end]);
    let chunks = tally.parts.iter().zip(ends).filter(|(_, end)| *end > at);
    let lines = chunks.map(|((start, lines), end)| {
        let share = (end - at.max(*start)) as f64 / (end - start).max(1) as f64;
        (share * *lines as f64).ceil() as u64
    });
    lines.sum()
}

impl Loki {
    /// The next batch to learn from; `None` when there is nothing to learn any more.
    pub(super) async fn learn(&mut self) -> Result<Option<Batch>, Stop> {
        let Some(mut learning) = self.learning.take() else { return Ok(None) };
        match self.learn_some(&mut learning).await {
            Ok(batch) if learning.at >= learning.range.end => {
                let (watch, lines) = (&self.reader.watch, learning.read);
                match lines {
                    0 => tracing::info!(%watch, "nothing of Loki's past to learn from: learning from what comes"),
                    _ => tracing::info!(%watch, lines, "has learnt from Loki's past; judging what is newer"),
                }
                Ok(batch)
            }
            other => {
                self.learning = Some(learning);
                other
            }
        }
    }

    async fn learn_some(&mut self, learning: &mut Learning) -> Result<Option<Batch>, Stop> {
        let watch = Arc::clone(&self.reader.watch);
        let rest = TimeRange::new(learning.at, learning.range.end);
        let tally = learning.tally.get_or_insert_with(|| Tally::new(rest));
        self.reader.tally(tally).await?;
        if tally.lines() == Some(0) {
            learning.at = rest.end;
            let mut batch = Batch::new(watch, rest, Purpose::Learn);
            batch.coverage.known = Known::Audited;
            return Ok((!rest.is_empty()).then_some(batch));
        }
        if tally.lines().is_none() {
            // Without a count nothing bounds what would be read.
            tracing::warn!(%watch, "Loki does not count this watch's lines: not learning from the past");
            learning.at = rest.end;
            return Ok(None);
        }
        if learning.stretch.is_none() {
            learning.choose(self.ledger.block().max(MINUTE), self.set.learn_lines);
            learning.at = learning.stretch.map_or(rest.end, |stretch| stretch.start);
        }
        let Some(stretch) = learning.stretch else { return Ok(None) };
        let mut batch = Batch::new(watch, TimeRange::new(learning.at, stretch.end), Purpose::Learn);
        batch.range.end = self.reader.page(learning.at, stretch.end, &mut batch).await?;
        batch.coverage = coverage(&batch);
        learning.at = batch.range.end;
        learning.read += batch.len() as u64;
        if learning.at >= stretch.end {
            (learning.stretch, learning.at) = (None, learning.next);
        }
        self.tell(learning);
        Ok(Some(batch))
    }

    /// Progress, at every tenth of the way.
    fn tell(&self, learning: &mut Learning) {
        let share = learning.share();
        metrics::gauge!("sigyn_learning_ratio", "watch" => Arc::clone(&self.reader.watch)).set(share);
        let tenth = (share * 10.0) as u32;
        if tenth > learning.told {
            learning.told = tenth;
            let lookback = Span::minutes((learning.range.len() / MINUTE).unsigned_abs());
            tracing::info!(watch = %self.reader.watch, "learning from {lookback}: {:.0} %", share * 100.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stretches in minutes.
    fn chosen(per_minute: u64, minutes: Nanos, lines: u64) -> Vec<(Nanos, Nanos)> {
        let mut learning = Learning::new(TimeRange::new(0, minutes * MINUTE));
        let mut tally = Tally::new(learning.range);
        tally.parts = vec![(0, per_minute * minutes.unsigned_abs())];
        learning.tally = Some(tally);
        let mut out = Vec::new();
        loop {
            learning.choose(MINUTE, lines);
            let Some(stretch) = learning.stretch.take() else { return out };
            learning.read += per_minute * (stretch.len() / MINUTE).unsigned_abs();
            out.push((stretch.start / MINUTE, stretch.end / MINUTE));
        }
    }

    #[test]
    fn all_is_read_when_it_fits() {
        assert_eq!(chosen(10, 60, 600), [(0, 60)]);
        assert_eq!(chosen(0, 60, 600), [(0, 60)]);
    }

    #[test]
    fn else_whole_windows_spread_evenly_and_within_the_number_of_lines() {
        let stretches = chosen(100, 1440, 10_000);
        let minutes: Nanos = stretches.iter().map(|(a, b)| b - a).sum();
        assert!((90..=100).contains(&minutes), "{minutes}");
        assert!(stretches.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        for half in [0..720, 720..1440] {
            let n = stretches.iter().filter(|(a, _)| half.contains(a)).count();
            assert!((40..=60).contains(&n), "{n}");
        }
    }
}
