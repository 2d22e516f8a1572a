//! What only a file can meet: locks, rights, damage, a full disk.

use std::path::Path;

use super::*;

/// An error as a test can compare it: without the folder's random name.
fn told_to_people(error: &StoreError, dir: &Path) -> String {
    error.to_string().replace(&dir.display().to_string(), "/data").replace(&std::process::id().to_string(), "42")
}

#[tokio::test]
async fn a_second_writer_is_refused_and_a_reader_is_not() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let error = Store::open(dir.path()).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"another sigyn (process 42) works on /data/sigyn.db; stop it, or give this one its own `store.data_dir`"
    );
    let reader = Store::open_read_only(dir.path()).await.unwrap();
    let step = Step { incidents: vec![incident("aaaa", T0, State::Firing)], ..Step::default() };
    write(&store, &step, &[], T0).await;
    assert_eq!(reader.incidents(None, 9, None).await.unwrap().len(), 1, "it sees what is written meanwhile");
    let commit = Commit { step: &step, source_state: None, fence: None };
    let error = reader.commit(&commit).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"cannot write a step to /data/sigyn.db: it was opened for reading only"
    );
    store.close().await.unwrap();
    Store::open(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_store_lets_the_next_one_in() {
    let dir = TempDir::new().unwrap();
    for done_until in 0..5 {
        let store = Store::open(dir.path()).await.unwrap();
        let step = Step { watch: Some(Arc::from("all")), done_until, ..Step::default() };
        write(&store, &step, &[], T0).await;
    }
    let store = Store::open_read_only(dir.path()).await.unwrap();
    assert_eq!(store.watch_state("all").await.unwrap().unwrap().done_until, 4);
}

#[tokio::test]
async fn a_reader_without_a_store_is_told_what_to_do() {
    let dir = TempDir::new().unwrap();
    let error = Store::open_read_only(dir.path()).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"there is no store at /data/sigyn.db; `sigyn run` or `sigyn once` makes one, or point `store.data_dir` to the folder of an existing one"
    );
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "reading makes no files");
    std::fs::write(dir.path().join("sigyn.db"), "").unwrap();
    let error = Store::open_read_only(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Older { found: 0, .. }), "a first start that was cut off: {error}");
    Store::open(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("sigyn.db"), "no database at all, but long enough to look like one".repeat(99))
        .unwrap();
    for error in [Store::open(dir.path()).await.unwrap_err(), Store::open_read_only(dir.path()).await.unwrap_err()] {
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Store::open(&dir.path().join("file/data")).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"cannot make the folder /data/file/data: Not a directory (os error 20); sigyn's user must be able to write the folder and its files"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_may_not_be_written_is_refused_but_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let mode = |mode| std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let step = Step { incidents: vec![incident("aaaa", T0, State::Firing)], ..Step::default() };
    write(&store, &step, &[], T0).await;
    store.close().await.unwrap();
    std::fs::remove_file(dir.path().join("sigyn.lock")).unwrap();
    mode(0o500);
    if std::fs::write(dir.path().join("probe"), "").is_ok() {
        println!("SKIPPED: this user may write everywhere (root)");
        return;
    }
    let error = Store::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    let reader = Store::open_read_only(dir.path()).await.unwrap();
    assert_eq!(reader.incidents(None, 9, None).await.unwrap().len(), 1);
    mode(0o700);
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing_by_halves() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    // SQLite's own limit answers as a disk without room does.
    store.write("limit", Statement::plain("PRAGMA max_page_count = 60")).await.unwrap();
    let (mut step, _) = told(vec![transition(1, TransitionKind::Opened, incident("00aa", T0, State::Firing))]);
    step.windows = (0..2000).map(|minute| window("cart", minute, 0)).collect();
    let commit = Commit { step: &step, source_state: None, fence: None };
    let error = store.commit(&commit).await.unwrap_err();
    insta::assert_snapshot!(
        told_to_people(&error, dir.path()),
        @"cannot write a step to /data/sigyn.db: the disk is full; make room, or lower `store.window_retention`. Nothing was written by halves"
    );
    assert_eq!(store.watch_state("all").await.unwrap(), None);
    assert_eq!(store.windows_all_since("all", 0).await.unwrap(), []);
    // There is room again: it goes on.
    store.write("limit", Statement::plain("PRAGMA max_page_count = 100000")).await.unwrap();
    store.commit(&commit).await.unwrap();
    assert_eq!(store.windows_all_since("all", 0).await.unwrap().len(), 2000);
}

#[tokio::test]
async fn people_can_order_something_while_another_process_works() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let beside = Store::open_beside(dir.path()).await.unwrap();
    let mark = Mark { by: "ann".to_owned(), at: T0, note: None };
    let kind = CommandKind::Incident { incident: "00aa".to_owned(), order: Order::Acknowledge(mark) };
    beside.append_command(&kind, T0).await.unwrap();
    // It is not the engine's to carry out.
    assert_eq!(store.pending_commands().await.unwrap(), []);
    beside.close().await.unwrap();
    store.close().await.unwrap();
    let elsewhere = TempDir::new().unwrap();
    assert!(matches!(Store::open_beside(elsewhere.path()).await, Err(StoreError::Missing { .. })));
}
