//! The store as its callers see it, on real files.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use sqlx::{Connection, Row};
use tempfile::TempDir;

use super::config::StoreConfig;
use super::*;
use crate::collect::{Coverage, Gap, GapReason, Known};
use crate::detect::{Anomaly, Evidence, Feature, FeatureEvidence, Features, Group, Judgement, Window};
use crate::engine::{CommandKind, JudgedWindow, Snapshot};
use crate::incident::{Severity, State};
use crate::labels::{Fingerprint, Labels};
use crate::notify::Links;
use crate::time::{HOUR, MINUTE, SECOND, Span, TimeRange};

const T0: Nanos = 1_700_000_000 * SECOND;

fn group(service: &str) -> Group {
    let labels: Labels = [("service_name", service)].into_iter().collect();
    Group { fingerprint: Fingerprint::of("default", "all", &labels), labels }
}

/// The window of `service` that is minute number `minute`.
fn window(service: &str, minute: i64, revision: u32) -> JudgedWindow {
    let start = T0 + minute * MINUTE;
    JudgedWindow {
        group: group(service),
        window: Window {
            range: TimeRange::new(start, start + MINUTE),
            lines: 51,
            features: Features([Some(0.1 + 0.2), Some(4.0), None, Some(1e-300), Some(51.0 / 60.0)]),
            coverage: Coverage { known: Known::Audited, seen: 51, missing: 2 },
            late: revision > 0,
            samples: Vec::new(),
        },
        judgement: Judgement {
            score: Some(0.93),
            threshold: Some(0.75),
            anomalous: (minute % 2 == 0).then(|| vec![evidence()]),
        },
        learnt: minute % 2 != 0,
        revision,
    }
}

fn evidence() -> FeatureEvidence {
    FeatureEvidence { feature: Feature::ErrorCount, seen: 4.0, expected: (0.0, 1.5), share: 0.5 }
}

fn incident(id: &str, started_at: Nanos, state: State) -> Incident {
    Incident {
        id: id.to_owned(),
        group: group("cart"),
        watch: "all".to_owned(),
        labels: [("env", "prod")].into_iter().collect(),
        owner: None,
        runbook_url: Some("https://runbooks.example/cart".to_owned()),
        state,
        severity: Severity::Warning,
        title: "cart: more errors than usual".to_owned(),
        started_at,
        last_seen: started_at + MINUTE,
        resolved_at: (state == State::Resolved).then_some(started_at + 10 * MINUTE),
        windows: 1,
        lines: 51,
        worst: Some(Anomaly {
            group: group("cart"),
            range: TimeRange::new(started_at, started_at + MINUTE),
            lines: 51,
            late: false,
            score: 0.93,
            threshold: 0.75,
            evidence: Evidence { features: vec![evidence()], ..Evidence::default() },
        }),
        rates: vec![0.5, 51.0],
        detail: None,
    }
}

fn transition(number: u64, kind: TransitionKind, incident: Incident) -> Transition {
    Transition { kind, number, at: incident.last_seen, incident }
}

fn deliveries(transition: &Transition, receivers: &[&str]) -> Vec<NewDelivery> {
    let delivery = |receiver: &&str| NewDelivery {
        receiver: (*receiver).to_owned(),
        notification: Notification {
            key: format!("{}/{}/{receiver}", transition.incident.id, transition.number),
            transition: transition.clone(),
            links: Links { incident: Some("https://sigyn.example/1".to_owned()), explore: None },
        },
    };
    receivers.iter().map(delivery).collect()
}

/// A step of the watch `all` that tells this, to `slack` and `github`.
fn told(transitions: Vec<Transition>) -> (Step, Vec<NewDelivery>) {
    let incidents = transitions.iter().map(|transition| transition.incident.clone()).collect();
    let rows = transitions.iter().flat_map(|transition| deliveries(transition, &["slack", "github"])).collect();
    (Step { watch: Some(Arc::from("all")), done_until: T0, incidents, transitions, ..Step::default() }, rows)
}

async fn write(store: &Store, step: &Step, deliveries: &[NewDelivery], now: Nanos) {
    store.commit(&Commit { step, source_state: None, deliveries, now }).await.unwrap();
}

/// Every row of every table, as text.
async fn content(dir: &Path) -> Vec<String> {
    let path = dir.join("sigyn.db");
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let mut rows = Vec::new();
    for (table, columns) in [
        ("watches", "watch, done_until, source_state, carry"),
        ("groups", "watch, grp, labels"),
        ("windows", "watch, grp, range_start, range_end, revision, lines, rate, anomalous, learnt"),
        ("models", "watch, grp, until, model"),
        ("incidents", "id, state, title, document"),
        ("transitions", "incident, number, kind, document"),
        ("deliveries", "id, key, receiver, state, attempts, next_at"),
        ("commands", "id, at, document, done"),
        ("gaps", "watch, range_start, range_end, reason, lines"),
    ] {
        let columns = columns.replace(", ", " || '|', quote(") + ")";
        let sql = format!("SELECT '{table}: ' || quote({columns} AS line FROM {table} ORDER BY 1");
        let sql = sql.replace(" || '|', quote(", ") || '|' || quote(");
        for row in sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap() {
            rows.push(row.get::<String, _>("line"));
        }
    }
    connection.close().await.unwrap();
    rows
}

#[tokio::test]
async fn a_story_of_one_watch() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&dir.path().join("made/on/the/way")).await.unwrap();
    assert_eq!(store.watch_state("all").await.unwrap(), None);

    let opened = transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing));
    let (mut step, rows) = told(vec![opened.clone()]);
    step.windows = vec![window("cart", 0, 0), window("cart", 1, 0), window("cart", 0, 1), window("pay", 0, 0)];
    step.gaps = vec![Gap { range: TimeRange::new(T0, T0 + 1), lines: None, reason: GapReason::FullNanosecond }];
    step.carry = Some("open windows".to_owned());
    step.snapshots = vec![Snapshot { group: group("cart").fingerprint, until: T0, model: "v1 one".to_owned() }];
    store
        .commit(&Commit { step: &step, source_state: Some("limits"), deliveries: &rows, now: T0 + HOUR })
        .await
        .unwrap();

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

    let store = Store::open(&dir.path().join("made/on/the/way")).await.unwrap();
    let state = WatchState {
        done_until: T0 + MINUTE,
        source_state: Some("limits".to_owned()),
        carry: Some("open windows".to_owned()),
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
    assert_eq!(detail.transitions, [opened.clone()]);
    assert_eq!(detail.deliveries.len(), 2);
    assert_eq!(detail.deliveries[1].notification, rows[1].notification);
    assert_eq!(store.incident("00b").await.unwrap(), None);
}

#[tokio::test]
async fn commands_wait_until_a_step_has_carried_them_out() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let wish = |firing| CommandKind::Internal {
        problem: "receiver".to_owned(),
        on: "slack".to_owned(),
        firing,
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

#[tokio::test]
async fn the_same_commit_twice_changes_nothing_more() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let opened = transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing));
    let (mut step, rows) = told(vec![opened]);
    step.windows = vec![window("cart", 0, 0)];
    write(&store, &step, &rows, T0).await;
    let due = store.due_deliveries("slack", T0, 10).await.unwrap();
    store.delivery_sent(due[0].id, &Receipt::default(), T0).await.unwrap();
    let before = content(dir.path()).await;
    write(&store, &step, &rows, T0 + HOUR).await;
    assert_eq!(content(dir.path()).await, before);
    assert_eq!(store.due_deliveries("slack", T0 + HOUR, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_commit_that_is_dropped_half_way_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let before = content(dir.path()).await;
    let (mut step, rows) = told(vec![transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing))]);
    step.windows = (0..200).map(|minute| window("cart", minute, 0)).collect();
    let commit = Commit { step: &step, source_state: None, deliveries: &rows, now: T0 };
    for polls in 1..60 {
        // Polled a few times and then dropped: as far as the statements it got to send.
        let mut running = Box::pin(store.commit(&commit));
        for _ in 0..polls {
            if futures_util::poll!(&mut running).is_ready() {
                panic!("two hundred windows cannot be written in {polls} polls");
            }
            tokio::task::yield_now().await;
        }
        drop(running);
    }
    assert_eq!(store.deliveries_by_state().await.unwrap(), DeliveryCounts::default());
    assert_eq!(content(dir.path()).await, before);
    store.commit(&commit).await.unwrap();
    assert_eq!(store.windows_all_since("all", 0).await.unwrap().len(), 200);
}

#[tokio::test]
async fn order_is_kept_per_incident_and_receiver() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
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
    store.delivery_retry(first.id, "503", T0 + MINUTE, T0 + 1).await.unwrap();
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
    store.delivery_postponed(second[0].id, T0 + HOUR).await.unwrap();
    assert_eq!(store.next_due("slack").await.unwrap(), Some(T0 + HOUR));
    store.delivery_sent(second[0].id, &Receipt::default(), T0 + HOUR).await.unwrap();
    assert_eq!(store.next_due("slack").await.unwrap(), None);
}

#[tokio::test]
async fn dead_deliveries_stay_visible_and_block_nothing() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let a = |number, kind| transition(number, kind, incident("aaaa", T0, State::Firing));
    let (step, rows) = told(vec![a(1, TransitionKind::Opened), a(2, TransitionKind::Continued)]);
    write(&store, &step, &rows, T0).await;
    let first = store.due_deliveries("slack", T0, 1).await.unwrap()[0].clone();
    store.delivery_dead(first.id, "404 no such hook", T0 + 5).await.unwrap();
    store.delivery_retry(first.id, "late", T0 + 9, T0 + 9).await.unwrap();
    let detail = store.incident("aaaa").await.unwrap().unwrap();
    let dead: Vec<_> = detail.deliveries.iter().filter(|row| row.state == DeliveryState::Dead).collect();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].error.as_deref(), dead[0].changed_at), (Some("404 no such hook"), T0 + 5));
    assert_eq!(store.deliveries_by_state().await.unwrap(), DeliveryCounts { pending: 3, sent: 0, dead: 1 });
    assert_eq!(store.due_deliveries("slack", T0, 9).await.unwrap()[0].notification.key, "aaaa/2/slack");
    let waiting = store.deliveries_waiting().await.unwrap();
    assert_eq!(waiting, [("github".to_owned(), 2), ("slack".to_owned(), 1)]);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_given_up() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let (step, rows) = told(vec![transition(1, TransitionKind::Opened, incident("aaaa", T0, State::Firing))]);
    write(&store, &step, &rows, T0).await;
    let spoil = sqlx::query("UPDATE deliveries SET links = '{' WHERE receiver = 'slack'");
    spoil.execute(&mut *store.writer("spoil").await.unwrap()).await.unwrap();
    assert_eq!(store.due_deliveries("slack", T0, 9).await.unwrap(), []);
    assert_eq!(store.deliveries_by_state().await.unwrap(), DeliveryCounts { pending: 1, sent: 0, dead: 1 });
}

#[tokio::test]
async fn numbers_that_json_does_not_know_can_still_be_read() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
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

#[tokio::test]
async fn pages_neither_skip_nor_repeat_with_equal_times() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let started = |n: i64| T0 + (n / 7) * SECOND; // seven with each time
    let state = |n: i64| if n % 3 == 0 { State::Resolved } else { State::Firing };
    let incidents = (0..23).map(|n| incident(&format!("{n:04x}"), started(n), state(n))).collect();
    let step = Step { watch: Some(Arc::from("all")), incidents, ..Step::default() };
    write(&store, &step, &[], T0).await;
    for (wanted, expected) in [(None, 23), (Some(State::Firing), 15), (Some(State::Resolved), 8)] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.incidents(wanted, 4, cursor.as_ref()).await.unwrap();
            let Some(last) = page.last() else { break };
            cursor = Some(Cursor::from(last));
            seen.extend(page.into_iter().map(|incident| (incident.started_at, incident.id)));
        }
        assert_eq!(seen.len(), expected, "{wanted:?}");
        assert!(seen.is_sorted_by(|newer, older| newer > older), "{wanted:?}");
    }
    assert_eq!(store.incidents(Some(State::Pending), 9, None).await.unwrap(), []);
    let error = store.incident("00").await.unwrap_err();
    insta::assert_snapshot!(error, @"more than one incident begins with `00`; give more of its id");
}
