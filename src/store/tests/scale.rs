//! What many stored incidents cost. By hand:
//! `cargo test -p sigyn --lib -- --ignored --nocapture store::tests::scale`.

use super::*;

/// Times that each question is asked.
const TIMES: usize = 400;

/// CPU time of this process so far, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn nth(n: i64) -> Incident {
    let service = ["cart", "pay", "auth", "mail", "search"][usize::try_from(n % 5).unwrap()];
    let state = if n % 50 == 0 { State::Firing } else { State::Resolved };
    Incident {
        title: format!("{service}: {} than usual", ["more errors", "fewer lines", "longer lines"][(n % 3) as usize]),
        ..incident(&format!("{n:016x}"), T0 + n * MINUTE, state)
    }
}

async fn filled(ground: &Ground, count: i64) -> Store {
    let store = ground.open().await;
    for from in (0..count).step_by(1000) {
        let incidents = (from..(from + 1000).min(count)).map(nth).collect();
        write(&store, &Step { incidents, ..Step::default() }, &[], T0).await;
    }
    store
}

/// Ticks for list, search and change.
async fn cost(store: &Store, count: i64) -> [u64; 3] {
    let before = ticks();
    for _ in 0..TIMES {
        assert_eq!(store.incidents(None, 50, None).await.unwrap().len(), 50);
        assert!(!store.incidents(Some(State::Firing), 50, None).await.unwrap().is_empty());
    }
    let listed = ticks();
    let search = Search { text: Some("cart errors".to_owned()), ..Search::default() };
    for _ in 0..TIMES {
        assert_eq!(store.search(&search, 50, None).await.unwrap().len(), 50);
    }
    let found = ticks();
    for n in 0..TIMES {
        let mut changed = nth(i64::try_from(n).unwrap() * 7919 % count);
        changed.lines += 1;
        let changed = [changed];
        let step = Step { incidents: changed.to_vec(), ..Step::default() };
        write(store, &step, &[], T0).await;
        store.commit_dispatch(&Dispatched { incidents: &changed, ..Dispatched::default() }).await.unwrap();
    }
    [listed - before, found - listed, ticks() - found]
}

#[tokio::test]
#[ignore = "measures for a minute; see docs/reliability.md"]
async fn a_hundred_thousand_incidents_cost_little_more_than_a_thousand() {
    let grounds = (Ground::file(), Ground::file());
    let (few, many) = (filled(&grounds.0, 1_000).await, filled(&grounds.1, 100_000).await);
    let (of_few, of_many) = (cost(&few, 1_000).await, cost(&many, 100_000).await);
    for (what, (few, many)) in ["list", "search", "change"].iter().zip(of_few.into_iter().zip(of_many)) {
        println!("{what}: {few} ticks with 1,000, {many} with 100,000: {:.2} times", many as f64 / few as f64);
        assert!(many as f64 <= few as f64 * 1.5 + 5.0, "{what}");
    }
}
