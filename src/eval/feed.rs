//! A labelled file as batches: what the engine is handed of it.
//!
//! What comes in: rows. What goes out: batches that tile the file's time without a hole, whole by construction. What
//! never happens here: looking at a label or a group; a batch has no place for them.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::EvalError;
use super::rows::Rows;
use super::truth::line_time;
use crate::collect::{Batch, Known, Purpose, Stream};
use crate::labels::Labels;
use crate::time::{MINUTE, Nanos, floor};

/// The label under which the engine sees the stream column.
pub const STREAM: &str = "stream";

/// The name of the watch.
pub const WATCH: &str = "eval";

/// How lines get the time that the engine sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Their own; the first batch starts at a multiple of this.
    Own(Nanos),
    /// The n-th line, from 0, is n seconds after 1970.
    Counted,
}

/// Lines and bytes after which a batch ends when the time moves on.
const LINES: usize = 4096;
const BYTES: usize = 512 * 1024;
/// The longest range of a batch: what follows from a step is bounded by its time too.
const SPAN: Nanos = 10 * MINUTE;

/// A file on its way to the engine.
pub struct Feed {
    rows: Rows,
    clock: Clock,
    watch: Arc<str>,
    streams: FxHashMap<String, usize>,
    names: Vec<Arc<Stream>>,
    /// For each stream: the batch that has it last, and its index there.
    slots: Vec<(u64, usize)>,
    batch: u64,
    /// Read, but of the next batch.
    held: Option<Held>,
    lines: u64,
    position: Option<Nanos>,
    ended: bool,
}

struct Held {
    ts: Nanos,
    stream: usize,
    line: String,
}

impl Feed {
    /// Starts at the first row.
    #[must_use]
    pub fn new(rows: Rows, clock: Clock) -> Self {
        Self {
            rows,
            clock,
            watch: Arc::from(WATCH),
            streams: FxHashMap::default(),
            names: Vec::new(),
            slots: Vec::new(),
            batch: 0,
            held: None,
            lines: 0,
            position: None,
            ended: false,
        }
    }

    /// The next batch, to learn from when it lies before `border`, else to judge; `None` at the end.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn batch(&mut self, border: Nanos) -> Result<Option<Batch>, EvalError> {
        let Some(first) = self.take()? else { return Ok(None) };
        let start = match (self.position, self.clock) {
            (Some(position), _) => position,
            (None, Clock::Own(step)) => floor(first.ts, step),
            (None, Clock::Counted) => first.ts,
        };
        let learn = start < border;
        let limit = start.saturating_add(SPAN).min(if learn { border } else { Nanos::MAX });
        let purpose = if learn { Purpose::Learn } else { Purpose::Judge };
        let mut batch = Batch::new(Arc::clone(&self.watch), crate::time::TimeRange::new(start, limit), purpose);
        batch.coverage.known = Known::Audited;
        self.batch += 1;
        let end = self.fill(&mut batch, first, limit)?;
        batch.range.end = end;
        self.position = Some(end);
        batch.sort();
        Ok(Some(batch))
    }

    /// Streams that were met so far, in that order.
    #[must_use]
    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.names
    }

    /// Fills the batch and says where it ends.
    fn fill(&mut self, batch: &mut Batch, first: Held, limit: Nanos) -> Result<Nanos, EvalError> {
        let mut next = first;
        let mut last = None;
        loop {
            let full = batch.len() >= LINES || batch.bytes() >= BYTES;
            if next.ts >= limit || (full && last != Some(next.ts)) {
                let end = next.ts.min(limit);
                self.held = Some(next);
                return Ok(end);
            }
            last = Some(next.ts);
            let stream = self.place(batch, next.stream);
            batch.push(next.ts, stream, &next.line, None);
            match self.take_into(next)? {
                Some(read) => next = read,
                None => return Ok(last.map_or(limit, |last| last + 1)),
            }
        }
    }

    fn take(&mut self) -> Result<Option<Held>, EvalError> {
        match self.held.take() {
            Some(held) => Ok(Some(held)),
            None => self.take_into(Held { ts: 0, stream: 0, line: String::new() }),
        }
    }

    /// The next row, in the room of the last one. Here label and group are left behind.
    fn take_into(&mut self, mut held: Held) -> Result<Option<Held>, EvalError> {
        if self.ended {
            return Ok(None);
        }
        let Some(row) = self.rows.line()? else {
            self.ended = true;
            return Ok(None);
        };
        held.ts = match self.clock {
            Clock::Own(_) => row.ts,
            Clock::Counted => line_time(self.lines),
        };
        self.lines += 1;
        held.line.clear();
        held.line.push_str(row.line);
        held.stream = match self.streams.get(row.stream) {
            Some(known) => *known,
            None => {
                let labels: Labels = [(STREAM, row.stream)].into_iter().collect();
                self.names.push(Stream::new(labels));
                self.slots.push((0, 0));
                self.streams.insert(row.stream.to_owned(), self.names.len() - 1);
                self.names.len() - 1
            }
        };
        Ok(Some(held))
    }

    /// The stream's index in this batch; the batch learns it when it has not got it.
    fn place(&mut self, batch: &mut Batch, stream: usize) -> usize {
        let (Some(slot), Some(known)) = (self.slots.get_mut(stream), self.names.get(stream)) else { return 0 };
        if slot.0 != self.batch {
            batch.streams.push(Arc::clone(known));
            *slot = (self.batch, batch.streams.len() - 1);
        }
        slot.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    type Seen = (i64, i64, Purpose, Vec<(i64, String)>);

    fn batches(text: &str, clock: Clock, border: Nanos) -> Vec<Seen> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tsv");
        std::fs::write(&path, text).unwrap();
        let mut feed = Feed::new(Rows::open(&path).unwrap(), clock);
        let mut all = Vec::new();
        while let Some(batch) = feed.batch(border).unwrap() {
            let entries = batch.entries().map(|e| (e.ts / SECOND, e.line.to_owned())).collect();
            all.push((batch.range.start / SECOND, batch.range.end / SECOND, batch.purpose, entries));
        }
        all
    }

    #[test]
    fn batches_tile_the_time_and_end_at_the_border() {
        let text: String = [101i64, 109, 120, 1501]
            .iter()
            .map(|second| format!("{second}000000000\t1\tsecret\tpod{}\tline {second}\n", second % 2))
            .collect();
        let all = batches(&text, Clock::Own(10 * SECOND), 120 * SECOND);
        let ranges: Vec<_> =
            all.iter().map(|(start, end, purpose, entries)| (*start, *end, *purpose, entries.len())).collect();
        assert_eq!(
            ranges,
            [
                (100, 120, Purpose::Learn, 2),
                (120, 720, Purpose::Judge, 1),
                (720, 1320, Purpose::Judge, 0),
                (1320, 1501, Purpose::Judge, 1)
            ]
        );
        let counted = batches(&text, Clock::Counted, 2 * SECOND);
        let lines: Vec<_> = counted.iter().flat_map(|batch| batch.3.clone()).map(|(at, _)| at).collect();
        assert_eq!((lines, counted[0].2, counted[1].2), (vec![0, 1, 2, 3], Purpose::Learn, Purpose::Judge));
    }

    #[test]
    fn what_the_engine_is_handed_has_no_label_and_no_group() {
        let row = |label: u8, group: &str| format!("5\t{label}\t{group}\tpod\tthe line\n");
        let seen = batches(&row(1, "slow@cart@5"), Clock::Own(SECOND), 0);
        assert_eq!(seen, batches(&row(0, "-"), Clock::Own(SECOND), 0));
        // All fields of the type, so that a new one has to be thought about here.
        let crate::collect::Entry { ts: _, stream: _, detected_level: _, line: _ } =
            crate::collect::Entry { ts: 0, stream: 0, detected_level: None, line: "" };
    }
}
