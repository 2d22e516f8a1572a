//! What stands between the engine and people.

use super::*;
use crate::incident::{Handling, Member};
use crate::store::resume::command;

on_both!(
    every_transition_is_queued_once_and_stays_until_it_is_taken,
    a_problem_of_two_groups_is_one_incident_in_lists,
    incidents_are_found_by_words_of_their_titles_page_by_page,
    orders_and_silences_are_kept_until_they_are_done,
    what_cannot_be_read_holds_up_nothing_else,
    however_much_cannot_be_read_what_comes_after_it_is_found,
    what_was_told_of_an_incident_is_known_without_its_documents,
    who_lost_the_lease_writes_nothing,
    open_incidents_about_sigyn_itself_are_the_engines_whatever_people_do,
    a_store_of_an_older_sigyn_keeps_its_messages_and_their_order,
);

async fn queue(store: &Store) -> Vec<String> {
    let queued = store.queued(100).await.unwrap();
    queued.iter().map(|row| format!("{}/{}", row.transition.incident.id, row.transition.number)).collect()
}

fn firing(id: &str) -> Incident {
    incident(id, T0, State::Firing)
}

async fn every_transition_is_queued_once_and_stays_until_it_is_taken(ground: Ground) {
    let store = ground.open().await;
    let (step, _) = told(vec![
        transition(1, TransitionKind::Opened, firing("00bb")),
        transition(1, TransitionKind::Opened, firing("00aa")),
    ]);
    write(&store, &step, &[], T0).await;
    assert_eq!(queue(&store).await, ["00bb/1", "00aa/1"]);
    let first = store.queued(1).await.unwrap()[0].clone();
    assert_eq!(first.transition, step.transitions[0]);
    store.commit_dispatch(&Dispatched { taken: &[first.seq], ..Dispatched::default() }).await.unwrap();
    assert_eq!(queue(&store).await, ["00aa/1"]);
    // Written again after it was taken: it does not come back.
    write(&store, &step, &[], T0).await;
    assert_eq!(queue(&store).await, ["00aa/1"]);
    let (step, _) = told(vec![transition(2, TransitionKind::Continued, firing("00bb"))]);
    write(&store, &step, &[], T0).await;
    assert_eq!(queue(&store).await, ["00aa/1", "00bb/2"]);
    assert_eq!(store.deliveries_by_state().await.unwrap(), DeliveryCounts::default());
}

/// As in a rolling update, when a newer sigyn has written what this one does not know.
async fn what_cannot_be_read_holds_up_nothing_else(ground: Ground) {
    let store = ground.open().await;
    let (step, _) = told(vec![
        transition(1, TransitionKind::Opened, firing("00aa")),
        transition(1, TransitionKind::Opened, firing("00bb")),
    ]);
    write(&store, &step, &[], T0).await;
    let order = || CommandKind::Resend { receiver: None, incident: None };
    let internal = |on: &str| {
        let (problem, on, detail) = ("lag".to_owned(), on.to_owned(), String::new());
        CommandKind::Internal { problem, on, firing: true, since: None, detail }
    };
    for kind in [order(), order(), internal("one"), internal("two")] {
        store.append_command(&kind, T0).await.unwrap();
    }
    for spoil in [
        "UPDATE transitions SET document = '{\"kind\":\"of tomorrow\"}' WHERE incident = '00aa'",
        "UPDATE commands SET document = '{\"kind\":\"of_tomorrow\"}' WHERE id IN (1, 3)",
    ] {
        store.write("spoil", Statement::plain(spoil)).await.unwrap();
    }
    assert_eq!(queue(&store).await, ["00bb/1"]);
    let ids = |commands: Vec<crate::engine::Command>| commands.iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(ids(store.pending_orders().await.unwrap()), [2]);
    assert_eq!(ids(store.pending_commands().await.unwrap()), [4]);

    // Said once, and shown for as long as they are there.
    let news = async |store: &Store| {
        let question = || Statement::of(super::super::dispatch::ORDERS);
        let (_, news) = store.read_noting(("read", "an order"), question(), command).await.unwrap();
        news.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(news(&store).await, [""; 0], "it was said above");
    let spoil = "UPDATE commands SET document = '{\"kind\":\"of_tomorrow\"}' WHERE id = 2";
    store.write("spoil", Statement::plain(spoil)).await.unwrap();
    assert_eq!(news(&store).await, ["2"]);
    assert_eq!(news(&store).await, [""; 0]);
    let faults = store.check().await.unwrap().faults;
    for name in
        ["transitions: what is stored of 00aa ", "commands: what is stored of order 1 ", "of order 2 ", "of lag/one "]
    {
        assert_eq!(faults.iter().filter(|fault| fault.contains(name)).count(), 1, "{name}: {faults:?}");
    }
    store.close().await.unwrap();
    assert_eq!(news(&ground.open().await).await, ["1", "2"], "another process says it once more");
}

async fn however_much_cannot_be_read_what_comes_after_it_is_found(ground: Ground) {
    let store = ground.open().await;
    let all = (0..9).map(|n| transition(1, TransitionKind::Opened, firing(&format!("{n:04}"))));
    write(&store, &told(all.collect()).0, &[], T0).await;
    let spoil = "UPDATE transitions SET document = '{}' WHERE incident < '0007'";
    store.write("spoil", Statement::plain(spoil)).await.unwrap();
    let mut looks = Vec::new();
    for _ in 0..5 {
        let found = store.queued(2).await.unwrap();
        looks.push(found.into_iter().map(|one| one.transition.incident.id).collect::<Vec<_>>());
    }
    assert_eq!(looks.last().unwrap(), &["0007", "0008"], "{looks:?}");
    assert!(looks.iter().all(|look| look.len() <= 2), "{looks:?}");
}

async fn a_problem_of_two_groups_is_one_incident_in_lists(ground: Ground) {
    let store = ground.open().await;
    let mut pay = incident("00bb", T0 + MINUTE, State::Firing);
    pay.title = "payment: Lines never seen before".to_owned();
    let (step, _) = told(vec![
        transition(1, TransitionKind::Opened, firing("00aa")),
        transition(1, TransitionKind::Opened, pay.clone()),
    ]);
    write(&store, &step, &[], T0).await;
    assert_eq!(store.incidents(None, 9, None).await.unwrap().len(), 2);

    let mark = Mark { by: "ann".to_owned(), at: T0, note: None };
    let handling = Handling {
        members: vec![Member::from(&pay)],
        acknowledged: Some(mark.clone()),
        held_back: 2,
        ..Handling::default()
    };
    let lead = Incident { handling, severity: Severity::Critical, ..firing("00aa") };
    let handling = Handling { lead: Some("00aa".to_owned()), ..Handling::default() };
    let member = Incident { handling, ..pay.clone() };
    let notice = transition(1, TransitionKind::Opened, lead.clone());
    let state = [("group/1".to_owned(), Some("one".to_owned())), ("group/2".to_owned(), Some("two".to_owned()))];
    let dispatched = Dispatched {
        taken: &[1, 2],
        incidents: &[lead.clone(), member.clone()],
        notices: std::slice::from_ref(&notice),
        deliveries: &deliveries(&notice, &["slack"]),
        state: &state,
        now: T0,
        ..Dispatched::default()
    };
    store.commit_dispatch(&dispatched).await.unwrap();
    let before = ground.content().await;
    store.commit_dispatch(&dispatched).await.unwrap();
    assert_eq!(ground.content().await, before, "written twice is written once");
    assert_eq!(queue(&store).await, [""; 0]);

    assert_eq!(store.incidents(None, 9, None).await.unwrap(), std::slice::from_ref(&lead));
    let all = Search { members: true, ..Search::default() };
    assert_eq!(store.search(&all, 9, None).await.unwrap(), [member.clone(), lead.clone()]);
    let detail = store.incident("00aa").await.unwrap().unwrap();
    assert_eq!((&detail.members[..], &detail.notices[..]), (&[member][..], &[notice.clone()][..]));
    assert_eq!(detail.transitions[0].incident, firing("00aa"), "what the engine said stays as it was");
    assert_eq!(store.due_deliveries("slack", T0, 9).await.unwrap()[0].notification.transition, notice);

    // The engine goes on; what people and the grouping made of it stays.
    let mut later = firing("00aa");
    later.lines = 999;
    later.last_seen += HOUR;
    later.severity = Severity::Info;
    let step = Step { incidents: vec![later.clone()], ..Step::default() };
    write(&store, &step, &[], T0).await;
    let found = store.incident("00aa").await.unwrap().unwrap().incident;
    assert_eq!((found.lines, found.last_seen, found.severity), (999, later.last_seen, Severity::Critical));
    assert_eq!(found.handling.acknowledged, Some(mark));
    assert_eq!(found.handling.members.len(), 1);

    // Closed by hand while the engine still sees it.
    let closed = Incident { state: State::Resolved, resolved_at: Some(T0 + HOUR), ..found };
    store.commit_dispatch(&Dispatched { incidents: &[closed], ..Dispatched::default() }).await.unwrap();
    write(&store, &step, &[], T0).await;
    assert_eq!(store.incidents(Some(State::Firing), 9, None).await.unwrap(), []);
    assert_eq!(store.incidents(Some(State::Resolved), 9, None).await.unwrap()[0].resolved_at, Some(T0 + HOUR));

    assert_eq!(
        store.dispatch_state().await.unwrap(),
        [("group/1".to_owned(), "one".to_owned()), ("group/2".to_owned(), "two".to_owned())]
    );
    let state = [("group/1".to_owned(), None), ("group/2".to_owned(), Some("2".to_owned()))];
    store.commit_dispatch(&Dispatched { state: &state, ..Dispatched::default() }).await.unwrap();
    assert_eq!(store.dispatch_state().await.unwrap(), [("group/2".to_owned(), "2".to_owned())]);
}

async fn incidents_are_found_by_words_of_their_titles_page_by_page(ground: Ground) {
    let store = ground.open().await;
    let title =
        |n: i64| format!("{}: {} errors", ["cart", "Pay-1"][(n % 2) as usize], ["more", "no"][(n % 3 / 2) as usize]);
    let incidents = (0..40)
        .map(|n| Incident { title: title(n), ..incident(&format!("{n:04x}"), T0 + n / 5 * SECOND, State::Firing) });
    let step = Step { incidents: incidents.collect(), ..Step::default() };
    write(&store, &step, &[], T0).await;
    let find = async |text: &str, state| {
        let search = Search { text: Some(text.to_owned()), state, members: false };
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.search(&search, 3, cursor.as_ref()).await.unwrap();
            let Some(last) = page.last() else { break };
            cursor = Some(Cursor::from(last));
            seen.extend(page.into_iter().map(|incident| (incident.started_at, incident.id)));
        }
        assert!(seen.is_sorted_by(|newer, older| newer > older), "{text}");
        seen.len()
    };
    for (text, count) in [
        ("cart", 20),
        ("PAY", 20),
        ("errors no cart", 7),
        ("pay-1: more errors", 14),
        ("car", 0),
        ("cart pay", 0),
        ("% _", 40),
        ("", 40),
        ("errors, errors, errors; more 1 pay than four", 0),
    ] {
        assert_eq!(find(text, None).await, count, "{text}");
    }
    assert_eq!(find("cart", Some(State::Resolved)).await, 0);

    // A title that changes is found by its new words only.
    let renamed = Incident { title: "cart: silent".to_owned(), ..step.incidents[0].clone() };
    write(&store, &Step { incidents: vec![renamed], ..Step::default() }, &[], T0).await;
    assert_eq!((find("cart errors", None).await, find("silent", None).await), (19, 1));
}

async fn orders_and_silences_are_kept_until_they_are_done(ground: Ground) {
    let store = ground.open().await;
    let mark = Mark { by: "ann".to_owned(), at: T0, note: None };
    let kind = CommandKind::Incident { incident: "00aa".to_owned(), order: Order::Resolve(mark) };
    let id = store.append_command(&kind, T0).await.unwrap();
    assert_eq!(store.pending_orders().await.unwrap(), [crate::engine::Command { id, at: T0, kind }]);
    let silence = StoredSilence { id: "s1".to_owned(), document: "{}".to_owned(), ends_at: None, expired_at: None };
    let ended = StoredSilence { id: "s2".to_owned(), ends_at: Some(T0), ..silence.clone() };
    let silences = [("s1".to_owned(), Some(silence.clone())), ("s2".to_owned(), Some(ended.clone()))];
    let dispatched = Dispatched { orders_done: &[id], silences: &silences, now: T0, ..Dispatched::default() };
    store.commit_dispatch(&dispatched).await.unwrap();
    assert_eq!(store.pending_orders().await.unwrap(), []);
    assert_eq!(store.silences().await.unwrap(), [silence.clone(), ended]);
    assert_eq!(store.prune(T0 + 91 * 24 * HOUR, &StoreConfig::default()).await.unwrap(), 2, "the order and a silence");
    assert_eq!(store.silences().await.unwrap(), [silence]);
    let gone = [("s1".to_owned(), None)];
    store.commit_dispatch(&Dispatched { silences: &gone, ..Dispatched::default() }).await.unwrap();
    assert_eq!(store.silences().await.unwrap(), []);
}

async fn what_was_told_of_an_incident_is_known_without_its_documents(ground: Ground) {
    let store = ground.open().await;
    assert_eq!(store.recall("00aa").await.unwrap(), None);
    let lead = Incident { severity: Severity::Critical, ..firing("00aa") };
    let member = firing("00bb");
    let (step, _) = told(vec![
        transition(1, TransitionKind::Opened, lead.clone()),
        transition(1, TransitionKind::Opened, member.clone()),
    ]);
    write(&store, &step, &[], T0).await;
    let handling = Handling { members: vec![Member::from(&member)], ..Handling::default() };
    let seen = Incident { handling, ..lead.clone() };
    let part =
        Incident { handling: Handling { lead: Some("00aa".to_owned()), ..Handling::default() }, ..member.clone() };
    let handled = [seen.clone(), part];
    store.commit_dispatch(&Dispatched { incidents: &handled, ..Dispatched::default() }).await.unwrap();
    let bad = |one: &Incident| Incident { severity: Severity::Warning, ..one.clone() };
    for (number, kind, incident, receivers) in [
        (1, TransitionKind::Opened, bad(&seen), &["chat", "desk", "slack"][..]),
        (2, TransitionKind::Escalated, seen.clone(), &["chat", "desk"]),
        (3, TransitionKind::Resolved, seen.clone(), &["desk"]),
    ] {
        let notice = Transition { at: T0 + number, ..transition(number.unsigned_abs(), kind, incident) };
        tell(&store, &deliveries(&notice, receivers), T0).await;
    }
    let known = store.recall("00aa").await.unwrap().unwrap();
    assert_eq!(known.incident, seen);
    assert_eq!(known.parts, [(lead, true), (member, true)]);
    assert_eq!(known.last, (3, T0 + 3));
    let heard = |one: &str, severity| (one.to_owned(), severity);
    let expected = [heard("chat", Severity::Critical), heard("slack", Severity::Warning)];
    assert_eq!(known.heard.into_iter().collect::<Vec<_>>(), expected);

    // One part is over, and no document can be read.
    let over = Step { incidents: vec![incident("00bb", T0, State::Resolved)], ..Step::default() };
    write(&store, &over, &[], T0).await;
    for spoil in [
        "UPDATE incidents SET document = '{}', handling = '{\"members\": 1}'",
        "UPDATE notices SET document = '{\"kind\":\"of tomorrow\"}'",
    ] {
        store.write("spoil", Statement::plain(spoil)).await.unwrap();
    }
    let known = store.recall("00aa").await.unwrap().unwrap();
    let Incident { id, title, severity, started_at, .. } = known.incident;
    assert_eq!((id, title, severity, started_at), (seen.id, seen.title, seen.severity, seen.started_at));
    assert!(known.incident.detail.is_some_and(|detail| detail.contains("cannot be read")));
    assert_eq!(
        known.parts.iter().map(|(part, open)| (part.id.as_str(), *open)).collect::<Vec<_>>(),
        [("00aa", true), ("00bb", false)]
    );
    assert_eq!(known.last, (3, T0 + 3));
    let expected = [heard("chat", Severity::Info), heard("slack", Severity::Info)];
    assert_eq!(known.heard.into_iter().collect::<Vec<_>>(), expected);
}

async fn who_lost_the_lease_writes_nothing(ground: Ground) {
    let store = ground.open().await;
    let fence = Fence { name: "dispatch".to_owned(), token: 1 };
    let state = [("key".to_owned(), Some("document".to_owned()))];
    let dispatched = Dispatched { state: &state, fence: Some(&fence), ..Dispatched::default() };
    let before = ground.content().await;
    let error = store.commit_dispatch(&dispatched).await.unwrap_err();
    insta::allow_duplicates! { insta::assert_snapshot!(error, @"another process has taken over `dispatch`; nothing was written"); }
    let (step, _) = told(vec![transition(1, TransitionKind::Opened, firing("00aa"))]);
    let commit = Commit { step: &step, source_state: None, fence: Some(&fence) };
    assert!(matches!(store.commit(&commit).await, Err(StoreError::Fenced { .. })));
    assert_eq!(ground.content().await, before);
    assert_eq!(store.dispatch_state().await.unwrap(), []);
}

async fn open_incidents_about_sigyn_itself_are_the_engines_whatever_people_do(ground: Ground) {
    let store = ground.open().await;
    let ill = Incident { watch: "sigyn".to_owned(), ..firing("00aa") };
    let over = Incident { watch: "sigyn".to_owned(), ..incident("00bb", T0, State::Resolved) };
    let step = Step { incidents: vec![ill.clone(), over, firing("00cc")], ..Step::default() };
    write(&store, &step, &[], T0).await;
    let handling = Handling { lead: Some("00cc".to_owned()), ..Handling::default() };
    let closed = Incident { state: State::Resolved, handling, ..ill.clone() };
    store.commit_dispatch(&Dispatched { incidents: &[closed], ..Dispatched::default() }).await.unwrap();
    assert_eq!(store.open_internal().await.unwrap(), [ill]);
}

async fn a_store_of_an_older_sigyn_keeps_its_messages_and_their_order(ground: Ground) {
    // As the version before the third migration left it.
    let store = Store::open_with(ground.place(), Some(2)).await.unwrap();
    let stored = transition(1, TransitionKind::Opened, firing("00aa"));
    let (document, sent) = (serde_json::to_string(&stored.incident).unwrap(), serde_json::to_string(&stored).unwrap());
    for (id, state) in [("00aa", "firing"), ("00bb", "resolved")] {
        let row = Statement::plain(
            "INSERT INTO incidents (tenant, id, fingerprint, watch, title, state, severity, started_at, last_seen, document)
             VALUES ('default', $1, '', 'sigyn', 'cart: more errors', $2, 'warning', $3, $3, $4)",
        );
        store.write("fill", row.bind(id).bind(state).bind(T0).bind(&document)).await.unwrap();
        for number in [1_i64, 2] {
            let row = Statement::plain("INSERT INTO transitions VALUES ('default', $1, $2, 'opened', $3, $4)");
            store.write("fill", row.bind(id).bind(number).bind(T0).bind(&sent)).await.unwrap();
        }
    }
    for (key, state, receipt) in [("a", "sent", Some("{}")), ("b", "pending", None), ("gone", "pending", None)] {
        let row = Statement::plain(
            "INSERT INTO deliveries (tenant, key, receiver, incident, number, links, state, next_at, changed_at, receipt)
             VALUES ('default', $1, 'slack', '00aa', 1, '{}', $2, 0, 0, $3)",
        );
        store.write("fill", row.bind(key).bind(state).bind(receipt)).await.unwrap();
    }
    store.write("fill", Statement::plain("DELETE FROM deliveries WHERE key = 'gone'")).await.unwrap();
    store.close().await.unwrap();

    let store = ground.open().await;
    let due = store.due_deliveries("slack", T0, 9).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].notification.key.as_str(), due[0].earlier.is_some()), ("b", true));
    assert_eq!(store.incident("00aa").await.unwrap().unwrap().notices.len(), 1, "only what was told");
    assert_eq!(store.open_internal().await.unwrap().len(), 1);
    assert_eq!(queue(&store).await, [""; 0], "what was told before is not dispatched again");
    let search = Search { text: Some("cart".to_owned()), ..Search::default() };
    assert_eq!(store.search(&search, 9, None).await.unwrap().len(), 2);
    let (step, rows) = told(vec![transition(1, TransitionKind::Opened, firing("00cc"))]);
    write(&store, &step, &rows, T0).await;
    let ids: Vec<i64> = store.due_deliveries("slack", T0, 9).await.unwrap().iter().map(|row| row.id).collect();
    assert_eq!(ids, [2, 4], "the number of a row that is gone is not given again");
}
