//! Two hours of the log; more by hand: `cargo run --release --example soak -- --days 7`.

use log_generator::FaultKind;
use sigyn::time::HOUR;

use crate::soak::{Soak, daemon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hours_with_failures_lose_nothing_and_nothing_grows() {
    let program = std::env::current_exe().unwrap();
    let args = ["--exact", "lasting::is_sigyn", "--ignored", "--nocapture"];
    let figures = Soak {
        // In its two hours Loki is down for ten minutes, and then crowded.
        seed: 26,
        length: 2 * HOUR,
        rate: 500.0,
        burst: 10.0,
        speed: 200.0,
        kills: 2,
        faults: vec![FaultKind::ErrorBurst, FaultKind::CrashLoop, FaultKind::Cascade, FaultKind::OddValue],
        program: (program, args.map(str::to_owned).to_vec()),
        loud: false,
    }
    .run()
    .await;
    println!("{figures}");
    figures.hold();
    assert_eq!(figures.kills, 2);
}

/// The process that the soak starts.
#[test]
#[ignore = "is sigyn itself, when the soak starts it"]
fn is_sigyn() {
    daemon::run();
}
