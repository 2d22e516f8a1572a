//! Leases: one holder at a time, and a fence against those that do not know that they are late.

use std::time::Duration;

use super::*;

on_both!(
    a_new_holder_gets_the_next_token_and_the_old_one_writes_nothing,
    what_is_given_back_is_free_at_once_and_its_token_goes_on,
);

const LONG: Duration = Duration::from_secs(3600);

async fn write_as(store: &Store, fence: &Fence, key: &str) -> Result<(), StoreError> {
    let state = [(key.to_owned(), Some("document".to_owned()))];
    store.commit_dispatch(&Dispatched { state: &state, fence: Some(fence), ..Dispatched::default() }).await?;
    let step = Step { watch: Some(Arc::from(key)), done_until: T0, ..Step::default() };
    store.commit(&Commit { step: &step, source_state: None, fence: Some(fence) }).await
}

/// Asks until the lease is free.
async fn taken(store: &Store, name: &str, holder: &str) -> Fence {
    loop {
        if let Some(fence) = store.lease(name, holder, LONG).await.unwrap() {
            return fence;
        }
        tokio::task::yield_now().await;
    }
}

async fn a_new_holder_gets_the_next_token_and_the_old_one_writes_nothing(ground: Ground) {
    let store = ground.open().await;
    let first = store.lease("watch/all", "one", Duration::from_millis(50)).await.unwrap().unwrap();
    assert_eq!(first, Fence { name: "watch/all".to_owned(), token: 1 });
    write_as(&store, &first, "before").await.unwrap();
    let second = taken(&store, "watch/all", "two").await;
    assert_eq!(second.token, 2);
    assert!(matches!(write_as(&store, &first, "late").await, Err(StoreError::Fenced { .. })));
    write_as(&store, &second, "after").await.unwrap();
    let written: Vec<_> = store.dispatch_state().await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(written, ["after", "before"]);
    assert_eq!(store.watch_names().await.unwrap(), ["after", "before"]);
    // The old holder finds out.
    assert_eq!(store.renew_leases("one", LONG).await.unwrap(), []);
    assert_eq!(store.renew_leases("two", LONG).await.unwrap(), std::slice::from_ref(&second));
    let lease = Lease { name: "watch/all".to_owned(), holder: "two".to_owned(), live: true };
    assert_eq!(store.leases().await.unwrap(), [lease]);
}

async fn what_is_given_back_is_free_at_once_and_its_token_goes_on(ground: Ground) {
    let store = ground.open().await;
    let first = store.lease("dispatch", "one", LONG).await.unwrap().unwrap();
    store.release(&first).await.unwrap();
    assert!(!store.leases().await.unwrap()[0].live);
    let second = store.lease("dispatch", "two", LONG).await.unwrap().unwrap();
    assert_eq!(second.token, 2);
    // Giving back what another has now changes nothing.
    store.release(&first).await.unwrap();
    assert_eq!(store.renew_leases("two", LONG).await.unwrap(), std::slice::from_ref(&second));
    // Its answer was lost and it asks again: the lease is its own, with a token that is sure to be new.
    assert_eq!(store.lease("dispatch", "two", LONG).await.unwrap().unwrap().token, 3);
    assert_eq!(store.forget_leases("disp").await.unwrap(), 0, "not before a day has passed");
}

#[tokio::test]
async fn on_a_server_nobody_takes_what_another_holds() {
    let Some(ground) = Ground::server() else { return };
    let (one, two) = (ground.open().await, ground.open().await);
    let fence = one.lease("watch/all", "one", LONG).await.unwrap().unwrap();
    assert_eq!(two.lease("watch/all", "two", LONG).await.unwrap(), None);
    assert!(two.lease("watch/other", "two", LONG).await.unwrap().is_some());
    assert_eq!(one.renew_leases("one", LONG).await.unwrap(), [fence]);
}

#[tokio::test]
async fn who_stops_in_the_middle_of_a_transaction_keeps_nobody_from_its_lease_for_long() {
    let Some(ground) = Ground::server() else { return };
    let (one, two) = (ground.open().await, ground.open().await);
    let fence = one.lease("watch/all", "one", Duration::ZERO).await.unwrap().unwrap();
    // As a process that is paused there: the transaction has read the lease, and holds it.
    let mut paused = one.writer("pause").await.unwrap();
    paused.begin().await.unwrap();
    assert!(dispatch_holds(&mut paused, &fence).await);
    // From here on: a busy machine may let it wait between the two.
    paused.run(Statement::plain("SET idle_in_transaction_session_timeout = '200ms'")).await.unwrap();
    assert_eq!(two.lease("watch/all", "two", LONG).await.unwrap().unwrap().token, 2);
    paused.commit().await.unwrap_err();
    drop(paused);
    assert!(matches!(write_as(&one, &fence, "late").await, Err(StoreError::Fenced { .. })));
}

async fn dispatch_holds(link: &mut crate::store::link::Link, fence: &Fence) -> bool {
    crate::store::dispatch::holds(link, Some(fence)).await.unwrap()
}

#[tokio::test]
async fn a_server_that_goes_away_and_comes_back_is_found_again() {
    let Some(server) = server::Server::start() else { return };
    let place = || Place::server(&Secret::new(server.url("postgres"))).unwrap();
    let store = Store::open(place()).await.unwrap();
    let (step, rows) = told(vec![transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing))]);
    write(&store, &step, &rows, T0).await;
    for _ in 0..2 {
        server.run(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        );
        // Readers are made anew by themselves; a commit is tried again by its caller.
        assert_eq!(store.incidents(None, 9, None).await.unwrap().len(), 1);
        let commit = Commit { step: &step, source_state: None, fence: None };
        let first = store.commit(&commit).await;
        assert!(matches!(first, Err(StoreError::Away { .. })), "{first:?}");
        store.commit(&commit).await.unwrap();
    }
    assert_eq!(store.queued(9).await.unwrap().len(), 1);
    drop(server);
    let mut told = store.queued(9).await;
    while told.is_ok() {
        told = store.queued(9).await;
    }
    let told = told.unwrap_err().to_string();
    assert!(told.contains("is PostgreSQL running there") && !told.contains("secret"), "{told}");
}
