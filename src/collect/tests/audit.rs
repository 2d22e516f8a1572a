//! Late lines: found by counts, read again with their minute.

use super::*;

#[tokio::test]
async fn late_lines_bring_their_minute_once_more_and_only_theirs() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), collect());
    let mut written = push_seconds(&rig, 300);
    rig.set(T0 + 5 * MINUTE + 15 * SECOND);
    rig.drain().await;
    rig.model.check(&written, "");
    assert_eq!(rig.model.amended, 0);
    rig.loki.push(STREAMS[1], T0 + 4 * MINUTE + 5, "late");
    written.insert("late".to_owned(), T0 + 4 * MINUTE + 5);
    rig.set(T0 + 7 * MINUTE);
    rig.drain().await;
    rig.model.check(&written, "");
    assert_eq!(rig.model.amended, 1);
}

/// What is learnt of lines that are 24 s under way, read every 15 s, 10 s behind.
async fn learnt_delay(ahead: Nanos, pause: Nanos) -> Option<Nanos> {
    let mut rig = Rig::at_t0(stand_in(|_| {}), collect());
    rig.poller.reader.ahead = ahead;
    let (mut shown, mut now) = (0, T0 + pause);
    while now < T0 + pause + 10 * MINUTE {
        now += 5 * SECOND;
        // After the pause the shipper is as slow as before.
        while T0 + (shown + 24) * SECOND <= now {
            rig.loki.push(STREAMS[0], T0 + shown * SECOND, format!("line {shown}"));
            shown += 1;
        }
        rig.set(now + ahead);
        if pause == 0 || now == T0 + pause + 10 * MINUTE {
            rig.drain().await;
        }
    }
    rig.poller.delay.quantile(10 * SECOND)
}

#[tokio::test]
async fn the_delay_is_learnt_whatever_the_clock_says_and_not_from_a_backlog() {
    let learnt = learnt_delay(0, 0).await.unwrap();
    assert!((22 * SECOND..27 * SECOND).contains(&learnt), "{learnt}");
    assert_eq!(learnt_delay(40 * SECOND, 0).await, Some(learnt));
    assert_eq!(learnt_delay(0, HOUR).await, None);
}

#[tokio::test]
async fn an_audit_on_demand_confirms_or_amends() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { audit_every: 0, ..collect() });
    let mut written = push_seconds(&rig, 300);
    rig.set(T0 + 5 * MINUTE);
    rig.drain().await;
    let second = TimeRange::new(T0 + MINUTE, T0 + 2 * MINUTE);
    let batch = rig.poller.audit(second).await.unwrap();
    assert_eq!((batch.purpose, batch.range, batch.coverage.known), (Purpose::Confirm, second, Known::Audited));
    assert_eq!(batch.coverage.seen, 60);
    let asked = rig.loki.counters().queries;
    rig.poller.audit(second).await.unwrap();
    assert_eq!(rig.loki.counters().queries, asked, "what is confirmed is not counted again");
    let third = TimeRange::new(T0 + 2 * MINUTE, T0 + 3 * MINUTE);
    rig.loki.push(STREAMS[1], third.start, "late");
    written.insert("late".to_owned(), third.start);
    let batch = rig.poller.audit(third).await.unwrap();
    assert_eq!((batch.purpose, batch.len(), batch.coverage.known), (Purpose::Amend, 61, Known::Audited));
    rig.model.take(&batch);
    let old = TimeRange::new(T0 - HOUR, T0 - HOUR + MINUTE);
    let batch = rig.poller.audit(old).await.unwrap();
    assert_eq!((batch.purpose, batch.coverage.known), (Purpose::Confirm, Known::Paged));
    // The minute is still open: it cannot be replaced yet, but what is missing is known.
    let open = TimeRange::new(T0 + 4 * MINUTE + 10 * SECOND, T0 + 4 * MINUTE + 20 * SECOND);
    rig.loki.push(STREAMS[1], open.start, "later");
    written.insert("later".to_owned(), open.start);
    let batch = rig.poller.audit(open).await.unwrap();
    assert_eq!((batch.coverage.known, batch.coverage.missing), (Known::Partial, 1));
    rig.set(T0 + 7 * MINUTE);
    rig.drain().await;
    rig.model.check(&written, "");
}

#[tokio::test]
async fn a_count_on_demand_of_a_minute_just_closed_is_not_the_last() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { audit_every: 0, ..collect() });
    let mut written = push_seconds(&rig, 300);
    // The shipper hangs, so the minute looks quiet, and an incident wants to be sure of it.
    rig.set(T0 + 5 * MINUTE + 20 * SECOND);
    rig.drain().await;
    let young = TimeRange::new(T0 + 4 * MINUTE, T0 + 5 * MINUTE);
    let batch = rig.poller.audit(young).await.unwrap();
    assert_eq!((batch.purpose, batch.coverage.known), (Purpose::Confirm, Known::Audited));
    // What it held back comes after the count.
    rig.loki.push(STREAMS[1], young.start + 5, "late");
    written.insert("late".to_owned(), young.start + 5);
    rig.set(T0 + 7 * MINUTE);
    rig.drain().await;
    rig.model.check(&written, "");
    assert_eq!(rig.model.amended, 1);
}

#[tokio::test]
async fn one_minute_that_grew_leads_to_all_of_the_same_delay() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { audit_every: 0, ..collect() });
    let mut written = push_seconds(&rig, 600);
    rig.set(T0 + 10 * MINUTE + 15 * SECOND);
    rig.drain().await;
    for minute in 2..7 {
        let (ts, text) = (T0 + minute * MINUTE + 5, format!("late {minute}"));
        rig.loki.push(STREAMS[1], ts, text.clone());
        written.insert(text, ts);
    }
    rig.set(T0 + 12 * MINUTE);
    let fourth = TimeRange::new(T0 + 4 * MINUTE, T0 + 5 * MINUTE);
    let batch = rig.poller.audit(fourth).await.unwrap();
    rig.model.take(&batch);
    rig.drain().await;
    rig.model.check(&written, "");
}

#[tokio::test]
async fn what_is_too_old_is_counted_and_left_out() {
    let mut rig = Rig::at_t0(stand_in(|_| {}), CollectConfig { max_lag: Span::minutes(90), ..collect() });
    push_seconds(&rig, 300);
    rig.set(T0 + 92 * MINUTE);
    let Ok(Next::Batch(batch)) = rig.poller.next().await else { panic!("no batch") };
    let range = TimeRange::new(T0, T0 + 2 * MINUTE);
    assert_eq!(batch.gaps, [Gap { range, lines: Some(120), reason: GapReason::TooOld }]);
    assert_eq!((batch.range, batch.coverage.known, batch.coverage.missing), (range, Known::Partial, 120));
    rig.model.take(&batch);
    rig.drain().await;
    assert_eq!(rig.model.lines.len(), 180);
}
