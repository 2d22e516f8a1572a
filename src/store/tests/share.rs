//! The budget of false alarms: divided once for all, whoever asks.

use std::time::Duration;

use super::*;
use crate::store::share::WHOLE;
use crate::store::{Claim, Shares};

on_both!(
    processes_with_other_settings_agree_on_one_division,
    a_restart_or_a_takeover_keeps_the_shares,
    what_nobody_claims_or_reads_gives_its_part_back,
);

const LONG: Duration = Duration::from_secs(3600);

fn claims(watches: &[&str]) -> Vec<Claim> {
    watches.iter().map(|watch| Claim { watch: (*watch).to_owned(), groups: 1 }).collect()
}

fn names(shares: &Shares) -> Vec<&str> {
    shares.all.iter().map(|one| one.watch.as_str()).collect()
}

fn sum(shares: &Shares) -> i64 {
    shares.all.iter().map(|one| one.share).sum()
}

async fn processes_with_other_settings_agree_on_one_division(ground: Ground) {
    let store = ground.open().await;
    let first = store.claim_shares(&claims(&["a", "b"]), T0, None).await.unwrap();
    assert_eq!((first.epoch, names(&first), sum(&first)), (1, vec!["a", "b"], WHOLE));
    // A file has one process at a time, which has the last word.
    let second = store.claim_shares(&claims(&["b", "c", "d"]), T0, None).await.unwrap();
    let all = if store.is_shared() { vec!["a", "b", "c", "d"] } else { vec!["b", "c", "d"] };
    assert_eq!((second.epoch, names(&second)), (2, all));
    assert!((WHOLE - 4..=WHOLE).contains(&sum(&second)), "{second:?}");
    // From then on both find the same, and write nothing.
    if store.is_shared() {
        for watches in [claims(&["a", "b"]), claims(&["b", "c", "d"])] {
            assert_eq!(store.claim_shares(&watches, T0, None).await.unwrap(), second);
        }
    }
    assert_eq!(store.shares().await.unwrap(), second);
}

async fn a_restart_or_a_takeover_keeps_the_shares(ground: Ground) {
    let store = ground.open().await;
    let mut wanted = claims(&["a", "b"]);
    wanted[0].groups = 30;
    let grown = store.claim_shares(&wanted, T0, None).await.unwrap();
    assert_eq!(grown.all.iter().map(|one| one.groups).collect::<Vec<_>>(), [40, 5]);
    store.close().await.unwrap();
    // Who takes over knows nothing of the groups yet.
    let store = ground.open().await;
    assert_eq!(store.claim_shares(&claims(&["a", "b"]), T0 + HOUR, None).await.unwrap(), grown);
    // Late by its lease, a process changes nothing.
    let late = store.lease("process/late", "late", LONG).await.unwrap().unwrap();
    store.release(&late).await.unwrap();
    store.lease("process/late", "next", LONG).await.unwrap().unwrap();
    let refused = store.claim_shares(&claims(&["c"]), T0 + HOUR, Some(&late)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    assert_eq!(store.shares().await.unwrap(), grown);
}

async fn what_nobody_claims_or_reads_gives_its_part_back(ground: Ground) {
    let store = ground.open().await;
    store.claim_shares(&claims(&["a", "b"]), T0, None).await.unwrap();
    let lease = store.lease("watch/b", "other", LONG).await.unwrap().unwrap();
    let ours = claims(&["a"]);
    if store.is_shared() {
        let read = store.claim_shares(&ours, T0 + HOUR, None).await.unwrap();
        assert_eq!((names(&read), read.epoch), (vec!["a", "b"], 1), "another still reads it");
    }
    store.release(&lease).await.unwrap();
    let left = store.claim_shares(&ours, T0 + HOUR, None).await.unwrap();
    assert_eq!((names(&left), sum(&left)), (vec!["a"], WHOLE));
}

#[tokio::test]
async fn who_divides_at_the_same_moment_leaves_out_nobody() {
    let Some(ground) = Ground::server() else { return };
    let (one, two) = (ground.open().await, ground.open().await);
    for n in 0..20 {
        let (of_one, of_two) = (format!("one{n}"), format!("two{n}"));
        let (of_one, of_two) = (claims(&[&of_one]), claims(&[&of_two]));
        let (first, second) = tokio::join!(one.claim_shares(&of_one, T0, None), two.claim_shares(&of_two, T0, None));
        let most = [first.unwrap(), second.unwrap()].map(|shares| shares.epoch).into_iter().max();
        let shares = one.shares().await.unwrap();
        assert_eq!((Some(shares.epoch), shares.all.len()), (most, 2 * n + 2));
        assert!(sum(&shares) <= WHOLE);
    }
}
