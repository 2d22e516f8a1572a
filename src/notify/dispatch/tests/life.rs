//! One incident from its first message to its last.

use super::*;

#[test]
fn a_group_waits_for_others_then_speaks_at_intervals_and_repeats() {
    let mut world = World::new(plain);
    let (cart, order) = (incident("cart", 0, Severity::Warning), incident("order", 1, Severity::Warning));
    world.at(60);
    world.feed(Opened, &cart);
    world.at(80);
    world.feed(Opened, &order);
    world.until(200);
    world.feed(Continued, &cart);
    world.until(1_000);
    world.feed(Resolved, &order);
    world.until(1_100);
    world.feed(Resolved, &cart);
    world.until(40_000);
    insta::assert_snapshot!(world.told(), @r"
    90s chat: opened#1 cart with order
    390s chat: continued#2 cart with order
    1100s chat: resolved#3 cart with order
    ");
    // All is over: nothing is left but what is remembered of it.
    assert!(
        world.state.keys().all(|key| key.starts_with("past/") || key.starts_with("book/")),
        "{:?}",
        world.state.keys()
    );
}

#[test]
fn what_nobody_changes_is_repeated_until_somebody_looks_after_it() {
    let mut world = World::new(plain);
    world.feed(Opened, &incident("cart", 0, Severity::Warning));
    world.until(20_000);
    world.order("cart0000", Order::Acknowledge(mark()));
    world.until(100_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    14430s chat: continued#2 cart
    20000s chat: acknowledged#3 cart
    ");
}

#[test]
fn what_is_over_before_anybody_heard_is_not_told() {
    let mut world = World::new(plain);
    let cart = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &cart);
    world.at(20);
    world.feed(Resolved, &cart);
    world.until(10_000);
    assert_eq!(world.told(), "");
    // What was never told comes as something new.
    world.feed(Opened, &incident("cart", 170, Severity::Warning));
    world.until(20_000);
    assert_eq!(world.told(), "10030s chat: opened#1 cart");
}

#[test]
fn what_was_closed_while_a_route_was_silent_and_goes_on_is_not_over() {
    let silent = || {
        rules(
            r#"{"receiver": "chat", "routes": [{"matchers": ["service=\"cart\""], "mute_time_intervals": ["late"]}]}"#,
            r#"{"time_intervals": [{"name": "late", "time_intervals": [
                {"times": [{"start_time": "22:10", "end_time": "23:50"}]}]}]}"#,
        )
    };
    let mut world = World::new(silent);
    let cart = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &cart);
    world.until(1_000);
    world.order("cart0000", Order::Resolve(Mark { at: world.now, ..mark() }));
    world.until(5_000);
    world.feed(Continued, &cart);
    world.until(20_000);
    world.feed(Resolved, &cart);
    world.until(40_000);
    // From 600 s to 6600 s nothing is told.
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    20000s chat: resolved#2 cart (1 held back)
    ");
}

#[test]
fn what_was_over_before_an_outage_ended_is_told_with_its_end() {
    let mut world = World::new(plain);
    let cart = incident("cart", 0, Severity::Warning);
    world.at(3_600);
    let opened = Transition { kind: Opened, number: 1, at: START + 60 * SECOND, incident: cart.clone() };
    let over = Incident { state: State::Resolved, resolved_at: Some(START + 900 * SECOND), ..cart };
    let resolved = Transition { kind: Resolved, number: 2, at: START + 900 * SECOND, incident: over };
    let out = world.step(vec![opened, resolved], Vec::new(), false);
    assert_eq!(out.incidents.last().map(|one| one.state), Some(State::Resolved));
    world.until(10_000);
    insta::assert_snapshot!(world.told(), @r"
    3600s chat: opened#1 cart
    3600s chat: resolved#2 cart
    ");
}

#[test]
fn what_comes_back_is_the_same_incident() {
    let mut world = World::new(plain);
    let first = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &first);
    world.until(1_000);
    world.feed(Resolved, &first);
    world.until(80_000);
    let again = incident("cart", 1_000, Severity::Critical);
    let out = world.feed(Opened, &again);
    assert!(out.incidents.iter().any(|one| one.id == "cart1000" && one.handling.lead.as_deref() == Some("cart0000")));
    world.until(90_000);
    world.feed(Resolved, &again);
    // Another kind of problem there is another incident, and so is the same after a week.
    let mut other = incident("cart", 2_000, Severity::Warning);
    other.title = "cart: slower than usual".to_owned();
    world.feed(Opened, &other);
    world.until(100_000);
    world.feed(Resolved, &other);
    world.until(800_000);
    world.feed(Opened, &incident("cart", 13_000, Severity::Warning));
    world.until(801_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    1000s chat: resolved#2 cart
    80030s chat: reopened#3 cart
    90000s chat: resolved#4 cart
    90030s chat: opened#1 cart: slower than usual
    100000s chat: resolved#2 cart: slower than usual
    800030s chat: opened#1 cart
    ");
}

#[test]
fn a_flapping_problem_is_one_message_until_the_interval_is_over() {
    let mut world = World::new(plain);
    let first = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &first);
    world.until(100);
    world.feed(Resolved, &first);
    world.until(200);
    let again = incident("cart", 3, Severity::Warning);
    world.feed(Opened, &again);
    world.until(1_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    330s chat: continued#2 cart
    ");
}

#[test]
fn a_snooze_holds_back_until_its_end_or_until_it_is_worse() {
    let snooze = |until: Option<i64>, windows| Snooze {
        mark: mark(),
        until: until.map(|seconds| START + seconds * SECOND),
        windows,
        until_worse: true,
    };
    let mut world = World::new(plain);
    let mut cart = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &cart);
    world.until(100);
    world.order("cart0000", Order::Snooze(snooze(Some(4_000), None)));
    world.until(1_000);
    world.feed(Continued, &cart);
    world.until(5_000);
    world.order("cart0000", Order::Snooze(snooze(None, None)));
    world.feed(Continued, &cart);
    world.until(6_000);
    cart.severity = Severity::Critical;
    world.feed(Continued, &cart);
    world.until(7_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    4000s chat: continued#2 cart (1 held back)
    6000s chat: escalated#3 cart (1 held back)
    ");
}

#[test]
fn closed_by_hand_is_over_unless_it_goes_on_for_an_hour() {
    let mut world = World::new(plain);
    let cart = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &cart);
    world.until(1_000);
    world.order("cart0000", Order::Resolve(Mark { at: world.now, ..mark() }));
    world.until(2_000);
    world.feed(Continued, &cart);
    world.until(5_000);
    world.feed(Continued, &cart);
    world.until(6_000);
    world.feed(Resolved, &cart);
    world.until(7_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    1000s chat: resolved#2 cart
    5000s chat: reopened#3 cart
    6000s chat: resolved#4 cart
    ");
}
