//! Loki itself: incidents pushed back as a stream of JSON lines, to be queried, graphed and ruled on beside the logs.
//!
//! What comes in: notifications. What goes out: one line each, at the transition's time, so that a retry is the same entry
//! and Loki keeps one. The stream's labels are few: `service_name="sigyn"`, by which watches leave out what sigyn itself
//! writes ([`crate::collect::query`]), so that no incident is made of an incident.

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::config::{Auth, AuthConfig, Facts};
use super::record::Record;
use super::{Rate, Setup};
use crate::collect::client::{BUILD_INFO, PUSH};
use crate::labels::Labels;
use crate::notify::client::Call;
use crate::notify::{Notification, Notifier, Receipt, SendError};
use crate::secret::Secret;

/// Ours: Loki counts bytes, not requests.
pub const RATE: Rate = Rate::every_ms(100);
/// Loki's default `max_line_size` is 256 kB; a record is far below.
pub const LINE: usize = 200_000;

/// `loki:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LokiPushConfig {
    /// Base URL.
    pub url: String,
    /// X-Scope-OrgID.
    pub org_id: Option<String>,
    /// Further labels of the stream; few, with few values.
    pub labels: Labels,
    /// How to log in.
    pub auth: AuthConfig,
}

impl LokiPushConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        let word = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let named = self.labels.iter().all(|(name, _)| !name.is_empty() && word(name));
        let own = self.labels.get("service_name").is_some();
        Facts::default()
            .url("url", &self.url)
            .wrong_if(own, "labels", "service_name is always sigyn, so that sigyn does not read it back; leave it out")
            .wrong_if(!named, "labels", "names of labels are letters, digits and _ only")
            .wrong_if(self.labels.len() > 10, "labels", "at most 10; each further one makes more streams in Loki")
            .auth(&self.auth)
    }
}

/// A Loki to push to.
#[derive(Debug)]
pub struct LokiPush {
    config: LokiPushConfig,
    auth: Auth,
    setup: Setup,
}

impl LokiPush {
    /// Pushes by these settings.
    #[must_use]
    pub fn new(config: &LokiPushConfig, setup: Setup) -> Self {
        let auth = Auth::new(&config.auth, &setup.place);
        Self { config: LokiPushConfig { auth: AuthConfig::default(), ..config.clone() }, auth, setup }
    }
}

impl LokiPush {
    /// What would be pushed.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> Value {
        render(notification, &self.config.labels)
    }

    /// Whether Loki answers.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn probe(&self) -> Result<String, SendError> {
        let base = self.config.url.trim_end_matches('/');
        let host = Url::parse(base).ok().and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_default();
        let what = format!("asking Loki at {host}");
        let (request, secrets) = self.auth.sign(self.setup.http.get(format!("{base}/{BUILD_INFO}")))?;
        let secrets: Vec<&Secret> = secrets.iter().collect();
        let call = Call { what: &what, place: &self.setup.place, secrets: &secrets, advice };
        call.ask(request).await?;
        Ok(format!("Loki at {host} answers; whether it takes lines shows with the first"))
    }
}

impl Notifier for LokiPush {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let base = self.config.url.trim_end_matches('/');
        let host = Url::parse(base).ok().and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_default();
        let what = format!("pushing to Loki at {host}");
        let mut request =
            self.setup.http.post(format!("{base}/{PUSH}")).json(&render(notification, &self.config.labels));
        if let Some(org_id) = &self.config.org_id {
            request = request.header("x-scope-orgid", org_id);
        }
        let (request, secrets) = self.auth.sign(request)?;
        let secrets: Vec<&Secret> = secrets.iter().collect();
        let call = Call { what: &what, place: &self.setup.place, secrets: &secrets, advice };
        call.ask(request).await?;
        Ok(earlier.cloned().unwrap_or_default())
    }
}

/// What Loki says to an entry that is older than it takes (`reject_old_samples_max_age`, and out of order by too much).
fn advice(status: StatusCode, said: &str) -> Option<(&'static str, &'static str)> {
    let old = said.contains("too far behind") || said.contains("timestamp too old");
    (status == StatusCode::BAD_REQUEST && old)
        .then_some(("too_old", "it takes no entries that old; this one is left out"))
}

/// The body of a push.
#[must_use]
pub fn render(notification: &Notification, labels: &Labels) -> Value {
    let transition = &notification.transition;
    let mut stream = labels.clone();
    stream.insert("service_name", "sigyn");
    stream.insert("kind", transition.kind.as_str());
    stream.insert("severity", transition.incident.severity.as_str());
    json!({ "streams": [{ "stream": stream, "values": [[transition.at.to_string(), Record::new(notification).line()]] }] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::query::Query;
    use crate::notify::fixture;
    use crate::notify::receiver::stub::{HUSH, Stub, judged, send};

    fn at(url: &str) -> LokiPush {
        let auth =
            AuthConfig { username: Some("u".to_owned()), password: Some(Secret::new(HUSH)), ..Default::default() };
        let config = LokiPushConfig {
            url: url.to_owned(),
            org_id: Some("tenant-a".to_owned()),
            labels: [("cluster", "eu-1")].into_iter().collect(),
            auth,
        };
        LokiPush::new(&config, Setup::of("notify.receivers[0].loki"))
    }

    #[tokio::test]
    async fn pushes_a_line_that_no_watch_reads_back() {
        let (stub, url) = Stub::start(&[(204, "")]).await;
        let notification = fixture::notification(fixture::opened(), "loki");
        send(&at(&url), &notification, None).await.unwrap();
        let asked = &stub.asked()[0];
        assert_eq!((asked.line().as_str(), asked.header("x-scope-orgid")), ("POST /loki/api/v1/push", "tenant-a"));
        let stream = &asked.json()["streams"][0];
        assert_eq!(stream["values"][0][0], "1795212180000000000");
        assert_eq!(stream["values"][0][1], Record::new(&notification).line());
        insta::assert_snapshot!(stream["stream"], @r#"{"cluster":"eu-1","kind":"opened","service_name":"sigyn","severity":"critical"}"#);
        let watched = Query::new("{cluster=\"eu-1\"}", true).unwrap().text();
        assert!(watched.contains("service_name!=\"sigyn\""), "{watched}");
    }

    #[tokio::test]
    async fn answers_are_judged() {
        insta::assert_snapshot!(judged(at, &[(204, ""), (429, ""), (500, "ECHO"), (401, "ECHO"), (400, "entry too far behind")]).await, @r#"
        204: taken Receipt { id: None, url: None }
        429: retry rate_limited Some(7s): pushing to Loki at 127.0.0.1: answered 429 ""
        500: retry server None: pushing to Loki at 127.0.0.1: answered 500 "/loki/api/v1/push Basic [secret] {streams:[{stream:{cluster:eu-"
        401: give up unauthorized: pushing to Loki at 127.0.0.1: answered 401 "/loki/api/v1/push Basic [secret] {streams:[{stream:{cluster:eu-"; the key is wrong, revoked or expired: set a new one under notify.receivers[0].loki
        400: give up too_old: pushing to Loki at 127.0.0.1: answered 400 "entry too far behind"; it takes no entries that old; this one is left out
        "#);
    }
}
