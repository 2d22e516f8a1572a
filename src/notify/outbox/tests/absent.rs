//! Messages for a receiver that the settings no longer have.

use super::*;

/// What waits for slack, which is gone.
async fn rows(world: &World) -> Vec<crate::store::Delivery> {
    let all = world.store.incident("aa").await.unwrap().unwrap().deliveries;
    all.into_iter().filter(|row| row.receiver == "slack").collect()
}

/// Waits until somebody has looked after what waits, as the clock shows it now.
async fn looked_after(world: &World, running: &Running) {
    let now = world.now.load(Ordering::SeqCst);
    world
        .until(running, 0, async || {
            let looked = |row: &crate::store::Delivery| row.first_try.is_some() && row.changed_at == now;
            rows(world).await.iter().all(|row| row.state == DeliveryState::Dead || looked(row))
        })
        .await;
}

async fn without_slack() -> World {
    let mut world = World::new().await;
    world.tell("aa", 1).await;
    world.scripts.remove("slack");
    world
}

#[tokio::test]
async fn they_are_given_up_after_a_day_in_which_a_sigyn_ran() {
    let world = without_slack().await;
    let running = world.start();
    looked_after(&world, &running).await;
    let start = world.now.load(Ordering::SeqCst);
    // Something younger is not given up with it.
    for minutes in [0, 23 * 60] {
        while world.now.load(Ordering::SeqCst) - start < minutes * MINUTE {
            world.now.fetch_add(10 * MINUTE, Ordering::SeqCst);
            looked_after(&world, &running).await;
        }
        assert_eq!(rows(&world).await[0].state, DeliveryState::Pending, "after {minutes} min");
    }
    world.tell("aa", 2).await;
    while rows(&world).await[0].state == DeliveryState::Pending {
        world.now.fetch_add(10 * MINUTE, Ordering::SeqCst);
        looked_after(&world, &running).await;
    }
    let after = world.now.load(Ordering::SeqCst) - start;
    running.stop().await;
    assert!((24 * HOUR..25 * HOUR).contains(&after), "after {} min", after / MINUTE);
    let rows = rows(&world).await;
    assert_eq!(rows[0].error.as_deref(), Some("`slack` is not in the settings any more"));
    assert_eq!(rows[1].state, DeliveryState::Pending);
}

#[tokio::test]
async fn each_row_is_written_once_a_minute_at_most() {
    let world = without_slack().await;
    let running = world.start();
    looked_after(&world, &running).await;
    let first = rows(&world).await;
    world.now.fetch_add(MINUTE / 2, Ordering::SeqCst);
    world.tell("aa", 2).await;
    world.until(&running, 0, async || rows(&world).await[1].first_try.is_some()).await;
    running.stop().await;
    assert_eq!(rows(&world).await[0], first[0]);
}

#[tokio::test]
async fn a_receiver_that_comes_back_gets_them() {
    let mut world = without_slack().await;
    let running = world.start();
    looked_after(&world, &running).await;
    running.stop().await;
    world.now.fetch_add(25 * HOUR, Ordering::SeqCst);
    world.scripts.insert("slack", Arc::new(Mutex::new(Script { next: VecDeque::new(), then: Answer::Take })));
    let running = world.start();
    world.until_drained(&running, 0).await;
    running.stop().await;
    assert_eq!(world.keys("slack"), ["aa/1/slack"]);
}

#[tokio::test]
async fn neither_stops_nor_a_clock_that_is_set_make_them_old() {
    let world = without_slack().await;
    let mut running = world.start();
    looked_after(&world, &running).await;
    for hours in [25, 24 * 365 * 10, -30, 25, 25] {
        running.stop().await;
        world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
        running = world.start();
        looked_after(&world, &running).await;
        world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
        looked_after(&world, &running).await;
        // An hour of the twenty-four.
        for _ in 0..6 {
            world.now.fetch_add(10 * MINUTE, Ordering::SeqCst);
            looked_after(&world, &running).await;
        }
    }
    running.stop().await;
    assert_eq!(rows(&world).await[0].state, DeliveryState::Pending);
}

#[tokio::test]
async fn who_may_not_send_leaves_them_alone() {
    let world = without_slack().await;
    let wake = Arc::new(Notify::new());
    let outbox = Outbox::<Fake> {
        store: world.store.clone(),
        receivers: Vec::new(),
        wake: Arc::clone(&wake),
        clock: Arc::new(|| T0 + 48 * HOUR),
        policy: world.policy,
        may: Arc::new(|| false),
    };
    let before = rows(&world).await;
    let mut absent = Absent::new(&outbox);
    absent.pass().await.unwrap();
    assert_eq!(rows(&world).await, before);
}
