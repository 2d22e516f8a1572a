use super::*;

/// Windows of a shop: `requests` by window; each writes unit 1 and 2 of group 0, unit 3 (three times) of group 1, and
/// unit 4 of group 1. `skew` changes the counts of a window.
fn run(ratios: &mut Ratios, windows: u32, skew: impl Fn(u32, &mut [u32; 5])) -> Vec<(u32, Unit, f64)> {
    let mut found = Vec::new();
    for window in 0..windows {
        let requests = 2 + (window * 7 + window / 3) % 9;
        let mut lines = [0, requests, requests, 3 * requests, requests];
        skew(window, &mut lines);
        for (unit, count) in (0..).zip(lines) {
            (0..count).for_each(|_| ratios.add(unit));
        }
        let broken = ratios.close(|unit| u32::from(unit > 2));
        let judged: Vec<(Broken, bool)> =
            broken.into_iter().map(|one| (ratios.surprise(&one) >= 12.0, one)).map(|(told, one)| (one, told)).collect();
        found.extend(judged.iter().filter(|one| one.1).map(|(one, _)| (window, one.unit, one.surprise)));
        ratios.told(&judged);
    }
    found
}

#[test]
fn a_step_that_is_missing_is_found_by_its_like() {
    let found = run(&mut Ratios::default(), 400, |window, lines| {
        if window >= 350 {
            lines[2] /= 4;
        }
    });
    assert!(found.iter().all(|(_, unit, _)| *unit == 2), "{found:?}");
    assert!(found.first().is_some_and(|(window, ..)| (350..356).contains(window)), "{found:?}");
}

#[test]
fn more_of_all_or_of_one_is_no_lack() {
    let surge = |window: u32, lines: &mut [u32; 5]| {
        if (300..320).contains(&window) {
            lines.iter_mut().for_each(|lines| *lines *= 8);
        }
        if window >= 350 {
            lines[4] += 60;
        }
    };
    assert_eq!(run(&mut Ratios::default(), 400, surge), []);
}

#[test]
fn silence_of_all_is_no_broken_pair() {
    let silent = |window: u32, lines: &mut [u32; 5]| {
        if (200..380).contains(&window) {
            *lines = [0; 5];
        }
    };
    assert_eq!(run(&mut Ratios::default(), 400, silent), []);
}

#[test]
fn one_odd_request_of_many_lines_is_not_told() {
    let odd = |window: u32, lines: &mut [u32; 5]| {
        if window == 350 {
            // A request without its three lines, and another that has them twice.
            lines[3] -= 3;
        }
    };
    assert_eq!(run(&mut Ratios::default(), 400, odd), []);
}

#[test]
fn what_merges_goes_on_as_one() {
    let mut ratios = Ratios::default();
    run(&mut ratios, 200, |_, lines| lines[2] = 0);
    for window in &mut ratios.ring {
        window.push((9, 3));
    }
    ratios.merge(9, 4);
    assert!(ratios.ring.iter().flatten().all(|(unit, _)| *unit != 9));
    assert!(ratios.pairs.iter().all(|pair| pair.one != 4 && pair.by != 4));
    ratios.forget(&FxHashSet::from_iter([1, 3]));
    assert!(ratios.ring.iter().flatten().all(|(unit, _)| *unit == 4));
    assert!(ratios.pairs.is_empty() && ratios.rested.is_empty());
}

#[test]
fn a_restart_between_windows_changes_nothing() {
    let faults = |window: u32, lines: &mut [u32; 5]| {
        if window % 97 > 90 {
            lines[1] /= 3;
        }
    };
    let mut live = Ratios::default();
    let mut again = Ratios::default();
    for part in 0..6 {
        let skew = |window: u32, lines: &mut [u32; 5]| faults(window + 50 * part, lines);
        live.add(3);
        again.add(3);
        again = serde_json::from_slice(&serde_json::to_vec(&again).unwrap()).unwrap();
        assert_eq!(run(&mut live, 50, skew), run(&mut again, 50, skew));
    }
    assert_eq!(serde_json::to_string(&live).unwrap(), serde_json::to_string(&again).unwrap());
}

#[test]
fn all_that_is_kept_is_bounded() {
    let mut ratios = Ratios::default();
    for window in 0..150u32 {
        for unit in 0..2_000 {
            (0..1 + (unit + window) % 3).for_each(|_| ratios.add(unit));
        }
        ratios.close(|unit| unit % 50);
    }
    assert!(ratios.ring.iter().all(|window| window.len() <= MAX_UNITS));
    assert!(ratios.pairs.len() <= 512 && ratios.rested.len() <= MAX_RESTED, "{}", ratios.pairs.len());
}
