//! Whatever fails, and whenever it is stopped or killed.

use super::*;

/// What happens to the outbox while it works.
#[derive(Clone, Copy, Debug)]
enum Event {
    Tell(usize),
    Pass,
    Stop,
    Kill,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0..3usize).prop_map(Event::Tell),
        4 => Just(Event::Pass),
        1 => Just(Event::Stop),
        1 => Just(Event::Kill),
    ];
    proptest::collection::vec(event, 1..16)
}

/// Whatever fails and whenever it is stopped or killed: in the end each message was taken or is visibly dead, each
/// receiver saw the transitions of each incident in order, and only a failure or a kill makes a second attempt.
async fn check(slack: Vec<Answer>, github: Vec<Answer>, events: Vec<Event>) {
    let world = World::new().await;
    let failures = |answers: &[Answer]| answers.iter().filter(|answer| matches!(answer, Answer::Retry(_))).count();
    let allowed = BTreeMap::from([("slack", failures(&slack)), ("github", failures(&github))]);
    world.script("slack", slack, Answer::Take);
    world.script("github", github, Answer::Take);
    let (mut told, mut kills) = ([0u64; 3], 0);
    let mut running = world.start();
    for event in events {
        match event {
            Event::Tell(incident) => {
                told[incident] += 1;
                world.tell(["aa", "bb", "cc"][incident], told[incident]).await;
                running.wake.notify_one();
            }
            Event::Pass => {
                let end = world.now.load(Ordering::SeqCst) + 3 * SECOND;
                world.until(&running, SECOND, async || world.now.load(Ordering::SeqCst) >= end).await;
            }
            Event::Stop => {
                running.stop().await;
                running = world.start();
            }
            Event::Kill => {
                running.kill().await;
                kills += 1;
                running = world.start();
            }
        }
    }
    world.until_drained(&running, 10 * SECOND).await;
    running.stop().await;
    for receiver in RECEIVERS {
        let keys = world.keys(receiver);
        let all: usize = told.iter().map(|count| usize::try_from(*count).unwrap()).sum();
        for (incident, count) in ["aa", "bb", "cc"].iter().zip(told) {
            let mut seen: Vec<_> = keys.iter().filter(|key| key.starts_with(incident)).cloned().collect();
            seen.dedup();
            let expected: Vec<_> = (1..=count).map(|number| format!("{incident}/{number}/{receiver}")).collect();
            assert_eq!(seen, expected, "each, in order");
        }
        assert!(keys.len() <= all + allowed[receiver] + kills, "{receiver}: {keys:?}");
    }
    let counts = world.store.deliveries_by_state().await.unwrap();
    assert_eq!(counts.sent + counts.dead, 2 * told.iter().sum::<u64>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_whatever_fails(slack in answers(), github in answers(), events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(slack, github, events));
    }
}
