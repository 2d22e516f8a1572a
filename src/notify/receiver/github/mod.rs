//! GitHub issues: one for each incident, found again by its number or by a hidden mark.
//!
//! What comes in: notifications, perhaps more than once each. What goes out: an issue when the incident opens, comments
//! while it goes on, a comment and the close when it is over; each once, whatever was lost on the way. No search API is
//! used: it lags and is strictly limited. What never happens here: a comment on somebody else's issue (a mark counts
//! only on an issue with our label), or reopening what a person has closed.

mod api;
mod body;

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

pub use body::{render_comment, render_issue};

use crate::incident::{Incident, TransitionKind};
use crate::notify::config::GithubConfig;
use crate::notify::{Notification, Notifier, Receipt, SendError};
use crate::secret::Secret;
use api::{Api, Issue, PAGE, Repo};

/// How long it is believed that a repository is not public.
const TRUST: Duration = Duration::from_secs(600);
/// A last page of comments with fewer than this is read together with the one before it.
const SHORT_PAGE: usize = 30;

/// A repository that takes issues.
#[derive(Debug)]
pub struct Github {
    config: GithubConfig,
    repo: String,
    http: reqwest::Client,
    cached: Mutex<Cached>,
}

/// What is kept between sends.
#[derive(Default)]
struct Cached {
    api: Option<Api>,
    private_until: Option<Instant>,
}

impl std::fmt::Debug for Cached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cached")
    }
}

impl Github {
    /// `None` when no repository is set. A token alone, as build machines often have one in the environment, is not
    /// enough to switch issues on.
    ///
    /// # Errors
    /// A text for people when the repository or its API is not written as it must be, or the token is missing.
    pub fn new(config: &GithubConfig, http: reqwest::Client) -> Result<Option<Self>, String> {
        let Some(repo) = config.repo.clone() else { return Ok(None) };
        let good = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && part.chars().all(known) && part.chars().any(|c| c != '.')
        };
        if !repo.split_once('/').is_some_and(|(owner, name)| good(owner) && good(name)) {
            return Err(format!("notify.github.repo is `{repo}`; it must be `owner/name`, such as `acme/shop`"));
        }
        let url =
            url::Url::parse(&config.api_url).ok().filter(|url| url.has_host() && url.scheme().starts_with("http"));
        if url.is_none() {
            let api = &config.api_url;
            return Err(format!("notify.github.api_url is `{api}`; it must be a URL, such as https://api.github.com"));
        }
        if config.token.is_none() && config.token_file.is_none() {
            return Err(format!(
                "notify.github.repo is `{repo}`, but there is no token; set GITHUB_TOKEN or notify.github.token_file"
            ));
        }
        Ok(Some(Self { config: config.clone(), repo, http, cached: Mutex::default() }))
    }

    /// Whether the repository would accept us, as far as it can be known without writing: a sentence for people.
    ///
    /// # Errors
    /// What would stop an issue, and what to do about it.
    pub async fn probe(&self) -> Result<String, SendError> {
        let api = self.api()?;
        let repo = api.repo().await?;
        self.admits(&repo)?;
        api.open_issues(self.label()).await?;
        let kind = if repo.private { "private" } else { "PUBLIC, allowed by notify.github.allow_public" };
        Ok(format!(
            "{} ({kind}) can be read and takes issues; the right to write them shows with the first one",
            self.repo
        ))
    }

    /// Sends one notification; see [`Notifier::send`].
    async fn tell(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        let api = self.api()?;
        self.admit(&api).await?;
        let kind = notification.transition.kind;
        if let Some(number) = earlier.and_then(|receipt| receipt.id.as_deref()).and_then(|id| id.parse().ok()) {
            return match kind {
                TransitionKind::Opened => Ok(earlier.cloned().unwrap_or_default()),
                _ => follow_up(&api, number, notification).await,
            };
        }
        let found = self.find(&api, &notification.transition.incident).await?;
        match (found, kind) {
            (Some(Found::Same(issue)), TransitionKind::Opened) => Ok(receipt(&issue)),
            (Some(Found::Same(issue) | Found::SamePlace(issue)), _) => {
                follow_up(&api, issue.number, notification).await
            }
            // Nobody was ever told that it began; telling that it is over would only be noise.
            (None, TransitionKind::Resolved) => Ok(Receipt::default()),
            (None, _) => self.create(&api, notification).await,
        }
    }

    async fn create(&self, api: &Api, notification: &Notification) -> Result<Receipt, SendError> {
        let (title, body) = render_issue(notification);
        let mut labels = self.config.labels.clone();
        labels.push(format!("severity:{}", notification.transition.incident.severity.as_str()));
        let issue = api.create(&title, &body, &labels).await?;
        // Without the right to triage, GitHub drops labels without a word, and then the issue is not found by its mark.
        if self.label().is_some_and(|label| issue.labels.iter().all(|kept| !kept.name.eq_ignore_ascii_case(label))) {
            tracing::warn!(
                "issue #{} on {} was created without its labels: the token's user needs the role Triage or Write there, \
                 else an issue can be created twice when an answer is lost",
                issue.number,
                self.repo
            );
        }
        Ok(receipt(&issue))
    }

    /// The issue of this incident when an answer was lost, else an open one of the same place.
    async fn find(&self, api: &Api, incident: &Incident) -> Result<Option<Found>, SendError> {
        let issues = api.open_issues(self.label()).await?;
        let (same, place) = (body::incident_mark(incident), body::fingerprint_mark(incident));
        let marked = |issue: &&Issue, fits: &dyn Fn(&str) -> bool| {
            let first = issue.body.as_deref().and_then(|body| body.lines().next()).unwrap_or("").trim_end();
            first.starts_with("<!-- sigyn:incident=") && fits(first)
        };
        let exact = issues.iter().find(|issue| marked(issue, &|first| first == same)).cloned().map(Found::Same);
        let again = || issues.iter().find(|issue| marked(issue, &|first| first.ends_with(&place))).cloned();
        Ok(exact.or_else(|| again().map(Found::SamePlace)))
    }

    fn label(&self) -> Option<&str> {
        self.config.labels.first().map(String::as_str)
    }

    /// The API with the token as it is now.
    fn api(&self) -> Result<Api, SendError> {
        let read = Secret::read(self.config.token.as_ref(), self.config.token_file.as_deref());
        let token = read.map_err(|error| SendError::Retry {
            reason: "settings",
            message: format!("GitHub's token: {error}"),
            after: None,
        })?;
        let token = Secret::new(token.as_ref().map_or("", Secret::expose).trim());
        let mut cached = self.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(api) = cached.api.as_ref().filter(|api| *api.token() == token) {
            return Ok(api.clone());
        }
        let api = Api::new(token, &self.repo, &self.config.api_url, self.http.clone())?;
        *cached = Cached { api: Some(api.clone()), private_until: None };
        Ok(api)
    }

    /// Log text must not become readable by everybody by accident.
    async fn admit(&self, api: &Api) -> Result<(), SendError> {
        let trusted = {
            let cached = self.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            cached.private_until.is_some_and(|until| Instant::now() < until)
        };
        if trusted || self.config.allow_public {
            return Ok(());
        }
        self.admits(&api.repo().await?)?;
        let mut cached = self.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        cached.private_until = Some(Instant::now() + TRUST);
        Ok(())
    }

    fn admits(&self, repo: &Repo) -> Result<(), SendError> {
        let name = &self.repo;
        let refuse = |reason, message: String| Err(SendError::GiveUp { reason, message });
        if !repo.private && !self.config.allow_public {
            return refuse(
                "public",
                format!(
                    "{name} is a public repository, so everybody could read log lines there; use a private one, or set \
                 notify.github.allow_public: true if that is meant"
                ),
            );
        }
        if repo.archived {
            return refuse(
                "archived",
                format!("{name} is archived and takes no issues; set notify.github.repo to another one"),
            );
        }
        if !repo.has_issues {
            return refuse(
                "gone",
                format!("issues are switched off in the settings of {name}; switch them on, or use another repository"),
            );
        }
        Ok(())
    }
}

impl Notifier for Github {
    async fn send(&self, notification: &Notification, earlier: Option<&Receipt>) -> Result<Receipt, SendError> {
        self.tell(notification, earlier).await
    }
}

/// An issue that fits.
enum Found {
    /// That of this very incident: the answer to its creation was lost.
    Same(Issue),
    /// An open one of an earlier incident at the same place.
    SamePlace(Issue),
}

/// Comments once, and closes once when it is over. Who closed an issue by hand wants to hear the end at most.
async fn follow_up(api: &Api, number: u64, notification: &Notification) -> Result<Receipt, SendError> {
    let issue = api.issue(number).await?;
    let (closed, over) = (issue.state == "closed", notification.transition.kind == TransitionKind::Resolved);
    let again = notification.transition.kind == TransitionKind::Reopened;
    if (!closed || over || again) && !commented(api, &issue, &notification.key).await? {
        api.comment(number, &render_comment(notification)).await?;
    }
    if over && !closed {
        api.close(number).await?;
    }
    if again && closed {
        api.reopen(number).await?;
    }
    Ok(receipt(&issue))
}

/// Whether a try before this one has made the comment already: it would be among the last ones.
async fn commented(api: &Api, issue: &Issue, key: &str) -> Result<bool, SendError> {
    let mark = body::key_mark(key);
    let last = issue.comments.div_ceil(PAGE);
    for page in [last, last.saturating_sub(1)].into_iter().filter(|page| *page > 0) {
        let comments = api.comments(issue.number, page).await?;
        let is_ours = |body: &str| body.lines().next().is_some_and(|first| first.trim_end() == mark);
        if comments.iter().filter_map(|comment| comment.body.as_deref()).any(is_ours) {
            return Ok(true);
        }
        if comments.len() >= SHORT_PAGE {
            break;
        }
    }
    Ok(false)
}

fn receipt(issue: &Issue) -> Receipt {
    Receipt { id: Some(issue.number.to_string()), url: issue.html_url.clone() }
}

#[cfg(test)]
mod tests;
