//! A group's model: what it finds, how it explains, and that a restart changes nothing.

use super::*;
use crate::collect::{Coverage, Known};
use crate::detect::Evidence;
use crate::detect::config::Kind;
use crate::detect::detector::Dice;
use crate::detect::detector::tests::{ordinary, window};
use crate::detect::explain::{headline, reason};
use crate::detect::pattern::{Found, GroupNumber};
use crate::detect::{PatternEvidence, PatternKind};
use crate::time::{MINUTE, Span};

const GROUP: Fingerprint = Fingerprint(7);

fn title(features: &[FeatureEvidence]) -> String {
    headline(&Evidence { features: features.to_vec(), ..Evidence::default() })
}

fn learnt(config: &DetectConfig, windows: impl Iterator<Item = Window>) -> Model {
    let mut model = Model::new(config, GROUP);
    for window in windows {
        let judgement = model.judge(&window);
        model.learn(&window, &judgement);
    }
    model
}

fn day() -> Model {
    let mut dice = Dice(3);
    learnt(&DetectConfig::default(), (0..600).map(move |at| ordinary(&mut dice, at)))
}

#[track_caller]
fn check(model: &Model, window: &Window, text: &str) {
    let judgement = model.judge(window);
    let found = judgement.anomalous.as_deref().map(|all| format!("{}: {}", title(all), reason(all)));
    assert_eq!(found.unwrap_or_default(), text, "{judgement:?}");
}

#[test]
fn plain_faults_are_found_and_explained() {
    let model = day();
    check(&model, &window(600, 205, [141.0, 2.0, 6.0, 30.0]), "");
    check(&model, &window(600, 205, [141.0, 48.0, 6.0, 30.0]), "more errors than usual: errors 48, expected 0 to 7");
    check(
        &model,
        &window(600, 205, [141.0, 1.0, 90.0, 30.0]),
        "more warnings than usual: warnings 90, expected 0 to 15",
    );
    check(&model, &window(600, 0, [0.0, 0.0, 0.0, 0.0]), "gone silent: rate 0 lines/s, expected 2.1 to 4.8");
    check(
        &model,
        &window(600, 2000, [141.0, 1.0, 5.0, 30.0]),
        "more lines than usual: rate 33 lines/s, expected 2.1 to 4.8",
    );
    let longer = window(600, 200, [900.0, 1.0, 5.0, 30.0]);
    check(&model, &longer, "");
    let judgement = model.judge(&longer);
    assert!(judgement.score < judgement.threshold, "{judgement:?}");
    let config = DetectConfig { preset: Preset::Classic, ..DetectConfig::default() };
    let mut dice = Dice(3);
    let simple = learnt(&config, (0..600).map(move |at| ordinary(&mut dice, at)));
    check(&simple, &longer, "longer lines than usual: line length 900 bytes, expected 120 to 163");
}

/// Half hours of three weeks: many errors by day, hardly any at night.
fn half_hour(dice: &mut Dice, at: i64) -> Window {
    let by_day = (16..40).contains(&(at % 48));
    let errors = if by_day { 20.0 + (10.0 * dice.unit()).round() } else { (2.0 * dice.unit()).floor() };
    let lines = if by_day { 2_000 } else { 300 };
    Window {
        range: TimeRange::new(at * 30 * MINUTE, (at + 1) * 30 * MINUTE),
        ..window(at, lines, [140.0, errors, 0.0, 30.0])
    }
}

#[test]
fn what_is_ordinary_by_day_is_not_at_night() {
    let config = DetectConfig { window: WindowSpec::Time(Span::minutes(30)), ..DetectConfig::default() };
    let mut dice = Dice(5);
    let mut model = learnt(&config, (0..21 * 48).map(|at| half_hour(&mut dice, at)));
    let mut night = half_hour(&mut dice, 21 * 48 + 4);
    check(&model, &night, "");
    night.features.0[Feature::ErrorCount as usize] = Some(15.0);
    check(&model, &night, "more errors than usual: errors 15, expected 0 to 6 at this hour");
    let mut first_week = learnt(&config, (0..6 * 48).map(|at| half_hour(&mut dice, at)));
    night.range = half_hour(&mut dice, 6 * 48 + 4).range;
    check(&first_week, &night, "");

    // A restart knows the hours, too.
    for at in 21 * 48..22 * 48 {
        let next = half_hour(&mut dice, at);
        let mut again = Model::restore(&config, GROUP, &model.snapshot()).unwrap();
        for model in [&mut model, &mut again] {
            let judgement = model.judge(&next);
            model.learn(&next, &judgement);
        }
        assert_eq!(again.snapshot(), model.snapshot());
    }
    let judgement = first_week.judge(&night);
    assert!(first_week.learn(&night, &judgement));
}

#[test]
fn nothing_is_judged_while_warming_up() {
    let mut dice = Dice(3);
    let model = learnt(&DetectConfig::default(), (0..59).map(move |at| ordinary(&mut dice, at)));
    assert_eq!(model.judge(&window(60, 205, [141.0, 480.0, 6.0, 30.0])), Judgement::default());
    assert_eq!(model.progress(), (59, 60));
}

#[test]
fn what_is_odd_late_or_partial_is_not_learnt() {
    let mut model = day();
    let before = model.progress();
    let mut burst = window(600, 205, [141.0, 48.0, 6.0, 30.0]);
    let judgement = model.judge(&burst);
    assert!(!model.learn(&burst, &judgement));
    burst.late = true;
    assert!(!model.learn(&burst, &Judgement::default()));
    let mut partial = window(601, 205, [141.0, 1.0, 6.0, 30.0]);
    partial.coverage = Coverage { known: Known::Partial, seen: 205, missing: 10 };
    let judgement = model.judge(&partial);
    assert!(!model.learn(&partial, &judgement));
    assert_eq!(model.progress(), before);
}

#[test]
fn a_day_of_anomalies_is_the_new_normal() {
    let mut model = day();
    let mut last = 0;
    for at in 600..4000 {
        let burst = window(at, 205, [141.0, 48.0, 6.0, 30.0]);
        let judgement = model.judge(&burst);
        if judgement.anomalous.is_some() {
            last = at;
        }
        model.learn(&burst, &judgement);
    }
    assert!((2040..2600).contains(&last), "{last}");
}

#[test]
fn a_foul_stretch_does_not_blind() {
    let mut dice = Dice(3);
    let foul = |at: i64| (300..330).contains(&at);
    let windows = (0..1500)
        .map(|at| if foul(at) { window(at, 900, [141.0, 300.0, 60.0, 90.0]) } else { ordinary(&mut dice, at) });
    let mut model = Model::new(&DetectConfig::default(), GROUP);
    for window in windows {
        model.learn(&window, &Judgement::default());
    }
    assert!(model.judge(&window(1500, 205, [141.0, 48.0, 6.0, 30.0])).anomalous.is_some());
    assert!(model.judge(&window(1500, 0, [0.0; 4])).anomalous.is_some());
}

#[test]
fn two_lines_a_minute_do_not_cry_wolf() {
    let mut dice = Dice(9);
    let mut wrong = 0;
    let mut model = Model::new(&DetectConfig::default(), GROUP);
    for at in 0..3000 {
        // About two lines a minute, each an error one time in fifty.
        let lines = (0..20).filter(|_| dice.unit() < 0.1).count() as u64;
        let errors = (0..lines).filter(|_| dice.unit() < 0.02).count() as f64;
        let window = window(at, lines, [80.0 + 200.0 * dice.unit(), errors, 0.0, lines as f64]);
        let judgement = model.judge(&window);
        wrong += u32::from(judgement.anomalous.is_some());
        model.learn(&window, &judgement);
    }
    assert_eq!(wrong, 0);
}

#[test]
fn a_daily_rhythm_does_not_alarm_and_silence_does() {
    let mut dice = Dice(5);
    let mut model = Model::new(&DetectConfig::default(), GROUP);
    let mut wrong = 0;
    for at in 0..2880 {
        let level = 1.0 + 0.8 * (at as f64 / 1440.0 * std::f64::consts::TAU).sin();
        let mut window = ordinary(&mut dice, at);
        window.lines = (window.lines as f64 * level) as u64;
        window.features.0[1] = window.features.0[1].map(|errors| (errors * level).round());
        window.features.0[2] = window.features.0[2].map(|warns| (warns * level).round());
        window.features.0[4] = Some(window.lines as f64 / 60.0);
        let judgement = model.judge(&window);
        wrong += u32::from(judgement.anomalous.is_some());
        model.learn(&window, &judgement);
    }
    assert_eq!(wrong, 0);
    let found = model.judge(&window(2880, 0, [0.0; 4])).anomalous.unwrap();
    assert_eq!(title(&found), "gone silent");
}

#[test]
fn shares_sum_to_one() {
    let judgement = day().judge(&window(600, 900, [141.0, 48.0, 60.0, 30.0]));
    let sum: f64 = judgement.anomalous.unwrap().iter().map(|one| one.share).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    assert!(judgement.score > judgement.threshold);
}

#[test]
fn snapshots_are_small_and_refuse_other_settings() {
    let config = DetectConfig::default();
    let mut dice = Dice(3);
    let model = learnt(&config, (0..3200).map(move |at| ordinary(&mut dice, at)));
    let text = model.snapshot();
    assert!(text.len() < 100_000, "{}", text.len());
    assert!(Model::restore(&config, GROUP, &text).is_some());
    let other = DetectConfig { window: crate::detect::config::WindowSpec::Time(Span::seconds(10)), ..config.clone() };
    assert!(Model::restore(&other, GROUP, &text).is_none());
    for damaged in ["", "{}", &text[..text.len() / 2], &text.replace("\"version\":1", "\"version\":0")] {
        assert!(Model::restore(&config, GROUP, damaged).is_none());
    }
}

#[test]
fn the_extended_kind_and_the_classic_preset_find_a_burst_too() {
    for (kind, preset) in
        [(Kind::Extended, Preset::Standard), (Kind::Extended, Preset::Classic), (Kind::Forest, Preset::Classic)]
    {
        let config = DetectConfig { kind, preset, ..DetectConfig::default() };
        let mut dice = Dice(3);
        let model = learnt(&config, (0..300).map(move |at| ordinary(&mut dice, at)));
        let found = model.judge(&window(300, 205, [141.0, 48.0, 6.0, 30.0])).anomalous.unwrap();
        assert_eq!(found[0].feature, crate::detect::Feature::ErrorCount);
        assert!(found.iter().all(|one| one.share > 0.0), "{found:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(48))]
    /// Whatever judges, the shares of all evidence are parts of one whole, and so are those of the detectors.
    #[test]
    fn shares_over_all_evidence_sum_to_one(
        seed in 0u64..1000, kind in 0usize..3, classic: bool,
        lines in proptest::prop_oneof![proptest::strategy::Just(0u64), 1u64..4000],
        counts in (0.0f64..3000.0, 0u32..400, 0u32..400, 0u32..400),
        found in proptest::collection::vec(0.95f64..1.0, 0..5),
    ) {
        let kind = [Kind::None, Kind::Forest, Kind::Extended][kind];
        let preset = if classic { Preset::Classic } else { Preset::Standard };
        let config = DetectConfig { kind, preset, ..DetectConfig::default() };
        let mut dice = Dice(seed);
        let model = learnt(&config, (0..120).map(move |at| ordinary(&mut dice, at)));
        let (length, errors, warns, unique) = counts;
        let judgement = model.judge(&window(120, lines, [length, errors.into(), warns.into(), unique.into()]));
        let kinds = [PatternKind::New, PatternKind::Burst, PatternKind::Missing, PatternKind::Rare];
        let found: Vec<Found> = found.iter().zip(kinds.iter().cycle()).map(|(score, kind)| Found {
            group: GroupNumber::default(),
            scores: (*score, 0.9),
            evidence: PatternEvidence::of(*kind),
            sample: None,
            gates: Vec::new(),
            common: Vec::new(),
        }).collect();
        let judgement = decide::join(judgement, found.iter());
        if let Some(features) = judgement.anomalous {
            let evidence = Evidence { features, patterns: judgement.patterns, ..Evidence::default() };
            let features = evidence.features.iter().map(|one| one.share);
            let shares: Vec<f64> = features.chain(evidence.patterns.iter().map(|one| one.share)).collect();
            proptest::prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
            proptest::prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
            let parts = crate::detect::explain::detectors(&evidence);
            proptest::prop_assert!((parts.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
        } else {
            proptest::prop_assert!(found.is_empty());
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(12))]
    /// Snapshot, restore and fold: the same as never stopped, bit for bit.
    #[test]
    fn a_restart_changes_nothing(seed in 0u64..1000, cut in 1usize..260, more in 0usize..60) {
        let config = DetectConfig { warm_up: 20, history: 90, refit_every: 25, kind: Kind::Forest, ..DetectConfig::default() };
        let mut dice = Dice(seed);
        let mut windows: Vec<Window> = (0..cut + more + 40).map(|at| ordinary(&mut dice, at as i64)).collect();
        for at in (0..windows.len()).filter(|at| at % 37 == 36) {
            windows[at] = window(at as i64, 205, [141.0, 70.0, 6.0, 30.0]);
        }
        let mut live = Model::new(&config, GROUP);
        let mut stored = Vec::new();
        let mut snapshot = String::new();
        for (at, window) in windows.iter().enumerate() {
            if at == cut {
                snapshot = live.snapshot();
                stored.clear();
            }
            let judgement = live.judge(window);
            let learnt = live.learn(window, &judgement);
            stored.push((window, judgement, learnt));
        }
        let mut restarted = Model::restore(&config, GROUP, &snapshot).unwrap();
        for (at, (window, judgement, learnt)) in stored.iter().enumerate() {
            if at % 2 == 0 {
                proptest::prop_assert_eq!(&restarted.judge(window), judgement);
            }
            restarted.fold(window, judgement, *learnt);
        }
        proptest::prop_assert_eq!(restarted.snapshot(), live.snapshot());
    }
}

/// Some ten lines a minute in bursts; every so often so many windows without any.
fn sparse(every: i64, empty: i64) -> Model {
    let mut dice = Dice(4);
    let windows = (0..1_400).map(move |at| {
        let lines = if at % every < empty { 0 } else { 1 + (dice.unit() * dice.unit() * 40.0) as u64 };
        window(at, lines, [80.0, 0.0, 0.0, lines.min(5) as f64])
    });
    learnt(&DetectConfig::default(), windows)
}

#[test]
fn silence_is_told_by_a_groups_own_gaps() {
    for (every, empty, told) in [(50, 1, true), (50, 6, false)] {
        let mut model = sparse(every, empty);
        let silent: Vec<bool> = (1_400..1_410)
            .map(|at| {
                let window = window(at, 0, [0.0; 4]);
                let judgement = model.judge(&window);
                model.learn(&window, &judgement);
                judgement.anomalous.is_some()
            })
            .collect();
        assert_eq!(silent.iter().any(|told| *told), told, "{every} {empty}: {silent:?}");
        assert!(!silent[0], "{silent:?}");
    }
}
