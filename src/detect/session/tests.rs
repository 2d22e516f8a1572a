use proptest::prelude::*;

use super::*;
use crate::time::SECOND;

/// Hands sessions over, one after the other: what each says, line by line.
fn hand(sessions: &mut Sessions, purpose: Purpose, all: &[(u64, &[&str])], from: Nanos) -> Vec<Verdict> {
    let mut ts = from;
    let mut found = Vec::new();
    for (key, lines) in all {
        for line in *lines {
            ts += SECOND;
            found.extend(sessions.add(purpose, &Line { key: Some(*key), ts, stream: 0, line }));
        }
    }
    found
}

const USUAL: [&str; 4] = ["request accepted", "stock reserved", "payment done", "order stored"];
const VARIANT: [&str; 5] = ["request accepted", "stock reserved", "coupon used", "payment done", "order stored"];

/// 200 sessions, each fourth with a variant.
fn past() -> Vec<(u64, &'static [&'static str])> {
    (0..200).map(|n| (n, if n % 4 == 0 { &VARIANT[..] } else { &USUAL[..] })).collect()
}

fn judged(session: &[&str]) -> Verdict {
    let mut sessions = Sessions::new(Limits::default());
    hand(&mut sessions, Purpose::Learn, &past(), 0);
    sessions.finish();
    hand(&mut sessions, Purpose::Judge, &[(1_000, session), (1_001, &["request accepted"; 1]), (1_002, &USUAL)], 0);
    let found = sessions.finish();
    found.into_iter().find(|one| one.key == 1_000).unwrap()
}

#[test]
fn what_few_sessions_do_is_told() {
    use model::Kind::{Absent, Count, Present};
    for (session, alarm, kind) in [
        (&USUAL[..], false, None),
        (&VARIANT[..], false, None),
        (&["request accepted", "stock reserved", "payment done", "order stored", "card refused"], true, Some(Present)),
        (&["request accepted", "stock reserved", "order stored", "request kept waiting"], true, Some(Absent)),
        (
            &["request accepted", "request accepted", "stock reserved", "payment done", "order stored"],
            true,
            Some(Count),
        ),
    ] {
        let found = judged(session);
        assert_eq!(found.alarm, alarm, "{session:?}: {found:?}");
        let told = found.deviations.iter().any(|one| Some(one.kind) == kind && one.nats >= found.threshold);
        assert_eq!(told, kind.is_some(), "{session:?}: {found:?}");
    }
}

#[test]
fn an_error_weighs_more() {
    let odd = |line| judged(&["request accepted", "stock reserved", "payment done", "order stored", line]).score;
    assert!(odd("ERROR card refused") > odd("card refused") + 1.0);
}

#[test]
fn what_may_still_come_is_not_missing() {
    let mut sessions = Sessions::new(Limits::default());
    hand(&mut sessions, Purpose::Learn, &past(), 0);
    sessions.finish();
    // The last session has only begun when the lines end.
    let last: [(u64, &[&str]); 2] = [(1_000, &USUAL), (1_001, &["request accepted"])];
    hand(&mut sessions, Purpose::Judge, &last, 0);
    let found = sessions.finish();
    assert!(found.iter().all(|one| !one.alarm), "{found:?}");
}

#[test]
fn too_few_sessions_are_not_judged() {
    let mut sessions = Sessions::new(Limits::default());
    hand(&mut sessions, Purpose::Judge, &past()[..10], 0);
    assert_eq!((sessions.finish(), sessions.cut()), (Vec::new(), None));
}

#[test]
fn streams_are_sessions_where_lines_have_no_key() {
    let mut sessions = Sessions::new(Limits::default());
    for n in 0..200i64 {
        for (step, line) in USUAL.iter().enumerate() {
            let line = Line { key: None, ts: n * SECOND, stream: (n % 50) as u64, line };
            let purpose = if n % 50 < 25 { Purpose::Learn } else { Purpose::Judge };
            assert!(step < 4 && sessions.add(purpose, &line).is_empty());
        }
    }
    let found = sessions.finish();
    assert_eq!((found.len(), sessions.name(), sessions.distinct()), (25, None, 1));
}

#[test]
fn nothing_grows_without_end() {
    let limits = Limits { open: 50, vectors: 64 };
    let mut sessions = Sessions::new(limits);
    let mut found = 0;
    for n in 0..20_000u64 {
        let word = |part: u64| (b'a' + (n / 7 * part % 23) as u8) as char;
        let text = format!("{}{} does {}{}", word(1), word(5), word(11), word(13));
        let line = Line { key: Some(n / 3), ts: n as Nanos * SECOND, stream: 0, line: &text };
        found += sessions.add(Purpose::Judge, &line).len();
    }
    assert!(found > 5_000 && sessions.distinct() <= 64, "{found}, {}", sessions.distinct());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_order_of_sessions_does_not_matter_for_all(
        kinds in prop::collection::vec(0usize..12, 30..120), seed in any::<u64>(),
    ) {
        let odd: [&[&str]; 3] =
            [&["request accepted", "gave up"], &["request accepted", "stock reserved"], &["order stored", "order stored"]];
        let of = |kind: usize| odd.get(kind).copied().unwrap_or(if kind.is_multiple_of(2) { &USUAL } else { &VARIANT });
        let all: Vec<(u64, &[&str])> = kinds.iter().enumerate().map(|(n, kind)| (n as u64, of(*kind))).collect();
        let mut turned = all.clone();
        turned.sort_by_key(|(key, _)| (key ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let scores = |all: &[(u64, &[&str])]| {
            let mut sessions = Sessions::new(Limits::default());
            hand(&mut sessions, Purpose::Learn, all, 0);
            sessions.finish();
            // Long after: nothing may still come.
            hand(&mut sessions, Purpose::Judge, all, 0);
            hand(&mut sessions, Purpose::Judge, &[(u64::MAX, &["request accepted"])], 1_000_000 * SECOND);
            let mut found: Vec<(u64, i64, bool)> = sessions.finish().iter()
                .filter(|one| one.key != u64::MAX)
                .map(|one| (one.key, (one.score * 1e6) as i64, one.alarm)).collect();
            found.sort_unstable();
            found
        };
        prop_assert_eq!(scores(&all), scores(&turned));
    }
}
