//! Slack by an incoming webhook or by a bot; Mattermost and Rocket.Chat take the webhook's messages, too.
//!
//! Those two read `text` and know no `blocks` (Mattermost: `server/public/model/incoming_webhook.go`; Rocket.Chat:
//! `processWebhookMessage.ts`), so the text says everything, too.
//!
//! What comes in: notifications. What goes out: by webhook one POST each; it gives nothing back to find the message by, so
//! later transitions are short messages of their own. A bot keeps one message an incident up to date and tells what
//! changed in its thread (`bot`).

mod blocks;
mod bot;

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

pub use blocks::{render_slack, render_text};

use super::{Rate, Setup};
use crate::incident::TransitionKind;
use crate::notify::client::{Answer, Call, Key};
use crate::notify::config::SlackConfig;
use crate::notify::render::message;
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError};
use bot::Bot;

/// Slack: one message a second for a webhook, and for a bot in one channel (docs.slack.dev, "Rate limits").
pub const RATE: Rate = Rate { min_interval: Duration::from_secs(1), opened_per_hour: None };

/// A workspace.
#[derive(Debug)]
pub struct Slack {
    template: Template,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Webhook(Webhook),
    Bot(Bot),
}

#[derive(Debug)]
struct Webhook {
    key: Key,
    place: String,
    http: reqwest::Client,
}

impl Slack {
    /// A bot when the settings have its token, else a webhook.
    #[must_use]
    pub fn new(config: &SlackConfig, setup: Setup) -> Self {
        let Setup { place, http, template } = setup;
        let token = Key::new(&place, "bot_token", config.bot_token.as_ref(), config.bot_token_file.as_ref());
        let way = if token.is_set() {
            Way::Bot(Bot {
                token,
                channel: config.channel.clone().unwrap_or_default(),
                api: config.api_url.trim_end_matches('/').to_owned(),
                place,
                http,
            })
        } else {
            let (url, file) = (config.webhook_url.as_ref(), config.webhook_url_file.as_ref());
            Way::Webhook(Webhook { key: Key::new(&place, "webhook_url", url, file), place, http })
        };
        Self { template, way }
    }
}

impl Slack {
    /// The text that would be sent.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> String {
        let said = message(notification);
        let whole = matches!(self.way, Way::Bot(_)) && said.kind == TransitionKind::Opened;
        blocks::text(&said, &self.template, whole)["text"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether the bot would be let in. A webhook can only be tried by posting (`None`).
    pub async fn probe(&self) -> Option<Result<String, SendError>> {
        match &self.way {
            Way::Bot(bot) => Some(bot.probe().await),
            Way::Webhook(_) => None,
        }
    }
}

impl Notifier for Slack {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        match &self.way {
            Way::Bot(bot) => bot.tell(notification, earlier, &self.template).await,
            Way::Webhook(webhook) => {
                let said = message(notification);
                if !webhook.post(&blocks::body(&said, &self.template, false), true).await? {
                    webhook.post(&blocks::text(&said, &self.template, false), false).await?;
                }
                Ok(earlier.cloned().unwrap_or_default())
            }
        }
    }
}

impl Webhook {
    /// False: the server dislikes blocks, and `may_dislike` lets that be no error.
    async fn post(&self, body: &Value, may_dislike: bool) -> Result<bool, SendError> {
        let (secret, url) = self.key.url()?;
        let what = format!("posting to the Slack webhook at {}", url.host_str().unwrap_or("?"));
        let call = Call { what: &what, place: &self.place, secrets: &[&secret], advice };
        let answer = call.exchange(self.http.post(url).json(body)).await?;
        if may_dislike && dislikes_blocks(&answer) {
            return Ok(false);
        }
        call.judge(answer).map(|_| true)
    }
}

/// Slack answers 400 with one of these words when it does not like the form of a message.
fn dislikes_blocks(answer: &Answer) -> bool {
    answer.status == StatusCode::BAD_REQUEST && names_form(&answer.text)
}

fn names_form(said: &str) -> bool {
    const WORDS: [&str; 4] = ["invalid_blocks", "invalid_payload", "invalid_attachments", "msg_blocks_too_long"];
    WORDS.iter().any(|word| said.contains(word))
}

/// What to do about an answer that will not change by itself (docs.slack.dev, "Sending messages using incoming webhooks").
fn advice(status: StatusCode, said: &str) -> Option<(&'static str, &'static str)> {
    let has = |word: &str| said.contains(word);
    Some(if has("channel_is_archived") {
        ("archived", "the channel is archived: bring it back or make a webhook for another one")
    } else if has("no_service") || has("no_active_hooks") || has("invalid_token") || has("no_team") {
        ("not_found", "the webhook was removed or switched off: make a new one and set @.webhook_url")
    } else if has("channel_not_found") || has("invalid-channel") {
        ("not_found", "the webhook's channel is gone: make a webhook for another one")
    } else if has("action_prohibited") || has("posting_to_general_channel_denied") || has("team_disabled") {
        ("refused", "the workspace does not let this webhook post there: ask its administrator or use another channel")
    } else if status.is_redirection() {
        ("redirected", "redirects are not followed: set @.webhook_url to the final address")
    } else {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ("refused", "the webhook may not post: check @.webhook_url and the workspace's rules")
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => ("not_found", "there is no such webhook: check @.webhook_url"),
            _ => ("refused", "the server does not take the message: check that @.webhook_url is an incoming webhook"),
        }
    })
}

#[cfg(test)]
mod tests;
