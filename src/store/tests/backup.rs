//! Backup and restore, from either database into either; and whether a store is whole.

use super::*;
use crate::store::{Copied, restore};

on_both!(what_is_backed_up_comes_back_in_either_database, a_whole_store_is_well_and_a_damaged_one_is_not);

async fn full(store: &Store) {
    let opened = transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing));
    let (mut step, rows) = told(vec![opened]);
    step.windows = (0..50).map(|minute| window("cart", minute, 0)).collect();
    step.windows[3].judgement.threshold = Some(f64::INFINITY);
    step.gaps = vec![Gap { range: TimeRange::new(T0, T0 + 1), lines: None, reason: GapReason::FullNanosecond }];
    step.patterns = Some(b"\x00templates".to_vec());
    step.snapshots = vec![Snapshot { group: group("cart").fingerprint, until: T0, model: "v1 \"one\"".to_owned() }];
    write(store, &step, &rows, T0).await;
    let mark = Mark { by: "ann".to_owned(), at: T0, note: None };
    let kind = CommandKind::Incident { incident: "00aa".to_owned(), order: Order::Acknowledge(mark) };
    store.append_command(&kind, T0).await.unwrap();
    let state = [("key".to_owned(), Some("document".to_owned()))];
    store.commit_dispatch(&Dispatched { state: &state, ..Dispatched::default() }).await.unwrap();
}

async fn what_is_backed_up_comes_back_in_either_database(ground: Ground) {
    let store = ground.open().await;
    full(&store).await;
    let file = ground.dir.path().join("backup.gz");
    let copied = store.backup(&file, T0).await.unwrap();
    let again = store.backup(&file, T0).await.unwrap_err().to_string();
    assert!(again.ends_with("backup.gz: it is there already; name another one"), "{again}");
    let before = ground.content().await;

    for other in [Some(Ground::file()), Ground::server()].into_iter().flatten() {
        let back: Copied = restore(&file, other.place()).await.unwrap();
        assert_eq!(back, copied);
        assert_eq!(other.content().await, before);
        // It goes on from there: numbers are new ones.
        let there = other.open().await;
        assert_eq!(there.windows_all_since("all", 0).await.unwrap(), store.windows_all_since("all", 0).await.unwrap());
        assert_eq!(there.watch_state("all").await.unwrap(), store.watch_state("all").await.unwrap());
        let (step, rows) = told(vec![transition(2, TransitionKind::Continued, incident("00aa", T0, State::Firing))]);
        write(&there, &step, &rows, T0).await;
        assert_eq!(there.queued(9).await.unwrap().len(), 2);
        assert_eq!(there.check().await.unwrap().faults, [""; 0]);
        there.close().await.unwrap();
        let used = restore(&file, other.place()).await.unwrap_err().to_string();
        assert!(used.contains("holds watches already; restore into a new place"), "{used}");
    }

    // Cut off, damaged, something else: nothing is restored.
    let whole = std::fs::read(&file).unwrap();
    let bad = ground.dir.path().join("bad.gz");
    for (content, reason) in [
        (&whole[..whole.len() / 2], "damaged"),
        (&whole[..0], "no backup of sigyn"),
        (&b"{}"[..], "damaged or no backup of sigyn"),
    ] {
        std::fs::write(&bad, content).unwrap();
        let place = Ground::file();
        let error = restore(&bad, place.place()).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        if place.dir.path().join("made/on/the/way/sigyn.db").exists() {
            assert_eq!(place.open().await.watch_names().await.unwrap(), [""; 0]);
        }
    }
}

async fn a_whole_store_is_well_and_a_damaged_one_is_not(ground: Ground) {
    let store = ground.open().await;
    full(&store).await;
    let health = store.check().await.unwrap();
    assert_eq!((health.version, &health.faults[..]), (5, &[][..]));
    assert_eq!(health.tables.iter().find(|(name, _)| name == "windows").unwrap().1, 50);
    store.write("spoil", Statement::plain("UPDATE transitions SET document = '{'")).await.unwrap();
    let health = store.check().await.unwrap();
    assert_eq!(health.faults.len(), 1);
    assert!(health.faults[0].starts_with("transitions: what is stored of 00aa cannot be read"), "{:?}", health.faults);
    let state = [("lead/00aa".to_owned(), Some("{}".to_owned()))];
    store.commit_dispatch(&Dispatched { state: &state, ..Dispatched::default() }).await.unwrap();
    let health = store.check().await.unwrap();
    assert!(
        health.faults[1].starts_with("dispatch: what is stored of lead/00aa cannot be read"),
        "{:?}",
        health.faults
    );
}

#[tokio::test]
async fn a_backup_of_another_version_is_refused_or_brought_up_to_date() {
    let ground = Ground::file();
    let file = ground.dir.path().join("old.gz");
    let lines = |version: i64| {
        format!(
            "{{\"sigyn_backup\":1,\"version\":{version},\"made_at\":7}}\n\
             {{\"table\":\"incidents\",\"columns\":[\"tenant\",\"id\",\"fingerprint\",\"watch\",\"title\",\"state\",\
             \"severity\",\"started_at\",\"last_seen\",\"document\"]}}\n\
             [\"default\",\"00aa\",\"\",\"all\",\"cart: errors\",\"firing\",\"info\",5,6,{}]\n\
             {{\"end\":true,\"rows\":1}}\n",
            serde_json::to_string(&serde_json::to_string(&incident("00aa", 5, State::Firing)).unwrap()).unwrap()
        )
        .replace("\"end\":true,", "")
    };
    let write = |text: String| {
        let mut out = flate2::write::GzEncoder::new(std::fs::File::create(&file).unwrap(), flate2::Compression::fast());
        std::io::Write::write_all(&mut out, text.as_bytes()).unwrap();
        out.finish().unwrap();
    };
    write(lines(99));
    let error = restore(&file, ground.place()).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    write(lines(2));
    restore(&file, ground.place()).await.unwrap();
    let search = Search { text: Some("errors".to_owned()), ..Search::default() };
    assert_eq!(ground.open().await.search(&search, 9, None).await.unwrap().len(), 1);
}
