//! From rows in the store to messages at the receivers: at least once, in order, each receiver on its own.
//!
//! What comes in: the deliveries that [`Store::commit_dispatch`] wrote with their notices. What goes out: requests through
//! [`Notifier`]s, and for each row what became of it. A row is `sent` only after the receiver has answered; a kill
//! between the answer and the row repeats that one message, with the same key. What never happens here: a message that
//! is lost without a trace, or one receiver that waits for another.

mod absent;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::absent::Absent;
use super::pace::Pace;
pub use super::pace::{Daily, Limits, Quota};
use super::{Notifier, Receipt, SendError};
use crate::engine::CommandKind;
use crate::labels::{FNV_OFFSET, fnv1a};
use crate::store::{Delivery, Store, StoreError};
use crate::time::{MINUTE, Nanos, SECOND, rfc3339};

/// Reads the wall clock.
pub type Clock = Arc<dyn Fn() -> Nanos + Send + Sync>;

/// Sends what the store says is due. Fields are wired by the caller; nothing happens before [`Outbox::run`].
pub struct Outbox<N> {
    /// Where the rows are.
    pub store: Store,
    /// Who is told, with unique names.
    pub receivers: Vec<Receiver<N>>,
    /// To be notified (`notify_one`) after each commit with deliveries.
    pub wake: Arc<Notify>,
    /// The wall clock: rows carry its times. Waiting is done with tokio's timers.
    pub clock: Clock,
    /// How stubborn it is.
    pub policy: Policy,
    /// Whether this process may send at this moment: of several, only one may.
    pub may: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// A way to tell people, by the name that the rows have.
pub struct Receiver<N> {
    /// `slack`, `github`, `remediation_log`.
    pub name: String,
    /// What sends.
    pub notifier: N,
    /// How fast it may be asked.
    pub limits: Limits,
    /// How much of it a day bears.
    pub daily: Option<Daily>,
}

/// How stubborn the outbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The shortest pause after a failure.
    pub first: Duration,
    /// The longest pause after a failure, unless the receiver asks for a longer one.
    pub longest: Duration,
    /// A message that could not be sent for this long is given up. Counted from its first attempt, without the time in which
    /// nobody tried: while no sigyn ran, and what the clock skipped.
    pub give_up: Duration,
    /// A receiver that took nothing for this long becomes an incident of its own.
    pub ill_after: Duration,
    /// A request that takes longer counts as failed.
    pub timeout: Duration,
    /// On shutdown, running requests may take this long to end.
    pub grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(600),
            give_up: Duration::from_secs(24 * 3600),
            ill_after: Duration::from_secs(300),
            timeout: Duration::from_secs(60),
            grace: Duration::from_secs(5),
        }
    }
}

impl Policy {
    /// The pause after failure number `failures` (from 1): exponential with full jitter, between `first` and `longest`.
    /// The jitter is a hash, so that a run can be repeated.
    #[must_use]
    pub fn pause(&self, id: i64, failures: u32) -> Duration {
        let ceiling = self.first.saturating_mul(2u32.saturating_pow(failures)).min(self.longest).max(self.first);
        let hash = fnv1a(fnv1a(FNV_OFFSET, &id.to_le_bytes()), &failures.to_le_bytes());
        // FNV's low bits are the well mixed ones.
        let jitter = f64::from((hash & 0xffff) as u32) / 65536.0;
        self.first + (ceiling - self.first).mul_f64(jitter)
    }
}

/// Rows taken at once; a later one of the same incident becomes due only when the earlier is done.
const TAKE: u32 = 32;
/// No alarm is set further away than this, so that a wall clock that jumps does no lasting harm.
const LONGEST_REST: Nanos = MINUTE;
/// While a receiver takes nothing, it is asked about this often, whatever waits for it.
const PROBE: Duration = Duration::from_secs(60);
/// Rows are looked at every few minutes at the latest: when more seems to have passed, the clock was set forward, or
/// the machine slept.
const JUMP: Nanos = 30 * MINUTE;
/// Pause after a failure of the store.
const STORE_PAUSE: Duration = Duration::from_secs(1);

impl<N: Notifier> Outbox<N> {
    /// Sends until `shutdown`, then lets running requests end within the grace time and returns. What is pending then
    /// is sent by the next run.
    pub async fn run(&self, shutdown: CancellationToken) {
        let (tell, told) = watch::channel(());
        let mut lanes = Vec::new();
        for receiver in &self.receivers {
            lanes.push(Lane::new(self, receiver, told.clone(), &shutdown).run());
        }
        let absent = Absent::new(self).run(told, &shutdown);
        let lanes = join(join_all(lanes), absent);
        tokio::pin!(lanes);
        loop {
            tokio::select! {
                _ = &mut lanes => return,
                () = self.wake.notified() => { tell.send_replace(()); }
            }
        }
    }
}

/// One receiver's part of the work. Lanes share nothing but the store.
struct Lane<'a, N> {
    outbox: &'a Outbox<N>,
    receiver: &'a Receiver<N>,
    wake: watch::Receiver<()>,
    stop: &'a CancellationToken,
    sends: Pace,
    creations: Option<Pace>,
    /// The receiver asked for a pause, or seems to be down: from when on, and until when.
    hold: Option<(Nanos, Nanos)>,
    /// The newest time that was seen: a clock may be set back.
    latest: Nanos,
    failing: Option<Failing>,
    /// An internal incident about this receiver is open.
    said: bool,
}

/// Failures since the last message that was taken.
struct Failing {
    since: Nanos,
    count: u32,
    error: String,
}

/// What a pass over the due rows came to.
enum Pass {
    /// Something was done: there may be more.
    Again,
    /// Nothing can be done before some time.
    Rest,
}

impl<'a, N: Notifier> Lane<'a, N> {
    fn new(
        outbox: &'a Outbox<N>,
        receiver: &'a Receiver<N>,
        wake: watch::Receiver<()>,
        stop: &'a CancellationToken,
    ) -> Self {
        let Limits { sends, creations } = receiver.limits;
        let (sends, creations) = (Pace::new(sends), creations.map(Pace::new));
        Self {
            outbox,
            receiver,
            wake,
            stop,
            sends,
            creations,
            hold: None,
            latest: Nanos::MIN,
            failing: None,
            said: false,
        }
    }

    async fn run(mut self) {
        // An earlier process may have said that the receiver is ill.
        self.said = self.outbox.store.internal_firing("receiver", &self.receiver.name).await.unwrap_or(false);
        while !self.stop.is_cancelled() {
            self.wake.borrow_and_update();
            let done = match self.pass().await {
                Ok(Pass::Again) => Ok(()),
                Ok(Pass::Rest) => self.rest().await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::error!(receiver = self.receiver.name, %error, "the outbox cannot work");
                self.pause(STORE_PAUSE).await;
            }
        }
    }

    /// Tries what is due and allowed.
    async fn pass(&mut self) -> Result<Pass, StoreError> {
        let now = self.now();
        self.look_at_clock(now).await?;
        self.say_ill(now).await?;
        if self.blocked(now) > 0 {
            return Ok(Pass::Rest);
        }
        let due = self.outbox.store.due_deliveries(&self.receiver.name, now, TAKE).await?;
        let mut pass = Pass::Rest;
        for delivery in &due {
            let now = self.now();
            if self.look_at_clock(now).await? > 0 {
                // What was read above is older than what stands in the store.
                return Ok(Pass::Again);
            }
            if self.stop.is_cancelled() || self.blocked(now) > 0 {
                return Ok(pass);
            }
            if !(self.outbox.may)() {
                self.pause(STORE_PAUSE).await;
                return Ok(Pass::Again);
            }
            pass = Pass::Again;
            if let Some(later) = self.creation_later(delivery, now) {
                self.outbox.store.delivery_postponed(delivery.id, later, now).await?;
                continue;
            }
            if !self.day_bears(delivery, now).await? {
                let message = "as many as daily_cap allows were sent on this day";
                self.dead(delivery, "daily_cap", message).await?;
                continue;
            }
            let Some(result) = self.send(delivery).await else { return Ok(Pass::Rest) };
            if matches!(result, Err(SendError::GiveUp { .. })) {
                self.day_returns(delivery, now).await?;
            }
            self.record(delivery, result).await?;
        }
        Ok(pass)
    }

    /// A pause that was planned by a clock that was ahead is no pause any more, and time that a clock skips, or in which no
    /// sigyn ran, does not make a message old. Returns what was skipped since the last look.
    async fn look_at_clock(&mut self, now: Nanos) -> Result<Nanos, StoreError> {
        if self.latest == Nanos::MIN {
            self.outbox.store.deliveries_untried(&self.receiver.name, now).await?;
            self.latest = now;
        }
        let skipped = jumped(self.latest, now);
        if skipped > 0 {
            tracing::warn!(
                receiver = self.receiver.name,
                seconds = skipped / SECOND,
                "the clock was set forward, or nothing could be done for long"
            );
            self.outbox.store.deliveries_younger(&self.receiver.name, skipped).await?;
        }
        if let Some(failing) = &mut self.failing {
            failing.since = failing.since.saturating_add(skipped).min(now);
        }
        if now.saturating_add(SECOND) < self.latest {
            self.hold = None;
        }
        self.latest = now;
        Ok(skipped)
    }

    /// Until when the first message of an incident must wait, when too much was created lately. It is put off in the
    /// store, and not here, so that follow-ups of other incidents pass it.
    fn creation_later(&mut self, delivery: &Delivery, now: Nanos) -> Option<Nanos> {
        let pace = self.creations.as_mut().filter(|_| delivery.earlier.is_none())?;
        let wait = pace.wait(now);
        if wait > 0 {
            return Some(now.saturating_add(wait));
        }
        pace.take(now);
        None
    }

    /// Counts a message for the day on which it is sent; false when that has as many as it bears. Counted before it is sent,
    /// and once however often it is tried: what may have gone out counts.
    async fn day_bears(&self, delivery: &Delivery, now: Nanos) -> Result<bool, StoreError> {
        let Some(daily) = self.daily_of(delivery) else { return Ok(true) };
        let (day, key) = (daily.zone.civil(now).date().to_string(), &delivery.notification.key);
        self.outbox.store.day_count(&self.receiver.name, &day, key, daily.cap).await
    }

    /// What is refused for good has cost nothing.
    async fn day_returns(&self, delivery: &Delivery, now: Nanos) -> Result<(), StoreError> {
        let Some(daily) = self.daily_of(delivery) else { return Ok(()) };
        let (day, key) = (daily.zone.civil(now).date().to_string(), &delivery.notification.key);
        self.outbox.store.day_uncount(&self.receiver.name, &day, key).await
    }

    fn daily_of(&self, delivery: &Delivery) -> Option<&'a Daily> {
        self.receiver.daily.as_ref().filter(|daily| (daily.counts)(delivery.kind))
    }

    /// One request; `None` when the shutdown did not let it end.
    async fn send(&mut self, delivery: &Delivery) -> Option<Result<Receipt, SendError>> {
        self.sends.take(self.now());
        let Policy { timeout, grace, .. } = self.outbox.policy;
        let request = self.receiver.notifier.send(&delivery.notification, delivery.earlier.as_ref());
        let over = async {
            self.stop.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            result = tokio::time::timeout(timeout, request) => Some(result.unwrap_or_else(|_| Err(SendError::Retry {
                reason: "timeout",
                message: format!("no answer from {} within {} s", self.receiver.name, timeout.as_secs_f64()),
                after: None,
            }))),
            () = over => None,
        }
    }

    async fn record(&mut self, delivery: &Delivery, result: Result<Receipt, SendError>) -> Result<(), StoreError> {
        let (id, now, store) = (delivery.id, self.now(), &self.outbox.store);
        match result {
            Ok(receipt) => {
                self.count("sent", "ok");
                self.sent(id, &receipt, now).await;
                self.works(now).await
            }
            Err(SendError::Retry { reason, message, after }) => {
                let pause = self.outbox.policy.pause(id, delivery.attempts.saturating_add(1));
                let next_at = now.saturating_add(nanos(pause.max(after.unwrap_or_default())));
                self.fails(&message, id, after, now);
                // The clock may have been set while the request was under way.
                let skipped = self.look_at_clock(now).await?;
                let first_try = delivery.first_try.map_or(now, |first| first.saturating_add(skipped).min(now));
                if next_at.saturating_sub(first_try) > nanos(self.outbox.policy.give_up) {
                    let message = format!("given up after {} attempts: {message}", delivery.attempts + 1);
                    return self.dead(delivery, reason, &message).await;
                }
                self.count("retry", reason);
                tracing::warn!(
                    receiver = self.receiver.name,
                    key = delivery.notification.key,
                    attempts = delivery.attempts + 1,
                    next = rfc3339(next_at),
                    error = message,
                    "a message waits"
                );
                store.delivery_retry(id, &message, (first_try, next_at), now).await
            }
            Err(SendError::GiveUp { reason, message }) => {
                self.fails(&message, id, None, now);
                self.dead(delivery, reason, &message).await
            }
        }
    }

    async fn dead(&self, delivery: &Delivery, reason: &'static str, message: &str) -> Result<(), StoreError> {
        self.count("dead", reason);
        let key = &delivery.notification.key;
        tracing::error!(receiver = self.receiver.name, key, error = message, "a message is given up");
        self.outbox.store.delivery_dead(delivery.id, message, self.now()).await
    }

    /// What was sent must be written before anything else is sent, or it would go out again: tries until it is, or the
    /// shutdown comes.
    async fn sent(&self, id: i64, receipt: &Receipt, now: Nanos) {
        while let Err(error) = self.outbox.store.delivery_sent(id, receipt, now).await {
            tracing::error!(receiver = self.receiver.name, %error, "cannot write that a message was sent");
            if self.stop.is_cancelled() {
                return;
            }
            self.pause(STORE_PAUSE).await;
        }
    }

    /// The receiver took a message.
    async fn works(&mut self, now: Nanos) -> Result<(), StoreError> {
        self.failing = None;
        self.hold = None;
        if std::mem::take(&mut self.said) {
            let detail = format!("{} takes messages again", self.receiver.name);
            self.say(false, detail, now).await?;
        }
        Ok(())
    }

    /// The receiver took nothing: leaves it in peace for as long as it asked for, or for a growing while.
    fn fails(&mut self, message: &str, id: i64, after: Option<Duration>, now: Nanos) {
        let failing = self.failing.get_or_insert(Failing { since: now, count: 0, error: String::new() });
        failing.count = failing.count.saturating_add(1);
        message.clone_into(&mut failing.error);
        let pause = after.unwrap_or_else(|| self.outbox.policy.pause(id, failing.count).min(PROBE));
        self.hold = Some((now, now.saturating_add(nanos(pause.min(self.outbox.policy.give_up)))));
    }

    /// Makes an incident of a receiver that has taken nothing for too long. All receivers get it, so it reaches
    /// somebody when there is another one.
    async fn say_ill(&mut self, now: Nanos) -> Result<(), StoreError> {
        let Some(failing) = self.failing.as_ref().filter(|_| !self.said) else { return Ok(()) };
        if now.saturating_sub(failing.since) < nanos(self.outbox.policy.ill_after) {
            return Ok(());
        }
        let (name, since) = (&self.receiver.name, rfc3339(failing.since));
        let detail = format!(
            "{name} has taken no message since {since}: {}. What it may still take is tried again for {} h, what it \
             refuses is given up; check its settings under `notify`, and whether it can be reached from here.",
            failing.error,
            self.outbox.policy.give_up.as_secs() / 3600,
        );
        self.say(true, detail, now).await?;
        self.said = true;
        Ok(())
    }

    async fn say(&self, firing: bool, detail: String, now: Nanos) -> Result<(), StoreError> {
        let (problem, on) = ("receiver".to_owned(), self.receiver.name.clone());
        // An illness began with the first failure, not when it had lasted long enough to be told.
        let since = self.failing.as_ref().filter(|_| firing).map(|failing| failing.since);
        let kind = CommandKind::Internal { problem, on, firing, since, detail };
        self.outbox.store.append_command(&kind, now).await.map(|_| ())
    }

    /// How long nothing may be sent at all; 0 or less when it may.
    fn blocked(&mut self, now: Nanos) -> Nanos {
        // A pause that began in a time that has not come yet was planned by a clock that was ahead.
        self.hold = self.hold.filter(|(from, _)| *from <= now.saturating_add(SECOND));
        let hold = self.hold.map_or(0, |(_, until)| until.saturating_sub(now));
        hold.max(self.sends.wait(now))
    }

    /// Sleeps until something can be done, something new is written, or the shutdown.
    async fn rest(&mut self) -> Result<(), StoreError> {
        let waiting = self.outbox.store.deliveries_waiting().await?;
        let pending: u64 = waiting.iter().map(|(_, count)| count).sum();
        metrics::gauge!("sigyn_outbox_pending").set(pending as f64);
        let now = self.now();
        if self.outbox.store.deliveries_set_back(&self.receiver.name, now).await? > 0 {
            tracing::warn!(receiver = self.receiver.name, "the clock was set back: what waits is tried now");
            return Ok(());
        }
        let due = self.outbox.store.next_due(&self.receiver.name).await?;
        let now = self.now();
        let mut wait = due.map_or(LONGEST_REST, |due| due.saturating_sub(now).max(self.blocked(now)));
        if let Some(failing) = self.failing.as_ref().filter(|_| !self.said) {
            let ill = failing.since.saturating_add(nanos(self.outbox.policy.ill_after));
            wait = wait.min(ill.saturating_sub(now));
        }
        let wait = Duration::from_nanos(wait.clamp(0, LONGEST_REST).unsigned_abs());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = self.wake.changed() => {}
            () = self.stop.cancelled() => {}
        }
        Ok(())
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn count(&self, outcome: &'static str, reason: &'static str) {
        let receiver = self.receiver.name.clone();
        metrics::counter!("sigyn_deliveries_total", "receiver" => receiver, "outcome" => outcome, "reason" => reason)
            .increment(1);
    }

    fn now(&self) -> Nanos {
        (self.outbox.clock)()
    }
}

/// How much the clock has skipped since it showed `latest`.
fn jumped(latest: Nanos, now: Nanos) -> Nanos {
    Some(now.saturating_sub(latest)).filter(|skipped| *skipped > JUMP).unwrap_or(0)
}

fn nanos(span: Duration) -> Nanos {
    Nanos::try_from(span.as_nanos()).unwrap_or(Nanos::MAX)
}

#[cfg(test)]
mod tests;
