//! The store as its callers see it, on real files and on a real PostgreSQL.

mod backup;
mod dispatch;
mod file;
mod lease;
mod life;
mod list;
mod outbox;
mod place;
mod scale;
pub(crate) mod server;
mod shape;
mod share;
mod step;

use std::sync::Arc;

use tempfile::TempDir;

use self::server::Server;
use super::config::StoreConfig;
use super::link::Statement;
use super::*;
use crate::collect::{Coverage, Gap, GapReason, Known};
use crate::detect::{Anomaly, Evidence, Feature, FeatureEvidence, Features, Group, Judgement, Window};
use crate::engine::{CommandKind, JudgedWindow, Order, Snapshot};
use crate::incident::{Mark, Severity, State};
use crate::labels::{Fingerprint, Labels};
use crate::notify::Links;
use crate::secret::Secret;
use crate::time::{HOUR, MINUTE, SECOND, Span, TimeRange};

/// Makes a test for each database of every function that takes a [`Ground`].
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_a_file {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(super::Ground::file()).await;
                }
            )*
        }
        mod on_a_server {
            $(
                #[tokio::test]
                async fn $name() {
                    if let Some(ground) = super::Ground::server() {
                        super::$name(ground).await;
                    }
                }
            )*
        }
    };
}
use on_both;

/// A place for a store of its own.
struct Ground {
    dir: TempDir,
    url: Option<String>,
}

impl Ground {
    fn file() -> Self {
        Self { dir: TempDir::new().unwrap(), url: None }
    }

    fn server() -> Option<Self> {
        let url = Server::shared()?.database();
        Some(Self { url: Some(url), ..Self::file() })
    }

    fn place(&self) -> Place {
        match &self.url {
            Some(url) => Place::server(&Secret::new(url.as_str())).unwrap(),
            None => Place::from(&self.dir.path().join("made/on/the/way")),
        }
    }

    async fn open(&self) -> Store {
        Store::open(self.place()).await.unwrap()
    }

    /// Every row of every table, as text.
    async fn content(&self) -> Vec<String> {
        content(self.place()).await
    }
}

async fn content(place: impl Into<Place>) -> Vec<String> {
    let store = Store::open_read_only(place).await.unwrap();
    let mut rows = Vec::new();
    for (table, columns) in [
        ("watches", "watch, done_until, source_state, carry"),
        ("groups", "watch, grp, labels"),
        ("windows", "watch, grp, range_start, range_end, revision, lines, rate, anomalous, learnt"),
        ("models", "watch, grp, until, model"),
        ("incidents", "id, state, title, document, handling, lead, open"),
        ("transitions", "incident, number, kind, document"),
        ("notices", "incident, number, kind, document"),
        ("queue", "incident, number"),
        ("words", "word, incident"),
        ("deliveries", "key, receiver, state, attempts, next_at"),
        ("commands", "id, at, document, done"),
        ("gaps", "watch, range_start, range_end, reason, lines"),
        ("dispatch", "key, document"),
        ("silences", "id, document"),
        ("days", "receiver, day, key"),
        ("shares", "watch, groups, share, group_share, epoch, claimed_at"),
    ] {
        let columns: Vec<_> = columns.split(", ").map(|name| format!("COALESCE(CAST({name} AS TEXT), '-')")).collect();
        let sql = format!("SELECT '{table}: ' || {} AS line FROM {table} ORDER BY 1", columns.join(" || '|' || "));
        rows.extend(store.read("read", sql_of(sql), |row| row.get::<String>("line")).await.unwrap());
    }
    store.close().await.unwrap();
    rows
}

/// A statement that is made at run time.
fn sql_of(text: String) -> Statement {
    let text: &'static str = text.leak();
    Statement::plain(text)
}

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
        seasonal: false,
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

/// Writes a step, and as the dispatcher these messages about it.
async fn write(store: &Store, step: &Step, deliveries: &[NewDelivery], now: Nanos) {
    store.commit(&Commit { step, source_state: None, fence: None }).await.unwrap();
    tell(store, deliveries, now).await;
}

async fn tell(store: &Store, deliveries: &[NewDelivery], now: Nanos) {
    let notices: Vec<Transition> = deliveries.iter().map(|one| one.notification.transition.clone()).collect();
    let dispatched = Dispatched { notices: &notices, deliveries, now, ..Dispatched::default() };
    store.commit_dispatch(&dispatched).await.unwrap();
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
    store.write("wait for", Statement::plain("SELECT 1")).await.unwrap();
}
