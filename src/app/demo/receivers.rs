//! Local receivers in place of Slack and GitHub: they take what sigyn posts over HTTP, and keep it.
//!
//! Only the handful of routes that sigyn uses. The repository is private, and everybody is let in.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Json, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The repository that is there.
pub const REPO: &str = "demo/shop";

/// What was posted.
#[derive(Clone, Debug, Default)]
pub struct Posted {
    /// Payloads of the webhook, in order.
    pub messages: Vec<Value>,
    /// Issues as GitHub would give them.
    pub issues: Vec<Value>,
    /// Number of the issue and text of each comment, in order.
    pub comments: Vec<(usize, String)>,
}

type Shared = Arc<Mutex<Posted>>;

/// Receivers on a free port of this machine, until `stop`.
#[derive(Clone, Debug)]
pub struct Receivers {
    posted: Shared,
    base: String,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    state: Option<String>,
    #[serde(default = "first")]
    page: usize,
    #[serde(default = "many")]
    per_page: usize,
}

fn first() -> usize {
    1
}

fn many() -> usize {
    30
}

impl Receivers {
    /// Starts them.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(stop: CancellationToken) -> std::io::Result<Self> {
        let posted = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let issues = format!("/api/v3/repos/{REPO}/issues");
        let router = Router::new()
            .route("/slack", post(message))
            .route(&format!("/api/v3/repos/{REPO}"), get(repository))
            .route(&issues, get(list).post(create))
            .route(&format!("{issues}/{{number}}"), get(read).patch(change))
            .route(&format!("{issues}/{{number}}/comments"), get(comments).post(comment))
            .with_state(Arc::clone(&posted));
        tokio::spawn(crate::http::serve(listener, router, stop.cancelled_owned()));
        Ok(Self { posted, base })
    }

    /// The webhook to post messages to.
    #[must_use]
    pub fn slack_url(&self) -> String {
        format!("{}/slack", self.base)
    }

    /// GitHub's API, as of an Enterprise server.
    #[must_use]
    pub fn github_url(&self) -> String {
        format!("{}/api/v3", self.base)
    }

    /// What has been posted so far.
    #[must_use]
    pub fn posted(&self) -> Posted {
        lock(&self.posted).clone()
    }
}

fn lock(posted: &Shared) -> std::sync::MutexGuard<'_, Posted> {
    posted.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn message(State(posted): State<Shared>, Json(payload): Json<Value>) -> &'static str {
    lock(&posted).messages.push(payload);
    "ok"
}

async fn repository() -> Json<Value> {
    Json(json!({ "private": true, "archived": false, "has_issues": true, "full_name": REPO }))
}

async fn list(State(posted): State<Shared>, Query(page): Query<Page>) -> Json<Vec<Value>> {
    let wanted = page.state.unwrap_or_else(|| "open".to_owned());
    let posted = lock(&posted);
    let newest = posted.issues.iter().rev().filter(|issue| wanted == "all" || issue["state"] == wanted.as_str());
    Json(newest.skip((page.page.max(1) - 1) * page.per_page).take(page.per_page).cloned().collect())
}

async fn create(State(posted): State<Shared>, Json(mut issue): Json<Value>) -> (StatusCode, Json<Value>) {
    let mut posted = lock(&posted);
    let number = posted.issues.len() + 1;
    let labels = issue["labels"].as_array().cloned().unwrap_or_default();
    issue["number"] = json!(number);
    issue["html_url"] = json!(format!("https://github.example.com/{REPO}/issues/{number}"));
    issue["state"] = json!("open");
    issue["comments"] = json!(0);
    issue["labels"] = labels.iter().map(|name| json!({ "name": name })).collect();
    posted.issues.push(issue.clone());
    (StatusCode::CREATED, Json(issue))
}

type Found = Result<Json<Value>, StatusCode>;

fn issue(posted: &mut Posted, number: usize) -> Result<&mut Value, StatusCode> {
    number.checked_sub(1).and_then(|index| posted.issues.get_mut(index)).ok_or(StatusCode::NOT_FOUND)
}

async fn read(State(posted): State<Shared>, Path(number): Path<usize>) -> Found {
    Ok(Json(issue(&mut lock(&posted), number)?.clone()))
}

async fn change(State(posted): State<Shared>, Path(number): Path<usize>, Json(change): Json<Value>) -> Found {
    let mut posted = lock(&posted);
    let issue = issue(&mut posted, number)?;
    for (name, value) in change.as_object().into_iter().flatten() {
        issue[name] = value.clone();
    }
    Ok(Json(issue.clone()))
}

async fn comments(
    State(posted): State<Shared>,
    Path(number): Path<usize>,
    Query(page): Query<Page>,
) -> Json<Vec<Value>> {
    let posted = lock(&posted);
    let all = posted.comments.iter().filter(|(of, _)| *of == number).map(|(_, body)| json!({ "body": body }));
    Json(all.skip((page.page.max(1) - 1) * page.per_page).take(page.per_page).collect())
}

async fn comment(
    State(posted): State<Shared>,
    Path(number): Path<usize>,
    Json(comment): Json<Value>,
) -> Result<(StatusCode, Json<Value>), StatusCode> {
    let mut posted = lock(&posted);
    let issue = issue(&mut posted, number)?;
    issue["comments"] = json!(issue["comments"].as_u64().unwrap_or_default() + 1);
    let body = comment["body"].as_str().unwrap_or_default().to_owned();
    posted.comments.push((number, body));
    Ok((StatusCode::CREATED, Json(json!({ "id": posted.comments.len(), "body": comment["body"] }))))
}
