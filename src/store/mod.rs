//! What must survive a restart: one concrete store, in one SQLite file. Only this folder knows SQL.
//!
//! What comes in: [`Commit`]s, one for each step of the engine, all or nothing. What goes out: what a restart needs, what
//! is due to be sent, and lists for people.

pub mod config;

use serde::{Deserialize, Serialize};

use crate::engine::Step;
use crate::incident::TransitionKind;
use crate::notify::{Notification, Receipt};
use crate::time::Nanos;

/// What one transaction writes: a step of the engine, where its source stands, and the messages that follow.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The step.
    pub step: &'a Step,
    /// [`crate::collect::Source::state`] after the batch of the step.
    pub source_state: Option<&'a str>,
    /// One row for each transition and receiver.
    pub deliveries: &'a [NewDelivery],
    /// The wall clock, for rows that people read.
    pub now: Nanos,
}

/// A message to be written with its transition.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// Name of the receiver: `slack`, `github`, `remediation_log`.
    pub receiver: String,
    /// What to send. Its `key` is unique: a second row with the same key is ignored.
    pub notification: Notification,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// To be sent, perhaps again.
    Pending,
    /// The receiver has it.
    Sent,
    /// Given up; it stays visible.
    Dead,
}

/// A row of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Row number, in the order of the transitions.
    pub id: i64,
    /// Name of the receiver.
    pub receiver: String,
    /// Id of the incident.
    pub incident: String,
    /// Which transition.
    pub kind: TransitionKind,
    /// What to send.
    pub notification: Notification,
    /// How often it was tried.
    pub attempts: u32,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// Receipt of the first message about this incident at this receiver, when there was one.
    pub earlier: Option<Receipt>,
}

/// What a watch finds again after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchState {
    /// [`Step::done_until`] of the last commit.
    pub done_until: Nanos,
    /// The source's own state.
    pub source_state: Option<String>,
    /// The engine's own state.
    pub carry: Option<String>,
}
