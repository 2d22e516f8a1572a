//! Documents that cannot be read any more: what the rest of the store knows is enough to tell the end.

use super::*;

/// All that the store has of an incident, as it is given back when its document is damaged.
fn known(world: &World, parts: &[(&Incident, bool)]) -> Recalled {
    let lead = parts[0].0.clone();
    let members = parts[1..].iter().map(|(part, _)| crate::incident::Member::from(*part)).collect();
    let of_it = world.heard.iter().filter(|(_, id, ..)| *id == lead.id);
    let mut heard = BTreeMap::new();
    for (receiver, _, kind, severity) in of_it {
        match kind {
            Resolved => heard.remove(receiver),
            _ => heard.insert(receiver.clone(), *severity),
        };
    }
    let numbers = world.keys.iter().filter_map(|key| key.strip_prefix(&format!("{}/", lead.id)));
    let number = numbers.filter_map(|key| key.split('/').next()?.parse().ok()).max().unwrap_or(0);
    Recalled {
        incident: Incident { handling: crate::incident::Handling { members, ..lead.handling.clone() }, ..lead },
        parts: parts.iter().map(|(part, open)| ((*part).clone(), *open)).collect(),
        last: (number, START),
        heard,
    }
}

impl World {
    /// Restarts with a document that cannot be read.
    pub(super) fn spoil(&mut self, rules: fn() -> Rules, parts: &[(&Incident, bool)]) {
        let id = &parts[0].0.id;
        let document = r#"{"of": "another version"}"#;
        assert!(self.state.insert(format!("lead/{id}"), document.to_owned()).is_some(), "{id}");
        (self.dispatcher, self.rules) = (Dispatcher::new(rules(), Silences::new()), rules);
        let unread = self.dispatcher.restore(self.state.iter().map(|(key, text)| (key.as_str(), text.as_str())));
        assert_eq!(unread.len(), 1, "{unread:?}");
        assert!(unread[0].starts_with(&format!("lead/{id}: ")), "{unread:?}");
        assert!(readable(&format!("lead/{id}"), document).is_err());
        assert_eq!(self.dispatcher.wanting(), [id.as_str()]);
        let known = known(self, parts);
        self.dispatcher.recall(id, known);
        assert!(self.dispatcher.wanting().is_empty());
    }
}

#[test]
fn the_end_is_told_to_those_who_heard_the_beginning_and_no_number_comes_twice() {
    let cart = incident("cart", 0, Severity::Warning);
    for more in [false, true] {
        let mut world = World::new(plain);
        world.feed(Opened, &cart);
        world.until(100);
        world.spoil(plain, &[(&cart, true)]);
        if more {
            world.feed(Continued, &cart);
        }
        world.until(1_000);
        world.feed(Resolved, &cart);
        world.until(2_000);
        let told = world.told();
        match more {
            true => insta::assert_snapshot!(told, @r"
            30s chat: opened#1 cart
            300s chat: continued#2 cart
            1000s chat: resolved#3 cart
            "),
            false => insta::assert_snapshot!(told, @r"
            30s chat: opened#1 cart
            1000s chat: resolved#2 cart
            "),
        }
        assert!(world.state.keys().all(|key| !key.starts_with("lead/")), "{:?}", world.state.keys());
    }
}

#[test]
fn what_is_over_already_is_told_as_soon_as_it_is_read() {
    let mut world = World::new(plain);
    let cart = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &cart);
    world.until(100);
    // Its end waits for the interval, in the document alone.
    world.feed(Resolved, &cart);
    world.until(110);
    world.spoil(plain, &[(&cart, false)]);
    world.step(Vec::new(), Vec::new(), false);
    world.until(1_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    110s chat: resolved#2 cart
    ");
}

#[test]
fn of_several_groups_the_last_one_ends_it() {
    let mut world = World::new(plain);
    let (cart, order) = (incident("cart", 0, Severity::Warning), incident("order", 0, Severity::Warning));
    world.feed(Opened, &cart);
    world.feed(Opened, &order);
    world.until(400);
    world.feed(Resolved, &cart);
    world.until(800);
    world.spoil(plain, &[(&cart, false), (&order, true)]);
    world.feed(Continued, &order);
    world.until(2_000);
    world.feed(Resolved, &order);
    world.until(3_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart with order
    800s chat: continued#2 order
    2000s chat: resolved#3 order
    ");
    let ids: BTreeSet<&str> = world.keys.iter().filter_map(|key| key.split('/').next()).collect();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["cart0000"]);
}

#[test]
fn the_end_finds_those_whose_route_is_gone_by_now() {
    let mut world = World::new(plain);
    let cart = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &cart);
    world.until(100);
    world.spoil(|| rules(r#"{"receiver": "pager", "group_wait": "30s"}"#, "{}"), &[(&cart, true)]);
    world.step(Vec::new(), Vec::new(), false);
    world.until(1_000);
    world.feed(Resolved, &cart);
    world.until(2_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    100s pager: opened#2 cart
    1000s pager: resolved#3 cart
    1000s chat: resolved#4 cart
    ");
}

#[test]
fn what_nobody_had_heard_of_is_told_as_any_other() {
    let mut world = World::new(plain);
    let cart = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &cart);
    world.until(10);
    world.spoil(plain, &[(&cart, true)]);
    world.step(Vec::new(), Vec::new(), false);
    world.until(1_000);
    world.feed(Resolved, &cart);
    world.until(2_000);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    1000s chat: resolved#2 cart
    ");
}

#[test]
fn documents_of_the_version_before_learn_from_the_store_who_heard() {
    let mut world = World::new(plain);
    let cart = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &cart);
    world.until(100);
    let document = world.state.get_mut("lead/cart0000").unwrap();
    let mut value: serde_json::Value = serde_json::from_str(document).unwrap();
    assert_eq!(value.as_object_mut().unwrap().remove("heard"), Some(serde_json::json!({"chat": "warning"})));
    *document = value.to_string();
    let mut dispatcher = Dispatcher::new(plain(), Silences::new());
    let state = world.state.iter().map(|(key, document)| (key.as_str(), document.as_str()));
    assert_eq!(dispatcher.restore(state), Vec::<String>::new());
    assert_eq!(dispatcher.wanting(), ["cart0000"]);
    dispatcher.recall("cart0000", known(&world, &[(&cart, true)]));
    world.dispatcher = dispatcher;
    world.until(1_000);
    world.feed(Resolved, &cart);
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    1000s chat: resolved#2 cart
    ");
}
