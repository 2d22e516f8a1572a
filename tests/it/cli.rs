//! What the binary says when something is wrong, and how it ends.

use axum::Router;
use axum::http::StatusCode;
use log_generator::loki::{Loki, Options};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::child::{Ended, Place};
use crate::shop::{place, shop};

/// All that a person sees, without what differs from run to run.
fn seen(place: &Place, ended: &Ended) -> String {
    let code = ended.code.map_or("killed".to_owned(), |code| code.to_string());
    let text = format!("{}{}exit {code}", ended.stdout, ended.stderr);
    let text = text.replace(place.folder().to_str().unwrap(), "[folder]");
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").unwrap();
    let port = regex::Regex::new(r"127\.0\.0\.1:\d+").unwrap();
    port.replace_all(&time.replace_all(&text, "[time]"), "127.0.0.1:[port]").into_owned()
}

/// A port that nobody listens on.
async fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A server that lets nobody in.
async fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(async || (StatusCode::UNAUTHORIZED, r#"{"message": "Bad credentials"}"#));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[test]
fn all_mistakes_in_a_file_at_once() {
    let place = Place::new();
    place.file(
        "sigyn.yaml",
        "detect:\n  window: 1 parsec\ncollect:\n  interval: -5s\nlokki: {}\nloki:\n  urll: http://x\n",
    );
    let ended = place.run(&["check"]);
    insta::assert_snapshot!(seen(&place, &ended), @"");
    assert_eq!(seen(&place, &place.run(&["once"])), seen(&place, &ended));
}

#[test]
fn a_mistake_in_the_environment() {
    let place = Place::new().set("SIGYN__COLLECT__INTERVALL", "1s").set("WINDOW_SIZE", "none");
    insta::assert_snapshot!(seen(&place, &place.run(&["check"])), @"");
}

#[test]
fn a_settings_file_that_is_not_there() {
    let place = Place::new();
    insta::assert_snapshot!(seen(&place, &place.run(&["once", "--config", "none.yaml"])), @"");
}

#[test]
fn wrong_usage() {
    let place = Place::new();
    insta::assert_snapshot!(seen(&place, &place.run(&["once", "--outputt", "json"])), @"");
}

#[test]
fn good_settings() {
    let place = Place::new();
    insta::assert_snapshot!(seen(&place, &place.run(&["check"])), @"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loki_that_cannot_be_reached() {
    let place = place(&closed().await);
    insta::assert_snapshot!(seen(&place, &place.run(&["once"])), @"");
    let place = Place::new().set("LOKI_URL", closed().await);
    insta::assert_snapshot!(seen(&place, &place.run(&["once"])), @"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loki_that_lets_nobody_in() {
    let place = place(&refusing().await).set("SIGYN__LOKI__BEARER_TOKEN", "wrong");
    insta::assert_snapshot!(seen(&place, &place.run(&["once"])), @"");
}

#[test]
fn a_loki_with_tenants() {
    let loki = Loki::start(Options { auth_enabled: true, ..Options::default() }).unwrap();
    let place = place(&loki.url());
    insta::assert_snapshot!(seen(&place, &place.run(&["once"])), @"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_github_that_lets_nobody_in() {
    let loki = shop().loki();
    let place = shop()
        .place(&loki)
        .set("SIGYN__TELEMETRY__LOG", "error")
        .set("GITHUB_TOKEN", "wrong")
        .set("GITHUB_REPO", "acme/shop")
        .set("GITHUB_API_URL", refusing().await);
    let ended = place.run(&["once", "--output", "json"]);
    let said = seen(&place, &ended);
    let key = regex::Regex::new(r"key=\S+").unwrap();
    let line = said.lines().find(|line| line.contains("is given up")).unwrap_or(&said);
    insta::assert_snapshot!(key.replace(line, "key=[key]"), @"");
    // What was found is found, and the rest of the world was told.
    assert_eq!(ended.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_finds_and_says_so_as_json() {
    let loki = shop().loki();
    let place = shop().place(&loki);
    let ended = place.run(&["once", "--exit-code", "--output", "json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(ended.stdout.lines().all(|line| line.starts_with(r#"{"type":""#)), "{}", ended.stdout);
    let count = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert!(count("anomaly") > 0 && count("incident") > 0 && count("summary") == 1);
    let summary = lines.last().unwrap();
    for field in ["lines", "windows", "anomalies", "incidents", "lines_per_second", "peak_rss_bytes"] {
        assert!(summary[field].as_f64().is_some_and(|value| value > 0.0), "{field} in {summary}");
    }
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["anomalies"], count("anomaly"));

    // Nothing is told twice.
    let ended = place.run(&["once", "--exit-code"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.starts_with("going on where the last run ended"), "{}", ended.stdout);
}
