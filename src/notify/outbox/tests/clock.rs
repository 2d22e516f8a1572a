//! Clocks that are wrong for a while.

use super::*;

#[tokio::test]
async fn what_was_used_in_a_time_that_has_not_come_yet_holds_nothing_back() {
    let mut world = World::new().await;
    world.limits = Limits { sends: Quota { count: 1, per: Duration::from_secs(2) }, creations: None };
    let running = world.start();
    world.tell("aa", 1).await;
    world.until_drained(&running, SECOND).await;
    world.now.fetch_sub(5 * HOUR, Ordering::SeqCst);
    let back = world.now.load(Ordering::SeqCst);
    world.tell("bb", 1).await;
    world.until_drained(&running, SECOND).await;
    // Two seconds are enough, and the five hours of the jump would be too many; a busy machine lets some pass in between.
    assert!(world.now.load(Ordering::SeqCst) - back < HOUR);
    running.stop().await;
}

#[tokio::test]
async fn time_in_which_nobody_tried_does_not_make_a_message_old() {
    let world = World::new().await;
    world.script("slack", [Answer::Retry(None); 3], Answer::Take);
    world.tell("aa", 1).await;
    let running = world.start();
    world.until(&running, SECOND, async || world.calls("slack").len() >= 2).await;
    // Years: the clock had stood at the beginning of its time.
    world.now.fetch_add(1_000 * 24 * HOUR, Ordering::SeqCst);
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    assert_eq!(world.store.deliveries_by_state().await.unwrap().dead, 0);
}

#[tokio::test]
async fn a_clock_that_is_set_while_a_request_is_under_way_makes_no_message_old() {
    let world = World::new().await;
    world.script("slack", [Answer::Retry(None), Answer::GateRetry], Answer::Take);
    world.tell("aa", 1).await;
    let running = world.start();
    world.until(&running, SECOND, async || world.calls("slack").len() == 2).await;
    world.now.fetch_add(1_000 * 24 * HOUR, Ordering::SeqCst);
    world.gate.notify_one();
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    let counts = world.store.deliveries_by_state().await.unwrap();
    assert_eq!((counts.sent, counts.dead), (2, 0));
}

/// What happens to a message that nobody takes.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// It is tried so often.
    Run(usize),
    /// The clock is set by so many hours.
    Jump(i64),
    /// Nothing runs, while the clock goes on or is set by so many hours; a second start may follow at once.
    Stop(i64, bool),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let hours = || prop_oneof![3 => 1..30i64, 1 => Just(24 * 365 * 10), 1 => -30..0i64];
    let turn = prop_oneof![
        2 => (1..9usize).prop_map(Turn::Run),
        1 => hours().prop_map(Turn::Jump),
        2 => (hours(), any::<bool>()).prop_map(|(hours, twice)| Turn::Stop(hours, twice)),
    ];
    proptest::collection::vec(turn, 1..9)
}

/// However long sigyn stood still and however the clock was set: a message that was tried for less than a day is not given
/// up, and the time in which it was tried counts.
async fn check_patience(turns: Vec<Turn>) {
    let world = World::new().await;
    world.script("slack", [], Answer::Retry(None));
    world.tell("aa", 1).await;
    let mut running = world.start();
    world.until(&running, 0, async || world.calls("slack").len() == 1).await;
    for turn in turns {
        match turn {
            Turn::Run(times) => {
                for _ in 0..times {
                    world.try_again(&running).await;
                }
            }
            Turn::Jump(hours) => {
                world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
            }
            Turn::Stop(hours, twice) => {
                running.stop().await;
                world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
                if twice {
                    world.start().stop().await;
                }
                running = world.start();
            }
        }
        // All in all less than 8 times 9 times 11 minutes.
        world.try_again(&running).await;
    }
    running.stop().await;
    assert_eq!(world.store.deliveries_by_state().await.unwrap().dead, 0);
    let row = &world.store.incident("aa").await.unwrap().unwrap().deliveries[1];
    assert!(row.first_try.unwrap() <= row.changed_at, "{row:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_time_in_which_it_was_tried_makes_a_message_old(turns in turns()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_patience(turns));
    }
}

#[tokio::test]
async fn stops_between_attempts_do_not_keep_a_message_for_ever() {
    let world = World::new().await;
    world.script("slack", [], Answer::Retry(None));
    world.tell("aa", 1).await;
    let mut tried = 0;
    // Restarted again and again, and away for ten hours each time: what counts are the times between.
    while world.store.deliveries_by_state().await.unwrap().dead == 0 {
        let running = world.start();
        for _ in 0..9 {
            world.try_again(&running).await;
        }
        running.stop().await;
        world.now.fetch_add(10 * HOUR, Ordering::SeqCst);
        tried += 9 * 11;
        assert!(tried < 40 * 60, "tried for {tried} minutes");
    }
    assert!(tried > 20 * 60, "given up after {tried} minutes");
}

/// The clock is set, to and fro, while receivers fail; the back-off and the limits are what they are in the end.
async fn check_jumps(answers: Vec<Answer>, jumps: Vec<(i64, bool)>) {
    let mut world = World::new().await;
    let creations = Some(Quota { count: 4, per: Duration::from_secs(60) });
    world.limits = Limits { sends: Quota { count: 1, per: Duration::from_secs(1) }, creations };
    let failures = answers.iter().filter(|answer| matches!(answer, Answer::Retry(_))).count();
    world.script("slack", answers, Answer::Take);
    let mut running = world.start();
    let mut told = 0_u64;
    for (hours, restart) in jumps {
        told += 1;
        world.tell(["aa", "bb"][usize::from(told.is_multiple_of(2))], told.div_ceil(2)).await;
        running.wake.notify_one();
        let end = world.now.load(Ordering::SeqCst) + 4 * SECOND;
        world.until(&running, SECOND, async || world.now.load(Ordering::SeqCst) >= end).await;
        if restart {
            running.stop().await;
            world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
            running = world.start();
        } else {
            world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
        }
    }
    // From here on everything is taken, so nothing may wait longer than the longest pause that was planned before.
    world.script("slack", [], Answer::Take);
    let start = world.now.load(Ordering::SeqCst);
    world.until_drained(&running, 5 * SECOND).await;
    let waited = world.now.load(Ordering::SeqCst) - start;
    running.stop().await;
    // Some time passes while a busy machine writes.
    let longest = Nanos::try_from(world.policy.longest.as_nanos()).unwrap() + 40 * MINUTE;
    assert!(waited <= longest, "{} s", waited / SECOND);
    let counts = world.store.deliveries_by_state().await.unwrap();
    assert_eq!((counts.sent, counts.pending), (2 * told - counts.dead, 0));
    let keys = world.keys("slack");
    assert!(keys.len() <= usize::try_from(told).unwrap() + failures, "{keys:?}");
    for incident in ["aa", "bb"] {
        let mut seen: Vec<_> = keys.iter().filter(|key| key.starts_with(incident)).cloned().collect();
        seen.dedup();
        let expected: Vec<_> = (1..=seen.len()).map(|number| format!("{incident}/{number}/slack")).collect();
        assert_eq!(seen, expected, "each, in order");
    }
    let dead = world.store.dead_deliveries(99).await.unwrap();
    assert!(dead.iter().all(|row| row.error.as_deref() == Some("404 from it")), "none is too old: {dead:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_clock_that_jumps_loses_doubles_and_stalls_nothing(
        answers in answers(),
        jumps in proptest::collection::vec((-12..=12i64, any::<bool>()), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_jumps(answers, jumps));
    }
}
