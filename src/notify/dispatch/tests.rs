use proptest::prelude::*;

use super::*;
use crate::engine::{CommandKind, Order};
use crate::incident::{Mark, Severity, Snooze, State, TransitionKind};
use crate::labels::{Fingerprint, Labels};
use crate::notify::fixture;
use crate::notify::route::{RouteConfig, Rules as RouteRules};
use crate::time::{HOUR, MINUTE, Nanos, SECOND};

const START: Nanos = fixture::START;

/// A dispatcher with a script of what happens, and what was told.
struct World {
    dispatcher: Dispatcher,
    rules: fn() -> Rules,
    now: Nanos,
    /// How wrong the clock is.
    wrong: Nanos,
    seq: i64,
    state: BTreeMap<String, String>,
    told: Vec<String>,
    keys: BTreeSet<String>,
    restarts: bool,
}

fn rules(route: &str, rest: &str) -> Rules {
    let route: RouteConfig = serde_json::from_str(route).unwrap();
    let receivers = ["chat", "pager"].map(ToOwned::to_owned);
    let intervals = Vec::new();
    let tree = RouteRules { route: &route, time_intervals: &intervals, receivers: &receivers };
    let config: NotifyConfig = serde_json::from_str(rest).unwrap();
    Rules {
        router: Router::new(&tree).unwrap(),
        inhibit: config.inhibit_rules.clone(),
        storm: config.storm,
        reopen_within: config.reopen_within.nanos(),
        always: Vec::new(),
        links: config,
    }
}

fn plain() -> Rules {
    rules(r#"{"receiver": "chat", "group_wait": "30s", "group_interval": "5m", "repeat_interval": "4h"}"#, "{}")
}

/// An incident of a group that began at this minute.
fn incident(service: &str, minute: i64, severity: Severity) -> Incident {
    let labels: Labels = [("service_name", service)].into_iter().collect();
    let mut incident = fixture::opened().incident;
    incident.group.fingerprint = Fingerprint::of("default", "shop", &labels);
    incident.group.labels = labels;
    incident.title = format!("{service}: more errors than usual");
    incident.id = format!("{service}{minute:04}");
    incident.severity = severity;
    incident.started_at = START + minute * MINUTE;
    incident.labels = Labels::new();
    if let Some(worst) = &mut incident.worst {
        worst.evidence.common.clear();
        worst.evidence.features.clear();
    }
    incident
}

impl World {
    fn new(rules: fn() -> Rules) -> Self {
        let dispatcher = Dispatcher::new(rules(), Silences::new());
        let (state, told, keys) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self { dispatcher, rules, now: START, wrong: 0, seq: 0, state, told, keys, restarts: false }
    }

    fn at(&mut self, seconds: i64) {
        self.now = START + seconds * SECOND;
    }

    fn step(&mut self, queued: Vec<Transition>, orders: Vec<CommandKind>, flush: bool) -> Dispatch {
        if self.restarts {
            let silences = std::mem::take(&mut self.dispatcher.silences);
            self.dispatcher = Dispatcher::new((self.rules)(), silences);
            let state = self.state.iter().map(|(key, document)| (key.as_str(), document.as_str()));
            assert_eq!(self.dispatcher.restore(state), Vec::<String>::new());
        }
        let queued: Vec<(i64, Transition)> = queued.into_iter().map(|one| (self.next(), one)).collect();
        let orders: Vec<Command> =
            orders.into_iter().map(|kind| Command { id: self.next(), at: self.now, kind }).collect();
        let out = self.dispatcher.step(&Input { queued: &queued, orders: &orders, now: self.now + self.wrong, flush });
        assert_eq!(out.taken.len(), queued.len());
        for (key, document) in &out.state {
            match document {
                Some(document) => drop(self.state.insert(key.clone(), document.clone())),
                None => drop(self.state.remove(key)),
            }
        }
        for (receiver, one) in &out.deliveries {
            assert!(self.keys.insert(one.key.clone()), "{} is told twice", one.key);
            let Transition { kind, number, incident, .. } = &one.transition;
            let members: Vec<String> = incident
                .handling
                .members
                .iter()
                .map(|member| member.title.replace(": more errors than usual", ""))
                .collect();
            let members = if members.is_empty() { String::new() } else { format!(" with {}", members.join(" ")) };
            let held = incident.handling.held_back;
            let held = if held > 0 { format!(" ({held} held back)") } else { String::new() };
            let at = (self.now - START) / SECOND;
            let title = incident.title.replace(": more errors than usual", "");
            self.told.push(format!("{at}s {receiver}: {}#{number} {title}{members}{held}", kind.as_str()));
        }
        out
    }

    fn next(&mut self) -> i64 {
        self.seq += 1;
        self.seq
    }

    fn feed(&mut self, kind: TransitionKind, incident: &Incident) -> Dispatch {
        let state = if kind == TransitionKind::Resolved { State::Resolved } else { State::Firing };
        let resolved_at = (kind == TransitionKind::Resolved).then_some(self.now);
        let incident = Incident { state, resolved_at, ..incident.clone() };
        self.step(vec![Transition { kind, number: 1, at: self.now, incident }], Vec::new(), false)
    }

    fn order(&mut self, incident: &str, order: Order) {
        let kind = CommandKind::Incident { incident: incident.to_owned(), order };
        self.step(Vec::new(), vec![kind], false);
    }

    /// Goes on until `seconds`, waking when something is due.
    fn until(&mut self, seconds: i64) {
        let end = START + seconds * SECOND;
        let due = |own: &Self| Some(own.dispatcher.next_at(own.now + own.wrong)? - own.wrong);
        while let Some(next) = due(self).filter(|next| *next <= end) {
            self.now = next.max(self.now + 1);
            self.step(Vec::new(), Vec::new(), false);
        }
        self.now = end;
    }

    fn told(&self) -> String {
        self.told.join("\n")
    }
}

fn mark() -> Mark {
    Mark { by: "ann".to_owned(), at: START, note: None }
}

use TransitionKind::{Continued, Escalated, Opened, Resolved};

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
            100s pager: opened#2 cart
            400s pager: resolved#3 cart
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

#[test]
fn what_cannot_be_read_any_more_takes_no_number_twice() {
    let mut world = World::new(plain);
    let cart = incident("cart", 0, Severity::Warning);
    world.feed(Opened, &cart);
    world.until(100);
    world.dispatcher = Dispatcher::new(plain(), Silences::new());
    let unread = world.dispatcher.restore([("lead/cart0000", r#"{"number": 1, "of": "another version"}"#)]);
    assert_eq!(unread.len(), 1, "{unread:?}");
    world.feed(Continued, &cart);
    world.until(200);
    // The same key would be taken for a message that is there already, and never be sent.
    insta::assert_snapshot!(world.told(), @r"
    30s chat: opened#1 cart
    130s chat: opened#2 cart
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

#[derive(Clone, Debug)]
enum Act {
    Feed(u8, TransitionKind, Severity),
    Wait(u32),
    Ack(u8),
    Snooze(u8, u32),
    Close(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let kind = prop_oneof![Just(Opened), Just(Opened), Just(Continued), Just(Resolved), Just(Escalated)];
    let severity = prop_oneof![Just(Severity::Info), Just(Severity::Warning), Just(Severity::Critical)];
    prop_oneof![
        6 => (0..6u8, kind, severity).prop_map(|(who, kind, severity)| Act::Feed(who, kind, severity)),
        4 => (1..2_000u32).prop_map(Act::Wait),
        1 => (10_000..90_000u32).prop_map(Act::Wait),
        1 => (0..6u8).prop_map(Act::Ack),
        1 => (0..6u8, 1..5_000u32).prop_map(|(who, seconds)| Act::Snooze(who, seconds)),
        1 => (0..6u8).prop_map(Act::Close),
    ]
}

fn play(acts: &[Act], restarts: bool) -> World {
    let strict = || {
        rules(
            r#"{"receivers": ["chat"], "interruptions_per_day": 4,
                "routes": [{"matchers": ["severity=\"critical\""], "receivers": ["pager"], "continue": true}]}"#,
            r#"{"storm": {"incidents": 3, "within": "10m"}}"#,
        )
    };
    let mut world = World::new(strict);
    world.restarts = restarts;
    let mut open: BTreeMap<u8, Incident> = BTreeMap::new();
    for act in acts {
        happens(&mut world, &mut open, act);
    }
    for (_, one) in open {
        world.feed(Resolved, &one);
    }
    world.until((world.now - START) / SECOND + 200_000);
    world
}

fn happens(world: &mut World, open: &mut BTreeMap<u8, Incident>, act: &Act) {
    match act {
        Act::Feed(who, kind, severity) => {
            let minute = (world.now - START) / MINUTE;
            match (kind, open.get(who).cloned()) {
                (Resolved, Some(one)) => {
                    open.remove(who);
                    world.feed(Resolved, &one);
                }
                (Resolved, None) => {}
                (_, None) => {
                    let one = incident(&format!("s{who}"), minute, *severity);
                    open.insert(*who, one.clone());
                    world.feed(Opened, &one);
                }
                (kind, Some(mut one)) => {
                    one.severity = one.severity.max(*severity);
                    open.insert(*who, one.clone());
                    world.feed(if *kind == Opened { Continued } else { *kind }, &one);
                }
            }
        }
        Act::Wait(seconds) => world.until((world.now - START) / SECOND + i64::from(*seconds)),
        Act::Ack(who) => {
            if let Some(one) = open.get(who) {
                world.order(&one.id.clone(), Order::Acknowledge(mark()));
            }
        }
        Act::Snooze(who, seconds) => {
            if let Some(one) = open.get(who) {
                let until = Some(world.now + i64::from(*seconds) * SECOND);
                let snooze = Snooze { mark: mark(), until, windows: None, until_worse: true };
                world.order(&one.id.clone(), Order::Snooze(snooze));
            }
        }
        Act::Close(who) => {
            if let Some(one) = open.get(who) {
                world.order(&one.id.clone(), Order::Resolve(Mark { at: world.now, ..mark() }));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A restart between any two steps changes nothing that is told.
    #[test]
    fn a_restart_changes_nothing(acts in proptest::collection::vec(act(), 0..40)) {
        prop_assert_eq!(play(&acts, false).told(), play(&acts, true).told());
    }

    /// Each receiver hears of an incident first that it is there; of each only once that it is over, and nothing after
    /// that but that it is back. In the end nothing is open, and nothing waits.
    #[test]
    fn every_story_has_a_beginning_and_an_end(acts in proptest::collection::vec(act(), 0..60)) {
        let world = play(&acts, false);
        let mut open: BTreeMap<(String, String), bool> = BTreeMap::new();
        for line in &world.told {
            let mut words = line.split(' ');
            let (receiver, kind, title) = (words.nth(1).unwrap(), words.next().unwrap(), words.next().unwrap());
            if title.starts_with("digest") {
                continue;
            }
            let kind = kind.split('#').next().unwrap();
            let was = open.insert((receiver.to_owned(), title.to_owned()), kind != "resolved");
            match kind {
                "opened" | "reopened" => prop_assert!(was != Some(true), "{}\n{}", line, world.told()),
                "acknowledged" => {}
                _ => prop_assert_eq!(was, Some(true), "{}\n{}", line, world.told()),
            }
        }
        prop_assert!(world.dispatcher.leads.is_empty(), "{:?}", world.dispatcher.leads.keys());
        prop_assert!(world.dispatcher.lead_of.is_empty());
    }

    /// However often the routes change: who heard that it began hears that it is over, and no key comes twice.
    #[test]
    fn new_routes_lose_no_end(acts in proptest::collection::vec((act(), 0..3usize), 0..40)) {
        fn routes(matcher: &str) -> Rules {
            let own = format!(r#"{{"matchers": ["{matcher}"], "group_wait": "20s"}}"#);
            let root = r#""receiver": "chat", "group_by": ["..."], "group_wait": "0s""#;
            rules(&format!(r#"{{{root}, "routes": [{own}]}}"#), r#"{"storm": {"incidents": 1000}}"#)
        }
        const ROUTES: [fn() -> Rules; 3] =
            [|| routes(r#"service_name=~\"s0|s1\""#), || routes(r#"service_name=~\"s[0-3]\""#), || routes(r#"service=\"none\""#)];
        let mut world = World::new(ROUTES[0]);
        world.restarts = true;
        let mut open: BTreeMap<u8, Incident> = BTreeMap::new();
        for (act, at) in &acts {
            world.rules = ROUTES[*at];
            happens(&mut world, &mut open, act);
        }
        for (_, one) in open {
            world.feed(Resolved, &one);
        }
        world.until((world.now - START) / SECOND + 100_000);
        let mut open: BTreeMap<&str, bool> = BTreeMap::new();
        for line in &world.told {
            let mut words = line.split(' ').skip(2);
            let (kind, title) = (words.next().unwrap(), words.next().unwrap());
            let was = open.insert(title, !kind.starts_with("resolved"));
            // What was closed by hand before anybody heard of it may come as one that is back.
            prop_assert!(was.is_some() || kind.contains("opened"), "{}\n{}", line, world.told());
        }
        prop_assert!(open.values().all(|open| !open), "{}", world.told());
        prop_assert!(world.dispatcher.leads.is_empty(), "{:?}", world.dispatcher.leads.keys());
    }

    /// Whatever the clock shows meanwhile: nothing is told twice (a key comes once, which every step checks), a minute after
    /// it is right again nothing waits any more, and in the end all is told.
    #[test]
    fn a_clock_that_jumps_loses_nothing_and_holds_nothing_up(
        acts in proptest::collection::vec((act(), -30..30i64), 0..40),
        restarts: bool,
    ) {
        let mut world = World::new(|| rules(
            r#"{"receiver": "chat", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}"#,
            r#"{"storm": {"incidents": 1000}}"#,
        ));
        world.restarts = restarts;
        let mut open: BTreeMap<u8, Incident> = BTreeMap::new();
        for (act, hours) in &acts {
            world.wrong = hours * HOUR;
            happens(&mut world, &mut open, act);
        }
        world.wrong = 0;
        world.step(Vec::new(), Vec::new(), false);
        world.until((world.now - START) / SECOND + 60);
        for lead in world.dispatcher.leads.values().filter(|lead| lead.incident.handling.snoozed.is_none()) {
            for told in lead.told.values() {
                prop_assert!(told.waits.is_none() && told.at <= world.now, "{told:?}\n{}", world.told());
            }
        }
        for (_, one) in open {
            world.feed(Resolved, &one);
        }
        world.until((world.now - START) / SECOND + 60);
        let waiting = world.dispatcher.leads.values().filter(|lead| lead.incident.handling.snoozed.is_none());
        prop_assert_eq!(waiting.count(), 0);
    }
}
