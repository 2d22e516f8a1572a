//! One message after the other: order, retries, giving up, restarts.

use super::*;

#[test]
fn pauses_grow_stay_within_bounds_and_can_be_repeated() {
    let policy = Policy::default();
    for id in 0..200 {
        for failures in 1..200 {
            let ceiling = Duration::from_secs(1 << failures.min(10)).min(policy.longest);
            let pause = policy.pause(id, failures);
            assert!(policy.first <= pause && pause <= ceiling, "{id} {failures} {pause:?}");
            assert_eq!(pause, policy.pause(id, failures));
        }
    }
    let mean = (0..1000).map(|id| policy.pause(id, 20).as_secs_f64()).sum::<f64>() / 1000.0;
    assert!((250.0..350.0).contains(&mean), "full jitter: about half of the longest, {mean}");
}

#[tokio::test]
async fn all_reaches_everybody_once_and_in_order() {
    let world = World::new().await;
    let running = world.start();
    for number in 1..=3 {
        for incident in ["aa", "bb"] {
            world.tell(incident, number).await;
            running.wake.notify_one();
        }
    }
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    for receiver in RECEIVERS {
        let calls = world.calls(receiver);
        assert_eq!(calls.len(), 6);
        for incident in ["aa", "bb"] {
            let of: Vec<_> = calls.iter().filter(|call| call.key.starts_with(incident)).collect();
            let keys: Vec<_> = of.iter().map(|call| call.key.clone()).collect();
            let first = format!("{incident}/1/{receiver}");
            assert_eq!(keys, [first.clone(), format!("{incident}/2/{receiver}"), format!("{incident}/3/{receiver}")]);
            let earlier: Vec<_> = of.iter().map(|call| call.earlier.clone()).collect();
            assert_eq!(earlier, [None, Some(first.clone()), Some(first)], "the receipt of the first message");
        }
    }
}

#[tokio::test]
async fn retries_until_it_is_taken_and_counts_it() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new().await;
    world.script("slack", [Answer::Retry(None); 3], Answer::Take);
    world.tell("aa", 1).await;
    let running = world.start();
    world.until_drained(&running, SECOND / 4).await;
    world.until(&running, 0, async || rendered.render().contains("sigyn_outbox_pending 0\n")).await;
    running.stop().await;
    let calls = world.calls("slack");
    assert_eq!(world.keys("slack"), ["aa/1/slack"; 4], "the same key in every retry");
    assert!(calls.windows(2).all(|two| two[1].at - two[0].at >= SECOND), "{calls:?}");
    let row = &world.store.incident("aa").await.unwrap().unwrap().deliveries[1];
    assert_eq!((row.state, row.attempts, row.error.clone()), (DeliveryState::Sent, 4, None));
    let text = rendered.render();
    let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with("sigyn_")).collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    sigyn_deliveries_total{receiver="github",outcome="sent",reason="ok"} 1
    sigyn_deliveries_total{receiver="slack",outcome="retry",reason="server"} 3
    sigyn_deliveries_total{receiver="slack",outcome="sent",reason="ok"} 1
    sigyn_outbox_pending 0
    "#);
}

#[tokio::test]
async fn what_will_never_work_is_given_up_at_once() {
    let world = World::new().await;
    world.script("slack", [Answer::GiveUp], Answer::Take);
    world.tell("aa", 1).await;
    world.tell("aa", 2).await;
    let running = world.start();
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    assert_eq!(world.keys("slack"), ["aa/1/slack", "aa/2/slack"]);
    let rows = world.store.incident("aa").await.unwrap().unwrap().deliveries;
    let dead: Vec<_> = rows.iter().filter(|row| row.state == DeliveryState::Dead).collect();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].error.as_deref(), Some("404 from it"));
    assert_eq!(world.calls("slack")[1].earlier, None, "a message that was never taken is no earlier one");
}

#[tokio::test]
async fn after_a_day_a_message_is_given_up() {
    let world = World::new().await;
    world.script("slack", [], Answer::Retry(None));
    world.tell("aa", 1).await;
    let running = world.start();
    world.until_drained(&running, 5 * MINUTE).await;
    running.stop().await;
    let calls = world.calls("slack");
    let tried_for = calls[calls.len() - 1].at - T0;
    assert!(tried_for >= 23 * HOUR, "{} h", tried_for / HOUR);
    let row = &world.store.incident("aa").await.unwrap().unwrap().deliveries[1];
    let message = format!("given up after {} attempts: 503 from it", calls.len());
    assert_eq!((row.state, row.error.clone()), (DeliveryState::Dead, Some(message)));
}

#[tokio::test]
async fn a_pause_that_the_receiver_asks_for_holds_for_all_its_messages() {
    let world = World::new().await;
    world.script("slack", [Answer::Retry(Some(Duration::from_secs(90)))], Answer::Take);
    world.tell("aa", 1).await;
    world.tell("bb", 1).await;
    let running = world.start();
    world.until(&running, 0, async || world.calls("github").len() == 2 && world.calls("slack").len() == 1).await;
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    let calls = world.calls("slack");
    assert_eq!(calls.len(), 3);
    assert!(calls[1].at - calls[0].at >= 90 * SECOND, "{calls:?}");
}

#[tokio::test]
async fn a_receiver_that_fails_or_hangs_blocks_no_other() {
    for then in [Answer::Retry(None), Answer::GiveUp, Answer::Hang] {
        let world = World::new().await;
        world.script("slack", [], then);
        for number in 1..=3 {
            world.tell("aa", number).await;
        }
        let running = world.start();
        // The clock stands still: all of github's goes out without a pause.
        world.until(&running, 0, async || world.calls("github").len() == 3).await;
        running.stop().await;
        assert_eq!(world.keys("github"), ["aa/1/github", "aa/2/github", "aa/3/github"]);
        assert_eq!(world.keys("slack"), ["aa/1/slack"]);
    }
}

#[tokio::test]
async fn no_answer_is_a_failure() {
    let mut world = World::new().await;
    world.policy.timeout = Duration::from_millis(5);
    world.script("slack", [Answer::Hang], Answer::Take);
    world.tell("aa", 1).await;
    let running = world.start();
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    assert_eq!(world.keys("slack"), ["aa/1/slack"; 2]);
}

#[tokio::test]
async fn a_restart_goes_on_and_a_kill_repeats_with_the_same_key() {
    let world = World::new().await;
    world.script("slack", [Answer::Hang], Answer::Take);
    world.tell("aa", 1).await;
    world.tell("aa", 2).await;
    let running = world.start();
    world.until(&running, 0, async || world.calls("slack").len() == 1 && world.calls("github").len() == 2).await;
    running.kill().await;

    // Another process, on the same folder.
    world.store.close().await.unwrap();
    let world = World { store: Store::open(world.dir.path()).await.unwrap(), ..world };
    let running = world.start();
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    assert_eq!(world.keys("slack"), ["aa/1/slack", "aa/1/slack", "aa/2/slack"]);
    assert_eq!(world.keys("github").len(), 2, "what was answered is not repeated");
}

#[tokio::test]
async fn a_shutdown_lets_running_requests_end_and_starts_no_other() {
    let mut world = World::new().await;
    world.policy.grace = Duration::from_secs(20);
    world.script("slack", [Answer::Gate], Answer::Take);
    world.tell("aa", 1).await;
    world.tell("aa", 2).await;
    let running = world.start();
    world.until(&running, 0, async || world.calls("slack").len() == 1).await;
    running.stop.cancel();
    world.gate.notify_one();
    running.stop().await;
    assert_eq!(world.keys("slack"), ["aa/1/slack"]);
    let rows = world.store.incident("aa").await.unwrap().unwrap().deliveries;
    let states: BTreeMap<_, _> = rows.iter().map(|row| (row.notification.key.as_str(), row.state)).collect();
    assert_eq!(states["aa/1/slack"], DeliveryState::Sent);
    assert_eq!(states["aa/2/slack"], DeliveryState::Pending);
}
