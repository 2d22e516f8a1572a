//! Bytes that are written for a million lines. By hand:
//! `cargo test -p sigyn --test it -- --ignored --nocapture bytes`.

use std::time::Duration;

use crate::child::until;
use crate::shop::shop;

/// Of `/proc/PID/io`: bytes that went to files.
fn written(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; see docs/reliability.md"]
async fn what_a_million_lines_write() {
    let loki = shop().loki();
    let place = shop().place(&loki);
    let mut daemon = place.start(&["run"]);
    // It catches up with an hour and a half, then stands at the end.
    let mut before = -1.0;
    let lines = until("the end of catching up", async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let lines = daemon.metric("sigyn_lines_total").await;
        let still = lines > 1000.0 && lines - before < 100.0;
        before = lines;
        still.then_some(lines)
    })
    .await;
    let bytes = written(daemon.pid());
    let size: u64 = ["sigyn.db", "sigyn.db-wal"]
        .iter()
        .filter_map(|name| std::fs::metadata(place.data().join(name)).ok())
        .map(|file| file.len())
        .sum();
    let windows = daemon.metric("sigyn_windows_total").await;
    println!("{lines} lines, {windows} windows: {bytes} bytes written, {:.0} for a million lines", bytes / lines * 1e6);
    println!("{:.0} bytes a window; the files hold {size} bytes", bytes / windows);
    daemon.stop().await;
}
