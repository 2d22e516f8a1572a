//! Discord by a webhook: one message an incident, changed in place, and a short one for each transition after it.
//!
//! What comes in: notifications. What goes out: an embed; its id comes back, so later transitions change it. What never
//! happens here: a mention (`allowed_mentions` is empty).

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::config::Facts;
use super::{Rate, Setup};
use crate::incident::{Severity, TransitionKind};
use crate::notify::client::{Answer, Call, Key};
use crate::notify::layout::{Layout, Markup, fit};
use crate::notify::render::{Message, message};
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError, escape};
use crate::secret::Secret;

/// Discord: 30 a minute for each channel's webhooks, 5 in 2 seconds for each webhook (people's measurements; the answers'
/// headers rule).
pub const RATE: Rate = Rate::every_ms(2_000);
/// Discord: characters of an embed's title (discord.com/developers/docs/resources/message, "Embed Limits").
const TITLE: usize = 256;
/// Discord: characters of an embed's description.
const DESCRIPTION: usize = 4_096;
/// Ours; Discord takes 2,048.
const FOOT: usize = 500;

const DISCORD: Markup = Markup {
    inline: escape::discord,
    code: escape::discord_code,
    block: |lines| format!("```\n{lines}\n```"),
    label: |label| format!("**{label}**"),
    link: |label, url| format!("[{label}](<{}>)", url.replace(')', "%29").replace('(', "%28")),
};

/// `discord:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscordConfig {
    /// Webhook of a channel; a secret, who has it can post.
    pub webhook_url: Option<Secret>,
    /// File with the URL.
    pub webhook_url_file: Option<PathBuf>,
}

impl DiscordConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts::with_templates()
            .needed("webhook_url", self.webhook_url.as_ref(), self.webhook_url_file.as_ref())
            .secret_url("webhook_url", self.webhook_url.as_ref())
    }
}

/// A channel.
#[derive(Debug)]
pub struct Discord {
    webhook: Key,
    setup: Setup,
}

impl Discord {
    /// Posts by these settings.
    #[must_use]
    pub fn new(config: &DiscordConfig, setup: Setup) -> Self {
        let (url, file) = (config.webhook_url.as_ref(), config.webhook_url_file.as_ref());
        Self { webhook: Key::new(&setup.place, "webhook_url", url, file), setup }
    }

    /// `None`: there is no such message any more.
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Option<Answer>, SendError> {
        let (secret, mut url) = self.webhook.url()?;
        let what = format!("posting to the Discord webhook at {}", url.host_str().unwrap_or("?"));
        let call = Call { what: &what, place: &self.setup.place, secrets: &[&secret], advice };
        extend(&mut url, path);
        let answer = call.exchange(self.setup.http.request(method, url).json(body)).await?;
        if !path.is_empty() && answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let after = retry_after(&answer);
        call.judge(answer).map(Some).map_err(|error| match error {
            SendError::Retry { reason, message, after: asked } => {
                SendError::Retry { reason, message, after: asked.or(after) }
            }
            error => error,
        })
    }
}

fn extend(url: &mut Url, path: &str) {
    let base = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}{path}"));
    // Without `wait`, it does not say which message it made.
    url.query_pairs_mut().append_pair("wait", "true");
}

/// Discord says in the body how many seconds to wait.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds = serde_json::from_str::<Value>(&answer.text).ok()?["retry_after"].as_f64()?;
    Some(Duration::from_secs_f64(seconds.clamp(0.0, 3_600.0)))
}

fn advice(status: StatusCode, _: &str) -> Option<(&'static str, &'static str)> {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED)
        .then_some(("not_found", "the webhook was removed: make a new one and set @.webhook_url"))
}

impl Discord {
    /// The body that would be sent.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> Value {
        let said = message(notification);
        render(&said, &self.setup.template, said.kind == TransitionKind::Opened)
    }

    /// Whether the webhook is there.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn probe(&self) -> Result<String, SendError> {
        let (secret, url) = self.webhook.url()?;
        let call =
            Call { what: "asking for the Discord webhook", place: &self.setup.place, secrets: &[&secret], advice };
        let answer = call.ask(self.setup.http.get(url)).await?;
        let said: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        Ok(format!("the webhook `{}` is there", call.shown(said["name"].as_str().unwrap_or_default())))
    }
}

impl Notifier for Discord {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let said = message(notification);
        let known = |id: &&str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        if let Some(id) = earlier.and_then(|receipt| receipt.id.as_deref()).filter(known) {
            if said.kind == TransitionKind::Opened {
                return Ok(earlier.cloned().unwrap_or_default());
            }
            let path = format!("/messages/{id}");
            if self.ask(Method::PATCH, &path, &render(&said, &self.setup.template, true)).await?.is_some() {
                self.ask(Method::POST, "", &render(&said, &self.setup.template, false)).await?;
                return Ok(earlier.cloned().unwrap_or_default());
            }
        }
        let made = self.ask(Method::POST, "", &render(&said, &self.setup.template, true)).await?;
        let made = made.and_then(|answer| serde_json::from_str::<Value>(&answer.text).ok()).unwrap_or_default();
        Ok(Receipt { id: made["id"].as_str().map(ToOwned::to_owned), url: None })
    }
}

/// The body of a request; with everything in it when it is `whole`.
#[must_use]
pub fn render(said: &Message, template: &Template, whole: bool) -> Value {
    let layout = Layout::new(said, DISCORD, template);
    let layout = if whole { layout.whole() } else { layout };
    let mut parts = layout.body();
    // Links before log lines, when there is no room for both.
    let links = layout.links().join(" · ");
    let samples = parts.pop_if(|part| part.starts_with("```"));
    parts.push(links);
    parts.extend(samples);
    json!({
        "embeds": [{
            "title": layout.head(TITLE),
            "description": fit(&parts, "\n", DESCRIPTION),
            "color": colour(said),
            "footer": { "text": fit(&[layout.foot()], "", FOOT) },
        }],
        "allowed_mentions": { "parse": [] },
    })
}

/// A colour, always beside the word.
fn colour(said: &Message) -> u32 {
    match (said.kind, said.severity) {
        (TransitionKind::Resolved, _) => 0x2e_a0_43,
        (TransitionKind::Acknowledged, _) | (_, Severity::Info) => 0x1f_6f_eb,
        (_, Severity::Critical) => 0xd7_3a_49,
        (_, Severity::Warning) => 0xe3_6f_1e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::{Asked, HUSH, Stub, judged, send};

    fn at(url: &str) -> Discord {
        let config = DiscordConfig {
            webhook_url: Some(Secret::new(format!("{url}/api/webhooks/1/{HUSH}"))),
            ..Default::default()
        };
        Discord::new(&config, Setup::of("notify.receivers[0].discord"))
    }

    fn shown(body: &Value) -> String {
        let embed = &body["embeds"][0];
        let text = |key: &str| embed[key].as_str().unwrap();
        let text = format!(
            "{}\n---\n{}\n---\n{}",
            text("title"),
            text("description"),
            embed["footer"]["text"].as_str().unwrap()
        );
        text.replace('\u{200b}', "·")
    }

    #[tokio::test]
    async fn one_message_is_changed_and_news_follow() {
        let (stub, url) =
            Stub::start(&[(200, "{\"id\":\"42\"}"), (200, "{}"), (200, "{}"), (404, "{}"), (200, "{\"id\":\"43\"}")])
                .await;
        let discord = at(&url);
        let first = send(&discord, &fixture::notification(fixture::opened(), "d"), None).await.unwrap();
        assert_eq!(first.id.as_deref(), Some("42"));
        send(&discord, &fixture::notification(fixture::continued(), "d"), Some(&first)).await.unwrap();
        let again = send(&discord, &fixture::notification(fixture::resolved(), "d"), Some(&first)).await.unwrap();
        assert_eq!(again.id.as_deref(), Some("43"), "the first one was deleted");
        let asked = stub.asked();
        let lines: Vec<String> = asked.iter().map(Asked::line).collect();
        assert_eq!(asked[0].json()["allowed_mentions"], json!({ "parse": [] }));
        let shown = [shown(&asked[0].json()), shown(&asked[2].json())].join("\n=====\n");
        insta::assert_snapshot!(format!("{}\n=====\n{shown}", lines.join("\n")), @r#"
        POST /api/webhooks/1/XyZ0123456789abcdef?wait=true
        PATCH /api/webhooks/1/XyZ0123456789abcdef/messages/42?wait=true
        POST /api/webhooks/1/XyZ0123456789abcdef?wait=true
        PATCH /api/webhooks/1/XyZ0123456789abcdef/messages/42?wait=true
        POST /api/webhooks/1/XyZ0123456789abcdef?wait=true
        =====
        🔴 CRITICAL cart: more errors than usual
        ---
        **When** since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        **Where** {service\_name="cart"} · cluster=eu-1
        **Why** errors 48, expected 0 to 3; most of them "payment gateway timeout", never seen before (71 % of the score)
        **and** different messages 131, expected 20 to 42.5 (19 % of the score)
        **In common** all 48 errors from pod=cart-7; 12 % of the other lines
        **How sure** score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)
        [Incident](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>) · [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>) · [Runbook](<https://wiki.example.com/cart?a=1&b=2>) · Owner: team-shop
        ```
        22:02:01Z level=error msg="payment gateway timeout" order=<*>
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        ```
        ---
        sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
        =====
        🔴 STILL CRITICAL cart: more errors than usual
        ---
        **When** since 2026-11-20T22:00:00Z, 33 minutes so far · 38,912 lines in 33 unusual windows · ▃▃▃▅▇█
        **Worst** errors 48, expected 0 to 3
        [Incident](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>) · [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>) · [Runbook](<https://wiki.example.com/cart?a=1&b=2>) · Owner: team-shop
        ---
        sigyn · watch shop · incident 00c0ffee00c0ffee
        "#);
    }

    #[tokio::test]
    async fn answers_are_judged() {
        let answers =
            [(200, "{\"id\":\"1\"}"), (429, "{\"retry_after\":1.5}"), (500, "ECHO"), (404, "ECHO"), (400, "ECHO")];
        insta::assert_snapshot!(judged(at, &answers).await, @r#"
        200: taken Receipt { id: Some("1"), url: None }
        429: retry rate_limited Some(7s): posting to the Discord webhook at 127.0.0.1: answered 429 "{\"retry_after\":1.5}"
        500: retry server None: posting to the Discord webhook at 127.0.0.1: answered 500 "/api/[secret]/1/[secret]?wait=true  {allowed_mentions:{parse:[]},e"
        404: give up not_found: posting to the Discord webhook at 127.0.0.1: answered 404 "/api/[secret]/1/[secret]?wait=true  {allowed_mentions:{parse:[]},e"; the webhook was removed: make a new one and set notify.receivers[0].discord.webhook_url
        400: give up refused: posting to the Discord webhook at 127.0.0.1: answered 400 "/api/[secret]/1/[secret]?wait=true  {allowed_mentions:{parse:[]},e"; it does not take the message: check the address and the other keys under notify.receivers[0].discord
        "#);
    }
}
