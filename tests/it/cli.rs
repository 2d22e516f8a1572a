//! What the binary says when something is wrong, and how it ends.

use axum::Router;
use axum::http::StatusCode;
use log_generator::loki::{Limits, Loki, Options};
use serde_json::Value;
use sigyn::app::clock::Clock;
use sigyn::time::{MINUTE, SECOND};
use tokio::net::TcpListener;

use crate::child::{Ended, Place};
use crate::shop::{place, shop};

/// All that a person sees, without what differs from run to run.
pub(crate) fn seen(place: &Place, ended: &Ended) -> String {
    let code = ended.code.map_or("killed".to_owned(), |code| code.to_string());
    let text = format!("{}{}exit {code}", ended.stdout, ended.stderr);
    let text = text.replace(place.folder().to_str().unwrap(), "[folder]");
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").unwrap();
    let port = regex::Regex::new(r"127\.0\.0\.1:\d+").unwrap();
    // How long it took and what it used is another matter.
    let used = regex::Regex::new(r"(?m)^\S+ s, \S+ lines/s, peak memory .*\n").unwrap();
    let text = used.replace_all(&text, "");
    port.replace_all(&time.replace_all(&text, "[time]"), "127.0.0.1:[port]").into_owned()
}

/// A port that nobody listens on.
pub(crate) async fn closed() -> String {
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
    insta::assert_snapshot!(seen(&place, &ended), @"
    sigyn: 4 mistakes in the settings:
      sigyn.yaml:2:11: detect.window: `1 parsec` is no window; write a length of time from 1s (`1m`) or lines from 1 to 10000 (`20 lines`, `20 lines step 5`)
      sigyn.yaml:4:13: collect.interval: `-5s` is no duration; write it like 30s, 5m, 1h30m or 7d
      sigyn.yaml:5:1: lokki: no such key; did you mean `loki`?
      sigyn.yaml:7:3: loki.urll: no such key; did you mean `url`?
    exit 2
    ");
    assert_eq!(seen(&place, &place.run(&["once"])), seen(&place, &ended));
}

#[test]
fn a_mistake_in_the_environment() {
    let place = Place::new().set("SIGYN__COLLECT__INTERVALL", "1s").set("WINDOW_SIZE", "none");
    insta::assert_snapshot!(seen(&place, &place.run(&["check"])), @"
    sigyn: 2 mistakes in the settings:
      SIGYN__COLLECT__INTERVALL: collect.intervall: no such key; did you mean `interval`?
      WINDOW_SIZE: detect.window: `none` is no window; write a length of time from 1s (`1m`) or lines from 1 to 10000 (`20 lines`, `20 lines step 5`)
    exit 2
    ");
}

#[test]
fn a_settings_file_that_is_not_there() {
    let place = Place::new();
    insta::assert_snapshot!(seen(&place, &place.run(&["once", "--config", "none.yaml"])), @"
    sigyn: 1 mistake in the settings:
      none.yaml: cannot be read: No such file or directory (os error 2); it must exist and be readable by sigyn's user
    exit 2
    ");
}

#[test]
fn wrong_usage() {
    let place = Place::new();
    insta::assert_snapshot!(seen(&place, &place.run(&["once", "--outputt", "json"])), @"
    error: unexpected argument '--outputt' found

      tip: a similar argument exists: '--output'

    Usage: sigyn once --output <FORMAT>

    For more information, try '--help'.
    exit 2
    ");
}

#[test]
fn good_settings() {
    let place = Place::new();
    insta::assert_snapshot!(seen(&place, &place.run(&["check"])), @"
    settings are good; no watches, so all streams are watched
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    exit 0
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loki_that_cannot_be_reached() {
    let place = place(&closed().await);
    insta::assert_snapshot!(seen(&place, &place.run(&["once"])), @"
    no state in [folder]/data: learning from [time] to [time], judging what is newer
    0 lines in 0 windows: 0 anomalies, 0 incidents
    sigyn: settings from settings.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: watch `shop`: http://127.0.0.1:[port]/loki/api/v1/query cannot be reached (tcp connect error: Connection refused (os error 111)); check loki.url and that Loki listens there
    exit 1
    ");
    let place = Place::new().set("LOKI_URL", closed().await);
    insta::assert_snapshot!(seen(&place, &place.run(&["once"])), @"
    no state in [folder]/data: learning from [time] to [time], judging what is newer
    sigyn: built-in settings, as no file is named and there is no ./sigyn.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: watch `all`: http://127.0.0.1:[port]/loki/api/v1/series cannot be reached (tcp connect error: Connection refused (os error 111)); check loki.url and that Loki listens there
    exit 1
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loki_that_lets_nobody_in() {
    let place = place(&refusing().await).set("SIGYN__LOKI__BEARER_TOKEN", "wrong");
    insta::assert_snapshot!(seen(&place, &place.run(&["once"])), @r#"
    no state in [folder]/data: learning from [time] to [time], judging what is newer
    0 lines in 0 windows: 0 anomalies, 0 incidents
    sigyn: settings from settings.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: watch `shop`: http://127.0.0.1:[port]/loki/api/v1/query answered 401 Unauthorized: `{"message": "Bad credentials"}`; set loki.username and loki.password, or loki.bearer_token
    exit 1
    "#);
}

#[test]
fn a_loki_with_tenants() {
    let loki = Loki::start(Options { auth_enabled: true, ..Options::default() }).unwrap();
    let place = place(&loki.url());
    insta::assert_snapshot!(seen(&place, &place.run(&["once"])), @"
    no state in [folder]/data: learning from [time] to [time], judging what is newer
    0 lines in 0 windows: 0 anomalies, 0 incidents
    sigyn: settings from settings.yaml
    sigyn: note: neither Slack nor GitHub is set: incidents go to the remediation log only
    sigyn: watch `shop`: http://127.0.0.1:[port]/loki/api/v1/query answered 401 Unauthorized: `no org id`; set loki.org_id, or org_id of the watch: this Loki has tenants
    exit 1
    ");
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
    insta::assert_snapshot!(key.replace(line, "key=[key]"), @r#"[time] ERROR sigyn::notify::outbox: a message is given up receiver="github" key=[key] error="reading the repository on acme/shop: GitHub answered 401 \"Bad credentials\"; the token is wrong, revoked or expired: set GITHUB_TOKEN or notify.github.token_file; a fine-grained token needs \"Issues: read and write\" and \"Metadata: read\" on it, a classic one the scope `repo`""#);
    // What was found is found, and the rest of the world was told.
    assert_eq!(ended.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_finds_and_says_so_as_json() {
    let loki = shop().loki();
    let place = shop().place(&loki);
    let ended = place.run(&["once", "--exit-code", "--explain", "--output", "json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(ended.stdout.lines().all(|line| line.starts_with(r#"{"type":""#)), "{}", ended.stdout);
    let count = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert!(count("anomaly") > 0 && count("incident") > 0 && count("summary") == 1);
    let near = count("near_miss");
    assert!((1..=20).contains(&near), "{near}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_the_open_minute_are_counted_by_the_run_that_judges_them() {
    let loki = Loki::start(Options::default()).unwrap();
    let now = Clock::real().now();
    // One a second until long after now, so that each minute has 60.
    for n in 0..3000 {
        let ts = now - now % SECOND - (2400 - n) * SECOND;
        loki.push(&[("env", "demo"), ("service_name", "cart")], ts, format!("level=info msg=\"request {n} done\""));
    }
    let place = place(&loki.url());
    for minutes in [10, 1] {
        let ended = place.run(&["once", "--lookback", "40m", "--output", "json"]);
        // A busy machine may have let some more pass.
        let passed = u64::try_from((Clock::real().now() - now) / MINUTE).unwrap();
        let most = 60 * (minutes + passed);
        let summary: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
        let lines = summary["lines"].as_u64().unwrap();
        assert!(lines.is_multiple_of(60) && lines <= most, "{lines}");
        // Nothing is amiss, so nothing is said but where the settings are from and which mode it is.
        let said = ended.stderr.lines().filter(|line| !line.starts_with("sigyn: ")).count();
        assert_eq!(said, 1, "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenant_is_another_past() {
    let options = Options { auth_enabled: true, limits: Limits::any_time(), ..Options::default() };
    let loki = Loki::start(options).unwrap();
    let now = Clock::real().now();
    let lines = (0..7200).map(|n| (now - (7200 - n) * SECOND, format!("level=info msg=\"request {n} done\"")));
    loki.push_all("right", &[("env", "demo"), ("service_name", "cart")], lines);
    let mut place = place(&loki.url());
    let mut judged = |org_id: &str| {
        place.put("SIGYN__LOKI__ORG_ID", org_id);
        let ended = place.run(&["once", "--lookback", "2h", "--output", "json"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let summary: Value = serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap();
        (summary["lines"].as_u64().unwrap(), ended.stderr)
    };
    assert_eq!(judged("rihgt").0, 0);
    let (lines, said) = judged("right");
    assert!(lines > 1500, "{lines} lines, {said}");
    assert!(said.contains("it learns anew"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_comes_back_elsewhere() {
    let loki = shop().loki();
    let place = shop().place(&loki);
    let done = place.run(&["backup", "copy.gz"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.ends_with(" are in copy.gz\n"), "{}", done.stdout);
    assert_eq!(place.run(&["backup", "copy.gz"]).code, Some(1), "it is there already");
    let done = place.run(&["restore", "copy.gz", "--data-dir", "new"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(place.run(&["restore", "copy.gz", "--data-dir", "new"]).code, Some(1), "it is in use");
    let done = place.run(&["store", "check", "--data-dir", "new", "--output", "json"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let found: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((found["type"].as_str(), found["faults"].as_array().map(Vec::len)), (Some("store"), Some(0)));
    let done = place.run(&["store", "check", "--data-dir", "new"]);
    assert!(done.stdout.contains("everything can be read"), "{}", done.stdout);
}
