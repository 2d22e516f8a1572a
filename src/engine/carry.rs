//! What a watch must find again after a restart besides its models, as one versioned text.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Step;
use crate::detect::habit::Habits;
use crate::detect::window::LineWindows;
use crate::incident::lifecycle::Lifecycle;
use crate::labels::Labels;
use crate::time::Nanos;

/// Raised when the meaning of the text changes; an older text is then left aside.
const VERSION: u32 = 1;

/// The carry of one watch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Carry {
    version: u32,
    pub(super) groups: Vec<GroupCarry>,
    /// What the watch held when it was last weighed.
    #[serde(default)]
    pub(super) held: u64,
}

/// The carry of one group.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GroupCarry {
    pub(super) labels: Labels,
    pub(super) last_line: Nanos,
    pub(super) rates: Vec<f64>,
    pub(super) lines: Option<LineWindows>,
    pub(super) lifecycle: Lifecycle,
    /// When it became known; what is stored of before is of another life.
    #[serde(default)]
    pub(super) born: Nanos,
    /// Its model began anew here: older snapshots and windows are no part of it.
    #[serde(default)]
    pub(super) model_from: Nanos,
    #[serde(default, skip_serializing_if = "Habits::is_empty")]
    pub(super) habits: Habits,
}

/// The step that closes all that is open of a watch that nobody reads any more. `done_until` and `carry` are what its last
/// commit left; `None`: nothing is open.
#[must_use]
pub fn withdraw(watch: &Arc<str>, done_until: Nanos, carry: &str, at: Nanos, reason: &str) -> Option<Step> {
    let mut carry = Carry::read(carry)?;
    let mut step = Step { watch: Some(Arc::clone(watch)), done_until, ..Step::default() };
    for group in &mut carry.groups {
        let outcome = group.lifecycle.withdrawn(at, reason);
        step.incidents.extend(outcome.incidents);
        step.transitions.extend(outcome.transitions);
    }
    step.carry = carry.write();
    (!step.incidents.is_empty()).then_some(step)
}

impl Carry {
    pub(super) fn new(groups: Vec<GroupCarry>, held: u64) -> Self {
        Self { version: VERSION, groups, held }
    }

    pub(super) fn write(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str::<Self>(text).ok().filter(|carry| carry.version == VERSION)
    }
}
