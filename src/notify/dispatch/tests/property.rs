//! What holds whatever happens, in any order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Act {
    Feed(u8, TransitionKind, Severity),
    Wait(u32),
    Ack(u8),
    Snooze(u8, u32),
    Close(u8),
}

pub(super) fn act() -> impl Strategy<Value = Act> {
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

pub(super) fn happens(world: &mut World, open: &mut BTreeMap<u8, Incident>, act: &Act) {
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
