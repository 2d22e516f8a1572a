//! Lines that arrive late, live: every line that Loki got is read, each once.

use std::time::Duration;

use sigyn::app::clock::Clock;
use sigyn::time::SECOND;

use crate::child::until;
use crate::shop::{place, standin};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_lines_are_found_and_counted_once() {
    let loki = standin();
    let place = place(&loki.url())
        .set("SIGYN__COLLECT__INTERVAL", "1s")
        .set("SIGYN__COLLECT__EVAL_DELAY", "1s")
        .set("SIGYN__COLLECT__LATE_AFTER", "4s")
        .set("SIGYN__COLLECT__AUDIT_EVERY", "1")
        .set("SIGYN__DETECT__WINDOW", "5s");
    let mut daemon = place.start(&["run"]);
    until("ready", async || (daemon.get("/readyz").await.0 == 200).then_some(())).await;

    let begin = Clock::real().now();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let (mut pushed, mut late) = (0, 0);
    while Clock::real().now() < begin + 9 * SECOND {
        ticks.tick().await;
        let now = Clock::real().now();
        pushed += 1;
        loki.push(&[("env", "demo"), ("service_name", "cart")], now, format!("cart {pushed} filled"));
        // Read up to a second ago at most two seconds ago: what is three seconds old has been missed.
        if pushed % 4 == 0 && now > begin + 4 * SECOND {
            late += 1;
            let line = format!("cart {pushed} came late");
            loki.push(&[("env", "demo"), ("service_name", "cart")], now - 3 * SECOND, line);
        }
    }
    until("every line read once", async || {
        let found = daemon.metric("sigyn_late_lines_total").await;
        let read = daemon.metric("sigyn_lines_total").await + found;
        assert!(read <= f64::from(pushed + late), "{read} lines read of {}", pushed + late);
        (found > 0.0 && read >= f64::from(pushed + late)).then_some(())
    })
    .await;
    daemon.stop().await;
}
