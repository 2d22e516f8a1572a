//! The few calls of GitHub's REST API that issues need, through octocrab, and what its failures mean.
//!
//! What never happens here: a retry (octocrab's own repeats POSTs and so doubles issues; it is switched off).

use std::time::Duration;

use octocrab::Octocrab;
use octocrab::service::middleware::retry::RetryConfig;
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::notify::{SendError, client};
use crate::secret::Secret;

/// GitHub's largest page.
pub(super) const PAGE: u32 = 100;
/// A request that takes longer is given up; it may still have worked, which the hidden marks tell later.
const TIMEOUT: Duration = Duration::from_secs(20);
/// GitHub asks to wait at least a minute after a secondary rate limit that does not say how long
/// (docs.github.com, "Best practices for using the REST API").
const SECONDARY_WAIT: Duration = Duration::from_secs(60);

/// What we read of an issue.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Issue {
    pub(super) number: u64,
    #[serde(default)]
    pub(super) html_url: Option<String>,
    #[serde(default)]
    pub(super) state: String,
    #[serde(default)]
    pub(super) comments: u32,
    #[serde(default)]
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) labels: Vec<Label>,
    #[serde(default)]
    pub(super) pull_request: Option<serde::de::IgnoredAny>,
}

/// A label of an issue.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Label {
    #[serde(default)]
    pub(super) name: String,
}

/// What we read of a comment.
#[derive(Debug, Deserialize)]
pub(super) struct Comment {
    #[serde(default)]
    pub(super) body: Option<String>,
}

/// What we read of a repository.
#[derive(Debug, Deserialize)]
pub(super) struct Repo {
    /// Missing: taken for public, the careful side.
    #[serde(default)]
    pub(super) private: bool,
    #[serde(default)]
    pub(super) archived: bool,
    #[serde(default = "yes")]
    pub(super) has_issues: bool,
}

fn yes() -> bool {
    true
}

/// One repository, with one token.
#[derive(Clone)]
pub(super) struct Api {
    crab: Octocrab,
    token: Secret,
    repo: String,
}

impl Api {
    /// Must be called inside a tokio runtime: octocrab starts a task.
    pub(super) fn new(token: Secret, repo: &str, base: &str, http: reqwest::Client) -> Result<Self, SendError> {
        let settings = |message: String| SendError::GiveUp { reason: "settings", message };
        // octocrab panics on a token that cannot stand in a header.
        if token.expose().is_empty() || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = "the GitHub token is empty or has spaces or line breaks in it; set notify.github.token";
            return Err(settings(message.to_owned()));
        }
        let built = Octocrab::builder()
            .base_uri(base)
            .map(|builder| builder.add_retry_config(RetryConfig::None).personal_token(token.expose()))
            .and_then(|builder| builder.build_with_reqwest(http));
        let crab = built.map_err(|error| settings(format!("GitHub's API at {base}: {}", client::chain(&error))))?;
        Ok(Self { crab, token, repo: repo.to_owned() })
    }

    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    pub(super) async fn repo(&self) -> Result<Repo, SendError> {
        self.call("reading the repository", self.crab.get(self.route(""), None::<&()>)).await
    }

    /// The newest open issues with this label, pull requests left out; one page.
    pub(super) async fn open_issues(&self, label: Option<&str>) -> Result<Vec<Issue>, SendError> {
        #[derive(Serialize)]
        struct Params<'a> {
            state: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            labels: Option<&'a str>,
            sort: &'a str,
            direction: &'a str,
            per_page: u32,
        }
        let params = Params { state: "open", labels: label, sort: "created", direction: "desc", per_page: PAGE };
        let found = self.crab.get(self.route("/issues"), Some(&params));
        let mut issues: Vec<Issue> = self.call("listing the issues", found).await?;
        issues.retain(|issue| issue.pull_request.is_none());
        Ok(issues)
    }

    pub(super) async fn issue(&self, number: u64) -> Result<Issue, SendError> {
        let found = self.crab.get(self.route(&format!("/issues/{number}")), None::<&()>);
        self.call(&format!("reading issue #{number}"), found).await
    }

    pub(super) async fn create(&self, title: &str, body: &str, labels: &[String]) -> Result<Issue, SendError> {
        let issue = json!({ "title": title, "body": body, "labels": labels });
        self.call("creating an issue", self.crab.post(self.route("/issues"), Some(&issue))).await
    }

    pub(super) async fn comments(&self, number: u64, page: u32) -> Result<Vec<Comment>, SendError> {
        let params = [("per_page", PAGE), ("page", page)];
        let found = self.crab.get(self.route(&format!("/issues/{number}/comments")), Some(&params));
        self.call(&format!("reading the comments of issue #{number}"), found).await
    }

    pub(super) async fn comment(&self, number: u64, body: &str) -> Result<Comment, SendError> {
        let comment = json!({ "body": body });
        let made = self.crab.post(self.route(&format!("/issues/{number}/comments")), Some(&comment));
        self.call(&format!("commenting on issue #{number}"), made).await
    }

    pub(super) async fn close(&self, number: u64) -> Result<Issue, SendError> {
        let change = json!({ "state": "closed", "state_reason": "completed" });
        let done = self.crab.patch(self.route(&format!("/issues/{number}")), Some(&change));
        self.call(&format!("closing issue #{number}"), done).await
    }

    pub(super) async fn reopen(&self, number: u64) -> Result<Issue, SendError> {
        let change = json!({ "state": "open", "state_reason": "reopened" });
        let done = self.crab.patch(self.route(&format!("/issues/{number}")), Some(&change));
        self.call(&format!("opening issue #{number} again"), done).await
    }

    fn route(&self, rest: &str) -> String {
        format!("/repos/{}{rest}", self.repo)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        what: &str,
        answer: impl Future<Output = octocrab::Result<T>>,
    ) -> Result<T, SendError> {
        let what = format!("{what} on {}", self.repo);
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.failure(&what, error)),
            Err(_) => {
                let message = format!("{what}: no answer within {} s", TIMEOUT.as_secs());
                Err(SendError::Retry { reason: "timeout", message, after: None })
            }
        }
    }

    fn failure(&self, what: &str, error: octocrab::Error) -> SendError {
        match error {
            octocrab::Error::GitHub { source, .. } => self.refused(what, &source),
            error => {
                let said = client::shown(&client::chain(&error), &self.token);
                let reason = match &error {
                    octocrab::Error::Json { .. } | octocrab::Error::Serde { .. } => "bad_answer",
                    _ if said.contains("timed out") => "timeout",
                    _ => "unreachable",
                };
                SendError::Retry { reason, message: format!("{what}: {said}"), after: None }
            }
        }
    }

    fn refused(&self, what: &str, error: &octocrab::GitHubError) -> SendError {
        let status = StatusCode::from_u16(error.status_code.as_u16()).unwrap_or_default();
        let errors: Vec<String> = error.errors.iter().flatten().map(ToString::to_string).collect();
        let said = client::shown(&format!("{} {}", error.message, errors.join(" ")), &self.token);
        let message = format!("{what}: GitHub answered {} {said:?}", status.as_u16());
        let asked = error.headers.as_ref().and_then(client::wait);
        let limited = matches!(status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS)
            && (asked.is_some() || status == StatusCode::TOO_MANY_REQUESTS || said.contains("rate limit"));
        if limited {
            let after = Some(asked.unwrap_or(SECONDARY_WAIT));
            return SendError::Retry { reason: "rate_limited", message, after };
        }
        if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
            return SendError::Retry { reason: "server", message, after: asked };
        }
        let (reason, advice) = advice(status, &self.repo);
        SendError::GiveUp { reason, message: format!("{message}; {advice}") }
    }
}

/// What to do about an answer that will not change by itself.
fn advice(status: StatusCode, repo: &str) -> (&'static str, String) {
    const RIGHTS: &str = "a fine-grained token needs \"Issues: read and write\" and \"Metadata: read\" on it, a classic one the scope `repo`";
    match status {
        StatusCode::UNAUTHORIZED => (
            "unauthorized",
            format!("the token is wrong, revoked or expired: set GITHUB_TOKEN or notify.github.token_file; {RIGHTS}"),
        ),
        StatusCode::FORBIDDEN => {
            ("forbidden", format!("the token may not do this in {repo}: {RIGHTS}; the repository must not be archived"))
        }
        StatusCode::NOT_FOUND => (
            "not_found",
            format!("there is no such thing, or the token cannot see it: check notify.github.repo ({repo}); {RIGHTS}"),
        ),
        StatusCode::GONE => {
            ("gone", format!("the issue was deleted, or issues are switched off in the settings of {repo}"))
        }
        StatusCode::UNPROCESSABLE_ENTITY => (
            "invalid",
            "GitHub does not take the content; this is a fault of sigyn, please report it with this text".to_owned(),
        ),
        _ => ("refused", "check notify.github.api_url and notify.github.repo".to_owned()),
    }
}
