//! The settings of stage 5.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `remediate:` what is done about an incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemediateConfig {
    /// File of the remediation log, one JSON object a line. Unset: `remediation.jsonl` in the data folder.
    pub log: Option<PathBuf>,
}
