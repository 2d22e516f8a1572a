//! One watch's requests: pages that end where nothing can be lost, groups of equal time stamps, exact counts.
//!
//! What comes in: a range to read. What goes out: the entries from its start up to a point that is returned; all before
//! that point was read, or stands in a gap of the batch. What never happens here: moving on after a failure.

use std::sync::Arc;
use std::time::Duration;

use crate::collect::budget::Budget;
use crate::collect::client::{Ask, Client, ClientError, Kind, Page, Scope, Streams};
use crate::collect::page::{After, Pager};
use crate::collect::query::Query;
use crate::collect::{Batch, Gap, GapReason, SourceError};
use crate::time::{HOUR, MINUTE, Nanos, SECOND, TimeRange, ceil};

/// The clock of the program: the wall's, or a simulated one.
pub type Clock = Arc<dyn Fn() -> Nanos + Send + Sync>;

/// A group of equal time stamps is split into at most so many streams.
const MAX_SPLIT: usize = 1000;
/// Of so many groups the progress is kept: of new lines, of a routine audit, and of one on demand.
const MAX_GROUPS: usize = 3;
/// At most so many bytes of log text are held at once, in a group or in a range that is read again.
pub(super) const MAX_BYTES: usize = 64 << 20;
/// From here on the skew of the clocks is worth a warning; Loki's `Date` has a resolution of a second.
pub(super) const SKEW: Nanos = 2 * SECOND;

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The request budget is used up.
    Wait(Duration),
    /// A failure.
    Fail(SourceError),
}

/// Everything that one watch needs to ask Loki.
pub(super) struct Reader {
    pub(super) client: Client,
    pub(super) watch: Arc<str>,
    pub(super) org_id: Option<String>,
    pub(super) query: Query,
    pub(super) text: String,
    pub(super) pager: Pager,
    pub(super) budget: Budget,
    pub(super) clock: Clock,
    /// Whether Loki's clock counts. Not when time is simulated.
    pub(super) trust_date: bool,
    /// How far our clock is ahead of Loki's.
    pub(super) ahead: Nanos,
    /// Whether to go on when the budget is used up.
    pub(super) urgent: bool,
    pub(super) streams: Streams,
    /// Groups begun and not finished: of the new lines, and of ranges that are read again in between.
    pub(super) groups: Vec<Group>,
}

/// The entries of one nanosecond, more than fit a page.
pub(super) struct Group {
    at: Nanos,
    batch: Batch,
    /// Queries for single streams still to ask; `None` before it is known that the group must be split.
    pending: Option<Vec<String>>,
    /// What is asked for, and the most that may be asked for: it falls with failures.
    limit: u32,
    ceiling: u32,
    failures: u32,
}

/// An exact count of a long range, in chunks of at most an hour; it can be gone on with after a failure.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) range: TimeRange,
    pub(super) at: Nanos,
    /// Start of each chunk and its lines.
    pub(super) parts: Vec<(Nanos, u64)>,
    chunk: Nanos,
    unknown: bool,
}

impl Tally {
    pub(super) fn new(range: TimeRange) -> Self {
        Self { range, at: range.start, parts: Vec::new(), chunk: HOUR, unknown: false }
    }

    /// All lines; `None` when Loki would not count a part of the range.
    pub(super) fn lines(&self) -> Option<u64> {
        (!self.unknown).then(|| self.parts.iter().map(|(_, lines)| lines).sum())
    }
}

impl Reader {
    /// Now, by Loki's clock.
    pub(super) fn now(&self) -> Nanos {
        (self.clock)() - self.ahead
    }

    /// Reads one page from `from` on, up to `to` at most, into `batch`, and sorts it. Returns the point up to which all
    /// has been read. On a failure the batch is as it was.
    pub(super) async fn page(&mut self, from: Nanos, to: Nanos, batch: &mut Batch) -> Result<Nanos, Stop> {
        let begun = |group: &Group| group.at == from && group.batch.purpose == batch.purpose;
        if let Some(index) = self.groups.iter().position(begun) {
            let group = self.groups.swap_remove(index);
            return self.finish_group(group, batch).await;
        }
        loop {
            let (range, limit) = (self.pager.range(from, to), self.pager.limit());
            let query = self.text.clone();
            let page = match self.ask(&query, range, limit, batch).await {
                Ok(page) => page,
                Err(Halt::Budget(wait)) => return Err(Stop::Wait(wait)),
                Err(Halt::Failed(error)) => match self.pager.failed(error.kind, range.len()) {
                    After::Again => continue,
                    After::Pause(pause) => return Err(Stop::Fail(failure(&error, pause))),
                    After::GiveUp => return self.give_up(from, to, batch).await,
                },
            };
            batch.sort();
            batch.cut(range.end);
            if page.lines < limit as usize {
                self.pager.succeeded(page.lines, page.bytes, range.len());
                return Ok(range.end);
            }
            // The page may end inside a group of equal time stamps: the whole group is left to the next page.
            let last = batch.last().unwrap_or(from).max(from);
            self.pager.succeeded(page.lines, page.bytes, last - from);
            batch.cut(last);
            if last > from {
                return Ok(last);
            }
            let group = Group {
                at: from,
                batch: Batch::new(Arc::clone(&self.watch), batch.range, batch.purpose),
                pending: None,
                limit: self.pager.limit().saturating_mul(2).min(self.pager.largest()),
                ceiling: self.pager.largest(),
                failures: 0,
            };
            return self.finish_group(group, batch).await;
        }
    }

    /// Reads the nanosecond of the group whole, or as far as Loki lets us, with a gap for the rest.
    async fn finish_group(&mut self, mut group: Group, into: &mut Batch) -> Result<Nanos, Stop> {
        let gap = match self.fill(&mut group).await {
            Ok(gap) => gap,
            Err(stop) => {
                self.groups.push(group);
                if self.groups.len() > MAX_GROUPS {
                    self.groups.remove(0);
                }
                return Err(stop);
            }
        };
        let indices: Vec<usize> = group.batch.streams.iter().map(|stream| into.stream_index(stream)).collect();
        for entry in group.batch.entries() {
            let index = indices.get(entry.stream).copied().unwrap_or(0);
            into.push(entry.ts, index, entry.line, entry.detected_level);
        }
        into.sort();
        into.gaps.extend(gap);
        Ok(group.at + 1)
    }

    async fn fill(&mut self, group: &mut Group) -> Result<Option<Gap>, Stop> {
        let instant = TimeRange::new(group.at, group.at + 1);
        if group.pending.is_none() {
            let query = self.text.clone();
            if !self.whole(group, &query).await? {
                group.batch.truncate(0);
                group.pending = Some(self.split(group.at).await?);
            } else {
                return Ok(None);
            }
        }
        while let Some(query) = group.pending.as_ref().and_then(|pending| pending.last().cloned()) {
            self.whole(group, &query).await?;
            group.pending.as_mut().map(Vec::pop);
            if group.batch.bytes() > MAX_BYTES {
                break;
            }
        }
        // The count also finds streams that the index did not name yet.
        let missing = self.count(instant).await?.map(|all| all.saturating_sub(group.batch.len() as u64));
        Ok((missing != Some(0)).then_some(Gap { range: instant, lines: missing, reason: GapReason::FullNanosecond }))
    }

    /// Reads the group's instant with the largest limit that works; false when even then there may be more.
    async fn whole(&mut self, group: &mut Group, query: &str) -> Result<bool, Stop> {
        let instant = TimeRange::new(group.at, group.at + 1);
        loop {
            let before = group.batch.len();
            match self.ask(query, instant, group.limit, &mut group.batch).await {
                Ok(page) => {
                    self.pager.succeeded(page.lines, page.bytes, 1);
                    if page.lines < group.limit as usize {
                        return Ok(true);
                    }
                    if group.limit >= group.ceiling {
                        return Ok(false);
                    }
                    group.batch.truncate(before);
                    group.limit = group.limit.saturating_mul(4).min(group.ceiling);
                }
                Err(Halt::Budget(wait)) => return Err(Stop::Wait(wait)),
                Err(Halt::Failed(error)) => {
                    if let Kind::MaxEntries(max) = error.kind {
                        (group.limit, group.ceiling) = (group.limit.min(max), group.ceiling.min(max));
                        if self.pager.failed(error.kind, 1) == After::Again {
                            continue;
                        }
                    }
                    let size = [Kind::Closed, Kind::Timeout, Kind::TooBig, Kind::BadAnswer, Kind::Deadline];
                    group.failures += u32::from(size.contains(&error.kind));
                    // One failure may be an accident; the second one speaks against the size of the page.
                    if group.failures == 2 {
                        group.failures = 0;
                        group.limit = (group.limit / 2).max(1);
                        group.ceiling = group.limit;
                    }
                    return Err(self.pause(&error));
                }
            }
        }
    }

    /// Queries that split the watch's streams around `at` into single ones.
    async fn split(&mut self, at: Nanos) -> Result<Vec<String>, Stop> {
        self.spend().map_err(Stop::Wait)?;
        // The index knows milliseconds only.
        let around = TimeRange::new(at - 2_000_000, at + 2_000_000);
        let (watch, selector) = (Arc::clone(&self.watch), self.query.selector().to_owned());
        let scope = Scope { watch: &watch, org_id: self.org_id.as_deref() };
        let found = self.client.series(scope, Some(&selector), around).await;
        let mut streams = found.map_err(|error| self.pause(&error))?;
        streams.sort();
        streams.dedup();
        streams.truncate(MAX_SPLIT);
        let mut names: Vec<String> =
            streams.iter().flat_map(|stream| stream.iter().map(|(name, _)| name.to_owned())).collect();
        names.sort();
        names.dedup();
        Ok(streams.iter().map(|stream| self.query.only(stream, &names)).collect())
    }

    /// Leaves out what Loki refuses to read in the smallest pieces, up to the end of the minute, and counts it if it can.
    async fn give_up(&mut self, from: Nanos, to: Nanos, batch: &mut Batch) -> Result<Nanos, Stop> {
        let range = TimeRange::new(from, to.min(ceil(from + 1, MINUTE)));
        let lines = match self.count(range).await {
            Ok(lines) => lines,
            Err(Stop::Wait(_)) => None,
            Err(Stop::Fail(error)) => {
                tracing::warn!(watch = %self.watch, "a range that Loki refuses could not be counted either: {error}");
                None
            }
        };
        batch.gaps.push(Gap { range, lines, reason: GapReason::Refused });
        Ok(range.end)
    }

    /// Counts a short range exactly. `None` when Loki refuses to count it, now and ever.
    pub(super) async fn count(&mut self, range: TimeRange) -> Result<Option<u64>, Stop> {
        match self.try_count(range).await {
            Ok(lines) => Ok(Some(lines)),
            Err(Halt::Budget(wait)) => Err(Stop::Wait(wait)),
            Err(Halt::Failed(error)) if is_refusal(error.kind) => {
                tracing::warn!(watch = %self.watch, "cannot count exactly: {error}");
                Ok(None)
            }
            Err(Halt::Failed(error)) => Err(self.pause(&error)),
        }
    }

    /// Goes on with a count until it is done.
    pub(super) async fn tally(&mut self, tally: &mut Tally) -> Result<(), Stop> {
        while tally.at < tally.range.end {
            let end = tally.range.end.min(tally.at + tally.chunk).min(ceil(tally.at + 1, HOUR));
            match self.try_count(TimeRange::new(tally.at, end)).await {
                Ok(lines) => {
                    tally.parts.push((tally.at, lines));
                    tally.at = end;
                    tally.chunk = (tally.chunk * 2).min(HOUR);
                }
                Err(Halt::Budget(wait)) => return Err(Stop::Wait(wait)),
                Err(Halt::Failed(error)) => {
                    let heavy = [Kind::Deadline, Kind::Timeout, Kind::Closed].contains(&error.kind);
                    let refused = is_refusal(error.kind);
                    if (heavy || refused) && tally.chunk > MINUTE {
                        tally.chunk = (tally.chunk / 4).max(MINUTE);
                    } else if refused {
                        tracing::warn!(watch = %self.watch, "cannot count exactly: {error}");
                        (tally.unknown, tally.at) = (true, tally.range.end);
                    }
                    if !refused {
                        return Err(self.pause(&error));
                    }
                }
            }
        }
        Ok(())
    }

    async fn try_count(&mut self, range: TimeRange) -> Result<u64, Halt> {
        self.spend().map_err(Halt::Budget)?;
        let scope = Scope { watch: &self.watch, org_id: self.org_id.as_deref() };
        let lines = self.client.count(scope, &self.text, range).await.map_err(Halt::Failed)?;
        self.pager.recovered();
        Ok(lines)
    }

    async fn ask(&mut self, query: &str, range: TimeRange, limit: u32, into: &mut Batch) -> Result<Page, Halt> {
        self.spend().map_err(Halt::Budget)?;
        let scope = Scope { watch: &self.watch, org_id: self.org_id.as_deref() };
        let ask = Ask { scope, query, range, limit };
        let page = self.client.page(ask, &mut self.streams, into).await.map_err(Halt::Failed)?;
        self.compare_clocks(page.date);
        Ok(page)
    }

    /// Lets Loki tell the time, by a page of one nanosecond.
    pub(super) async fn ask_time(&mut self, at: Nanos) -> Result<(), Stop> {
        if !self.trust_date {
            return Ok(());
        }
        let mut nothing = Batch::new(Arc::clone(&self.watch), TimeRange::new(at, at + 1), super::Purpose::Judge);
        let query = self.text.clone();
        match self.ask(&query, nothing.range, 1, &mut nothing).await {
            Ok(_) => Ok(()),
            Err(Halt::Budget(wait)) => Err(Stop::Wait(wait)),
            Err(Halt::Failed(error)) => Err(self.pause(&error)),
        }
    }

    fn spend(&mut self) -> Result<(), Duration> {
        let now = (self.clock)();
        if self.urgent {
            self.budget.overdraw(now);
            return Ok(());
        }
        self.budget.take(now)
    }

    /// The error with the pause that its kind asks for, without learning anything about sizes.
    fn pause(&mut self, error: &ClientError) -> Stop {
        let pause = self.pager.unlucky(error.kind);
        Stop::Fail(failure(error, pause))
    }

    /// Corrects our clock by the least that Loki's `Date`, cut to the second, proves.
    fn compare_clocks(&mut self, date: Option<Nanos>) {
        let Some(date) = date.filter(|_| self.trust_date) else { return };
        let ours = (self.clock)();
        let ahead = if ours < date { ours - date } else { (ours - date - SECOND).max(0) };
        metrics::gauge!("sigyn_clock_skew_seconds").set(ahead as f64 / SECOND as f64);
        if ahead.abs() > SKEW && self.ahead.abs() <= SKEW {
            tracing::warn!(
                watch = %self.watch,
                "this machine's clock is {} s {} Loki's; Loki's is used, set one of them right",
                (ahead.abs() as f64 / SECOND as f64).round(),
                if ahead > 0 { "ahead of" } else { "behind" },
            );
        }
        self.ahead = if ahead.abs() > SKEW { ahead } else { 0 };
    }
}

/// Why a single request has brought nothing.
enum Halt {
    Budget(Duration),
    Failed(ClientError),
}

/// Whether Loki will never answer this, however often it is asked.
fn is_refusal(kind: Kind) -> bool {
    matches!(kind, Kind::BadQuery | Kind::TooLong | Kind::TooManyBytes | Kind::TooManySeries | Kind::MaxEntries(_))
}

fn failure(error: &ClientError, pause: Duration) -> SourceError {
    SourceError { message: error.message.clone(), reason: error.kind.reason(), pause }
}
