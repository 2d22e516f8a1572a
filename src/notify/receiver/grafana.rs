//! Annotations in Grafana: a region on the dashboards for each incident.
//!
//! What comes in: notifications. What goes out: an annotation, found again by its id, or by its tags when the answer to its
//! creation was lost; later transitions change its end and its text. What only goes on moves the end.

use std::path::PathBuf;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::config::Facts;
use super::{Rate, Setup};
use crate::incident::TransitionKind;
use crate::notify::client::{Answer, Call, Key};
use crate::notify::layout::{Layout, Markup, within};
use crate::notify::render::{Message, message};
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError, escape};
use crate::secret::Secret;

/// Ours: Grafana sets no limit.
pub const RATE: Rate = Rate::every_ms(200);
/// Ours: characters of the text, which is shown in a small box.
const TEXT: usize = 2_000;
/// Grafana: characters of a tag (its table has `varchar(100)`).
const TAG: usize = 100;

const HTML: Markup = Markup {
    inline: escape::html,
    code: escape::html,
    block: |lines| format!("<pre>{lines}</pre>"),
    label: |label| format!("<b>{label}</b>"),
    link: |label, url| format!("<a href=\"{}\">{label}</a>", url.replace('&', "&amp;").replace('\'', "&#39;")),
};

/// `grafana:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrafanaConfig {
    /// Base URL.
    pub url: String,
    /// Token of a service account that may write annotations; a secret.
    pub token: Option<Secret>,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// UID of the one dashboard to annotate; without it, the organisation: dashboards show it by the tag `sigyn`.
    pub dashboard_uid: Option<String>,
    /// Further tags.
    pub tags: Vec<String>,
}

impl GrafanaConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts::default().url("url", &self.url).needed("token", self.token.as_ref(), self.token_file.as_ref()).wrong_if(
            self.tags.iter().any(|tag| tag.is_empty() || tag.chars().count() > TAG),
            "tags",
            "must be 1 to 100 characters each",
        )
    }
}

/// A Grafana.
#[derive(Debug)]
pub struct Grafana {
    token: Key,
    config: GrafanaConfig,
    setup: Setup,
}

impl Grafana {
    /// Annotates by these settings.
    #[must_use]
    pub fn new(config: &GrafanaConfig, setup: Setup) -> Self {
        let token = Key::new(&setup.place, "token", config.token.as_ref(), config.token_file.as_ref());
        Self { token, config: GrafanaConfig { token: None, ..config.clone() }, setup }
    }

    /// Any answer but one that says that there is no such thing (`None`).
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Answer>, SendError> {
        let token = self.token.read()?;
        let base = self.config.url.trim_end_matches('/');
        let host = Url::parse(base).ok().and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_default();
        let what = format!("annotating in Grafana at {host}");
        let call = Call { what: &what, place: &self.setup.place, secrets: &[&token], advice };
        let mut request = self.setup.http.request(method.clone(), format!("{base}/api/annotations{path}"));
        request = request.bearer_auth(token.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = call.exchange(request).await?;
        if method == Method::PATCH && answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        call.judge(answer).map(Some)
    }

    /// The annotation of an incident whose first answer was lost.
    async fn find(&self, incident: &str) -> Result<Option<i64>, SendError> {
        let tag: String = url::form_urlencoded::byte_serialize(format!("incident:{incident}").as_bytes()).collect();
        let Some(answer) = self.ask(Method::GET, &format!("?limit=1&tags={tag}"), None).await? else { return Ok(None) };
        let found: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        Ok(found[0]["id"].as_i64())
    }

    async fn create(&self, annotation: &Value) -> Result<Option<i64>, SendError> {
        let Some(answer) = self.ask(Method::POST, "", Some(annotation)).await? else { return Ok(None) };
        Ok(serde_json::from_str::<Value>(&answer.text).unwrap_or_default()["id"].as_i64())
    }
}

fn advice(status: StatusCode, _: &str) -> Option<(&'static str, &'static str)> {
    match status {
        StatusCode::UNAUTHORIZED => Some(("unauthorized", "the token is wrong, revoked or expired: set @.token")),
        StatusCode::FORBIDDEN => Some((
            "forbidden",
            "the token may not do this: its service account needs annotations:read, :create and :write",
        )),
        _ => None,
    }
}

impl Grafana {
    /// The annotation that would be made.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> Value {
        render(notification, &message(notification), &self.config)
    }

    /// Whether the token may read annotations.
    ///
    /// # Errors
    /// Why it may not.
    pub async fn probe(&self) -> Result<String, SendError> {
        self.ask(Method::GET, "?limit=1&tags=sigyn", None).await?;
        Ok("the token may read annotations; whether it may write them shows with the first".to_owned())
    }
}

impl Notifier for Grafana {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let said = message(notification);
        let annotation = render(notification, &said, &self.config);
        let known = earlier.and_then(|receipt| receipt.id.as_deref()).and_then(|id| id.parse().ok());
        let known = match known {
            Some(id) if said.kind == TransitionKind::Opened => return Ok(receipt(Some(id))),
            Some(id) => Some(id),
            None => self.find(&notification.transition.incident.id).await?,
        };
        if let Some(id) = known {
            let changed =
                json!({ "text": annotation["text"], "tags": annotation["tags"], "timeEnd": annotation["timeEnd"] });
            if self.ask(Method::PATCH, &format!("/{id}"), Some(&changed)).await?.is_some() {
                return Ok(receipt(Some(id)));
            }
        }
        Ok(receipt(self.create(&annotation).await?))
    }
}

fn receipt(id: Option<i64>) -> Receipt {
    Receipt { id: id.map(|id| id.to_string()), url: None }
}

/// The annotation, from the first sign to the end, or to the last one that was seen.
#[must_use]
pub fn render(notification: &Notification, said: &Message, config: &GrafanaConfig) -> Value {
    const MILLI: i64 = 1_000_000;
    let incident = &notification.transition.incident;
    let end = incident.resolved_at.unwrap_or(incident.last_seen).max(incident.started_at);
    let mut tags = vec![
        "sigyn".to_owned(),
        format!("incident:{}", incident.id),
        format!("severity:{}", said.severity.as_str()),
        within(&format!("watch:{}", escape::plain(&said.watch, TAG / 2)), TAG),
    ];
    tags.extend(config.tags.iter().cloned());
    let mut annotation = json!({
        "time": incident.started_at / MILLI,
        "timeEnd": end / MILLI,
        "tags": tags,
        "text": Layout::new(said, HTML, &Template::default()).text(500, TEXT),
    });
    if let Some(uid) = &config.dashboard_uid {
        annotation["dashboardUID"] = uid.clone().into();
    }
    annotation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::{Asked, HUSH, Stub, judged, send};

    fn at(url: &str) -> Grafana {
        let config = GrafanaConfig { url: url.to_owned(), token: Some(Secret::new(HUSH)), ..Default::default() };
        Grafana::new(&config, Setup::of("notify.receivers[0].grafana"))
    }

    #[tokio::test]
    async fn one_region_grows_and_ends() {
        let (stub, url) =
            Stub::start(&[(200, "[]"), (200, "{\"id\":5}"), (200, "{}"), (404, "{}"), (200, "{\"id\":6}")]).await;
        let grafana = at(&url);
        let first = send(&grafana, &fixture::notification(fixture::opened(), "g"), None).await.unwrap();
        assert_eq!(first.id.as_deref(), Some("5"));
        send(&grafana, &fixture::notification(fixture::continued(), "g"), Some(&first)).await.unwrap();
        let again = send(&grafana, &fixture::notification(fixture::resolved(), "g"), Some(&first)).await.unwrap();
        assert_eq!(again.id.as_deref(), Some("6"), "somebody deleted the first one");
        let asked = stub.asked();
        let lines: Vec<String> = asked.iter().map(Asked::line).collect();
        let shown = serde_json::to_string_pretty(&asked[1].json()).unwrap().replace('\u{200b}', "·");
        insta::assert_snapshot!(format!("{}\n{shown}", lines.join("\n")), @r#"
        GET /api/annotations?limit=1&tags=incident%3A00c0ffee00c0ffee
        POST /api/annotations
        PATCH /api/annotations/5
        PATCH /api/annotations/5
        POST /api/annotations
        {
          "tags": [
            "sigyn",
            "incident:00c0ffee00c0ffee",
            "severity:critical",
            "watch:shop"
          ],
          "text": "🔴 CRITICAL cart: more errors than usual\n<b>When</b> since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█\n<b>Where</b> {service_name=&quot;cart&quot;} · cluster=eu-1\n<b>Why</b> errors 48, expected 0 to 3; most of them &quot;payment gateway timeout&quot;, never seen before (71 % of the score)\n<b>and</b> different messages 131, expected 20 to 42.5 (19 % of the score)\n<b>In common</b> all 48 errors from pod=cart-7; 12 % of the other lines\n<b>How sure</b> score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)\n<pre>22:02:01Z level=error msg=&quot;payment gateway timeout&quot; order=&lt;*&gt;\n22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)\n22:02:30Z level=warn msg=&quot;retrying&quot; attempt=‹3›</pre>\n<a href=\"https://sigyn.example.com/incidents/00c0ffee00c0ffee\">Incident</a>\n<a href=\"https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D\">Logs in Grafana</a>\n<a href=\"https://wiki.example.com/cart?a=1&amp;b=2\">Runbook</a>\nOwner: team-shop\nsigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee",
          "time": 1795212000000,
          "timeEnd": 1795212180000
        }
        "#);
    }

    #[tokio::test]
    async fn a_lost_answer_makes_no_second_region() {
        let (stub, url) = Stub::start(&[(200, "[{\"id\":8}]")]).await;
        let receipt = send(&at(&url), &fixture::notification(fixture::opened(), "g"), None).await.unwrap();
        assert_eq!(receipt.id.as_deref(), Some("8"));
        assert_eq!(stub.asked()[1].line(), "PATCH /api/annotations/8");
    }

    #[tokio::test]
    async fn answers_are_judged() {
        insta::assert_snapshot!(judged(at, &[(500, "ECHO"), (401, "ECHO"), (403, "ECHO"), (429, "")]).await, @r#"
        500: retry server None: annotating in Grafana at 127.0.0.1: answered 500 "/api/annotations?limit=1&tags=incident%3A00c0ffee00c0ffee Bearer [secret]"
        401: give up unauthorized: annotating in Grafana at 127.0.0.1: answered 401 "/api/annotations?limit=1&tags=incident%3A00c0ffee00c0ffee Bearer [secret]"; the token is wrong, revoked or expired: set notify.receivers[0].grafana.token
        403: give up forbidden: annotating in Grafana at 127.0.0.1: answered 403 "/api/annotations?limit=1&tags=incident%3A00c0ffee00c0ffee Bearer [secret]"; the token may not do this: its service account needs annotations:read, :create and :write
        429: retry rate_limited Some(7s): annotating in Grafana at 127.0.0.1: answered 429 ""
        "#);
    }
}
