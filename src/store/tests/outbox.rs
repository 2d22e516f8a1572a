//! The rows of the outbox.

use super::*;

on_both!(
    order_is_kept_per_incident_and_receiver,
    dead_deliveries_stay_visible_and_block_nothing,
    a_message_that_cannot_be_read_is_given_up,
    a_day_bears_so_many_messages_also_after_a_restart,
);

async fn order_is_kept_per_incident_and_receiver(ground: Ground) {
    let store = ground.open().await;
    let a = |number, kind| transition(number, kind, incident("aaaa", T0, State::Firing));
    let (step, rows) = told(vec![a(1, TransitionKind::Opened), a(2, TransitionKind::Continued)]);
    write(&store, &step, &rows, T0).await;
    let (step, rows) = told(vec![transition(1, TransitionKind::Opened, incident("bbbb", T0, State::Firing))]);
    write(&store, &step, &rows, T0).await;

    let keys = async |receiver: &str, now| -> Vec<String> {
        let due = store.due_deliveries(receiver, now, 10).await.unwrap();
        due.into_iter().map(|delivery| delivery.notification.key).collect()
    };
    assert_eq!(keys("slack", T0).await, ["aaaa/1/slack", "bbbb/1/slack"]);
    assert_eq!(keys("slack", T0 - 1).await, [""; 0], "nothing before its time");
    assert_eq!(keys("nobody", T0).await, [""; 0]);

    // The first fails: the second of the same incident waits for it, another incident and receiver do not.
    let first = store.due_deliveries("slack", T0, 1).await.unwrap()[0].clone();
    store.delivery_retry(first.id, "503", (T0 + 1, T0 + MINUTE), T0 + 1).await.unwrap();
    assert_eq!(keys("slack", T0 + 2).await, ["bbbb/1/slack"]);
    assert_eq!(keys("github", T0 + 2).await, ["aaaa/1/github", "bbbb/1/github"]);
    let other = store.due_deliveries("slack", T0 + 2, 1).await.unwrap()[0].clone();
    store.delivery_sent(other.id, &Receipt::default(), T0 + 3).await.unwrap();
    assert_eq!(store.next_due("slack").await.unwrap(), Some(T0 + MINUTE), "not the time of those behind it");
    let again = store.due_deliveries("slack", T0 + MINUTE, 9).await.unwrap();
    assert_eq!((again.len(), again[0].attempts, again[0].first_try), (1, 1, Some(T0 + 1)));
    assert_eq!(again[0].error.as_deref(), Some("503"));

    // Sent: the second becomes due and knows the receipt of the first.
    let receipt = Receipt { id: Some("17".to_owned()), url: None };
    store.delivery_sent(first.id, &receipt, T0 + MINUTE).await.unwrap();
    let second = store.due_deliveries("slack", T0 + MINUTE, 9).await.unwrap();
    assert_eq!(second[0].notification.key, "aaaa/2/slack");
    assert_eq!(second[0].earlier, Some(receipt));
    store.delivery_postponed(second[0].id, T0 + HOUR, T0).await.unwrap();
    assert_eq!(store.next_due("slack").await.unwrap(), Some(T0 + HOUR));
    store.delivery_sent(second[0].id, &Receipt::default(), T0 + HOUR).await.unwrap();
    assert_eq!(store.next_due("slack").await.unwrap(), None);
}

async fn dead_deliveries_stay_visible_and_block_nothing(ground: Ground) {
    let store = ground.open().await;
    let a = |number, kind| transition(number, kind, incident("aaaa", T0, State::Firing));
    let (step, rows) = told(vec![a(1, TransitionKind::Opened), a(2, TransitionKind::Continued)]);
    write(&store, &step, &rows, T0).await;
    let first = store.due_deliveries("slack", T0, 1).await.unwrap()[0].clone();
    store.delivery_dead(first.id, "404 no such hook", T0 + 5).await.unwrap();
    store.delivery_retry(first.id, "late", (T0 + 9, T0 + 9), T0 + 9).await.unwrap();
    let listed = store.dead_deliveries(10).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [first.id]);
    let detail = store.incident("aaaa").await.unwrap().unwrap();
    let dead: Vec<_> = detail.deliveries.iter().filter(|row| row.state == DeliveryState::Dead).collect();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].error.as_deref(), dead[0].changed_at), (Some("404 no such hook"), T0 + 5));
    assert_eq!(store.deliveries_by_state().await.unwrap(), DeliveryCounts { pending: 3, sent: 0, dead: 1 });
    assert_eq!(store.due_deliveries("slack", T0, 9).await.unwrap()[0].notification.key, "aaaa/2/slack");
    let waiting = store.deliveries_waiting().await.unwrap();
    assert_eq!(waiting, [("github".to_owned(), 2), ("slack".to_owned(), 1)]);
    // Asked for, it is sent again from the start; twice does no harm.
    let revive = async |receiver, incident| store.deliveries_revive(receiver, incident, T0 + 10).await.unwrap();
    assert_eq!((revive(Some("github"), None).await, revive(None, Some("bbbb")).await), (0, 0));
    assert_eq!((revive(Some("slack"), Some("aaaa")).await, revive(None, None).await), (1, 0));
    let again = store.due_deliveries("slack", T0 + 10, 9).await.unwrap();
    assert_eq!((again[0].id, again[0].attempts, again[0].first_try), (first.id, 0, None));
    assert_eq!(store.dead_deliveries(10).await.unwrap(), []);
}

async fn a_message_that_cannot_be_read_is_given_up(ground: Ground) {
    let store = ground.open().await;
    let (step, rows) = told(vec![transition(1, TransitionKind::Opened, incident("aaaa", T0, State::Firing))]);
    write(&store, &step, &rows, T0).await;
    let spoil = Statement::plain("UPDATE deliveries SET links = '{' WHERE receiver = 'slack'");
    store.write("spoil", spoil).await.unwrap();
    assert_eq!(store.due_deliveries("slack", T0, 9).await.unwrap(), []);
    assert_eq!(store.deliveries_by_state().await.unwrap(), DeliveryCounts { pending: 1, sent: 0, dead: 1 });
    let github = store.due_deliveries("github", T0, 9).await.unwrap()[0].clone();
    store.delivery_dead(github.id, "404", T0).await.unwrap();
    assert_eq!(store.dead_deliveries(9).await.unwrap().len(), 1, "the other one is still shown");
}

async fn a_day_bears_so_many_messages_also_after_a_restart(ground: Ground) {
    let store = ground.open().await;
    let today = "2026-03-29";
    assert!(store.day_count("sms", today, "one", 2).await.unwrap());
    assert!(store.day_count("sms", today, "two", 2).await.unwrap());
    store.close().await.unwrap();
    let store = ground.open().await;
    assert!(!store.day_count("sms", today, "three", 2).await.unwrap());
    assert!(store.day_count("sms", today, "one", 2).await.unwrap(), "tried again, it is the same message");
    assert!(store.day_count("sms", "2026-03-30", "three", 2).await.unwrap(), "another day");
    assert!(store.day_count("phone", today, "three", 2).await.unwrap(), "another receiver");
    store.day_uncount("sms", today, "two").await.unwrap();
    assert!(store.day_count("sms", today, "three", 2).await.unwrap());
    let rows = |all: Vec<String>| all.iter().filter(|row| row.starts_with("days")).count();
    assert_eq!(rows(ground.content().await), 4);
    store.prune(1_775_476_800 * SECOND, &StoreConfig::default()).await.unwrap();
    assert_eq!(rows(ground.content().await), 1, "a week later");
}
