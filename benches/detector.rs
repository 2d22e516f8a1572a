//! What each detector costs: a line, a window, a fit.
//!
//! `windows` and `features` are the window features; the others are found in the lines. Figures are for one group unless
//! they say otherwise; items are lines, windows or sessions.

use divan::Bencher;
use divan::counter::ItemsCount;
use sigyn::collect::{Coverage, Entry, Level, Purpose, Stream};
use sigyn::detect::burst::Bursts;
use sigyn::detect::config::{DetectConfig, WindowSpec};
use sigyn::detect::detector::Dice;
use sigyn::detect::model::Model;
use sigyn::detect::novelty::Novelty;
use sigyn::detect::pattern::Patterns;
use sigyn::detect::rarity::Rarity;
use sigyn::detect::session::{Limits, Line, Sessions};
use sigyn::detect::template::TemplateId;
use sigyn::detect::trace::Trace;
use sigyn::detect::window::{LineWindows, OpenWindow};
use sigyn::detect::{Features, Window};
use sigyn::labels::Fingerprint;
use sigyn::time::{MINUTE, SECOND, Span, TimeRange};

fn main() {
    divan::main();
}

const MESSAGES: [&str; 8] = [
    "request received",
    "user checked",
    "cart read from database",
    "price of 3 items computed",
    "stock reserved",
    "payment authorised",
    "order stored",
    "answer sent in 12 ms",
];

/// Lines of a minute in the order of time: requests of eight steps in four services, each tied together by a `trace_id`.
fn lines(requests: u64, minute: i64) -> Vec<(i64, u32, u32, String)> {
    let one = |n: u64| {
        let id = (minute as u64 * requests + n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let start = minute * MINUTE + n as i64 * (55 * SECOND / requests as i64);
        MESSAGES.iter().zip(0u32..).map(move |(text, step)| {
            let ts = start + i64::from(step) * 40_000_000;
            (ts, step / 2, step, format!("level=info trace_id={id:016x}{:016x} msg=\"{text}\"", !id))
        })
    };
    let mut all: Vec<_> = (0..requests).flat_map(one).collect();
    all.sort_by_key(|(ts, ..)| *ts);
    all
}

fn window(dice: &mut Dice, at: i64) -> Window {
    let lines = 180 + dice.below(60) as u64;
    let features = [140.0 + dice.unit(), dice.below(3) as f64, dice.below(8) as f64, 25.0 + dice.below(9) as f64];
    let [length, errors, warns, unique] = features.map(Some);
    Window {
        range: TimeRange::new(at * MINUTE, (at + 1) * MINUTE),
        lines,
        features: Features([length, errors, warns, unique, Some(lines as f64 / 60.0)]),
        coverage: Coverage::default(),
        late: false,
        samples: Vec::new(),
    }
}

/// A window of time: 1,000 lines measured, and closed.
#[divan::bench]
fn windows(bencher: Bencher<'_, '_>) {
    let (lines, mut open) = (lines(125, 0), OpenWindow::new());
    bencher.counter(ItemsCount::new(lines.len())).bench_local(|| {
        for (ts, _, unit, line) in &lines {
            open.add(&Entry { ts: *ts, stream: 0, detected_level: None, line }, Level::Info, (*unit).into());
        }
        let window = open.close(TimeRange::new(0, MINUTE), Coverage::default(), false);
        open.clear();
        window
    });
}

/// Windows of 20 lines, one every 5 lines.
#[divan::bench]
fn windows_of_lines(bencher: Bencher<'_, '_>) {
    let lines = lines(125, 0);
    let mut open = LineWindows::new(20, 5);
    bencher.counter(ItemsCount::new(lines.len())).bench_local(|| {
        let known = sigyn::collect::Known::Audited;
        let add = |(ts, _, unit, line): &(i64, u32, u32, String)| {
            let entry = Entry { ts: *ts, stream: 0, detected_level: None, line };
            open.add(&entry, Level::Info, (*unit).into(), known).is_some()
        };
        lines.iter().map(add).filter(|closed| *closed).count()
    });
}

/// A window judged and learnt, with its part of all fits, at two ages: what a window costs does not depend on the past.
#[divan::bench(args = [1_440, 2_880, 28_800], sample_count = 20, sample_size = 1)]
fn features(bencher: Bencher<'_, '_>, age: i64) {
    const WINDOWS: i64 = 2_000;
    let mut dice = Dice(1);
    let mut model = Model::new(&DetectConfig::default(), Fingerprint(1));
    let mut day = |model: &mut Model, from: i64, count: i64| {
        for at in from..from + count {
            let window = window(&mut dice, at);
            let judgement = model.judge(&window);
            divan::black_box(model.learn(&window, &judgement));
        }
    };
    day(&mut model, 0, age);
    let known = model;
    bencher.counter(ItemsCount::new(WINDOWS as usize)).with_inputs(|| known.clone()).bench_local_values(|mut model| {
        day(&mut model, age, WINDOWS);
        model
    });
}

/// Sessions of many services: a minute of 800 requests with 6,400 lines, followed and judged. Items are lines.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn trace(bencher: Bencher<'_, '_>) {
    let mut trace = Trace::new(MINUTE);
    let mut minute = 0;
    let mut run = |trace: &mut Trace, lines: &[(i64, u32, u32, String)]| {
        for (ts, group, unit, line) in lines {
            divan::black_box(trace.add(*ts, (*group, *unit), line));
        }
        minute += 1;
        let found = trace.close(minute * MINUTE, |_| false, |_| 0);
        trace.learn(&found.into_iter().map(|one| (one, false)).collect::<Vec<_>>());
    };
    for at in 0..60 {
        run(&mut trace, &lines(100, at));
    }
    let mut at = 60;
    bencher
        .counter(ItemsCount::new(6_400usize))
        .with_inputs(|| {
            at += 1;
            lines(800, at - 1)
        })
        .bench_local_values(|lines| run(&mut trace, &lines));
}

/// Problems against their own past: a minute with 1,000 problem lines of 200 templates.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn burst(bencher: Bencher<'_, '_>) {
    let (mut bursts, mut dice) = (Bursts::default(), Dice(1));
    let mut minute = || {
        for _ in 0..1_000 {
            bursts.add(dice.below(200) as u32);
        }
        let found: Vec<_> = bursts.close().into_iter().map(|one| (one, false)).collect();
        bursts.told(&found);
    };
    (0..200).for_each(|_| minute());
    bencher.counter(ItemsCount::new(1_000usize)).bench_local(minute);
}

/// A line never seen before, and the end of a window of 20 groups. Items are lines.
#[divan::bench]
fn novelty(bencher: Bencher<'_, '_>) {
    let mut novelty = Novelty::default();
    (0..100).for_each(|_| (0..20).for_each(|group| novelty.close(group, false)));
    let mut n = 0u64;
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        n += 1;
        let unknown =
            novelty.unknown_words(0, "cannot reserve stock: lock not available, giving up after some attempts");
        let surprise = novelty.surprise((n % 20) as u32, Level::Error, unknown);
        (0..20).for_each(|group| novelty.close(group, false));
        surprise
    });
}

/// The rarest line of a window of 20 lines. Items are windows.
#[divan::bench]
fn rarity(bencher: Bencher<'_, '_>) {
    let (mut rarity, mut dice) = (Rarity::default(), Dice(1));
    let mut next = || -> Vec<(TemplateId, Level)> {
        (0..20).map(|_| (TemplateId(dice.below(dice.clone().below(200) + 1) as u32), Level::Info)).collect()
    };
    for _ in 0..2_000 {
        rarity.learn(0, &next(), 20.0);
    }
    let window = next();
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        let found = rarity.judge(0, divan::black_box(&window));
        rarity.learn(0, &window, 20.0);
        found
    });
}

/// Single sessions, as `eval --window session` asks for them: a minute of 800 sessions. Items are lines.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn session(bencher: Bencher<'_, '_>) {
    let mut sessions = Sessions::new(Limits::default());
    let mut run = |lines: &[(i64, u32, u32, String)]| -> usize {
        let add = |(ts, group, _, line): &(i64, u32, u32, String)| {
            sessions.add(Purpose::Judge, &Line { key: None, ts: *ts, stream: (*group).into(), line }).len()
        };
        lines.iter().map(add).sum()
    };
    (0..60).for_each(|at| _ = run(&lines(100, at)));
    let mut at = 60;
    bencher
        .counter(ItemsCount::new(6_400usize))
        .with_inputs(|| {
            at += 1;
            lines(800, at - 1)
        })
        .bench_local_values(|lines| run(&lines));
}

/// All that is found in lines together, templates included: a minute of 800 requests. Items are lines.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn patterns(bencher: Bencher<'_, '_>) {
    let mut patterns = Patterns::new(&DetectConfig::default(), WindowSpec::Time(Span::minutes(1)));
    let places: Vec<_> = (0..4u64)
        .map(|group| patterns.place(group, &Stream::new([("pod", group.to_string())].into_iter().collect())))
        .collect();
    let mut minute = 0;
    let mut run = |lines: &[(i64, u32, u32, String)]| {
        for (ts, group, _, line) in lines {
            let entry = Entry { ts: *ts, stream: 0, detected_level: None, line };
            if let Some(place) = places.get(*group as usize) {
                divan::black_box(patterns.add(*place, &entry, Level::Info));
            }
        }
        minute += 1;
        patterns.close(minute * MINUTE, true)
    };
    (0..60).for_each(|at| _ = run(&lines(100, at)));
    let mut at = 60;
    bencher
        .counter(ItemsCount::new(6_400usize))
        .with_inputs(|| {
            at += 1;
            lines(800, at - 1)
        })
        .bench_local_values(|lines| run(&lines));
}
