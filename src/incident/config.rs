//! The settings of stage 3.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// `incident:` when an incident ends and how often it speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentConfig {
    /// How long it must go on before it fires (Prometheus' `for`); a normal window before that ends it untold.
    #[serde(rename = "for")]
    pub pending_for: Span,
    /// Quiet time, seen whole, after which an incident is resolved (Prometheus' `keep_firing_for`).
    #[serde(alias = "resolve_after")]
    pub keep_firing_for: Span,
    /// While it goes on, something new about it (another kind of line, another cause) is told at most once in this time.
    pub news_interval: Span,
    /// While it goes on, at most one follow-up in this time.
    pub update_interval: Span,
    /// An incident still open after this is closed as expired: its level is the new normal.
    pub expire_after: Span,
}

impl Default for IncidentConfig {
    fn default() -> Self {
        Self {
            pending_for: Span::seconds(0),
            keep_firing_for: Span::minutes(5),
            news_interval: Span::minutes(2),
            update_interval: Span::minutes(30),
            expire_after: Span::hours(24),
        }
    }
}
