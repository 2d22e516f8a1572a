//! From an input to what is stored: the engine on its own thread, and the one transaction of each step.
//!
//! A step that cannot be committed is tried again until it can: the engine has gone on, so the store must follow. Until
//! then its watch reads nothing more, and nobody is told anything that a restart would not know of.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::clock::Clock;
use super::lease::{DISPATCH, Leases, of_watch};
use super::shares::Shares;
use super::teller::Teller;
use crate::engine::{self, CommandKind, Engine, Input, Restore, Snapshot, Step};
use crate::incident::Incident;
use crate::store::{Commit, Store, StoreError, WatchState};
use crate::time::Nanos;

/// Pause between attempts to commit.
const COMMIT_PAUSE: Duration = Duration::from_secs(1);

/// Who looks on: the terminal of `once` and `demo`.
pub type Observer = Arc<dyn Fn(&Step) + Send + Sync>;

enum Ask {
    Step(Box<Input>, oneshot::Sender<Step>),
    Restore(Arc<str>, Box<Restore>, oneshot::Sender<()>),
    Snapshots(Arc<str>, oneshot::Sender<Vec<Snapshot>>),
    Forget(Arc<str>, oneshot::Sender<()>),
    Internal(Vec<Incident>, oneshot::Sender<()>),
}

/// The way to the engine's thread.
#[derive(Clone)]
pub struct EngineHandle {
    asks: mpsc::Sender<Ask>,
}

impl EngineHandle {
    /// The handle, and what the engine's thread runs until the last handle is gone.
    pub fn new(mut engine: Engine) -> (Self, impl FnOnce() + Send + 'static) {
        let (asks, mut inbox) = mpsc::channel::<Ask>(4);
        let run = move || {
            while let Some(ask) = inbox.blocking_recv() {
                // Whoever asked may have gone: at stop that is no fault.
                match ask {
                    Ask::Step(input, answer) => {
                        let _ = answer.send(engine.step(*input));
                    }
                    Ask::Restore(watch, stored, answer) => {
                        engine.restore(&watch, *stored);
                        let _ = answer.send(());
                    }
                    Ask::Snapshots(watch, answer) => {
                        let _ = answer.send(engine.snapshots(&watch));
                    }
                    Ask::Forget(watch, answer) => {
                        engine.forget(&watch);
                        let _ = answer.send(());
                    }
                    Ask::Internal(open, answer) => {
                        engine.restore_internal(open);
                        let _ = answer.send(());
                    }
                }
            }
        };
        (Self { asks }, run)
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (answer, told) = oneshot::channel();
        self.asks.send(make(answer)).await.ok()?;
        told.await.ok()
    }

    async fn step(&self, input: Input) -> Option<Step> {
        self.ask(|answer| Ask::Step(Box::new(input), answer)).await
    }

    /// Puts a watch back to where its last commit left it.
    pub async fn restore(&self, watch: &Arc<str>, stored: Restore) {
        let _ = self.ask(|answer| Ask::Restore(Arc::clone(watch), Box::new(stored), answer)).await;
    }

    /// Lets the engine forget what it knows of a watch.
    pub async fn forget(&self, watch: &Arc<str>) {
        let _ = self.ask(|answer| Ask::Forget(Arc::clone(watch), answer)).await;
    }

    /// Replaces the open incidents about sigyn itself.
    pub async fn restore_internal(&self, open: Vec<Incident>) {
        let _ = self.ask(|answer| Ask::Internal(open, answer)).await;
    }

    async fn snapshots(&self, watch: &Arc<str>) -> Vec<Snapshot> {
        self.ask(|answer| Ask::Snapshots(Arc::clone(watch), answer)).await.unwrap_or_default()
    }
}

/// What every watch and command goes through.
#[derive(Clone)]
pub struct Core {
    /// The engine's thread.
    pub engine: EngineHandle,
    /// The store.
    pub store: Store,
    /// What of the work is this process's.
    pub leases: Leases,
    /// What of the budget is whose.
    pub shares: Shares,
    /// Groups, holds back and tells.
    pub teller: Arc<Teller>,
    /// Names of the receivers.
    pub receivers: Arc<[String]>,
    /// Wakes the outbox.
    pub wake: Arc<Notify>,
    /// Wakes whoever carries out commands.
    pub commands: Arc<Notify>,
    /// The clock.
    pub clock: Clock,
    /// Who looks on.
    pub observer: Option<Observer>,
}

impl Core {
    /// Feeds a batch of history. Nothing of it is stored: the models are, with the first step after it.
    pub async fn learn(&self, input: Input) -> Option<Step> {
        let step = self.engine.step(input).await?;
        self.make_room(&step).await;
        Some(step)
    }

    /// Agrees with the other processes on what each watch may spend, and tells the engine what is new.
    ///
    /// # Errors
    /// When the store could not be asked; then each goes on with what it had.
    pub async fn share_budget(&self) -> Result<(), StoreError> {
        for (watch, budget) in self.shares.agree(self.clock.now()).await? {
            tracing::debug!(%watch, budget.watch, budget.group, "false alarms a day that it may bring");
            let _ = self.engine.step(Input::Budget(watch, budget)).await;
        }
        Ok(())
    }

    /// The budget is divided anew when a watch has more groups than its share has room for.
    async fn make_room(&self, step: &Step) {
        let Some(watch) = &step.watch else { return };
        if self.shares.has_outgrown(watch, step.learning.groups)
            && let Err(error) = self.share_budget().await
        {
            tracing::warn!(%error, %watch, "cannot divide the budget anew for more groups; trying again");
        }
    }

    /// Feeds an input and commits what follows, with the state of the source. `None` when the engine has stopped, or the
    /// work is another process's now. `stored` is the position of the watch in the store: a page that closes no window is
    /// read again after a restart, so it costs no transaction.
    pub async fn feed(&self, input: Input, source_state: Option<String>, stored: Option<Nanos>) -> Option<Step> {
        let step = self.engine.step(input).await?;
        if stored.is_some_and(|stored| step.is_repeatable(stored)) {
            count(&step);
        } else if !self.commit(&step, source_state.as_deref()).await {
            return None;
        }
        self.make_room(&step).await;
        if let Some(observer) = &self.observer {
            observer(&step);
        }
        Some(step)
    }

    /// Stores the models of a watch as they stand.
    pub async fn save(&self, watch: &Arc<str>) {
        let snapshots = self.engine.snapshots(watch).await;
        let step = Step { snapshots, ..Step::default() };
        self.commit_for(watch, step).await;
    }

    /// Closes what is open of a watch that is read no more, or read as another one.
    pub async fn withdraw(&self, watch: &Arc<str>, state: &WatchState, reason: &str) {
        let Some(carry) = &state.carry else { return };
        let Some(step) = engine::withdraw(watch, state.done_until, carry, self.clock.now(), reason) else { return };
        tracing::info!(%watch, incidents = step.incidents.len(), "open incidents are withdrawn: {reason}");
        self.commit(&step, None).await;
        if let Some(observer) = &self.observer {
            observer(&step);
        }
    }

    /// Says that a part of sigyn is ill, or well again.
    pub async fn report(&self, problem: &str, on: &str, firing: bool, detail: String) {
        self.report_since(None, problem, on, firing, detail).await;
    }

    /// The same, when it began before now.
    pub async fn report_since(&self, since: Option<Nanos>, problem: &str, on: &str, firing: bool, detail: String) {
        let (problem_name, on_name) = (problem.to_owned(), on.to_owned());
        let kind = CommandKind::Internal { problem: problem_name, on: on_name, firing, since, detail: detail.clone() };
        match self.store.append_command(&kind, self.clock.now()).await {
            Ok(_) => self.commands.notify_one(),
            Err(error) => tracing::error!(%error, problem, on, detail, "cannot note that a part of sigyn is ill"),
        }
    }

    /// Carries out the commands that wait.
    pub async fn run_commands(&self) {
        if self.leases.fence(DISPATCH).is_err() {
            return;
        }
        match self.store.pending_commands().await {
            Ok(commands) => {
                for command in commands {
                    self.feed(Input::Command(command), None, None).await;
                }
            }
            Err(error) => tracing::error!(%error, "cannot read the commands that wait"),
        }
    }

    async fn commit_for(&self, watch: &Arc<str>, step: Step) {
        // The position stays where it is: only the models are new.
        match self.store.watch_state(watch).await {
            Ok(Some(state)) => {
                let step = Step { watch: Some(Arc::clone(watch)), done_until: state.done_until, ..step };
                self.commit(&step, state.source_state.as_deref()).await;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, %watch, "cannot store the models"),
        }
    }

    /// False when the work is another process's now: then nothing is written.
    async fn commit(&self, step: &Step, source_state: Option<&str>) -> bool {
        let lease = step.watch.as_deref().map_or_else(|| DISPATCH.to_owned(), of_watch);
        let Ok(fence) = self.leases.fence(&lease) else { return false };
        let commit = Commit { step, source_state, fence: fence.as_ref() };
        let mut failed = false;
        while let Err(error) = self.store.commit(&commit).await {
            if matches!(error, StoreError::Fenced { .. }) {
                tracing::warn!(%error, "this process comes too late");
                return false;
            }
            failed = true;
            tracing::error!(%error, "cannot commit a step; trying again, nothing is read or told until it works");
            metrics::counter!("sigyn_commit_failures_total").increment(1);
            tokio::time::sleep(COMMIT_PAUSE).await;
        }
        if failed {
            tracing::info!("commits work again");
        }
        count(step);
        if !step.transitions.is_empty() {
            self.teller.bell.notify_one();
        }
        true
    }
}

fn count(step: &Step) {
    for transition in &step.transitions {
        let labels = [("watch", transition.incident.watch.clone()), ("kind", transition.kind.as_str().to_owned())];
        metrics::counter!("sigyn_transitions_total", &labels).increment(1);
    }
    let Some(watch) = &step.watch else { return };
    let labels = [("watch", watch.to_string())];
    metrics::counter!("sigyn_windows_total", &labels).increment(step.windows.len() as u64);
    for anomaly in &step.anomalies {
        let labels = [("watch", watch.to_string()), ("grade", anomaly.grade.as_str().to_owned())];
        metrics::counter!("sigyn_anomalies_total", &labels).increment(1);
    }
    metrics::gauge!("sigyn_groups", &labels).set(f64::from(step.learning.groups));
    metrics::gauge!("sigyn_groups_without_templates", &labels).set(f64::from(step.learning.coarse));
    metrics::gauge!("sigyn_groups_ready", &labels).set(f64::from(step.learning.ready));
    metrics::gauge!("sigyn_held_bytes", &labels).set(step.held as f64);
    if let Some(dropped) = step.dropped {
        for (what, count) in [("groups", dropped.groups), ("templates", dropped.templates), ("lines", dropped.lines)] {
            let labels = [("watch", watch.to_string()), ("what", what.to_owned())];
            metrics::counter!("sigyn_dropped_total", &labels).increment(count.into());
        }
    }
}
