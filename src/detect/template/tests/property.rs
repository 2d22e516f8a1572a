//! What holds for all lines.

use proptest::prelude::*;

use super::super::{Level, Limits, Mined, Miner, Quality, TemplateId};
use crate::time::SECOND;

/// Small limits, so that all of them are met.
const TIGHT: Limits = Limits { templates: 40, streams: 3, families: 100, buckets: 10, forget_after: 50 };

/// Lines that look like logs, and lines that do not.
fn line() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-d]{1,2}",
        "[0-9]{1,4}",
        "(user|INFO|ERROR|GET|at|x:|key=|2026-11-20T22:00:01Z|\\[x\\]|\\(|\\)|\"|,|\\{|\\}|/a/b|ms|Nov|a.b.C#12|10.0.0.1:80)",
    ];
    let words = prop::collection::vec(word, 0..9).prop_map(|words| words.join(" "));
    prop_oneof![
        4 => words.clone(),
        2 => words.clone().prop_map(|words| format!("2026-11-20T22:00:01Z INFO main: {words}")),
        1 => words.clone().prop_map(|words| format!("{{\"level\":\"warn\",\"msg\":{words:?}}}")),
        1 => words.clone().prop_map(|words| format!("level=info msg={words:?} n=1")),
        1 => words.prop_map(|words| format!("\tat {words}")),
        1 => "(java.io.IOException: x|Traceback \\(most recent call last\\):|panic: x|goroutine 1 \\[running\\]:|  File \"x\", line 1, in f)",
        1 => "(?s).{0,60}",
    ]
}

fn feed(miner: &mut Miner, lines: &[String], from: i64) -> Vec<Mined> {
    (from..)
        .zip(lines)
        .map(|(ts, line)| {
            let slot = miner.stream((line.len() % 5) as u64);
            miner.mine(slot, ts, Level::Unknown, line)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn deterministic_bounded_and_whole(lines in prop::collection::vec(line(), 0..400)) {
        let (mut one, mut two) = (Miner::new(TIGHT), Miner::new(TIGHT));
        let mined = feed(&mut one, &lines, 0);
        prop_assert_eq!(&mined, &feed(&mut two, &lines, 0));
        prop_assert_eq!(one.snapshot(), two.snapshot());
        let size = one.size();
        prop_assert!(size.templates <= 2 * TIGHT.templates + 2 && size.streams <= 3, "{:?}", size);
        prop_assert!(size.families <= 100 && size.buckets <= 10, "{:?}", size);
        // Each line that is no part of another is counted once, as is each trace.
        let counted: u64 = one.templates().map(|template| template.count).sum();
        let events = mined.iter().filter(|mined| !mined.continues).count();
        let traces = mined.iter().filter(|mined| mined.trace.is_some()).count();
        prop_assert!(counted <= (events + traces) as u64);
        let ids: Vec<TemplateId> = one.templates().map(|template| template.id).collect();
        prop_assert!(ids.is_sorted());
        // What was given is known, or was merged into what is known, or forgotten.
        for (line, mined) in lines.iter().zip(&mined) {
            prop_assert!(mined.template.0 <= size.given);
            let slot = one.stream((line.len() % 5) as u64);
            let _ = one.variables(slot, line);
        }
        let slot = one.stream(0);
        let _ = one.quality(&[slot]);
    }

    #[test]
    fn a_restart_changes_nothing(lines in prop::collection::vec(line(), 2..400), at in 0.0..1.0) {
        let at = (lines.len() as f64 * at) as usize;
        let (before, after) = lines.split_at(at);
        let mut through = Miner::new(TIGHT);
        feed(&mut through, before, 0);
        let bytes = through.snapshot();
        let mut restarted = Miner::restore(TIGHT, &bytes).unwrap();
        prop_assert!(restarted.snapshot() == bytes, "the snapshot differs at once");
        prop_assert_eq!(feed(&mut through, after, at as i64), feed(&mut restarted, after, at as i64));
        prop_assert!(through.snapshot() == restarted.snapshot(), "the snapshots differ");
        prop_assert_eq!(through.merges().collect::<Vec<_>>(), restarted.merges().collect::<Vec<_>>());
    }

    #[test]
    fn a_merge_is_never_new(lines in prop::collection::vec(line(), 0..400)) {
        let mut miner = Miner::new(Limits::default());
        for mined in feed(&mut miner, &lines, 0) {
            // Everything that was ever given leads to something that lives.
            prop_assert!(miner.get(mined.template).is_some());
        }
        let mut parts = std::collections::BTreeSet::new();
        for (child, into) in miner.merges() {
            prop_assert!(child != into && parts.insert(child), "{:?} is merged twice", child);
        }
        for child in parts {
            prop_assert!(miner.get(child).is_some() && miner.resolve(child) != child);
        }
    }

    #[test]
    fn any_bytes_are_no_snapshot_or_one_that_works(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut with_version = vec![super::super::snapshot::VERSION];
        with_version.extend(&bytes);
        for bytes in [bytes, with_version] {
            if let Some(mut miner) = Miner::restore(TIGHT, &bytes) {
                feed(&mut miner, &["a b 12".to_owned()], 0);
            }
        }
    }

    #[test]
    fn a_damaged_snapshot_does_no_harm(at in 0usize..4000, byte in any::<u8>()) {
        let mut miner = Miner::new(TIGHT);
        let lines: Vec<String> = (0..60).map(|n| format!("2026-11-20T22:00:01Z INFO a{} b{} {n} c", n % 7, n % 3)).collect();
        feed(&mut miner, &lines, 0);
        let mut bytes = miner.snapshot();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Some(mut miner) = Miner::restore(TIGHT, &bytes) {
            feed(&mut miner, &lines, 100);
            let _ = miner.snapshot();
        }
    }
}

#[test]
fn headers_are_learnt_again_and_ids_stay() {
    let mut miner = Miner::new(Limits::default());
    let slot = miner.stream(1);
    let line = |n: u64| {
        format!("2026-11-20T22:00:{:02}Z host-a {} cart[{n}]: item added", n % 60, ["INFO", "WARN"][n as usize % 2])
    };
    let first = miner.mine(slot, 0, Level::Unknown, &line(1)).template;
    let ids: Vec<TemplateId> = (2..200).map(|n| miner.mine(slot, 0, Level::Unknown, &line(n)).template).collect();
    let last = *ids.last().unwrap();
    assert_eq!((miner.resolve(first), miner.resolve(last)), (last, last));
    let template = miner.get(first).unwrap();
    assert_eq!((template.text, template.count), ("item added", 199));
    // A stream of the same form begins with the header.
    let other = miner.stream(2);
    assert_eq!(miner.mine(other, 0, Level::Unknown, &line(7)).template, last);
    // When most lines change, the header does.
    let new = |n: u64| format!("E {n} {}: item added", 1_795_212_000 + n);
    let ids: Vec<TemplateId> = (0..4000).map(|n| miner.mine(slot, 0, Level::Unknown, &new(n)).template).collect();
    assert_eq!(miner.resolve(ids[3999]), miner.resolve(ids[0]));
}

#[test]
fn what_was_forgotten_comes_back_with_its_id() {
    let limits = Limits { templates: 100, forget_after: 1000, ..Limits::default() };
    let mut miner = Miner::new(limits);
    let slot = miner.stream(1);
    let rare = miner.mine(slot, 0, Level::Unknown, "something rare has happened here").template;
    // Sequences of different lengths never merge.
    for n in 1..90 {
        miner.mine(slot, 2000 + n as i64, Level::Unknown, &"again ".repeat(n));
    }
    assert!(miner.get(rare).is_none());
    assert_eq!(miner.mine(slot, 5000, Level::Unknown, "something rare has happened here").template, rare);
}

#[test]
fn only_unique_lines_stay_within_the_limits() {
    let mut miner = Miner::new(Limits::default());
    let slot = miner.stream(1);
    for line in unique(60_000) {
        miner.mine(slot, 0, Level::Unknown, &line);
    }
    // Nor do traces grow without end.
    for n in 0..100 {
        miner.mine(slot, 0, Level::Unknown, "2026-11-20T22:00:00Z ERROR failed");
        miner.mine(slot, 0, Level::Unknown, &format!("\tat a.{}(X.java:1)", "x".repeat(n + 1)));
    }
    let size = miner.size();
    assert!(size.templates <= 16_385 && size.families <= 65_536 && size.buckets <= 8_192, "{size:?}");
    assert!(size.coarse > 10_000);
    assert_eq!(miner.quality(&[slot]), Quality::Singletons);
}

/// A line of random words, like no other.
fn own_words(n: u64) -> String {
    let (mut state, mut line) = (n, String::new());
    for _ in 0..4 + n % 5 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let letter = |shift: u64| char::from(b'a' + (state >> shift) as u8 % 26);
        line.extend([letter(20), letter(28), letter(36), letter(44), letter(52), ' ']);
    }
    line
}

/// Lines of which no two are alike.
fn unique(count: u64) -> impl Iterator<Item = String> {
    (0..count).map(own_words)
}

/// By hand: `cargo test --release --lib twenty_million -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute"]
fn twenty_million_unique_lines() {
    let mut miner = Miner::new(Limits::default());
    let slot = miner.stream(1);
    for line in unique(20_000_000) {
        miner.mine(slot, 0, Level::Unknown, &line);
    }
    println!("{:?}", miner.size());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    println!("peak memory {peak}");
    let kilobytes: u64 = peak.trim_end_matches("kB").trim().parse().unwrap();
    assert!(kilobytes < 150_000);
}

#[test]
fn quality_says_what_templates_are_worth() {
    let mut miner = Miner::new(Limits::default());
    let one = miner.stream(1);
    for n in 0..2000 {
        miner.mine(one, n, Level::Unknown, &format!("tick {n}"));
    }
    assert_eq!(miner.quality(&[one]), Quality::OneTemplate);
    let many = miner.stream(2);
    assert_eq!(miner.quality(&[many]), Quality::Unknown);
    for n in 0..2000 {
        miner.mine(many, n, Level::Unknown, ["up and running", "going down", "user logged in"][n as usize % 3]);
    }
    assert_eq!(miner.quality(&[many]), Quality::Good);
}

/// The quality after lines of one stream, a second apart; lines are held against their number.
fn after(lines: i64, line: impl Fn(i64) -> String) -> Quality {
    let mut miner = Miner::new(Limits::default());
    let slot = miner.stream(1);
    for n in 0..lines {
        miner.mine(slot, n * SECOND, Level::Unknown, &line(n));
    }
    miner.quality(&[slot])
}

#[test]
fn one_template_says_nothing_only_where_it_has_no_word() {
    assert_eq!(after(2_000, |_| "ok".into()), Quality::OneTemplate);
    assert_eq!(after(2_000, |n| format!("GET /health 200 {} ms", n % 9)), Quality::OneTemplate);
    assert_eq!(after(2_000, |n| format!("{:016x}", n as u64 * 0x9e37_79b9)), Quality::Wordless);
    assert_eq!(after(2_000, |n| format!("12:00:{:02} {n};{};{}", n % 60, n * 7, n % 13)), Quality::Wordless);
    assert_eq!(after(2_000, |n| if n == 7 { "reading 17".into() } else { format!("{n}") }), Quality::Good);
}

#[test]
fn templates_that_never_settle_are_told_from_a_start_and_from_rare_problems() {
    const DAY: i64 = 12 * 3_600;
    let usual = |n: i64| ["up and running", "going down", "user logged in"][n as usize % 3].to_owned();
    // Every ten minutes other messages.
    assert_eq!(after(DAY, |n| own_words((n / 600 * 8 + n % 8) as u64)), Quality::Unsettled);
    // A minute of messages that come once, and 10,000 lines of them.
    assert_eq!(after(DAY, |n| if n < 60 { own_words(n as u64) } else { usual(n) }), Quality::Dead);
    assert_eq!(after(DAY, |n| if n < 10_000 { own_words(n as u64 % 60) } else { usual(n) }), Quality::Dead);
    // A few problems an hour, each of its own kind.
    assert_eq!(after(DAY, |n| if n % 1_200 < 5 { own_words(n as u64 / 1_200) } else { usual(n) }), Quality::Good);
    // A change of version in the middle.
    assert_eq!(after(DAY, |n| own_words((2 * n / DAY * 100 + n % 50) as u64)), Quality::Good);
    // Too short to tell.
    assert_eq!(after(3_600, |n| own_words((n / 60 * 8 + n % 8) as u64)), Quality::Good);
}
