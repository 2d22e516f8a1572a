//! The poller against the stand-in: read = written, each once, or the difference stands in a gap with its exact count.

mod audit;
mod learn;
mod once;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use log_generator::loki as standin;

use crate::collect::client::Client;
use crate::collect::config::{CollectConfig, LokiConfig, WatchConfig};
use crate::collect::loki::{Loki, Options, Start};
use crate::collect::{Batch, Gap, GapReason, Known, Next, Purpose, Source};
use crate::time::{HOUR, MINUTE, Nanos, SECOND, Span, TimeRange, floor};

/// Two minutes before an aligned hour, so that every run crosses one.
const T0: Nanos = 500_000 * HOUR - 2 * MINUTE;

/// What the engine would hold, with everything checked on the way.
#[derive(Default)]
struct Model {
    lines: BTreeMap<String, Nanos>,
    gaps: Vec<Gap>,
    learnt: Vec<(TimeRange, usize)>,
    end: Option<Nanos>,
    done_until: Nanos,
    amended: usize,
}

impl Model {
    fn take(&mut self, batch: &Batch) {
        let order: Vec<_> = batch.entries().map(|e| (e.ts, batch.streams[e.stream].hash)).collect();
        assert!(order.is_sorted(), "entries out of order");
        assert!(batch.entries().all(|e| batch.range.contains(e.ts)), "entries outside of {:?}", batch.range);
        match batch.purpose {
            Purpose::Judge => {
                assert!(self.end.is_none_or(|end| end == batch.range.start), "a hole before {:?}", batch.range);
                self.end = Some(batch.range.end);
            }
            Purpose::Amend => {
                assert!(batch.range.end <= self.end.unwrap() && batch.range.start % MINUTE == 0);
                self.lines.retain(|_, ts| !batch.range.contains(*ts));
                self.gaps.retain(|gap| !batch.range.overlaps(&gap.range));
                self.amended += 1;
            }
            Purpose::Learn => return self.learnt.push((batch.range, batch.len())),
            Purpose::Confirm => assert!(batch.is_empty()),
        }
        for entry in batch.entries().filter(|e| e.ts >= self.done_until || batch.purpose == Purpose::Amend) {
            assert!(self.lines.insert(entry.line.to_owned(), entry.ts).is_none(), "{} twice", entry.line);
        }
        let amend = batch.purpose == Purpose::Amend;
        self.gaps.extend(batch.gaps.iter().filter(|gap| amend || gap.range.start >= self.done_until));
    }

    /// A crash after a step that was done until here.
    fn crash(&mut self, done_until: Nanos) {
        self.done_until = self.done_until.max(done_until);
        let done = self.done_until;
        self.lines.retain(|_, ts| *ts < done);
        self.gaps.retain(|gap| gap.range.start < done);
        self.end = Some(floor(done, MINUTE));
    }

    fn check(&self, written: &BTreeMap<String, Nanos>, state: &str) {
        let extra: Vec<_> = self.lines.keys().filter(|line| !written.contains_key(*line)).collect();
        assert!(extra.is_empty(), "read and never written: {extra:?}");
        let lost: BTreeSet<Nanos> =
            written.iter().filter(|(line, _)| !self.lines.contains_key(*line)).map(|e| *e.1).collect();
        for ts in &lost {
            assert!(
                self.gaps.iter().any(|gap| gap.range.contains(*ts)),
                "a line at {ts} lost without a gap: {:?} {state}",
                self.gaps
            );
        }
        for gap in &self.gaps {
            let count = |lines: &BTreeMap<String, Nanos>| lines.values().filter(|ts| gap.range.contains(**ts)).count();
            assert_eq!(gap.lines, Some((count(written) - count(&self.lines)) as u64), "{gap:?}");
        }
    }
}

/// The stand-in, a clock that is set by hand, and a poller.
struct Rig {
    loki: standin::Loki,
    clock: Arc<AtomicI64>,
    collect: CollectConfig,
    window: Option<Nanos>,
    poller: Loki,
    model: Model,
    errors: Vec<String>,
}

fn collect() -> CollectConfig {
    CollectConfig {
        interval: Span::seconds(15),
        eval_delay: Span::seconds(10),
        audit_every: 1,
        max_requests_per_minute: 1_000_000,
        ..CollectConfig::default()
    }
}

fn stand_in(change: impl FnOnce(&mut standin::Options)) -> standin::Loki {
    let mut options = standin::Options { limits: standin::Limits::any_time(), ..standin::Options::default() };
    change(&mut options);
    standin::Loki::start(options).unwrap()
}

fn poller(
    loki: &standin::Loki,
    clock: &Arc<AtomicI64>,
    collect: &CollectConfig,
    window: Option<Nanos>,
    start: Start,
) -> Loki {
    let clock = Arc::clone(clock);
    let config = LokiConfig { url: loki.url(), timeout: Span::seconds(120), ..LokiConfig::default() };
    let watch = WatchConfig { name: "w".to_owned(), query: "{shop=\"s\"}".to_owned(), ..WatchConfig::default() };
    Loki::new(Options {
        client: Client::new(&config).unwrap(),
        watch,
        collect: collect.clone(),
        window,
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        trust_date: false,
        start,
    })
    .unwrap()
}

impl Rig {
    fn new(loki: standin::Loki, collect: CollectConfig, start: Start) -> Self {
        let clock = Arc::new(AtomicI64::new(T0));
        let window = Some(MINUTE);
        let poller = poller(&loki, &clock, &collect, window, start);
        Self { loki, clock, collect, window, poller, model: Model::default(), errors: Vec::new() }
    }

    fn at_t0(loki: standin::Loki, collect: CollectConfig) -> Self {
        Self::new(loki, collect, Start::Resume { position: T0, state: None })
    }

    fn set(&self, now: Nanos) {
        self.clock.store(now, Ordering::Relaxed);
    }

    /// Takes batches until the poller wants a pause. Failures are asked again at once.
    async fn drain(&mut self) -> Duration {
        for _ in 0..5000 {
            match self.poller.next().await {
                Ok(Next::Batch(batch)) => self.model.take(&batch),
                Ok(Next::Wait(pause)) => return pause,
                Ok(Next::End) => panic!("a poller has no end"),
                Err(error) => self.errors.push(error.message),
            }
        }
        panic!("no end in sight; errors: {:?}", self.errors.last());
    }

    fn restart(&mut self, done_until: Nanos) {
        let state = self.poller.state();
        self.model.crash(done_until);
        let position = floor(self.model.done_until, MINUTE);
        let start = Start::Resume { position, state };
        self.poller = poller(&self.loki, &self.clock, &self.collect, self.window, start);
    }
}

const STREAMS: [&[(&str, &str)]; 4] = [
    &[("shop", "s"), ("app", "a")],
    &[("shop", "s"), ("app", "a"), ("pod", "p")],
    &[("shop", "s"), ("app", "b")],
    &[("shop", "s"), ("app", "c\"}")],
];

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// `n` lines of one second each from `T0` on.
fn push_seconds(rig: &Rig, n: Nanos) -> BTreeMap<String, Nanos> {
    let lines = (0..n).map(|i| (format!("line {i}"), T0 + i * SECOND));
    let lines: BTreeMap<String, Nanos> = lines.collect();
    for (line, ts) in &lines {
        rig.loki.push(STREAMS[0], *ts, line.clone());
    }
    lines
}
