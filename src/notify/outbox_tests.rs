//! The outbox over a real store, with receivers that do as a script says and a clock that the test moves.

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
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), pump).await.expect("what the test waits for did not come");
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

#[test]
fn pauses_grow_stay_within_bounds_and_can_be_repeated() {
    let policy = Policy::default();
    for id in 0..200 {
        for failures in 1..200 {
            let ceiling = Duration::from_secs(1 << failures.min(10)).min(policy.longest);
            let pause = policy.pause(id, failures);
            assert!(policy.first <= pause && pause <= ceiling, "{id} {failures} {pause:?}");
            assert_eq!(pause, policy.pause(id, failures));
        }
    }
    let mean = (0..1000).map(|id| policy.pause(id, 20).as_secs_f64()).sum::<f64>() / 1000.0;
    assert!((250.0..350.0).contains(&mean), "full jitter: about half of the longest, {mean}");
}

#[tokio::test]
async fn all_reaches_everybody_once_and_in_order() {
    let world = World::new().await;
    let running = world.start();
    for number in 1..=3 {
        for incident in ["aa", "bb"] {
            world.tell(incident, number).await;
            running.wake.notify_one();
        }
    }
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    for receiver in RECEIVERS {
        let calls = world.calls(receiver);
        assert_eq!(calls.len(), 6);
        for incident in ["aa", "bb"] {
            let of: Vec<_> = calls.iter().filter(|call| call.key.starts_with(incident)).collect();
            let keys: Vec<_> = of.iter().map(|call| call.key.clone()).collect();
            let first = format!("{incident}/1/{receiver}");
            assert_eq!(keys, [first.clone(), format!("{incident}/2/{receiver}"), format!("{incident}/3/{receiver}")]);
            let earlier: Vec<_> = of.iter().map(|call| call.earlier.clone()).collect();
            assert_eq!(earlier, [None, Some(first.clone()), Some(first)], "the receipt of the first message");
        }
    }
}

#[tokio::test]
async fn retries_until_it_is_taken_and_counts_it() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let rendered = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let world = World::new().await;
    world.script("slack", [Answer::Retry(None); 3], Answer::Take);
    world.tell("aa", 1).await;
    let running = world.start();
    world.until_drained(&running, SECOND / 4).await;
    world.until(&running, 0, async || rendered.render().contains("sigyn_outbox_pending 0\n")).await;
    running.stop().await;
    let calls = world.calls("slack");
    assert_eq!(world.keys("slack"), ["aa/1/slack"; 4], "the same key in every retry");
    assert!(calls.windows(2).all(|two| two[1].at - two[0].at >= SECOND), "{calls:?}");
    let row = &world.store.incident("aa").await.unwrap().unwrap().deliveries[1];
    assert_eq!((row.state, row.attempts, row.error.clone()), (DeliveryState::Sent, 4, None));
    let text = rendered.render();
    let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with("sigyn_")).collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    sigyn_deliveries_total{receiver="github",outcome="sent",reason="ok"} 1
    sigyn_deliveries_total{receiver="slack",outcome="retry",reason="server"} 3
    sigyn_deliveries_total{receiver="slack",outcome="sent",reason="ok"} 1
    sigyn_outbox_pending 0
    "#);
}

#[tokio::test]
async fn what_will_never_work_is_given_up_at_once() {
    let world = World::new().await;
    world.script("slack", [Answer::GiveUp], Answer::Take);
    world.tell("aa", 1).await;
    world.tell("aa", 2).await;
    let running = world.start();
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    assert_eq!(world.keys("slack"), ["aa/1/slack", "aa/2/slack"]);
    let rows = world.store.incident("aa").await.unwrap().unwrap().deliveries;
    let dead: Vec<_> = rows.iter().filter(|row| row.state == DeliveryState::Dead).collect();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].error.as_deref(), Some("404 from it"));
    assert_eq!(world.calls("slack")[1].earlier, None, "a message that was never taken is no earlier one");
}

#[tokio::test]
async fn after_a_day_a_message_is_given_up() {
    let world = World::new().await;
    world.script("slack", [], Answer::Retry(None));
    world.tell("aa", 1).await;
    let running = world.start();
    world.until_drained(&running, 5 * MINUTE).await;
    running.stop().await;
    let calls = world.calls("slack");
    let tried_for = calls[calls.len() - 1].at - T0;
    assert!(tried_for >= 23 * HOUR, "{} h", tried_for / HOUR);
    let row = &world.store.incident("aa").await.unwrap().unwrap().deliveries[1];
    let message = format!("given up after {} attempts: 503 from it", calls.len());
    assert_eq!((row.state, row.error.clone()), (DeliveryState::Dead, Some(message)));
}

#[tokio::test]
async fn a_pause_that_the_receiver_asks_for_holds_for_all_its_messages() {
    let world = World::new().await;
    world.script("slack", [Answer::Retry(Some(Duration::from_secs(90)))], Answer::Take);
    world.tell("aa", 1).await;
    world.tell("bb", 1).await;
    let running = world.start();
    world.until(&running, 0, async || world.calls("github").len() == 2 && world.calls("slack").len() == 1).await;
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    let calls = world.calls("slack");
    assert_eq!(calls.len(), 3);
    assert!(calls[1].at - calls[0].at >= 90 * SECOND, "{calls:?}");
}

#[tokio::test]
async fn a_receiver_that_fails_or_hangs_blocks_no_other() {
    for then in [Answer::Retry(None), Answer::GiveUp, Answer::Hang] {
        let world = World::new().await;
        world.script("slack", [], then);
        for number in 1..=3 {
            world.tell("aa", number).await;
        }
        let running = world.start();
        // The clock stands still: all of github's goes out without a pause.
        world.until(&running, 0, async || world.calls("github").len() == 3).await;
        running.stop().await;
        assert_eq!(world.keys("github"), ["aa/1/github", "aa/2/github", "aa/3/github"]);
        assert_eq!(world.keys("slack"), ["aa/1/slack"]);
    }
}

#[tokio::test]
async fn no_answer_is_a_failure() {
    let mut world = World::new().await;
    world.policy.timeout = Duration::from_millis(5);
    world.script("slack", [Answer::Hang], Answer::Take);
    world.tell("aa", 1).await;
    let running = world.start();
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    assert_eq!(world.keys("slack"), ["aa/1/slack"; 2]);
}

#[tokio::test]
async fn a_restart_goes_on_and_a_kill_repeats_with_the_same_key() {
    let world = World::new().await;
    world.script("slack", [Answer::Hang], Answer::Take);
    world.tell("aa", 1).await;
    world.tell("aa", 2).await;
    let running = world.start();
    world.until(&running, 0, async || world.calls("slack").len() == 1 && world.calls("github").len() == 2).await;
    running.kill().await;

    // Another process, on the same folder.
    world.store.close().await.unwrap();
    let world = World { store: Store::open(world.dir.path()).await.unwrap(), ..world };
    let running = world.start();
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    assert_eq!(world.keys("slack"), ["aa/1/slack", "aa/1/slack", "aa/2/slack"]);
    assert_eq!(world.keys("github").len(), 2, "what was answered is not repeated");
}

#[tokio::test]
async fn a_shutdown_lets_running_requests_end_and_starts_no_other() {
    let mut world = World::new().await;
    world.policy.grace = Duration::from_secs(20);
    world.script("slack", [Answer::Gate], Answer::Take);
    world.tell("aa", 1).await;
    world.tell("aa", 2).await;
    let running = world.start();
    world.until(&running, 0, async || world.calls("slack").len() == 1).await;
    running.stop.cancel();
    world.gate.notify_one();
    running.stop().await;
    assert_eq!(world.keys("slack"), ["aa/1/slack"]);
    let rows = world.store.incident("aa").await.unwrap().unwrap().deliveries;
    let states: BTreeMap<_, _> = rows.iter().map(|row| (row.notification.key.as_str(), row.state)).collect();
    assert_eq!(states["aa/1/slack"], DeliveryState::Sent);
    assert_eq!(states["aa/2/slack"], DeliveryState::Pending);
}

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
async fn messages_for_a_receiver_that_is_gone_are_given_up_after_a_day() {
    let mut world = World::new().await;
    world.tell("aa", 1).await;
    world.scripts.remove("slack");
    let running = world.start();
    world.until(&running, 0, async || world.calls("github").len() == 1).await;
    running.stop().await;
    assert_eq!(world.store.deliveries_waiting().await.unwrap(), [("slack".to_owned(), 1)]);
    world.now.fetch_add(25 * HOUR, Ordering::SeqCst);
    let running = world.start();
    world.until_drained(&running, 0).await;
    running.stop().await;
    let rows = world.store.incident("aa").await.unwrap().unwrap().deliveries;
    assert_eq!(rows[1].error.as_deref(), Some("`slack` is not in the settings any more"));
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

/// What happens to the outbox while it works.
#[derive(Clone, Copy, Debug)]
enum Event {
    Tell(usize),
    Pass,
    Stop,
    Kill,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..3usize).prop_map(Event::Tell),
        4 => Just(Event::Pass),
        1 => Just(Event::Stop),
        1 => Just(Event::Kill),
    ];
    proptest::collection::vec(event, 1..16)
}

/// Whatever fails and whenever it is stopped or killed: in the end each message was taken or is visibly dead, each
/// receiver saw the transitions of each incident in order, and only a failure or a kill makes a second attempt.
async fn check(slack: Vec<Answer>, github: Vec<Answer>, events: Vec<Event>) {
    let world = World::new().await;
    let failures = |answers: &[Answer]| answers.iter().filter(|answer| matches!(answer, Answer::Retry(_))).count();
    let allowed = BTreeMap::from([("slack", failures(&slack)), ("github", failures(&github))]);
    world.script("slack", slack, Answer::Take);
    world.script("github", github, Answer::Take);
    let (mut told, mut kills) = ([0u64; 3], 0);
    let mut running = world.start();
    for event in events {
        match event {
            Event::Tell(incident) => {
                told[incident] += 1;
                world.tell(["aa", "bb", "cc"][incident], told[incident]).await;
                running.wake.notify_one();
            }
            Event::Pass => {
                let end = world.now.load(Ordering::SeqCst) + 3 * SECOND;
                world.until(&running, SECOND, async || world.now.load(Ordering::SeqCst) >= end).await;
            }
            Event::Stop => {
                running.stop().await;
                running = world.start();
            }
            Event::Kill => {
                running.kill().await;
                kills += 1;
                running = world.start();
            }
        }
    }
    world.until_drained(&running, 10 * SECOND).await;
    running.stop().await;
    for receiver in RECEIVERS {
        let keys = world.keys(receiver);
        let all: usize = told.iter().map(|count| usize::try_from(*count).unwrap()).sum();
        for (incident, count) in ["aa", "bb", "cc"].iter().zip(told) {
            let mut seen: Vec<_> = keys.iter().filter(|key| key.starts_with(incident)).cloned().collect();
            seen.dedup();
            let expected: Vec<_> = (1..=count).map(|number| format!("{incident}/{number}/{receiver}")).collect();
            assert_eq!(seen, expected, "each, in order");
        }
        assert!(keys.len() <= all + allowed[receiver] + kills, "{receiver}: {keys:?}");
    }
    let counts = world.store.deliveries_by_state().await.unwrap();
    assert_eq!(counts.sent + counts.dead, 2 * told.iter().sum::<u64>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_whatever_fails(slack in answers(), github in answers(), events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(slack, github, events));
    }
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

#[tokio::test]
async fn what_was_used_in_a_time_that_has_not_come_yet_holds_nothing_back() {
    let mut world = World::new().await;
    world.limits = Limits { sends: Quota { count: 1, per: Duration::from_secs(2) }, creations: None };
    let running = world.start();
    world.tell("aa", 1).await;
    world.until_drained(&running, SECOND).await;
    world.now.fetch_sub(5 * HOUR, Ordering::SeqCst);
    let back = world.now.load(Ordering::SeqCst);
    world.tell("bb", 1).await;
    world.until_drained(&running, SECOND).await;
    assert!(world.now.load(Ordering::SeqCst) - back < MINUTE);
    running.stop().await;
}

#[tokio::test]
async fn time_in_which_nobody_tried_does_not_make_a_message_old() {
    let world = World::new().await;
    world.script("slack", [Answer::Retry(None); 3], Answer::Take);
    world.tell("aa", 1).await;
    let running = world.start();
    world.until(&running, SECOND, async || world.calls("slack").len() >= 2).await;
    // Years: the clock had stood at the beginning of its time.
    world.now.fetch_add(1_000 * 24 * HOUR, Ordering::SeqCst);
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    assert_eq!(world.store.deliveries_by_state().await.unwrap().dead, 0);
}

#[tokio::test]
async fn a_clock_that_is_set_while_a_request_is_under_way_makes_no_message_old() {
    let world = World::new().await;
    world.script("slack", [Answer::Retry(None), Answer::GateRetry], Answer::Take);
    world.tell("aa", 1).await;
    let running = world.start();
    world.until(&running, SECOND, async || world.calls("slack").len() == 2).await;
    world.now.fetch_add(1_000 * 24 * HOUR, Ordering::SeqCst);
    world.gate.notify_one();
    world.until_drained(&running, SECOND).await;
    running.stop().await;
    let counts = world.store.deliveries_by_state().await.unwrap();
    assert_eq!((counts.sent, counts.dead), (2, 0));
}

/// What happens to a message that nobody takes.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// It is tried so often.
    Run(usize),
    /// The clock is set by so many hours.
    Jump(i64),
    /// Nothing runs, while the clock goes on or is set by so many hours; a second start may follow at once.
    Stop(i64, bool),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let hours = || prop_oneof![3 => 1..30i64, 1 => Just(24 * 365 * 10), 1 => -30..0i64];
    let turn = prop_oneof![
        2 => (1..9usize).prop_map(Turn::Run),
        1 => hours().prop_map(Turn::Jump),
        2 => (hours(), any::<bool>()).prop_map(|(hours, twice)| Turn::Stop(hours, twice)),
    ];
    proptest::collection::vec(turn, 1..9)
}

/// However long sigyn stood still and however the clock was set: a message that was tried for less than a day is not given
/// up, and the time in which it was tried counts.
async fn check_patience(turns: Vec<Turn>) {
    let world = World::new().await;
    world.script("slack", [], Answer::Retry(None));
    world.tell("aa", 1).await;
    let mut running = world.start();
    world.until(&running, 0, async || world.calls("slack").len() == 1).await;
    for turn in turns {
        match turn {
            Turn::Run(times) => {
                for _ in 0..times {
                    world.try_again(&running).await;
                }
            }
            Turn::Jump(hours) => {
                world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
            }
            Turn::Stop(hours, twice) => {
                running.stop().await;
                world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
                if twice {
                    world.start().stop().await;
                }
                running = world.start();
            }
        }
        // All in all less than 8 times 9 times 11 minutes.
        world.try_again(&running).await;
    }
    running.stop().await;
    assert_eq!(world.store.deliveries_by_state().await.unwrap().dead, 0);
    let row = &world.store.incident("aa").await.unwrap().unwrap().deliveries[1];
    assert!(row.first_try.unwrap() <= row.changed_at, "{row:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_time_in_which_it_was_tried_makes_a_message_old(turns in turns()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_patience(turns));
    }
}

#[tokio::test]
async fn stops_between_attempts_do_not_keep_a_message_for_ever() {
    let world = World::new().await;
    world.script("slack", [], Answer::Retry(None));
    world.tell("aa", 1).await;
    let mut tried = 0;
    // Restarted again and again, and away for ten hours each time: what counts are the times between.
    while world.store.deliveries_by_state().await.unwrap().dead == 0 {
        let running = world.start();
        for _ in 0..9 {
            world.try_again(&running).await;
        }
        running.stop().await;
        world.now.fetch_add(10 * HOUR, Ordering::SeqCst);
        tried += 9 * 11;
        assert!(tried < 40 * 60, "tried for {tried} minutes");
    }
    assert!(tried > 20 * 60, "given up after {tried} minutes");
}

/// The clock is set, to and fro, while receivers fail; the back-off and the limits are what they are in the end.
async fn check_jumps(answers: Vec<Answer>, jumps: Vec<(i64, bool)>) {
    let mut world = World::new().await;
    let creations = Some(Quota { count: 4, per: Duration::from_secs(60) });
    world.limits = Limits { sends: Quota { count: 1, per: Duration::from_secs(1) }, creations };
    let failures = answers.iter().filter(|answer| matches!(answer, Answer::Retry(_))).count();
    world.script("slack", answers, Answer::Take);
    let mut running = world.start();
    let mut told = 0_u64;
    for (hours, restart) in jumps {
        told += 1;
        world.tell(["aa", "bb"][usize::from(told.is_multiple_of(2))], told.div_ceil(2)).await;
        running.wake.notify_one();
        let end = world.now.load(Ordering::SeqCst) + 4 * SECOND;
        world.until(&running, SECOND, async || world.now.load(Ordering::SeqCst) >= end).await;
        if restart {
            running.stop().await;
            world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
            running = world.start();
        } else {
            world.now.fetch_add(hours * HOUR, Ordering::SeqCst);
        }
    }
    // From here on everything is taken, so nothing may wait longer than the longest pause that was planned before.
    world.script("slack", [], Answer::Take);
    let start = world.now.load(Ordering::SeqCst);
    world.until_drained(&running, 5 * SECOND).await;
    let waited = world.now.load(Ordering::SeqCst) - start;
    running.stop().await;
    let longest = Nanos::try_from(world.policy.longest.as_nanos()).unwrap() + 5 * MINUTE;
    assert!(waited <= longest, "{} s", waited / SECOND);
    let counts = world.store.deliveries_by_state().await.unwrap();
    assert_eq!((counts.sent, counts.pending), (2 * told - counts.dead, 0));
    let keys = world.keys("slack");
    assert!(keys.len() <= usize::try_from(told).unwrap() + failures, "{keys:?}");
    for incident in ["aa", "bb"] {
        let mut seen: Vec<_> = keys.iter().filter(|key| key.starts_with(incident)).cloned().collect();
        seen.dedup();
        let expected: Vec<_> = (1..=seen.len()).map(|number| format!("{incident}/{number}/slack")).collect();
        assert_eq!(seen, expected, "each, in order");
    }
    let dead = world.store.dead_deliveries(99).await.unwrap();
    assert!(dead.iter().all(|row| row.error.as_deref() == Some("404 from it")), "none is too old: {dead:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_clock_that_jumps_loses_doubles_and_stalls_nothing(
        answers in answers(),
        jumps in proptest::collection::vec((-12..=12i64, any::<bool>()), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check_jumps(answers, jumps));
    }
}
