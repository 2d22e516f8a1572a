//! Messages for receivers that the settings no longer have.
//!
//! What comes in: rows that wait for a receiver that is not there. What goes out: the same rows, each look at them an attempt
//! that failed: so a receiver that comes back in time gets them, and they are given up after the same time, counted by the
//! same rule, as those that a receiver does not take. What never happens here: a message.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Outbox, jumped, nanos};
use crate::store::StoreError;
use crate::time::Nanos;

/// Looks after what nobody takes.
pub(super) struct Absent<'a, N> {
    outbox: &'a Outbox<N>,
    /// Receivers that were named since the start.
    known: BTreeSet<String>,
    /// The newest time that was seen.
    latest: Option<Nanos>,
}

impl<'a, N> Absent<'a, N> {
    pub(super) fn new(outbox: &'a Outbox<N>) -> Self {
        Self { outbox, known: BTreeSet::new(), latest: None }
    }

    /// Looks after each commit with deliveries, and as often as anything is tried, until told to stop.
    pub(super) async fn run(mut self, mut wake: watch::Receiver<()>, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            wake.borrow_and_update();
            if let Err(error) = self.pass().await {
                tracing::error!(%error, "cannot look after messages for receivers that are not in the settings");
            }
            tokio::select! {
                () = tokio::time::sleep(self.outbox.policy.longest) => {}
                _ = wake.changed() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One look at all that waits.
    pub(super) async fn pass(&mut self) -> Result<(), StoreError> {
        if !(self.outbox.may)() {
            return Ok(());
        }
        let (store, now) = (&self.outbox.store, (self.outbox.clock)());
        let skipped = self.latest.map_or(0, |latest| jumped(latest, now));
        let waiting = store.deliveries_waiting().await?;
        let is_gone = |name: &str| self.outbox.receivers.iter().all(|receiver| receiver.name != name);
        for (name, count) in waiting.into_iter().filter(|(name, _)| is_gone(name)) {
            if !self.known.contains(&name) {
                tracing::warn!(receiver = name, count, "messages wait for a receiver that is not in the settings");
                store.deliveries_untried(&name, now).await?;
            } else if skipped > 0 {
                store.deliveries_younger(&name, skipped).await?;
            }
            self.give_up(&name, now).await?;
            self.known.insert(name);
        }
        self.latest = Some(now);
        Ok(())
    }

    async fn give_up(&self, name: &str, now: Nanos) -> Result<(), StoreError> {
        let (store, error) = (&self.outbox.store, format!("`{name}` is not in the settings any more"));
        store.deliveries_missed(name, &error, now).await?;
        let before = now.saturating_sub(nanos(self.outbox.policy.give_up));
        let count = store.deliveries_abandon(name, before, now).await?;
        if count > 0 {
            tracing::error!(receiver = name, count, error, "messages are given up");
            let labels =
                [("receiver", name.to_owned()), ("outcome", "dead".to_owned()), ("reason", "removed".to_owned())];
            metrics::counter!("sigyn_deliveries_total", &labels).increment(count);
        }
        Ok(())
    }
}
