//! Telegram by a bot: a message, and later ones as replies to it.
//!
//! What comes in: notifications. What goes out: `sendMessage` in HTML. The bot's token is part of the URL, so no URL is
//! ever shown.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::config::Facts;
use super::{Rate, Setup};
use crate::notify::client::{Call, Key};
use crate::notify::layout::{Layout, Markup};
use crate::notify::render::{Message, message};
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError, escape};
use crate::secret::Secret;

/// Telegram: 20 messages a minute to one group (core.telegram.org/bots/faq, "My bot is hitting limits").
pub const RATE: Rate = Rate::every_ms(3_000);
/// Telegram: characters of a message after its entities are read (core.telegram.org/bots/api#sendmessage); ours counts
/// before that, so it is on the safe side.
const TEXT: usize = 4_096;
/// Ours: characters of the first line.
const HEAD: usize = 250;

const HTML: Markup = Markup {
    inline: escape::html,
    code: escape::html,
    block: |lines| format!("<pre>{lines}</pre>"),
    label: |label| format!("<b>{label}</b>"),
    link: |label, url| format!("<a href=\"{}\">{label}</a>", url.replace('&', "&amp;").replace('\'', "&#39;")),
};

/// `telegram:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelegramConfig {
    /// Token of the bot, from @BotFather; a secret.
    pub bot_token: Option<Secret>,
    /// File with the token.
    pub bot_token_file: Option<PathBuf>,
    /// Where to: the number of a chat, or `@channel`.
    pub chat_id: String,
    /// Topic of a forum, by its number.
    pub thread_id: Option<u64>,
    /// The bot API.
    pub api_url: String,
}

impl Default for TelegramConfig {
    fn default() -> Self {
        Self {
            bot_token: None,
            bot_token_file: None,
            chat_id: String::new(),
            thread_id: None,
            api_url: "https://api.telegram.org".to_owned(),
        }
    }
}

impl TelegramConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts::with_templates()
            .needed("bot_token", self.bot_token.as_ref(), self.bot_token_file.as_ref())
            .text("chat_id", &self.chat_id)
            .url("api_url", &self.api_url)
    }
}

/// A chat.
#[derive(Debug)]
pub struct Telegram {
    token: Key,
    config: TelegramConfig,
    setup: Setup,
}

impl Telegram {
    /// Writes by these settings.
    #[must_use]
    pub fn new(config: &TelegramConfig, setup: Setup) -> Self {
        let token = Key::new(&setup.place, "bot_token", config.bot_token.as_ref(), config.bot_token_file.as_ref());
        Self { token, config: TelegramConfig { bot_token: None, ..config.clone() }, setup }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    result: Made,
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Made {
    message_id: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    retry_after: Option<u64>,
}

impl Telegram {
    /// The text that would be sent.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> String {
        render(&message(notification), &self.setup.template)
    }

    /// Whether the bot sees the chat.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn probe(&self) -> Result<String, SendError> {
        let token = self.token.read()?;
        let what = format!("asking for Telegram's chat {}", self.config.chat_id);
        let call = Call { what: &what, place: &self.setup.place, secrets: &[&token], advice };
        let api = self.config.api_url.trim_end_matches('/');
        let request = self.setup.http.post(format!("{api}/bot{}/getChat", token.expose()));
        call.ask(request.json(&json!({ "chat_id": self.config.chat_id }))).await?;
        Ok(format!("the bot sees the chat {}", self.config.chat_id))
    }
}

impl Notifier for Telegram {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let token = self.token.read()?;
        let what = format!("writing to Telegram's chat {}", self.config.chat_id);
        let call = Call { what: &what, place: &self.setup.place, secrets: &[&token], advice };
        let mut body = json!({
            "chat_id": self.config.chat_id,
            "text": render(&message(notification), &self.setup.template),
            "parse_mode": "HTML",
            "link_preview_options": { "is_disabled": true },
        });
        if let Some(thread) = self.config.thread_id {
            body["message_thread_id"] = thread.into();
        }
        let first = earlier.and_then(|receipt| receipt.id.as_deref()).and_then(|id| id.parse::<i64>().ok());
        if let Some(first) = first {
            body["reply_parameters"] = json!({ "message_id": first, "allow_sending_without_reply": true });
        }
        let api = self.config.api_url.trim_end_matches('/');
        let url = format!("{api}/bot{}/sendMessage", token.expose());
        let answer = call.exchange(self.setup.http.post(url).json(&body)).await?;
        let said: Said = serde_json::from_str(&answer.text).unwrap_or_default();
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            let after = said.parameters.retry_after.map(|seconds| Duration::from_secs(seconds.min(3_600)));
            return Err(call.not_now(&answer.text, "rate_limited", after));
        }
        call.judge(answer)?;
        Ok(Receipt { id: first.or(said.result.message_id).map(|id| id.to_string()), url: None })
    }
}

/// core.telegram.org/bots/api, "Making requests": errors come with a description.
fn advice(status: StatusCode, said: &str) -> Option<(&'static str, &'static str)> {
    let has = |word: &str| said.contains(word);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND => {
            Some(("unauthorized", "the bot's token is wrong or revoked: set @.bot_token"))
        }
        StatusCode::FORBIDDEN => {
            Some(("forbidden", "the bot may not write there: add it to the chat, or let the person start it"))
        }
        _ if has("chat not found") || has("upgraded to a supergroup") => Some((
            "not_found",
            "there is no such chat for the bot: add it there and set @.chat_id to the chat's number",
        )),
        _ if has("can't parse entities") => {
            Some(("invalid", "it cannot read the HTML; a template of your own may be why, under @"))
        }
        _ => None,
    }
}

/// The text of a message, in Telegram's HTML.
#[must_use]
pub fn render(said: &Message, template: &Template) -> String {
    Layout::new(said, HTML, template).text(HEAD, TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::{HUSH, Stub, judged, send};

    fn at(url: &str) -> Telegram {
        let config = TelegramConfig {
            bot_token: Some(Secret::new(format!("12345678:{HUSH}"))),
            chat_id: "-100123".to_owned(),
            thread_id: Some(7),
            api_url: url.to_owned(),
            ..Default::default()
        };
        Telegram::new(&config, Setup::of("notify.receivers[0].telegram"))
    }

    #[tokio::test]
    async fn later_ones_reply_to_the_first() {
        let (stub, url) = Stub::start(&[
            (200, "{\"ok\":true,\"result\":{\"message_id\":9}}"),
            (200, "{\"result\":{\"message_id\":10}}"),
        ])
        .await;
        let telegram = at(&url);
        let first = send(&telegram, &fixture::notification(fixture::opened(), "t"), None).await.unwrap();
        let second = send(&telegram, &fixture::notification(fixture::resolved(), "t"), Some(&first)).await.unwrap();
        assert_eq!((first.id.as_deref(), second.id.as_deref()), (Some("9"), Some("9")));
        let asked = stub.asked();
        assert_eq!(asked[0].path, format!("/bot12345678:{HUSH}/sendMessage"));
        assert_eq!(asked[1].json()["reply_parameters"]["message_id"], 9);
        let text = |index: usize| asked[index].json()["text"].as_str().unwrap().to_owned();
        insta::assert_snapshot!(format!("{}\n=====\n{}", text(0), text(1)).replace('\u{200b}', "·"), @r#"
        🔴 CRITICAL cart: more errors than usual
        <b>When</b> since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        <b>Where</b> {service_name=&quot;cart&quot;} · cluster=eu-1
        <b>Why</b> errors 48, expected 0 to 3; most of them &quot;payment gateway timeout&quot;, never seen before (71 % of the score)
        <b>and</b> different messages 131, expected 20 to 42.5 (19 % of the score)
        <b>In common</b> all 48 errors from pod=cart-7; 12 % of the other lines
        <b>How sure</b> score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)
        <pre>22:02:01Z level=error msg=&quot;payment gateway timeout&quot; order=&lt;*&gt;
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg=&quot;retrying&quot; attempt=‹3›</pre>
        <a href="https://sigyn.example.com/incidents/00c0ffee00c0ffee">Incident</a>
        <a href="https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D">Logs in Grafana</a>
        <a href="https://wiki.example.com/cart?a=1&amp;b=2">Runbook</a>
        Owner: team-shop
        sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
        =====
        🟢 RESOLVED cart: more errors than usual
        <b>When</b> 2026-11-20T22:00:00Z to 2026-11-20T22:33:00Z, 33 minutes · 38,912 lines in 33 unusual windows
        <b>End</b> quiet for 5 minutes
        <b>Worst</b> errors 48, expected 0 to 3
        <a href="https://sigyn.example.com/incidents/00c0ffee00c0ffee">Incident</a>
        <a href="https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D">Logs in Grafana</a>
        <a href="https://wiki.example.com/cart?a=1&amp;b=2">Runbook</a>
        Owner: team-shop
        sigyn · watch shop · incident 00c0ffee00c0ffee
        "#);
    }

    #[tokio::test]
    async fn answers_are_judged() {
        let answers = [
            (200, "{\"ok\":true,\"result\":{\"message_id\":9}}"),
            (429, "{\"parameters\":{\"retry_after\":5}}"),
            (502, "ECHO"),
            (401, "Unauthorized ECHO"),
            (400, "Bad Request: chat not found"),
        ];
        insta::assert_snapshot!(judged(at, &answers).await, @r#"
        200: taken Receipt { id: Some("9"), url: None }
        429: retry rate_limited Some(5s): writing to Telegram's chat -100123: answered "{\"parameters\":{\"retry_after\":5}}"
        502: retry server None: writing to Telegram's chat -100123: answered 502 "/bot[secret]/sendMessage  {chat_id:-100123,link_preview_"
        401: give up unauthorized: writing to Telegram's chat -100123: answered 401 "Unauthorized /bot[secret]/sendMessage  {chat_id:-100123,link_preview_"; the bot's token is wrong or revoked: set notify.receivers[0].telegram.bot_token
        400: give up not_found: writing to Telegram's chat -100123: answered 400 "Bad Request: chat not found"; there is no such chat for the bot: add it there and set notify.receivers[0].telegram.chat_id to the chat's number
        "#);
    }
}
