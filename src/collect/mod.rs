//! Stage 1: from Loki, or a file, to [`Batch`]es.
//!
//! What comes in: the watches of the settings. What goes out: batches of entries with their exact range and coverage.
//! What never happens here: judging a line. Only [`client`] knows Loki's JSON.

mod audit;
pub mod budget;
pub mod client;
pub mod config;
mod delay;
pub mod file;
mod learn;
pub mod ledger;
mod lines;
pub mod loki;
pub mod page;
pub mod query;
mod read;
pub mod stamp;
pub mod streams;
#[cfg(test)]
mod tests;
pub mod wire;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::time::{Nanos, TimeRange};

/// The severity of a log line. The order is from harmless to bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing in the line or from Loki says.
    #[default]
    Unknown,
    /// Finest detail.
    Trace,
    /// For developers.
    Debug,
    /// Ordinary events.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
    /// A service or a machine failed; also `fatal`, `panic`, `alert`, `emerg`.
    Critical,
}

/// A Loki stream: one set of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// [`Labels::stable_hash`] of the labels; the second key of the order of entries.
    pub hash: u64,
    /// The labels, without structured metadata.
    pub labels: Labels,
}

impl Stream {
    /// A stream with these labels.
    #[must_use]
    pub fn new(labels: Labels) -> Arc<Self> {
        Arc::new(Self { hash: labels.stable_hash(), labels })
    }
}

/// One log entry, borrowed from its [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Time stamp, nanoseconds since the epoch.
    pub ts: Nanos,
    /// Index into [`Batch::streams`].
    pub stream: usize,
    /// What Loki's `detected_level` says, when it says anything. The weakest of the three sources of a level.
    pub detected_level: Option<Level>,
    /// The line as it was written, without its line break.
    pub line: &'a str,
}

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// History, to learn from; it never tells anybody anything.
    Learn,
    /// New lines, each once, in order: the normal case.
    Judge,
    /// The whole content, once more, of a closed range that was found to have grown; it replaces what was read of it.
    Amend,
    /// No entries: an exact count has confirmed that the range was read whole.
    Confirm,
}

/// How it is known how much of a range was seen. The order is from worse to better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// Nothing is known.
    Unknown,
    /// Some lines are known to be missing, see the gaps.
    Partial,
    /// Every page came back below its limit, so it is whole by construction; lines that arrive late are still possible.
    #[default]
    Paged,
    /// An exact count of the closed range has confirmed it, or the source cannot grow (a file).
    Audited,
}

/// How much of a range was seen, and how that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// How it is known.
    pub known: Known,
    /// Lines read in the range.
    pub seen: u64,
    /// Lines known to exist in the range and not read.
    pub missing: u64,
}

impl Coverage {
    /// Share of the existing lines that was seen, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let all = self.seen + self.missing;
        if all == 0 { 1.0 } else { self.seen as f64 / all as f64 }
    }

    /// Whether the range was seen whole: only then may it count as normal or resolve an incident.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.known >= Known::Paged
    }
}

/// Why lines of a range were not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Older than `max_lag` when its turn came.
    TooOld,
    /// More entries in one nanosecond of one stream than a page may hold.
    FullNanosecond,
    /// Loki refused to answer for the smallest possible range.
    Refused,
    /// Lines that came late in a range too large to be read again at once; what was read of it stays.
    TooMany,
}

/// A range that was left out on purpose, with the exact number of its lines where it could be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The range that was not read whole.
    pub range: TimeRange,
    /// Lines of the range that were not read; `None` when even counting failed.
    pub lines: Option<u64>,
    /// Why.
    pub reason: GapReason,
}

/// Entries of one watch in one half-open range, ordered by (time, stream hash, arrival). It is also the tick: after it,
/// all of the watch before `range.end` has been seen, even when it holds no entry.
///
/// All lines lie in one buffer, so that a page of thousands of lines costs a handful of allocations.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Name of the watch.
    pub watch: Arc<str>,
    /// The range that was read.
    pub range: TimeRange,
    /// What it is for.
    pub purpose: Purpose,
    /// How much of the range was seen.
    pub coverage: Coverage,
    /// The streams that the entries point into.
    pub streams: Vec<Arc<Stream>>,
    /// Ranges that were left out.
    pub gaps: Vec<Gap>,
    text: String,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    ts: Nanos,
    stream: u32,
    start: u32,
    end: u32,
    level: Option<Level>,
}

impl Batch {
    /// An empty batch; it still says that the range was looked at.
    #[must_use]
    pub fn new(watch: Arc<str>, range: TimeRange, purpose: Purpose) -> Self {
        Self {
            watch,
            range,
            purpose,
            coverage: Coverage::default(),
            streams: Vec::new(),
            gaps: Vec::new(),
            text: String::new(),
            spans: Vec::new(),
        }
    }

    /// Index of `stream`, added when new. Linear: a batch has few streams; a reader that has many keeps its own map and
    /// pushes to [`Batch::streams`] itself.
    pub fn stream_index(&mut self, stream: &Arc<Stream>) -> usize {
        let found = self.streams.iter().position(|known| Arc::ptr_eq(known, stream) || known.hash == stream.hash);
        found.unwrap_or_else(|| {
            self.streams.push(Arc::clone(stream));
            self.streams.len() - 1
        })
    }

    /// Makes room for so many further entries with so many bytes of text, so that it need not grow step by step.
    pub fn reserve(&mut self, lines: usize, bytes: usize) {
        self.spans.reserve(lines);
        self.text.reserve(bytes);
    }

    /// Makes room for a batch that may become large, as one that allocators give back whole. glibc maps what is larger than 32 MB by
    /// itself; a smaller block that was mapped makes it keep all such blocks from then on, and what is free between them
    /// (`mallopt(3)`, `M_MMAP_THRESHOLD`). Room that is not written takes no memory.
    pub fn reserve_apart(&mut self) {
        const APART: usize = 33 << 20;
        self.reserve(APART / size_of::<Span>(), APART);
    }

    /// Adds an entry of the stream with this index. Returns false, and leaves the batch as it was, when the buffer
    /// would pass 4 GiB.
    pub fn push(&mut self, ts: Nanos, stream: usize, line: &str, detected_level: Option<Level>) -> bool {
        let start = self.text.len();
        let (Ok(start), Ok(end), Ok(stream)) =
            (u32::try_from(start), u32::try_from(start + line.len()), u32::try_from(stream))
        else {
            return false;
        };
        self.text.push_str(line);
        self.spans.push(Span { ts, stream, start, end, level: detected_level });
        self.coverage.seen += 1;
        true
    }

    /// Puts the entries into the order of the engine: (time, stream hash, arrival). Stable, so arrival is kept.
    pub fn sort(&mut self) {
        let streams = &self.streams;
        let hash = |span: &Span| streams.get(span.stream as usize).map_or(0, |stream| stream.hash);
        if !self.spans.is_sorted_by_key(|span| (span.ts, hash(span))) {
            self.spans.sort_by_key(|span| (span.ts, hash(span)));
        }
    }

    /// Drops all entries but the first `len`: what a failed read has left behind.
    pub fn truncate(&mut self, len: usize) {
        self.coverage.seen -= self.spans.len().saturating_sub(len) as u64;
        self.spans.truncate(len);
        let kept = self.spans.iter().map(|span| span.end as usize).max().unwrap_or(0);
        self.text.truncate(kept);
    }

    /// Drops the entries at `at` and after it. The batch must be sorted.
    pub fn cut(&mut self, at: Nanos) {
        self.truncate(self.spans.partition_point(|span| span.ts < at));
    }

    /// The time stamp of the last entry of a sorted batch.
    #[must_use]
    pub fn last(&self) -> Option<Nanos> {
        self.spans.last().map(|span| span.ts)
    }

    /// The entries in their order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.spans.iter().map(|span| Entry {
            ts: span.ts,
            stream: span.stream as usize,
            detected_level: span.level,
            line: self.text.get(span.start as usize..span.end as usize).unwrap_or(""),
        })
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of log text in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// What a source has to say when asked for more.
#[derive(Debug)]
pub enum Next {
    /// More entries, or an empty tick.
    Batch(Batch),
    /// Nothing before this pause is over.
    Wait(Duration),
    /// The source has come to its end (a file, a one-shot).
    End,
}

/// Where the reading of one watch comes from.
///
/// A source never retries for ever inside a call: a failure is returned, and the caller asks again after
/// [`SourceError::pause`]. It never moves its position on a failure.
pub trait Source: Send {
    /// The next batch.
    ///
    /// # Errors
    /// When the source could not be read; nothing is lost, the same range is read at the next call.
    fn next(&mut self) -> impl Future<Output = Result<Next, SourceError>> + Send;

    /// Counts `range` exactly: [`Purpose::Confirm`] when all of it was read, [`Purpose::Amend`] with the whole content
    /// when it has grown. The range is closed, that is, it lies before the source's position.
    ///
    /// # Errors
    /// When it could not be counted or read.
    fn audit(&mut self, range: TimeRange) -> impl Future<Output = Result<Batch, SourceError>> + Send;

    /// What the source must find again after a restart, besides the position that the engine gives: its learnt limits
    /// and the counts of closed minutes. Stored in the transaction of the step; opaque to everybody else.
    fn state(&self) -> Option<String>;
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What was attempted on what, what came back, and what to do about it. Holds no secret.
    pub message: String,
    /// A short word for metrics: `unreachable`, `timeout`, `unauthorized`, `rate_limited`, `bad_query`, `server`, ...
    pub reason: &'static str,
    /// How long to wait before the next call.
    pub pause: Duration,
}
