//! Lists of incidents, and what is past its retention.

use super::*;

on_both!(pages_neither_skip_nor_repeat_with_equal_times, old_rows_go_and_the_rest_stays,);

async fn pages_neither_skip_nor_repeat_with_equal_times(ground: Ground) {
    let store = ground.open().await;
    let started = |n: i64| T0 + (n / 7) * SECOND; // seven with each time
    let state = |n: i64| if n % 3 == 0 { State::Resolved } else { State::Firing };
    let incidents = (0..23).map(|n| incident(&format!("{n:04x}"), started(n), state(n))).collect();
    let step = Step { watch: Some(Arc::from("all")), incidents, ..Step::default() };
    write(&store, &step, &[], T0).await;
    for (wanted, expected) in [(None, 23), (Some(State::Firing), 15), (Some(State::Resolved), 8)] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.incidents(wanted, 4, cursor.as_ref()).await.unwrap();
            let Some(last) = page.last() else { break };
            cursor = Some(Cursor::from(last));
            seen.extend(page.into_iter().map(|incident| (incident.started_at, incident.id)));
        }
        assert_eq!(seen.len(), expected, "{wanted:?}");
        assert!(seen.is_sorted_by(|newer, older| newer > older), "{wanted:?}");
    }
    assert_eq!(store.incidents(Some(State::Pending), 9, None).await.unwrap(), []);
    let error = store.incident("00").await.unwrap_err();
    insta::allow_duplicates! { insta::assert_snapshot!(error, @"more than one incident begins with `00`; give more of its id"); }
}

async fn old_rows_go_and_the_rest_stays(ground: Ground) {
    let store = ground.open().await;
    let config = StoreConfig {
        window_retention: Span::minutes(700),
        incident_retention: Span::hours(24),
        model_retention: Span::hours(24),
        gap_retention: Span::hours(24),
        ..StoreConfig::default()
    };
    let mut old = incident("0101", T0, State::Resolved);
    old.resolved_at = Some(T0 + HOUR);
    let kept = [
        incident("0202", T0, State::Firing),
        Incident { resolved_at: Some(T0 + 30 * HOUR), ..incident("0303", T0, State::Resolved) },
    ];
    let transitions = [&old].into_iter().chain(&kept);
    let (mut step, rows) =
        told(transitions.map(|incident| transition(1, TransitionKind::Opened, incident.clone())).collect());
    step.incidents.push(incident("0404", T0, State::Pending));
    step.windows = (0..1300).map(|minute| window("cart", minute, 0)).collect();
    step.windows.push(window("gone", 0, 0));
    step.snapshots = vec![Snapshot { group: group("gone").fingerprint, until: T0, model: "old".to_owned() }];
    step.gaps = vec![Gap { range: TimeRange::new(T0, T0 + 1), lines: Some(3), reason: GapReason::TooOld }];
    step.done_until = T0 + 1300 * MINUTE;
    write(&store, &step, &rows, T0).await;
    let (watch, carry) = (Some("renamed".into()), Some("{}".to_owned()));
    write(&store, &Step { watch, done_until: T0, carry, ..Step::default() }, &[], T0).await;

    let now = T0 + 1300 * MINUTE;
    assert_eq!(store.prune(now, &config).await.unwrap(), 600 + 1 + 1, "windows of cart and gone, and the group gone");
    assert_eq!(store.windows_all_since("all", 0).await.unwrap().len(), 700);
    assert_eq!(
        store.prune(T0 + 26 * HOUR, &config).await.unwrap(),
        260 + 2 + 2 + 2,
        "windows; incidents; model and gap; a watch with its carry"
    );
    assert_eq!(store.watch_names().await.unwrap(), ["all"]);
    let ids: Vec<_> = store.incidents(None, 9, None).await.unwrap().into_iter().map(|incident| incident.id).collect();
    assert_eq!(ids, ["0303", "0202"]);
    assert_eq!(store.deliveries_by_state().await.unwrap().pending, 4, "those of the deleted incident went with it");
    assert_eq!(store.prune(T0 + 26 * HOUR, &config).await.unwrap(), 0);
}
