//! Those who take messages: one file or folder each.
//!
//! What comes in: the settings. What goes out: receivers that implement [`Notifier`], and their limits as data for the
//! outbox. A new one is a folder here, a line in [`Receiver`], a match arm, and a line in [`build`].

pub mod github;
mod print;
pub mod slack;

use std::sync::Arc;
use std::time::Duration;

pub use github::Github;
pub use print::{Form, Print, Printed, Show};
pub use slack::Slack;

use super::config::NotifyConfig;
use super::{Notification, Notifier, Receipt, SendError, client};

/// Somebody who takes messages.
#[derive(Debug)]
pub enum Receiver {
    /// Slack, Mattermost or Rocket.Chat.
    Slack(Slack),
    /// GitHub issues.
    Github(Box<Github>),
    /// Shows what would be sent, and sends nothing.
    Print(Print),
}

/// How fast a receiver may be told. The outbox keeps to it; what has to wait stays in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Between two sends.
    pub min_interval: Duration,
    /// Messages of kind [`Opened`](crate::incident::TransitionKind::Opened), which make something new there, in an hour.
    pub opened_per_hour: Option<u32>,
}

impl Rate {
    /// As fast as it goes.
    pub const UNLIMITED: Self = Self { min_interval: Duration::ZERO, opened_per_hour: None };
    /// Slack: one message a second for a webhook (docs.slack.dev, "Rate limits").
    pub const SLACK: Self = Self { min_interval: Duration::from_secs(1), opened_per_hour: None };
    /// GitHub: a second between requests that write, and people have measured about 150 issues an hour (cli/cli#4801);
    /// far fewer are already more than anybody reads.
    pub const GITHUB: Self = Self { min_interval: Duration::from_secs(1), opened_per_hour: Some(30) };
}

/// Why receivers could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The HTTP client could not be set up.
    #[error("cannot set up HTTPS for the receivers: {0}")]
    Client(#[source] reqwest::Error),
    /// A setting cannot be used; the text names it and says what it must be.
    #[error("{0}")]
    Settings(String),
}

/// The receivers that the settings name, each with its name and limits: `slack`, `github`.
///
/// # Errors
/// When a setting cannot be used. Whether a receiver would accept us is not asked here.
pub fn build(config: &NotifyConfig) -> Result<Vec<(String, Receiver, Rate)>, BuildError> {
    let http = client::client().map_err(BuildError::Client)?;
    let mut receivers = Vec::new();
    if let Some(slack) = Slack::new(&config.slack, http.clone()) {
        receivers.push(("slack".to_owned(), Receiver::Slack(slack), Rate::SLACK));
    }
    if let Some(github) = Github::new(&config.github, http).map_err(BuildError::Settings)? {
        receivers.push(("github".to_owned(), Receiver::Github(Box::new(github)), Rate::GITHUB));
    }
    Ok(receivers)
}

/// The same receivers, but each only shows what it would send (`--dry-run`). With none set, one shows chat messages.
///
/// # Errors
/// When a setting cannot be used.
pub fn dry(config: &NotifyConfig, show: &Show) -> Result<Vec<(String, Receiver, Rate)>, BuildError> {
    let print = |form| Receiver::Print(Print::new(form, Arc::clone(show)));
    let mut receivers: Vec<_> = build(config)?
        .into_iter()
        .map(|(name, receiver, _)| match receiver {
            Receiver::Github(_) => (name, print(Form::Issue), Rate::UNLIMITED),
            Receiver::Slack(_) | Receiver::Print(_) => (name, print(Form::Message), Rate::UNLIMITED),
        })
        .collect();
    if receivers.is_empty() {
        receivers.push(("print".to_owned(), print(Form::Message), Rate::UNLIMITED));
    }
    Ok(receivers)
}

impl Notifier for Receiver {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        match self {
            Self::Slack(slack) => slack.send(notification, earlier).await,
            Self::Github(github) => github.send(notification, earlier).await,
            Self::Print(print) => print.send(notification, earlier).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn config() -> NotifyConfig {
        let mut config = NotifyConfig::default();
        config.slack.webhook_url = Some(Secret::new("https://hooks.slack.com/services/a/b/c"));
        config.github.token = Some(Secret::new("t"));
        config.github.repo = Some("acme/shop".to_owned());
        config
    }

    #[test]
    fn what_is_set_is_built() {
        let names = |config: &NotifyConfig| -> Vec<String> {
            build(config).unwrap().into_iter().map(|(name, _, _)| name).collect()
        };
        assert_eq!(names(&config()), ["slack", "github"]);
        assert!(names(&NotifyConfig::default()).is_empty());
        let mut token_only = NotifyConfig::default();
        token_only.github.token = Some(Secret::new("t"));
        assert!(names(&token_only).is_empty());
        let mut wrong = config();
        wrong.github.repo = Some("acme".to_owned());
        assert!(build(&wrong).unwrap_err().to_string().contains("notify.github.repo is `acme`"));
    }

    #[test]
    fn none_shows_its_secret() {
        let mut config = config();
        config.slack.webhook_url = Some(Secret::new("https://hooks.slack.com/services/hunter2"));
        config.github.token = Some(Secret::new("hunter2"));
        assert!(!format!("{:?}", build(&config).unwrap()).contains("hunter2"));
    }

    #[test]
    fn a_dry_one_is_made_of_each() {
        let show: Show = Arc::new(|_| {});
        let names = |config: &NotifyConfig| -> Vec<String> {
            let built = dry(config, &show).unwrap();
            assert!(built.iter().all(|(_, receiver, _)| matches!(receiver, Receiver::Print(_))));
            built.into_iter().map(|(name, _, _)| name).collect()
        };
        assert_eq!(names(&config()), ["slack", "github"]);
        assert_eq!(names(&NotifyConfig::default()), ["print"]);
    }
}
