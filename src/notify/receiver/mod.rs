//! Those who take messages: one file or folder each, of one shape: settings, limits, constructor, sending, rendering.
//!
//! What comes in: the settings. What goes out: receivers that implement [`Notifier`], and their limits as data for the
//! outbox. A new one is a file here, a line in [`config::ReceiverConfig`], one in `Way` and its two matches.

pub mod alertmanager;
pub mod config;
pub mod discord;
pub mod email;
pub mod file;
pub mod github;
pub mod grafana;
pub mod harm;
pub mod loki;
pub mod opsgenie;
pub mod pagerduty;
mod print;
mod probe;
pub mod record;
pub mod slack;
pub mod sms;
#[cfg(test)]
pub(crate) mod stub;
pub mod teams;
pub mod telegram;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

pub use github::Github;
pub use print::{Printed, Show};
pub use slack::Slack;

use self::config::ReceiverConfig;
use super::config::NotifyConfig;
use super::pace::Daily;
use super::template::Template;
use super::{Notification, Notifier, Receipt, SendError, client};
use crate::incident::TransitionKind;

/// Somebody who takes messages, by name in the settings.
#[derive(Debug)]
pub struct Receiver {
    name: String,
    way: Way,
    send_resolved: bool,
    /// Shows what would be sent, in place of sending it.
    dry: Option<Dry>,
}

/// Where what would be sent goes instead.
#[derive(Clone)]
struct Dry(Show);

impl std::fmt::Debug for Dry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dry")
    }
}

/// How somebody takes messages.
#[derive(Debug)]
enum Way {
    Slack(Box<Slack>),
    Github(Box<Github>),
    Email(Box<email::Email>),
    Teams(Box<teams::Teams>),
    Pagerduty(Box<pagerduty::Pagerduty>),
    Opsgenie(Box<opsgenie::Opsgenie>),
    Discord(Box<discord::Discord>),
    Telegram(Box<telegram::Telegram>),
    Sms(Box<sms::Sms>),
    Webhook(Box<webhook::Webhook>),
    Alertmanager(Box<alertmanager::Alertmanager>),
    Grafana(Box<grafana::Grafana>),
    Loki(Box<loki::LokiPush>),
    File(Box<file::File>),
    Stdout(file::Stdout),
    /// No receiver is set; only a dry run has it.
    Nobody,
}

/// How fast a receiver may be told. The outbox keeps to it; what has to wait stays in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Between two sends.
    pub min_interval: Duration,
    /// Messages of kind [`Opened`](crate::incident::TransitionKind::Opened), which make something new there, in an hour.
    pub opened_per_hour: Option<u32>,
}

impl Rate {
    /// As fast as it goes.
    pub const UNLIMITED: Self = Self { min_interval: Duration::ZERO, opened_per_hour: None };
    /// GitHub: a second between requests that write, and people have measured about 150 issues an hour (cli/cli#4801);
    /// far fewer are already more than anybody reads.
    pub const GITHUB: Self = Self { min_interval: Duration::from_secs(1), opened_per_hour: Some(30) };

    /// At most one send in so many milliseconds.
    #[must_use]
    pub const fn every_ms(milliseconds: u64) -> Self {
        Self { min_interval: Duration::from_millis(milliseconds), opened_per_hour: None }
    }
}

/// What every receiver is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Key path of its settings, such as `notify.receivers[2].webhook`, for messages about them.
    pub place: String,
    /// The one HTTP client.
    pub http: reqwest::Client,
    /// The user's own words.
    pub template: Template,
}

/// Why receivers could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The HTTP client could not be set up.
    #[error("cannot set up HTTPS for the receivers: {0}")]
    Client(#[source] reqwest::Error),
    /// A setting cannot be used; the text names it and says what it must be.
    #[error("{0}")]
    Settings(String),
}

/// The receivers that the settings name, each with its name and limits: `slack`, `github`, and those of
/// `notify.receivers`.
///
/// # Errors
/// When a setting cannot be used. Whether a receiver would accept us is not asked here.
pub fn build(config: &NotifyConfig) -> Result<Vec<(String, Receiver, Rate)>, BuildError> {
    let each = build_each(config)?.into_iter();
    each.map(|(name, built)| built.map(|(receiver, rate)| (name, receiver, rate)).map_err(BuildError::Settings))
        .collect()
}

/// A receiver with its limits, or what is wrong with its settings.
pub type Built = Result<(Receiver, Rate), String>;

/// The same, each with its own mistake: one does not hide another.
///
/// # Errors
/// When HTTPS cannot be set up.
pub fn build_each(config: &NotifyConfig) -> Result<Vec<(String, Built)>, BuildError> {
    let http = client::client().map_err(BuildError::Client)?;
    let entries = config.entries().into_iter();
    let one = |(place, entry): (String, ReceiverConfig)| {
        let way = way(&entry, &place, &http);
        let ReceiverConfig { name, send_resolved, .. } = entry;
        let made = way.map(|(way, rate)| (Receiver { name: name.clone(), way, send_resolved, dry: None }, rate));
        (name, made)
    };
    Ok(entries.map(one).collect())
}

/// The way of an entry, whose key path is `place`.
fn way(entry: &ReceiverConfig, place: &str, http: &reqwest::Client) -> Result<(Way, Rate), String> {
    let kind = entry.kinds().first().map_or("", |(kind, _)| *kind);
    let setup = Setup { place: format!("{place}.{kind}"), http: http.clone(), template: entry.template() };
    if let Some(config) = &entry.slack {
        return Ok((Way::Slack(Box::new(Slack::new(config, setup))), slack::RATE));
    }
    if let Some(config) = &entry.github {
        let made = Github::new(config, setup.http)?.ok_or_else(|| format!("{}.repo is missing", setup.place))?;
        return Ok((Way::Github(Box::new(made)), Rate::GITHUB));
    }
    if let Some(config) = &entry.email {
        return Ok((Way::Email(Box::new(email::Email::new(config, setup)?)), email::RATE));
    }
    if let Some(config) = &entry.teams {
        return Ok((Way::Teams(Box::new(teams::Teams::new(config, setup))), teams::RATE));
    }
    if let Some(config) = &entry.pagerduty {
        return Ok((Way::Pagerduty(Box::new(pagerduty::Pagerduty::new(config, setup))), pagerduty::RATE));
    }
    if let Some(config) = &entry.opsgenie {
        return Ok((Way::Opsgenie(Box::new(opsgenie::Opsgenie::new(config, setup))), opsgenie::RATE));
    }
    if let Some(config) = &entry.jira_service_management {
        return Ok((Way::Opsgenie(Box::new(opsgenie::Opsgenie::of_jira(config, setup))), opsgenie::RATE));
    }
    further_way(entry, setup)
}

fn further_way(entry: &ReceiverConfig, setup: Setup) -> Result<(Way, Rate), String> {
    if let Some(config) = &entry.discord {
        return Ok((Way::Discord(Box::new(discord::Discord::new(config, setup))), discord::RATE));
    }
    if let Some(config) = &entry.telegram {
        return Ok((Way::Telegram(Box::new(telegram::Telegram::new(config, setup))), telegram::RATE));
    }
    if let Some(config) = &entry.sms {
        return Ok((Way::Sms(Box::new(sms::Sms::new(config, setup))), sms::RATE));
    }
    if let Some(config) = &entry.webhook {
        return Ok((Way::Webhook(Box::new(webhook::Webhook::new(config, setup))), webhook::RATE));
    }
    if let Some(config) = &entry.alertmanager {
        return Ok((Way::Alertmanager(Box::new(alertmanager::Alertmanager::new(config, setup))), alertmanager::RATE));
    }
    if let Some(config) = &entry.grafana {
        return Ok((Way::Grafana(Box::new(grafana::Grafana::new(config, setup))), grafana::RATE));
    }
    if let Some(config) = &entry.loki {
        return Ok((Way::Loki(Box::new(loki::LokiPush::new(config, setup))), loki::RATE));
    }
    if let Some(config) = &entry.file {
        return Ok((Way::File(Box::new(file::File::new(config, setup.template))), Rate::UNLIMITED));
    }
    if let Some(config) = &entry.stdout {
        return Ok((Way::Stdout(file::Stdout::new(config, setup.template)), Rate::UNLIMITED));
    }
    Err(format!("{} names no kind of receiver; known: {}", setup.place.trim_end_matches('.'), config::KINDS))
}

/// The same receivers, but each only shows what it would send, in its own form (`--dry-run`). With none set, one shows chat
/// messages.
///
/// # Errors
/// When a setting cannot be used.
pub fn dry(config: &NotifyConfig, show: &Show) -> Result<Vec<(String, Receiver, Rate)>, BuildError> {
    let mut receivers = build(config)?;
    if receivers.is_empty() {
        let name = "print".to_owned();
        let nobody = Receiver { name: name.clone(), way: Way::Nobody, send_resolved: true, dry: None };
        receivers.push((name, nobody, Rate::UNLIMITED));
    }
    for (_, receiver, rate) in &mut receivers {
        (receiver.dry, *rate) = (Some(Dry(Arc::clone(show))), Rate::UNLIMITED);
    }
    Ok(receivers)
}

impl Receiver {
    /// How much of it a day bears.
    #[must_use]
    pub fn daily(&self) -> Option<Daily> {
        let Way::Sms(sms) = &self.way else { return None };
        let daily = sms.daily();
        let without_end = |kind| kind != TransitionKind::Resolved && sms::is_sent(kind);
        Some(if self.send_resolved { daily } else { Daily { counts: without_end, ..daily } })
    }

    /// Whether it only shows what would be sent.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        self.dry.is_some()
    }
}

impl Notifier for Receiver {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        if !self.send_resolved && notification.transition.kind == TransitionKind::Resolved {
            return Ok(earlier.cloned().unwrap_or_default());
        }
        if let Some(Dry(show)) = &self.dry {
            if let Some((title, text)) = print::preview(&self.way, notification) {
                show(&Printed { receiver: self.name.clone(), title, text });
            }
            return Ok(earlier.cloned().unwrap_or_default());
        }
        match &self.way {
            Way::Slack(way) => way.send(notification, earlier).await,
            Way::Github(way) => way.send(notification, earlier).await,
            Way::Email(way) => way.send(notification, earlier).await,
            Way::Teams(way) => way.send(notification, earlier).await,
            Way::Pagerduty(way) => way.send(notification, earlier).await,
            Way::Opsgenie(way) => way.send(notification, earlier).await,
            Way::Discord(way) => way.send(notification, earlier).await,
            Way::Telegram(way) => way.send(notification, earlier).await,
            Way::Sms(way) => way.send(notification, earlier).await,
            Way::Webhook(way) => way.send(notification, earlier).await,
            Way::Alertmanager(way) => way.send(notification, earlier).await,
            Way::Grafana(way) => way.send(notification, earlier).await,
            Way::Loki(way) => way.send(notification, earlier).await,
            Way::File(way) => way.send(notification, earlier).await,
            Way::Stdout(way) => way.send(notification, earlier).await,
            Way::Nobody => Ok(earlier.cloned().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn config() -> NotifyConfig {
        let mut config = NotifyConfig::default();
        config.slack.webhook_url = Some(Secret::new("https://hooks.slack.com/services/a/b/c"));
        config.github.token = Some(Secret::new("t"));
        config.github.repo = Some("acme/shop".to_owned());
        config
    }

    #[test]
    fn what_is_set_is_built() {
        let names = |config: &NotifyConfig| -> Vec<String> {
            build(config).unwrap().into_iter().map(|(name, _, _)| name).collect()
        };
        assert_eq!(names(&config()), ["slack", "github"]);
        assert!(names(&NotifyConfig::default()).is_empty());
        let mut token_only = NotifyConfig::default();
        token_only.github.token = Some(Secret::new("t"));
        assert!(names(&token_only).is_empty());
        let mut wrong = config();
        wrong.github.repo = Some("acme".to_owned());
        assert!(build(&wrong).unwrap_err().to_string().contains("notify.github.repo is `acme`"));
    }

    #[test]
    fn none_shows_its_secret() {
        let mut config = config();
        config.slack.webhook_url = Some(Secret::new("https://hooks.slack.com/services/hunter2"));
        config.github.token = Some(Secret::new("hunter2"));
        assert!(!format!("{:?}", build(&config).unwrap()).contains("hunter2"));
    }

    #[test]
    fn a_dry_one_is_made_of_each() {
        let show: Show = Arc::new(|_| {});
        let names = |config: &NotifyConfig| -> Vec<String> {
            let built = dry(config, &show).unwrap();
            assert!(built.iter().all(|(_, receiver, _)| receiver.is_dry()));
            built.into_iter().map(|(name, _, _)| name).collect()
        };
        assert_eq!(names(&config()), ["slack", "github"]);
        assert_eq!(names(&NotifyConfig::default()), ["print"]);
    }

    #[test]
    fn the_page_of_receivers_has_every_kind_and_every_name_of_a_template() {
        let page = include_str!("../../../docs/receivers.md");
        let kinds = config::KINDS.split(", ").map(str::trim);
        for name in kinds.chain(crate::notify::template::NAMES) {
            assert!(page.contains(&format!("`{name}`")), "docs/receivers.md lacks `{name}`");
        }
    }

    #[tokio::test]
    async fn the_end_is_not_told_where_nobody_wants_it() {
        let (stub, url) = stub::Stub::start(&[]).await;
        let hook = ReceiverConfig {
            name: "hook".to_owned(),
            send_resolved: false,
            webhook: Some(webhook::WebhookConfig { url: Some(Secret::new(url)), ..Default::default() }),
            ..Default::default()
        };
        let config = NotifyConfig { receivers: vec![hook], ..NotifyConfig::default() };
        let built = build(&config).unwrap();
        for transition in [crate::notify::fixture::opened(), crate::notify::fixture::resolved()] {
            let notification = crate::notify::fixture::notification(transition, "hook");
            built[0].1.send(&notification, None).await.unwrap();
        }
        assert_eq!(stub.asked().len(), 1);
    }
}
