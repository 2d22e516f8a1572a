use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::Value;

use super::*;
use crate::notify::fixture;

/// What the stub answers next: status, `Retry-After`, body. Empty: 200 `ok`.
type Script = Vec<(u16, Option<&'static str>, &'static str)>;

#[derive(Clone, Default)]
struct Stub(Arc<Mutex<(Script, Vec<Value>)>>);

async fn answer(State(stub): State<Stub>, uri: Uri, body: axum::body::Bytes) -> impl IntoResponse {
    let mut stub = stub.0.lock().unwrap();
    stub.1.push(serde_json::from_slice(&body).unwrap());
    let (status, after, text) = if stub.0.is_empty() { (200, None, "ok") } else { stub.0.remove(0) };
    let mut headers = HeaderMap::new();
    if let Some(after) = after {
        headers.insert("retry-after", after.parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), headers, text.replace("ECHO", uri.path()))
}

const TOKEN: &str = "XyZ0123456789abcdef";

/// A receiver, its stub, and what it was told, in the order of posts.
async fn stub(script: Script) -> (Slack, Stub) {
    let stub = Stub(Arc::new(Mutex::new((script, Vec::new()))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/T00000000/{TOKEN}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(stub.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (slack(&url), stub)
}

fn slack(url: &str) -> Slack {
    let config = SlackConfig { webhook_url: Some(Secret::new(url)), webhook_url_file: None };
    Slack::new(&config, client::client().unwrap()).unwrap()
}

async fn send(slack: &Slack) -> Result<Receipt, SendError> {
    let outcome = slack.send(&fixture::notification(fixture::opened(), "slack"), None).await;
    if let Err(error) = &outcome {
        assert!(!format!("{error:?} {error}").contains(TOKEN), "{error}");
        assert!(!format!("{error:?} {error}").contains("/services/T0"), "{error}");
    }
    outcome
}

#[tokio::test]
async fn posts_blocks_and_text() {
    let (slack, stub) = stub(vec![]).await;
    assert_eq!(send(&slack).await, Ok(Receipt::default()));
    let told = stub.0.lock().unwrap().1.clone();
    assert_eq!(told, [render_slack(&fixture::notification(fixture::opened(), "slack"))]);
}

#[tokio::test]
async fn refused_blocks_are_sent_once_more_as_text() {
    let (slack, stub) = stub(vec![(400, None, "invalid_blocks")]).await;
    assert_eq!(send(&slack).await, Ok(Receipt::default()));
    let told = stub.0.lock().unwrap().1.clone();
    assert_eq!((told.len(), told[1].get("blocks")), (2, None));
    assert_eq!(told[0]["text"], told[1]["text"]);
}

#[tokio::test]
async fn some_answers_are_worth_another_try() {
    for (answer, reason, after) in [
        ((429, Some("9"), "rate_limited ECHO"), "rate_limited", Some(9)),
        ((500, None, "rollup_error"), "server", None),
        ((503, Some("2"), ""), "server", Some(2)),
    ] {
        let (slack, _stub) = stub(vec![answer]).await;
        let Err(SendError::Retry { reason: given, after: wait, .. }) = send(&slack).await else { panic!("{answer:?}") };
        assert_eq!((given, wait), (reason, after.map(Duration::from_secs)));
    }
}

#[tokio::test]
async fn others_say_what_to_do() {
    let mut said = Vec::new();
    for answer in [
        (403, None, "action_prohibited"),
        (404, None, "no_service"),
        (404, None, "no hook at ECHO"),
        (410, None, "channel_is_archived"),
        (301, None, ""),
        (400, None, "{\"success\":false,\"error\":\"invalid-channel\"}"),
    ] {
        let (slack, _stub) = stub(vec![answer]).await;
        let Err(SendError::GiveUp { reason, message }) = send(&slack).await else { panic!("{answer:?}") };
        said.push(format!("{reason}: {message}"));
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
        refused: posting to the Slack webhook at 127.0.0.1: answered 403 "action_prohibited"; the workspace does not let this webhook post there: ask its administrator or use another channel
        not_found: posting to the Slack webhook at 127.0.0.1: answered 404 "no_service"; the webhook was removed or switched off: make a new one and set notify.slack.webhook_url
        not_found: posting to the Slack webhook at 127.0.0.1: answered 404 "no hook at /[secret]/[secret]/[secret]"; there is no such webhook: check notify.slack.webhook_url
        archived: posting to the Slack webhook at 127.0.0.1: answered 410 "channel_is_archived"; the channel is archived: bring it back or make a webhook for another one
        redirected: posting to the Slack webhook at 127.0.0.1: answered 301 ""; redirects are not followed: set notify.slack.webhook_url to the final address
        not_found: posting to the Slack webhook at 127.0.0.1: answered 400 "{\"success\":false,\"error\":\"invalid-channel\"}"; the webhook's channel is gone: make a webhook for another one
        "#);
}

#[tokio::test]
async fn nobody_there_is_worth_another_try() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = send(&slack(&format!("http://{free}/services/T0/{TOKEN}"))).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { reason: "unreachable", .. }), "{error:?}");
}

#[tokio::test]
async fn no_answer_in_time_is_worth_another_try() {
    // Nobody accepts: the connection stands, and nothing comes.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/T0/{TOKEN}", silent.local_addr().unwrap());
    let hasty = reqwest::Client::builder().timeout(Duration::from_millis(20)).build().unwrap();
    let slack = Slack { url: Some(Secret::new(url)), file: None, client: hasty };
    let error = send(&slack).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { reason: "timeout", .. }), "{error:?}");
}

#[tokio::test]
async fn a_bad_address_is_never_shown() {
    let error = send(&slack(&format!("hooks.slack.com/services/{TOKEN}"))).await.unwrap_err();
    assert!(matches!(error, SendError::GiveUp { reason: "settings", .. }), "{error:?}");
}

#[tokio::test]
async fn the_file_is_read_each_time() {
    let (good, stub) = stub(vec![]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    let config = SlackConfig { webhook_url: None, webhook_url_file: Some(path.clone()) };
    let slack = Slack::new(&config, client::client().unwrap()).unwrap();
    let error = send(&slack).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { reason: "settings", .. }), "{error:?}");
    std::fs::write(&path, good.url.unwrap().expose()).unwrap();
    send(&slack).await.unwrap();
    assert_eq!(stub.0.lock().unwrap().1.len(), 1);
}
