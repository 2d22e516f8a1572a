//! What is not told by itself: silenced, inhibited, in a digest, in a storm; and what passes all of it.

use super::*;

#[test]
fn silences_and_inhibition_hold_back_and_it_is_counted() {
    let inhibiting = || {
        rules(
            r#"{"receiver": "chat", "group_by": ["..."]}"#,
            r#"{"inhibit_rules": [{"source_matchers": ["service=\"database\""], "target_matchers": ["service=\"cart\""]}]}"#,
        )
    };
    let mut world = World::new(inhibiting);
    let (database, cart) = (incident("database", 0, Severity::Critical), incident("cart", 0, Severity::Warning));
    world.feed(Opened, &database);
    world.feed(Opened, &cart);
    world.until(1_000);
    world.feed(Resolved, &database);
    world.until(1_500);
    let silence = CommandKind::Silence {
        id: "s1".to_owned(),
        document: Some(
            Silence { ends_at: START + HOUR, ..Silence::new("service=\"order\"".parse().unwrap()) }.document(),
        ),
    };
    let out = world.step(Vec::new(), vec![silence], false);
    assert_eq!(out.silences.len(), 1);
    world.feed(Opened, &incident("order", 25, Severity::Warning));
    world.until(5_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 database
    1000s chat: resolved#2 database
    1050s chat: opened#1 cart (1 held back)
    3600s chat: opened#1 order (1 held back)
    ");
}

#[test]
fn what_is_not_told_by_itself_stands_in_the_digest() {
    let modest = || {
        rules(
            r#"{"receiver": "chat", "group_by": ["..."], "min_severity": "warning", "interruptions_per_day": 1,
                "digest": {"every": "day", "at": "08:00"}}"#,
            "{}",
        )
    };
    let mut world = World::new(modest);
    world.feed(Opened, &incident("cart", 0, Severity::Info));
    world.feed(Opened, &incident("order", 0, Severity::Warning));
    world.until(100);
    let state: Vec<(String, String)> = world.state.clone().into_iter().collect();
    let day = world.dispatcher.rules.router.routes()[0].day(world.now);
    let tomorrow = crate::time::TimeRange::new(day.end, day.end + 24 * HOUR);
    assert_eq!([day, tomorrow].map(|day| interruptions(&state, "root", day)), [1, 0]);
    assert_eq!(interruptions(&state, "elsewhere", day), 0);
    let mut third = incident("stock", 2, Severity::Warning);
    world.feed(Opened, &third);
    world.until(3_000);
    world.feed(Resolved, &third);
    // 22:00 UTC is where it starts: the digest comes ten hours later.
    world.until(9 * 3_600);
    third = incident("mail", 600, Severity::Critical);
    world.feed(Opened, &third);
    world.until(11 * 3_600);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 order
    14430s chat: continued#2 order
    28830s chat: continued#3 order
    32430s chat: opened#1 mail
    36000s chat: opened#1 digest: 2 incidents with cart stock
    ");
}

#[test]
fn many_new_incidents_at_once_are_one_table() {
    let stormy =
        || rules(r#"{"receiver": "chat", "group_by": ["..."]}"#, r#"{"storm": {"incidents": 3, "within": "10m"}}"#);
    let mut world = World::new(stormy);
    for n in 0..6 {
        world.at(n * 10);
        world.until(n * 10);
        world.feed(Opened, &incident(&format!("s{n}"), 0, Severity::Warning));
    }
    world.until(300);
    world.feed(Opened, &incident("s6", 5, Severity::Warning));
    world.until(600);
    let mut worse = incident("s4", 0, Severity::Critical);
    world.feed(Continued, &worse);
    worse.state = State::Resolved;
    world.until(3_000);
    world.feed(Resolved, &worse);
    world.feed(Resolved, &incident("s5", 0, Severity::Warning));
    world.until(4_000);
    world.feed(Opened, &incident("s9", 66, Severity::Warning));
    world.until(5_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 s0
    40s chat: opened#1 s1
    50s chat: opened#1 s2
    60s chat: opened#1 storm: many new incidents at once with s3
    360s chat: continued#2 storm: many new incidents at once with s3 s4 s5 s6
    600s chat: opened#1 s4
    930s chat: resolved#3 storm: many new incidents at once with s3 s4 s5 s6
    3000s chat: resolved#2 s4
    4030s chat: opened#1 s9
    ");
}

#[test]
fn a_run_that_ends_tells_at_once() {
    let mut world = World::new(plain);
    let cart = incident("cart", 0, Severity::Warning);
    let opened = Transition { kind: Opened, number: 1, at: START, incident: cart };
    world.step(vec![opened], Vec::new(), true);
    assert_eq!(world.told(), "0s chat: opened#1 cart");
}

#[test]
fn remediation_hears_everything_at_once() {
    let always = || Rules { always: vec!["remediation_log".to_owned()], ..plain() };
    let mut world = World::new(always);
    world.feed(Opened, &incident("cart", 0, Severity::Warning));
    world.until(100);
    insta::assert_snapshot!(world.told(), @r"
    0s remediation_log: opened#1 cart
    30s chat: opened#2 cart
    ");
}

#[test]
fn a_storm_is_the_same_one_when_the_clock_is_set_back() {
    let stormy =
        || rules(r#"{"receiver": "chat", "group_by": ["..."]}"#, r#"{"storm": {"incidents": 1, "within": "10m"}}"#);
    let mut world = World::new(stormy);
    world.wrong = 5 * HOUR;
    for service in ["s0", "s1"] {
        world.feed(Opened, &incident(service, 0, Severity::Warning));
    }
    world.until(100);
    world.wrong = 0;
    world.step(Vec::new(), Vec::new(), false);
    world.until(2_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 s0
    30s chat: opened#1 storm: many new incidents at once with s1
    700s chat: resolved#2 storm: many new incidents at once with s1
    ");
    let ids: BTreeSet<&str> = world.keys.iter().filter_map(|key| key.split('/').next()).collect();
    assert_eq!(ids.len(), 2, "who heard that it began must hear of the same one that it is over: {ids:?}");
}
