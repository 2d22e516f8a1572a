//! Watches that are taken out of the settings while something is open there.

use log_generator::loki::Loki;
use serde_json::Value;
use sigyn::app::clock::Clock;
use sigyn::app::demo::receivers::Receivers;
use sigyn::engine::CommandKind;
use sigyn::incident::{Incident, State};
use sigyn::store::Store;
use sigyn::time::{HOUR, MINUTE, Nanos, SECOND};
use tokio_util::sync::CancellationToken;

use crate::child::{Place, until};
use crate::shop::{place, standin};

const TEXT: &str = "the watch was taken out of the settings";

/// Settings with one watch.
pub(crate) fn settings(name: &str, query: &str) -> String {
    format!("watches:\n  - name: {name}\n    query: '{query}'\nincident:\n  keep_firing_for: 1h\n")
}

/// A Loki in which a service fails at this very moment.
pub(crate) fn failing() -> Loki {
    let loki = standin();
    let now = Clock::real().now();
    let mut at = now - 4 * HOUR;
    while at < now + 10 * MINUTE {
        let bad = at > now - 4 * MINUTE && at < now - MINUTE;
        let line = if bad { "level=error msg=\"refused\"" } else { "level=info msg=\"done\"" };
        loki.push(&[("env", "demo"), ("service_name", "cart")], at, format!("{line} n={}", at / SECOND));
        at += SECOND;
    }
    loki
}

/// A place where the failure was found.
fn found(loki: &Loki) -> Place {
    let place = place(&loki.url());
    place.file("settings.yaml", &settings("shop", "{env=\"demo\"}"));
    let ended = place.run(&["once", "--lookback", "4h", "--exit-code"]);
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    place
}

/// The incidents of the watch in this state, and those about sigyn itself.
async fn incidents(place: &Place, state: State) -> Vec<Incident> {
    let store = Store::open_read_only(&place.data()).await.unwrap();
    let incidents = store.incidents(Some(state), 100, None).await.unwrap();
    store.close().await.unwrap();
    incidents
}

/// What `once` tells of incidents.
fn told(place: &Place) -> Vec<(String, String)> {
    let ended = place.run(&["once", "--output", "json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    lines
        .filter(|line| line["type"] == "incident")
        .map(|line| (text(&line, "watch"), text(&line, "transition")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_the_watch_closes_what_is_open_there() {
    let loki = failing();
    let place = found(&loki);
    let open = incidents(&place, State::Firing).await;
    assert_eq!(open.len(), 1, "{open:?}");
    // As a daemon leaves it that was stopped while it could not read.
    let store = Store::open(&place.data()).await.unwrap();
    let (problem, on, detail) = ("lag".to_owned(), "shop".to_owned(), "far behind".to_owned());
    let lag = CommandKind::Internal { problem, on, firing: true, since: None, detail };
    store.append_command(&lag, Clock::real().now()).await.unwrap();
    store.close().await.unwrap();
    told(&place);

    place.file("settings.yaml", &settings("other", "{env=\"none\"}"));
    let resolved = |watch: &str| (watch.to_owned(), "resolved".to_owned());
    assert_eq!(told(&place), [resolved("shop"), resolved("sigyn")]);
    assert_eq!(incidents(&place, State::Firing).await, []);
    for incident in incidents(&place, State::Resolved).await {
        assert_eq!(incident.detail, Some(format!("withdrawn: {TEXT}")));
        assert!(incident.resolved_at > Some(open[0].last_seen));
    }
    // It is told once, and nothing of it comes back with the watch.
    assert_eq!(told(&place), []);
    place.file("settings.yaml", &settings("shop", "{env=\"demo\"}"));
    assert_eq!(told(&place), []);
    assert_eq!(incidents(&place, State::Firing).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_looks_elsewhere_closes_what_it_had_open() {
    let loki = failing();
    let place = found(&loki);
    place.file("settings.yaml", &settings("shop", "{env=\"none\"}"));
    assert_eq!(told(&place), [("shop".to_owned(), "resolved".to_owned())]);
    let over = incidents(&place, State::Resolved).await;
    assert_eq!(over[0].detail.as_deref(), Some("withdrawn: the watch has another query or org_id now"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_without_the_watch_closes_what_is_open_there_and_says_so() {
    let loki = failing();
    let receivers = Receivers::start(CancellationToken::new()).await.unwrap();
    let place = found(&loki).set("SLACK_WEBHOOK_URL", receivers.slack_url());
    let mut daemon = place.start(&["run"]);
    daemon.says("goes on where it was").await;
    place.file("settings.yaml", &settings("other", "{env=\"none\"}"));
    daemon.signal("HUP");
    let closed: Nanos = until("the end of the incident", async || {
        incidents(&place, State::Resolved).await.first().and_then(|incident| incident.resolved_at)
    })
    .await;
    assert!(closed <= Clock::real().now());
    until("the message", async || {
        let posted = receivers.posted().messages;
        posted.iter().any(|message| message.to_string().contains(TEXT)).then_some(())
    })
    .await;
    daemon.stop().await;
}
