//! The outbox over a real store, with receivers that do as a script says and a clock that the test moves.

mod absent;
mod clock;
mod ill;
mod limit;
mod property;
mod send;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::detect::Group;
use crate::engine::Step;
use crate::incident::{Incident, Severity, State, Transition, TransitionKind};
use crate::labels::{Fingerprint, Labels};
use crate::notify::{Links, Notification};
use crate::store::{Commit, DeliveryState, Dispatched, NewDelivery};
use crate::time::{HOUR, SECOND};

const T0: Nanos = 1_700_000_000 * SECOND;
const FREE: Limits = Limits { sends: Quota { count: 1000, per: Duration::from_millis(1) }, creations: None };
/// Nothing that a test waits for takes this long, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
const RECEIVERS: [&str; 2] = ["github", "slack"];

#[derive(Clone, Copy, Debug)]
enum Answer {
    Take,
    Retry(Option<Duration>),
    GiveUp,
    Hang,
    /// Answers when the test opens the gate.
    Gate,
    /// The same, and fails then.
    GateRetry,
}

#[derive(Clone, Debug)]
struct Call {
    receiver: String,
    key: String,
    at: Nanos,
    earlier: Option<String>,
}

/// What outlives a restart of the outbox: the store, the clock, and what the receivers saw.
struct World {
    dir: TempDir,
    store: Store,
    now: Arc<AtomicI64>,
    calls: Arc<Mutex<Vec<Call>>>,
    scripts: BTreeMap<&'static str, Arc<Mutex<Script>>>,
    gate: Arc<Notify>,
    limits: Limits,
    daily: Option<Daily>,
    policy: Policy,
}

struct Script {
    next: VecDeque<Answer>,
    then: Answer,
}

struct Fake {
    name: &'static str,
    script: Arc<Mutex<Script>>,
    calls: Arc<Mutex<Vec<Call>>>,
    now: Arc<AtomicI64>,
    gate: Arc<Notify>,
}

impl Notifier for Fake {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let call = Call {
            receiver: self.name.to_owned(),
            key: notification.key.clone(),
            at: self.now.load(Ordering::SeqCst),
            earlier: earlier.and_then(|receipt| receipt.id.clone()),
        };
        self.calls.lock().unwrap().push(call);
        let answer = {
            let mut script = self.script.lock().unwrap();
            script.next.pop_front().unwrap_or(script.then)
        };
        match answer {
            Answer::Take => {}
            Answer::Gate => self.gate.notified().await,
            Answer::Hang => std::future::pending().await,
            Answer::GateRetry => {
                self.gate.notified().await;
                return Err(SendError::Retry { reason: "server", message: "503 at last".to_owned(), after: None });
            }
            Answer::Retry(after) => {
                return Err(SendError::Retry { reason: "server", message: "503 from it".to_owned(), after });
            }
            Answer::GiveUp => {
                return Err(SendError::GiveUp { reason: "not_found", message: "404 from it".to_owned() });
            }
        }
        Ok(Receipt { id: Some(notification.key.clone()), url: None })
    }
}

struct Running {
    stop: CancellationToken,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As kill -9 does it: nothing runs to its end.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let script = || Arc::new(Mutex::new(Script { next: VecDeque::new(), then: Answer::Take }));
        Self {
            dir,
            store,
            now: Arc::new(AtomicI64::new(T0)),
            calls: Arc::default(),
            scripts: RECEIVERS.into_iter().map(|name| (name, script())).collect(),
            gate: Arc::default(),
            limits: FREE,
            daily: None,
            policy: Policy { grace: Duration::ZERO, ..Policy::default() },
        }
    }

    fn script(&self, receiver: &str, next: impl IntoIterator<Item = Answer>, then: Answer) {
        *self.scripts[receiver].lock().unwrap() = Script { next: next.into_iter().collect(), then };
    }

    fn start(&self) -> Running {
        let receiver = |(name, script): (&&'static str, &Arc<Mutex<Script>>)| Receiver {
            name: (*name).to_owned(),
            notifier: Fake {
                name,
                script: Arc::clone(script),
                calls: Arc::clone(&self.calls),
                now: Arc::clone(&self.now),
                gate: Arc::clone(&self.gate),
            },
            limits: self.limits,
            daily: self.daily.clone(),
        };
        let (stop, wake, now) = (CancellationToken::new(), Arc::new(Notify::new()), Arc::clone(&self.now));
        let outbox = Outbox {
            store: self.store.clone(),
            receivers: self.scripts.iter().map(receiver).collect(),
            wake: Arc::clone(&wake),
            clock: Arc::new(move || now.load(Ordering::SeqCst)),
            policy: self.policy,
            may: Arc::new(|| true),
        };
        let until = stop.clone();
        let task = tokio::spawn(async move { outbox.run(until).await });
        Running { stop, wake, task }
    }

    /// Writes transition `number` of an incident, for all receivers.
    async fn tell(&self, incident: &str, number: u64) {
        let kind = if number == 1 { TransitionKind::Opened } else { TransitionKind::Continued };
        let transition = Transition { kind, number, at: T0, incident: open_incident(incident) };
        let delivery = |receiver: &&str| NewDelivery {
            receiver: (*receiver).to_owned(),
            notification: Notification {
                key: format!("{incident}/{number}/{receiver}"),
                transition: transition.clone(),
                links: Links::default(),
            },
        };
        let deliveries: Vec<_> = RECEIVERS.iter().map(delivery).collect();
        let step = Step { transitions: vec![transition.clone()], ..Step::default() };
        let now = self.now.load(Ordering::SeqCst);
        self.store.commit(&Commit { step: &step, source_state: None, fence: None }).await.unwrap();
        let notices = [transition];
        let told = Dispatched { notices: &notices, deliveries: &deliveries, now, ..Dispatched::default() };
        self.store.commit_dispatch(&told).await.unwrap();
    }

    /// Lets time pass in steps until `done`.
    async fn until(&self, running: &Running, step: Nanos, mut done: impl AsyncFnMut() -> bool) {
        let pump = async {
            while !done().await {
                self.now.fetch_add(step, Ordering::SeqCst);
                running.wake.notify_one();
                // Changes nothing, behind all that is being written: time does not run away from a slow disk.
                self.store.delivery_postponed(-1, 0, 0).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, pump).await.expect("what the test waits for did not come");
    }

    async fn until_drained(&self, running: &Running, step: Nanos) {
        self.until(running, step, async || self.store.deliveries_by_state().await.unwrap().pending == 0).await;
    }

    /// Lets so much time pass at once that slack must be tried again, and waits until it is, or has nothing to do any more.
    async fn try_again(&self, running: &Running) {
        let asked = self.calls("slack").len();
        self.now.fetch_add(nanos(self.policy.longest) + MINUTE, Ordering::SeqCst);
        let over =
            async || self.calls("slack").len() > asked || self.store.deliveries_by_state().await.unwrap().pending == 0;
        self.until(running, 0, over).await;
    }

    fn calls(&self, receiver: &str) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.receiver == receiver).cloned().collect()
    }

    fn keys(&self, receiver: &str) -> Vec<String> {
        self.calls(receiver).into_iter().map(|call| call.key).collect()
    }

    async fn said(&self) -> Vec<(String, bool)> {
        let commands = self.store.pending_commands().await.unwrap();
        let word = |command: crate::engine::Command| {
            let CommandKind::Internal { on, firing, .. } = command.kind else { panic!("{command:?}") };
            (on, firing)
        };
        commands.into_iter().map(word).collect()
    }
}

fn open_incident(id: &str) -> Incident {
    let labels: Labels = [("service_name", "cart")].into_iter().collect();
    Incident {
        id: id.to_owned(),
        group: Group { fingerprint: Fingerprint::of("default", "all", &labels), labels },
        watch: "all".to_owned(),
        labels: Labels::new(),
        owner: None,
        runbook_url: None,
        state: State::Firing,
        severity: Severity::Warning,
        title: "cart: more errors than usual".to_owned(),
        started_at: T0,
        last_seen: T0,
        resolved_at: None,
        windows: 1,
        lines: 1,
        worst: None,
        rates: Vec::new(),
        detail: None,
        handling: crate::incident::Handling::default(),
    }
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        4 => Just(Answer::Take),
        3 => Just(Answer::Retry(None)),
        1 => (1..200u64).prop_map(|seconds| Answer::Retry(Some(Duration::from_secs(seconds)))),
        1 => Just(Answer::GiveUp),
    ];
    proptest::collection::vec(answer, 0..12)
}
