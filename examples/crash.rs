//! Kills the real binary again and again and says what was lost: `cargo run --release --example crash -- 500 [--seed N]`.

// What the tests of the whole share with it has more than is used here.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::time::Instant;

use clap::Parser;

#[path = "../tests/it/child.rs"]
mod child;
#[path = "../tests/it/crash/mod.rs"]
mod crash;
#[path = "../tests/it/outcome.rs"]
mod outcome;
#[path = "../tests/it/shop.rs"]
mod shop;

/// Kills in one round: a round reads the same stretch of the log.
const ROUND: u64 = 20;
/// The shop is about now, so it is made anew after so many rounds.
const FRESH: u64 = 10;

/// Kills sigyn with SIGKILL again and again, and counts what is lost and doubled.
#[derive(Parser)]
struct Args {
    /// How often it is killed.
    #[arg(default_value_t = 100)]
    kills: u64,
    /// Chooses the moments and the failures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let args = Args::parse();
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--bin", "sigyn"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "the binary cannot be built");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(&args));
}

#[expect(clippy::disallowed_methods, reason = "it says how long it took")]
async fn run(args: &Args) {
    let began = Instant::now();
    let mut all = crash::Figures::default();
    let rounds = args.kills.div_ceil(ROUND);
    let mut world = None;
    for round in 0..rounds {
        if round % FRESH == 0 {
            let shop = shop::Shop::new();
            let calm = crash::undisturbed(&shop).await;
            world = Some((shop, calm));
        }
        let Some((shop, calm)) = &world else { return };
        let kills = ROUND.min(args.kills - round * ROUND);
        let figures = crash::round(shop, calm, shop::dice(args.seed ^ (round << 16)), kills).await;
        println!("round {} of {rounds}, {:.0} s: {figures}\n", round + 1, began.elapsed().as_secs_f64());
        all.add(figures);
    }
    println!("{all}\n{:.0} s", began.elapsed().as_secs_f64());
    all.hold();
}
