//! Lives with restarts: whole steps, each once.

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// One move of a life with restarts.
#[derive(Clone, Copy, Debug)]
enum Move {
    /// The next step is written.
    Commit,
    /// The last step is written once more.
    Again,
    /// The next step is begun and dropped.
    Drop,
    /// Closed in order, and opened.
    Reopen,
    /// Dropped without closing, and opened.
    Crash,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        5 => Just(Move::Commit),
        2 => Just(Move::Again),
        1 => Just(Move::Drop),
        1 => Just(Move::Reopen),
        1 => Just(Move::Crash),
    ];
    proptest::collection::vec(one, 1..20)
}

/// Step number `n` of a made-up day.
fn nth(n: i64) -> (Step, Vec<NewDelivery>) {
    let kind = if n % 4 == 0 { TransitionKind::Opened } else { TransitionKind::Continued };
    let id = format!("{:04x}", n / 4);
    let number = u64::try_from(n % 4 + 1).unwrap();
    let (mut step, rows) = told(vec![transition(number, kind, incident(&id, T0 + n / 4 * HOUR, State::Firing))]);
    step.done_until = T0 + n * MINUTE;
    step.windows = vec![window("cart", n, 0), window("pay", n, 0), window("cart", n - 1, 1)];
    step.carry = (n % 2 == 0).then(|| format!("carry {n}"));
    step.snapshots = vec![Snapshot { group: group("cart").fingerprint, until: n, model: format!("model {n}") }];
    (step, rows)
}

async fn live(ground: Ground, moves: &[Move]) -> (i64, Vec<String>) {
    let mut store = ground.open().await;
    let mut next = 0;
    for step in moves {
        match step {
            Move::Commit => {
                let (step, rows) = nth(next);
                write(&store, &step, &rows, T0 + next).await;
                next += 1;
            }
            Move::Again if next > 0 => {
                let (step, rows) = nth(next - 1);
                write(&store, &step, &rows, T0 + next - 1).await;
            }
            Move::Drop => {
                let (step, rows) = nth(next);
                let commit = Commit { step: &step, source_state: None, fence: None };
                drop_half_way(&store, &commit, 3).await;
                // All or nothing, and the position tells which.
                let done = store.watch_state("all").await.unwrap().map(|state| state.done_until);
                if done == Some(step.done_until) {
                    tell(&store, &rows, T0 + next).await;
                    next += 1;
                }
            }
            Move::Reopen => {
                store.close().await.unwrap();
                store = ground.open().await;
            }
            Move::Crash => {
                drop(store);
                store = ground.open().await;
            }
            Move::Again => {}
        }
    }
    store.close().await.unwrap();
    (next, ground.content().await)
}

fn leave_no_trace(ground: fn() -> Ground, moves: &[Move]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (committed, content) = runtime.block_on(live(ground(), moves));
    let plain = vec![Move::Commit; usize::try_from(committed).unwrap()];
    assert_eq!(content, runtime.block_on(live(ground(), &plain)).1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restarts_repeats_and_broken_off_steps_leave_no_trace(moves in moves()) {
        leave_no_trace(Ground::file, &moves);
    }
}

proptest! {
    // A database for each takes its time.
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nor_do_they_on_a_server(moves in moves()) {
        if Server::shared().is_some() {
            leave_no_trace(|| Ground::server().unwrap(), &moves);
        }
    }
}

/// Set for the child process of the next test: the folder of its store.
const CHILD: &str = "SIGYN_TEST_STORE_CHILD";

/// Does nothing in an ordinary run. As a child: writes one step after the other and says so, until it is killed.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let store = Store::open(Path::new(&dir)).await.unwrap();
    let done = store.watch_state("all").await.unwrap().map_or(-1, |state| (state.done_until - T0) / MINUTE);
    for n in done + 1.. {
        let (step, rows) = nth(n);
        write(&store, &step, &rows, T0 + n).await;
        println!("written {n}");
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_was_told_is_written() {
    use std::io::{BufRead, BufReader};
    let dir = TempDir::new().unwrap();
    for kill_after in [1, 7, 30] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::life::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let written = lines.filter_map(|line| line.split_once("written ").and_then(|(_, n)| n.parse::<i64>().ok()));
        let last = written.take(kill_after).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(dir.path()).await.unwrap();
        let done = (store.watch_state("all").await.unwrap().unwrap().done_until - T0) / MINUTE;
        assert!(done >= last, "told {last}, found {done}");
        // The step is whole; what the dispatcher makes of it is another transaction, and comes again.
        tell(&store, &nth(done).1, T0 + done).await;
        store.close().await.unwrap();
        let plain = vec![Move::Commit; usize::try_from(done + 1).unwrap()];
        assert_eq!(content(dir.path()).await, live(Ground::file(), &plain).await.1, "whole steps only");
    }
}
