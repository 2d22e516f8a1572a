//! The settings of the store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// `store:` where state is kept and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Folder of `sigyn.db` and the remediation log; made when it is not there.
    pub data_dir: PathBuf,
    /// Windows older than this are deleted.
    pub window_retention: Span,
    /// Resolved incidents and their deliveries older than this are deleted.
    pub incident_retention: Span,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            window_retention: Span::hours(7 * 24),
            incident_retention: Span::hours(90 * 24),
        }
    }
}
