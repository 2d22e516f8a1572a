//! Slack by the token of a bot: one message an incident, changed in place, and a thread that tells what changed.
//!
//! What comes in: notifications and the receipt of the incident's first message: its channel and `ts`. What goes out:
//! `chat.postMessage`, and later `chat.update` before a reply in the thread; the reply of what got much worse or came
//! back is shown in the channel, too. Every message carries the notification's key as metadata.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{blocks, names_form};
use crate::incident::TransitionKind;
use crate::notify::client::{Call, Key, no_advice, wait};
use crate::notify::render::message;
use crate::notify::template::Template;
use crate::notify::{Notification, Receipt, SendError};

/// A bot in a channel.
#[derive(Debug)]
pub(super) struct Bot {
    pub(super) token: Key,
    pub(super) channel: String,
    pub(super) api: String,
    pub(super) place: String,
    pub(super) http: reqwest::Client,
}

/// What every method answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    ok: bool,
    error: String,
    channel: String,
    ts: String,
    user: String,
    team: String,
}

impl Bot {
    pub(super) async fn tell(
        &self,
        notification: &Notification,
        earlier: Option<&Receipt>,
        template: &Template,
    ) -> Result<Receipt, SendError> {
        let said = message(notification);
        let parent = earlier.and_then(|receipt| receipt.id.as_deref()).and_then(|id| id.split_once('/'));
        let Some((channel, ts)) = parent else {
            return self.first(notification, template).await;
        };
        if said.kind == TransitionKind::Opened {
            return Ok(earlier.cloned().unwrap_or_default());
        }
        let change = json!({ "channel": channel, "ts": ts });
        let (whole, text) = (blocks::body(&said, template, true), blocks::text(&said, template, true));
        if self.post("chat.update", &change, [whole, text], notification).await?.is_none() {
            // The message was deleted, or may not be changed any more: the incident gets a new one.
            return self.first(notification, template).await;
        }
        let broadcast = matches!(said.kind, TransitionKind::Escalated | TransitionKind::Reopened);
        let reply = json!({ "channel": channel, "thread_ts": ts, "reply_broadcast": broadcast });
        let (short, text) = (blocks::body(&said, template, false), blocks::text(&said, template, false));
        self.post("chat.postMessage", &reply, [short, text], notification).await?;
        Ok(earlier.cloned().unwrap_or_default())
    }

    /// Asks who the token is (docs.slack.dev/reference/methods/auth.test).
    pub(super) async fn probe(&self) -> Result<String, SendError> {
        let token = self.token.read()?;
        let call = Call { what: "auth.test at Slack", place: &self.place, secrets: &[&token], advice: no_advice };
        let request = self.http.post(format!("{}/auth.test", self.api)).bearer_auth(token.expose());
        let answer = call.ask(request).await?;
        let said: Said = serde_json::from_str(&answer.text).unwrap_or_default();
        if said.ok {
            let who = call.shown(&format!("{} in {}", said.user, said.team));
            return Ok(format!(
                "the bot {who}; whether it is in channel {} shows with the first message",
                self.channel
            ));
        }
        refused(&call, &said.error, wait(&answer.headers), &answer.text)?;
        Err(call.no(&said.error, "refused", "check @.bot_token"))
    }

    async fn first(&self, notification: &Notification, template: &Template) -> Result<Receipt, SendError> {
        let said = message(notification);
        let forms = [blocks::body(&said, template, true), blocks::text(&said, template, true)];
        let made = self.post("chat.postMessage", &json!({ "channel": self.channel }), forms, notification).await?;
        let id = made.filter(|made| !made.ts.is_empty()).map(|made| format!("{}/{}", made.channel, made.ts));
        Ok(Receipt { id, url: None })
    }

    /// Calls a method with the first form of the message, and with the second when the first is refused. `None`: there is
    /// no message any more that could be changed.
    async fn post(
        &self,
        method: &str,
        place: &Value,
        forms: [Value; 2],
        notification: &Notification,
    ) -> Result<Option<Said>, SendError> {
        let token = self.token.read()?;
        let what = format!("{method} at Slack for channel {}", self.channel);
        let call = Call { what: &what, place: &self.place, secrets: &[&token], advice: no_advice };
        let mut last = String::new();
        for form in forms {
            let mut body = form;
            for (key, value) in place.as_object().into_iter().flatten() {
                body[key] = value.clone();
            }
            let payload = json!({ "key": notification.key, "incident": notification.transition.incident.id });
            body["metadata"] = json!({ "event_type": "sigyn_notification", "event_payload": payload });
            let request = self.http.post(format!("{}/{method}", self.api)).bearer_auth(token.expose()).json(&body);
            let answer = call.ask(request).await?;
            let said: Said = serde_json::from_str(&answer.text).unwrap_or_default();
            if said.ok {
                return Ok(Some(said));
            }
            if !names_form(&answer.text) && said.error != "msg_too_long" {
                return refused(&call, &said.error, wait(&answer.headers), &answer.text);
            }
            last = said.error;
        }
        Err(call.no(&last, "invalid", "it takes the message in no form; a template of your own may be why, under @"))
    }
}

/// Slack says no with status 200 and a word (docs.slack.dev/reference/methods/chat.postMessage, "Errors").
fn refused(call: &Call<'_>, word: &str, after: Option<Duration>, text: &str) -> Result<Option<Said>, SendError> {
    let (reason, advice) = match word {
        "message_not_found" | "cant_update_message" | "edit_window_closed" | "is_inactive" => return Ok(None),
        "ratelimited" | "rate_limited" | "message_limit_exceeded" => {
            return Err(call.not_now(word, "rate_limited", after));
        }
        "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" | "team_added_to_org" => {
            return Err(call.not_now(word, "server", after));
        }
        "" => return Err(call.not_now(text, "bad_answer", after)),
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            ("unauthorized", "the token is wrong, revoked or expired: install the app again and set @.bot_token")
        }
        "missing_scope" | "no_permission" | "not_allowed_token_type" => (
            "forbidden",
            "the app needs the scope chat:write, and must be installed again after it got it; @.bot_token is its bot token",
        ),
        "not_in_channel" => {
            ("forbidden", "the bot is not in the channel: invite it there, or give it chat:write.public")
        }
        "channel_not_found" => {
            ("not_found", "the bot sees no such channel: set @.channel to its id and invite the bot")
        }
        "is_archived" => ("archived", "the channel is archived: bring it back or set another @.channel"),
        _ => ("refused", "the workspace does not take it: check @.channel and the rules of the workspace"),
    };
    Err(call.no(word, reason, advice))
}
