//! Routes and silences by the real binary, and the page about them.

use sigyn::app::demo::receivers::Receivers;
use sigyn::store::Store;
use tokio_util::sync::CancellationToken;

use crate::child::Place;
use crate::cli::seen;

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/routing.md")).unwrap()
}

/// The text of the first block of this language.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    page.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap()
}

#[test]
fn the_example_of_the_page_does_what_the_page_says() {
    let (place, page) = (Place::new(), page());
    place.file("sigyn.yaml", block(&page, "yaml"));
    assert_eq!(place.run(&["check"]).code, Some(0));
    let (command, said) = block(&page, "console").split_once('\n').unwrap();
    let args: Vec<&str> = command.strip_prefix("$ sigyn ").unwrap().split(' ').collect();
    let ended = place.run(&args);
    assert_eq!(ended.stdout, said, "{}", ended.stderr);
    let ended =
        place.run(&["routes", "test", "--label", "team=shop", "--severity", "critical", "--verify-receivers", "slack"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("expected to be heard by [slack], would be heard by [github, slack]"),
        "{}",
        ended.stderr
    );
    insta::assert_snapshot!(place.run(&["routes", "show"]).stdout, @r#"
    whatever no route below takes -> slack
        grouped by watch, cluster, namespace; waits 30 seconds, what is new after 5 minutes, the same after 4 hours
        from info on; digest every day at 08:00, Europe/Berlin
      {team="shop"} -> slack, github
          grouped by watch, cluster, namespace; waits 30 seconds, what is new after 5 minutes, the same after 4 hours
          from info on, at most 5 a day, the rest in the digest; digest every day at 08:00, Europe/Berlin
        {severity!="critical"} -> slack, github
            grouped by watch, cluster, namespace; waits 30 seconds, what is new after 5 minutes, the same after 4 hours
            from info on, at most 5 a day, the rest in the digest; digest every day at 08:00, Europe/Berlin; only in office
      {namespace=~"test|dev-.*"} -> slack
          grouped by watch, cluster, namespace; waits 30 seconds, what is new after 5 minutes, the same after 4 hours
          from critical on; digest every monday at 09:00, Europe/Berlin
    "#);
}

#[test]
fn the_times_of_the_page_are_right() {
    use sigyn::notify::interval::CronWindow;
    let window: CronWindow =
        serde_json::from_str(r#"{"cron": "0 2 * * SUN", "for": "2h", "time_zone": "Europe/Berlin"}"#).unwrap();
    let page = page();
    for (row, day) in [
        ("in winter", "2026-11-22"),
        ("in summer", "2026-06-07"),
        ("29 March 2026", "2026-03-29"),
        ("25 October 2026", "2026-10-25"),
    ] {
        let cells: Vec<&str> =
            page.lines().find(|line| line.starts_with(&format!("| {row}"))).unwrap().split('|').collect();
        let at = |cell: &str| sigyn::notify::silence::read_time(&format!("{day}T{}:00Z", cell.trim())).unwrap();
        let (from, to) = (at(cells[2]), at(cells[3]));
        assert!(window.contains(from) && window.contains(to - 1), "{row}");
        assert!(!window.contains(from - 1) && !window.contains(to), "{row}");
    }
}

#[tokio::test]
async fn silences_are_set_listed_ended_exported_and_imported() {
    let place = Place::new().set("USER", "anna");
    place.file("declared.yaml", "silences:\n  - id: freeze\n    matchers: [team=shop]\n    comment: no deploys\n");
    place.file("sigyn.yaml", "notify: {silence_files: [declared.yaml]}\n");
    let ended = place.run(&["silence", "list"]);
    assert!(ended.stderr.contains("there is no store"), "{}", ended.stderr);
    Store::open(&place.data()).await.unwrap().close().await.unwrap();

    let add = |args: &[&str]| place.run(&[&["silence", "add", "--comment", "deploy"], args].concat());
    let id = add(&["service_name=cart", "pod=~\"web-.*\""]).stdout.trim().to_owned();
    assert_eq!(id.len(), 16, "{id}");
    assert_eq!(add(&["service_name=cart", "--cron", "0 2 * *", "--for", "1h"]).code, Some(2));
    let ended = add(&["namespace=batch", "--cron", "0 2 * * SUN", "--for", "2h", "--time-zone", "Europe/Berlin"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let list = place.run(&["silence", "list", "--quiet"]).stdout;
    assert_eq!(list.lines().count(), 3, "{list}");
    let found = place.run(&["silence", "list", "service_name=cart", "--created-by", "anna"]).stdout;
    assert!(found.contains(&id) && found.contains(r#"{service_name="cart", pod=~"web-.*"}"#), "{found}");

    let held = place.run(&["routes", "test", "--label", "service_name=cart", "pod=web-1"]);
    assert!(held.stdout.contains(&format!("silence {id} (deploy)")), "{}", held.stdout);

    let ended = place.run(&["silence", "expire", "freeze"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("is declared in declared.yaml"), "{}", ended.stderr);
    let exported = place.run(&["silence", "export"]).stdout;
    assert!(exported.contains(&id) && !exported.contains("freeze"), "{exported}");
    place.file("exported.yaml", &exported);
    assert_eq!(place.run(&["silence", "expire", &id[..6]]).stdout, format!("{id}\n"));
    assert_eq!(place.run(&["silence", "expire", &id]).code, Some(1));
    let list = place.run(&["silence", "list", "--quiet", "--expired"]).stdout;
    assert_eq!(list, format!("{id}\n"));

    let import = || place.run(&["silence", "import", "exported.yaml"]).stdout;
    assert_eq!(import(), "silences: 0 new, 1 changed, 1 known already\n");
    assert_eq!(import(), "silences: 0 new, 0 changed, 2 known already\n");
    let new = "silences: [{matchers: [a=b]}, {matchers: [a=c]}]";
    let import = || place.run_on(&["silence", "import", "-"], new.into()).stdout;
    assert_eq!(import(), "silences: 2 new, 0 changed, 0 known already\n");
    assert_eq!(import(), "silences: 0 new, 0 changed, 2 known already\n");
}

#[test]
fn mistakes_in_routing_are_told_with_their_place() {
    let place = Place::new();
    place.file("silences.yaml", "silences:\n  - matchers: [a]\n");
    place.file(
        "sigyn.yaml",
        "notify:
  slack: {webhook_url: 'https://hooks.example.com/x'}
  route:
    routes:
      - matchers: ['team']
      - matchers: [team=shop]
        receiver: pager
        active_time_intervals: [office]
      - recievers: [slack]
      - time_zone: Europe/Berln
        min_severity: bad
  time_intervals:
    - name: nights
      time_intervals: [{cron: '0 2 * *', for: 2h}, {weekdays: [monday:friady]}, {}]
  silence_files: [silences.yaml, none.yaml]
  inhibit_rules: [{target_matchers: [a=b]}]
  storm: {incidents: 0}
",
    );
    insta::assert_snapshot!(seen(&place, &place.run(&["check"])), @"
    sigyn: 13 mistakes in the settings:
      sigyn.yaml:5:20: notify.route.routes[0].matchers[0]: column 5: expected `=`, `!=`, `=~` or `!~`, found nothing
      sigyn.yaml:7:19: notify.route.routes[1].receiver: there is no receiver `pager`; there are: slack
      sigyn.yaml:8:33: notify.route.routes[1].active_time_intervals[0]: there is no such name in notify.time_intervals
      sigyn.yaml:9:9: notify.route.routes[2].recievers: no such key; did you mean `receivers`?
      sigyn.yaml:10:20: notify.route.routes[3].time_zone: `Europe/Berln` is no time zone; write an IANA name such as Europe/Berlin, or UTC
      sigyn.yaml:11:23: notify.route.routes[3].min_severity: `bad` is not one of: info, warning, critical
      sigyn.yaml:14:31: notify.time_intervals[0].time_intervals[0].cron: `0 2 * *` is no cron pattern: Pattern must have 5 fields when seconds are disallowed; write minute, hour, day, month, weekday, like `0 2 * * SUN`
      sigyn.yaml:14:64: notify.time_intervals[0].time_intervals[1].weekdays[0]: `friady` is no day of the week; write monday to sunday
      sigyn.yaml:14:81: notify.time_intervals[0].time_intervals[2]: says nothing; set times, weekdays, days_of_month, months, years or cron
      sigyn.yaml:15:19: notify.silence_files[0]: silences.yaml: silences[0]: column 2: expected `=`, `!=`, `=~` or `!~`, found nothing
      sigyn.yaml:15:34: notify.silence_files[1]: cannot read none.yaml: No such file or directory (os error 2)
      sigyn.yaml:16:19: notify.inhibit_rules[0].source_matchers: must say which incidents hold others back
      sigyn.yaml:17:22: notify.storm.incidents: must be at least 1
    exit 2
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_is_shown_and_sent_again_when_asked() {
    let loki = crate::withdrawn::failing();
    let receivers = Receivers::start(CancellationToken::new()).await.unwrap();
    let wrong = format!("{}/no-such-hook", receivers.slack_url());
    let mut place = crate::shop::place(&loki.url()).set("SLACK_WEBHOOK_URL", wrong);
    place.file("settings.yaml", &crate::withdrawn::settings("shop", "{env=\"demo\"}"));
    place.run(&["once", "--lookback", "4h"]);
    let dead = place.run(&["notify", "dead"]);
    assert!(dead.stdout.contains("send them again with: sigyn notify resend"), "{}{}", dead.stdout, dead.stderr);
    assert!(dead.stdout.starts_with("slack "), "{}", dead.stdout);
    assert!(receivers.posted().messages.is_empty());
    place.put("SLACK_WEBHOOK_URL", &receivers.slack_url());
    let none = place.run(&["notify", "resend", "--receiver", "slak"]);
    assert!(none.stdout.starts_with("no such message was given up"), "{}{}", none.stdout, none.stderr);
    // Of the id its beginning is enough.
    let (_, id) = dead.stdout.lines().next().unwrap().split_once(' ').unwrap();
    for args in [["notify", "resend", "--incident", &id[..6]], ["notify", "resend", "--receiver", "slack"]] {
        let noted = place.run(&args);
        assert!(noted.stdout.starts_with("noted"), "{}{}", noted.stdout, noted.stderr);
    }
    place.run(&["once"]);
    assert!(!receivers.posted().messages.is_empty());
    assert_eq!(place.run(&["notify", "dead"]).stdout, "no message was given up\n");
}
