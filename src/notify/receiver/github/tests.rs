use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::*;
use crate::incident::Transition;
use crate::notify::{client, fixture};

const TOKEN: &str = "ghp_0123456789abcdefghij";

/// A small GitHub: one repository with issues and comments.
#[derive(Default)]
struct Hub {
    repo: Value,
    issues: Vec<Value>,
    comments: Vec<(u64, String)>,
    /// Answers to give instead, by `METHOD path-suffix`: how often, status, headers, whether the work is done first.
    script: Vec<Fault>,
    calls: Vec<String>,
}

struct Fault {
    call: &'static str,
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    after_the_work: bool,
}

type Shared = Arc<Mutex<Hub>>;

/// Counts the call, and fails it when the script says so.
async fn script(State(hub): State<Shared>, request: Request, next: Next) -> Response {
    let call = format!("{} {}", request.method(), request.uri().path().trim_start_matches("/api/v3/repos/acme/shop"));
    assert_eq!(request.headers()["authorization"], format!("Bearer {TOKEN}"));
    let fault = {
        let mut hub = hub.lock().unwrap();
        hub.calls.push(call.clone());
        let at = hub.script.iter().position(|fault| fault.call == call);
        at.map(|at| hub.script.remove(at))
    };
    let Some(fault) = fault else { return next.run(request).await };
    if fault.after_the_work {
        next.run(request).await;
    }
    let mut headers = HeaderMap::new();
    for (name, value) in fault.headers {
        headers.insert(name, value.parse().unwrap());
    }
    (StatusCode::from_u16(fault.status).unwrap(), headers, fault.body).into_response()
}

async fn list(
    State(hub): State<Shared>,
    Query(params): Query<std::collections::BTreeMap<String, String>>,
) -> Json<Value> {
    let hub = hub.lock().unwrap();
    assert_eq!((params["state"].as_str(), params["direction"].as_str()), ("open", "desc"));
    let wanted = |issue: &&Value| {
        let labels: Vec<&str> =
            issue["labels"].as_array().unwrap().iter().filter_map(|label| label["name"].as_str()).collect();
        issue["state"] == "open" && labels.contains(&params["labels"].as_str())
    };
    Json(hub.issues.iter().rev().filter(wanted).cloned().collect())
}

async fn create(State(hub): State<Shared>, Json(mut issue): Json<Value>) -> (StatusCode, Json<Value>) {
    let mut hub = hub.lock().unwrap();
    let number = hub.issues.len() as u64 + 1;
    issue["number"] = json!(number);
    issue["html_url"] = json!(format!("https://github.example.com/acme/shop/issues/{number}"));
    issue["state"] = json!("open");
    issue["comments"] = json!(0);
    issue["labels"] = issue["labels"].as_array().unwrap().iter().map(|name| json!({ "name": name })).collect();
    hub.issues.push(issue.clone());
    (StatusCode::CREATED, Json(issue))
}

async fn read(State(hub): State<Shared>, Path(number): Path<usize>) -> Response {
    let hub = hub.lock().unwrap();
    match hub.issues.get(number - 1) {
        Some(issue) => Json(issue.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "message": "Not Found" }))).into_response(),
    }
}

async fn change(State(hub): State<Shared>, Path(number): Path<usize>, Json(change): Json<Value>) -> Json<Value> {
    let mut hub = hub.lock().unwrap();
    let issue = &mut hub.issues[number - 1];
    issue["state"] = change["state"].clone();
    issue["state_reason"] = change["state_reason"].clone();
    Json(issue.clone())
}

async fn comments(
    State(hub): State<Shared>,
    Path(number): Path<u64>,
    Query(params): Query<std::collections::BTreeMap<String, usize>>,
) -> Json<Vec<Value>> {
    let hub = hub.lock().unwrap();
    let all = hub.comments.iter().filter(|(of, _)| *of == number).map(|(_, body)| json!({ "body": body }));
    Json(all.skip((params["page"] - 1) * params["per_page"]).take(params["per_page"]).collect())
}

async fn comment(
    State(hub): State<Shared>,
    Path(number): Path<u64>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let mut hub = hub.lock().unwrap();
    hub.comments.push((number, body["body"].as_str().unwrap().to_owned()));
    let issue = &mut hub.issues[number as usize - 1];
    issue["comments"] = json!(issue["comments"].as_u64().unwrap() + 1);
    (StatusCode::CREATED, Json(json!({ "id": 1, "body": body["body"] })))
}

async fn repo(State(hub): State<Shared>) -> Json<Value> {
    Json(hub.lock().unwrap().repo.clone())
}

async fn start() -> (Github, Shared) {
    start_with(|_| {}).await
}

async fn start_with(set: impl FnOnce(&mut GithubConfig)) -> (Github, Shared) {
    let hub = Shared::default();
    hub.lock().unwrap().repo = json!({ "private": true, "archived": false, "has_issues": true });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = GithubConfig {
        token: Some(Secret::new(TOKEN)),
        repo: Some("acme/shop".to_owned()),
        api_url: format!("http://{}/api/v3", listener.local_addr().unwrap()),
        ..GithubConfig::default()
    };
    set(&mut config);
    let base = "/api/v3/repos/acme/shop";
    let router = Router::new()
        .route(base, get(repo))
        .route(&format!("{base}/issues"), get(list).post(create))
        .route(&format!("{base}/issues/{{number}}"), get(read).patch(change))
        .route(&format!("{base}/issues/{{number}}/comments"), get(comments).post(comment))
        .layer(middleware::from_fn_with_state(hub.clone(), script))
        .with_state(hub.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Github::new(&config, client::client().unwrap()).unwrap().unwrap(), hub)
}

fn fault(call: &'static str, status: u16, body: &'static str) -> Fault {
    Fault { call, status, headers: vec![], body, after_the_work: false }
}

async fn send(
    github: &Github,
    transition: crate::incident::Transition,
    earlier: Option<&Receipt>,
) -> Result<Receipt, SendError> {
    let outcome = github.send(&fixture::notification(transition, "github"), earlier).await;
    if let Err(error) = &outcome {
        assert!(!format!("{error:?} {error}").contains(TOKEN), "{error}");
    }
    outcome
}

#[tokio::test]
async fn an_incident_is_one_issue_from_open_to_close() {
    let (github, hub) = start().await;
    let receipt = send(&github, fixture::opened(), None).await.unwrap();
    assert_eq!(receipt.id.as_deref(), Some("1"));
    assert_eq!(receipt.url.as_deref(), Some("https://github.example.com/acme/shop/issues/1"));
    assert_eq!(send(&github, fixture::continued(), Some(&receipt)).await, Ok(receipt.clone()));
    assert_eq!(send(&github, fixture::resolved(), Some(&receipt)).await, Ok(receipt));
    let hub = hub.lock().unwrap();
    let issue = &hub.issues[0];
    assert_eq!(issue["labels"], json!([{ "name": "sigyn" }, { "name": "severity:critical" }]));
    assert_eq!((&issue["state"], &issue["state_reason"]), (&json!("closed"), &json!("completed")));
    assert_eq!((hub.issues.len(), hub.comments.len()), (1, 2));
    insta::assert_snapshot!(hub.calls.join("\n"), @r"
        GET 
        GET /issues
        POST /issues
        GET /issues/1
        POST /issues/1/comments
        GET /issues/1
        GET /issues/1/comments
        POST /issues/1/comments
        PATCH /issues/1
        ");
}

#[tokio::test]
async fn a_lost_answer_doubles_nothing() {
    let (github, hub) = start().await;
    let lost = |call| Fault { after_the_work: true, ..fault(call, 502, "bad gateway") };
    hub.lock().unwrap().script = vec![lost("POST /issues"), lost("POST /issues/1/comments"), lost("PATCH /issues/1")];
    let mut earlier = None;
    for transition in [fixture::opened(), fixture::resolved()] {
        let mut tries = 0;
        earlier = loop {
            tries += 1;
            match send(&github, transition.clone(), earlier.as_ref()).await {
                Ok(receipt) => break Some(receipt),
                Err(error) => {
                    assert!(matches!(error, SendError::Retry { reason: "server", .. }) && tries < 4, "{error:?}");
                }
            }
        };
        assert!(tries > 1);
    }
    let hub = hub.lock().unwrap();
    assert_eq!((hub.issues.len(), hub.comments.len()), (1, 1));
    assert_eq!(hub.issues[0]["state"], "closed");
    assert!(hub.script.is_empty());
}

#[tokio::test]
async fn the_same_place_again_goes_to_its_open_issue() {
    let (github, hub) = start().await;
    send(&github, fixture::opened(), None).await.unwrap();
    let mut later = fixture::opened();
    later.incident.id = "00c0ffee00c0ffef".to_owned();
    for _try in 0..2 {
        let receipt = send(&github, later.clone(), None).await.unwrap();
        assert_eq!(receipt.id.as_deref(), Some("1"));
    }
    let mut elsewhere = fixture::internal();
    elsewhere.incident.id = "00c0ffee00c0fff0".to_owned();
    assert_eq!(send(&github, elsewhere, None).await.unwrap().id.as_deref(), Some("2"));
    let hub = hub.lock().unwrap();
    assert_eq!((hub.issues.len(), hub.comments.len()), (2, 1));
    assert!(hub.comments[0].1.contains("**Again**"), "{}", hub.comments[0].1);
}

#[tokio::test]
async fn a_mark_in_the_text_of_others_does_not_count() {
    let (github, hub) = start().await;
    let mark = body::incident_mark(&fixture::opened().incident);
    let issue = |body: String, labels: Value| json!({ "number": 1, "state": "open", "comments": 0, "body": body, "labels": labels });
    hub.lock().unwrap().issues =
        vec![issue(format!("see\n{mark}"), json!([{ "name": "sigyn" }])), issue(mark, json!([{ "name": "bug" }]))];
    assert_eq!(send(&github, fixture::opened(), None).await.unwrap().id.as_deref(), Some("3"));
}

#[tokio::test]
async fn an_end_that_nobody_was_told_the_beginning_of_is_silent() {
    let (github, hub) = start().await;
    assert_eq!(send(&github, fixture::resolved(), None).await, Ok(Receipt::default()));
    assert_eq!(send(&github, fixture::continued(), None).await.unwrap().id.as_deref(), Some("1"));
    assert_eq!(hub.lock().unwrap().issues.len(), 1);
}

#[tokio::test]
async fn who_closed_it_by_hand_hears_the_end_only() {
    let (github, hub) = start().await;
    let receipt = send(&github, fixture::opened(), None).await.unwrap();
    hub.lock().unwrap().issues[0]["state"] = json!("closed");
    for transition in [fixture::continued(), fixture::resolved()] {
        send(&github, transition, Some(&receipt)).await.unwrap();
    }
    let hub = hub.lock().unwrap();
    assert_eq!(hub.comments.len(), 1);
    assert!(hub.comments[0].1.contains("**Resolved**"), "{}", hub.comments[0].1);
    assert!(hub.calls.iter().all(|call| !call.starts_with("PATCH")));
}

#[tokio::test]
async fn an_old_comment_is_found_over_the_border_of_a_page() {
    let (github, hub) = start().await;
    let receipt = send(&github, fixture::opened(), None).await.unwrap();
    let notification = fixture::notification(fixture::continued(), "github");
    {
        let mut hub = hub.lock().unwrap();
        let filler = |index: usize| (1, if index == 99 { render_comment(&notification) } else { "hm".to_owned() });
        hub.comments = (0..101).map(filler).collect();
        hub.issues[0]["comments"] = json!(101);
    }
    send(&github, fixture::continued(), Some(&receipt)).await.unwrap();
    assert_eq!(hub.lock().unwrap().comments.len(), 101);
}

#[tokio::test]
async fn a_public_repository_is_refused_unless_allowed() {
    let (github, hub) = start().await;
    hub.lock().unwrap().repo = json!({ "private": false });
    let error = send(&github, fixture::opened(), None).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @"acme/shop is a public repository, so everybody could read log lines there; use a private one, or set notify.github.allow_public: true if that is meant");
    assert!(github.probe().await.is_err());
    assert!(hub.lock().unwrap().issues.is_empty());
    let (github, hub) = start_with(|config| config.allow_public = true).await;
    hub.lock().unwrap().repo = json!({ "private": false });
    send(&github, fixture::opened(), None).await.unwrap();
    insta::assert_snapshot!(github.probe().await.unwrap(), @"acme/shop (PUBLIC, allowed by notify.github.allow_public) can be read and takes issues; the right to write them shows with the first one");
}

#[tokio::test]
async fn limits_are_worth_another_try() {
    let limited = |status, headers, body| Fault { headers, ..fault("POST /issues", status, body) };
    for (fault, reason, after) in [
        (limited(429, vec![("retry-after", "30")], "{}"), "rate_limited", Some(30)),
        (limited(403, vec![("retry-after", "31")], "{\"message\":\"abuse\"}"), "rate_limited", Some(31)),
        (limited(403, vec![], "{\"message\":\"You have exceeded a secondary rate limit\"}"), "rate_limited", Some(60)),
        (limited(403, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")], "{}"), "rate_limited", Some(0)),
        (limited(500, vec![], "<html>"), "server", None),
        (limited(201, vec![], "not json"), "bad_answer", None),
    ] {
        let (github, hub) = start().await;
        hub.lock().unwrap().script = vec![fault];
        let Err(SendError::Retry { reason: given, after: wait, .. }) = send(&github, fixture::opened(), None).await
        else {
            panic!("{reason}")
        };
        assert_eq!((given, wait), (reason, after.map(Duration::from_secs)));
    }
}

#[tokio::test]
async fn others_say_what_to_do() {
    let mut said = Vec::new();
    for refusal in [
        fault("GET ", 401, "{\"message\":\"Bad credentials for ghp_0123456789abcdefghij\"}"),
        fault("GET ", 404, "{\"message\":\"Not Found\"}"),
        fault("POST /issues", 403, "{\"message\":\"Resource not accessible by personal access token\"}"),
        fault("POST /issues", 410, "{\"message\":\"Issues has been disabled in this repository.\"}"),
        fault("POST /issues", 422, "{\"message\":\"Validation Failed\",\"errors\":[{\"field\":\"title\"}]}"),
    ] {
        let (github, hub) = start().await;
        hub.lock().unwrap().script = vec![refusal];
        let Err(SendError::GiveUp { reason, message }) = send(&github, fixture::opened(), None).await else { panic!() };
        said.push(format!("{reason}: {message}"));
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
        unauthorized: reading the repository on acme/shop: GitHub answered 401 "Bad credentials for [secret]"; the token is wrong, revoked or expired: set GITHUB_TOKEN or notify.github.token_file; a fine-grained token needs "Issues: read and write" and "Metadata: read" on it, a classic one the scope `repo`
        not_found: reading the repository on acme/shop: GitHub answered 404 "Not Found"; there is no such thing, or the token cannot see it: check notify.github.repo (acme/shop); a fine-grained token needs "Issues: read and write" and "Metadata: read" on it, a classic one the scope `repo`
        forbidden: creating an issue on acme/shop: GitHub answered 403 "Resource not accessible by personal access token"; the token may not do this in acme/shop: a fine-grained token needs "Issues: read and write" and "Metadata: read" on it, a classic one the scope `repo`; the repository must not be archived
        gone: creating an issue on acme/shop: GitHub answered 410 "Issues has been disabled in this repository."; the issue was deleted, or issues are switched off in the settings of acme/shop
        invalid: creating an issue on acme/shop: GitHub answered 422 "Validation Failed {\"field\":\"title\"}"; GitHub does not take the content; this is a fault of sigyn, please report it with this text
        "#);
}

#[tokio::test]
async fn archived_or_without_issues_is_refused() {
    for (repo, wanted) in [
        (json!({ "private": true, "archived": true }), "archived"),
        (json!({ "private": true, "has_issues": false }), "gone"),
    ] {
        let (github, hub) = start().await;
        hub.lock().unwrap().repo = repo;
        let Err(SendError::GiveUp { reason, .. }) = send(&github, fixture::opened(), None).await else { panic!() };
        assert_eq!(reason, wanted);
    }
}

#[tokio::test]
async fn nobody_there_and_bad_tokens() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (github, _hub) = start_with(|config| config.api_url = format!("http://{free}/api/v3")).await;
    let error = send(&github, fixture::opened(), None).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { reason: "unreachable", .. }), "{error:?}");
    // Nobody accepts: the connection stands, and nothing comes.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = GithubConfig { api_url: format!("http://{}", silent.local_addr().unwrap()), ..github.config };
    let hasty = reqwest::Client::builder().timeout(Duration::from_millis(20)).build().unwrap();
    let github = Github::new(&config, hasty).unwrap().unwrap();
    let error = send(&github, fixture::opened(), None).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { reason: "timeout", .. }), "{error:?}");
    for bad in ["", "a b", "a\nb"] {
        let (github, _hub) = start_with(|config| config.token = Some(Secret::new(bad))).await;
        let error = send(&github, fixture::opened(), None).await.unwrap_err();
        assert!(matches!(error, SendError::GiveUp { reason: "settings", .. }), "{error:?}");
    }
}

#[test]
fn settings_are_checked() {
    let with = |repo: &str, api: &str, token: Option<&str>| {
        let config = GithubConfig {
            repo: Some(repo.to_owned()),
            api_url: api.to_owned(),
            token: token.map(Secret::new),
            ..GithubConfig::default()
        };
        Github::new(&config, client::client().unwrap()).map(|github| github.is_some())
    };
    assert_eq!(with("acme/shop.js", "https://api.github.com", Some("t")), Ok(true));
    let wrong = [
        with("acme", "https://api.github.com", Some("t")),
        with("../..", "https://api.github.com", Some("t")),
        with("a/b/c", "https://api.github.com", Some("t")),
        with("a/b", "api.github.com", Some("t")),
        with("a/b", "https://api.github.com", None),
    ];
    insta::assert_snapshot!(wrong.map(Result::unwrap_err).join("\n"), @r"
        notify.github.repo is `acme`; it must be `owner/name`, such as `acme/shop`
        notify.github.repo is `../..`; it must be `owner/name`, such as `acme/shop`
        notify.github.repo is `a/b/c`; it must be `owner/name`, such as `acme/shop`
        notify.github.api_url is `api.github.com`; it must be a URL, such as https://api.github.com
        notify.github.repo is `a/b`, but there is no token; set GITHUB_TOKEN or notify.github.token_file
        ");
    assert!(Github::new(&GithubConfig::default(), client::client().unwrap()).unwrap().is_none());
}

#[tokio::test]
async fn what_is_back_opens_its_issue_again() {
    let (github, hub) = start().await;
    let receipt = send(&github, fixture::opened(), None).await.unwrap();
    send(&github, fixture::resolved(), Some(&receipt)).await.unwrap();
    assert_eq!(hub.lock().unwrap().issues[0]["state"], "closed");
    let again = Transition { kind: TransitionKind::Reopened, number: 4, ..fixture::opened() };
    send(&github, again, Some(&receipt)).await.unwrap();
    let hub = hub.lock().unwrap();
    assert_eq!(hub.issues[0]["state"], "open");
    assert!(hub.comments.last().unwrap().1.contains("**Back again**"), "{:?}", hub.comments);
}
