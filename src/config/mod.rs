//! The settings: one tree, composed of each stage's own `Config`, read once and then immutable.
//!
//! What comes in: `config/sigyn.yaml` (compiled in), a file, the environment. What goes out: [`Settings`], or all
//! mistakes at once. What never happens here: opening a connection.

pub mod env;
pub mod load;
pub mod mistake;
pub mod print;
mod tree;
mod validate;
pub mod watch;
mod yaml;

use serde::{Deserialize, Serialize};

use crate::collect::config::{CollectConfig, LokiConfig, WatchConfig};
use crate::detect::config::DetectConfig;
use crate::detect::personal::MaskConfig;
use crate::http::config::HttpConfig;
use crate::incident::config::IncidentConfig;
use crate::notify::config::NotifyConfig;
use crate::remediate::config::RemediateConfig;
use crate::store::config::StoreConfig;
use crate::telemetry::TelemetryConfig;

pub use load::{Loaded, Loader};
pub use mistake::{Mistake, Mistakes, Place};

/// The settings file that says what the defaults say, with a comment for every key.
pub const DEFAULTS: &str = include_str!("../../config/sigyn.yaml");

/// Everything that can be set. The default is `config/sigyn.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How to reach Loki.
    pub loki: LokiConfig,
    /// What to watch; empty: all streams.
    pub watches: Vec<WatchConfig>,
    /// How to read.
    pub collect: CollectConfig,
    /// How to judge.
    pub detect: DetectConfig,
    /// What is hidden of lines.
    pub mask: MaskConfig,
    /// When incidents end.
    pub incident: IncidentConfig,
    /// Who is told.
    pub notify: NotifyConfig,
    /// What is done.
    pub remediate: RemediateConfig,
    /// Where state is kept.
    pub store: StoreConfig,
    /// Probes and metrics.
    pub http: HttpConfig,
    /// sigyn's own log.
    pub telemetry: TelemetryConfig,
}
