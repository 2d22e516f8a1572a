//! What a watch must find again after a restart besides its models, as one versioned text.

use serde::{Deserialize, Serialize};

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
}

/// The carry of one group.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GroupCarry {
    pub(super) labels: Labels,
    pub(super) last_line: Nanos,
    pub(super) rates: Vec<f64>,
    pub(super) lines: Option<LineWindows>,
    pub(super) lifecycle: Lifecycle,
}

impl Carry {
    pub(super) fn new(groups: Vec<GroupCarry>) -> Self {
        Self { version: VERSION, groups }
    }

    pub(super) fn write(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str::<Self>(text).ok().filter(|carry| carry.version == VERSION)
    }
}
