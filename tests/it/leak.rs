//! Secrets stay secret, whatever fails: nothing of them is in any output or file.

use std::path::Path;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use crate::child::{Place, until};
use crate::shop::shop;

const TOKEN: &str = "ghp_TopSecretToken123456";
const PASSWORD: &str = "PasswordThatNobodyReads";
const BEARER: &str = "BearerThatNobodyReads";
const HOOK: &str = "T0SECRET/B0SECRET/xyzzyXyzzyXyzzy";
const HEADER: &str = "HeaderThatNobodyReads";
/// What must not be found, such as a part of the webhook or the password as it stands in a header (base64).
const FORBIDDEN: [&str; 10] = [
    TOKEN,
    PASSWORD,
    BEARER,
    HEADER,
    "B0SECRET",
    "xyzzyXyzzy",
    "YXNzd29yZFRoYXROb2JvZHlSZWFk",
    "ann.lee@",
    "4111 1111",
    "customer-0815",
];
/// A line with personal data, and how it may be shown.
const LINE: &str = "ERROR cannot charge ann.lee@example.com card 4111 1111 1111 1111 of customer-0815";
const SHOWN: &str = "cannot charge [masked] card [masked] of [masked]";

/// A server that refuses everything and echoes what it was asked, as proxies like to do.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let refuse = async |uri: Uri, headers: axum::http::HeaderMap| {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        (StatusCode::UNAUTHORIZED, format!("no entry for {sent} to {uri}")).into_response()
    };
    let router = Router::new().fallback(refuse);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn clean(what: &str, text: &[u8]) {
    for secret in FORBIDDEN {
        let found = text.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "{secret} is in {what}:\n{}", String::from_utf8_lossy(text));
    }
}

fn clean_folder(folder: &Path) {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            clean_folder(&path);
        } else {
            files += 1;
            clean(&path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }
    assert!(files > 0, "no files in {}", folder.display());
}

fn with_secrets(place: Place, url: &str) -> Place {
    place
        .set("SIGYN__TELEMETRY__LOG", "trace,octocrab=trace")
        .set("SLACK_WEBHOOK_URL", format!("{url}/services/{HOOK}"))
        .set("GITHUB_TOKEN", TOKEN)
        .set("GITHUB_REPO", "acme/shop")
        .set("GITHUB_API_URL", format!("{url}/api/v3"))
        .set("SIGYN__NOTIFY__RECEIVERS", receivers(url))
}

/// Every kind that has a secret, all at the same server.
fn receivers(url: &str) -> String {
    let port = url.rsplit(':').next().unwrap();
    let (login, hook) = (format!(r#"{{"username": "someone", "password": "{PASSWORD}"}}"#), format!("{url}/{HOOK}"));
    [
        format!(r#""bot", "slack": {{"bot_token": "{TOKEN}", "channel": "C1", "api_url": "{url}"}}"#),
        format!(r#""mail", "email": {{"host": "127.0.0.1", "port": {port}, "username": "someone", "password": "{PASSWORD}", "from": "a@b.example", "to": ["a@b.example"]}}"#),
        format!(r#""teams", "teams": {{"webhook_url": "{hook}"}}"#),
        format!(r#""pager", "pagerduty": {{"routing_key": "{TOKEN}", "api_url": "{url}"}}"#),
        format!(r#""opsgenie", "opsgenie": {{"api_key": "{TOKEN}", "api_url": "{url}"}}"#),
        format!(r#""discord", "discord": {{"webhook_url": "{hook}"}}"#),
        format!(r#""telegram", "telegram": {{"bot_token": "1:{TOKEN}", "chat_id": "1", "api_url": "{url}"}}"#),
        format!(r#""sms", "sms": {{"to": "+49", "twilio": {{"account_sid": "someone", "auth_token": "{PASSWORD}", "from": "+1", "api_url": "{url}"}}}}"#),
        format!(r#""hook", "webhook": {{"url": "{hook}", "signing_key": "{TOKEN}", "auth": {{"bearer_token": "{BEARER}", "headers": {{"x-key": "{HEADER}"}}}}}}"#),
        format!(r#""alertmanager", "alertmanager": {{"urls": ["{url}"], "auth": {login}}}"#),
        format!(r#""grafana", "grafana": {{"url": "{url}", "token": "{TOKEN}"}}"#),
        format!(r#""loki", "loki": {{"url": "{url}", "auth": {login}}}"#),
    ]
    .map(|entry| format!(r#"{{"name": {entry}}}"#))
    .join(",")
    .replacen('{', "[{", 1)
        + "]"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_message_to_receivers_that_echo() {
    let url = echo().await;
    let place = with_secrets(Place::new(), &url);
    let ended = place.run(&["notify", "test"]);
    clean("standard output", ended.stdout.as_bytes());
    clean("standard error", ended.stderr.as_bytes());
    let failed = ended.stdout.lines().filter(|line| line.contains("FAILED")).count();
    assert!(failed == 14 && ended.stderr.contains("14 of 14 receivers"), "{}{}", ended.stdout, ended.stderr);
    let unknown = place.run(&["notify", "test", "nobody"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("no receiver is called `nobody`; the settings have: slack, github, bot"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loki_that_echoes_what_it_got() {
    let url = echo().await;
    let with_user = url.replacen("http://", &format!("http://someone:{PASSWORD}@"), 1);
    for place in [
        Place::new()
            .set("LOKI_URL", &url)
            .set("SIGYN__LOKI__USERNAME", "someone")
            .set("SIGYN__LOKI__PASSWORD", PASSWORD),
        Place::new().set("LOKI_URL", &url).set("SIGYN__LOKI__BEARER_TOKEN", BEARER),
        Place::new().set("LOKI_URL", &url).set("SIGYN__LOKI__HEADERS", format!(r#"{{"X-Key": "{HEADER}"}}"#)),
        Place::new().set("LOKI_URL", with_user),
    ] {
        let place = with_secrets(place, &url);
        for args in [["once", "--output", "json"].as_slice(), &["print-config"], &["check"], &["once", "--dry-run"]] {
            let ended = place.run(args);
            clean("standard output", ended.stdout.as_bytes());
            clean("standard error", ended.stderr.as_bytes());
        }
        if place.data().exists() {
            clean_folder(&place.data());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_echo_what_they_got() {
    let loki = shop().loki();
    shop().burst(&loki, LINE);
    let place = with_secrets(shop().place(&loki), &echo().await)
        .set("SIGYN__LOKI__BEARER_TOKEN", BEARER)
        .set("SIGYN__LOKI__HEADERS", format!(r#"{{"X-Key": "{HEADER}"}}"#))
        .set("SIGYN__MASK__PATTERNS", r#"["customer-[0-9]+"]"#);
    let mut daemon = place.start(&["run"]);
    until("two given up", async || {
        (daemon.metric("sigyn_deliveries_total{").await >= 3.0 && daemon.said().contains("slack")).then_some(())
    })
    .await;
    let log = place.data().join("remediation.jsonl");
    until("the line with personal data in the remediation log", async || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("cannot charge")).then_some(())
    })
    .await;
    let (_, metrics) = daemon.get("/metrics").await;
    let (_, ready) = daemon.get("/readyz").await;
    let said = daemon.stop().await;
    clean("what it said", said.as_bytes());
    clean("its metrics", (metrics + &ready).as_bytes());
    clean_folder(&place.data());
    let kept = std::fs::read(place.data().join("sigyn.db")).unwrap();
    assert!(kept.windows(SHOWN.len()).any(|part| part == SHOWN.as_bytes()), "the line is kept, masked");
    let listed = place.run(&["incident", "list", "--output", "json"]);
    clean("the list of incidents", (listed.stdout + &listed.stderr).as_bytes());
}
