//! Days of the log in minutes, with failures: `cargo run --release --example soak -- [--days 7] [--seed N]`.

// What the tests of the whole share with it has more than is used here.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use clap::Parser;
use log_generator::FaultKind;
use sigyn::time::{HOUR, Nanos};

#[path = "../tests/it/child.rs"]
mod child;
#[path = "../tests/it/crash/mod.rs"]
mod crash;
#[path = "../tests/it/outcome.rs"]
mod outcome;
#[path = "../tests/it/shop.rs"]
mod shop;
#[path = "../tests/it/soak/mod.rs"]
mod soak;

/// Names the process that is to be sigyn.
const SIGYN: &str = "sigyn";

/// Lets sigyn watch the shop for days of its time, with bursts, late lines, failures and kills, and says what came of it.
#[derive(Parser)]
struct Args {
    /// Days of the log.
    #[arg(long, default_value_t = 7.0)]
    days: f64,
    /// Chooses all that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lines a second in the mean.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Times as many in a burst.
    #[arg(long, default_value_t = 10.0)]
    burst: f64,
    /// Seconds of the log in one of ours, while sigyn keeps up.
    #[arg(long, default_value_t = 400.0)]
    speed: f64,
    /// How often sigyn is killed.
    #[arg(long, default_value_t = 5)]
    kills: u64,
    /// How often each kind of fault is planted; by default once in two days.
    #[arg(long)]
    faults: Option<usize>,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(SIGYN) {
        return soak::daemon::run();
    }
    let args = Args::parse();
    let times = args.faults.unwrap_or((args.days / 2.0).ceil() as usize);
    let soak = soak::Soak {
        seed: args.seed,
        length: (args.days * 24.0 * 60.0) as Nanos * HOUR / 60,
        rate: args.rate,
        burst: args.burst,
        speed: args.speed,
        kills: args.kills,
        faults: FaultKind::ALL.repeat(times),
        program: (std::env::current_exe().unwrap(), vec![SIGYN.to_owned()]),
        loud: true,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let figures = runtime.block_on(soak.run());
    println!("{figures}");
    figures.hold();
}
