//! Stage 3: from judged windows to [`Incident`]s and their [`Transition`]s.
//!
//! What comes in: verdicts on the windows of a group, in order of time. What goes out: transitions. Pure: no I/O, no
//! clock; "now" is the end of the window or of the tick.

pub mod config;
pub mod lifecycle;

use serde::{Deserialize, Serialize};

use crate::detect::{Anomaly, Group};
use crate::labels::Labels;
use crate::time::Nanos;

/// Where an incident is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Anomalous, and its lines are still being counted exactly; nobody has been told.
    Pending,
    /// Open, and people have been told.
    Firing,
    /// Over.
    Resolved,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth looking at in working hours.
    Warning,
    /// Worth waking somebody.
    Critical,
}

/// Consecutive anomalous windows of one group, from the first sign to the resolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// 16 hex digits of fingerprint and start: the same after every restart and in every retry.
    pub id: String,
    /// Where: tenant, watch and labels as one identity.
    pub group: Group,
    /// Name of the watch; `sigyn` for incidents about sigyn itself.
    pub watch: String,
    /// The watch's own labels and the external labels, for routing and messages.
    pub labels: Labels,
    /// Who owns the watch, when the settings say.
    pub owner: Option<String>,
    /// Where to read what to do, when the settings say.
    pub runbook_url: Option<String>,
    /// Where it is in its life.
    pub state: State,
    /// How bad it is; it only rises.
    pub severity: Severity,
    /// What is wrong, in a few words without counts, such as `cart: more errors than usual`.
    pub title: String,
    /// Start of the first anomalous window.
    pub started_at: Nanos,
    /// End of the last anomalous window.
    pub last_seen: Nanos,
    /// When it was resolved.
    pub resolved_at: Option<Nanos>,
    /// Anomalous windows so far.
    pub windows: u64,
    /// Lines in them.
    pub lines: u64,
    /// The worst window: its scores and the evidence. `None` for incidents about sigyn itself.
    pub worst: Option<Anomaly>,
    /// Lines per second, one value a window, the newest last, at most 30: for the sparkline.
    pub rates: Vec<f64>,
    /// For incidents about sigyn itself: what is wrong and what to do.
    pub detail: Option<String>,
}

/// Why a transition is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransitionKind {
    /// A new incident.
    Opened,
    /// Still going on; at most one in `update_interval`.
    Continued,
    /// Quiet for `resolve_after`.
    Resolved,
}

/// A change of an incident that people may want to hear of. The incident is as it stands after the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// What changed.
    pub kind: TransitionKind,
    /// Counts the transitions of the incident from 1: with the id it names the transition for ever.
    pub number: u64,
    /// When, in the time of the log.
    pub at: Nanos,
    /// The incident after it.
    pub incident: Incident,
}
