//! What a receiver bears: by the second, the hour and the day.

use super::*;

#[tokio::test]
async fn limits_hold_and_follow_ups_pass_what_waits_to_be_created() {
    let mut world = World::new().await;
    let per_hour = Quota { count: 2, per: Duration::from_secs(3600) };
    world.limits = Limits { sends: Quota { count: 1, per: Duration::from_secs(2) }, creations: Some(per_hour) };
    for incident in ["aa", "bb", "cc", "dd", "ee"] {
        world.tell(incident, 1).await;
    }
    world.tell("aa", 2).await;
    let running = world.start();
    world.until(&running, SECOND / 2, async || world.calls("github").len() == 3).await;
    assert_eq!(world.keys("github"), ["aa/1/github", "bb/1/github", "aa/2/github"]);
    world.until_drained(&running, MINUTE).await;
    running.stop().await;
    let calls = world.calls("github");
    assert!(calls.windows(2).all(|two| two[1].at - two[0].at >= 2 * SECOND), "{calls:?}");
    let created: Vec<_> = calls.iter().filter(|call| call.earlier.is_none()).map(|call| call.at).collect();
    assert_eq!(created.len(), 5);
    assert!(created.windows(3).all(|three| three[2] - three[0] >= HOUR), "{created:?}");
}

#[tokio::test]
async fn a_daily_cap_counts_by_the_calendar_and_outlives_a_restart() {
    let mut world = World::new().await;
    let zone = crate::notify::zone::Zone::named("Asia/Kathmandu").unwrap();
    world.daily = Some(Daily { cap: 2, zone, counts: |kind| kind == TransitionKind::Opened });
    world.script("slack", [Answer::Retry(None), Answer::Take, Answer::GiveUp], Answer::Take);
    let dead = async || {
        let dead = world.store.dead_deliveries(99).await.unwrap();
        dead.into_iter().filter(|row| row.receiver == "slack").map(|row| row.error.unwrap()).collect::<Vec<_>>()
    };
    // One is tried twice, and one is refused: two that count.
    let running = world.start();
    for incident in ["aa", "bb", "cc"] {
        world.tell(incident, 1).await;
        world.until_drained(&running, SECOND).await;
    }
    running.stop().await;
    assert_eq!(dead().await, ["404 from it"]);
    // Another process, the same day.
    let running = world.start();
    world.tell("dd", 1).await;
    world.tell("aa", 2).await;
    world.until_drained(&running, SECOND).await;
    assert_eq!(dead().await, ["404 from it", "as many as daily_cap allows were sent on this day"]);
    assert_eq!(world.keys("slack").last().unwrap(), "aa/2/slack", "this kind costs nothing");
    running.stop().await;
    // T0 is 22:13:20 in UTC, and 03:58:20 of the next day there.
    for (later, sent) in [(20 * HOUR, false), (20 * HOUR + 2 * MINUTE, true)] {
        world.now.store(T0 + later, Ordering::SeqCst);
        let incident = if sent { "ff" } else { "ee" };
        world.tell(incident, 1).await;
        let running = world.start();
        world.until_drained(&running, 1).await;
        running.stop().await;
        assert_eq!(world.keys("slack").contains(&format!("{incident}/1/slack")), sent, "{incident}");
    }
}
