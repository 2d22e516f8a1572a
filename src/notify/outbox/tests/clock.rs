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
            // What happens while nobody looks cannot be told from a long stop.
            running.stop().await;
            world.now.fetch_add(hours / 6 * HOUR, Ordering::SeqCst);
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
