//! What one step writes, and what a restart finds again.

use super::*;

on_both!(
    a_story_of_one_watch,
    what_changed_is_written_and_the_whole_comes_back,
    commands_wait_until_a_step_has_carried_them_out,
    the_same_commit_twice_changes_nothing_more,
    a_commit_that_is_dropped_half_way_leaves_nothing,
    numbers_that_json_does_not_know_can_still_be_read,
);

async fn a_story_of_one_watch(ground: Ground) {
    let store = ground.open().await;
    assert_eq!(store.watch_state("all").await.unwrap(), None);

    let opened = transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing));
    let (mut step, rows) = told(vec![opened.clone()]);
    step.windows = vec![window("cart", 0, 0), window("cart", 1, 0), window("cart", 0, 1), window("pay", 0, 0)];
    step.gaps = vec![Gap { range: TimeRange::new(T0, T0 + 1), lines: None, reason: GapReason::FullNanosecond }];
    step.carry = Some("open windows".to_owned());
    step.patterns = Some(b"templates, templates".to_vec());
    step.snapshots = vec![Snapshot { group: group("cart").fingerprint, until: T0, model: "v1 one".to_owned() }];
    store.commit(&Commit { step: &step, source_state: Some("limits"), fence: None }).await.unwrap();
    tell(&store, &rows, T0 + HOUR).await;

    // A later step that has nothing new of the states keeps them, and replaces the model.
    let model = Snapshot { group: group("cart").fingerprint, until: T0 + MINUTE, model: "v1 two".to_owned() };
    let quiet = Step {
        watch: Some(Arc::from("all")),
        done_until: T0 + MINUTE,
        snapshots: vec![model.clone()],
        ..Step::default()
    };
    write(&store, &quiet, &[], T0 + HOUR).await;
    store.close().await.unwrap();
    assert!(matches!(store.watch_state("all").await, Err(StoreError::Closed { .. })));

    let store = ground.open().await;
    let state = WatchState {
        done_until: T0 + MINUTE,
        source_state: Some("limits".to_owned()),
        carry: Some("open windows".to_owned()),
        patterns: Some(b"templates, templates".to_vec()),
    };
    assert_eq!(store.watch_state("all").await.unwrap(), Some(state));
    assert_eq!(store.snapshots("all").await.unwrap(), [model]);
    let cart = group("cart").fingerprint;
    let all = store.windows_since("all", cart, Nanos::MIN).await.unwrap();
    assert_eq!(all, [window("cart", 0, 0), window("cart", 1, 0)], "first revisions only, bit for bit");
    assert_eq!(store.windows_since("all", cart, T0 + MINUTE).await.unwrap(), [window("cart", 1, 0)]);
    assert_eq!(store.windows_since("other", cart, Nanos::MIN).await.unwrap(), []);
    assert_eq!(store.windows_all_since("all", Nanos::MIN).await.unwrap().len(), 3);

    let detail = store.incident("00").await.unwrap().unwrap();
    assert_eq!(detail.incident, opened.incident);
    assert_eq!(detail.transitions, std::slice::from_ref(&opened));
    assert_eq!(detail.deliveries.len(), 2);
    assert_eq!(detail.deliveries[1].notification, rows[1].notification);
    assert_eq!(store.incident("00b").await.unwrap(), None);
}

/// A document of a watch that changes a little with each step.
fn document(step: i64) -> String {
    (0..500).map(|n| format!("[{n},{}],", 1_000 + (step + n) % 7 * 100)).collect()
}

async fn what_changed_is_written_and_the_whole_comes_back(ground: Ground) {
    let mut store = ground.open().await;
    let bytes = "SELECT COALESCE(SUM(LENGTH(bytes)), 0) AS n FROM chains";
    let mut sizes = Vec::new();
    for number in 0..300 {
        let (carry, patterns) = (document(number), document(2 * number).into_bytes());
        let step = Step {
            watch: Some(Arc::from("all")),
            done_until: T0 + number,
            carry: Some(carry.clone()),
            patterns: if number % 3 == 0 { None } else { Some(patterns.clone()) },
            ..Step::default()
        };
        write(&store, &step, &[], T0).await;
        if number % 7 == 0 {
            // Written twice, as when nobody knows whether it was committed.
            write(&store, &step, &[], T0).await;
        }
        if number % 90 == 50 {
            store.close().await.unwrap();
            store = ground.open().await;
        }
        let state = store.watch_state("all").await.unwrap().unwrap();
        assert_eq!(state.carry.as_deref(), Some(carry.as_str()), "{number}");
        if number % 3 > 0 {
            assert_eq!(state.patterns.as_deref(), Some(patterns.as_slice()), "{number}");
        }
        let held = store.read("look", Statement::plain(bytes), |row| row.get::<i64>("n")).await.unwrap();
        sizes.push(held[0]);
    }
    assert!(sizes.iter().all(|size| *size < 4 * sizes[1]), "it stays bounded: {sizes:?}");
    // Who comes back after another has written does not go on behind what he does not know.
    let other = Step { watch: Some(Arc::from("all")), carry: Some("of another".to_owned()), ..Step::default() };
    let theirs = Statement::plain("DELETE FROM chains");
    store.write("change", theirs).await.unwrap();
    write(&store, &other, &[], T0).await;
    assert_eq!(store.watch_state("all").await.unwrap().unwrap().carry.as_deref(), Some("of another"));
    // A damaged row is left aside.
    store.write("change", Statement::plain("UPDATE chains SET checksum = 1")).await.unwrap();
    assert_eq!(store.watch_state("all").await.unwrap().unwrap().carry, None);
}

async fn commands_wait_until_a_step_has_carried_them_out(ground: Ground) {
    let store = ground.open().await;
    let wish = |firing| CommandKind::Internal {
        problem: "receiver".to_owned(),
        on: "slack".to_owned(),
        firing,
        since: None,
        detail: "cannot reach it".to_owned(),
    };
    assert!(!store.internal_firing("receiver", "slack").await.unwrap());
    let first = store.append_command(&wish(true), T0).await.unwrap();
    assert!(store.internal_firing("receiver", "slack").await.unwrap());
    assert!(!store.internal_firing("receiver", "github").await.unwrap());
    let second = store.append_command(&wish(false), T0 + 1).await.unwrap();
    assert!(!store.internal_firing("receiver", "slack").await.unwrap());

    let step = Step { command_done: Some(first), carry: Some("mine".to_owned()), ..Step::default() };
    write(&store, &step, &[], T0).await;
    let left = store.pending_commands().await.unwrap();
    assert_eq!(left, [crate::engine::Command { id: second, at: T0 + 1, kind: wish(false) }]);
    let state = store.watch_state(NO_WATCH).await.unwrap().unwrap();
    assert_eq!(state.carry.as_deref(), Some("mine"), "steps of no watch keep their carry too");
}

async fn the_same_commit_twice_changes_nothing_more(ground: Ground) {
    let store = ground.open().await;
    let opened = transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing));
    let (mut step, rows) = told(vec![opened]);
    step.windows = vec![window("cart", 0, 0)];
    write(&store, &step, &rows, T0).await;
    let due = store.due_deliveries("slack", T0, 10).await.unwrap();
    store.delivery_sent(due[0].id, &Receipt::default(), T0).await.unwrap();
    let before = ground.content().await;
    write(&store, &step, &rows, T0 + HOUR).await;
    assert_eq!(ground.content().await, before);
    assert_eq!(store.due_deliveries("slack", T0 + HOUR, 10).await.unwrap(), []);
}

async fn a_commit_that_is_dropped_half_way_leaves_nothing(ground: Ground) {
    let store = ground.open().await;
    let empty = ground.content().await;
    let (mut step, _) = told(vec![transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing))]);
    step.windows = (0..200).map(|minute| window("cart", minute, 0)).collect();
    let commit = Commit { step: &step, source_state: None, fence: None };
    for polls in 1..60 {
        drop_half_way(&store, &commit, polls).await;
        // How far it got depends on the machine; were it the whole way, all of it would be there.
        if store.watch_state("all").await.unwrap().is_some() {
            assert!(polls > 1, "two hundred windows with one poll");
            break;
        }
        assert_eq!(ground.content().await, empty);
    }
    store.commit(&commit).await.unwrap();
    assert_eq!(store.windows_all_since("all", 0).await.unwrap().len(), 200);
}

async fn numbers_that_json_does_not_know_can_still_be_read(ground: Ground) {
    let store = ground.open().await;
    let mut odd = incident("aaaa", T0, State::Firing);
    odd.rates = vec![f64::NAN, f64::INFINITY];
    odd.worst.as_mut().unwrap().evidence.features[0].expected = (f64::NEG_INFINITY, f64::INFINITY);
    let (mut step, rows) = told(vec![transition(1, TransitionKind::Opened, odd)]);
    let mut judged = window("cart", 0, 0);
    judged.judgement.anomalous.as_mut().unwrap()[0].seen = f64::NAN;
    judged.judgement.threshold = Some(f64::INFINITY);
    step.windows = vec![judged];
    write(&store, &step, &rows, T0).await;
    let detail = store.incident("aaaa").await.unwrap().unwrap();
    assert_eq!(detail.incident.rates, [0.0, f64::MAX]);
    assert_eq!(store.due_deliveries("slack", T0, 9).await.unwrap().len(), 1);
    let read = store.windows_all_since("all", 0).await.unwrap();
    assert_eq!(read[0].judgement.threshold, Some(f64::INFINITY));
}
