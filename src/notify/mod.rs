//! Stage 4: from [`Transition`]s to messages that people get.
//!
//! What comes in: transitions. What goes out: one request per delivery, rendered and escaped for its receiver. What
//! never happens here: deciding whether something is an incident; retrying (the outbox does that).

pub mod client;
pub mod config;
pub mod dispatch;
pub mod escape;
#[cfg(test)]
pub(crate) mod fixture;
pub mod heartbeat;
pub mod inhibit;
pub mod interval;
pub mod layout;
mod links;
pub mod outbox;
pub mod pace;
pub mod receiver;
pub mod render;
pub mod route;
pub mod sample;
pub mod silence;
pub mod template;
mod words;
pub mod zone;

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use links::{anomaly_links, links};

use crate::incident::Transition;

/// One transition on its way to one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// The same in every retry: `incident-id/transition-number/receiver`.
    pub key: String,
    /// The transition.
    pub transition: Transition,
    /// Where to look, made from the settings.
    pub links: Links,
}

/// Where to look further.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// The incident at sigyn itself, when `external_url` is set.
    pub incident: Option<String>,
    /// Grafana Explore with the query and the range, when `grafana_url` is set.
    pub explore: Option<String>,
}

/// What a receiver answered: how to find there again what was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The receiver's own identity of the message or ticket, such as an issue number.
    pub id: Option<String>,
    /// Where a person can see it.
    pub url: Option<String>,
}

/// Why a message was not taken. `reason` is a short word for metrics; `message` holds no secret and no URL with one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may work later.
    #[error("{message}")]
    Retry {
        /// `rate_limited`, `server`, `timeout`, `unreachable`, ...
        reason: &'static str,
        /// What was attempted on what, and what came back.
        message: String,
        /// What the receiver asked for (`Retry-After`).
        after: Option<Duration>,
    },
    /// It will never work as it is.
    #[error("{message}")]
    GiveUp {
        /// `unauthorized`, `not_found`, `refused`, ...
        reason: &'static str,
        /// What was attempted on what, what came back, and what to do.
        message: String,
    },
}

/// A way to tell people.
pub trait Notifier: Send + Sync {
    /// Sends one notification. `earlier` is the receipt of the incident's first message here, when there was one.
    fn send(
        &self,
        notification: &Notification,
        earlier: Option<&Receipt>,
    ) -> impl Future<Output = Result<Receipt, SendError>> + Send;
}
