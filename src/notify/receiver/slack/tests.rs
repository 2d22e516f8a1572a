use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use serde_json::Value;

use super::*;
use crate::notify::fixture;
use crate::notify::receiver::stub;
use crate::secret::Secret;

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
    let config = SlackConfig { webhook_url: Some(Secret::new(url)), ..SlackConfig::default() };
    Slack::new(&config, Setup::of("notify.slack"))
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
    let config = SlackConfig { webhook_url: Some(Secret::new(url)), ..SlackConfig::default() };
    let slack = Slack::new(&config, Setup { http: hasty, ..Setup::of("notify.slack") });
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
    let config = SlackConfig { webhook_url_file: Some(path.clone()), ..SlackConfig::default() };
    let slack = Slack::new(&config, Setup::of("notify.slack"));
    let error = send(&slack).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { reason: "settings", .. }), "{error:?}");
    let Way::Webhook(good) = good.way else { panic!("a webhook") };
    std::fs::write(&path, good.key.read().unwrap().expose()).unwrap();
    send(&slack).await.unwrap();
    assert_eq!(stub.0.lock().unwrap().1.len(), 1);
}

fn bot(url: &str) -> Slack {
    let config = SlackConfig {
        bot_token: Some(Secret::new(TOKEN)),
        channel: Some("C01".to_owned()),
        api_url: format!("{url}/api"),
        ..SlackConfig::default()
    };
    Slack::new(&config, Setup::of("notify.slack"))
}

const MADE: &str = "{\"ok\":true,\"channel\":\"C01\",\"ts\":\"1.5\"}";

#[tokio::test]
async fn a_bot_keeps_one_message_up_to_date_and_tells_changes_in_its_thread() {
    let (stub, url) = stub::Stub::start(&[(200, MADE), (200, MADE), (200, MADE), (200, MADE), (200, MADE)]).await;
    let bot = bot(&url);
    let first = bot.send(&fixture::notification(fixture::opened(), "slack"), None).await.unwrap();
    assert_eq!(first.id.as_deref(), Some("C01/1.5"));
    let mut worse = fixture::continued();
    worse.kind = crate::incident::TransitionKind::Escalated;
    for transition in [fixture::opened(), worse, fixture::resolved()] {
        assert_eq!(bot.send(&fixture::notification(transition, "slack"), Some(&first)).await.unwrap(), first);
    }
    let asked = stub.asked();
    assert_eq!(asked[0].header("authorization"), format!("Bearer {TOKEN}"));
    let shown: Vec<String> = asked
        .iter()
        .map(|one| {
            let mut body = one.json();
            let text = body["text"].as_str().unwrap().lines().next().unwrap().to_owned();
            let fields = body.as_object_mut().unwrap();
            let blocks = fields.remove("blocks").unwrap().as_array().unwrap().len();
            fields.remove("text");
            format!("{} {text} ({blocks} blocks)\n  {body}", one.line())
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    POST /api/chat.postMessage 🔴 CRITICAL cart: more errors than usual (6 blocks)
      {"channel":"C01","metadata":{"event_payload":{"incident":"00c0ffee00c0ffee","key":"00c0ffee00c0ffee/1/slack"},"event_type":"sigyn_notification"},"unfurl_links":false,"unfurl_media":false}
    POST /api/chat.update 🔴 WORSE, CRITICAL cart: more errors than usual (6 blocks)
      {"channel":"C01","metadata":{"event_payload":{"incident":"00c0ffee00c0ffee","key":"00c0ffee00c0ffee/2/slack"},"event_type":"sigyn_notification"},"ts":"1.5","unfurl_links":false,"unfurl_media":false}
    POST /api/chat.postMessage 🔴 WORSE, CRITICAL cart: more errors than usual (4 blocks)
      {"channel":"C01","metadata":{"event_payload":{"incident":"00c0ffee00c0ffee","key":"00c0ffee00c0ffee/2/slack"},"event_type":"sigyn_notification"},"reply_broadcast":true,"thread_ts":"1.5","unfurl_links":false,"unfurl_media":false}
    POST /api/chat.update 🟢 RESOLVED cart: more errors than usual (6 blocks)
      {"channel":"C01","metadata":{"event_payload":{"incident":"00c0ffee00c0ffee","key":"00c0ffee00c0ffee/3/slack"},"event_type":"sigyn_notification"},"ts":"1.5","unfurl_links":false,"unfurl_media":false}
    POST /api/chat.postMessage 🟢 RESOLVED cart: more errors than usual (4 blocks)
      {"channel":"C01","metadata":{"event_payload":{"incident":"00c0ffee00c0ffee","key":"00c0ffee00c0ffee/3/slack"},"event_type":"sigyn_notification"},"reply_broadcast":false,"thread_ts":"1.5","unfurl_links":false,"unfurl_media":false}
    "#);
}

#[tokio::test]
async fn a_message_that_is_gone_is_made_anew() {
    let gone = "{\"ok\":false,\"error\":\"message_not_found\"}";
    let (stub, url) = stub::Stub::start(&[(200, gone), (200, MADE)]).await;
    let earlier = Receipt { id: Some("C01/0.1".to_owned()), url: None };
    let made = bot(&url).send(&fixture::notification(fixture::resolved(), "slack"), Some(&earlier)).await.unwrap();
    assert_eq!(made.id.as_deref(), Some("C01/1.5"));
    assert_eq!(stub.asked().len(), 2);
}

#[tokio::test]
async fn refused_blocks_of_a_bot_are_sent_as_text() {
    let (stub, url) = stub::Stub::start(&[(200, "{\"ok\":false,\"error\":\"invalid_blocks\"}"), (200, MADE)]).await;
    bot(&url).send(&fixture::notification(fixture::opened(), "slack"), None).await.unwrap();
    assert_eq!(stub.asked()[1].json().get("blocks"), None);
}

#[tokio::test]
async fn what_slack_says_to_a_bot_is_judged() {
    let said = stub::judged(
        bot,
        &[
            (429, "ECHO"),
            (503, "ECHO"),
            (200, "no json"),
            (200, "{\"ok\":false,\"error\":\"ratelimited\"}"),
            (200, "{\"ok\":false,\"error\":\"internal_error\"}"),
            (200, "{\"ok\":false,\"error\":\"invalid_auth\"}"),
            (200, "{\"ok\":false,\"error\":\"not_in_channel\"}"),
            (200, "{\"ok\":false,\"error\":\"channel_not_found\"}"),
            (200, "{\"ok\":false,\"error\":\"is_archived\"}"),
            (200, "{\"ok\":false,\"error\":\"something_new\"}"),
        ],
    )
    .await;
    assert!(!said.contains(TOKEN), "{said}");
    insta::assert_snapshot!(said, @r#"
    429: retry rate_limited Some(7s): chat.postMessage at Slack for channel C01: answered 429 "/api/chat.postMessage Bearer [secret] {blocks:[{text:{emoji:false,te"
    503: retry server None: chat.postMessage at Slack for channel C01: answered 503 "/api/chat.postMessage Bearer [secret] {blocks:[{text:{emoji:false,te"
    200: retry bad_answer None: chat.postMessage at Slack for channel C01: answered "no json"
    200: retry rate_limited None: chat.postMessage at Slack for channel C01: answered "ratelimited"
    200: retry server None: chat.postMessage at Slack for channel C01: answered "internal_error"
    200: give up unauthorized: chat.postMessage at Slack for channel C01: answered "invalid_auth"; the token is wrong, revoked or expired: install the app again and set notify.slack.bot_token
    200: give up forbidden: chat.postMessage at Slack for channel C01: answered "not_in_channel"; the bot is not in the channel: invite it there, or give it chat:write.public
    200: give up not_found: chat.postMessage at Slack for channel C01: answered "channel_not_found"; the bot sees no such channel: set notify.slack.channel to its id and invite the bot
    200: give up archived: chat.postMessage at Slack for channel C01: answered "is_archived"; the channel is archived: bring it back or set another notify.slack.channel
    200: give up refused: chat.postMessage at Slack for channel C01: answered "something_new"; the workspace does not take it: check notify.slack.channel and the rules of the workspace
    "#);
}
