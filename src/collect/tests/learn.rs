//! The past that is read before the first judgement.

use super::*;

#[tokio::test]
async fn learning_comes_first_in_order_within_its_lines_and_survives_a_restart() {
    let loki = stand_in(|_| {});
    for i in 0..7200 {
        loki.push(STREAMS[0], T0 - 2 * HOUR + i * SECOND, format!("old {i}"));
    }
    let collect = CollectConfig { learn_lookback: Span::hours(2), learn_lines: 1200, ..collect() };
    let mut rig = Rig::new(loki, collect.clone(), Start::Fresh { learn: true, from: None });
    let mut learnt = Vec::new();
    while rig.poller.learning().is_some() {
        let Ok(Next::Batch(batch)) = rig.poller.next().await else { panic!("no batch") };
        if batch.purpose == Purpose::Learn {
            learnt.push((batch.range, batch.len()));
        }
        if learnt.len() == 7 {
            let start = Start::Resume { position: batch.range.end, state: rig.poller.state() };
            rig.poller = poller(&rig.loki, &rig.clock, &collect, rig.window, start);
            assert!(rig.poller.learning().is_some());
        }
    }
    let lines: usize = learnt.iter().map(|(_, lines)| lines).sum();
    assert!((1000..=1200).contains(&lines), "{lines}");
    assert!(
        learnt.iter().all(|(range, n)| range.start % MINUTE == 0 && range.len() == MINUTE && *n == 60),
        "{learnt:?}"
    );
    assert!(learnt.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start));
    rig.set(T0 + MINUTE);
    rig.drain().await;
    assert_eq!(rig.model.end, Some(T0 + 50 * SECOND));
    assert!(rig.model.lines.values().all(|ts| *ts >= T0 - MINUTE));
}

#[tokio::test]
async fn everything_is_learnt_when_it_fits_and_an_empty_past_costs_no_page() {
    for lines in [0, 100] {
        let loki = stand_in(|_| {});
        for i in 0..lines {
            loki.push(STREAMS[0], T0 - 2 * HOUR + i * MINUTE, format!("old {i}"));
        }
        let mut rig = Rig::new(loki, collect(), Start::Fresh { learn: true, from: Some(T0) });
        rig.drain().await;
        let read: usize = rig.model.learnt.iter().map(|(_, lines)| lines).sum();
        assert_eq!(read as Nanos, lines);
        let whole = TimeRange::new(rig.model.learnt[0].0.start, rig.model.learnt.last().unwrap().0.end);
        assert_eq!(whole, TimeRange::new(T0 - 24 * HOUR, T0));
        assert!(rig.model.learnt.windows(2).all(|pair| pair[0].0.end == pair[1].0.start));
    }
}
