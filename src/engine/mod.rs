//! detect + incident as one pure step: [`Input`] in, [`Step`] out.
//!
//! What never happens here: I/O, a clock, a lock, unseeded randomness. Same inputs, settings and seed: same output, bit
//! for bit, and any cutting of the same entries into batches gives the same transitions. It returns no `Result`.

mod carry;
mod group;
mod internal;
mod narrow;
mod room;
mod watch;

pub use carry::withdraw;
pub use room::Dropped;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::collect::{Batch, Gap};
use crate::detect::config::{DetectConfig, Size, WindowSpec};
use crate::detect::{Anomaly, Group, Judgement, NearMiss, Window};
use crate::incident::config::IncidentConfig;
use crate::incident::{Incident, Mark, Snooze, Transition};
use crate::labels::{Fingerprint, Labels};
use crate::time::{Nanos, TimeRange};

/// What the engine is fed.
#[derive(Debug)]
pub enum Input {
    /// Entries of a watch, and the tick.
    Batch(Batch),
    /// Something that a person or another part of sigyn wants.
    Command(Command),
    /// What a watch may spend from now on. Until then it is all that the settings allow.
    Budget(Arc<str>, Budget),
}

/// A watch's part of the budget, in expected false alarms a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Of the whole watch.
    pub watch: f64,
    /// Of each of its groups.
    pub group: f64,
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
        /// What is ill: `loki_unreachable`, `lag`, `gap`, `memory`, `receiver`; with `on` it names the incident.
        problem: String,
        /// Which one: the watch or the receiver.
        on: String,
        /// True while it is ill.
        firing: bool,
        /// Since when it is, where that was before the command.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Nanos>,
        /// What is wrong and what to do.
        detail: String,
    },
    /// A person wants something with an incident. Not for the engine: detection goes on as before.
    Incident {
        /// Its id, or that of one of its members.
        incident: String,
        /// What is wanted.
        order: Order,
    },
    /// A silence is set, or ended. Not for the engine.
    Silence {
        /// Its id.
        id: String,
        /// The silence, opaque here; `None` ends it.
        document: Option<String>,
    },
    /// Messages that were given up are to be sent again. Not for the engine.
    Resend {
        /// Only those for this receiver.
        receiver: Option<String>,
        /// Only those about this incident.
        incident: Option<String>,
    },
}

/// What a person can want with an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Looks after it.
    Acknowledge(Mark),
    /// Does not want to hear of it for now.
    Snooze(Snooze),
    /// Takes an acknowledgement and a snooze back.
    Release(Mark),
    /// It is over.
    Resolve(Mark),
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
    /// New lines that are done: those of windows that were closed, or, where windows are cut by lines, all that were taken.
    /// A restart does not give them again.
    pub lines: u64,
    /// Windows that were closed, or judged again.
    pub windows: Vec<JudgedWindow>,
    /// Anomalies among them.
    pub anomalies: Vec<Anomaly>,
    /// What came near to being one; only when asked for, see [`Engine::explaining`].
    pub near_misses: Vec<NearMiss>,
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
    /// What is known of templates and sessions when all before `done_until` is done. `None`: unchanged. Opaque.
    pub patterns: Option<Vec<u8>>,
    /// Models to store now, by group.
    pub snapshots: Vec<Snapshot>,
    /// The command that was carried out.
    pub command_done: Option<i64>,
    /// How far the groups of the watch are with learning.
    pub learning: Learning,
    /// What was dropped for want of memory.
    pub dropped: Option<Dropped>,
    /// Bytes that the watch held when it was last weighed; 0: not yet.
    pub held: u64,
}

impl Step {
    /// Whether a restart could do without it: it says nothing, and all that it was made of is read again after `stored`,
    /// the position of its watch in the store.
    #[must_use]
    pub fn is_repeatable(&self, stored: Nanos) -> bool {
        let Self { windows, incidents, transitions, gaps, snapshots, .. } = self;
        let says = !windows.is_empty() || !incidents.is_empty() || !transitions.is_empty();
        let notes = !gaps.is_empty() || !snapshots.is_empty() || self.command_done.is_some() || self.dropped.is_some();
        let keeps = self.carry.is_some() || self.patterns.is_some();
        !(says || notes || keeps) && self.done_until == stored
    }
}

/// How far the groups of a watch are with learning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learning {
    /// Groups that are known.
    pub groups: u32,
    /// Groups that are judged.
    pub ready: u32,
    /// Groups about which templates say nothing: levels, rates and lengths are judged there.
    #[serde(default)]
    pub coarse: u32,
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

/// One watch, as the engine needs to know it.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchOptions {
    /// Unique name.
    pub name: Arc<str>,
    /// The LogQL query that is read; the evidence shows it narrowed to the group.
    pub query: String,
    /// How lines are cut into windows.
    pub window: WindowSpec,
    /// Labels whose values tell groups apart; empty: the first of `service_name`, `job`, `app`.
    pub group_by: Vec<String>,
    /// Labels of every incident: the watch's and the external ones.
    pub labels: Labels,
    /// Who owns what it watches.
    pub owner: Option<String>,
    /// Where to read what to do.
    pub runbook_url: Option<String>,
}

/// What the engine works with; immutable.
#[derive(Clone, Debug)]
pub struct Options {
    /// sigyn's account space.
    pub tenant: String,
    /// How windows are judged.
    pub detect: DetectConfig,
    /// When incidents end.
    pub incident: IncidentConfig,
    /// Labels of incidents about sigyn itself.
    pub external_labels: Labels,
    /// What is watched.
    pub watches: Vec<WatchOptions>,
}

/// What a watch found in the store after a restart.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// [`Step::done_until`] of the last commit.
    pub done_until: Nanos,
    /// [`Step::carry`] of the last commit that had one.
    pub carry: Option<String>,
    /// [`Step::patterns`] of the last commit that had them.
    pub patterns: Option<Vec<u8>>,
    /// The models.
    pub snapshots: Vec<Snapshot>,
    /// Stored windows (revision 0, in order of time): those after each snapshot are folded into its model, those of the
    /// last 70 minutes are known when late lines arrive.
    pub windows: Vec<JudgedWindow>,
}

/// The pure core of sigyn.
#[derive(Debug)]
pub struct Engine {
    watches: BTreeMap<Arc<str>, watch::Watch>,
    internal: internal::Internal,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        // Equal shares that follow from the settings alone: were they to follow from what others hold, what a watch drops would
        // depend on who is read first, and by which process.
        let memory_limit = Size(options.detect.memory_limit.0 / options.watches.len().max(1) as u64);
        let shared = Arc::new(watch::Shared {
            tenant: options.tenant.clone(),
            detect: DetectConfig { memory_limit, ..options.detect.clone() },
            incident: options.incident.clone(),
        });
        let watches = options.watches.iter();
        Self {
            watches: watches
                .map(|watch| (Arc::clone(&watch.name), watch::Watch::new(watch.clone(), Arc::clone(&shared))))
                .collect(),
            internal: internal::Internal::new(&options.tenant, &options.external_labels),
        }
    }

    /// For drivers that store nothing: no snapshots and no carry in its steps, which are costly to write down.
    #[must_use]
    pub fn unstored(mut self) -> Self {
        self.watches.values_mut().for_each(watch::Watch::leave_unstored);
        self
    }

    /// From now on its steps also tell what came near to being an anomaly. Costs time, and changes nothing else.
    #[must_use]
    pub fn explaining(mut self) -> Self {
        self.watches.values_mut().for_each(watch::Watch::explain);
        self
    }

    /// Puts a watch back to where its last commit left it. Unknown watches are ignored.
    pub fn restore(&mut self, watch: &str, stored: Restore) {
        if let Some(watch) = self.watches.get_mut(watch) {
            watch.restore(stored);
        }
    }

    /// Forgets what it knows of a watch.
    pub fn forget(&mut self, watch: &str) {
        if let Some(watch) = self.watches.get_mut(watch) {
            watch.reset();
        }
    }

    /// Puts the open incidents about sigyn itself back, in place of those that it knows.
    pub fn restore_internal(&mut self, open: impl IntoIterator<Item = Incident>) {
        self.internal.restore(open);
    }

    /// Takes one input and says all that follows from it.
    pub fn step(&mut self, input: Input) -> Step {
        match input {
            Input::Batch(batch) => {
                let watch = self.watches.get_mut(&batch.watch);
                watch.map(|watch| watch.step(&batch)).unwrap_or_default()
            }
            Input::Command(command) => self.internal.step(&command),
            Input::Budget(watch, budget) => {
                if let Some(watch) = self.watches.get_mut(&watch) {
                    watch.spend(budget);
                }
                Step::default()
            }
        }
    }

    /// What a watch knows of templates and sessions as it stands: for a driver that hands it on to another engine.
    #[must_use]
    pub fn patterns(&self, watch: &str) -> Option<Vec<u8>> {
        self.watches.get(watch).map(watch::Watch::patterns)
    }

    /// Bytes that a watch holds now, as it weighs itself against its share of the memory limit.
    #[must_use]
    pub fn held(&self, watch: &str) -> u64 {
        self.watches.get(watch).map_or(0, watch::Watch::weigh)
    }

    /// The models of a watch as they stand, to be stored at stop.
    #[must_use]
    pub fn snapshots(&self, watch: &str) -> Vec<Snapshot> {
        self.watches.get(watch).map(watch::Watch::snapshots).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
