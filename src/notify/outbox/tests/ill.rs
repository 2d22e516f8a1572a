//! A receiver that fails is an incident of its own.

use super::*;

#[tokio::test]
async fn a_receiver_that_fails_for_long_is_said_once_and_taken_back_even_after_a_restart() {
    let world = World::new().await;
    world.script("slack", [], Answer::Retry(None));
    world.tell("aa", 1).await;
    let running = world.start();
    world.until(&running, SECOND, async || !world.said().await.is_empty()).await;
    assert!(world.now.load(Ordering::SeqCst) - T0 >= 5 * MINUTE);
    let asked = world.calls("slack").len();
    world.until(&running, 10 * SECOND, async || world.calls("slack").len() > asked + 2).await;
    assert_eq!(world.said().await, [("slack".to_owned(), true)]);
    running.stop().await;

    world.script("slack", [], Answer::Take);
    let running = world.start();
    world.until_drained(&running, 10 * SECOND).await;
    world.until(&running, SECOND, async || world.said().await.len() > 1).await;
    running.stop().await;
    assert_eq!(world.said().await, [("slack".to_owned(), true), ("slack".to_owned(), false)]);
}

#[tokio::test]
async fn a_lost_message_makes_the_receiver_ill_even_when_nothing_follows() {
    let world = World::new().await;
    world.script("slack", [Answer::GiveUp], Answer::Take);
    world.tell("aa", 1).await;
    let running = world.start();
    world.until(&running, SECOND, async || !world.said().await.is_empty()).await;
    let command = world.store.pending_commands().await.unwrap().remove(0);
    assert!(command.at - world.calls("slack")[0].at >= 5 * MINUTE);
    let CommandKind::Internal { problem, on, firing, detail, .. } = command.kind else { panic!("{command:?}") };
    assert_eq!((problem.as_str(), on.as_str(), firing), ("receiver", "slack", true));
    let detail = detail.replace(&rfc3339(world.calls("slack")[0].at), "<then>");
    insta::assert_snapshot!(
        detail,
        @"slack has taken no message since <then>: 404 from it. What it may still take is tried again for 24 h, what it refuses is given up; check its settings under `notify`, and whether it can be reached from here."
    );

    world.tell("sigyn", 1).await;
    world.until(&running, SECOND, async || world.said().await.len() > 1).await;
    running.stop().await;
    assert_eq!(world.said().await[1], ("slack".to_owned(), false), "its own message shows that it works");
}
