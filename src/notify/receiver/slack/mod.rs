//! Slack by an incoming webhook; Mattermost and Rocket.Chat take the same.
//!
//! Those two read `text` and know no `blocks` (Mattermost: `server/public/model/incoming_webhook.go`; Rocket.Chat:
//! `processWebhookMessage.ts`), so the text says everything, too.
//!
//! What comes in: notifications. What goes out: one POST each. A webhook gives nothing back to find the message by, so
//! later transitions are short messages of their own.

mod blocks;

use std::path::PathBuf;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

pub use blocks::{render_slack, render_text};

use crate::notify::config::SlackConfig;
use crate::notify::{Notification, Notifier, Receipt, SendError, client};
use crate::secret::Secret;

/// An incoming webhook.
#[derive(Debug)]
pub struct Slack {
    url: Option<Secret>,
    file: Option<PathBuf>,
    client: reqwest::Client,
}

impl Slack {
    /// `None` when no webhook is set.
    #[must_use]
    pub fn new(config: &SlackConfig, client: reqwest::Client) -> Option<Self> {
        let (url, file) = (config.webhook_url.clone(), config.webhook_url_file.clone());
        (url.is_some() || file.is_some()).then_some(Self { url, file, client })
    }

    /// Reads the webhook's URL again, so that a rotated file counts.
    fn webhook(&self) -> Result<(Secret, Url), SendError> {
        let give_up = |message: String| SendError::GiveUp { reason: "settings", message };
        let read = Secret::read(self.url.as_ref(), self.file.as_deref());
        let secret = read.map_err(|error| SendError::Retry {
            reason: "settings",
            message: format!("Slack's webhook: {error}"),
            after: None,
        })?;
        let secret =
            secret.ok_or_else(|| give_up("no Slack webhook is set; set notify.slack.webhook_url".to_owned()))?;
        let url = Url::parse(secret.expose()).ok().filter(|url| url.has_host() && url.scheme().starts_with("http"));
        let url = url.ok_or_else(|| {
            give_up("notify.slack.webhook_url is no URL; it looks like https://hooks.slack.com/services/...".to_owned())
        })?;
        Ok((secret, url))
    }

    async fn post(&self, body: &Value) -> Result<(), Answer> {
        let (secret, url) = self.webhook()?;
        let what = format!("posting to the Slack webhook at {}", url.host_str().unwrap_or("?"));
        let sent = self.client.post(url).json(body).send().await;
        let response = sent.map_err(|error| client::no_answer(&what, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(());
        }
        let said = client::body(response, &secret).await;
        Err(Answer::Refused { what, status, headers, said })
    }
}

impl Notifier for Slack {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let mut outcome = self.post(&render_slack(notification)).await;
        if outcome.as_ref().is_err_and(Answer::dislikes_blocks) {
            outcome = self.post(&render_text(notification)).await;
        }
        outcome.map_err(SendError::from)?;
        Ok(earlier.cloned().unwrap_or_default())
    }
}

/// Why a post did not work.
enum Answer {
    Failed(SendError),
    Refused { what: String, status: StatusCode, headers: HeaderMap, said: String },
}

impl Answer {
    /// Slack answers 400 with one of these words when it does not like the form of a message.
    fn dislikes_blocks(&self) -> bool {
        const WORDS: [&str; 4] = ["invalid_blocks", "invalid_payload", "invalid_attachments", "msg_blocks_too_long"];
        matches!(self, Self::Refused { status, said, .. }
            if *status == StatusCode::BAD_REQUEST && WORDS.iter().any(|word| said.contains(word)))
    }
}

impl From<SendError> for Answer {
    fn from(error: SendError) -> Self {
        Self::Failed(error)
    }
}

impl From<Answer> for SendError {
    fn from(answer: Answer) -> Self {
        let (what, status, headers, said) = match answer {
            Answer::Failed(error) => return error,
            Answer::Refused { what, status, headers, said } => (what, status, headers, said),
        };
        let message = format!("{what}: answered {} {said:?}", status.as_u16());
        let after = client::wait(&headers);
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::Retry { reason: "rate_limited", message, after },
            StatusCode::REQUEST_TIMEOUT => Self::Retry { reason: "timeout", message, after },
            status if status.is_server_error() => Self::Retry { reason: "server", message, after },
            _ => {
                let (reason, advice) = advice(status, &said);
                Self::GiveUp { reason, message: format!("{message}; {advice}") }
            }
        }
    }
}

/// What to do about an answer that will not change by itself (docs.slack.dev, "Sending messages using incoming webhooks").
fn advice(status: StatusCode, said: &str) -> (&'static str, &'static str) {
    let has = |word: &str| said.contains(word);
    if has("channel_is_archived") {
        ("archived", "the channel is archived: bring it back or make a webhook for another one")
    } else if has("no_service") || has("no_active_hooks") || has("invalid_token") || has("no_team") {
        ("not_found", "the webhook was removed or switched off: make a new one and set notify.slack.webhook_url")
    } else if has("channel_not_found") || has("invalid-channel") {
        ("not_found", "the webhook's channel is gone: make a webhook for another one")
    } else if has("action_prohibited") || has("posting_to_general_channel_denied") || has("team_disabled") {
        ("refused", "the workspace does not let this webhook post there: ask its administrator or use another channel")
    } else if status.is_redirection() {
        ("redirected", "redirects are not followed: set notify.slack.webhook_url to the final address")
    } else {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ("refused", "the webhook may not post: check notify.slack.webhook_url and the workspace's rules")
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                ("not_found", "there is no such webhook: check notify.slack.webhook_url")
            }
            _ => (
                "refused",
                "the server does not take the message: check that notify.slack.webhook_url is an incoming webhook",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
