//! Stage 3: from judged windows to [`Incident`]s and their [`Transition`]s.
//!
//! What comes in: verdicts on the windows of a group, in order of time. What goes out: transitions. Pure: no I/O, no
//! clock; "now" is the end of the window or of the tick.

pub mod config;
pub mod group;
pub mod lifecycle;

use serde::{Deserialize, Serialize};

use crate::detect::{Anomaly, Group};
use crate::labels::{FNV_OFFSET, Fingerprint, Labels, fnv1a};
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

impl Severity {
    /// Its word in labels, settings and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
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
    /// What people and the grouping made of it.
    #[serde(flatten)]
    pub handling: Handling,
}

/// The watch of incidents about sigyn itself.
pub const SIGYN: &str = "sigyn";

impl Incident {
    /// One about sigyn itself: a problem with something (`on`) that is there from `at` on.
    #[must_use]
    pub fn about_sigyn(tenant: &str, (problem, on): (&str, &str), title: String, at: Nanos) -> Self {
        let labels: Labels = [("service", SIGYN), ("problem", problem), ("on", on)].into_iter().collect();
        let fingerprint = Fingerprint::of(tenant, SIGYN, &labels);
        let id = fnv1a(fnv1a(FNV_OFFSET, &fingerprint.0.to_le_bytes()), &at.to_le_bytes());
        Self {
            id: format!("{id:016x}"),
            group: Group { fingerprint, labels },
            watch: SIGYN.to_owned(),
            labels: Labels::new(),
            owner: None,
            runbook_url: None,
            state: State::Firing,
            severity: Severity::Warning,
            title,
            started_at: at,
            last_seen: at,
            resolved_at: None,
            windows: 0,
            lines: 0,
            worst: None,
            rates: Vec::new(),
            detail: None,
            handling: Handling::default(),
        }
    }
}

/// What people and the grouping made of an incident. Detection knows nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handling {
    /// Id of the incident that this one became a member of; it never changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead: Option<String>,
    /// The other groups that are part of the same problem, in the order in which they came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// It became much worse than when it was first told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// Somebody looks after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Mark>,
    /// Nobody wants to hear of it for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snoozed: Option<Snooze>,
    /// When it was told again after it had been resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reopened_at: Option<Nanos>,
    /// Who closed it by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Mark>,
    /// Messages about it that were held back since the last one (silenced, inhibited, snoozed, over a budget).
    #[serde(skip_serializing_if = "is_zero")]
    pub held_back: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// An incident of another group in a few words: a member of an incident, or a row of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// Where.
    pub group: Group,
    /// What is wrong.
    pub title: String,
    /// Where it is in its life.
    pub state: State,
    /// How bad it is.
    pub severity: Severity,
    /// Start of its first anomalous window.
    pub started_at: Nanos,
    /// End of its last anomalous window.
    pub last_seen: Nanos,
}

impl From<&Incident> for Member {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id.clone(),
            group: incident.group.clone(),
            title: incident.title.clone(),
            state: incident.state,
            severity: incident.severity,
            started_at: incident.started_at,
            last_seen: incident.last_seen,
        }
    }
}

/// Who did something, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Who, as the command says.
    pub by: String,
    /// When, by the wall clock.
    pub at: Nanos,
    /// Why, in the words of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Nobody wants to hear of an incident until one of these holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snooze {
    /// Who, when and why.
    pub mark: Mark,
    /// Until this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Nanos>,
    /// Until it was seen in this many more windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<u64>,
    /// Until it becomes worse: escalates, or its severity rises. Always ends a snooze without another end.
    #[serde(default)]
    pub until_worse: bool,
}

/// Why a transition is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransitionKind {
    /// A new incident.
    Opened,
    /// Still going on; at most one in `update_interval`.
    Continued,
    /// Much worse than when it was first told.
    Escalated,
    /// Somebody looks after it now.
    Acknowledged,
    /// Back after it was resolved.
    Reopened,
    /// Quiet for `keep_firing_for`.
    Resolved,
}

impl TransitionKind {
    /// The word in metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Continued => "continued",
            Self::Escalated => "escalated",
            Self::Acknowledged => "acknowledged",
            Self::Reopened => "reopened",
            Self::Resolved => "resolved",
        }
    }

    /// Whether it tells the whole story: the first message, and those that may reach somebody who has not seen it.
    #[must_use]
    pub fn is_full(self) -> bool {
        matches!(self, Self::Opened | Self::Reopened)
    }
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
