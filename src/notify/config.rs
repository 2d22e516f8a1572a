//! The settings of stage 4.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::inhibit::InhibitRule;
use super::interval::TimeInterval;
use super::receiver::config::ReceiverConfig;
use super::route::{RouteConfig, StormConfig};
use crate::labels::Labels;
use crate::secret::Secret;
use crate::time::Span;

/// An incident that is back within this time is the same one.
const REOPEN_WITHIN: Span = Span::hours(7 * 24);

/// `notify:` who is told, and what links the messages carry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyConfig {
    /// Where people reach this sigyn; makes links in messages.
    pub external_url: Option<String>,
    /// Labels added to every incident, such as `cluster: eu-1`.
    pub external_labels: Labels,
    /// Base URL of Grafana; makes Explore links.
    pub grafana_url: Option<String>,
    /// UID of the Loki data source in Grafana.
    pub grafana_datasource: Option<String>,
    /// Slack by webhook or bot token; Mattermost or Rocket.Chat by webhook.
    pub slack: SlackConfig,
    /// GitHub issues.
    pub github: GithubConfig,
    /// A request at regular times that says sigyn lives (dead-man's switch).
    pub heartbeat: HeartbeatConfig,
    /// Who hears what, when and how often.
    pub route: RouteConfig,
    /// Times that routes call by name.
    pub time_intervals: Vec<TimeInterval>,
    /// Files with silences that always hold.
    pub silence_files: Vec<PathBuf>,
    /// Which incidents hold which others back.
    pub inhibit_rules: Vec<InhibitRule>,
    /// From when on new incidents are told as one table.
    pub storm: StormConfig,
    /// An incident that is back within this time is reopened, not a new one.
    pub reopen_within: Span,
    /// Further receivers, of any kind.
    pub receivers: Vec<ReceiverConfig>,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            external_url: None,
            external_labels: Labels::default(),
            grafana_url: None,
            grafana_datasource: None,
            slack: SlackConfig::default(),
            github: GithubConfig::default(),
            heartbeat: HeartbeatConfig::default(),
            route: RouteConfig::default(),
            time_intervals: Vec::new(),
            silence_files: Vec::new(),
            inhibit_rules: Vec::new(),
            storm: StormConfig::default(),
            reopen_within: REOPEN_WITHIN,
            receivers: Vec::new(),
        }
    }
}

impl NotifyConfig {
    /// Names of all receivers that are set up: what routes may name.
    #[must_use]
    pub fn receiver_names(&self) -> Vec<String> {
        self.entries().into_iter().map(|(_, entry)| entry.name).collect()
    }
}

/// `notify.slack:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlackConfig {
    /// Incoming webhook; a secret, who has it can post.
    pub webhook_url: Option<Secret>,
    /// File with the webhook URL.
    pub webhook_url_file: Option<PathBuf>,
    /// Token of a bot (`xoxb-...`, scope `chat:write`): one message an incident, changed in place, with a thread.
    pub bot_token: Option<Secret>,
    /// File with the bot's token.
    pub bot_token_file: Option<PathBuf>,
    /// Where the bot posts: the channel's id, such as `C0123456789`.
    pub channel: Option<String>,
    /// Slack's API.
    pub api_url: String,
}

impl Default for SlackConfig {
    fn default() -> Self {
        Self {
            webhook_url: None,
            webhook_url_file: None,
            bot_token: None,
            bot_token_file: None,
            channel: None,
            api_url: "https://slack.com/api".to_owned(),
        }
    }
}

/// `notify.github:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GithubConfig {
    /// Token with the right to read the repository and write issues.
    pub token: Option<Secret>,
    /// File with the token; read again, so that it can be rotated.
    pub token_file: Option<PathBuf>,
    /// `owner/name`.
    pub repo: Option<String>,
    /// API of GitHub Enterprise, such as `https://github.example.com/api/v3`.
    pub api_url: String,
    /// Log text would be readable by everybody: refused unless this is set.
    pub allow_public: bool,
    /// Labels of the issues.
    pub labels: Vec<String>,
}

impl Default for GithubConfig {
    fn default() -> Self {
        Self {
            token: None,
            token_file: None,
            repo: None,
            api_url: "https://api.github.com".to_owned(),
            allow_public: false,
            labels: vec!["sigyn".to_owned()],
        }
    }
}

/// `notify.heartbeat:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatConfig {
    /// URL to request (GET) while all watches are read; a secret, as such services put a key in it.
    pub url: Option<Secret>,
    /// File with the URL.
    pub url_file: Option<PathBuf>,
    /// Time between requests.
    pub interval: Span,
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self { url: None, url_file: None, interval: Span::minutes(1) }
    }
}
