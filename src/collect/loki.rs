//! The poller: one watch of one Loki as a [`Source`].
//!
//! What comes in: a watch, a clock, where to start. What goes out: half-open ranges in order, each page one batch; closed
//! ranges once more when lines came late; a gap with its exact count for what was not read. What never happens here:
//! reading the wall clock, sleeping, moving on after a failure, memory that grows with the range.
//!
//! [`Source::state`] belongs to the batch that was returned last: take it before the next call, and store it with that
//! batch's step. All times and pauses are in the time of the clock that was handed in.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::collect::audit::Amend;
use crate::collect::budget::Budget;
use crate::collect::client::{Client, Streams};
use crate::collect::config::{CollectConfig, WatchConfig};
use crate::collect::delay::{Delay, Learnt};
use crate::collect::learn::Learning;
use crate::collect::ledger::Ledger;
use crate::collect::page::Pager;
use crate::collect::query::Query;
use crate::collect::read::{Reader, SKEW, Stop, Tally};
use crate::collect::{Batch, Coverage, Gap, GapReason, Known, Next, Purpose, Source, SourceError};
use crate::labels::{FNV_OFFSET, fnv1a};
use crate::time::{HOUR, MINUTE, Nanos, SECOND, Span, TimeRange, floor};

pub use crate::collect::read::Clock;

/// What a poller is made of.
pub struct Options {
    /// The Loki to ask.
    pub client: Client,
    /// What to watch; what it does not set comes from `collect`.
    pub watch: WatchConfig,
    /// How to read.
    pub collect: CollectConfig,
    /// Length of the watch's windows; `None` for windows of lines.
    pub window: Option<Nanos>,
    /// The clock.
    pub clock: Clock,
    /// Whether Loki's `Date` header corrects the clock. Not when time is simulated.
    pub trust_date: bool,
    /// Where to begin.
    pub start: Start,
}

/// Where a poller begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing is stored of this watch.
    Fresh {
        /// Whether to learn from Loki's past first.
        learn: bool,
        /// From when on lines are judged; `None`: from now on, rounded down to the window.
        from: Option<Nanos>,
    },
    /// Go on after a restart.
    Resume {
        /// The end of all that is done, rounded down to the minute: it is read again from there.
        position: Nanos,
        /// What [`Source::state`] gave with that step.
        state: Option<String>,
    },
}

/// A poller. See the module.
pub struct Loki {
    pub(super) reader: Reader,
    pub(super) ledger: Ledger,
    pub(super) learning: Option<Learning>,
    pub(super) set: Settings,
    /// A range older than `max_lag` that is being counted.
    skipping: Option<Tally>,
    /// A range that grew and is being read again: by routine, and on demand.
    pub(super) amend: Option<Amend>,
    pub(super) asked: Option<Amend>,
    pub(super) delay: Delay,
    /// Whether the last audit failed, so that reading has its turn first.
    rest_from_audit: bool,
    /// Reading goes on to here without a pause.
    target: Nanos,
    next_poll: Nanos,
}

/// The watch's settings in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) interval: Nanos,
    pub(super) eval_delay: Nanos,
    pub(super) late_after: Nanos,
    pub(super) audit_every: u32,
    pub(super) max_lag: Nanos,
    pub(super) learn_lines: u64,
}

/// What must be found again after a restart.
#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    pager: Pager,
    ledger: Ledger,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    learning: Option<Learning>,
    #[serde(default)]
    delay: Learnt,
}

const VERSION: u32 = 1;

impl Loki {
    /// A poller; it asks nothing yet.
    ///
    /// # Errors
    /// When the watch's query is no log query; says why.
    pub fn new(options: Options) -> Result<Self, String> {
        let Options { client, watch, collect, window, clock, trust_date, start } = options;
        let query = Query::new(&watch.query, collect.exclude_own_queries)?;
        let nanos = |own: Option<Span>, shared: Span| own.unwrap_or(shared).nanos();
        let mut set = Settings {
            interval: nanos(watch.interval, collect.interval).max(SECOND / 10),
            eval_delay: nanos(watch.eval_delay, collect.eval_delay),
            late_after: collect.late_after.nanos(),
            audit_every: collect.audit_every,
            max_lag: collect.max_lag.nanos(),
            learn_lines: collect.learn_lines,
        };
        let now = clock();
        let reader = Reader {
            client,
            watch: Arc::from(watch.name.as_str()),
            org_id: watch.org_id,
            text: query.text(),
            query,
            pager: Pager::new(collect.limit, fnv1a(FNV_OFFSET, watch.name.as_bytes())),
            budget: Budget::new(collect.max_requests_per_minute, now),
            clock,
            trust_date,
            ahead: 0,
            urgent: false,
            streams: Streams::default(),
            groups: Vec::new(),
        };
        let block = Ledger::new(window, 0).block();
        // A lag that ordinary polling reaches would leave lines out for ever.
        set.max_lag = set.max_lag.max(set.eval_delay + 2 * set.interval + block);
        let judge = match &start {
            Start::Fresh { from, .. } => floor(from.unwrap_or(now - set.eval_delay), block),
            Start::Resume { position, .. } => *position,
        };
        let mut loki = Self {
            reader,
            ledger: Ledger::new(window, judge),
            learning: None,
            set,
            skipping: None,
            amend: None,
            asked: None,
            delay: Delay::default(),
            rest_from_audit: false,
            target: judge,
            next_poll: now,
        };
        match start {
            Start::Fresh { learn: true, .. } => {
                let lookback = floor(judge - collect.learn_lookback.nanos(), block.max(MINUTE));
                loki.learning = Some(Learning::new(TimeRange::new(lookback, judge)));
            }
            Start::Fresh { learn: false, .. } => {}
            Start::Resume { position, state } => loki.restore(window, position, state.as_deref()),
        }
        Ok(loki)
    }

    /// The range that is still being learnt from, and how much of it is done (0 to 1). `None` when lines are judged.
    #[must_use]
    pub fn learning(&self) -> Option<(TimeRange, f64)> {
        self.learning.as_ref().map(|learning| (learning.range, learning.share()))
    }

    /// All before this has been delivered.
    #[must_use]
    pub fn position(&self) -> Nanos {
        self.ledger.position()
    }

    fn restore(&mut self, window: Option<Nanos>, position: Nanos, state: Option<&str>) {
        let Some(text) = state else { return };
        match serde_json::from_str::<State>(text) {
            Ok(state) if state.version == VERSION => {
                self.reader.pager.restore(&state.pager);
                self.delay.restore(state.delay);
                if let Some(mut learning) = state.learning {
                    self.ledger = Ledger::new(window, learning.range.end);
                    learning.resume(position);
                    self.target = learning.range.end;
                    self.learning = Some(learning);
                } else {
                    self.ledger.restore(state.ledger, position);
                }
            }
            Ok(state) => tracing::warn!(
                watch = %self.reader.watch,
                "the stored state has version {}, not {VERSION}: late lines from before the restart will not be found",
                state.version
            ),
            Err(error) => tracing::warn!(
                watch = %self.reader.watch,
                "the stored state cannot be read ({error}): late lines from before the restart will not be found"
            ),
        }
    }

    async fn step(&mut self) -> Result<Next, Stop> {
        if let Some(batch) = self.learn().await? {
            return Ok(Next::Batch(batch));
        }
        if let Some(batch) = self.skip_too_old().await? {
            return Ok(Next::Batch(batch));
        }
        if !std::mem::take(&mut self.rest_from_audit) {
            match self.audit_due().await {
                Ok(Some(batch)) => return Ok(Next::Batch(batch)),
                Ok(None) => {}
                Err(stop) => {
                    self.rest_from_audit = true;
                    return Err(stop);
                }
            }
        }
        self.read().await
    }

    /// The next page, or the pause until the next poll.
    async fn read(&mut self) -> Result<Next, Stop> {
        let position = self.ledger.position();
        // Nothing is read of the future: our clock was set back, or has been set right.
        if position > self.reader.now() + SKEW {
            self.reader.ask_time(position - 1).await?;
            self.next_poll = self.next_poll.min(self.reader.now());
        }
        let now = self.reader.now();
        if position >= self.target {
            let wait = (self.next_poll - now).min(self.set.interval);
            if wait > 0 {
                return Ok(Next::Wait(pause(wait)));
            }
            (self.target, self.next_poll) = (now - self.set.eval_delay, now + self.set.interval);
            if position >= self.target {
                return Ok(Next::Wait(pause(self.set.interval.min(position - self.target + 1))));
            }
        }
        let range = TimeRange::new(position, self.target);
        let mut batch = Batch::new(Arc::clone(&self.reader.watch), range, Purpose::Judge);
        batch.range.end = self.reader.page(position, self.target, &mut batch).await?;
        // The answer says what time it is: when our clock was wrong, what was asked for may not be written yet.
        let settled = self.reader.now() - self.set.eval_delay;
        if batch.range.end > settled + SKEW {
            (self.target, self.next_poll) = (settled, self.reader.now());
            return Ok(Next::Wait(Duration::ZERO));
        }
        self.delivered(&mut batch);
        // What is caught up was read too late to tell how long it was under way.
        if now - batch.range.start <= self.set.eval_delay + 2 * self.set.interval {
            let entries = batch.entries().filter_map(|entry| Some((entry.ts, batch.streams.get(entry.stream)?.hash)));
            self.delay.read(batch.range, now, self.ledger.block(), entries);
        }
        Ok(Next::Batch(batch))
    }

    /// Counts what has become older than `max_lag` before its turn, and leaves it out.
    async fn skip_too_old(&mut self) -> Result<Option<Batch>, Stop> {
        let oldest = |own: &Self| floor(own.reader.now() - own.set.max_lag, own.ledger.block());
        let position = self.ledger.position();
        if self.skipping.is_none() && position < oldest(self) {
            // Nothing is left out on the word of our clock alone.
            self.reader.ask_time(position).await?;
            let oldest = oldest(self);
            if position < oldest {
                self.skipping = Some(Tally::new(TimeRange::new(position, oldest)));
            }
        }
        let Some(mut tally) = self.skipping.take() else { return Ok(None) };
        if let Err(stop) = self.reader.tally(&mut tally).await {
            self.skipping = Some(tally);
            return Err(stop);
        }
        let mut batch = Batch::new(Arc::clone(&self.reader.watch), tally.range, Purpose::Judge);
        let lines = tally.lines();
        if lines == Some(0) {
            batch.coverage.known = Known::Audited;
        } else {
            let lag = Span(Duration::from_nanos(self.set.max_lag.unsigned_abs()));
            let range = tally.range;
            tracing::warn!(watch = %batch.watch, start = range.start, end = range.end, lines,
                "a range older than collect.max_lag ({lag}) was counted and left out");
            add_gap(&mut batch, Gap { range, lines, reason: GapReason::TooOld });
        }
        self.note(&batch);
        self.ledger.skip_to(tally.range.end);
        self.reader.groups.clear();
        self.target = self.target.max(tally.range.end);
        Ok(Some(batch))
    }

    /// Enters a batch of new lines into the ledger.
    fn delivered(&mut self, batch: &mut Batch) {
        batch.coverage = coverage(batch);
        self.ledger.delivered(batch.range, batch.entries().map(|entry| entry.ts));
        for gap in &batch.gaps {
            self.ledger.missing(gap.range, gap.lines);
        }
        self.note(batch);
    }

    /// The figures that operators look at.
    fn note(&self, batch: &Batch) {
        let watch = || Arc::clone(&batch.watch);
        metrics::counter!("sigyn_lines_total", "watch" => watch()).increment(batch.len() as u64);
        let missing = batch.gaps.iter().filter_map(|gap| gap.lines).sum();
        metrics::counter!("sigyn_gap_lines_total", "watch" => watch()).increment(missing);
        let lag = self.reader.now() - batch.range.end.max(self.ledger.position());
        metrics::gauge!("sigyn_lag_seconds", "watch" => watch()).set(seconds(lag));
        let (lines, lost) = self.ledger.totals(self.ledger.range());
        let (seen, all) = (lines as f64, (lines + lost).max(1) as f64);
        let share = if lines + lost == 0 { batch.coverage.share() } else { seen / all };
        metrics::gauge!("sigyn_coverage_ratio", "watch" => watch()).set(share);
    }
}

impl Source for Loki {
    async fn next(&mut self) -> Result<Next, SourceError> {
        match self.step().await {
            Ok(next) => Ok(next),
            Err(Stop::Wait(pause)) => Ok(Next::Wait(pause)),
            Err(Stop::Fail(error)) => Err(error),
        }
    }

    async fn audit(&mut self, range: TimeRange) -> Result<Batch, SourceError> {
        // An incident waits for this answer: it may use tomorrow's requests.
        self.reader.urgent = true;
        let answer = self.audit_now(range).await;
        self.reader.urgent = false;
        answer.map_err(|stop| match stop {
            Stop::Fail(error) => error,
            Stop::Wait(pause) => SourceError {
                message: format!("watch `{}` has used up its request budget", self.reader.watch),
                reason: "budget",
                pause,
            },
        })
    }

    fn state(&self) -> Option<String> {
        let state = State {
            version: VERSION,
            pager: self.reader.pager.clone(),
            ledger: self.ledger.clone(),
            learning: self.learning.clone(),
            delay: self.delay.learnt(),
        };
        serde_json::to_string(&state).ok()
    }
}

/// What the gaps of a batch say about its coverage.
pub(super) fn coverage(batch: &Batch) -> Coverage {
    let missing = batch.gaps.iter().filter_map(|gap| gap.lines).sum();
    let known = if batch.gaps.is_empty() { Known::Paged } else { Known::Partial };
    Coverage { known, seen: batch.len() as u64, missing }
}

pub(super) fn add_gap(batch: &mut Batch, gap: Gap) {
    batch.gaps.push(gap);
    batch.coverage = coverage(batch);
}

fn pause(wait: Nanos) -> Duration {
    Duration::from_nanos(wait.clamp(0, HOUR).unsigned_abs())
}

fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / SECOND as f64
}
