//! From Loki to Slack, GitHub and the remediation log with the real binary: undisturbed, with an ill Loki, and killed
//! again and again. All three must come to the same incidents.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use log_generator::loki::{Endpoint, Fault, Faults, Loki, Rule, When};
use serde_json::Value;
use sigyn::app::demo::Score;
use sigyn::app::demo::receivers::{Posted, REPO, Receivers};
use sigyn::incident::{State, Transition, TransitionKind};
use sigyn::store::{DeliveryState, Store};
use sigyn::time::Nanos;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::outcome::Outcome;
use crate::shop::{Shop, dice, shop};

/// How often the third run is killed.
const KILLS: u64 = 9;

/// A run and what was posted.
struct Run {
    kept: Outcome,
    posted: Posted,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incidents_are_told_once_with_an_ill_loki_and_after_kill_9() {
    let shop = shop();
    let (well, ill, worse) = (shop.loki(), shop.loki(), shop.loki());
    ill.set_faults(illness());
    worse.set_faults(slower(illness()));
    let (calm, ailing, killed) = tokio::join!(run(&well, 0), run(&ill, 0), run(&worse, KILLS));
    assert!(ill.counters().faults >= 10, "{:?}", ill.counters());

    let told = calm.kept.told(shop.cut_off());
    every_fault_is_told(shop, &calm);
    every_line_is_judged_once(shop, &calm);
    for (name, other) in [("an ill Loki", &ailing), ("kills", &killed)] {
        assert_eq!(told, other.kept.told(shop.cut_off()), "with {name}, other incidents");
        assert_eq!(calm.kept.windows, other.kept.windows, "with {name}, other windows");
    }
    for (name, outcome, kills) in [("calm", &calm, 0), ("an ill Loki", &ailing, 0), ("kills", &killed, KILLS)] {
        println!("{name}:");
        messages_are_on_the_wire(outcome, kills);
        issues_are_there_once(outcome);
        the_log_has_all(outcome);
        nothing_is_left_ill(outcome);
    }
}

/// A bit of everything that a Loki can suffer from; the same in every run.
fn illness() -> Faults {
    let text = |status| Fault::Status(status, "the ingester is unwell".to_owned());
    let once = |fault, endpoint, skip| Rule::new(fault, endpoint, When::After { skip, count: 1 });
    let short = Duration::from_millis(100);
    let rules = vec![
        Rule::new(Fault::Slow(Duration::from_millis(20)), Endpoint::Queries, When::Chance(0.2)),
        once(Fault::TooManyRequests, Endpoint::Queries, 2),
        once(Fault::Cut(0.5), Endpoint::QueryRange, 4),
        once(text(500), Endpoint::Queries, 9),
        once(Fault::Reset, Endpoint::Queries, 15),
        once(Fault::Cut(0.9), Endpoint::QueryRange, 9),
        once(Fault::NoAnswer(short), Endpoint::Queries, 21),
        once(text(503), Endpoint::Query, 6),
    ];
    Faults { seed: 5, rules, max_entries: Some(2000), ..Faults::default() }
}

/// So slow that reading takes some seconds and kills find it at work.
fn slower(mut faults: Faults) -> Faults {
    faults.rules[0] = Rule::new(Fault::Slow(Duration::from_millis(60)), Endpoint::Queries, When::Always);
    faults
}

/// Passes requests on at once and the answers late: what is killed meanwhile has told, and does not know.
async fn late_answers(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // An error means that another test has installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let pass = async move |request: Request| {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let mut asked = client.request(parts.method, format!("{to}{}", parts.uri)).body(body);
        if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
            asked = asked.header(CONTENT_TYPE, kind);
        }
        // On a task of its own: it goes on when whoever asked is gone.
        let answer = tokio::spawn(async move {
            let answer = asked.send().await.unwrap();
            (answer.status(), answer.bytes().await.unwrap())
        });
        let (status, body) = answer.await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        (status, [(CONTENT_TYPE, "application/json")], body)
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(pass)).await });
    url
}

/// Lets sigyn catch up and tell all, killed so many times on the way.
async fn run(loki: &Loki, kills: u64) -> Run {
    let shop = shop();
    let receivers = Receivers::start(CancellationToken::new()).await.unwrap();
    let (mut slack, mut github) = (receivers.slack_url(), receivers.github_url());
    if kills > 0 {
        let base = slack.strip_suffix("/slack").unwrap().to_owned();
        let late = late_answers(base.clone()).await;
        (slack, github) = (slack.replace(&base, &late), github.replace(&base, &late));
    }
    let place = shop
        .place(loki)
        .set("SIGYN__COLLECT__INTERVAL", "1s")
        .set("SIGYN__COLLECT__EVAL_DELAY", "1s")
        .set("SLACK_WEBHOOK_URL", slack)
        .set("GITHUB_TOKEN", "t0ken")
        .set("GITHUB_REPO", REPO)
        .set("GITHUB_API_URL", github);
    let mut while_reading = 0;
    for kill in 0..kills {
        let daemon = place.start(&["run"]);
        // The moment of the kill is the point here; any is as good as another.
        tokio::time::sleep(Duration::from_millis(200 + dice(kill) % 1200)).await;
        daemon.kill();
        let store = Store::open_read_only(&place.data()).await.unwrap();
        let state = store.watch_state("shop").await.unwrap().unwrap();
        while_reading += u32::from(state.done_until < shop.origin);
        store.close().await.unwrap();
    }
    println!("{kills} kills, {while_reading} of them before all was judged");
    assert!(kills == 0 || while_reading > 0, "no kill interrupted the reading");
    shop.finish(&place).await;
    Run { kept: Outcome::read(shop, &place.data()).await, posted: receivers.posted() }
}

fn every_fault_is_told(shop: &Shop, calm: &Run) {
    let told: Vec<Transition> = calm.kept.transitions().filter(|told| told.at <= shop.cut_off()).cloned().collect();
    let score = Score::new(&shop.truth, &told);
    let missed: Vec<_> = score.planted.iter().filter(|planted| planted.found.is_none()).collect();
    assert!(missed.is_empty(), "not told: {missed:?}\n{:#?}", calm.kept.told(shop.cut_off()));
    let alarms = score.false_alarms.iter().map(|incident| &incident.title).collect::<Vec<_>>();
    println!("{} faults told; false alarms: {alarms:?}", score.planted.len());
    assert!(alarms.len() <= 2, "{alarms:?}");
}

fn every_line_is_judged_once(shop: &Shop, calm: &Run) {
    let mut written: BTreeMap<(String, Nanos), u64> = BTreeMap::new();
    for (service, minute) in shop.written() {
        *written.entry((service.to_owned(), minute)).or_default() += 1;
    }
    let judged: BTreeMap<_, u64> = calm.kept.windows.iter().map(|(key, (lines, ..))| (key.clone(), *lines)).collect();
    assert!(written.values().sum::<u64>() > 50_000);
    assert_eq!(judged, written);
}

/// Every message at least once, doubles only after kills, and never one that is not in the store.
fn messages_are_on_the_wire(outcome: &Run, kills: u64) {
    let mut wire: BTreeMap<(String, TransitionKind), u64> = BTreeMap::new();
    for message in &outcome.posted.messages {
        *wire.entry(identity(message)).or_default() += 1;
    }
    let mut stored: BTreeMap<(String, TransitionKind), u64> = BTreeMap::new();
    for delivery in outcome.kept.deliveries("slack") {
        assert_eq!(delivery.state, DeliveryState::Sent, "{delivery:?}");
        *stored.entry((delivery.incident.clone(), delivery.kind)).or_default() += 1;
    }
    assert_eq!(wire.keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>());
    let doubles: u64 = wire.iter().map(|(key, count)| count - stored[key]).sum();
    println!("  {} messages, {doubles} of them doubled", outcome.posted.messages.len());
    assert!(doubles <= kills, "{doubles} doubles after {kills} kills");
    // Whoever hears of an incident hears that it began, and of each that is over that it is.
    let notices = |receiver: &str| -> BTreeSet<(String, u64)> {
        let rows = outcome.kept.deliveries(receiver).into_iter();
        rows.map(|row| (row.incident.clone(), row.notification.transition.number)).collect()
    };
    assert_eq!(notices("slack"), notices("github"));
    let told: BTreeMap<&str, Vec<TransitionKind>> = outcome
        .kept
        .incidents
        .iter()
        .map(|detail| {
            let kinds = detail.deliveries.iter().filter(|row| row.receiver == "slack").map(|row| row.kind);
            (detail.incident.id.as_str(), kinds.collect())
        })
        .collect();
    for detail in outcome.kept.incidents.iter().filter(|detail| detail.incident.handling.lead.is_none()) {
        let kinds = &told[detail.incident.id.as_str()];
        let transitions = detail.transitions.iter().filter(|told| told.kind == TransitionKind::Opened).count();
        assert_eq!(
            kinds.first().is_some_and(|kind| kind.is_full()),
            transitions > 0,
            "{kinds:?} {:?}",
            detail.incident
        );
        let over = detail.incident.state == State::Resolved && transitions > 0;
        assert_eq!(kinds.last() == Some(&TransitionKind::Resolved), over, "{kinds:?} {:?}", detail.incident);
    }
}

/// Id of the incident and kind of the transition, as the message says them.
fn identity(message: &Value) -> (String, TransitionKind) {
    let text = message["text"].as_str().unwrap();
    let head = text.lines().next().unwrap();
    let kind = match head {
        _ if head.contains(" RESOLVED ") => TransitionKind::Resolved,
        _ if head.contains(" AGAIN ") => TransitionKind::Reopened,
        _ if head.contains(" WORSE") => TransitionKind::Escalated,
        _ if head.contains(" STILL ") => TransitionKind::Continued,
        _ => TransitionKind::Opened,
    };
    let (_, id) = text.rsplit_once("· incident ").unwrap();
    let id = id.split(' ').next().unwrap();
    (id.to_owned(), kind)
}

/// GitHub shows each thing once, whatever was lost on the way: an issue for an incident, or a comment where one is open.
fn issues_are_there_once(outcome: &Run) {
    let first = |body: &Value| body.as_str().unwrap().lines().next().unwrap().to_owned();
    let issues: Vec<String> = outcome.posted.issues.iter().map(|issue| first(&issue["body"])).collect();
    let comments: Vec<&str> = outcome.posted.comments.iter().map(|(_, body)| body.lines().next().unwrap()).collect();
    for delivery in outcome.kept.deliveries("github") {
        assert_eq!(delivery.state, DeliveryState::Sent, "{delivery:?}");
        let issue = format!("<!-- sigyn:incident={} ", delivery.incident);
        let comment = format!("<!-- sigyn:key={} -->", delivery.notification.key);
        let issues = issues.iter().filter(|mark| mark.starts_with(&issue)).count();
        let comments = comments.iter().filter(|mark| **mark == comment).count();
        let expected = if delivery.kind == TransitionKind::Opened { issues + comments } else { comments };
        assert_eq!(
            expected, 1,
            "{issues} issues, {comments} comments: {:?} {}",
            delivery.kind, delivery.notification.key
        );
    }
    let mut open = BTreeSet::new();
    for (issue, mark) in outcome.posted.issues.iter().zip(&issues) {
        let (_, place) = mark.split_once(" fingerprint=").unwrap();
        if issue["state"] == "open" {
            assert!(open.insert(place), "two open issues of one place: {mark}");
        }
    }
    let firing = outcome.kept.incidents.iter().filter(|detail| detail.incident.state == State::Firing);
    let firing: BTreeSet<_> = firing.map(|detail| detail.incident.group.fingerprint.to_string()).collect();
    assert!(open.iter().all(|mark| firing.iter().any(|place| mark.starts_with(place))), "{open:?} {firing:?}");
    println!("  {} issues, {} comments, {} open", issues.len(), comments.len(), open.len());
}

fn the_log_has_all(outcome: &Run) {
    let keys: BTreeSet<&str> = outcome.kept.log.iter().map(String::as_str).collect();
    assert_eq!(keys.len(), outcome.kept.log.len(), "a line of the remediation log is doubled");
    let rows = outcome.kept.deliveries("remediation_log");
    assert_eq!(keys, rows.iter().map(|row| row.notification.key.as_str()).collect());
}

/// Whatever was wrong with sigyn itself is over, and that was told, too.
fn nothing_is_left_ill(outcome: &Run) {
    for detail in outcome.kept.incidents.iter().filter(|detail| detail.incident.watch == "sigyn") {
        assert_eq!(detail.incident.state, State::Resolved, "{:?}", detail.incident);
    }
}
