//! The store as its callers see it, on real files.

mod dispatch_rows;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use sqlx::{Connection, Row};
use tempfile::TempDir;

use super::config::StoreConfig;
use super::*;
use crate::collect::{Coverage, Gap, GapReason, Known};
use crate::detect::{Anomaly, Evidence, Feature, FeatureEvidence, Features, Group, Judgement, Window};
use crate::engine::{CommandKind, JudgedWindow, Order, Snapshot};
use crate::incident::{Mark, Severity, State};
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
            patterns: Vec::new(),
            samples: Vec::new(),
            raw: None,
        },
        learnt: minute % 2 != 0,
        revision,
    }
}

fn evidence() -> FeatureEvidence {
    FeatureEvidence {
        feature: Feature::ErrorCount,
        seen: 4.0,
        expected: (0.0, 1.5),
        share: 0.5,
        forest: 0.0,
        frequent: None,
        windows: 1,
        presence: false,
    }
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
            grade: crate::detect::Grade::Alert,
            evidence: Evidence { features: vec![evidence()], ..Evidence::default() },
        }),
        rates: vec![0.5, 51.0],
        detail: None,
        handling: crate::incident::Handling::default(),
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
    store.commit(&Commit { step, source_state: None, deliveries, now, fence: None }).await.unwrap();
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
        ("notices", "incident, number, kind, document"),
        ("queue", "incident, number"),
        ("words", "word, incident"),
        ("deliveries", "key, receiver, state, attempts, next_at"),
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
    step.patterns = Some(b"templates, templates".to_vec());
    step.snapshots = vec![Snapshot { group: group("cart").fingerprint, until: T0, model: "v1 one".to_owned() }];
    store
        .commit(&Commit { step: &step, source_state: Some("limits"), deliveries: &rows, now: T0 + HOUR, fence: None })
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

#[tokio::test]
async fn commands_wait_until_a_step_has_carried_them_out() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
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

/// Polls a commit a few times and drops it, and waits until the writer has dealt with that.
async fn drop_half_way(store: &Store, commit: &Commit<'_>, polls: usize) {
    let mut running = Box::pin(store.commit(commit));
    for _ in 0..polls {
        if futures_util::poll!(&mut running).is_ready() {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(running);
    sqlx::query("SELECT 1").execute(&mut *store.writer("wait for").await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_is_dropped_half_way_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let empty = content(dir.path()).await;
    let (mut step, rows) = told(vec![transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing))]);
    step.windows = (0..200).map(|minute| window("cart", minute, 0)).collect();
    let commit = Commit { step: &step, source_state: None, deliveries: &rows, now: T0, fence: None };
    for polls in 1..60 {
        drop_half_way(&store, &commit, polls).await;
        // How far it got depends on the machine; were it the whole way, all of it would be there.
        if store.watch_state("all").await.unwrap().is_some() {
            assert!(polls > 1, "two hundred windows with one poll");
            break;
        }
        assert_eq!(store.deliveries_by_state().await.unwrap(), DeliveryCounts::default());
        assert_eq!(content(dir.path()).await, empty);
    }
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

/// An error as a test can compare it: without the folder's random name.
fn told_to_people(error: &StoreError, dir: &Path) -> String {
    error.to_string().replace(&dir.display().to_string(), "/data").replace(&std::process::id().to_string(), "42")
}

#[tokio::test]
async fn a_second_writer_is_refused_and_a_reader_is_not() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"another sigyn (process 42) works on /data/sigyn.db; stop it, or give this one its own `store.data_dir`"
    );
    let reader = Store::open_read_only(dir.path()).await.unwrap();
    let step = Step { incidents: vec![incident("aaaa", T0, State::Firing)], ..Step::default() };
    write(&store, &step, &[], T0).await;
    assert_eq!(reader.incidents(None, 9, None).await.unwrap().len(), 1, "it sees what is written meanwhile");
    let commit = Commit { step: &step, source_state: None, deliveries: &[], now: T0, fence: None };
    let error = reader.commit(&commit).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"cannot write a step to /data/sigyn.db: it was opened for reading only"
    );
    store.close().await.unwrap();
    Store::open(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_store_lets_the_next_one_in() {
    let dir = TempDir::new().unwrap();
    for done_until in 0..5 {
        let store = Store::open(dir.path()).await.unwrap();
        let step = Step { watch: Some(Arc::from("all")), done_until, ..Step::default() };
        write(&store, &step, &[], T0).await;
    }
    let store = Store::open_read_only(dir.path()).await.unwrap();
    assert_eq!(store.watch_state("all").await.unwrap().unwrap().done_until, 4);
}

#[tokio::test]
async fn a_reader_without_a_store_is_told_what_to_do() {
    let dir = TempDir::new().unwrap();
    let error = Store::open_read_only(dir.path()).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"there is no store at /data/sigyn.db; `sigyn run` or `sigyn once` makes one, or point `store.data_dir` to the folder of an existing one"
    );
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "reading makes no files");
    std::fs::write(dir.path().join("sigyn.db"), "").unwrap();
    let error = Store::open_read_only(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 0, .. }), "a first start that was cut off: {error}");
    Store::open(dir.path()).await.unwrap();
}

#[tokio::test]
async fn the_shape_of_another_version_is_refused() {
    let dir = TempDir::new().unwrap();
    let change = async |sql: &'static str| {
        let store = Store::open(dir.path()).await.unwrap();
        sqlx::query(sql).execute(&mut *store.writer("change").await.unwrap()).await.unwrap();
        store.close().await.unwrap();
    };
    change(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (7, 'of tomorrow', 1, x'00', 0)",
    )
    .await;
    let before = content(dir.path()).await;
    let writer = Store::open(dir.path()).await.unwrap_err();
    let reader = Store::open_read_only(dir.path()).await.unwrap_err();
    assert_eq!(writer.to_string(), reader.to_string());
    insta::assert_snapshot!(
        told_to_people(&writer, dir.path()),
        @"/data/sigyn.db was written by a newer sigyn (its shape is 7, this one knows 3); run that version or a newer one, or give this one its own `store.data_dir`"
    );
    assert_eq!(content(dir.path()).await, before, "and left alone");

    let mut connection =
        sqlx::SqliteConnection::connect(&format!("sqlite:{}/sigyn.db", dir.path().display())).await.unwrap();
    sqlx::query("DELETE FROM _sqlx_migrations").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = Store::open_read_only(dir.path()).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"/data/sigyn.db was written by an older sigyn (its shape is 0, this one needs 3); start `sigyn run` once to bring it up to date"
    );
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("sigyn.db"), "no database at all, but long enough to look like one".repeat(99))
        .unwrap();
    for error in [Store::open(dir.path()).await.unwrap_err(), Store::open_read_only(dir.path()).await.unwrap_err()] {
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Store::open(&dir.path().join("file/data")).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"cannot make the folder /data/file/data: Not a directory (os error 20); sigyn's user must be able to write the folder and its files"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_may_not_be_written_is_refused_but_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let mode = |mode| std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let step = Step { incidents: vec![incident("aaaa", T0, State::Firing)], ..Step::default() };
    write(&store, &step, &[], T0).await;
    store.close().await.unwrap();
    std::fs::remove_file(dir.path().join("sigyn.lock")).unwrap();
    mode(0o500);
    if std::fs::write(dir.path().join("probe"), "").is_ok() {
        println!("SKIPPED: this user may write everywhere (root)");
        return;
    }
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    let reader = Store::open_read_only(dir.path()).await.unwrap();
    assert_eq!(reader.incidents(None, 9, None).await.unwrap().len(), 1);
    mode(0o700);
}

#[tokio::test]
async fn old_rows_go_and_the_rest_stays() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let config = StoreConfig {
        window_retention: Span::minutes(700),
        incident_retention: Span::hours(24),
        ..StoreConfig::default()
    };
    let mut old = incident("0101", T0, State::Resolved);
    old.resolved_at = Some(T0 + HOUR);
    let kept = [
        incident("0202", T0, State::Firing),
        Incident { resolved_at: Some(T0 + 30 * HOUR), ..incident("0303", T0, State::Resolved) },
    ];
    let transitions = [&old].into_iter().chain(&kept);
    let (mut step, rows) =
        told(transitions.map(|incident| transition(1, TransitionKind::Opened, incident.clone())).collect());
    step.incidents.push(incident("0404", T0, State::Pending));
    step.windows = (0..1300).map(|minute| window("cart", minute, 0)).collect();
    step.windows.push(window("gone", 0, 0));
    step.snapshots = vec![Snapshot { group: group("gone").fingerprint, until: T0, model: "old".to_owned() }];
    step.gaps = vec![Gap { range: TimeRange::new(T0, T0 + 1), lines: Some(3), reason: GapReason::TooOld }];
    write(&store, &step, &rows, T0).await;

    let now = T0 + 1300 * MINUTE;
    assert_eq!(store.prune(now, &config).await.unwrap(), 600 + 1 + 1, "windows of cart and gone, and the group gone");
    assert_eq!(store.windows_all_since("all", 0).await.unwrap().len(), 700);
    assert_eq!(store.prune(T0 + 26 * HOUR, &config).await.unwrap(), 260 + 2 + 2, "windows; incidents; model and gap");
    let ids: Vec<_> = store.incidents(None, 9, None).await.unwrap().into_iter().map(|incident| incident.id).collect();
    assert_eq!(ids, ["0303", "0202"]);
    assert_eq!(store.deliveries_by_state().await.unwrap().pending, 4, "those of the deleted incident went with it");
    assert_eq!(store.prune(T0 + 26 * HOUR, &config).await.unwrap(), 0);
}

#[tokio::test]
async fn no_query_reads_a_whole_table() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    for (name, sql) in [
        ("watch", resume::WATCH),
        ("snapshots", resume::SNAPSHOTS),
        ("windows", resume::WINDOWS),
        ("all windows", resume::ALL_WINDOWS),
        ("commands", resume::COMMANDS),
        ("last word", resume::LAST_WORD),
        ("due", delivery::DUE),
        ("next due", delivery::NEXT_DUE),
        ("of incident", delivery::OF_INCIDENT),
        ("count", delivery::COUNT),
        ("waiting", delivery::WAITING),
        ("abandon", delivery::ABANDON),
        ("sent", delivery::SENT),
        ("leads", incident::LEADS),
        ("leads in state", incident::LEADS_IN_STATE),
        ("all", incident::ALL),
        ("found", incident::FOUND),
        ("members", incident::MEMBERS),
        ("open", incident::OPEN),
        ("notices", incident::NOTICES),
        ("title", commit::TITLE),
        ("words", dispatch::DROP_WORDS),
        ("queued", dispatch::QUEUED),
        ("orders", dispatch::ORDERS),
        ("state", dispatch::STATE),
        ("silences", dispatch::SILENCES),
        ("taken", dispatch::TAKEN),
        ("fence", dispatch::FENCE),
        ("by prefix", incident::BY_PREFIX),
        ("transitions", incident::TRANSITIONS),
        ("prune windows", prune::WINDOWS),
        ("prune group", prune::EMPTY_GROUP),
        ("prune incidents", prune::INCIDENTS),
        ("prune silences", prune::SILENCES),
        ("prune commands", prune::COMMANDS),
        ("command done", commit::COMMAND_DONE),
    ] {
        let explain = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        for row in explain.fetch_all(&mut *store.reader("explain").await.unwrap()).await.unwrap() {
            let detail: String = row.get("detail");
            assert!(!detail.starts_with("SCAN"), "{name}: {detail}");
            let paged = ["leads", "leads in state", "all", "found", "queued"].contains(&name);
            assert!(!paged || !detail.contains("TEMP B-TREE"), "{name}: {detail}");
        }
    }
}

/// One move of a life with restarts.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// The next step is written.
    Commit,
    /// The last step is written once more.
    Again,
    /// The next step is begun and dropped.
    Drop,
    /// Closed in order, and opened.
    Reopen,
    /// Dropped without closing, and opened.
    Crash,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        5 => Just(Move::Commit),
        2 => Just(Move::Again),
        1 => Just(Move::Drop),
        1 => Just(Move::Reopen),
        1 => Just(Move::Crash),
    ];
    proptest::collection::vec(one, 1..20)
}

/// Step number `n` of a made-up day.
fn nth(n: i64) -> (Step, Vec<NewDelivery>) {
    let kind = if n % 4 == 0 { TransitionKind::Opened } else { TransitionKind::Continued };
    let id = format!("{:04x}", n / 4);
    let number = u64::try_from(n % 4 + 1).unwrap();
    let (mut step, rows) = told(vec![transition(number, kind, incident(&id, T0 + n / 4 * HOUR, State::Firing))]);
    step.done_until = T0 + n * MINUTE;
    step.windows = vec![window("cart", n, 0), window("pay", n, 0), window("cart", n - 1, 1)];
    step.carry = (n % 2 == 0).then(|| format!("carry {n}"));
    step.snapshots = vec![Snapshot { group: group("cart").fingerprint, until: n, model: format!("model {n}") }];
    (step, rows)
}

async fn live(moves: &[Move]) -> (i64, Vec<String>) {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).await.unwrap();
    let mut next = 0;
    for step in moves {
        match step {
            Move::Commit => {
                let (step, rows) = nth(next);
                write(&store, &step, &rows, T0 + next).await;
                next += 1;
            }
            Move::Again if next > 0 => {
                let (step, rows) = nth(next - 1);
                write(&store, &step, &rows, T0 + next - 1).await;
            }
            Move::Drop => {
                let (step, rows) = nth(next);
                let commit = Commit { step: &step, source_state: None, deliveries: &rows, now: T0 + next, fence: None };
                drop_half_way(&store, &commit, 3).await;
                // All or nothing, and the position tells which.
                let done = store.watch_state("all").await.unwrap().map(|state| state.done_until);
                next += i64::from(done == Some(step.done_until));
            }
            Move::Reopen => {
                store.close().await.unwrap();
                store = Store::open(dir.path()).await.unwrap();
            }
            Move::Crash => {
                drop(store);
                store = Store::open(dir.path()).await.unwrap();
            }
            Move::Again => {}
        }
    }
    store.close().await.unwrap();
    (next, content(dir.path()).await)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restarts_repeats_and_broken_off_steps_leave_no_trace(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (committed, content) = runtime.block_on(live(&moves));
        let plain = vec![Move::Commit; usize::try_from(committed).unwrap()];
        prop_assert_eq!(content, runtime.block_on(live(&plain)).1);
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing_by_halves() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    // SQLite's own limit answers as a disk without room does.
    let limit = sqlx::query("PRAGMA max_page_count = 40");
    limit.execute(&mut *store.writer("limit").await.unwrap()).await.unwrap();
    let (mut step, rows) = told(vec![transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing))]);
    step.windows = (0..2000).map(|minute| window("cart", minute, 0)).collect();
    let commit = Commit { step: &step, source_state: None, deliveries: &rows, now: T0, fence: None };
    let error = store.commit(&commit).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"cannot write a step to /data/sigyn.db: the disk is full; make room, or lower `store.window_retention`. Nothing was written by halves"
    );
    assert_eq!(store.watch_state("all").await.unwrap(), None);
    assert_eq!(store.windows_all_since("all", 0).await.unwrap(), []);
    // There is room again (the limit was the connection's, and a failed commit takes a new one): it goes on.
    store.commit(&commit).await.unwrap();
    assert_eq!(store.windows_all_since("all", 0).await.unwrap().len(), 2000);
}

/// Set for the child process of the next test: the folder of its store.
const CHILD: &str = "SIGYN_TEST_STORE_CHILD";

/// Does nothing in an ordinary run. As a child: writes one step after the other and says so, until it is killed.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = Store::open(Path::new(&dir)).await.unwrap();
    let done = store.watch_state("all").await.unwrap().map_or(-1, |state| (state.done_until - T0) / MINUTE);
    for n in done + 1.. {
        let (step, rows) = nth(n);
        write(&store, &step, &rows, T0 + n).await;
        println!("written {n}");
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_was_told_is_written() {
    use std::io::{BufRead, BufReader};
    let dir = TempDir::new().unwrap();
    for kill_after in [1, 7, 30] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let written = lines.filter_map(|line| line.split_once("written ").and_then(|(_, n)| n.parse::<i64>().ok()));
        let last = written.take(kill_after).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(dir.path()).await.unwrap();
        let done = (store.watch_state("all").await.unwrap().unwrap().done_until - T0) / MINUTE;
        assert!(done >= last, "told {last}, found {done}");
        store.close().await.unwrap();
        let plain = vec![Move::Commit; usize::try_from(done + 1).unwrap()];
        assert_eq!(content(dir.path()).await, live(&plain).await.1, "whole steps only");
    }
}

#[tokio::test]
async fn people_can_order_something_while_another_process_works() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let beside = Store::open_beside(dir.path()).await.unwrap();
    let mark = Mark { by: "ann".to_owned(), at: T0, note: None };
    let kind = CommandKind::Incident { incident: "00aa".to_owned(), order: Order::Acknowledge(mark) };
    beside.append_command(&kind, T0).await.unwrap();
    // It is not the engine's to carry out.
    assert_eq!(store.pending_commands().await.unwrap(), []);
    beside.close().await.unwrap();
    store.close().await.unwrap();
    let elsewhere = TempDir::new().unwrap();
    assert!(matches!(Store::open_beside(elsewhere.path()).await, Err(StoreError::Missing { .. })));
}
