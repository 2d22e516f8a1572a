//! What is known of one stream: its header, and how far it has been learnt.
//!
//! What comes in: lines of the stream. What goes out: when to learn its header anew. What never happens here: a line kept.

use super::Level;
use super::header::{Headers, Learner};
use super::snapshot::{Bytes, Stored};
use super::trace::Trace;

/// Lines after which the header is learnt the first times.
const LEARN_AT: [u32; 6] = [10, 20, 40, 100, 200, MOST];
const MOST: u32 = 500;
/// From so many lines on a stream trusts what it has learnt by itself.
const SURE: u64 = 100;
/// It is learnt again from the lines that end here: the beginning of a stream may be monotone.
const AGAIN: u64 = 5_000;
/// The fit is watched over so many lines, each time over twice as many; when more than one in twenty does not fit, the header
/// is learnt again.
const WATCHED: u32 = 1_000;
const MOST_PATIENCE: u32 = 8;

/// A stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) key: u64,
    /// Counts the streams of a miner; templates name the stream that they came from by it.
    pub(super) serial: u32,
    pub(super) used: bool,
    pub(super) headers: Headers,
    /// The headers are its own; before, those count that its watch has in common.
    pub(super) own: bool,
    pub(super) learner: Option<Box<Learner>>,
    pub(super) lines: u64,
    pub(super) watched: u32,
    pub(super) misfits: u32,
    pub(super) patience: u32,
    /// Templates seen, by the last byte of their ids.
    pub(super) seen: [u64; 4],
    /// Lines that made a template.
    pub(super) fresh: u64,
    pub(super) trace: Trace,
    /// A line began with a time or a level.
    pub(super) timed: bool,
    /// The last event: its template and level.
    pub(super) event: u32,
    pub(super) level: Level,
}

impl Stream {
    pub(super) fn new(key: u64, serial: u32) -> Self {
        Self { key, serial, used: true, learner: Some(Box::default()), ..Self::default() }
    }

    /// Takes a line to learn from, if any are wanted. Returns the new headers when it is time for them and they differ.
    #[inline]
    pub(super) fn learn(&mut self, line: &[u8], typical: bool) -> Option<Headers> {
        self.lines += 1;
        if !typical {
            return None;
        }
        if self.lines == AGAIN - u64::from(MOST) && self.learner.is_none() {
            self.learner = Some(Box::default());
        }
        let learner = self.learner.as_mut()?;
        learner.add(line);
        let lines = learner.lines();
        if !LEARN_AT.contains(&lines) {
            return None;
        }
        let first = self.lines < AGAIN / 2;
        let ripe = lines >= MOST;
        let headers = if first || ripe { learner.headers() } else { return None };
        if ripe {
            self.learner = None;
        }
        if headers == self.headers && self.own { None } else { Some(headers) }
    }

    /// Whether a stream that has learnt these headers from few lines should rather keep those in common.
    pub(super) fn keeps(&self, common: &Headers, headers: &Headers) -> bool {
        !self.own && (headers == common || (self.lines < SURE && headers.columns() <= common.columns()))
    }

    /// The headers in force: its own, or those in common.
    #[inline]
    pub(super) fn in_force<'a>(&'a self, common: &'a Headers) -> &'a Headers {
        if self.own { &self.headers } else { common }
    }

    /// Takes note of whether a line had the whole header.
    #[inline]
    pub(super) fn fitted(&mut self, fits: bool) {
        self.watched += 1;
        self.misfits += u32::from(!fits);
        if self.watched >= WATCHED << self.patience {
            if 20 * self.misfits > self.watched && self.learner.is_none() {
                self.learner = Some(Box::default());
                self.patience = (self.patience + 1).min(MOST_PATIENCE);
            }
            (self.watched, self.misfits) = (0, 0);
        }
    }

    #[inline]
    pub(super) fn saw(&mut self, id: u32) {
        if let Some(bits) = self.seen.get_mut((id >> 6 & 3) as usize) {
            *bits |= 1 << (id & 63);
        }
    }
}

impl Stored for Stream {
    fn put(&self, out: &mut Vec<u8>) {
        (self.key, self.serial, self.used).put(out);
        self.headers.put(out);
        self.own.put(out);
        self.learner.put(out);
        (self.lines, self.watched, self.misfits).put(out);
        self.seen.put(out);
        (self.fresh, self.event, self.level as u8).put(out);
        (self.timed, self.patience).put(out);
        self.trace.put(out);
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        let (key, serial, used) = Stored::take(from)?;
        let (headers, own, learner) = Stored::take(from)?;
        let (lines, watched, misfits) = Stored::take(from)?;
        let seen = Stored::take(from)?;
        let (fresh, event, level): (_, _, u8) = Stored::take(from)?;
        let level = LEVELS.get(usize::from(level)).copied()?;
        let ((timed, patience), trace): ((bool, u32), _) = Stored::take(from)?;
        let patience = patience.min(MOST_PATIENCE);
        Some(Self {
            key,
            serial,
            used,
            headers,
            own,
            learner,
            lines,
            watched,
            misfits,
            patience,
            seen,
            fresh,
            trace,
            timed,
            event,
            level,
        })
    }
}

/// All levels, in their order.
pub(super) const LEVELS: [Level; 7] =
    [Level::Unknown, Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Critical];
