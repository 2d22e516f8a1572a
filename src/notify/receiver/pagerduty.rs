//! PagerDuty by its Events API v2: one alert an incident, named by the incident's id.
//!
//! What comes in: notifications. What goes out: a `trigger` while it goes on (PagerDuty adds it to the alert of the same
//! `dedup_key`), an `acknowledge`, and a `resolve`; any of them may come twice and changes nothing then.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::Facts;
use super::{Rate, Setup};
use crate::incident::TransitionKind;
use crate::notify::client::{Call, Key};
use crate::notify::layout::{Layout, Markup, within};
use crate::notify::render::{Message, message};
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError};
use crate::secret::Secret;
use crate::time::rfc3339;

/// PagerDuty throttles an integration at some 120 events a minute (developer.pagerduty.com, "Events API v2 limits").
pub const RATE: Rate = Rate::every_ms(600);
/// PagerDuty: characters of `summary` (developer.pagerduty.com, "PD-CEF").
const SUMMARY: usize = 1_024;
/// Ours; PagerDuty takes 512 kB in all.
const DETAIL: usize = 8_000;

/// `pagerduty:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagerdutyConfig {
    /// Integration key of a service; a secret.
    pub routing_key: Option<Secret>,
    /// File with the key.
    pub routing_key_file: Option<PathBuf>,
    /// The events API; `https://events.eu.pagerduty.com` in the EU.
    pub api_url: String,
}

impl Default for PagerdutyConfig {
    fn default() -> Self {
        Self { routing_key: None, routing_key_file: None, api_url: "https://events.pagerduty.com".to_owned() }
    }
}

impl PagerdutyConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts::default()
            .needed("routing_key", self.routing_key.as_ref(), self.routing_key_file.as_ref())
            .url("api_url", &self.api_url)
    }
}

/// A service of PagerDuty.
#[derive(Debug)]
pub struct Pagerduty {
    key: Key,
    api: String,
    setup: Setup,
}

impl Pagerduty {
    /// Sends by these settings.
    #[must_use]
    pub fn new(config: &PagerdutyConfig, setup: Setup) -> Self {
        let (key, file) = (config.routing_key.as_ref(), config.routing_key_file.as_ref());
        let api = config.api_url.trim_end_matches('/').to_owned();
        Self { key: Key::new(&setup.place, "routing_key", key, file), api, setup }
    }
}

impl Pagerduty {
    /// The event that would be sent, without the key.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> Value {
        render(notification, &message(notification))
    }
}

impl Notifier for Pagerduty {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let key = self.key.read()?;
        let mut event = render(notification, &message(notification));
        event["routing_key"] = key.expose().into();
        let call = Call { what: "sending an event to PagerDuty", place: &self.setup.place, secrets: &[&key], advice };
        call.ask(self.setup.http.post(format!("{}/v2/enqueue", self.api)).json(&event)).await?;
        let id = Some(notification.transition.incident.id.clone());
        Ok(earlier.cloned().unwrap_or(Receipt { id, url: None }))
    }
}

/// PagerDuty answers 400 for a wrong key and for a wrong event.
fn advice(status: reqwest::StatusCode, said: &str) -> Option<(&'static str, &'static str)> {
    let key = said.contains("routing_key") || said.contains("Invalid Routing Key");
    (status == reqwest::StatusCode::BAD_REQUEST).then_some(match key {
        true => (
            "unauthorized",
            "it knows no such integration key: set @.routing_key to that of an Events API v2 integration",
        ),
        false => ("invalid", "it does not take the event; this is a fault of sigyn, please report it with this text"),
    })
}

/// The event, without its key.
#[must_use]
pub fn render(notification: &Notification, said: &Message) -> Value {
    let incident = &notification.transition.incident;
    let action = match said.kind {
        TransitionKind::Acknowledged => "acknowledge",
        TransitionKind::Resolved => "resolve",
        _ => "trigger",
    };
    let mut event = json!({ "event_action": action, "dedup_key": incident.id });
    if action != "trigger" {
        return event;
    }
    let layout = Layout::new(said, Markup::PLAIN, &Template::default()).whole();
    let service = incident.group.labels.iter().next().map_or("", |(_, value)| value);
    let inline = |text: &str| (Markup::PLAIN.inline)(text, 200);
    event["client"] = "sigyn".into();
    event["client_url"] = said.links.incident.clone().into();
    event["links"] = layout.urls().into_iter().map(|(label, url)| json!({ "href": url, "text": label })).collect();
    event["payload"] = json!({
        "summary": within(&summary(said), SUMMARY),
        "source": within(&inline(&said.place), SUMMARY),
        // It knows critical, error, warning and info.
        "severity": said.severity.as_str(),
        "timestamp": rfc3339(incident.started_at),
        "component": inline(service),
        "group": inline(&said.watch),
        "class": "log anomaly",
        "custom_details": details(&layout),
    });
    event
}

fn summary(said: &Message) -> String {
    let plain = |text: &str| (Markup::PLAIN.inline)(text, 400);
    let reason = said.reason().map(|reason| format!(" ({})", plain(&reason))).unwrap_or_default();
    format!("{} {}{reason}", said.state(), plain(&said.title))
}

fn details(layout: &Layout<'_>) -> Value {
    let mut details = serde_json::Map::new();
    let mut add = |label: &str, value: String| {
        let value = within(&value, DETAIL);
        match details.get_mut(label) {
            Some(Value::String(before)) => *before = format!("{before}\n{value}"),
            _ => drop(details.insert(label.to_owned(), value.into())),
        }
    };
    for (label, value) in layout.rows().into_iter().chain(layout.details()) {
        add(if label == "and" { "Why" } else { label }, value);
    }
    if let Some((heading, lines)) = layout.members() {
        add(heading, lines.join("\n"));
    }
    add("Log lines", layout.samples().join("\n"));
    add("From", layout.foot());
    Value::Object(details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::{HUSH, Stub, judged, send};

    fn at(url: &str) -> Pagerduty {
        let config =
            PagerdutyConfig { routing_key: Some(Secret::new(HUSH)), api_url: url.to_owned(), ..Default::default() };
        Pagerduty::new(&config, Setup::of("notify.receivers[0].pagerduty"))
    }

    #[tokio::test]
    async fn triggers_acknowledges_and_resolves_one_alert() {
        let (stub, url) = Stub::start(&[(202, "{}"), (202, "{}"), (202, "{}")]).await;
        let (pagerduty, mut acknowledged) = (at(&url), fixture::continued());
        acknowledged.kind = TransitionKind::Acknowledged;
        for transition in [fixture::opened(), acknowledged, fixture::resolved()] {
            let receipt = send(&pagerduty, &fixture::notification(transition, "pd"), None).await.unwrap();
            assert_eq!(receipt.id.as_deref(), Some("00c0ffee00c0ffee"));
        }
        let asked = stub.asked();
        assert_eq!(asked[0].line(), "POST /v2/enqueue");
        assert_eq!(asked[0].json()["routing_key"], HUSH);
        let short = |index: usize| {
            let mut event = asked[index].json();
            event.as_object_mut().unwrap().remove("routing_key");
            serde_json::to_string_pretty(&event).unwrap()
        };
        insta::assert_snapshot!(format!("{}\n{}\n{}", short(0), short(1), short(2)), @r#"
        {
          "client": "sigyn",
          "client_url": "https://sigyn.example.com/incidents/00c0ffee00c0ffee",
          "dedup_key": "00c0ffee00c0ffee",
          "event_action": "trigger",
          "links": [
            {
              "href": "https://sigyn.example.com/incidents/00c0ffee00c0ffee",
              "text": "Incident"
            },
            {
              "href": "https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D",
              "text": "Logs in Grafana"
            },
            {
              "href": "https://wiki.example.com/cart?a=1&b=2",
              "text": "Runbook"
            }
          ],
          "payload": {
            "class": "log anomaly",
            "component": "cart",
            "custom_details": {
              "From": "sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee",
              "How sure": "score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)",
              "In common": "all 48 errors from pod=cart-7; 12 % of the other lines",
              "Log lines": "22:02:01Z level=error msg=\"payment gateway timeout\" order=<*>\n22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)\n22:02:30Z level=warn msg=\"retrying\" attempt=‹3›",
              "When": "since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█",
              "Where": "{service_name=\"cart\"} · cluster=eu-1",
              "Why": "errors 48, expected 0 to 3; most of them \"payment gateway timeout\", never seen before (71 % of the score)\ndifferent messages 131, expected 20 to 42.5 (19 % of the score)"
            },
            "group": "shop",
            "severity": "critical",
            "source": "{service_name=\"cart\"}",
            "summary": "CRITICAL cart: more errors than usual (errors 48, expected 0 to 3)",
            "timestamp": "2026-11-20T22:00:00Z"
          }
        }
        {
          "dedup_key": "00c0ffee00c0ffee",
          "event_action": "acknowledge"
        }
        {
          "dedup_key": "00c0ffee00c0ffee",
          "event_action": "resolve"
        }
        "#);
    }

    #[tokio::test]
    async fn answers_are_judged() {
        let answers = [
            (202, "{}"),
            (429, ""),
            (500, "ECHO"),
            (400, "{\"status\":\"invalid event\",\"errors\":[\"'routing_key' ECHO is invalid\"]}"),
            (400, "{\"errors\":[\"'payload.severity' is invalid\"]}"),
        ];
        insta::assert_snapshot!(judged(at, &answers).await, @r#"
        202: taken Receipt { id: Some("00c0ffee00c0ffee"), url: None }
        429: retry rate_limited Some(7s): sending an event to PagerDuty: answered 429 ""
        500: retry server None: sending an event to PagerDuty: answered 500 "/v2/enqueue  {client:sigyn,client_url:https"
        400: give up unauthorized: sending an event to PagerDuty: answered 400 "{\"status\":\"invalid event\",\"errors\":[\"'routing_key' /v2/enqueue  {client:sigyn,client_url:https is invalid\"]}"; it knows no such integration key: set notify.receivers[0].pagerduty.routing_key to that of an Events API v2 integration
        400: give up invalid: sending an event to PagerDuty: answered 400 "{\"errors\":[\"'payload.severity' is invalid\"]}"; it does not take the event; this is a fault of sigyn, please report it with this text
        "#);
    }
}
