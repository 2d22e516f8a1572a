//! New settings: what waits on routes that are gone.

use super::*;

/// One service has a route of its own.
fn own_route(matcher: &str) -> Rules {
    let own = format!(r#"{{"matchers": ["{matcher}"], "receiver": "pager", "group_interval": "5m"}}"#);
    rules(&format!(r#"{{"receiver": "chat", "group_wait": "30s", "routes": [{own}]}}"#), "{}")
}

#[test]
fn new_routes_tell_what_waited_on_the_old_ones() {
    let cart = incident("cart", 0, Severity::Warning);
    for (seconds, over) in [(10, None), (100, None), (100, Some(60))] {
        let mut world = World::new(|| own_route(r#"service_name=\"cart\""#));
        world.feed(Opened, &cart);
        if let Some(over) = over {
            world.until(over);
            world.feed(Resolved, &cart);
        }
        world.until(seconds);
        // From now on.
        (world.rules, world.restarts) = (|| own_route(r#"service_name=~\"cart|order\""#), true);
        world.step(Vec::new(), Vec::new(), false);
        world.until(400);
        if over.is_none() {
            world.feed(Resolved, &cart);
        }
        world.until(2_000);
        let told = world.told();
        match (seconds, over) {
            // Nobody had heard of it.
            (10, _) => insta::assert_snapshot!(told, @r"
            30s pager: opened#1 cart
            400s pager: resolved#2 cart
            "),
            (_, None) => insta::assert_snapshot!(told, @r"
            30s pager: opened#1 cart
            400s pager: resolved#2 cart
            "),
            // It was over, and its end waited for its interval.
            (_, Some(_)) => insta::assert_snapshot!(told, @r"
            30s pager: opened#1 cart
            330s pager: resolved#2 cart
            "),
        }
    }
}

#[test]
fn what_stands_in_the_digest_of_a_route_that_is_gone_is_told_above() {
    let with = || {
        let digest = r#""digest": {"every": "day", "at": "08:00"}"#;
        let own = r#"{"matchers": ["service_name=\"cart\""], "receiver": "pager", "min_severity": "critical"}"#;
        rules(&format!(r#"{{"receiver": "chat", {digest}, "routes": [{own}]}}"#), "{}")
    };
    let mut world = World::new(with);
    world.feed(Opened, &incident("cart", 0, Severity::Warning));
    world.until(100);
    world.feed(Resolved, &incident("cart", 0, Severity::Warning));
    (world.rules, world.restarts) = (plain, true);
    world.step(Vec::new(), Vec::new(), false);
    world.until(100_000);
    assert_eq!(world.told(), "36000s chat: opened#1 digest: 1 incident with cart");
}
