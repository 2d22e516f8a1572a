//! Stopping, reloading, and the probes of the real daemon.

use std::time::Duration;

use log_generator::loki::{Endpoint, Fault, Faults, When};
use reqwest::Method;
use sigyn::app::clock::Clock;
use sigyn::engine::CommandKind;
use sigyn::incident::State;
use sigyn::store::Store;
use sigyn::telemetry::METRICS;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::child::{Daemon, SERVED, until};
use crate::shop::{place, shop, standin};

/// Settings with one watch of this name.
fn settings(watch: &str) -> String {
    format!("watches:\n  - name: {watch}\n    query: '{{env=\"demo\"}}'\n")
}

/// Waits until the only watch has this name and has been read.
async fn watches(daemon: &mut Daemon, name: &str) {
    until(&format!("watch {name}"), async || {
        let (status, body) = daemon.get("/readyz").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        (status == 200 && body["watches"].as_array()?.len() == 1 && body["watches"][0]["name"] == name).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_in_time_while_loki_gives_no_answer() {
    let loki = standin();
    let hang = Fault::NoAnswer(Duration::from_secs(60));
    loki.set_faults(Faults::rule(hang, Endpoint::Any, When::Always));
    let place = place(&loki.url());
    let daemon = place.start(&["run"]);
    until("a request", async || (loki.counters().faults > 0).then_some(())).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_in_time_while_it_starts() {
    let loki = shop().loki();
    let place = shop().place(&loki);
    for _ in 0..5 {
        let mut daemon = place.start(&["run"]);
        // From here on it reads what is stored, and starts its parts.
        daemon.says(SERVED).await;
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_in_time_while_a_receiver_gives_no_answer() {
    let loki = shop().loki();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", silent.local_addr().unwrap());
    let place = shop().place(&loki).set("SLACK_WEBHOOK_URL", url);
    let daemon = place.start(&["run"]);
    let (mut caller, _) = silent.accept().await.unwrap();
    assert!(caller.read(&mut [0; 1024]).await.unwrap() > 0);
    let said = daemon.stop().await;
    assert!(said.contains("stopped; everything is stored"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_in_the_middle_of_catching_up_and_goes_on_where_it_was() {
    let loki = shop().loki();
    let place = shop().place(&loki);
    let mut daemon = place.start(&["run"]);
    until("lines", async || (daemon.metric("sigyn_lines_total").await > 0.0).then_some(())).await;
    let said = daemon.stop().await;
    assert!(said.contains("stopped; everything is stored"), "{said}");
    let mut daemon = place.start(&["run"]);
    daemon.says("goes on where it was").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ill_before_a_restart_is_told_to_be_well_again() {
    let loki = shop().loki();
    let place = shop().place(&loki);
    assert_eq!(place.run(&["once"]).code, Some(0));
    // As a daemon leaves it that was killed while it was behind.
    let store = Store::open(&place.data()).await.unwrap();
    let (problem, on, detail) = ("lag".to_owned(), "shop".to_owned(), "far behind".to_owned());
    let lag = CommandKind::Internal { problem, on, firing: true, since: None, detail };
    store.append_command(&lag, Clock::real().now()).await.unwrap();
    store.close().await.unwrap();

    let daemon = place.start(&["run"]);
    let store = until("the store", async || Store::open_read_only(&place.data()).await.ok()).await;
    until("the end of the lag", async || {
        let over = store.incidents(Some(State::Resolved), 1000, None).await.unwrap();
        over.iter().any(|incident| incident.title == "sigyn: falls behind (shop)").then_some(())
    })
    .await;
    store.close().await.unwrap();
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_settings_are_taken_over_and_bad_ones_change_nothing() {
    let loki = standin();
    let place = place(&loki.url());
    place.file("settings.yaml", &settings("first"));
    let mut daemon = place.start(&["run"]);
    watches(&mut daemon, "first").await;

    daemon.signal("HUP");
    daemon.says("settings from settings.yaml: taking them over").await;
    watches(&mut daemon, "first").await;

    // Nobody has to say that the file is new.
    place.file("settings.yaml", &settings("second"));
    watches(&mut daemon, "second").await;

    place.file("settings.yaml", "watchez: []\n");
    let (status, text) = daemon.ask(Method::POST, "/-/reload").await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("watchez: no such key; did you mean `watches`?"), "{text}");
    daemon.signal("HUP");
    daemon.says("the old settings stay").await;
    watches(&mut daemon, "second").await;
    assert!(daemon.metric("sigyn_config_reload_success").await < 0.5);

    // Without a mistake, but nothing can be started with them.
    place.file("settings.yaml", &format!("{}store: {{url: 'postgres://127.0.0.1:1/none'}}\n", settings("nowhere")));
    daemon.says("the new settings cannot be used, the old ones are taken again: ").await;
    watches(&mut daemon, "second").await;
    assert!(daemon.metric("sigyn_config_reload_success").await < 0.5);

    place.file("settings.yaml", &settings("third"));
    let (status, text) = daemon.ask(Method::POST, "/-/reload").await;
    assert_eq!(status, 200, "{text}");
    watches(&mut daemon, "third").await;
    assert!(daemon.metric("sigyn_config_reload_success").await > 0.5);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_say_how_it_is() {
    let loki = standin();
    loki.set_faults(Faults::rule(Fault::Status(503, "warming up".to_owned()), Endpoint::Any, When::Always));
    let place = place(&loki.url());
    let mut daemon = place.start(&["run"]);
    until("the failure in /readyz", async || {
        let (status, body) = daemon.get("/readyz").await;
        assert_eq!(status, 503, "{body}");
        body.contains("warming up").then_some(())
    })
    .await;
    assert_eq!(daemon.get("/healthz").await, (200, "ok\n".to_owned()));
    loki.set_faults(Faults::default());
    until("ready", async || (daemon.get("/readyz").await.0 == 200).then_some(())).await;

    let (status, text) = daemon.get("/metrics").await;
    assert_eq!(status, 200);
    let shown = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let shown: Vec<&str> =
        shown.filter_map(|line| line.split(' ').next()).filter(|name| name.starts_with("sigyn_")).collect();
    for name in &shown {
        assert!(METRICS.iter().any(|metric| metric.name == *name), "{name} is not in the table of metrics");
    }
    for name in ["sigyn_build_info", "sigyn_lines_total", "sigyn_lag_seconds", "sigyn_requests_total"] {
        assert!(shown.contains(&name), "{name} is not in {shown:?}");
    }
    daemon.stop().await;
}
