//! From the queue of committed transitions to notices and deliveries, each pass one transaction.
//!
//! What comes in: what the store has queued, orders of people, the time. What goes out: commits of the [`Dispatcher`].
//! What never happens here: a decision; and a step of the dispatcher that is not committed before the next.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::lease::{DISPATCH, Leases};
use crate::config::Settings;
use crate::engine::{Command, CommandKind};
use crate::notify::dispatch::{Dispatch, Dispatcher, Input, Rules};
use crate::notify::route::{Router, Rules as RouteRules};
use crate::notify::silence::{FOREVER, Silence, Silences, file};
use crate::store::{Dispatched, NewDelivery, Store, StoreError, StoredSilence};
use crate::time::{HOUR, Nanos};

/// Transitions that are dealt with in one transaction.
const TAKE: u32 = 200;
/// Pause between attempts to commit.
const COMMIT_PAUSE: Duration = Duration::from_secs(1);
/// Orders of other processes come without a call.
const LOOK: Duration = Duration::from_secs(5);
/// Silences that are over are shown for so long.
const SHOWN: Nanos = 30 * 24 * HOUR;

/// Groups, holds back and tells. One task at a time works with it.
pub struct Teller {
    store: Store,
    leases: Leases,
    clock: Clock,
    rules: Rules,
    /// Silences of files.
    declared: Vec<Silence>,
    /// As the store has it; `None` before it is read, and after another process may have written.
    state: Mutex<Option<Dispatcher>>,
    /// Rung when something is queued.
    pub bell: Notify,
    /// Rung when something is to be sent.
    wake: std::sync::Arc<Notify>,
}

impl Teller {
    /// Tells these receivers by the settings; `always` hear everything at once.
    ///
    /// # Errors
    /// When the routes have mistakes or a file of silences cannot be read.
    pub fn new(
        (store, leases): (&Store, &Leases),
        clock: &Clock,
        settings: &Settings,
        (receivers, always): (Vec<String>, Vec<String>),
        wake: std::sync::Arc<Notify>,
    ) -> Result<Self> {
        let notify = &settings.notify;
        let tree = RouteRules { route: &notify.route, time_intervals: &notify.time_intervals, receivers: &receivers };
        let wrong = |wrong: Vec<crate::notify::route::Wrong>| {
            let all: Vec<String> = wrong.iter().map(|one| format!("notify.{}: {}", one.key, one.text)).collect();
            anyhow!("{}", all.join("; "))
        };
        let rules = Rules {
            router: Router::new(&tree).map_err(wrong)?,
            inhibit: notify.inhibit_rules.clone(),
            storm: notify.storm,
            reopen_within: notify.reopen_within.nanos(),
            always,
            links: notify.clone(),
        };
        let mut declared = Vec::new();
        for path in &notify.silence_files {
            declared.extend(file::load(path)?);
        }
        let (store, leases, clock) = (store.clone(), leases.clone(), clock.clone());
        Ok(Self { store, leases, clock, rules, declared, state: Mutex::new(None), bell: Notify::new(), wake })
    }

    /// Works until told to stop.
    pub async fn run(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let next = self.pass(false).await;
            let due = next.map_or(LOOK, |at| {
                let left = at.saturating_sub(self.clock.now()).max(0).unsigned_abs();
                self.clock.wall(Duration::from_nanos(left)).clamp(Duration::from_millis(1), LOOK)
            });
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.bell.notified() => {}
                () = tokio::time::sleep(due) => {}
            }
        }
    }

    /// Another process may work with it from now on.
    pub async fn forget(&self) {
        *self.state.lock().await = None;
    }

    /// Deals with all that is queued and due; `flush` tells at once what waits for others. Returns when something is due
    /// next.
    pub async fn pass(&self, flush: bool) -> Option<Nanos> {
        let mut state = self.state.lock().await;
        loop {
            match self.once(&mut state, flush).await {
                Ok((true, _)) => {}
                Ok((false, next)) => return next,
                Err(StoreError::Fenced { .. }) => {
                    *state = None;
                    return None;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot read what is to be told; trying again");
                    return None;
                }
            }
        }
    }

    /// One transaction; whether there may be more, and when something is due next.
    async fn once(&self, state: &mut Option<Dispatcher>, flush: bool) -> Result<(bool, Option<Nanos>), StoreError> {
        let Ok(fence) = self.leases.fence(DISPATCH) else {
            *state = None;
            return Ok((false, None));
        };
        let dispatcher = match state {
            Some(dispatcher) => dispatcher,
            None => state.insert(self.load().await?),
        };
        let queued = self.store.queued(TAKE).await?;
        let orders = self.store.pending_orders().await?;
        let more = queued.len() == TAKE as usize;
        self.resend(&orders).await?;
        let queued: Vec<_> = queued.into_iter().map(|one| (one.seq, one.transition)).collect();
        let now = self.clock.now();
        let out = dispatcher.step(&Input { queued: &queued, orders: &orders, now, flush });
        if !out.is_empty() {
            self.commit(&out, fence.as_ref(), now).await?;
        }
        Ok((more, out.next_at))
    }

    /// Messages that were given up are sent again when somebody asks for it. Asked for twice it does no harm, so it comes
    /// before the order counts as carried out.
    async fn resend(&self, orders: &[Command]) -> Result<(), StoreError> {
        for order in orders {
            let CommandKind::Resend { receiver, incident } = &order.kind else { continue };
            let now = self.clock.now();
            self.store.deliveries_revive(receiver.as_deref(), incident.as_deref(), now).await?;
            self.wake.notify_one();
        }
        Ok(())
    }

    /// The dispatcher has gone on, so the store must follow: tries until it does.
    async fn commit(&self, out: &Dispatch, fence: Option<&crate::store::Fence>, now: Nanos) -> Result<(), StoreError> {
        let deliveries: Vec<NewDelivery> = out
            .deliveries
            .iter()
            .map(|(receiver, notification)| NewDelivery {
                receiver: receiver.clone(),
                notification: notification.clone(),
            })
            .collect();
        let silences: Vec<(String, Option<StoredSilence>)> =
            out.silences.iter().map(|(id, silence)| (id.clone(), silence.as_ref().map(stored))).collect();
        let dispatched = Dispatched {
            taken: &out.taken,
            orders_done: &out.orders_done,
            incidents: &out.incidents,
            notices: &out.notices,
            deliveries: &deliveries,
            state: &out.state,
            silences: &silences,
            now,
            fence,
        };
        while let Err(error) = self.store.commit_dispatch(&dispatched).await {
            if matches!(error, StoreError::Fenced { .. }) {
                tracing::warn!(%error, "this process comes too late");
                return Err(error);
            }
            tracing::error!(%error, "cannot commit what is to be told; trying again, nothing is told until it works");
            metrics::counter!("sigyn_commit_failures_total").increment(1);
            tokio::time::sleep(COMMIT_PAUSE).await;
        }
        for notice in &out.notices {
            metrics::counter!("sigyn_notices_total", "kind" => notice.kind.as_str()).increment(1);
        }
        for (route, reason) in &out.held {
            metrics::counter!("sigyn_held_back_total", "route" => route.clone(), "reason" => *reason).increment(1);
        }
        if !deliveries.is_empty() {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// The dispatcher as the store has it.
    async fn load(&self) -> Result<Dispatcher, StoreError> {
        let mut silences = Silences::new();
        for row in self.store.silences().await? {
            let read = Silence::read(&row.document).and_then(|silence| silences.set(silence));
            if let Err(error) = read {
                tracing::error!(silence = row.id, %error, "a stored silence cannot be used");
            }
        }
        for silence in &self.declared {
            if let Err(error) = silences.set(silence.clone()) {
                tracing::error!(silence = silence.id, %error, "a silence of a file cannot be used");
            }
        }
        silences.forget(self.clock.now().saturating_sub(SHOWN));
        let mut dispatcher = Dispatcher::new(self.rules.clone(), silences);
        let state = self.store.dispatch_state().await?;
        for error in dispatcher.restore(state.iter().map(|(key, document)| (key.as_str(), document.as_str()))) {
            tracing::error!(
                error,
                "what was told of an incident cannot be read any more; it is told as far as the store knows it otherwise"
            );
        }
        for id in dispatcher.wanting() {
            if let Some(known) = self.store.recall(&id).await? {
                dispatcher.recall(&id, known);
            }
        }
        Ok(dispatcher)
    }
}

fn stored(silence: &Silence) -> StoredSilence {
    let ends_at = Some(silence.ends_at).filter(|at| *at != FOREVER);
    StoredSilence { id: silence.id.clone(), document: silence.document(), ends_at, expired_at: None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::Step;
    use crate::incident::{Incident, State, Transition, TransitionKind};
    use crate::notify::fixture;
    use crate::store::{Commit, DeliveryState};

    async fn happens(store: &Store, number: u64, kind: TransitionKind, incident: Incident) {
        let transitions = vec![Transition { kind, number, at: incident.last_seen, incident: incident.clone() }];
        let step = Step { transitions, incidents: vec![incident], ..Step::default() };
        store.commit(&Commit { step: &step, source_state: None, fence: None }).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_heard_a_beginning_hears_the_end_also_when_what_was_noted_cannot_be_read() {
        let dir = tempfile::TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let (clock, settings) = (Clock::fast(fixture::START, 1.0), Settings::default());
        let heard = (vec!["chat".to_owned()], vec!["remediation_log".to_owned()]);
        let teller = Teller::new((&store, &Leases::new(&store)), &clock, &settings, heard, Arc::default()).unwrap();
        let cart = fixture::opened().incident;
        happens(&store, 1, TransitionKind::Opened, cart.clone()).await;
        teller.pass(true).await;
        // As a newer sigyn would write it, or a bad disk.
        let state = [(format!("lead/{}", cart.id), Some("{}".to_owned()))];
        store.commit_dispatch(&Dispatched { state: &state, ..Dispatched::default() }).await.unwrap();
        assert_eq!(store.check().await.unwrap().faults.len(), 1);
        teller.forget().await;
        let over = Incident { state: State::Resolved, resolved_at: Some(cart.last_seen), ..cart.clone() };
        happens(&store, 2, TransitionKind::Resolved, over).await;
        teller.pass(true).await;
        let rows = store.incident(&cart.id).await.unwrap().unwrap().deliveries;
        let mut told: Vec<_> = rows.iter().map(|row| (row.receiver.as_str(), row.kind.as_str())).collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [("chat", "opened"), ("chat", "resolved"), ("remediation_log", "opened"), ("remediation_log", "resolved")]
        );
        assert!(rows.iter().all(|row| row.state == DeliveryState::Pending));
        assert_eq!(store.check().await.unwrap().faults, [""; 0], "what could not be read is gone with its end");
    }
}
