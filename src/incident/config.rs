//! The settings of stage 3.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// `incident:` when an incident ends and how often it speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentConfig {
    /// Quiet time, seen whole, after which an incident is resolved.
    pub resolve_after: Span,
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
            resolve_after: Span::minutes(5),
            news_interval: Span::minutes(2),
            update_interval: Span::minutes(30),
            expire_after: Span::hours(24),
        }
    }
}
