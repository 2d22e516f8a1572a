//! The settings of the store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;
use crate::time::Span;

/// `store:` where state is kept and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Folder of `sigyn.db` and the remediation log; made when it is not there.
    pub data_dir: PathBuf,
    /// A PostgreSQL database in place of `sigyn.db`: `postgres://user:password@host:5432/database`. Several sigyn may share
    /// one.
    pub url: Option<Secret>,
    /// A file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// Windows older than this are deleted.
    pub window_retention: Span,
    /// Resolved incidents, what was told of them and their deliveries older than this are deleted.
    pub incident_retention: Span,
    /// Models of groups that had no window for this long are deleted, and what is known of watches that were not read.
    pub model_retention: Span,
    /// Notes about lines that were left out older than this are deleted.
    pub gap_retention: Span,
    /// Orders and reports that were carried out before this are deleted.
    pub command_retention: Span,
    /// Silences that ended before this are deleted.
    pub silence_retention: Span,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            url: None,
            url_file: None,
            window_retention: Span::hours(7 * 24),
            incident_retention: Span::hours(90 * 24),
            model_retention: Span::hours(90 * 24),
            gap_retention: Span::hours(90 * 24),
            command_retention: Span::hours(90 * 24),
            silence_retention: Span::hours(90 * 24),
        }
    }
}
