//! sigyn's own log and metrics.

use serde::{Deserialize, Serialize};

/// `telemetry:` sigyn's own log, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Filter in tracing's grammar: `info`, `sigyn=debug,warn`.
    pub log: String,
    /// How a log line looks.
    pub format: LogFormat,
}

/// How a line of sigyn's own log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Text }
    }
}
