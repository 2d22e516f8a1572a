//! Late lines: closed ranges are counted exactly, and read again when they have grown.
//!
//! What comes in: the ledger's counts, or a range that somebody wants to be sure of. What goes out: a confirmation, or the
//! whole content of a range once more. What never happens here: reading again what has not grown.

use std::sync::Arc;

use crate::collect::loki::{Loki, add_gap, coverage};
use crate::collect::read::{MAX_BYTES, Stop};
use crate::collect::{Batch, Coverage, Gap, GapReason, Known, Purpose};
use crate::time::{Nanos, SECOND, TimeRange};

/// At most so many lines are read again into one batch.
const MAX_LINES: u64 = 200_000;
/// More than a few pages.
const PAGES: u64 = 20_000;

/// A range that grew and is being read again; it can be gone on with after a failure.
pub(super) struct Amend {
    /// What was asked for: the same, or a part of it.
    pub(super) asked: TimeRange,
    range: TimeRange,
    at: Nanos,
    batch: Batch,
    /// The parts that grew, and by how many lines.
    grown: Vec<(TimeRange, u64)>,
}

impl Loki {
    /// The routine: counts what is due, and returns the first range that has grown, read again.
    pub(super) async fn audit_due(&mut self) -> Result<Option<Batch>, Stop> {
        loop {
            if let Some(amend) = self.amend.take() {
                return self.carry_out(amend, |loki, amend| loki.amend = Some(amend)).await.map(Some);
            }
            let (late_after, every) = (self.set.late_after, self.set.audit_every);
            let Some(due) = self.ledger.due(self.reader.now(), late_after, every) else { return Ok(None) };
            let grown = self.check(due).await?;
            if !grown.is_empty() {
                let range = self.ledger.extended(hull(&grown));
                self.amend = Some(self.amend_of(range, range, grown));
            }
        }
    }

    /// On demand: counts all of `range` that is not confirmed yet.
    pub(super) async fn audit_now(&mut self, range: TimeRange) -> Result<Batch, Stop> {
        if let Some(amend) = self.asked.take().filter(|amend| amend.asked == range) {
            return self.carry_out(amend, |loki, amend| loki.asked = Some(amend)).await;
        }
        let mut grown = Vec::new();
        for run in self.ledger.unconfirmed(range) {
            grown.extend(self.check(run).await?);
        }
        if grown.is_empty() {
            return Ok(self.confirmation(range));
        }
        let whole =
            self.ledger.extended(TimeRange::new(range.start.min(hull(&grown).start), range.end.max(hull(&grown).end)));
        if whole.end > self.ledger.position() {
            // Its last window is still open and cannot be replaced yet: the routine will, as soon as it is closed.
            let mut batch = self.confirmation(range);
            batch.coverage.known = Known::Partial;
            for (part, late) in grown {
                batch.coverage.missing += late;
                self.ledger.doubt(part);
            }
            return Ok(batch);
        }
        let amend = self.amend_of(range, whole, grown);
        self.carry_out(amend, |loki, amend| loki.asked = Some(amend)).await
    }

    /// Counts a run of units; when it has grown, searches in halves for the units that have. Confirms the others.
    async fn check(&mut self, run: TimeRange) -> Result<Vec<(TimeRange, u64)>, Stop> {
        let settled = self.settled();
        let mut grown = Vec::new();
        let mut runs = vec![run];
        while let Some(run) = runs.pop() {
            let expected = self.ledger.expected(run);
            // What Loki refuses to count for ever must not be asked for ever.
            let count = self.reader.count(run).await?.unwrap_or(expected);
            if count > expected {
                match self.ledger.middle(run) {
                    Some(middle) => {
                        runs.push(TimeRange::new(middle, run.end));
                        runs.push(TimeRange::new(run.start, middle));
                    }
                    None => {
                        grown.push((run, count - expected));
                        // What held lines back seldom did so for one minute only: those beside it are counted too, and
                        // so on for as long as they have grown.
                        self.ledger.suspect_around(run);
                    }
                }
                continue;
            }
            if count < expected {
                // Retention or a deletion; nothing can be done about it.
                metrics::counter!("sigyn_shrunk_lines_total", "watch" => Arc::clone(&self.reader.watch))
                    .increment(expected - count);
                tracing::warn!(watch = %self.reader.watch, start = run.start, end = run.end, count, expected,
                    "Loki has fewer lines than were read: retention or a deletion");
            }
            self.ledger.confirm(run, settled);
            self.delay.confirmed(run);
            self.note_late(0);
        }
        Ok(grown)
    }

    /// Until here counts are final: what is asked for when an incident opens is often younger, and its late lines are
    /// still on their way.
    fn settled(&self) -> Nanos {
        self.reader.now() - self.set.late_after
    }

    fn amend_of(&self, asked: TimeRange, range: TimeRange, grown: Vec<(TimeRange, u64)>) -> Amend {
        let batch = Batch::new(Arc::clone(&self.reader.watch), range, Purpose::Amend);
        Amend { asked, range, at: range.start, batch, grown }
    }

    /// Reads the range again, all of it into one batch; `keep` takes what is done so far when a request fails.
    async fn carry_out(&mut self, mut amend: Amend, keep: impl FnOnce(&mut Self, Amend)) -> Result<Batch, Stop> {
        let late: u64 = amend.grown.iter().map(|(_, late)| late).sum();
        let lines = self.ledger.expected(amend.range) + late;
        if lines > MAX_LINES {
            return Ok(self.too_many(amend));
        }
        if lines > PAGES && amend.batch.is_empty() {
            amend.batch.reserve_apart();
        }
        while amend.at < amend.range.end {
            match self.reader.page(amend.at, amend.range.end, &mut amend.batch).await {
                Ok(reached) => amend.at = reached,
                Err(stop) => {
                    keep(self, amend);
                    return Err(stop);
                }
            }
            if amend.batch.bytes() > MAX_BYTES || amend.batch.len() as u64 > MAX_LINES {
                return Ok(self.too_many(amend));
            }
        }
        let Amend { range, mut batch, .. } = amend;
        batch.coverage = coverage(&batch);
        if batch.gaps.is_empty() {
            batch.coverage.known = Known::Audited;
        }
        let settled = self.settled();
        self.ledger.amended(range, batch.entries().map(|entry| entry.ts), settled);
        for gap in &batch.gaps {
            self.ledger.missing(gap.range, gap.lines);
        }
        let entries = batch.entries().filter_map(|entry| Some((entry.ts, batch.streams.get(entry.stream)?.hash)));
        self.delay.amended(range, self.reader.now(), entries);
        self.note_late(late);
        Ok(batch)
    }

    /// The range is too large to be held in one batch: its late lines become a gap, what was read of it stays.
    fn too_many(&mut self, amend: Amend) -> Batch {
        let settled = self.settled();
        let mut batch = Batch::new(Arc::clone(&self.reader.watch), amend.asked, Purpose::Confirm);
        for (range, late) in amend.grown {
            add_gap(&mut batch, Gap { range, lines: Some(late), reason: GapReason::TooMany });
            self.ledger.missing(range, Some(late));
            self.ledger.confirm(range, settled);
            self.note_late(late);
        }
        let (seen, missing) = self.ledger.totals(amend.asked);
        batch.coverage = Coverage { known: Known::Partial, seen, missing };
        let missing = batch.gaps.iter().filter_map(|gap| gap.lines).sum();
        metrics::counter!("sigyn_gap_lines_total", "watch" => Arc::clone(&batch.watch)).increment(missing);
        batch
    }

    fn confirmation(&self, range: TimeRange) -> Batch {
        let mut batch = Batch::new(Arc::clone(&self.reader.watch), range, Purpose::Confirm);
        let (seen, missing) = self.ledger.totals(range);
        let known = match missing {
            0 if self.ledger.covers(range) => Known::Audited,
            0 => Known::Paged,
            _ => Known::Partial,
        };
        batch.coverage = Coverage { known, seen, missing };
        batch
    }

    /// Counts late lines, and says when so many are that `eval_delay` is too small.
    fn note_late(&mut self, late: u64) {
        let (watch, eval_delay) = (Arc::clone(&self.reader.watch), self.set.eval_delay);
        metrics::counter!("sigyn_late_lines_total", "watch" => Arc::clone(&watch)).increment(late);
        if let Some(delay) = self.delay.quantile(eval_delay) {
            metrics::gauge!("sigyn_shipper_delay_seconds", "watch" => Arc::clone(&watch))
                .set(delay as f64 / SECOND as f64);
        }
        if let Some(wanted) = self.delay.wanted(eval_delay) {
            let (now, wanted) = (eval_delay / SECOND, wanted / SECOND);
            tracing::warn!(
                %watch,
                "more than 1 % of the lines come later than eval_delay ({now} s), and their windows are judged twice; \
                 set collect.eval_delay, or eval_delay of the watch, to {wanted}s",
            );
        }
    }
}

fn hull(grown: &[(TimeRange, u64)]) -> TimeRange {
    let start = grown.iter().map(|(range, _)| range.start).min().unwrap_or(0);
    TimeRange::new(start, grown.iter().map(|(range, _)| range.end).max().unwrap_or(start))
}
