//! Requests of a small shop with one thing wrong at a time.

use super::*;
use crate::detect::detector::Dice;
use crate::time::SECOND;

const WINDOW: Nanos = 10 * SECOND;
/// Groups: the gateway writes units 0, 1 and 5; the cart writes 2, 3, 4 and 6.
const BAD: [Unit; 2] = [5, 6];
/// Who writes a unit.
fn group(unit: Unit) -> u32 {
    u32::from(![0, 1, 5].contains(&unit))
}

/// From a line of the gateway to the next one, of the cart.
const HOP: Hop = Hop { caller: 0, callee: 1, back: false };

/// What is wrong with requests from some window on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Missing,
    Problem,
    Repeated,
    Slow,
    Swapped,
    StartsLate,
    BreaksOff,
}

fn line(key: u64, text: &str) -> String {
    format!("{text} trace_id={:032x} done", u128::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

/// Writes one request and says how long it took.
fn request(trace: &mut Trace, at: Nanos, key: u64, fault: Fault) {
    let mut steps: Vec<(u32, Unit, Nanos)> = vec![(0, 0, 0), (1, 2, 5), (1, 3, 20), (1, 4, 30), (0, 1, 40)];
    match fault {
        Fault::None => {}
        Fault::Missing => drop(steps.remove(2)),
        Fault::Problem => steps.insert(3, (1, 6, 25)),
        Fault::Repeated => steps.extend([(1, 3, 21), (1, 3, 22), (1, 3, 23), (1, 3, 24)]),
        Fault::Slow => steps[3].2 = 900,
        Fault::Swapped => {
            steps[1].1 = 3;
            steps[2].1 = 2;
        }
        Fault::StartsLate => steps.swap(0, 1),
        Fault::BreaksOff => steps.truncate(2),
    }
    steps.sort_by_key(|(.., millis)| if fault == Fault::StartsLate { 0 } else { *millis });
    for (group, unit, millis) in steps {
        trace.add(at + millis * 1_000_000, (group, unit), &line(key, &format!("unit {unit}")));
    }
}

/// Windows `from..to` of requests, two of ten of them faulty; what is found in the last window, strongest first.
fn windows(trace: &mut Trace, range: std::ops::Range<i64>, fault: Fault, seed: u64) -> Vec<Deviation> {
    let mut dice = Dice(seed);
    let mut found = Vec::new();
    for window in range {
        for n in 0..20 {
            let at = window * WINDOW + n * WINDOW / 20;
            let faulty = dice.below(10) < 3;
            request(trace, at, (window * 100 + n) as u64, if faulty { fault } else { Fault::None });
        }
        found = trace.close((window + 1) * WINDOW, |unit| BAD.contains(&unit), group);
        let judged: Vec<(Deviation, bool)> = found.iter().map(|one| (one.clone(), false)).collect();
        trace.learn(&judged);
    }
    found.sort_by(|one, two| two.surprise.total_cmp(&one.surprise));
    found
}

fn learnt() -> Trace {
    let mut trace = Trace::new(WINDOW);
    windows(&mut trace, 0..200, Fault::None, 1);
    trace
}

#[test]
fn each_kind_of_deviation_is_found_and_named() {
    let learnt = learnt();
    assert_eq!(learnt.name(), Some("trace_id"));
    for (fault, kind) in [
        (Fault::Missing, Kind::Absent(3)),
        (Fault::Problem, Kind::Present(6)),
        (Fault::Repeated, Kind::Many(3)),
        (Fault::Slow, Kind::Slow(1)),
        (Fault::Slow, Kind::Wait(HOP)),
        (Fault::Swapped, Kind::Order(3, 2)),
        (Fault::StartsLate, Kind::Start(2)),
    ] {
        let mut trace = learnt.clone();
        let found = windows(&mut trace, 200..203, fault, 2);
        let most = found.first().map(|one| one.surprise).unwrap_or_default();
        let named = found.iter().find(|one| one.kind == kind);
        let surprise = named.map(|one| trace.surprise(one)).unwrap_or_default();
        assert!(surprise > 12.0, "{fault:?}: {surprise} of {most}: {found:?}");
    }
}

/// What is said to be behind each step that is lacking, once it is told.
fn leads(fault: Fault) -> Vec<(Kind, broken::Lead)> {
    let mut trace = learnt();
    let found = windows(&mut trace, 200..204, fault, 2);
    let wrong: Vec<(Deviation, bool)> =
        found.into_iter().filter(|one| trace.surprise(one) > 12.0).map(|one| (one, true)).collect();
    trace.learn(&wrong);
    let mut all: Vec<_> = wrong.iter().filter_map(|(one, _)| Some((one.kind, trace.lead(one)?))).collect();
    all.sort_by_key(|(kind, _)| *kind);
    all
}

#[test]
fn what_breaks_off_is_told_once_and_where() {
    let ends = |others: [Unit; 2]| broken::Lead { first: 3, last: Some(2), others: others.to_vec() };
    let expected: Vec<(Kind, broken::Lead)> = [1, 3, 4].map(|unit| (Kind::Absent(unit), ends([4, 1]))).to_vec();
    assert_eq!(leads(Fault::BreaksOff), expected);
    // One step alone: what follows it is there.
    assert_eq!(leads(Fault::Missing), [(Kind::Absent(3), broken::Lead { first: 3, last: None, others: Vec::new() })]);
    assert_eq!(leads(Fault::Slow), []);
}

/// A window of requests through eight services, the third of which writes five lines, without those that are lost.
fn chain(trace: &mut Trace, window: i64, lost: impl FnMut(u32) -> bool, bad: bool) -> Vec<Deviation> {
    let mut lost = lost;
    for n in 0..20 {
        let key = (window * 100 + n) as u64;
        for (at, unit) in (0..).zip([0, 1, 2, 12, 22, 32, 42, 3, 4, 5, 6, 7]) {
            if !lost(unit % 10) {
                let at = window * WINDOW + n * WINDOW / 20 + at * 1_000_000;
                trace.add(at, (unit % 10, unit), &line(key, &format!("unit {unit}")));
            }
        }
    }
    trace.close((window + 1) * WINDOW, |_| bad, |unit| unit % 10)
}

#[test]
fn lines_that_are_lost_are_told_as_such_and_not_learnt() {
    let mut trace = Trace::new(WINDOW);
    let mut dice = Dice(5);
    let learn = |trace: &mut Trace, found: Vec<Deviation>| {
        let judged: Vec<_> = found.into_iter().map(|one| (trace.surprise(&one) > 10.0, one)).collect();
        trace.learn(&judged.into_iter().map(|(wrong, one)| (one, wrong)).collect::<Vec<_>>());
    };
    let mut told = Vec::new();
    for window in 0..400 {
        let lossy = (200..210).contains(&window);
        let found = chain(&mut trace, window, |_| lossy && dice.below(10) < 4, false);
        let lost = found.iter().find(|one| one.kind == Kind::Lost).cloned();
        learn(&mut trace, found);
        if let Some(one) = lost.filter(|one| trace.surprise(one) > 10.0) {
            told.push(window);
            let starts = trace.middles(one.windows);
            assert!(one.windows <= LATELY && starts.len() >= 3, "{one:?}");
            // What is lost has the first of the lines that are left most often.
            assert!(starts[..2].contains(&1), "{starts:?}");
        }
    }
    assert!((200..206).contains(told.first().unwrap()), "{told:?}");
    assert!(*told.last().unwrap() < 216, "{told:?}");
    assert!(!trace.is_lossy());
    let model = &trace.model.types;
    assert!(model.iter().all(|(root, one)| *root == 0 || one.sessions < 1.0), "{:?}", model.keys());
}

#[test]
fn what_one_service_begins_is_no_lost_line() {
    // Lines of the third service alone, or problems of all.
    for problems in [false, true] {
        let mut trace = Trace::new(WINDOW);
        for window in 0..206 {
            for n in 0..10 * i64::from(window >= 200) {
                let unit = if problems { [1, 3, 4, 5, 6][n as usize % 5] } else { [2, 12, 22, 32, 42][n as usize % 5] };
                let key = (50_000 + window * 100 + n) as u64;
                trace.add(window * WINDOW + n * SECOND / 2, (unit % 10, unit), &line(key, "unit"));
            }
            let found = chain(&mut trace, window, |_| false, problems);
            assert!(found.iter().all(|one| one.kind != Kind::Lost), "{found:?}");
            assert!(window < 203 || found.iter().any(|one| matches!(one.kind, Kind::Start(_))), "{found:?}");
            trace.learn(&found.into_iter().map(|one| (one, window >= 200)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_service_that_says_nothing_is_no_lost_line() {
    let mut trace = Trace::new(WINDOW);
    for window in 0..210 {
        let found = chain(&mut trace, window, |group| window >= 200 && group == 0, false);
        assert!(found.iter().all(|one| one.kind != Kind::Lost), "{found:?}");
        assert!(window < 203 || found.iter().any(|one| one.kind == Kind::Start(1) && one.surprise > 12.0), "{found:?}");
        trace.learn(&found.into_iter().map(|one| (one, window >= 200)).collect::<Vec<_>>());
    }
}

#[test]
fn what_nobody_feels_is_not_told() {
    // The cart's last line is 10, 30 and 130 ms later than usual, in requests of 40 ms.
    for (late, matters) in [(0, false), (30, true), (130, true)] {
        let mut trace = Trace::new(WINDOW);
        let mut found = Vec::new();
        for window in 0..203i64 {
            let faster = if late == 0 { 100 } else { 1 };
            let late = if window < 200 { 0 } else { late.max(100) };
            for n in 0..20 {
                let at = window * WINDOW + n * WINDOW / 20;
                for (group, unit, millis) in [(0, 0, 0), (1, 2, 5), (1, 3, 20), (1, 4, 30 + late), (0, 1, 40 + late)] {
                    let at = at + millis * 1_000_000 / faster;
                    trace.add(at, (group, unit), &line((window * 100 + n) as u64, &format!("unit {unit}")));
                }
            }
            found = trace.close((window + 1) * WINDOW, |_| false, |unit| unit);
            trace.learn(&found.iter().map(|one| (one.clone(), false)).collect::<Vec<_>>());
        }
        let slow = found.iter().find(|one| one.kind == Kind::Slow(1)).unwrap();
        assert_eq!(slow.matters(), matters, "{slow:?}");
    }
}

#[test]
fn groups_beyond_the_most_are_not_timed() {
    let mut open = OpenSessions::default();
    open.jump(-100 * WINDOW);
    let most = 300u32;
    for n in 0..2 * most {
        open.add(1, i64::from(n) * 1_000_000, n % most, 1);
    }
    let mut hops = Vec::new();
    open.close(WINDOW * 100, |session| hops.extend(session.waits()));
    // From each to the next.
    assert_eq!((hops.len(), hops.iter().filter(|(hop, _)| hop.callee >= 256).count()), (255, 0), "{hops:?}");
}

#[test]
fn what_is_over_is_not_told_again_for_a_straggler() {
    let mut trace = learnt();
    let mut echo = None;
    for window in 200..220i64 {
        for n in 0..20 {
            let slow = window < 206 || (window >= 212 && n == 0);
            let at = window * WINDOW + n * WINDOW / 20;
            request(&mut trace, at, (window * 100 + n) as u64, if slow { Fault::Slow } else { Fault::None });
        }
        let found = trace.close((window + 1) * WINDOW, |_| false, group);
        let of_all: Vec<_> = found.into_iter().map(|one| (trace.surprise(&one) > 12.0, one)).collect();
        if window == 213 {
            echo = of_all.iter().map(|(_, one)| one.surprise).reduce(f64::max);
        }
        trace.learn(&of_all.into_iter().map(|(wrong, one)| (one, wrong)).collect::<Vec<_>>());
    }
    assert!(echo.is_some_and(|echo| (1.0..12.0).contains(&echo)), "{echo:?}");
}

#[test]
fn ordinary_requests_are_not_surprising() {
    let mut trace = learnt();
    let found = windows(&mut trace, 200..260, Fault::None, 3);
    assert!(found.iter().all(|one| trace.surprise(one) < 8.0), "{found:?}");
}

#[test]
fn what_is_wrong_is_not_learnt_until_it_has_been_so_for_a_day() {
    let check = |wrong: bool, windows: i64| {
        let mut trace = learnt();
        let mut last = 0.0;
        for window in 200..200 + windows {
            for n in 0..10 {
                request(&mut trace, window * WINDOW + n * SECOND, (window * 100 + n) as u64, Fault::Missing);
            }
            let found = trace.close((window + 1) * WINDOW, |unit| BAD.contains(&unit), group);
            last = found.iter().filter(|one| one.kind == Kind::Absent(3)).map(|one| one.surprise).fold(0.0, f64::max);
            let judged: Vec<(Deviation, bool)> = found.into_iter().map(|one| (one, wrong)).collect();
            trace.learn(&judged);
        }
        last
    };
    assert!(check(true, 200) > 100.0, "still as wrong as at first");
    assert!(check(false, 2_000) < 5.0, "nobody called it wrong, so it is how it is");
}

#[test]
fn a_restart_at_any_window_changes_nothing() {
    let mut live = learnt();
    for window in 200..206 {
        let text = serde_json::to_string(&live).unwrap();
        let mut restarted: Trace = serde_json::from_str(&text).unwrap();
        let fault = if window > 202 { Fault::Slow } else { Fault::None };
        let one = windows(&mut live, window..window + 1, fault, 4);
        let two = windows(&mut restarted, window..window + 1, fault, 4);
        assert_eq!(format!("{one:?}"), format!("{two:?}"));
    }
}

/// Everything under these names is left out, at any depth.
fn without(value: &mut serde_json::Value, names: &[&str]) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|name, _| !names.contains(&name.as_str()));
            fields.values_mut().for_each(|field| without(field, names));
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| without(item, names)),
        _ => {}
    }
}

#[test]
fn what_an_earlier_version_stored_is_read_and_goes_on() {
    let mut live = learnt();
    let mut stored = serde_json::to_value(&live).unwrap();
    without(&mut stored, &["waits", "wait", "at", "ranks", "slow_peaks", "slow_past"]);
    let mut old: Trace = serde_json::from_value(stored).unwrap();
    let (one, two) = (windows(&mut live, 200..203, Fault::Missing, 4), windows(&mut old, 200..203, Fault::Missing, 4));
    assert_eq!(format!("{:?}", one.first()), format!("{:?}", two.first()), "steps are as known as before");
    windows(&mut old, 203..440, Fault::None, 5);
    let found = windows(&mut old, 440..443, Fault::Slow, 6);
    assert!(found.iter().any(|one| one.kind == Kind::Wait(HOP) && old.surprise(one) > 12.0), "{found:?}");
}

#[test]
fn a_merged_template_takes_its_past_along() {
    let mut trace = learnt();
    trace.rename(3, 9);
    let mut found = Vec::new();
    for window in 200..203 {
        for n in 0..20 {
            let at = window * WINDOW + n * SECOND / 2;
            for (group, unit, millis) in [(0, 0, 0), (1, 2, 5), (1, 9, 20), (1, 4, 30), (0, 1, 40)] {
                trace.add(at + millis * 1_000_000, (group, unit), &line((window * 100 + n) as u64, "unit"));
            }
        }
        found = trace.close((window + 1) * WINDOW, |unit| BAD.contains(&unit), group);
    }
    assert!(found.iter().all(|one| one.surprise < 6.0), "{found:?}");
}

#[test]
fn sessions_that_were_not_seen_from_their_start_are_not_judged() {
    let mut trace = learnt();
    trace.jump(200 * WINDOW);
    for n in 0..20 {
        let at = 200 * WINDOW + n * SECOND / 20;
        for (group, unit, millis) in [(1, 4, 30), (0, 1, 40)] {
            trace.add(at + millis * 1_000_000, (group, unit), &line(90_000 + n as u64, "unit"));
        }
    }
    assert!(trace.close(201 * WINDOW, |_| true, group).is_empty());
}

#[test]
fn a_flood_of_kinds_of_requests_is_bounded() {
    let mut trace = learnt();
    for window in 200..203 {
        for n in 0..3_000i64 {
            let at = window * WINDOW + n * 1_000_000;
            for step in 0..20u32 {
                let unit = 100 + (n as u32 * 20 + step) % 40_000;
                trace.add(at + i64::from(step), (step % 5, unit), &line((window * 10_000 + n) as u64, "unit"));
            }
        }
        trace.close((window + 1) * WINDOW, |_| true, group);
    }
    trace.close(210 * WINDOW, |_| true, group);
    let parts = |tally: &Tally| tally.types.values().map(|one| one.units.len() + one.steps.len()).sum::<usize>();
    let most = trace.recent.iter().map(parts).max().unwrap();
    assert!((1_000..21_100).contains(&most), "{most}");
}

#[test]
fn what_is_told_for_long_keeps_its_usual_share() {
    for kind in [Kind::Slow(1), Kind::Wait(HOP), Kind::Present(6), Kind::Order(2, 4), Kind::Many(3)] {
        let mut dice = Dice(9);
        let mut trace = Trace::new(WINDOW);
        let share = |trace: &Trace| {
            let model = &trace.model.types[&0];
            match kind {
                Kind::Slow(group) => model.spans[&group][20..].iter().sum::<f32>() / model.sessions,
                Kind::Wait(hop) => model.waits[&hop][18..].iter().sum::<f32>() / model.sessions,
                Kind::Order(from, to) => model.steps[&(from, to)] / model.sessions,
                Kind::Many(unit) => model.units[&unit][2..].iter().sum::<f32>() / model.sessions,
                _ => present(model, 6) as f32 / model.sessions,
            }
        };
        let fault = match kind {
            Kind::Slow(_) | Kind::Wait(_) => Fault::Slow,
            Kind::Many(_) => Fault::Repeated,
            Kind::Order(..) => Fault::Missing,
            _ => Fault::Problem,
        };
        let mut before = 0.0;
        for window in 0..900 {
            for n in 0..20 {
                let odd = dice.below(if window < 400 { 25 } else { 3 }) == 0;
                let at = window * WINDOW + n * WINDOW / 20;
                request(&mut trace, at, (window * 100 + n) as u64, if odd { fault } else { Fault::None });
            }
            trace.close((window + 1) * WINDOW, |unit| BAD.contains(&unit), group);
            trace.model.age(1_000.0);
            if window == 400 {
                before = share(&trace);
            }
            let one = Deviation { kind, ..over(kind, &[], 1) };
            trace.learn(&[(one, window >= 400)]);
        }
        let after = share(&trace);
        assert!(before > 0.01 && (after / before - 1.0).abs() < 0.5, "{kind:?}: {before} became {after}");
    }
}
