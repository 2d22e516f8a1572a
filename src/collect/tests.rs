//! The poller against the stand-in: read = written, each once, or the difference stands in a gap with its exact count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use log_generator::loki as standin;
use proptest::prelude::*;

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
    let config = LokiConfig { url: loki.url(), timeout: Span::seconds(5), ..LokiConfig::default() };
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

/// A line to write: when it is stamped, when it can be seen, and in which stream.
#[derive(Clone, Debug)]
struct Line {
    ts: Nanos,
    seen: Nanos,
    stream: usize,
}

/// Bursts of equal stamps, one nanosecond apart, whole seconds, window borders; late by up to a minute.
fn lines() -> impl Strategy<Value = Vec<Line>> {
    let second = prop_oneof![3 => 0..240i64, 2 => Just(60), 2 => Just(119), 1 => Just(120), 2 => 150..153i64];
    let nano = prop_oneof![4 => Just(0i64), 2 => 0..3i64, 1 => Just(999_999_999), 1 => 0..SECOND];
    let late = prop_oneof![6 => 0..5i64, 1 => 10..60i64];
    let line = (second, nano, late, 0..STREAMS.len(), prop_oneof![6 => Just(1usize), 1 => 1..25usize]);
    proptest::collection::vec(line, 1..60).prop_map(|groups| {
        let of = |(second, nano, late, stream, n): (i64, i64, i64, usize, usize)| {
            let ts = T0 + second * SECOND + nano;
            vec![Line { ts, seen: ts + late * SECOND, stream }; n]
        };
        groups.into_iter().flat_map(of).collect()
    })
}

#[derive(Clone, Debug)]
struct Trouble {
    limit: u32,
    cap: usize,
    failures: f64,
    seed: u64,
    page_cap: bool,
    discover_levels: bool,
    /// After how many batches the process is killed, again and again.
    kill_every: usize,
    /// How far behind what was delivered the engine's `done_until` is, in seconds.
    open: Nanos,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let sizes = (1..40u32, 1..60usize, prop_oneof![Just(0.0), Just(0.3)], any::<u64>(), any::<bool>(), any::<bool>());
    (sizes, prop_oneof![Just(usize::MAX), 3..30usize], 0..130i64).prop_map(|(sizes, kill_every, open)| {
        let (limit, cap, failures, seed, page_cap, discover_levels) = sizes;
        Trouble { limit, cap, failures, seed, page_cap, discover_levels, kill_every, open: open * SECOND }
    })
}

fn faults(trouble: &Trouble) -> standin::Faults {
    use standin::{Endpoint, Fault, Rule, When};
    let share = trouble.failures / 5.0;
    let rule = |fault| Rule::new(fault, Endpoint::Any, When::Chance(share));
    let rules = if share == 0.0 {
        Vec::new()
    } else {
        vec![
            rule(Fault::TooManyRequests),
            rule(Fault::Status(500, "context canceled".to_owned())),
            rule(Fault::Cut(0.6)),
            rule(Fault::Reset),
            rule(Fault::NoAnswer(Duration::ZERO)),
        ]
    };
    let page = trouble.page_cap.then_some(standin::PageCap { bytes: 900, hold: Duration::ZERO });
    standin::Faults { seed: trouble.seed, rules, page, ..standin::Faults::default() }
}

async fn run(lines: Vec<Line>, trouble: Trouble) {
    let loki = stand_in(|options| {
        options.limits.max_entries = trouble.cap;
        options.discover_levels = trouble.discover_levels;
        options.faults = faults(&trouble);
    });
    let mut rig = Rig::at_t0(loki, CollectConfig { limit: trouble.limit, ..collect() });
    let mut written = BTreeMap::new();
    let (mut batches, mut now) = (0, T0);
    let (mut last_kill, mut kill_at) = (0, trouble.kill_every);
    while now < T0 + 8 * MINUTE {
        rig.set(now);
        for (id, line) in lines.iter().enumerate().filter(|(_, line)| line.seen > now - 7 * SECOND && line.seen <= now)
        {
            rig.loki.push(STREAMS[line.stream], line.ts, format!("level=info line {id}"));
            written.insert(format!("level=info line {id}"), line.ts);
        }
        for _ in 0..5000 {
            match rig.poller.next().await {
                Ok(Next::Batch(batch)) => {
                    rig.model.take(&batch);
                    batches += 1;
                    if batches >= kill_at {
                        // Each life is longer than the last: whoever is killed within every minute can never move on.
                        kill_at = batches + 2 * (kill_at - last_kill);
                        last_kill = batches;
                        let done = floor(rig.poller.position() - trouble.open, MINUTE).max(T0);
                        rig.restart(done);
                        break;
                    }
                }
                Ok(Next::Wait(_)) => break,
                Ok(Next::End) => panic!("a poller has no end"),
                Err(error) => rig.errors.push(error.message),
            }
        }
        now += 7 * SECOND;
    }
    // An audit that failed is tried again at the next poll.
    rig.loki.set_faults(standin::Faults::default());
    for _ in 0..3 {
        now += MINUTE;
        rig.set(now);
        rig.drain().await;
    }
    assert_eq!(written.len(), lines.len());
    rig.model.check(&written, &format!("{:?} {:?} {:?}", rig.model.end, rig.poller.state(), rig.errors.last()));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn read_is_written_each_once(lines in lines(), trouble in trouble()) {
        block_on(run(lines, trouble));
    }
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

#[tokio::test]
async fn late_lines_bring_their_minute_once_more_and_only_theirs() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), collect());
    let mut written = push_seconds(&rig, 300);
    rig.set(T0 + 5 * MINUTE + 15 * SECOND);
    rig.drain().await;
    rig.model.check(&written, "");
    assert_eq!(rig.model.amended, 0);
    rig.loki.push(STREAMS[1], T0 + 4 * MINUTE + 5, "late");
    written.insert("late".to_owned(), T0 + 4 * MINUTE + 5);
    rig.set(T0 + 7 * MINUTE);
    rig.drain().await;
    rig.model.check(&written, "");
    assert_eq!(rig.model.amended, 1);
}

/// What is learnt of lines that are 24 s under way, read every 15 s, 10 s behind.
async fn learnt_delay(ahead: Nanos, pause: Nanos) -> Option<Nanos> {
    let mut rig = Rig::at_t0(stand_in(|_| {}), collect());
    rig.poller.reader.ahead = ahead;
    let (mut shown, mut now) = (0, T0 + pause);
    while now < T0 + pause + 10 * MINUTE {
        now += 5 * SECOND;
        // After the pause the shipper is as slow as before.
        while T0 + (shown + 24) * SECOND <= now {
            rig.loki.push(STREAMS[0], T0 + shown * SECOND, format!("line {shown}"));
            shown += 1;
        }
        rig.set(now + ahead);
        if pause == 0 || now == T0 + pause + 10 * MINUTE {
            rig.drain().await;
        }
    }
    rig.poller.delay.quantile(10 * SECOND)
}

#[tokio::test]
async fn the_delay_is_learnt_whatever_the_clock_says_and_not_from_a_backlog() {
    let learnt = learnt_delay(0, 0).await.unwrap();
    assert!((22 * SECOND..27 * SECOND).contains(&learnt), "{learnt}");
    assert_eq!(learnt_delay(40 * SECOND, 0).await, Some(learnt));
    assert_eq!(learnt_delay(0, HOUR).await, None);
}

#[tokio::test]
async fn an_audit_on_demand_confirms_or_amends() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { audit_every: 0, ..collect() });
    let mut written = push_seconds(&rig, 300);
    rig.set(T0 + 5 * MINUTE);
    rig.drain().await;
    let second = TimeRange::new(T0 + MINUTE, T0 + 2 * MINUTE);
    let batch = rig.poller.audit(second).await.unwrap();
    assert_eq!((batch.purpose, batch.range, batch.coverage.known), (Purpose::Confirm, second, Known::Audited));
    assert_eq!(batch.coverage.seen, 60);
    let asked = rig.loki.counters().queries;
    rig.poller.audit(second).await.unwrap();
    assert_eq!(rig.loki.counters().queries, asked, "what is confirmed is not counted again");
    let third = TimeRange::new(T0 + 2 * MINUTE, T0 + 3 * MINUTE);
    rig.loki.push(STREAMS[1], third.start, "late");
    written.insert("late".to_owned(), third.start);
    let batch = rig.poller.audit(third).await.unwrap();
    assert_eq!((batch.purpose, batch.len(), batch.coverage.known), (Purpose::Amend, 61, Known::Audited));
    rig.model.take(&batch);
    let old = TimeRange::new(T0 - HOUR, T0 - HOUR + MINUTE);
    let batch = rig.poller.audit(old).await.unwrap();
    assert_eq!((batch.purpose, batch.coverage.known), (Purpose::Confirm, Known::Paged));
    // The minute is still open: it cannot be replaced yet, but what is missing is known.
    let open = TimeRange::new(T0 + 4 * MINUTE + 10 * SECOND, T0 + 4 * MINUTE + 20 * SECOND);
    rig.loki.push(STREAMS[1], open.start, "later");
    written.insert("later".to_owned(), open.start);
    let batch = rig.poller.audit(open).await.unwrap();
    assert_eq!((batch.coverage.known, batch.coverage.missing), (Known::Partial, 1));
    rig.set(T0 + 7 * MINUTE);
    rig.drain().await;
    rig.model.check(&written, "");
}

#[tokio::test]
async fn a_count_on_demand_of_a_minute_just_closed_is_not_the_last() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { audit_every: 0, ..collect() });
    let mut written = push_seconds(&rig, 300);
    // The shipper hangs, so the minute looks quiet, and an incident wants to be sure of it.
    rig.set(T0 + 5 * MINUTE + 20 * SECOND);
    rig.drain().await;
    let young = TimeRange::new(T0 + 4 * MINUTE, T0 + 5 * MINUTE);
    let batch = rig.poller.audit(young).await.unwrap();
    assert_eq!((batch.purpose, batch.coverage.known), (Purpose::Confirm, Known::Audited));
    // What it held back comes after the count.
    rig.loki.push(STREAMS[1], young.start + 5, "late");
    written.insert("late".to_owned(), young.start + 5);
    rig.set(T0 + 7 * MINUTE);
    rig.drain().await;
    rig.model.check(&written, "");
    assert_eq!(rig.model.amended, 1);
}

#[tokio::test]
async fn one_minute_that_grew_leads_to_all_of_the_same_delay() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { audit_every: 0, ..collect() });
    let mut written = push_seconds(&rig, 600);
    rig.set(T0 + 10 * MINUTE + 15 * SECOND);
    rig.drain().await;
    for minute in 2..7 {
        let (ts, text) = (T0 + minute * MINUTE + 5, format!("late {minute}"));
        rig.loki.push(STREAMS[1], ts, text.clone());
        written.insert(text, ts);
    }
    rig.set(T0 + 12 * MINUTE);
    let fourth = TimeRange::new(T0 + 4 * MINUTE, T0 + 5 * MINUTE);
    let batch = rig.poller.audit(fourth).await.unwrap();
    rig.model.take(&batch);
    rig.drain().await;
    rig.model.check(&written, "");
}

#[tokio::test]
async fn what_is_too_old_is_counted_and_left_out() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { max_lag: Span::minutes(90), ..collect() });
    push_seconds(&rig, 300);
    rig.set(T0 + 92 * MINUTE);
    let Ok(Next::Batch(batch)) = rig.poller.next().await else { panic!("no batch") };
    let range = TimeRange::new(T0, T0 + 2 * MINUTE);
    assert_eq!(batch.gaps, [Gap { range, lines: Some(120), reason: GapReason::TooOld }]);
    assert_eq!((batch.range, batch.coverage.known, batch.coverage.missing), (range, Known::Partial, 120));
    rig.model.take(&batch);
    rig.drain().await;
    assert_eq!(rig.model.lines.len(), 180);
}

#[tokio::test]
async fn learning_comes_first_in_order_within_its_lines_and_survives_a_restart() {
    let loki = stand_in(|_| {});
    for i in 0..7200 {
        loki.push(STREAMS[0], T0 - 2 * HOUR + i * SECOND, format!("old {i}"));
    }
    let collect = CollectConfig { learn_lookback: Span::hours(2), learn_lines: 1200, ..collect() };
    let mut rig = Rig::new(loki, collect.clone(), Start::Fresh { learn: true, from: None });
    let mut learnt = Vec::new();
    while rig.poller.learning().is_some() {
        let Ok(Next::Batch(batch)) = rig.poller.next().await else { panic!("no batch") };
        if batch.purpose == Purpose::Learn {
            learnt.push((batch.range, batch.len()));
        }
        if learnt.len() == 7 {
            let start = Start::Resume { position: batch.range.end, state: rig.poller.state() };
            rig.poller = poller(&rig.loki, &rig.clock, &collect, rig.window, start);
            assert!(rig.poller.learning().is_some());
        }
    }
    let lines: usize = learnt.iter().map(|(_, lines)| lines).sum();
    assert!((1000..=1200).contains(&lines), "{lines}");
    assert!(
        learnt.iter().all(|(range, n)| range.start % MINUTE == 0 && range.len() == MINUTE && *n == 60),
        "{learnt:?}"
    );
    assert!(learnt.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start));
    rig.set(T0 + MINUTE);
    rig.drain().await;
    assert_eq!(rig.model.end, Some(T0 + 50 * SECOND));
    assert!(rig.model.lines.values().all(|ts| *ts >= T0 - MINUTE));
}

#[tokio::test]
async fn everything_is_learnt_when_it_fits_and_an_empty_past_costs_no_page() {
    for lines in [0, 100] {
        let loki = stand_in(|_| {});
        for i in 0..lines {
            loki.push(STREAMS[0], T0 - 2 * HOUR + i * MINUTE, format!("old {i}"));
        }
        let mut rig = Rig::new(loki, collect(), Start::Fresh { learn: true, from: Some(T0) });
        rig.drain().await;
        let read: usize = rig.model.learnt.iter().map(|(_, lines)| lines).sum();
        assert_eq!(read as Nanos, lines);
        let whole = TimeRange::new(rig.model.learnt[0].0.start, rig.model.learnt.last().unwrap().0.end);
        assert_eq!(whole, TimeRange::new(T0 - 24 * HOUR, T0));
        assert!(rig.model.learnt.windows(2).all(|pair| pair[0].0.end == pair[1].0.start));
    }
}

#[tokio::test]
async fn the_budget_turns_into_a_pause() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { max_requests_per_minute: 2, limit: 1, ..collect() });
    push_seconds(&rig, 60);
    rig.set(T0 + 2 * MINUTE);
    let pause = rig.drain().await;
    assert!(pause > Duration::from_secs(20) && pause <= Duration::from_secs(30), "{pause:?}");
    assert!(rig.loki.counters().queries <= 4);
}

#[tokio::test]
async fn requests_say_who_asks_and_never_cross_an_hour() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), collect());
    push_seconds(&rig, 300);
    rig.set(T0 + 5 * MINUTE);
    rig.drain().await;
    let requests = rig.loki.requests();
    assert!(requests.iter().any(|r| r.param("limit") == Some("5000") && r.param("direction") == Some("forward")));
    for request in &requests {
        assert_eq!(request.tags.as_deref(), Some("Source=sigyn"));
        assert!(request.user_agent.as_deref().is_some_and(|agent| agent.starts_with("sigyn/")));
        let number = |name| request.param(name).map(|text| text.parse::<Nanos>().unwrap());
        if let (Some(start), Some(end)) = (number("start"), number("end")) {
            assert_eq!(start.div_euclid(HOUR), (end - 1).div_euclid(HOUR));
        }
    }
}

#[tokio::test]
async fn a_refused_minute_becomes_a_gap_and_reading_goes_on() {
    use standin::{Endpoint, Fault, Faults, When};
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { audit_every: 0, ..collect() });
    push_seconds(&rig, 120);
    let text = "the query would read too many bytes (query: 697 KiB, limit: 1.0 KiB); consider adding".to_owned();
    rig.loki.set_faults(Faults::rule(Fault::Status(400, text), Endpoint::QueryRange, When::Next(10)));
    rig.set(T0 + 2 * MINUTE);
    rig.drain().await;
    let range = TimeRange::new(T0, T0 + MINUTE);
    assert_eq!(rig.model.gaps, [Gap { range, lines: Some(60), reason: GapReason::Refused }], "{:?}", rig.errors);
    assert_eq!(rig.model.lines.len(), 50);
}

#[test]
fn each_failure_says_what_where_and_what_to_do() {
    use standin::{Endpoint, Fault, Faults, When};
    let mut rig = Rig::at_t0(stand_in(|options| options.auth_enabled = true), collect());
    rig.set(T0 + MINUTE);
    let mut fail = |fault: Option<Fault>| {
        rig.loki.set_faults(fault.map(|f| Faults::rule(f, Endpoint::Any, When::Always)).unwrap_or_default());
        let error = block_on(rig.poller.next()).unwrap_err();
        format!("[{}] {}", error.reason, error.message.replace(&rig.loki.address().to_string(), "HOST"))
    };
    let status = |status: u16, text: &str| Some(Fault::Status(status, text.to_owned()));
    insta::assert_snapshot!(fail(None), @r#"[unauthorized] watch `w`: http://HOST/loki/api/v1/query_range answered 401 Unauthorized: `no org id`; set loki.org_id, or org_id of the watch: this Loki has tenants"#);
    insta::assert_snapshot!(fail(status(403, "")), @r#"[forbidden] watch `w`: http://HOST/loki/api/v1/query_range answered 403 Forbidden: no text; the credentials are known and not allowed to read this tenant; check rights and org_id"#);
    insta::assert_snapshot!(fail(status(404, "404 page not found\n")), @r#"[not_found] watch `w`: http://HOST/loki/api/v1/query_range answered 404 Not Found: `404 page not found`; check the path of loki.url: it must end where /loki/api begins, with a gateway's prefix"#);
    insta::assert_snapshot!(fail(status(502, "<html>Bad\n Gateway</html>")), @r#"[server] watch `w`: http://HOST/loki/api/v1/query_range answered 502 Bad Gateway: `<html>Bad Gateway</html>`; asking again later; Loki's own log says more"#);
    insta::assert_snapshot!(fail(status(200, "<html>Log in</html>")), @r#"[bad_answer] watch `w`: http://HOST/loki/api/v1/query_range answered 200 with something that is not Loki's JSON (expected value at line 1 column 1, in `<html>Log in</html>`); check that loki.url is Loki and no login page, and that no proxy cuts answers"#);
    insta::assert_snapshot!(fail(Some(Fault::TooManyRequests)), @r#"[rate_limited] watch `w`: http://HOST/loki/api/v1/query_range answered 429 Too Many Requests: `too many outstanding requests`; asking again later; fewer watches or a longer collect.interval ask less"#);
    insta::assert_snapshot!(fail(status(400, "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")), @r#"[bad_query] watch `w`: http://HOST/loki/api/v1/query_range answered 400 Bad Request: `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER`; the watch's query is no valid LogQL; correct it"#);
    insta::assert_snapshot!(fail(status(504, "request timed out, decrease the duration of the request")), @r#"[deadline] watch `w`: http://HOST/loki/api/v1/query_range answered 504 Gateway Timeout: `request timed out, decrease the duration of the request`; shorter ranges are asked for"#);
    assert!(fail(Some(Fault::Reset)).starts_with("[closed] watch `w`: http://HOST/loki/api/v1/query_range closed"));
}

#[test]
fn an_unreachable_loki_says_so() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = |url: &str| {
        let client = Client::new(&LokiConfig { url: url.to_owned(), ..LokiConfig::default() }).unwrap();
        block_on(client.version()).unwrap_err()
    };
    let error = message(&format!("http://me:hunter2@{free}"));
    assert_eq!(error.kind.reason(), "unreachable");
    assert!(error.message.contains("check loki.url") && !error.message.contains("hunter2"), "{}", error.message);
    let error = message("http://no-such-host.invalid:3100");
    assert_eq!(error.kind.reason(), "dns", "{}", error.message);
}

/// Our clock jumps by hours, in both directions, while lines are written: all are read, once and without a gap.
#[tokio::test]
async fn a_clock_that_jumps_loses_nothing() {
    let truth = Arc::new(AtomicI64::new(T0));
    let shown = Arc::clone(&truth);
    let loki = stand_in(|options| {
        options.clock = standin::Clock::Function(Arc::new(move || shown.load(Ordering::Relaxed)));
    });
    let mut rig = Rig::at_t0(loki, CollectConfig { audit_every: 0, ..collect() });
    rig.poller.reader.trust_date = true;
    let mut written = BTreeMap::new();
    let jumps = [0, 3 * HOUR, 0, -5 * HOUR, 30 * HOUR, -HOUR, 7 * HOUR, 0];
    for (step, jump) in jumps.iter().cycle().take(40).enumerate() {
        for _ in 0..20 {
            let ts = truth.fetch_add(SECOND, Ordering::Relaxed);
            let line = format!("line {ts}");
            rig.loki.push(STREAMS[0], ts, line.as_str());
            written.insert(line, ts);
        }
        let now = truth.load(Ordering::Relaxed);
        rig.set(now + jump);
        // The first answer may only tell what time it is.
        rig.drain().await;
        rig.drain().await;
        assert!(rig.model.end.unwrap_or(T0) <= now, "step {step}: read into the future");
    }
    truth.fetch_add(MINUTE, Ordering::Relaxed);
    rig.set(truth.load(Ordering::Relaxed));
    rig.drain().await;
    rig.set(truth.load(Ordering::Relaxed) + SECOND);
    rig.drain().await;
    rig.model.check(&written, "");
    assert_eq!((rig.model.lines.len(), rig.model.gaps.len(), rig.errors.len()), (800, 0, 0));
}
