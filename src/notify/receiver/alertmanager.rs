//! Prometheus Alertmanager by its API v2: an alert for each incident, and for the severities that it has left behind.
//!
//! What comes in: notifications. What goes out: `POST /api/v2/alerts`. Alertmanager knows an alert by its labels, so these
//! stay the same over the incident's life, but for the severity: when that rises, the alert of the lower one is ended in the
//! same request. It keeps an alert until `endsAt`, and sigyn speaks only when something happens, so a firing alert ends
//! `hold` after the last word.

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{Auth, AuthConfig, Facts};
use super::{Rate, Setup};
use crate::incident::{Incident, Severity, TransitionKind};
use crate::notify::client::{Call, no_advice};
use crate::notify::layout::{Layout, Markup, within};
use crate::notify::render::{Message, message};
use crate::notify::route::alertname;
use crate::notify::template::Template;
use crate::notify::{Notification, Notifier, Receipt, SendError};
use crate::secret::Secret;
use crate::time::{Nanos, Span, rfc3339};

/// Ours: Alertmanager sets no limit.
pub const RATE: Rate = Rate::every_ms(100);
/// Ours: characters of a label's value; Alertmanager sets no limit, but it groups and shows by them.
const LABEL: usize = 200;
/// Ours: characters of an annotation.
const ANNOTATION: usize = 2_000;
/// Ours: labels taken over from the group and the settings.
const LABELS: usize = 30;

/// `alertmanager:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// Base URLs, one for each of a cluster: every one is told, as Prometheus does.
    pub urls: Vec<String>,
    /// How long it keeps an incident firing of which it hears no more.
    pub hold: Span,
    /// How to log in.
    pub auth: AuthConfig,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        Self { urls: Vec::new(), hold: Span::hours(25), auth: AuthConfig::default() }
    }
}

impl AlertmanagerConfig {
    /// What must be known of the settings.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        let facts = Facts::default()
            .wrong_if(self.urls.is_empty(), "urls", "needs at least one, such as [http://alertmanager:9093]")
            .wrong_if(self.hold.0.is_zero(), "hold", "must be longer than 0")
            .auth(&self.auth);
        self.urls.iter().fold(facts, |facts, url| facts.url("urls", url))
    }
}

/// A cluster of Alertmanagers.
#[derive(Debug)]
pub struct Alertmanager {
    urls: Vec<String>,
    hold: Nanos,
    auth: Auth,
    setup: Setup,
}

impl Alertmanager {
    /// Tells by these settings.
    #[must_use]
    pub fn new(config: &AlertmanagerConfig, setup: Setup) -> Self {
        let urls = config.urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Self { urls, hold: config.hold.nanos(), auth: Auth::new(&config.auth, &setup.place), setup }
    }

    async fn tell(&self, url: &str, alerts: &Value) -> Result<(), SendError> {
        let host = Url::parse(url).ok().and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_default();
        let what = format!("sending an alert to the Alertmanager at {host}");
        let (request, secrets) = self.auth.sign(self.setup.http.post(format!("{url}/api/v2/alerts")).json(alerts))?;
        let secrets: Vec<&Secret> = secrets.iter().collect();
        let call = Call { what: &what, place: &self.setup.place, secrets: &secrets, advice: no_advice };
        call.ask(request).await.map(|_| ())
    }
}

impl Alertmanager {
    /// The alerts that would be sent.
    #[must_use]
    pub fn preview(&self, notification: &Notification) -> Value {
        render(notification, &message(notification), self.hold)
    }

    /// Whether all of the cluster answer.
    ///
    /// # Errors
    /// Why the first that does not, does not.
    pub async fn probe(&self) -> Result<String, SendError> {
        for url in &self.urls {
            let host = Url::parse(url).ok().and_then(|url| url.host_str().map(ToOwned::to_owned)).unwrap_or_default();
            let what = format!("asking the Alertmanager at {host}");
            let (request, secrets) = self.auth.sign(self.setup.http.get(format!("{url}/api/v2/status")))?;
            let secrets: Vec<&Secret> = secrets.iter().collect();
            let call = Call { what: &what, place: &self.setup.place, secrets: &secrets, advice: no_advice };
            call.ask(request).await?;
        }
        Ok(format!("{} of {} Alertmanagers answer", self.urls.len(), self.urls.len()))
    }
}

impl Notifier for Alertmanager {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let alerts = render(notification, &message(notification), self.hold);
        let mut failed = None;
        // A second time changes nothing, so all are told again when one has failed.
        for url in &self.urls {
            failed = self.tell(url, &alerts).await.err().or(failed);
        }
        failed.map_or(Ok(()), Err)?;
        let id = Some(notification.transition.incident.id.clone());
        Ok(earlier.cloned().unwrap_or(Receipt { id, url: None }))
    }
}

/// The alerts of a transition: the one of its severity, and those of lower severities as over.
#[must_use]
pub fn render(notification: &Notification, said: &Message, hold: Nanos) -> Value {
    let transition = &notification.transition;
    let incident = &transition.incident;
    let over = said.kind == TransitionKind::Resolved;
    let end = if over { incident.resolved_at.unwrap_or(transition.at) } else { transition.at.saturating_add(hold) };
    let alert = |of: Severity, end: Nanos| {
        json!({
            "labels": labels(incident, of),
            "annotations": annotations(said),
            "startsAt": rfc3339(incident.started_at),
            "endsAt": rfc3339(end.max(incident.started_at)),
            "generatorURL": said.links.incident.clone().or(said.links.explore.clone()).unwrap_or_default(),
        })
    };
    let lower = [Severity::Info, Severity::Warning].into_iter().filter(|lower| *lower < incident.severity);
    let left = lower.filter(|_| said.kind != TransitionKind::Opened).map(|lower| alert(lower, transition.at));
    let alerts: Vec<Value> = [alert(incident.severity, end)].into_iter().chain(left).collect();
    alerts.into()
}

fn labels(incident: &Incident, of: Severity) -> Value {
    let mut labels = serde_json::Map::new();
    let all = incident.labels.iter().chain(incident.group.labels.iter()).take(LABELS);
    for (name, value) in all.filter(|(name, value)| is_label(name) && !value.is_empty()) {
        labels.insert(name.to_owned(), within(&(Markup::PLAIN.inline)(value, LABEL), LABEL).into());
    }
    let own = [
        ("alertname", alertname(incident)),
        ("incident", &incident.id),
        ("severity", of.as_str()),
        ("watch", &incident.watch),
    ];
    for (name, value) in own {
        labels.insert(name.to_owned(), within(&(Markup::PLAIN.inline)(value, LABEL), LABEL).into());
    }
    Value::Object(labels)
}

/// Prometheus' names of labels, which every version of Alertmanager takes.
fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn annotations(said: &Message) -> Value {
    let layout = Layout::new(said, Markup::PLAIN, &Template::default());
    let rows: Vec<String> =
        layout.rows().into_iter().chain(layout.details()).map(|(label, value)| format!("{label}: {value}")).collect();
    let plain = |text: &str| within(&(Markup::PLAIN.inline)(text, ANNOTATION), ANNOTATION);
    let mut annotations = json!({
        "summary": plain(&said.title),
        "description": within(&rows.join("\n"), ANNOTATION),
    });
    let more = [
        ("samples", Some(layout.samples().join("\n"))),
        ("members", layout.members().map(|(_, lines)| lines.join("\n"))),
        ("owner", layout.owner()),
        ("runbook_url", said.runbook.clone()),
        ("dashboard_url", said.links.explore.clone()),
    ];
    for (name, value) in more {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            annotations[name] = within(&value, ANNOTATION).into();
        }
    }
    annotations
}

#[cfg(test)]
mod tests;
