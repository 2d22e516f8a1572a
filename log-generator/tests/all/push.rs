use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use log_generator::push::{Error, Pace, Pusher};
use log_generator::{Generator, Plan};
use serde_json::Value;

use crate::{quiet, records};

/// What a receiver got, and the answers it gives before it says 204.
#[derive(Default)]
struct Got {
    bodies: Vec<Value>,
    tenants: Vec<String>,
    answers: Vec<StatusCode>,
}

type Shared = Arc<Mutex<Got>>;

async fn take(State(got): State<Shared>, headers: HeaderMap, body: String) -> (StatusCode, &'static str) {
    let mut got = got.lock().unwrap();
    if let Some(status) = got.answers.pop() {
        return (status, "told to");
    }
    assert!(body.len() < 1_200_000);
    got.bodies.push(serde_json::from_str(&body).unwrap());
    got.tenants.push(headers.get("x-scope-orgid").map_or(String::new(), |id| id.to_str().unwrap().to_owned()));
    (StatusCode::NO_CONTENT, "")
}

async fn receiver(answers: &[StatusCode]) -> (String, Shared) {
    let got: Shared = Arc::new(Mutex::new(Got { answers: answers.to_vec(), ..Got::default() }));
    let app = Router::new().route("/loki/api/v1/push", post(take)).with_state(Arc::clone(&got));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, got)
}

fn lines(got: &Shared) -> Vec<(i64, String, String)> {
    let got = got.lock().unwrap();
    let mut lines = Vec::new();
    for stream in got.bodies.iter().flat_map(|body| body["streams"].as_array().unwrap()) {
        let labels = &stream["stream"];
        assert_eq!(labels["service_name"], labels["app"]);
        assert_eq!(labels["env"], "demo");
        for value in stream["values"].as_array().unwrap() {
            let ts = value[0].as_str().unwrap().parse().unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            lines.push((ts, text(&labels["pod"]), text(&value[1])));
        }
    }
    lines.sort();
    lines
}

fn plan() -> Plan {
    Plan { rate: 200.0, faults: Plan::default().faults, ..quiet(1, 200.0) }
}

#[tokio::test]
async fn what_is_pushed_arrives_once_through_429_and_503() {
    let (url, got) = receiver(&[StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]).await;
    let pusher = Pusher::new(&format!("{url}/"), Some("shop")).unwrap();
    let report = pusher.run(&mut Generator::new(&plan()), Pace::none(), std::future::pending()).await.unwrap();
    let expected: Vec<_> = records(&plan()).into_iter().map(|r| (r.ts, r.stream.pod.clone(), r.line)).collect();
    assert_eq!(lines(&got), expected);
    assert_eq!((report.lines, report.retries, report.stopped), (expected.len() as u64, 2, false));
    assert_eq!(report.last, expected.last().unwrap().0);
    assert!(report.batches >= report.lines / 1000);
    assert!(got.lock().unwrap().tenants.iter().all(|tenant| tenant == "shop"));
}

#[tokio::test]
async fn a_refusal_ends_it_with_loki_s_words() {
    let (url, _) = receiver(&[StatusCode::BAD_REQUEST]).await;
    let pusher = Pusher::new(&url, None).unwrap();
    let error = pusher.run(&mut Generator::new(&plan()), Pace::none(), std::future::pending()).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { status: 400, text, .. } if text == "told to"), "{error}");
}

#[tokio::test]
async fn old_lines_go_at_once_and_new_ones_wait_until_stopped() {
    let (url, got) = receiver(&[]).await;
    let plan = plan();
    // Half of the lines are history; the rest would take half a minute.
    let origin = plan.start + 30_000_000_000;
    let history = records(&plan).iter().filter(|line| line.ts <= origin).count();
    let stop = async {
        while lines(&got).len() < history {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let pusher = Pusher::new(&url, None).unwrap();
    let report = pusher.run(&mut Generator::new(&plan), Pace::from_now(origin, 1.0), stop).await.unwrap();
    assert!(report.stopped && report.lines >= history as u64 && report.lines < history as u64 + 3000, "{report:?}");
    assert_eq!(report.lines, lines(&got).len() as u64);
}
