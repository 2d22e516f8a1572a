//! Stage 5: from transitions to remediations: what is done about an incident, and the record of it.
//!
//! What comes in: transitions, through the outbox like every message. What goes out: a line in the remediation log for
//! each, always. Today's only remediation is a GitHub issue, and with no GitHub settings the log itself.

pub mod action;
pub mod config;

use std::path::Path;

use serde::Serialize;

use crate::notify::config::NotifyConfig;
use crate::notify::pace::Daily;
use crate::notify::receiver::{self, BuildError, Rate, Receiver, Show};
use crate::notify::{Notification, Notifier, Receipt, SendError};
use action::log::Log;
use config::RemediateConfig;

/// What is done about an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Remediation {
    /// It is written down, and nothing else.
    Log,
    /// There is an issue for it.
    GithubIssue {
        /// `owner/name`.
        repo: String,
    },
}

impl Remediation {
    /// What the settings ask for.
    #[must_use]
    pub fn of(config: &NotifyConfig) -> Self {
        let repo = config.entries().into_iter().find_map(|(_, entry)| entry.github?.repo);
        repo.map_or(Self::Log, |repo| Self::GithubIssue { repo })
    }
}

/// Whoever the outbox delivers to: a receiver of messages, or the remediation log.
#[derive(Debug)]
pub enum Outlet {
    /// People.
    Receiver(Receiver),
    /// The remediation log.
    RemediationLog(Log),
}

/// Everybody that the settings name, each with its name and limits: `slack`, `github`, and always `remediation_log`.
///
/// # Errors
/// When a setting cannot be used, or the remediation log cannot be opened.
pub fn build(
    notify: &NotifyConfig,
    remediate: &RemediateConfig,
    data: &Path,
) -> Result<Vec<(String, Outlet, Rate)>, BuildError> {
    let path = remediate.log.clone().unwrap_or_else(|| data.join("remediation.jsonl"));
    let log = Log::open(&path, Remediation::of(notify)).map_err(|error| BuildError::Settings(error.to_string()))?;
    let mut outlets: Vec<_> = receiver::build(notify)?
        .into_iter()
        .map(|(name, receiver, rate)| (name, Outlet::Receiver(receiver), rate))
        .collect();
    outlets.push(("remediation_log".to_owned(), Outlet::RemediationLog(log), Rate::UNLIMITED));
    Ok(outlets)
}

/// Everybody that the settings name, showing only what they would send (`--dry-run`). No remediation log is written: it
/// would record what was never done.
///
/// # Errors
/// When a setting cannot be used.
pub fn dry(notify: &NotifyConfig, show: &Show) -> Result<Vec<(String, Outlet, Rate)>, BuildError> {
    let receivers = receiver::dry(notify, show)?;
    Ok(receivers.into_iter().map(|(name, receiver, rate)| (name, Outlet::Receiver(receiver), rate)).collect())
}

impl Outlet {
    /// How much of it a day bears.
    #[must_use]
    pub fn daily(&self) -> Option<Daily> {
        match self {
            Self::Receiver(receiver) => receiver.daily(),
            Self::RemediationLog(_) => None,
        }
    }
}

impl Notifier for Outlet {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        match self {
            Self::Receiver(receiver) => receiver.send(notification, earlier).await,
            Self::RemediationLog(log) => log.send(notification, earlier).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_always_there() {
        let folder = tempfile::tempdir().unwrap();
        let names = |notify: &NotifyConfig| -> Vec<String> {
            let built = build(notify, &RemediateConfig::default(), folder.path()).unwrap();
            built.into_iter().map(|(name, _, _)| name).collect()
        };
        assert_eq!(names(&NotifyConfig::default()), ["remediation_log"]);
        let mut notify = NotifyConfig::default();
        notify.slack.webhook_url = Some(crate::secret::Secret::new("https://hooks.slack.com/services/a/b/c"));
        assert_eq!(names(&notify), ["slack", "remediation_log"]);
        assert!(folder.path().join("remediation.jsonl").exists());
        let dry = dry(&notify, &(std::sync::Arc::new(|_: &receiver::Printed| {}) as Show)).unwrap();
        assert!(dry.iter().all(|(_, outlet, _)| matches!(outlet, Outlet::Receiver(receiver) if receiver.is_dry())));
    }
}
