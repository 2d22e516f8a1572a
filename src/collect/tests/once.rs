//! Whatever is written, whatever fails and however clocks jump: each line is read once.

use proptest::prelude::*;

use super::*;

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn read_is_written_each_once(lines in lines(), trouble in trouble()) {
        block_on(run(lines, trouble));
    }
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
