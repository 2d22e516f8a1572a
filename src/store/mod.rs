//! What must survive a restart: one concrete store, in one SQLite file or a PostgreSQL database. Only this folder knows SQL.
//!
//! What comes in: [`Commit`]s, one for each step of the engine, all or nothing. What goes out: what a restart needs, what
//! is due to be sent, and lists for people.

mod backup;
mod chain;
mod check;
mod commit;
pub mod config;
mod delivery;
mod dispatch;
mod error;
mod incident;
mod lease;
mod link;
mod open;
mod patch;
mod place;
mod prune;
mod recall;
mod resume;
mod share;
mod table;
#[cfg(test)]
mod tests;
mod unread;

use serde::{Deserialize, Serialize};

use crate::engine::Step;
use crate::incident::{Incident, State, Transition, TransitionKind};
use crate::notify::{Notification, Receipt};
use crate::time::Nanos;

pub use backup::{Copied, restore};
pub use check::{Health, MOST};
pub use error::StoreError;
pub use open::Store;
pub use place::{Place, is_url};
pub use share::{Claim, Share, Shares};

/// The account space of every row; more than one is to come.
const TENANT: &str = "default";

/// The watch whose [`WatchState`] holds the carry of steps that belong to no watch (commands).
pub const NO_WATCH: &str = "";

/// What one transaction writes: a step of the engine, and where its source stands. What people are told of it is the
/// dispatcher's to write: [`Dispatched`].
#[derive(Debug)]
pub struct Commit<'a> {
    /// The step.
    pub step: &'a Step,
    /// [`crate::collect::Source::state`] after the batch of the step; `None` keeps what is stored.
    pub source_state: Option<&'a str>,
    /// When set, nothing is written unless this is still the newest holder of the lease.
    pub fence: Option<&'a Fence>,
}

/// What a holder of a lease shows when it writes. Whoever takes the lease gets the next token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Name of the lease.
    pub name: String,
    /// Counts up with each new holder.
    pub token: i64,
}

/// Who has a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: String,
    /// Who took it last; empty when it was given back.
    pub holder: String,
    /// Whether it has not run out.
    pub live: bool,
}

/// A transition that nobody has dispatched yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// Its place; it only grows.
    pub seq: i64,
    /// What the engine wrote.
    pub transition: Transition,
}

/// A silence as it is stored; the document is opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSilence {
    /// Unique.
    pub id: String,
    /// Opaque.
    pub document: String,
    /// When it is over; `None`: it comes again and again.
    pub ends_at: Option<Nanos>,
    /// When it was ended by hand.
    pub expired_at: Option<Nanos>,
}

/// What one transaction of the dispatcher writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dispatched<'a> {
    /// [`Queued::seq`] of the transitions that are dealt with.
    pub taken: &'a [i64],
    /// Orders of people that are carried out, by [`crate::engine::Command::id`].
    pub orders_done: &'a [i64],
    /// Leads and members as they stand. From the first time on `handling`, title, state, severity and `resolved_at` of the
    /// incident are what is given here; what the engine writes later changes the rest.
    pub incidents: &'a [Incident],
    /// What people are told, by incident and number; a second one with the same is ignored.
    pub notices: &'a [Transition],
    /// One row for each notice and receiver that is told. The notice is one of these, or an earlier one.
    pub deliveries: &'a [NewDelivery],
    /// What the dispatcher must find again: document by key; `None` forgets it.
    pub state: &'a [(String, Option<String>)],
    /// Silences by id; `None` deletes.
    pub silences: &'a [(String, Option<StoredSilence>)],
    /// The wall clock, for rows that people read.
    pub now: Nanos,
    /// When set, nothing is written unless this is still the newest holder of the lease.
    pub fence: Option<&'a Fence>,
}

/// Which incidents a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those whose title (of a lead: or a member's) has all these words, in any order; case does not matter.
    pub text: Option<String>,
    /// Also those that became members of another.
    pub members: bool,
}

/// A message to be written with its transition.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// Name of the receiver: `slack`, `github`, `remediation_log`.
    pub receiver: String,
    /// What to send. Its `key` is unique: a second row with the same key is ignored. Its transition is stored once for all
    /// receivers, as a notice.
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
    /// When it was first tried; giving up counts from here.
    pub first_try: Option<Nanos>,
    /// It is not to be tried before.
    pub next_at: Nanos,
    /// When the row last changed: written, tried, sent or given up.
    pub changed_at: Nanos,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// What the receiver answered, when it is sent.
    pub receipt: Option<Receipt>,
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
    /// What the engine knows of templates and sessions.
    pub patterns: Option<Vec<u8>>,
}

/// An incident with all that was told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentDetail {
    /// As it stands now.
    pub incident: Incident,
    /// The incidents that became part of it, the oldest first.
    pub members: Vec<Incident>,
    /// What the engine said of its own group, in the order of their numbers.
    pub transitions: Vec<Transition>,
    /// What people were told, in the order of their numbers.
    pub notices: Vec<Transition>,
    /// In the order of writing.
    pub deliveries: Vec<Delivery>,
}

/// Place in a list of incidents: the last row of a page. The next page begins after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// [`Incident::started_at`] of the row.
    pub started_at: Nanos,
    /// [`Incident::id`] of the row.
    pub id: String,
}

impl From<&Incident> for Cursor {
    fn from(incident: &Incident) -> Self {
        Self { started_at: incident.started_at, id: incident.id.clone() }
    }
}

/// How many deliveries are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeliveryCounts {
    /// To be sent.
    pub pending: u64,
    /// Taken by their receivers.
    pub sent: u64,
    /// Given up.
    pub dead: u64,
}
