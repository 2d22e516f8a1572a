//! What each receiver hears, whatever the routes do.

use proptest::prelude::*;

use super::property::{act, happens};
use super::*;

/// A tree with these receivers at its root and these routes below it.
fn tree(receivers: &str, below: &[&str]) -> Rules {
    let root = format!(r#""receivers": [{receivers}], "group_by": ["..."], "group_wait": "0s""#);
    rules(&format!(r#"{{{root}, "routes": [{}]}}"#, below.join(",")), r#"{"storm": {"incidents": 1000}}"#)
}

const SOME: &str = r#""matchers": ["service_name=~\"s0|s1|s2\""]"#;
const OTHERS: &str = r#""matchers": ["service_name=~\"s1|s3\""]"#;
const BAD: &str = r#""matchers": ["severity=\"critical\""]"#;

/// Receivers come, go and move; two routes tell the same one, each at its own pace; some tell less than others.
const TREES: [fn() -> Rules; 8] = [
    || tree(r#""chat""#, &[]),
    || tree(r#""pager""#, &[]),
    || tree(r#""chat", "pager""#, &[&format!(r#"{{{SOME}, "receiver": "desk", "group_wait": "20s"}}"#)]),
    || {
        let some = format!(r#"{{{SOME}, "receivers": ["chat"], "group_interval": "1m", "continue": true}}"#);
        tree(r#""chat""#, &[&some, &format!(r#"{{{OTHERS}, "receivers": ["chat", "desk"], "group_wait": "2m"}}"#)])
    },
    || tree(r#""desk""#, &[&format!(r#"{{{BAD}, "receivers": ["chat", "pager"], "continue": true}}"#)]),
    || {
        let few = r#""min_severity": "warning", "interruptions_per_day": 2"#;
        tree(r#""desk""#, &[&format!(r#"{{{SOME}, "receivers": ["chat", "desk"], {few}}}"#)])
    },
    || tree(r#""pager""#, &[&format!(r#"{{{OTHERS}, "receiver": "chat", "group_interval": "20m"}}"#)]),
    || {
        let quiet = format!(r#"{{{SOME}, "receivers": ["chat", "desk"], "mute_time_intervals": ["night"]}}"#);
        let nights = r#"{"storm": {"incidents": 1000}, "time_intervals": [
            {"name": "night", "time_intervals": [{"times": [{"start_time": "23:00", "end_time": "24:00"}]}]}]}"#;
        rules(&format!(r#"{{"receiver": "pager", "group_wait": "10s", "routes": [{quiet}]}}"#), nights)
    },
];

/// Each receiver hears of an incident first that it is there, and again only when it is worse; nothing but of what it knows;
/// and once that it is over. Nothing is left.
fn check(world: &World) -> Result<(), TestCaseError> {
    let mut knows: BTreeMap<(&str, &str), Severity> = BTreeMap::new();
    for (receiver, incident, kind, severity) in &world.heard {
        let who = (receiver.as_str(), incident.as_str());
        let line = format!("{receiver} {incident} {}\n{}", kind.as_str(), world.told());
        match knows.get(&who) {
            Some(known) if kind.is_full() => prop_assert!(severity > known, "a beginning twice: {line}"),
            Some(_) => {}
            None => prop_assert!(kind.is_full(), "of what it does not know: {line}"),
        }
        knows.insert(who, *severity);
        // A digest, the only one about sigyn itself here, is over when it is told.
        if *kind == Resolved || !incident.starts_with('s') {
            knows.remove(&who);
        }
    }
    prop_assert!(knows.is_empty(), "no end: {knows:?}\n{}", world.told());
    prop_assert!(world.dispatcher.leads.is_empty(), "{:?}", world.dispatcher.leads.keys());
    Ok(())
}

/// The parts of the incident that came first, as the store has them.
fn first(world: &World) -> Option<Vec<(Incident, bool)>> {
    let (id, lead) = world.dispatcher.leads.iter().next()?;
    world.state.get(&format!("lead/{id}"))?;
    let part = |(part, of): (&String, &super::super::lead::Part)| {
        let (title, started_at, last_seen) = (of.member.title.clone(), of.member.started_at, of.member.last_seen);
        let incident = Incident { id: part.clone(), title, started_at, last_seen, ..lead.incident.clone() };
        (incident, of.is_open())
    };
    let own = lead.parts.get(id).is_some_and(super::super::lead::Part::is_open);
    let others = lead.parts.iter().filter(|(part, _)| *part != id).map(part);
    Some([(lead.incident.clone(), own)].into_iter().chain(others).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whoever heard that it began hears once that it is over, wherever the routes lead by then.
    #[test]
    fn whoever_heard_a_beginning_hears_one_end(
        acts in proptest::collection::vec((act(), 0..TREES.len(), 0..4u8), 0..50),
    ) {
        let mut world = World::new(TREES[0]);
        let mut open: BTreeMap<u8, Incident> = BTreeMap::new();
        for (act, at, change) in &acts {
            // New settings come with a restart, and not before each step.
            world.restarts = *change == 0;
            if world.restarts {
                world.rules = TREES[*at];
            }
            happens(&mut world, &mut open, act);
        }
        for (_, one) in open {
            world.feed(Resolved, &one);
        }
        world.until((world.now - START) / SECOND + 100_000);
        check(&world)?;
    }

    /// A restart with the same routes changes nothing that is told, also where routes share receivers.
    #[test]
    fn a_restart_with_the_same_routes_changes_nothing(
        acts in proptest::collection::vec(act(), 0..40),
        at in 0..TREES.len(),
    ) {
        let play = |restarts| {
            let mut world = World::new(TREES[at]);
            world.restarts = restarts;
            let mut open = BTreeMap::new();
            for act in &acts {
                happens(&mut world, &mut open, act);
            }
            world.until((world.now - START) / SECOND + 50_000);
            world.told()
        };
        prop_assert_eq!(play(false), play(true));
    }

    /// The same when documents become unreadable on the way.
    #[test]
    fn whoever_heard_a_beginning_hears_one_end_also_of_what_cannot_be_read(
        acts in proptest::collection::vec((act(), 0..TREES.len(), 0..4u8), 0..50),
    ) {
        let mut world = World::new(TREES[0]);
        let mut open: BTreeMap<u8, Incident> = BTreeMap::new();
        for (act, at, change) in &acts {
            if let Some(parts) = first(&world).filter(|_| *change == 0) {
                let parts: Vec<_> = parts.iter().map(|(part, open)| (part, *open)).collect();
                world.spoil(TREES[*at], &parts);
                world.step(Vec::new(), Vec::new(), false);
            }
            happens(&mut world, &mut open, act);
        }
        for (_, one) in open {
            world.feed(Resolved, &one);
        }
        world.until((world.now - START) / SECOND + 100_000);
        check(&world)?;
    }
}
