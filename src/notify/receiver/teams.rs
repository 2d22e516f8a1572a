//! Microsoft Teams by a webhook of the Workflows app ("When a Teams webhook request is received"), as an Adaptive Card.
//!
//! What comes in: notifications. What goes out: one POST each. The webhook gives nothing back to find the message by, so
//! later transitions are messages of their own. Text of strangers stands in `TextRun`s, which know no Markdown.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::Facts;
use super::{Rate, Setup};
use crate::incident::{Severity, TransitionKind};
use crate::notify::client::{Call, Key, no_advice};
use crate::notify::layout::{Layout, Markup};
use crate::notify::render::{Message, message};
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError, escape};
use crate::secret::Secret;

/// Teams: 4 requests a second (learn.microsoft.com, "Rate limiting for connectors").
pub const RATE: Rate = Rate::every_ms(1_000);
/// Teams: 28 kB a message (learn.microsoft.com, "Format cards in Microsoft Teams"); room is left for the envelope.
pub const BYTES: usize = 25_000;
/// Ours: characters of the first line.
const HEAD: usize = 200;

const CARD: Markup = Markup { inline: escape::card, code: escape::card, ..Markup::PLAIN };

/// `teams:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeamsConfig {
    /// URL of the workflow; a secret, who has it can post.
    pub webhook_url: Option<Secret>,
    /// File with the URL.
    pub webhook_url_file: Option<PathBuf>,
}

impl TeamsConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts::with_templates()
            .needed("webhook_url", self.webhook_url.as_ref(), self.webhook_url_file.as_ref())
            .secret_url("webhook_url", self.webhook_url.as_ref())
    }
}

/// A channel or chat of Teams.
#[derive(Debug)]
pub struct Teams {
    webhook: Key,
    setup: Setup,
}

impl Teams {
    /// Posts by these settings.
    #[must_use]
    pub fn new(config: &TeamsConfig, setup: Setup) -> Self {
        let (url, file) = (config.webhook_url.as_ref(), config.webhook_url_file.as_ref());
        Self { webhook: Key::new(&setup.place, "webhook_url", url, file), setup }
    }
}

impl Teams {
    /// The body that would be sent.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> Value {
        render(&message(notification), &self.setup.template)
    }
}

impl Notifier for Teams {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let (secret, url) = self.webhook.url()?;
        let what = format!("posting to the Teams workflow at {}", url.host_str().unwrap_or("?"));
        let call = Call { what: &what, place: &self.setup.place, secrets: &[&secret], advice: no_advice };
        let body = render(&message(notification), &self.setup.template);
        call.ask(self.setup.http.post(url).json(&body)).await?;
        Ok(earlier.cloned().unwrap_or_default())
    }
}

/// The body of a request. What would pass [`BYTES`] is left out from the end, samples first.
#[must_use]
pub fn render(said: &Message, template: &Template) -> Value {
    let layout = Layout::new(said, CARD, template);
    let mut parts = body(&layout);
    loop {
        let card = card(said, &layout, &parts);
        if card.to_string().len() <= BYTES || parts.pop().is_none() {
            return card;
        }
    }
}

fn card(said: &Message, layout: &Layout<'_>, parts: &[Value]) -> Value {
    let head = json!({
        "type": "Container", "style": style(said), "bleed": true,
        "items": [text(vec![run(&layout.head(HEAD), true)])]
    });
    let foot = json!({ "type": "RichTextBlock", "spacing": "Small", "inlines": [
        { "type": "TextRun", "text": layout.foot(), "size": "Small", "isSubtle": true }
    ] });
    let body: Vec<Value> = [head].into_iter().chain(parts.iter().cloned()).chain([foot]).collect();
    let open = |(label, url)| json!({ "type": "Action.OpenUrl", "title": label, "url": url });
    let actions: Vec<Value> = layout.urls().into_iter().map(open).collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "fallbackText": layout.head(HEAD),
                "body": body,
                "actions": actions,
            }
        }]
    })
}

fn body(layout: &Layout<'_>) -> Vec<Value> {
    if let Some(own) = layout.own_text() {
        return own.lines().map(|line| text(vec![run(line, false)])).collect();
    }
    let row = |label: &str, value: &str| text(vec![run(&format!("{label} "), true), run(value, false)]);
    let rows = layout.rows().into_iter().chain(layout.details());
    let mut parts: Vec<Value> = rows.map(|(label, value)| row(label, &value)).collect();
    parts.extend(layout.owner().map(|owner| row("Owner", &owner)));
    if let Some((heading, lines)) = layout.members() {
        parts.push(text(vec![run(heading, true)]));
        parts.extend(lines.iter().map(|line| text(vec![run(&format!("• {line}"), false)])));
    }
    let sample = |line: String| {
        let run = json!({ "type": "TextRun", "text": line, "fontType": "Monospace", "size": "Small" });
        json!({ "type": "RichTextBlock", "spacing": "None", "inlines": [run] })
    };
    parts.extend(layout.samples().into_iter().map(sample));
    parts
}

fn text(runs: Vec<Value>) -> Value {
    json!({ "type": "RichTextBlock", "spacing": "Small", "inlines": runs })
}

fn run(text: &str, bold: bool) -> Value {
    let weight = if bold { "Bolder" } else { "Default" };
    json!({ "type": "TextRun", "text": text, "weight": weight })
}

/// A colour, always beside the word.
fn style(said: &Message) -> &'static str {
    match (said.kind, said.severity) {
        (TransitionKind::Resolved, _) => "good",
        (TransitionKind::Acknowledged, _) | (_, Severity::Info) => "accent",
        (_, Severity::Critical) => "attention",
        (_, Severity::Warning) => "warning",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::{HUSH, Stub, judged, send};

    fn at(url: &str) -> Teams {
        let config =
            TeamsConfig { webhook_url: Some(Secret::new(format!("{url}/workflows/{HUSH}"))), webhook_url_file: None };
        Teams::new(&config, Setup::of("notify.receivers[0].teams"))
    }

    /// What a person sees of a card.
    fn shown(body: &Value) -> String {
        let mut lines = Vec::new();
        let content = &body["attachments"][0]["content"];
        let line = |block: &Value| -> String {
            block["inlines"].as_array().unwrap().iter().map(|run| run["text"].as_str().unwrap()).collect()
        };
        for block in content["body"].as_array().unwrap() {
            lines.push(if block["type"] == "Container" { line(&block["items"][0]) } else { line(block) });
        }
        for action in content["actions"].as_array().unwrap() {
            lines.push(format!("[{}] {}", action["title"].as_str().unwrap(), action["url"].as_str().unwrap()));
        }
        lines.join("\n").replace('\u{200b}', "·")
    }

    #[tokio::test]
    async fn posts_a_card() {
        let (stub, url) = Stub::start(&[(202, "")]).await;
        let notification = fixture::notification(fixture::opened(), "teams");
        assert_eq!(send(&at(&url), &notification, None).await, Ok(Receipt::default()));
        let body = stub.asked()[0].json();
        assert_eq!(body["attachments"][0]["content"]["body"][0]["style"], "attention");
        insta::assert_snapshot!(shown(&body), @r#"
        🔴 CRITICAL cart: more errors than usual
        When since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        Where {service_name="cart"} · cluster=eu-1
        Why errors 48, expected 0 to 3; most of them "payment gateway timeout", never seen before (71 % of the score)
        and different messages 131, expected 20 to 42.5 (19 % of the score)
        In common all 48 errors from pod=cart-7; 12 % of the other lines
        How sure score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)
        Owner team-shop
        22:02:01Z level=error msg="payment gateway timeout" order=<*>
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
        [Incident] https://sigyn.example.com/incidents/00c0ffee00c0ffee
        [Logs in Grafana] https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        [Runbook] https://wiki.example.com/cart?a=1&b=2
        "#);
    }

    #[test]
    fn an_end_and_hostile_lines() {
        let show =
            |transition| shown(&render(&message(&fixture::notification(transition, "teams")), &Template::default()));
        insta::assert_snapshot!(format!("{}\n=====\n{}", show(fixture::resolved()), show(fixture::hostile("<at>all</at> {{DATE(2026)}} [x](http://e.vil) **b**"))), @r#"
        🟢 RESOLVED cart: more errors than usual
        When 2026-11-20T22:00:00Z to 2026-11-20T22:33:00Z, 33 minutes · 38,912 lines in 33 unusual windows
        End quiet for 5 minutes
        Worst errors 48, expected 0 to 3
        Owner team-shop
        sigyn · watch shop · incident 00c0ffee00c0ffee
        [Incident] https://sigyn.example.com/incidents/00c0ffee00c0ffee
        [Logs in Grafana] https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        [Runbook] https://wiki.example.com/cart?a=1&b=2
        =====
        🔴 CRITICAL <·at>all</at> {·{DATE(2026)}} [x](http:/·/e.vil) **b**: more errors than usual
        When since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        Where {service_name="<·at>all</at> {·{DATE(2026)}} [x](http:/·/e.vil) **b**"} · cluster=<·at>all</at> {·{DATE(2026)}} [x](http:/·/e.vil) **b**
        Why errors 48, expected 0 to 3; all of them "<·at>all</at> {·{DATE(2026)}} [x](http:/·/e.vil) **b**" (71 % of the score)
        and different messages 131, expected 20 to 42.5 (19 % of the score)
        In common all 48 errors from pod=<·at>all</at> {·{DATE(2026)}} [x](http:/·/e.vil) **b**; 12 % of the other lines
        How sure score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)
        Owner <·at>all</at> {·{DATE(2026)}} [x](http:/·/e.vil) **b**
        22:02:01Z <·at>all</at> {·{DATE(2026)}} [x](http:/·/e.vil) **b**
        22:02:02Z <·at>all</at> {·{DATE(2026)}} [x](http:/·/e.vil) **b**
        sigyn · watch <·at>all</at> {·{DATE(2026)}} [x](http:/·/e.vil) **b** · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
        [Incident] https://sigyn.example.com/incidents/00c0ffee00c0ffee
        [Logs in Grafana] https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        "#);
    }

    #[tokio::test]
    async fn answers_are_judged() {
        insta::assert_snapshot!(judged(at, &[(202, ""), (429, "slow down"), (502, "ECHO"), (401, "ECHO"), (400, "bad")]).await, @r#"
        202: taken Receipt { id: None, url: None }
        429: retry rate_limited Some(7s): posting to the Teams workflow at 127.0.0.1: answered 429 "slow down"
        502: retry server None: posting to the Teams workflow at 127.0.0.1: answered 502 "/[secret]/[secret]  {attachments:[{content:{$schem"
        401: give up unauthorized: posting to the Teams workflow at 127.0.0.1: answered 401 "/[secret]/[secret]  {attachments:[{content:{$schem"; the key is wrong, revoked or expired: set a new one under notify.receivers[0].teams
        400: give up refused: posting to the Teams workflow at 127.0.0.1: answered 400 "bad"; it does not take the message: check the address and the other keys under notify.receivers[0].teams
        "#);
    }
}
