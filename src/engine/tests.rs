use proptest::prelude::*;

use super::*;
use crate::collect::{Known, Purpose, Stream};
use crate::detect::Grade;
use crate::detect::config::{Size, WindowSpec};
use crate::detect::explain;
use crate::incident::TransitionKind;
use crate::time::{MINUTE, SECOND, Span, TimeRange};

const START: Nanos = 1_000_000 * MINUTE;

#[derive(Clone, Debug)]
struct Line {
    ts: Nanos,
    service: &'static str,
    text: String,
}

fn options(window: &str) -> Options {
    Options {
        tenant: "default".to_owned(),
        detect: DetectConfig { warm_up: 30, refit_every: 20, ..DetectConfig::default() },
        incident: IncidentConfig { keep_firing_for: Span::minutes(3), ..IncidentConfig::default() },
        external_labels: Labels::new(),
        watches: vec![WatchOptions {
            name: "all".into(),
            query: r#"{env="demo"}"#.to_owned(),
            window: window.parse::<WindowSpec>().unwrap(),
            group_by: Vec::new(),
            labels: Labels::new(),
            owner: None,
            runbook_url: None,
        }],
    }
}

/// Steady traffic of two services with one burst of errors in one of them; `noise` shifts counts a little.
fn traffic(minutes: i64, burst: std::ops::Range<i64>, noise: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    for minute in 0..minutes {
        let noise = i64::from(noise.get(minute as usize % noise.len().max(1)).copied().unwrap_or(0) % 5);
        for (service, base) in [("cart", 20), ("auth", 12)] {
            for n in 0..base + noise {
                let ts = START + minute * MINUTE + n * SECOND + noise;
                let text = format!("level=info msg=\"request {n} done\" dur={}ms", 10 + n + noise);
                lines.push(Line { ts, service, text });
            }
            if burst.contains(&minute) && service == "cart" {
                for n in 0..50 {
                    let ts = START + minute * MINUTE + 30 * SECOND + n;
                    lines.push(Line { ts, service, text: format!("level=error msg=\"db refused\" n={n}") });
                }
            }
        }
    }
    lines.sort_by_key(|line| line.ts);
    lines
}

fn batch(lines: &[Line], range: TimeRange, purpose: Purpose, known: Known) -> Input {
    let mut batch = Batch::new("all".into(), range, purpose);
    for line in lines.iter().filter(|line| range.contains(line.ts)) {
        let stream = Stream::new([("service_name", line.service)].into_iter().collect());
        let stream = batch.stream_index(&stream);
        batch.push(line.ts, stream, &line.text, None);
    }
    batch.sort();
    batch.coverage.known = known;
    Input::Batch(batch)
}

/// Feeds the lines cut at `cuts` and gives all transitions.
fn run(engine: &mut Engine, lines: &[Line], cuts: &[Nanos], known: Known) -> Vec<Transition> {
    cuts.windows(2)
        .flat_map(|cut| engine.step(batch(lines, TimeRange::new(cut[0], cut[1]), Purpose::Judge, known)).transitions)
        .collect()
}

#[test]
fn a_burst_of_errors_is_one_incident() {
    let lines = traffic(120, 90..93, &[1, 0, 3, 2]);
    let mut engine = Engine::new(&options("1m"));
    let cuts = [START, START + 120 * MINUTE];
    let told = run(&mut engine, &lines, &cuts, Known::Audited);
    let kinds: Vec<_> = told.iter().map(|t| (t.kind, (t.at - START) / MINUTE)).collect();
    assert_eq!(kinds, [(TransitionKind::Opened, 91), (TransitionKind::Resolved, 96)]);
    let incident = &told[0].incident;
    assert_eq!(incident.group.labels.get("service_name"), Some("cart"));
    let worst = incident.worst.as_ref().unwrap();
    assert_eq!(worst.evidence.query, r#"{service_name="cart", env="demo"}"#);
    assert!(worst.evidence.samples.iter().any(|sample| sample.line.contains("db refused")));
}

#[test]
fn a_surge_of_ordinary_lines_is_a_notice_and_opens_nothing() {
    let mut lines = traffic(120, 0..0, &[1, 0, 3, 2]);
    for n in 0..2_000 {
        let ts = START + 90 * MINUTE + n * 60_000_000;
        lines.push(Line {
            ts,
            service: "cart",
            text: format!("level=info msg=\"request {n} done\" dur={}ms", 10 + n % 9),
        });
    }
    lines.sort_by_key(|line| line.ts);
    let mut engine = Engine::new(&options("1m"));
    let range = TimeRange::new(START, START + 120 * MINUTE);
    let step = engine.step(batch(&lines, range, Purpose::Judge, Known::Audited));
    let grades: Vec<Grade> = step.anomalies.iter().map(|anomaly| anomaly.grade).collect();
    assert!(!grades.is_empty() && grades.iter().all(|grade| *grade == Grade::Notice), "{grades:?}");
    assert!(step.transitions.is_empty(), "{:?}", step.transitions);
}

/// A timer that does not fire any more, among requests that go on.
#[test]
fn a_line_that_comes_by_the_clock_and_stops_is_told_with_when_it_came_last() {
    let stops = 300;
    let mut lines = traffic(360, 0..0, &[1, 0, 3, 2]);
    for minute in (0..stops).step_by(5) {
        let text = format!("level=info msg=\"cache refreshed\" entries={}", 900 + minute);
        lines.push(Line { ts: START + minute * MINUTE + 7 * SECOND, service: "cart", text });
    }
    lines.sort_by_key(|line| line.ts);
    let range = TimeRange::new(START, START + 360 * MINUTE);
    let step = Engine::new(&options("1m")).step(batch(&lines, range, Purpose::Judge, Known::Audited));
    let told: Vec<_> = step.transitions.iter().filter(|told| told.kind == TransitionKind::Opened).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let minute = (told[0].incident.started_at - START) / MINUTE;
    assert!((stops + 5..stops + 20).contains(&minute), "{minute}");
    let worst = told[0].incident.worst.as_ref().unwrap();
    assert_eq!(explain::headline(&worst.evidence), "a regular line has stopped");
    let pattern = &worst.evidence.patterns[0];
    let last = pattern.before.and_then(|before| before.last);
    assert_eq!(last, Some(START + (stops - 5) * MINUTE + 7 * SECOND));
    assert!(pattern.line.as_deref().is_some_and(|line| line.contains("cache refreshed")), "{pattern:?}");
}

/// A job that fails each day at five is told twice; then it is known to come at this time. More of it is told again, and
/// so is the same at another time.
#[test]
fn what_comes_each_day_at_the_same_time_wakes_nobody_for_long() {
    let (day, begins) = (288, 60);
    let bursts = |slot: i64| match (slot / day, slot % day) {
        (0..4, at) if at == begins => 40,
        (3, at) if at == begins + 100 => 40,
        (4, at) if at == begins => 200,
        _ => 0,
    };
    let mut lines = Vec::new();
    for slot in 0..5 * day {
        let start = START + slot * 5 * MINUTE;
        let usual = (0..8 + slot * 7 % 5).map(|n| format!("level=info msg=\"request {n} done\" dur={}ms", 10 + n));
        let errors = (0..bursts(slot)).map(|n| format!("level=error msg=\"db refused\" n={n}"));
        let texts = (0..).zip(usual.chain(errors));
        lines.extend(texts.map(|(n, text)| Line { ts: start + n * SECOND, service: "cart", text }));
    }
    let range = TimeRange::new(START, START + 5 * day * 5 * MINUTE);
    let place = |at: Nanos| ((at - START) / (5 * MINUTE) / day, (at - START) / (5 * MINUTE) % day);
    let lived = |habits: bool| {
        let mut options = options("5m");
        options.detect.habits = habits;
        let step = Engine::new(&options).step(batch(&lines, range, Purpose::Judge, Known::Audited));
        let opened = step.transitions.iter().filter(|told| told.kind == TransitionKind::Opened);
        let opened: Vec<_> = opened.map(|told| (place(told.incident.started_at), told.incident.clone())).collect();
        (step, opened)
    };
    let (step, opened) = lived(true);
    let places: Vec<_> = opened.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [(0, begins), (1, begins), (3, begins + 100), (4, begins)]);
    let said: Vec<String> =
        opened[1].1.worst.iter().flat_map(|worst| &worst.evidence.gates).map(explain::gate).collect();
    let last = "not usual at this time of the day, though it came the day before: if it comes again, it is shown only";
    assert!(said.iter().any(|gate| gate == last), "{said:?}");
    let each: Vec<_> = lived(false).1.iter().map(|(place, _)| *place).filter(|place| place.1 == begins).collect();
    assert_eq!(each, (0..5).map(|day| (day, begins)).collect::<Vec<_>>());
    let notices: Vec<_> = step.anomalies.iter().filter(|one| one.grade == Grade::Notice).collect();
    let said: Vec<_> =
        notices.iter().map(|one| (place(one.range.start), explain::habit(&one.evidence).unwrap_or_default())).collect();
    let usual = "usual at this time of the day: on each of the last 2".to_owned();
    assert_eq!(said, [((2, begins), usual.clone()), ((3, begins), usual)]);
}

/// The more errors in the minute after the warm-up, the surer: first nothing, then shown only, then told.
#[test]
fn what_is_not_sure_is_not_sent_while_a_group_is_new() {
    let found: Vec<Option<(Grade, usize)>> = (1..60)
        .map(|errors| {
            let mut lines = traffic(42, 0..0, &[1, 0, 3, 2]);
            // The error is known: what counts is how many there are.
            let usual = (0..40).step_by(4).map(|minute| START + minute * MINUTE);
            let more = (0..errors).map(|n| START + 40 * MINUTE + 30 * SECOND + n);
            for (n, ts) in usual.chain(more).enumerate() {
                lines.push(Line { ts, service: "cart", text: format!("level=error msg=\"db refused\" n={n}") });
            }
            lines.sort_by_key(|line| line.ts);
            let range = TimeRange::new(START, START + 42 * MINUTE);
            let step = Engine::new(&options("1m")).step(batch(&lines, range, Purpose::Judge, Known::Audited));
            step.anomalies.first().map(|anomaly| (anomaly.grade, step.transitions.len()))
        })
        .collect();
    assert_eq!((found.first(), found.last()), (Some(&None), Some(&Some((Grade::Alert, 1)))), "{found:?}");
    assert!(found.contains(&Some((Grade::Learning, 0))), "{found:?}");
    assert!(found.is_sorted(), "{found:?}");
}

#[test]
fn nothing_opens_before_its_lines_are_counted() {
    let lines = traffic(120, 90..93, &[1, 0, 3, 2]);
    let mut engine = Engine::new(&options("1m"));
    let before = batch(&lines, TimeRange::new(START, START + 91 * MINUTE), Purpose::Judge, Known::Paged);
    let step = engine.step(before);
    assert!(step.transitions.is_empty());
    let wish = TimeRange::new(START + 90 * MINUTE, START + 91 * MINUTE);
    assert_eq!(step.audits, [wish]);
    let step = engine.step(Input::Batch(Batch::new("all".into(), wish, Purpose::Confirm)));
    assert_eq!(step.transitions.len(), 1);
}

#[test]
fn a_window_that_grew_is_judged_again_and_marked_late() {
    let lines = traffic(100, 90..91, &[1, 0, 3, 2]);
    let (late, early): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|line| line.text.contains("refused"));
    let mut engine = Engine::new(&options("1m"));
    let told = run(&mut engine, &early, &[START, START + 95 * MINUTE], Known::Paged);
    assert!(told.is_empty());
    let all: Vec<Line> = [late, early].concat();
    let range = TimeRange::new(START + 90 * MINUTE, START + 91 * MINUTE);
    let step = engine.step(batch(&all, range, Purpose::Amend, Known::Audited));
    let row = &step.windows[0];
    assert!(row.window.late && row.revision == 1 && !row.learnt);
    assert_eq!(step.windows.len(), 1, "only the group that grew is judged again");
    assert!(step.anomalies[0].late);
}

#[test]
fn lines_before_the_start_are_history() {
    let lines = traffic(120, 90..93, &[1, 0, 3, 2]);
    let mut engine = Engine::new(&options("1m"));
    let learn = batch(&lines, TimeRange::new(START, START + 100 * MINUTE), Purpose::Learn, Known::Paged);
    let step = engine.step(learn);
    assert!(step.transitions.is_empty() && step.audits.is_empty() && step.carry.is_none());
    assert_eq!((step.learning.groups, step.learning.ready), (2, 2));
    let judge =
        batch(&lines, TimeRange::new(START + 100 * MINUTE, START + 101 * MINUTE), Purpose::Judge, Known::Audited);
    let step = engine.step(judge);
    assert_eq!(step.snapshots.len(), 2, "what was learnt is stored with the first step");
    assert!(step.carry.is_some());
}

#[test]
fn a_group_begins_with_its_first_line() {
    let lines = traffic(100, 0..0, &[1, 0, 3, 2]);
    let early = START - 60 * MINUTE;
    for cuts in [vec![early, START + 100 * MINUTE], vec![early, START, START + 100 * MINUTE]] {
        let mut engine = Engine::new(&options("1m"));
        let rows: Vec<_> = cuts
            .windows(2)
            .flat_map(|cut| {
                engine.step(batch(&lines, TimeRange::new(cut[0], cut[1]), Purpose::Learn, Known::Paged));
                engine.snapshots("all")
            })
            .collect();
        assert!(rows.iter().all(|snapshot| snapshot.until <= START + 100 * MINUTE));
        let quiet: Vec<Line> = lines.iter().filter(|line| line.service == "auth").cloned().collect();
        let next: Vec<Line> = quiet.iter().map(|line| Line { ts: line.ts + 100 * MINUTE, ..line.clone() }).collect();
        let told = run(&mut engine, &next, &[START + 100 * MINUTE, START + 105 * MINUTE], Known::Audited);
        assert_eq!(told.len(), 1, "the hour before the first line taught silence: {told:#?}");
    }
}

#[test]
fn a_silent_service_is_found_and_a_gap_is_not_silence() {
    let lines = traffic(100, 0..0, &[1, 0, 3, 2]);
    let quiet: Vec<Line> =
        lines.iter().filter(|l| l.service == "auth" || l.ts < START + 90 * MINUTE).cloned().collect();
    let mut engine = Engine::new(&options("1m"));
    let told = run(&mut engine, &quiet, &[START, START + 100 * MINUTE], Known::Audited);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].incident.group.labels.get("service_name"), Some("cart"));

    let mut engine = Engine::new(&options("1m"));
    let cut = START + 90 * MINUTE;
    run(&mut engine, &lines, &[START, cut], Known::Audited);
    let gap = batch(&[], TimeRange::new(cut, cut + 5 * MINUTE), Purpose::Judge, Known::Partial);
    assert!(engine.step(gap).transitions.is_empty());
    let told = run(&mut engine, &lines, &[cut + 5 * MINUTE, START + 100 * MINUTE], Known::Audited);
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn a_group_with_an_open_incident_is_not_forgotten() {
    let lines = traffic(100, 0..0, &[1, 0, 3, 2]);
    let quiet: Vec<Line> =
        lines.iter().filter(|l| l.service == "auth" || l.ts < START + 90 * MINUTE).cloned().collect();
    let mut options = options("1m");
    options.detect.forget_after = Span::minutes(20);
    options.incident.expire_after = Span::minutes(60);
    let mut engine = Engine::new(&options);
    let told = run(&mut engine, &quiet, &[START, START + 200 * MINUTE], Known::Audited);
    let of_cart = told.iter().filter(|t| t.incident.group.labels.get("service_name") == Some("cart"));
    let kinds: Vec<_> = of_cart.map(|transition| transition.kind).collect();
    assert_eq!(kinds.first(), Some(&TransitionKind::Opened));
    assert_eq!(kinds.last(), Some(&TransitionKind::Resolved), "it would stay open for ever: {kinds:?}");
}

/// A service of four pods with steady lines; in one minute one pod writes so many errors of a kind never seen before.
fn pods(engine: &mut Engine, minutes: i64, errors: i64) -> Step {
    let mut all = Step::default();
    for minute in 0..minutes {
        let start = START + minute * MINUTE;
        let mut batch = Batch::new("all".into(), TimeRange::new(start, start + MINUTE), Purpose::Judge);
        for n in 0..40 {
            let pod = format!("cart-{}", n % 4);
            let stream = Stream::new([("service_name", "cart"), ("pod", &pod), ("node", "n1")].into_iter().collect());
            let stream = batch.stream_index(&stream);
            let at = start + n * SECOND;
            batch.push(
                at,
                stream,
                &format!("level=info msg=\"item {} stored in {} ms\"", n * minute, 10 + n % 7),
                None,
            );
            if minute == minutes - 2 && n % 4 == 3 {
                for error in 0..errors / 10 {
                    let text = format!("level=error msg=\"payment {} refused by the bank\"", n * 1_000 + error);
                    batch.push(at + 1 + error, stream, &text, None);
                }
            }
        }
        batch.sort();
        batch.coverage.known = Known::Audited;
        let step = engine.step(Input::Batch(batch));
        all.transitions.extend(step.transitions);
        all.near_misses.extend(step.near_misses);
    }
    all
}

#[test]
fn an_anomaly_says_why_since_when_and_where_from() {
    let told = pods(&mut Engine::new(&options("1m")), 90, 50).transitions;
    let evidence = &told[0].incident.worst.as_ref().unwrap().evidence;
    let common: Vec<String> = evidence.common.iter().map(explain::common).collect();
    assert_eq!(common, ["all 50 such lines from pod=cart-3; 25 % of the other lines"]);
    let pattern = &evidence.patterns[0];
    assert_eq!(pattern.before, Some(crate::detect::Before::default()), "never before: {pattern:?}");
    assert!(!evidence.gates.is_empty() && evidence.gates.iter().all(|gate| gate.passed), "{:?}", evidence.gates);
    let marked = explain::marked(&evidence.samples[0]);
    assert_eq!(marked, "level=error msg=\"payment ‹3000› refused by the bank\"");
    let shares = evidence.features.iter().map(|one| one.share).chain(evidence.patterns.iter().map(|one| one.share));
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn what_only_counts_say_shows_lines_too() {
    // An everyday error, now a hundred times as often: no pattern brings a line along.
    let mut lines = traffic(150, 0..0, &[1, 0, 3, 2]);
    for minute in 0..150 {
        for n in 0..if minute == 140 { 200 } else { 1 + minute % 3 } {
            let ts = START + minute * MINUTE + 20 * SECOND + n;
            lines.push(Line { ts, service: "cart", text: format!("level=error msg=\"db refused\" n={n}") });
        }
    }
    lines.sort_by_key(|line| line.ts);
    let told = run(&mut Engine::new(&options("1m")), &lines, &[START, START + 142 * MINUTE], Known::Audited);
    let evidence = &told[0].incident.worst.as_ref().unwrap().evidence;
    assert!(evidence.features.iter().any(|one| one.share > 0.0), "{evidence:#?}");
    assert_eq!(evidence.samples.len(), 5, "{evidence:#?}");
    assert!(evidence.samples.iter().all(|sample| sample.line.contains("db refused")));
}

#[test]
fn explaining_changes_nothing_and_tells_what_came_near() {
    for errors in [0, 10, 50] {
        let quiet = pods(&mut Engine::new(&options("1m")), 90, errors);
        let told = pods(&mut Engine::new(&options("1m")).explaining(), 90, errors);
        assert_eq!(quiet.transitions, told.transitions);
        assert!(quiet.near_misses.is_empty());
    }
}

/// As [`run`], with every wish for a count answered after the batch that made it.
fn run_answered(engine: &mut Engine, lines: &[Line], cuts: &[Nanos]) -> Vec<Transition> {
    let mut told = Vec::new();
    for cut in cuts.windows(2) {
        let input = batch(lines, TimeRange::new(cut[0], cut[1]), Purpose::Judge, Known::Paged);
        let mut step = engine.step(input);
        loop {
            told.append(&mut step.transitions);
            let Some(wish) = step.audits.first() else { break };
            step = engine.step(Input::Batch(Batch::new("all".into(), *wish, Purpose::Confirm)));
        }
    }
    // Groups are answered one after the other, so only the order over groups may differ.
    told.sort_by_key(|transition| {
        (transition.incident.group.fingerprint, transition.incident.started_at, transition.number)
    });
    told
}

/// Stops after each batch and goes on in a new engine with what was stored.
fn run_with_restarts(options: &Options, lines: &[Line], cuts: &[Nanos], known: Known) -> Vec<Transition> {
    let mut stored = Restore::default();
    let mut told = Vec::new();
    let mut from = cuts[0];
    for cut in &cuts[1..] {
        let mut engine = Engine::new(options);
        if stored.carry.is_some() || stored.done_until != 0 {
            // As they come from the store: by group.
            stored.windows.sort_by_key(|row| (row.group.fingerprint, row.window.range.start));
            engine.restore("all", stored.clone());
            from = crate::time::floor(stored.done_until, MINUTE);
        }
        let step = engine.step(batch(lines, TimeRange::new(from, *cut), Purpose::Judge, known));
        // Such a step is not stored: what follows must not need it.
        if step.is_repeatable(stored.done_until) {
            continue;
        }
        told.extend(step.transitions);
        stored.done_until = step.done_until;
        stored.carry = step.carry.or(stored.carry);
        stored.patterns = step.patterns.or(stored.patterns);
        for snapshot in step.snapshots {
            stored.snapshots.retain(|known| known.group != snapshot.group);
            stored.snapshots.push(snapshot);
        }
        stored.windows.extend(step.windows.into_iter().filter(|row| row.revision == 0));
    }
    told
}

const NAMES: [&str; 24] = [
    "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "c0", "c1", "c2",
    "c3", "c4", "c5", "c6", "c7",
];

/// Services that come and go for a quarter of an hour, beside two that stay; all write ever new kinds of lines. Cart has a burst
/// of errors.
fn crowd(minutes: i64, burst: std::ops::Range<i64>) -> Vec<Line> {
    let mut lines = traffic(minutes, burst, &[1, 0, 3, 2]);
    let mut dice = crate::detect::detector::Dice(7);
    let mut word = || -> String { (0..6).map(|_| char::from(b'a' + dice.below(26) as u8)).collect() };
    for minute in 0..minutes {
        for n in 0..40 {
            let service = NAMES[((minute / 5 + n % 3) % NAMES.len() as i64) as usize];
            let ts = START + minute * MINUTE + n * SECOND + 5;
            let text = format!("level=warn msg=\"{} {} {} {} {}\"", word(), word(), word(), word(), word());
            lines.push(Line { ts, service, text });
        }
    }
    lines.sort_by_key(|line| line.ts);
    lines
}

fn small() -> Options {
    let mut options = options("1m");
    options.detect.memory_limit = Size(1_400_000);
    options
}

#[test]
fn what_there_is_no_room_for_is_dropped_the_quiet_first() {
    let lines = crowd(200, 150..153);
    let mut engine = Engine::new(&small());
    let (mut dropped, mut most, mut told) = (Vec::new(), 0, Vec::new());
    for minute in 0..200 {
        let start = START + minute * MINUTE;
        let step = engine.step(batch(&lines, TimeRange::new(start, start + MINUTE), Purpose::Judge, Known::Audited));
        most = most.max(step.held);
        dropped.extend(step.dropped);
        told.extend(step.transitions);
    }
    assert!(!dropped.is_empty(), "it held {most}");
    assert!(dropped.iter().any(|one| one.groups > 0) && dropped.iter().any(|one| one.templates > 0), "{dropped:?}");
    assert!(dropped.iter().all(|one| one.held > one.share), "{dropped:?}");
    // What it did not drop is judged as ever.
    let of_cart = told.iter().filter(|one| one.incident.group.labels.get("service_name") == Some("cart"));
    let kinds: Vec<_> = of_cart.map(|one| one.kind).collect();
    assert_eq!(kinds, [TransitionKind::Opened, TransitionKind::Resolved], "{told:#?}");
}

#[test]
fn who_was_forgotten_and_comes_back_begins_anew_also_after_a_restart() {
    let mut lines = traffic(60, 0..0, &[1, 0, 3, 2]);
    lines.retain(|line| line.service == "auth" || !(20 * MINUTE..50 * MINUTE).contains(&(line.ts - START)));
    let mut options = options("1m");
    options.detect.forget_after = Span::minutes(15);
    let ready = |engine: &mut Engine, from: i64| {
        let range = TimeRange::new(START + from * MINUTE, START + 60 * MINUTE);
        engine.step(batch(&lines, range, Purpose::Judge, Known::Audited)).learning
    };
    let mut live = Engine::new(&options);
    let mut stored = Restore::default();
    for minute in 0..55 {
        let start = START + minute * MINUTE;
        let step = live.step(batch(&lines, TimeRange::new(start, start + MINUTE), Purpose::Judge, Known::Audited));
        for snapshot in step.snapshots {
            stored.snapshots.retain(|known| known.group != snapshot.group);
            stored.snapshots.push(snapshot);
        }
        stored.windows.extend(step.windows);
        (stored.done_until, stored.carry) = (step.done_until, step.carry.or(stored.carry));
        stored.patterns = step.patterns.or(stored.patterns);
    }
    let mut restarted = Engine::new(&options);
    restarted.restore("all", stored);
    let (one, two) = (ready(&mut live, 55), ready(&mut restarted, 55));
    assert_eq!(one, Learning { groups: 2, ready: 1, coarse: 0 });
    assert_eq!(one, two);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_cutting_into_batches_gives_the_same_transitions(
        noise in proptest::collection::vec(any::<u8>(), 1..50),
        mut cuts in proptest::collection::vec(0..100 * MINUTE, 0..12),
        burst in 40..95i64,
        window in prop_oneof![Just("1m"), Just("10s"), Just("20 lines"), Just("20 lines step 7")],
    ) {
        let lines = traffic(100, burst..burst + 3, &noise);
        cuts.sort_unstable();
        let cuts: Vec<Nanos> = std::iter::once(START)
            .chain(cuts.into_iter().map(|cut| START + cut))
            .chain(std::iter::once(START + 100 * MINUTE))
            .collect();
        let whole = run(&mut Engine::new(&options(window)), &lines, &[START, START + 100 * MINUTE], Known::Audited);
        let cut = run(&mut Engine::new(&options(window)), &lines, &cuts, Known::Audited);
        prop_assert_eq!(&whole, &cut);
        let span = [START, START + 100 * MINUTE];
        let whole_paged = run_answered(&mut Engine::new(&options(window)), &lines, &span);
        let cut_paged = run_answered(&mut Engine::new(&options(window)), &lines, &cuts);
        prop_assert_eq!(&whole_paged, &cut_paged);
        let restarted = run_with_restarts(&options(window), &lines, &cuts, Known::Audited);
        prop_assert_eq!(&whole, &restarted);
    }

    #[test]
    fn what_is_dropped_is_the_same_however_it_is_cut_and_restarted(
        mut cuts in proptest::collection::vec(0..120 * MINUTE, 0..12), burst in 60..110i64,
    ) {
        let lines = crowd(120, burst..burst + 3);
        cuts.sort_unstable();
        let cuts: Vec<Nanos> = std::iter::once(START)
            .chain(cuts.into_iter().map(|cut| START + cut))
            .chain(std::iter::once(START + 120 * MINUTE))
            .collect();
        let whole = run(&mut Engine::new(&small()), &lines, &[START, START + 120 * MINUTE], Known::Audited);
        let cut = run(&mut Engine::new(&small()), &lines, &cuts, Known::Audited);
        prop_assert_eq!(&whole, &cut);
        let restarted = run_with_restarts(&small(), &lines, &cuts, Known::Audited);
        prop_assert_eq!(&whole, &restarted);
    }
}

/// The budget of a watch comes as an input: what is needed follows it, and whoever takes over with the same one goes on alike.
#[test]
fn a_part_of_the_budget_is_an_input_and_survives_a_takeover() {
    let lines = traffic(120, 0..0, &[1, 0, 3, 2]);
    let part =
        |of: f64| Input::Budget("all".into(), Budget { watch: of, group: of / crate::detect::calibrate::GROUPS });
    let run = |engine: &mut Engine, from: i64, to: i64| {
        let range = TimeRange::new(START + from * MINUTE, START + to * MINUTE);
        engine.step(batch(&lines, range, Purpose::Judge, Known::Audited))
    };
    let (mut whole, mut half) = (Engine::new(&options("1m")), Engine::new(&options("1m")));
    half.step(part(0.5));
    let (of_whole, of_half) = (run(&mut whole, 0, 100), run(&mut half, 0, 100));
    let needed = |step: &Step| {
        let threshold = step.windows.last().and_then(|window| window.judgement.threshold).unwrap();
        crate::detect::calibrate::from_score(threshold)
    };
    assert!((needed(&of_half) - needed(&of_whole) - 2f64.ln()).abs() < 1e-6);
    // Another process, which hears of the budget after it has found the rest.
    let mut next = Engine::new(&options("1m"));
    next.restore(
        "all",
        Restore {
            done_until: of_half.done_until,
            carry: of_half.carry.clone(),
            patterns: of_half.patterns.clone(),
            snapshots: half.snapshots("all"),
            windows: of_half.windows.clone(),
        },
    );
    next.step(part(0.5));
    let (taken_over, went_on) = (run(&mut next, 100, 120), run(&mut half, 100, 120));
    assert_eq!(taken_over.windows, went_on.windows);
    assert_eq!(needed(&went_on), needed(&of_half));
    // It can change at any time, and outlives that a watch is forgotten.
    whole.step(part(0.25));
    assert!((needed(&run(&mut whole, 100, 120)) - needed(&of_whole) - 4f64.ln()).abs() < 1e-6);
    whole.forget("all");
    assert!((needed(&run(&mut whole, 0, 120)) - needed(&of_whole) - 4f64.ln()).abs() < 1e-6);
}
