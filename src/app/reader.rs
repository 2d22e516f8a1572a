//! Reads one watch: source → engine → store, again and again, until told to stop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::core::Core;
use crate::collect::{Batch, Coverage, Known, Next, Purpose, Source, SourceError};
use crate::engine::{Input, Step};
use crate::labels::{FNV_OFFSET, fnv1a};
use crate::time::{MINUTE, Nanos, TimeRange, rfc3339};

/// Failures in a row after which an audit is given up: its range counts as paged, not as confirmed.
const AUDIT_TRIES: u32 = 3;

/// Counts asked for after one batch; what is still wished then is asked for after the next.
const MAX_ANSWERS: u32 = 100;

/// A watch that could not be read for this long is an incident of sigyn itself.
const UNREACHABLE_AFTER: Nanos = 2 * MINUTE;

/// A watch that is further behind its `eval_delay` than this is an incident of sigyn itself.
const LAG_AFTER: Nanos = 10 * MINUTE;

/// How long a gap, or that something was dropped, stays reported after the last one.
const GAP_KEPT: Nanos = 10 * MINUTE;

/// How long a reader goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until it is told to stop.
    Stopped,
    /// Until it has caught up once.
    CaughtUp,
}

/// What others may see of a reader.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Whether a batch has ever been read.
    pub read_once: bool,
    /// The end of what was read to be judged; 0 before.
    pub read_until: Nanos,
    /// How far behind the log's time it is, seconds.
    pub lag_seconds: f64,
    /// Groups known and judged.
    pub learning: crate::engine::Learning,
    /// Why it cannot read, while it cannot.
    pub error: Option<String>,
}

/// What a reader has to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// Name of the watch.
    pub watch: Arc<str>,
    /// What is asked for.
    pub mark: Mark,
    /// How long it goes on.
    pub until: Until,
    /// How far behind real time it stays on purpose.
    pub eval_delay: Nanos,
}

/// What is asked for, as a short text: another query or tenant is another past, which must be learnt anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// The mark of a query in a tenant of Loki.
    #[must_use]
    pub fn of(query: &str, org_id: Option<&str>) -> Self {
        let hash = fnv1a(fnv1a(FNV_OFFSET, query.as_bytes()), &[0xff]);
        Self(format!("{:016x}", fnv1a(hash, org_id.unwrap_or_default().as_bytes())))
    }

    fn sign(&self, state: Option<String>) -> String {
        format!("{} {}", self.0, state.unwrap_or_default())
    }

    /// The state without the mark; `None` when it has another one.
    #[must_use]
    pub fn strip(&self, state: Option<&str>) -> Option<Option<String>> {
        let rest = state?.strip_prefix(&self.0)?.strip_prefix(' ')?;
        Some((!rest.is_empty()).then(|| rest.to_owned()))
    }
}

/// The reader of one watch.
pub struct Reader<S> {
    watch: Arc<str>,
    mark: Mark,
    source: S,
    core: Core,
    until: Until,
    /// How far behind it stays on purpose.
    eval_delay: Nanos,
    progress: tokio::sync::watch::Sender<Progress>,
    ill: Ill,
    audits_failed: u32,
    lines: u64,
    /// The position that is stored, once a step was committed.
    stored: Option<Nanos>,
}

/// What is reported to be ill.
#[derive(Debug, Default)]
struct Ill {
    failing_since: Option<Nanos>,
    unreachable: bool,
    lag: bool,
    gap: Option<Nanos>,
    /// When something was last dropped for want of memory.
    memory: Option<Nanos>,
}

/// How a reader ended.
#[derive(Debug, Default)]
pub struct Report {
    /// Lines of the windows that were closed.
    pub lines: u64,
    /// The last failure, when it ended in one.
    pub error: Option<SourceError>,
}

impl<S: Source> Reader<S> {
    /// A reader that stays `eval_delay` behind on purpose, and where its progress can be seen.
    pub fn new(job: Job, source: S, core: Core) -> (Self, tokio::sync::watch::Receiver<Progress>) {
        let (progress, seen) = tokio::sync::watch::channel(Progress::default());
        let Job { watch, mark, until, eval_delay } = job;
        let ill = Ill::default();
        (
            Self {
                watch,
                mark,
                source,
                core,
                until,
                eval_delay,
                progress,
                ill,
                audits_failed: 0,
                lines: 0,
                stored: None,
            },
            seen,
        )
    }

    /// What the source must find again, marked with what was asked for.
    fn state(&self) -> Option<String> {
        Some(self.mark.sign(self.source.state()))
    }

    /// Reads until told to stop, the end of the source or, with [`Until::CaughtUp`], the first pause or failure. The
    /// models are stored at the end.
    pub async fn run(mut self, stop: CancellationToken) -> Report {
        let mut report = Report::default();
        self.ill = self.recall().await;
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => break,
                next = self.source.next() => next,
            };
            let pause = match next {
                Ok(Next::Batch(batch)) => {
                    if !self.take(batch).await {
                        break;
                    }
                    continue;
                }
                Ok(Next::Wait(pause)) if self.until == Until::Stopped => pause,
                Ok(Next::Wait(_) | Next::End) => break,
                Err(error) if self.until == Until::CaughtUp => {
                    report.error = Some(error);
                    break;
                }
                Err(error) => self.failed(error).await,
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.core.clock.sleep(pause) => {}
            }
        }
        // Without a step of its own, what is stored is another's.
        if self.stored.is_some() {
            self.core.save(&self.watch).await;
        }
        report.lines = self.lines;
        report
    }

    /// What was ill before a restart: it must still be said when it is well again.
    async fn recall(&self) -> Ill {
        let store = &self.core.store;
        let firing = async |problem| store.internal_firing(problem, &self.watch).await.unwrap_or(false);
        Ill {
            failing_since: None,
            unreachable: firing("loki_unreachable").await,
            lag: firing("lag").await,
            gap: firing("gap").await.then(|| self.core.clock.now()),
            memory: firing("memory").await.then(|| self.core.clock.now()),
        }
    }

    /// False when the engine has stopped.
    async fn take(&mut self, batch: Batch) -> bool {
        let (purpose, range) = (batch.purpose, batch.range);
        let gaps = batch.gaps.clone();
        let step = match purpose {
            Purpose::Learn => self.core.learn(Input::Batch(batch)).await,
            _ => self.feed(batch).await,
        };
        let Some(step) = step else { return false };
        // Those of windows that are still open are read again by the next process, and counted there.
        self.lines += if purpose == Purpose::Judge { step.lines } else { 0 };
        self.succeeded(purpose, range, &step).await;
        for gap in &gaps {
            let lines = gap.lines.map_or_else(|| "an unknown number of".to_owned(), |lines| lines.to_string());
            let (from, to) = (rfc3339(gap.range.start), rfc3339(gap.range.end));
            let watch = &self.watch;
            let reason = format!("{:?}", gap.reason);
            metrics::counter!("sigyn_gaps_total", "watch" => watch.to_string(), "reason" => reason).increment(1);
            let detail = format!("watch {watch}: {lines} lines from {from} to {to} were left out ({:?})", gap.reason);
            tracing::warn!(%watch, "{detail}");
            self.ill.gap = Some(self.core.clock.now());
            self.core.report("gap", watch, true, detail).await;
        }
        self.answer(&step).await
    }

    async fn feed(&mut self, batch: Batch) -> Option<Step> {
        let state = self.state();
        let step = self.core.feed(Input::Batch(batch), state, self.stored).await?;
        self.stored = Some(step.done_until);
        Some(step)
    }

    /// Answers the engine's wishes for exact counts, also those that follow from the answers.
    async fn answer(&mut self, step: &Step) -> bool {
        let mut wishes: VecDeque<TimeRange> = step.audits.iter().copied().collect();
        let mut answered = 0;
        while let Some(range) = wishes.pop_front().filter(|_| answered < MAX_ANSWERS) {
            answered += 1;
            let unanswered = match self.source.audit(range).await {
                // It grew, or something of it is missing: what grew comes with the next reading.
                Ok(batch) if batch.purpose == Purpose::Confirm && batch.coverage.known < Known::Paged => {
                    format!("a range is not whole yet: {} lines are missing", batch.coverage.missing)
                }
                Ok(batch) => {
                    self.audits_failed = 0;
                    let Some(step) = self.feed(batch).await else { return false };
                    wishes = step.audits.into();
                    continue;
                }
                Err(error) => error.to_string(),
            };
            self.audits_failed += 1;
            tracing::warn!(watch = %self.watch, "cannot confirm a range before an incident changes: {unanswered}");
            if self.audits_failed < AUDIT_TRIES {
                return true;
            }
            let batch = self.uncounted(range);
            let Some(step) = self.feed(batch).await else { return false };
            wishes = step.audits.into();
        }
        true
    }

    fn uncounted(&self, range: TimeRange) -> Batch {
        let mut batch = Batch::new(Arc::clone(&self.watch), range, Purpose::Confirm);
        batch.coverage = Coverage { known: Known::Paged, ..Coverage::default() };
        batch
    }

    async fn succeeded(&mut self, purpose: Purpose, range: TimeRange, step: &Step) {
        let now = self.core.clock.now();
        let lag = if purpose == Purpose::Judge { now - range.end } else { 0 };
        let was = self.progress.borrow().learning;
        if step.learning.coarse > was.coarse {
            tracing::info!(watch = %self.watch, groups = step.learning.coarse,
                "templates say nothing about some groups: levels, rates and lengths are judged there");
        }
        if step.learning.ready > was.ready && step.learning.ready == step.learning.groups {
            tracing::info!(watch = %self.watch, groups = step.learning.groups, "ready: every known group is judged");
        }
        self.progress.send_modify(|progress| {
            progress.read_once = true;
            progress.read_until = if purpose == Purpose::Judge { range.end } else { progress.read_until };
            progress.error = None;
            progress.lag_seconds = lag as f64 / 1e9;
            progress.learning = step.learning;
        });
        if let Some(since) = self.ill.failing_since.take() {
            let seconds = (now - since) / 1_000_000_000;
            tracing::info!(watch = %self.watch, "can be read again after {seconds} s; goes on where it was");
        }
        if std::mem::take(&mut self.ill.unreachable) {
            self.core.report("loki_unreachable", &self.watch, false, "Loki can be read again".to_owned()).await;
        }
        // In simulated time the reader is as far behind as it would be in real time, not more.
        let limit = (LAG_AFTER as f64 * self.core.clock.speed()) as Nanos + self.eval_delay;
        // Who reads once begins in the past on purpose.
        let tells = purpose == Purpose::Judge && self.until == Until::Stopped;
        if tells && (lag > limit) != self.ill.lag && !(limit / 2..=limit).contains(&lag) {
            self.ill.lag = lag > limit;
            let detail = format!("watch {} is {} s behind", self.watch, lag / 1_000_000_000);
            self.core.report("lag", &self.watch, self.ill.lag, detail).await;
        }
        if let Some(dropped) = step.dropped {
            let detail = format!("watch {}: {dropped}", self.watch);
            tracing::warn!(watch = %self.watch, "{detail}");
            self.ill.memory = Some(now);
            self.core.report("memory", &self.watch, true, detail).await;
        } else if self.ill.memory.is_some_and(|at| now - at > GAP_KEPT) {
            self.ill.memory = None;
            self.core
                .report("memory", &self.watch, false, "nothing more was forgotten for want of memory".to_owned())
                .await;
        }
        if self.ill.gap.is_some_and(|at| now - at > GAP_KEPT) {
            self.ill.gap = None;
            self.core.report("gap", &self.watch, false, "no further line was left out".to_owned()).await;
        }
    }

    /// Notes a failure and says how long to wait.
    async fn failed(&mut self, error: SourceError) -> Duration {
        let now = self.core.clock.now();
        tracing::warn!(watch = %self.watch, reason = error.reason, "{error}");
        self.progress.send_modify(|progress| progress.error = Some(error.to_string()));
        let since = *self.ill.failing_since.get_or_insert(now);
        if (now - since) as f64 >= UNREACHABLE_AFTER as f64 * self.core.clock.speed() && !self.ill.unreachable {
            self.ill.unreachable = true;
            // It began with the first failure, not when it had lasted long enough to be told.
            self.core.report_since(Some(since), "loki_unreachable", &self.watch, true, error.to_string()).await;
        }
        error.pause
    }
}
