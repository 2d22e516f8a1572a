//! Opsgenie, and Jira Service Management, which took its alert API over: one alert an incident, its alias the incident's id.
//!
//! What comes in: notifications. What goes out: an alert while it goes on (a second one of the same alias is counted, not
//! made), its acknowledgement, and its close; any of them may come twice and changes nothing then.

use std::path::PathBuf;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::Facts;
use super::{Rate, Setup};
use crate::incident::{Severity, TransitionKind};
use crate::notify::client::{Call, Key};
use crate::notify::layout::{Layout, Markup, within};
use crate::notify::render::{Message, message};
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError};
use crate::secret::Secret;

/// Opsgenie's smallest plans take some requests a second (docs.opsgenie.com, "API Rate Limiting").
pub const RATE: Rate = Rate::every_ms(500);
/// Opsgenie: characters of `message` (docs.opsgenie.com, "Alert API").
const MESSAGE: usize = 130;
/// Opsgenie: characters of `description`.
const DESCRIPTION: usize = 15_000;
/// Opsgenie: characters of a tag and of `entity`, the smaller one.
const TAG: usize = 50;
/// Opsgenie: characters of all values in `details`; ours are far fewer.
const VALUE: usize = 1_000;
/// Opsgenie: characters of a note is 25,000; ours.
const NOTE: usize = 1_000;

/// `opsgenie:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpsgenieConfig {
    /// Key of an API integration; a secret.
    pub api_key: Option<Secret>,
    /// File with the key.
    pub api_key_file: Option<PathBuf>,
    /// The API; `https://api.eu.opsgenie.com` in the EU.
    pub api_url: String,
    /// Team that is paged; without it the integration's own.
    pub team: Option<String>,
}

impl Default for OpsgenieConfig {
    fn default() -> Self {
        let api_url = "https://api.opsgenie.com".to_owned();
        Self { api_key: None, api_key_file: None, api_url, team: None }
    }
}

/// `jira_service_management:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JsmConfig {
    /// Key of an API integration of Operations; a secret.
    pub api_key: Option<Secret>,
    /// File with the key.
    pub api_key_file: Option<PathBuf>,
    /// The integration API.
    pub api_url: String,
}

impl Default for JsmConfig {
    fn default() -> Self {
        let api_url = "https://api.atlassian.com/jsm/ops/integration".to_owned();
        Self { api_key: None, api_key_file: None, api_url }
    }
}

impl OpsgenieConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts::default()
            .needed("api_key", self.api_key.as_ref(), self.api_key_file.as_ref())
            .url("api_url", &self.api_url)
    }
}

impl JsmConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts::default()
            .needed("api_key", self.api_key.as_ref(), self.api_key_file.as_ref())
            .url("api_url", &self.api_url)
    }
}

/// An account.
#[derive(Debug)]
pub struct Opsgenie {
    key: Key,
    name: &'static str,
    api: String,
    team: Option<String>,
    setup: Setup,
}

impl Opsgenie {
    /// Opsgenie by these settings.
    #[must_use]
    pub fn new(config: &OpsgenieConfig, setup: Setup) -> Self {
        let key = Key::new(&setup.place, "api_key", config.api_key.as_ref(), config.api_key_file.as_ref());
        let api = config.api_url.trim_end_matches('/').to_owned();
        Self { key, name: "Opsgenie", api, team: config.team.clone(), setup }
    }

    /// Jira Service Management by these settings.
    #[must_use]
    pub fn of_jira(config: &JsmConfig, setup: Setup) -> Self {
        let key = Key::new(&setup.place, "api_key", config.api_key.as_ref(), config.api_key_file.as_ref());
        let api = config.api_url.trim_end_matches('/').to_owned();
        Self { key, name: "Jira Service Management", api, team: None, setup }
    }

    async fn post(&self, path: &str, body: &Value) -> Result<(), SendError> {
        let key = self.key.read()?;
        let what = format!("sending an alert to {}", self.name);
        let call = Call { what: &what, place: &self.setup.place, secrets: &[&key], advice };
        let request = self.setup.http.post(format!("{}/v2/alerts{path}", self.api)).json(body);
        call.ask(request.header("authorization", format!("GenieKey {}", key.expose()))).await.map(|_| ())
    }
}

/// 422 is what both say to a key of another region or kind.
fn advice(status: StatusCode, _: &str) -> Option<(&'static str, &'static str)> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => Some((
            "unauthorized",
            "the key is wrong or of another region: set @.api_key to that of an API integration, and @.api_url to its region",
        )),
        _ => None,
    }
}

impl Opsgenie {
    /// The body that would be sent.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> Value {
        let said = message(notification);
        match said.kind {
            TransitionKind::Acknowledged | TransitionKind::Resolved => note(&said),
            _ => render(notification, &said, self.team.as_deref()),
        }
    }

    /// Whether the key is good, as far as one without the right to read can tell.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn probe(&self) -> Result<String, SendError> {
        let key = self.key.read()?;
        let what = format!("asking {}", self.name);
        let call = Call { what: &what, place: &self.setup.place, secrets: &[&key], advice };
        let request = self.setup.http.get(format!("{}/v2/alerts/count", self.api));
        let answer = call.exchange(request.header("authorization", format!("GenieKey {}", key.expose()))).await?;
        if answer.status == StatusCode::FORBIDDEN {
            return Ok(format!(
                "{} knows the key, which may not read; whether it may write shows with the first alert",
                self.name
            ));
        }
        call.judge(answer).map(|_| format!("{} takes the key", self.name))
    }
}

impl Notifier for Opsgenie {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let said = message(notification);
        let id = &notification.transition.incident.id;
        let action = |word: &str| format!("/{id}/{word}?identifierType=alias");
        match said.kind {
            TransitionKind::Acknowledged => self.post(&action("acknowledge"), &note(&said)).await?,
            TransitionKind::Resolved => self.post(&action("close"), &note(&said)).await?,
            _ => self.post("", &render(notification, &said, self.team.as_deref())).await?,
        }
        Ok(earlier.cloned().unwrap_or(Receipt { id: Some(id.clone()), url: None }))
    }
}

/// The alert.
#[must_use]
pub fn render(notification: &Notification, said: &Message, team: Option<&str>) -> Value {
    let incident = &notification.transition.incident;
    let layout = Layout::new(said, Markup::PLAIN, &Template::default()).whole();
    let inline = |text: &str, max| (Markup::PLAIN.inline)(text, max);
    let labels = incident.group.labels.iter().chain(incident.labels.iter());
    let details: serde_json::Map<String, Value> =
        labels.take(20).map(|(name, value)| (inline(name, 100), within(&inline(value, VALUE), VALUE).into())).collect();
    let mut alert = json!({
        "message": layout.head(MESSAGE),
        "alias": incident.id,
        "description": layout.text(MESSAGE, DESCRIPTION),
        "entity": within(&inline(&said.place, TAG), TAG),
        "source": "sigyn",
        "tags": ["sigyn", within(&inline(&said.watch, TAG - 10), TAG)],
        "details": details,
        "priority": priority(said.severity),
    });
    if let Some(team) = team {
        alert["responders"] = json!([{ "name": team, "type": "team" }]);
    }
    alert
}

fn note(said: &Message) -> Value {
    let words = said.ended.as_deref().or(said.care.as_deref()).unwrap_or_default();
    let text = format!("{}: {}", said.state(), (Markup::PLAIN.inline)(words, NOTE / 2));
    json!({ "source": "sigyn", "user": "sigyn", "note": within(&text, NOTE) })
}

fn priority(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "P1",
        Severity::Warning => "P3",
        Severity::Info => "P5",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::{Asked, HUSH, Stub, judged, send};

    fn at(url: &str) -> Opsgenie {
        let config = OpsgenieConfig {
            api_key: Some(Secret::new(HUSH)),
            api_url: url.to_owned(),
            team: Some("shop".to_owned()),
            ..Default::default()
        };
        Opsgenie::new(&config, Setup::of("notify.receivers[0].opsgenie"))
    }

    #[tokio::test]
    async fn one_alert_by_alias() {
        let (stub, url) = Stub::start(&[]).await;
        let (opsgenie, mut acknowledged) = (at(&url), fixture::continued());
        acknowledged.kind = TransitionKind::Acknowledged;
        for transition in [fixture::opened(), fixture::continued(), acknowledged, fixture::resolved()] {
            send(&opsgenie, &fixture::notification(transition, "og"), None).await.unwrap();
        }
        let asked = stub.asked();
        assert_eq!(asked[0].header("authorization"), format!("GenieKey {HUSH}"));
        let lines: Vec<String> = asked.iter().map(Asked::line).collect();
        insta::assert_snapshot!(format!("{}\n{}\n{}", lines.join("\n"), serde_json::to_string_pretty(&asked[0].json()).unwrap(), asked[3].text).replace('\u{200b}', "·"), @r#"
        POST /v2/alerts
        POST /v2/alerts
        POST /v2/alerts/00c0ffee00c0ffee/acknowledge?identifierType=alias
        POST /v2/alerts/00c0ffee00c0ffee/close?identifierType=alias
        {
          "alias": "00c0ffee00c0ffee",
          "description": "🔴 CRITICAL cart: more errors than usual\nWhen: since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█\nWhere: {service_name=\"cart\"} · cluster=eu-1\nWhy: errors 48, expected 0 to 3; most of them \"payment gateway timeout\", never seen before (71 % of the score)\nand: different messages 131, expected 20 to 42.5 (19 % of the score)\nIn common: all 48 errors from pod=cart-7; 12 % of the other lines\nHow sure: score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)\n22:02:01Z level=error msg=\"payment gateway timeout\" order=<*>\n22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)\n22:02:30Z level=warn msg=\"retrying\" attempt=‹3›\nIncident: https://sigyn.example.com/incidents/00c0ffee00c0ffee\nLogs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D\nRunbook: https://wiki.example.com/cart?a=1&b=2\nOwner: team-shop\nsigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee",
          "details": {
            "cluster": "eu-1",
            "service_name": "cart"
          },
          "entity": "{service_name=\"cart\"}",
          "message": "🔴 CRITICAL cart: more errors than usual",
          "priority": "P1",
          "responders": [
            {
              "name": "shop",
              "type": "team"
            }
          ],
          "source": "sigyn",
          "tags": [
            "sigyn",
            "shop"
          ]
        }
        {"note":"RESOLVED: quiet for 5 minutes","source":"sigyn","user":"sigyn"}
        "#);
    }

    #[tokio::test]
    async fn jira_has_the_same_shape_elsewhere() {
        let (stub, url) = Stub::start(&[]).await;
        let config = JsmConfig {
            api_key: Some(Secret::new(HUSH)),
            api_url: format!("{url}/jsm/ops/integration"),
            ..Default::default()
        };
        let jira = Opsgenie::of_jira(&config, Setup::of("notify.receivers[0].jira_service_management"));
        send(&jira, &fixture::notification(fixture::opened(), "jsm"), None).await.unwrap();
        assert_eq!(stub.asked()[0].line(), "POST /jsm/ops/integration/v2/alerts");
        assert_eq!(stub.asked()[0].json().get("responders"), None);
    }

    #[tokio::test]
    async fn answers_are_judged() {
        insta::assert_snapshot!(judged(at, &[(202, "{}"), (429, ""), (503, "ECHO"), (422, "ECHO"), (404, "")]).await, @r#"
        202: taken Receipt { id: Some("00c0ffee00c0ffee"), url: None }
        429: retry rate_limited Some(7s): sending an alert to Opsgenie: answered 429 ""
        503: retry server None: sending an alert to Opsgenie: answered 503 "/v2/alerts GenieKey [secret] {alias:00c0ffee00c0ffee,descri"
        422: give up unauthorized: sending an alert to Opsgenie: answered 422 "/v2/alerts GenieKey [secret] {alias:00c0ffee00c0ffee,descri"; the key is wrong or of another region: set notify.receivers[0].opsgenie.api_key to that of an API integration, and notify.receivers[0].opsgenie.api_url to its region
        404: give up not_found: sending an alert to Opsgenie: answered 404 ""; there is no such thing: check the address under notify.receivers[0].opsgenie
        "#);
    }
}
