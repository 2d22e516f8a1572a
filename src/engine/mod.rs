//! detect + incident as one pure step: [`Input`] in, [`Step`] out.
//!
//! What never happens here: I/O, a clock, a lock, unseeded randomness. Same inputs, settings and seed: same output, bit
//! for bit, and any cutting of the same entries into batches gives the same transitions. It returns no `Result`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::collect::{Batch, Gap};
use crate::detect::{Anomaly, Group, Judgement, Window};
use crate::incident::{Incident, Transition};
use crate::labels::Fingerprint;
use crate::time::{Nanos, TimeRange};

/// What the engine is fed.
#[derive(Debug)]
pub enum Input {
    /// Entries of a watch, and the tick.
    Batch(Batch),
    /// Something that a person or another part of sigyn wants.
    Command(Command),
}

/// A wish, kept as a row until a step has carried it out. Everybody who wants something of the engine appends one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Row number in the store.
    pub id: i64,
    /// When it was made, by the wall clock.
    pub at: Nanos,
    /// What is wanted.
    pub kind: CommandKind,
}

/// What can be wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CommandKind {
    /// A part of sigyn is ill, or well again: opens or resolves an incident with the label `service="sigyn"`.
    Internal {
        /// What is ill: `loki_unreachable`, `lag`, `gap`, `receiver`; with `on` it names the incident.
        problem: String,
        /// Which one: the watch or the receiver.
        on: String,
        /// True while it is ill.
        firing: bool,
        /// What is wrong and what to do.
        detail: String,
    },
}

/// A closed window with what was found about it: what the store keeps of a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedWindow {
    /// Whose window it is.
    pub group: Group,
    /// The window; its samples are stored with anomalies only.
    pub window: Window,
    /// What was found.
    pub judgement: Judgement,
    /// Whether the group's model has learnt it. A model is a fold over these, in their order.
    pub learnt: bool,
    /// 0 when it was closed; counts up each time it grew afterwards and was judged again.
    pub revision: u32,
}

/// All that follows from one input. It is committed as one transaction, with the source's state, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The watch that it is about; `None` for commands.
    pub watch: Option<Arc<str>>,
    /// All windows before this time are closed and committed: reading resumes there, and entries before it are ignored.
    pub done_until: Nanos,
    /// Windows that were closed, or judged again.
    pub windows: Vec<JudgedWindow>,
    /// Anomalies among them.
    pub anomalies: Vec<Anomaly>,
    /// Incidents that are new or changed, pending ones too.
    pub incidents: Vec<Incident>,
    /// What people may want to hear.
    pub transitions: Vec<Transition>,
    /// Ranges that were left out.
    pub gaps: Vec<Gap>,
    /// Closed ranges to count exactly before an incident opens or resolves; the answer is fed as a batch.
    pub audits: Vec<TimeRange>,
    /// What the engine must find again after a restart besides models: open windows of lines, groups, open incidents.
    /// `None`: unchanged. Opaque to everybody else.
    pub carry: Option<String>,
    /// Models to store now, by group.
    pub snapshots: Vec<Snapshot>,
    /// The command that was carried out.
    pub command_done: Option<i64>,
}

/// A group's model at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose model.
    pub group: Fingerprint,
    /// End of the last window in it; windows after it are folded in at a restart.
    pub until: Nanos,
    /// Versioned text; opaque to everybody but the detector.
    pub model: String,
}
