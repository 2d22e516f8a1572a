//! Against a stub, and against the real program.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::notify::fixture;
use crate::notify::receiver::stub::{HUSH, Stub, judged, send};
use crate::time::{HOUR, MINUTE, SECOND};

fn at(url: &str) -> Alertmanager {
    let auth = AuthConfig { bearer_token: Some(Secret::new(HUSH)), ..Default::default() };
    let config = AlertmanagerConfig { urls: vec![url.to_owned()], auth, ..Default::default() };
    Alertmanager::new(&config, Setup::of("notify.receivers[0].alertmanager"))
}

#[tokio::test]
async fn tells_every_one_of_a_cluster() {
    let ((one, first), (two, second)) = (Stub::start(&[]).await, Stub::start(&[]).await);
    let (gone, third) = Stub::start(&[(503, "")]).await;
    let config = AlertmanagerConfig { urls: vec![first, third, second], ..Default::default() };
    let cluster = Alertmanager::new(&config, Setup::of("notify.receivers[0].alertmanager"));
    let notification = fixture::notification(fixture::opened(), "am");
    let error = send(&cluster, &notification, None).await.unwrap_err();
    assert!(matches!(error, SendError::Retry { reason: "server", .. }), "{error:?}");
    send(&cluster, &notification, None).await.unwrap();
    assert_eq!([one.asked().len(), two.asked().len(), gone.asked().len()], [2, 2, 2]);
    assert_eq!(one.asked()[0].line(), "POST /api/v2/alerts");
    insta::assert_snapshot!(serde_json::to_string_pretty(&one.asked()[0].json()).unwrap().replace('\u{200b}', "·"), @r#"
    [
      {
        "annotations": {
          "dashboard_url": "https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D",
          "description": "When: since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█\nWhere: {service_name=\"cart\"} · cluster=eu-1\nWhy: errors 48, expected 0 to 3; most of them \"payment gateway timeout\", never seen before (71 % of the score)\nand: different messages 131, expected 20 to 42.5 (19 % of the score)\nIn common: all 48 errors from pod=cart-7; 12 % of the other lines\nHow sure: score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)",
          "owner": "team-shop",
          "runbook_url": "https://wiki.example.com/cart?a=1&b=2",
          "samples": "22:02:01Z level=error msg=\"payment gateway timeout\" order=<*>\n22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)\n22:02:30Z level=warn msg=\"retrying\" attempt=‹3›",
          "summary": "cart: more errors than usual"
        },
        "endsAt": "2026-11-21T23:03:00Z",
        "generatorURL": "https://sigyn.example.com/incidents/00c0ffee00c0ffee",
        "labels": {
          "alertname": "more errors than usual",
          "cluster": "eu-1",
          "incident": "00c0ffee00c0ffee",
          "service_name": "cart",
          "severity": "critical",
          "watch": "shop"
        },
        "startsAt": "2026-11-20T22:00:00Z"
      }
    ]
    "#);
}

#[test]
fn a_severity_that_was_left_behind_ends() {
    let mut transition = fixture::continued();
    transition.kind = TransitionKind::Escalated;
    let notification = fixture::notification(transition, "am");
    let alerts = render(&notification, &message(&notification), HOUR);
    let short: Vec<String> = alerts
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["labels"]["severity"], one["endsAt"]))
        .collect();
    insta::assert_snapshot!(short.join("\n"), @r#"
    "critical" "2026-11-20T23:33:00Z"
    "info" "2026-11-20T22:33:00Z"
    "warning" "2026-11-20T22:33:00Z"
    "#);
}

#[tokio::test]
async fn answers_are_judged() {
    insta::assert_snapshot!(judged(at, &[(200, ""), (503, "ECHO"), (401, "ECHO"), (400, "\"bad\"")]).await, @r#"
    200: taken Receipt { id: Some("00c0ffee00c0ffee"), url: None }
    503: retry server None: sending an alert to the Alertmanager at 127.0.0.1: answered 503 "/api/v2/alerts Bearer [secret] [{annotations:{dashboard_url:h"
    401: give up unauthorized: sending an alert to the Alertmanager at 127.0.0.1: answered 401 "/api/v2/alerts Bearer [secret] [{annotations:{dashboard_url:h"; the key is wrong, revoked or expired: set a new one under notify.receivers[0].alertmanager
    400: give up refused: sending an alert to the Alertmanager at 127.0.0.1: answered 400 "\"bad\""; it does not take the message: check the address and the other keys under notify.receivers[0].alertmanager
    "#);
}

/// The program, ended when it goes.
struct Program {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A real Alertmanager on a free port; `None` where it is not installed.
async fn real() -> Option<(Program, String)> {
    let name = ["prometheus-alertmanager", "alertmanager"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok());
    let Some(name) = name else {
        assert!(std::env::var_os("CI").is_none(), "CI needs the package prometheus-alertmanager");
        println!("SKIPPED: prometheus-alertmanager is not installed");
        return None;
    };
    // A port that is free now may be another's by the time that the program listens.
    for _ in 0..3 {
        let (mut program, url) = start(name);
        while program.child.try_wait().unwrap().is_none() {
            if reqwest::get(format!("{url}/-/ready")).await.is_ok_and(|answer| answer.status().is_success()) {
                return Some((program, url));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
    panic!("{name} ended before it was ready");
}

fn start(name: &str) -> (Program, String) {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("am.yml");
    std::fs::write(&settings, "route: {receiver: none}\nreceivers: [{name: none}]\n").unwrap();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new(name)
        .arg(format!("--config.file={}", settings.display()))
        .arg(format!("--storage.path={}", folder.path().display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Program { child, _folder: folder }, format!("http://{address}"))
}

/// What it shows of itself: severities and states of the alerts.
async fn firing(url: &str) -> Vec<String> {
    let answer = reqwest::get(format!("{url}/api/v2/alerts")).await.unwrap().text().await.unwrap();
    let alerts: Vec<Value> = serde_json::from_str(&answer).unwrap();
    let mut shown: Vec<String> = alerts
        .iter()
        .map(|alert| {
            format!(
                "{} {}",
                alert["labels"]["severity"].as_str().unwrap(),
                alert["labels"]["incident"].as_str().unwrap()
            )
        })
        .collect();
    shown.sort();
    shown
}

#[expect(clippy::disallowed_methods, reason = "the program compares with its own clock")]
fn now() -> Nanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Nanos::try_from(since.as_nanos()).unwrap()
}

#[tokio::test]
async fn the_real_one_fires_escalates_and_resolves() {
    let Some((_program, url)) = real().await else { return };
    let receiver = at(&url);
    let mut transition = fixture::hostile("<b>\"}\n{{ .Labels }}");
    transition.incident.severity = Severity::Warning;
    transition.incident.started_at = now() - 5 * MINUTE;
    transition.at = now() - SECOND;
    send(&receiver, &fixture::notification(transition.clone(), "am"), None).await.unwrap();
    assert_eq!(firing(&url).await, ["warning 00c0ffee00c0ffee"]);
    transition.kind = TransitionKind::Escalated;
    transition.incident.severity = Severity::Critical;
    for _ in 0..2 {
        send(&receiver, &fixture::notification(transition.clone(), "am"), None).await.unwrap();
    }
    assert_eq!(firing(&url).await, ["critical 00c0ffee00c0ffee"]);
    transition.kind = TransitionKind::Resolved;
    transition.incident.resolved_at = Some(transition.at);
    send(&receiver, &fixture::notification(transition, "am"), None).await.unwrap();
    assert_eq!(firing(&url).await, [""; 0]);
}
