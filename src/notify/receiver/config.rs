//! The settings of receivers: one entry a receiver, with exactly one kind.
//!
//! What comes in: `notify.receivers` and its shorthands. What goes out: entries with their key path, and [`Facts`] about
//! each that checking needs. Each kind has its own settings beside its code.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::RequestBuilder;
use serde::{Deserialize, Serialize};
use url::Url;

use super::alertmanager::AlertmanagerConfig;
use super::discord::DiscordConfig;
use super::email::EmailConfig;
use super::file::{FileConfig, StdoutConfig};
use super::grafana::GrafanaConfig;
use super::loki::LokiPushConfig;
use super::opsgenie::{JsmConfig, OpsgenieConfig};
use super::pagerduty::PagerdutyConfig;
use super::sms::SmsConfig;
use super::teams::TeamsConfig;
use super::telegram::TelegramConfig;
use super::webhook::WebhookConfig;
use crate::notify::SendError;
use crate::notify::client::{Key, basic};
use crate::notify::config::{GithubConfig, NotifyConfig, SlackConfig};
use crate::notify::template::Template;
use crate::secret::Secret;

/// One entry of `notify.receivers:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiverConfig {
    /// Unique; routes, metrics and the store know it by this name.
    pub name: String,
    /// Whether the end of an incident is told.
    pub send_resolved: bool,
    /// Template of the title, for chats and mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Template of the text, for chats and mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Slack, Mattermost or Rocket.Chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackConfig>,
    /// GitHub issues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github: Option<GithubConfig>,
    /// Mail by SMTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailConfig>,
    /// Microsoft Teams by a Workflows webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teams: Option<TeamsConfig>,
    /// PagerDuty, Events API v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pagerduty: Option<PagerdutyConfig>,
    /// Opsgenie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opsgenie: Option<OpsgenieConfig>,
    /// Jira Service Management.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jira_service_management: Option<JsmConfig>,
    /// Discord by webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discord: Option<DiscordConfig>,
    /// A Telegram bot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telegram: Option<TelegramConfig>,
    /// Short messages to a phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sms: Option<SmsConfig>,
    /// JSON to any URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookConfig>,
    /// Prometheus Alertmanager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<AlertmanagerConfig>,
    /// Annotations in Grafana.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grafana: Option<GrafanaConfig>,
    /// Loki itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loki: Option<LokiPushConfig>,
    /// A file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileConfig>,
    /// Standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<StdoutConfig>,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            send_resolved: true,
            title: None,
            text: None,
            slack: None,
            github: None,
            email: None,
            teams: None,
            pagerduty: None,
            opsgenie: None,
            jira_service_management: None,
            discord: None,
            telegram: None,
            sms: None,
            webhook: None,
            alertmanager: None,
            grafana: None,
            loki: None,
            file: None,
            stdout: None,
        }
    }
}

/// The kinds by their keys, for messages about settings.
pub const KINDS: &str = "slack, github, email, teams, pagerduty, opsgenie, jira_service_management, discord, telegram, sms, \
                         webhook, alertmanager, grafana, loki, file, stdout";

impl ReceiverConfig {
    /// The kinds that are set, each with what must be known of its settings. Good settings have one.
    #[must_use]
    pub fn kinds(&self) -> Vec<(&'static str, Facts<'_>)> {
        [
            self.slack.as_ref().map(|one| ("slack", one.facts())),
            self.github.as_ref().map(|one| ("github", github_facts(one))),
            self.email.as_ref().map(|one| ("email", one.facts())),
            self.teams.as_ref().map(|one| ("teams", one.facts())),
            self.pagerduty.as_ref().map(|one| ("pagerduty", one.facts())),
            self.opsgenie.as_ref().map(|one| ("opsgenie", one.facts())),
            self.jira_service_management.as_ref().map(|one| ("jira_service_management", one.facts())),
            self.discord.as_ref().map(|one| ("discord", one.facts())),
            self.telegram.as_ref().map(|one| ("telegram", one.facts())),
            self.sms.as_ref().map(|one| ("sms", one.facts())),
            self.webhook.as_ref().map(|one| ("webhook", one.facts())),
            self.alertmanager.as_ref().map(|one| ("alertmanager", one.facts())),
            self.grafana.as_ref().map(|one| ("grafana", one.facts())),
            self.loki.as_ref().map(|one| ("loki", one.facts())),
            self.file.as_ref().map(|one| ("file", one.facts())),
            self.stdout.as_ref().map(|_| ("stdout", Facts::default())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The templates.
    #[must_use]
    pub fn template(&self) -> Template {
        Template { title: self.title.clone(), text: self.text.clone() }
    }
}

impl NotifyConfig {
    /// All receivers that are set, the shorthands first, each with the key path of its entry.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, ReceiverConfig)> {
        let short = |name: &str| ReceiverConfig { name: name.to_owned(), ..ReceiverConfig::default() };
        let mut entries = Vec::new();
        if self.slack.is_set() {
            entries.push(("notify".to_owned(), ReceiverConfig { slack: Some(self.slack.clone()), ..short("slack") }));
        }
        // A token alone, as build machines often have one in the environment, does not switch issues on.
        if self.github.repo.is_some() {
            entries
                .push(("notify".to_owned(), ReceiverConfig { github: Some(self.github.clone()), ..short("github") }));
        }
        let listed = self.receivers.iter().enumerate();
        entries.extend(listed.map(|(index, entry)| (format!("notify.receivers[{index}]"), entry.clone())));
        entries
    }
}

impl SlackConfig {
    /// Whether there is a webhook or a bot token.
    #[must_use]
    pub fn is_set(&self) -> bool {
        let webhook = self.webhook_url.is_some() || self.webhook_url_file.is_some();
        webhook || self.bot_token.is_some() || self.bot_token_file.is_some()
    }

    /// What must be known of the settings. A channel beside a webhook is not used, and is no mistake: it may come from the
    /// environment.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        let webhook = self.webhook_url.is_some() || self.webhook_url_file.is_some();
        let bot = self.bot_token.is_some() || self.bot_token_file.is_some();
        Facts::with_templates()
            .optional("webhook_url", self.webhook_url.as_ref(), self.webhook_url_file.as_ref())
            .secret_url("webhook_url", self.webhook_url.as_ref())
            .optional("bot_token", self.bot_token.as_ref(), self.bot_token_file.as_ref())
            .url("api_url", &self.api_url)
            .wrong_if(!webhook && !bot, "webhook_url", "is missing; set it, or bot_token with channel")
            .wrong_if(webhook && bot, "bot_token", "both a webhook and a bot token are set; keep one")
            .wrong_if(
                bot && self.channel.is_none(),
                "channel",
                "a bot needs the channel to post to, such as C0123456789",
            )
    }
}

fn github_facts(config: &GithubConfig) -> Facts<'_> {
    Facts::default().needed("token", config.token.as_ref(), config.token_file.as_ref()).wrong_if(
        config.repo.is_none(),
        "repo",
        "needs the repository as owner/name",
    )
}

/// A secret of a receiver's settings.
#[derive(Debug)]
pub struct Held<'a> {
    /// Its key below the receiver's, `auth.password`; `_file` is added for the file's.
    pub key: String,
    /// The value.
    pub value: Option<&'a Secret>,
    /// The file.
    pub file: Option<&'a PathBuf>,
}

/// What must be known of a receiver's settings to check them.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// All secrets.
    pub secrets: Vec<Held<'a>>,
    /// What is wrong: a key below the receiver's, and what to do.
    pub wrong: Vec<(String, String)>,
    /// Files that must be readable: key and path.
    pub files: Vec<(&'static str, &'a PathBuf)>,
    /// Whether `title` and `text` mean something.
    pub templates: bool,
}

impl<'a> Facts<'a> {
    /// For a kind that takes templates.
    #[must_use]
    pub fn with_templates() -> Self {
        Self { templates: true, ..Self::default() }
    }

    /// A secret that may be missing.
    #[must_use]
    pub fn optional(mut self, key: &str, value: Option<&'a Secret>, file: Option<&'a PathBuf>) -> Self {
        self.secrets.push(Held { key: key.to_owned(), value, file });
        self
    }

    /// A secret that must be there.
    #[must_use]
    pub fn needed(self, key: &str, value: Option<&'a Secret>, file: Option<&'a PathBuf>) -> Self {
        let missing = value.is_none() && file.is_none();
        self.optional(key, value, file).wrong_if(missing, key, &format!("is missing; set {key} or {key}_file"))
    }

    /// A URL that is a secret: a webhook.
    #[must_use]
    pub fn secret_url(self, key: &str, value: Option<&Secret>) -> Self {
        // The mask and nothing are reported as such.
        let text =
            value.map(|secret| secret.expose().trim()).filter(|text| !text.is_empty() && *text != crate::secret::MASK);
        let bad = text.is_some_and(|text| !is_http(text));
        self.wrong_if(
            bad,
            key,
            "must be a URL that starts with https:// (or http://); it is not shown, as it is a secret",
        )
    }

    /// A URL that is none.
    #[must_use]
    pub fn url(self, key: &str, text: &str) -> Self {
        let bad = !is_http(text) || Url::parse(text.trim()).is_ok_and(|url| url.password().is_some());
        self.wrong_if(bad, key, "must be a URL such as https://host:port, without user name or password in it")
    }

    /// A text that must not be empty.
    #[must_use]
    pub fn text(self, key: &str, text: &str) -> Self {
        self.wrong_if(text.trim().is_empty(), key, "is missing or empty")
    }

    /// A mistake, when it is one.
    #[must_use]
    pub fn wrong_if(mut self, wrong: bool, key: &str, text: &str) -> Self {
        if wrong {
            self.wrong.push((key.to_owned(), text.to_owned()));
        }
        self
    }

    /// A file that must be readable.
    #[must_use]
    pub fn file(mut self, key: &'static str, file: Option<&'a PathBuf>) -> Self {
        self.files.extend(file.map(|file| (key, file)));
        self
    }

    /// How to log in.
    #[must_use]
    pub fn auth(self, auth: &'a AuthConfig) -> Self {
        let password = auth.password.is_some() || auth.password_file.is_some();
        let bearer = auth.bearer_token.is_some() || auth.bearer_token_file.is_some();
        self.optional("auth.password", auth.password.as_ref(), auth.password_file.as_ref())
            .optional("auth.bearer_token", auth.bearer_token.as_ref(), auth.bearer_token_file.as_ref())
            .wrong_if(
                auth.username.is_some() != password,
                "auth.username",
                "a user name and a password belong together",
            )
            .wrong_if(bearer && password, "auth.bearer_token", "both a password and a bearer token; keep one")
    }
}

/// Whether a text is a URL that HTTP can ask.
#[must_use]
pub fn is_http(text: &str) -> bool {
    Url::parse(text.trim()).is_ok_and(|url| url.scheme().starts_with("http") && url.has_host())
}

/// `auth:` how to log in at a server of one's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// User name, with a password.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Bearer token.
    pub bearer_token: Option<Secret>,
    /// File with the bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// Further request headers; their values are secrets.
    pub headers: BTreeMap<String, Secret>,
}

/// How to log in, ready to be put on a request.
#[derive(Clone, Debug)]
pub struct Auth {
    username: Option<String>,
    password: Key,
    bearer: Key,
    headers: BTreeMap<String, Secret>,
}

impl Auth {
    /// Of the settings at `place`.
    #[must_use]
    pub fn new(config: &AuthConfig, place: &str) -> Self {
        let place = format!("{place}.auth");
        Self {
            username: config.username.clone(),
            password: Key::new(&place, "password", config.password.as_ref(), config.password_file.as_ref()),
            bearer: Key::new(&place, "bearer_token", config.bearer_token.as_ref(), config.bearer_token_file.as_ref()),
            headers: config.headers.clone(),
        }
    }

    /// The request with everything on it, and the secrets that its answer may echo.
    ///
    /// # Errors
    /// When a secret cannot be read.
    pub fn sign(&self, mut request: RequestBuilder) -> Result<(RequestBuilder, Vec<Secret>), SendError> {
        let mut secrets: Vec<Secret> = self.headers.values().cloned().collect();
        for (name, value) in &self.headers {
            request = request.header(name, value.expose());
        }
        if let Some(username) = &self.username {
            let password = self.password.read()?;
            let login = basic(username, &password);
            request = request.header("authorization", format!("Basic {}", login.expose()));
            secrets.extend([password, login]);
        } else if self.bearer.is_set() {
            let token = self.bearer.read()?;
            request = request.bearer_auth(token.expose());
            secrets.push(token);
        }
        Ok((request, secrets))
    }
}
