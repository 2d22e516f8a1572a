//! `log-generator serve`: the stand-in as a server of its own, until it is interrupted.

use super::{Clock, Endpoint, Fault, Faults, Loki, Options, PageCap, Rule, When};
use std::net::SocketAddr;
use std::time::Duration;

/// A small in-memory stand-in for Loki: push, query_range, query, labels, series, buildinfo, ready.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3100")]
    pub listen: SocketAddr,
    /// Ask for a tenant in X-Scope-OrgID, as a Loki with auth_enabled.
    #[arg(long)]
    pub auth: bool,
    /// Simulated seconds per second, from now on.
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// Cap on the memory for lines, in MiB; over it the oldest lines go.
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub max_memory: usize,
    /// Take lines of any age and order.
    #[arg(long)]
    pub any_time: bool,
    /// Never answer pages over 4 MiB, as a real Loki.
    #[arg(long)]
    pub page_cap: bool,
    /// Share of the queries (0 to 1) that fail in turn with 429, 503, a cut body, no answer, and a reset.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub trouble: f64,
    /// Seed of the trouble.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Serves until Ctrl-C; the address goes to standard error.
///
/// # Errors
/// When the address cannot be bound.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let loki = Loki::start(options(&args))?;
    eprintln!("a stand-in for Loki listens on {}; its lines are in memory only", loki.url());
    stopped().await?;
    loki.shutdown();
    Ok(())
}

/// Waits for Ctrl-C or, where there is such a thing, SIGTERM.
async fn stopped() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = term.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

fn options(args: &Args) -> Options {
    let mut options = Options {
        listen: args.listen,
        auth_enabled: args.auth,
        max_bytes: args.max_memory.saturating_mul(1 << 20),
        ..Options::default()
    };
    if args.speed != 1.0 {
        options.clock = Clock::fast(Clock::System.now(), args.speed);
    }
    if args.any_time {
        options.limits = super::Limits::any_time();
    }
    options.faults = Faults {
        seed: args.seed,
        rules: trouble(args.trouble),
        page: args.page_cap.then_some(PageCap::LOKI),
        ..Faults::default()
    };
    options
}

/// One rule per kind of trouble, all of the same share.
fn trouble(share: f64) -> Vec<Rule> {
    if share <= 0.0 {
        return Vec::new();
    }
    let kinds = [
        Fault::TooManyRequests,
        Fault::Status(503, "Service Unavailable".to_owned()),
        Fault::Cut(0.5),
        Fault::NoAnswer(Duration::from_secs(1)),
        Fault::Reset,
    ];
    let each = When::Chance(share / kinds.len() as f64);
    kinds.into_iter().map(|fault| Rule::new(fault, Endpoint::Queries, each)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn read(words: &[&str]) -> Options {
        options(&Cli::parse_from(["serve"].iter().chain(words)).args)
    }

    #[test]
    fn the_command_line_becomes_options() {
        let plain = read(&[]);
        assert_eq!(plain.listen, SocketAddr::from(([127, 0, 0, 1], 3100)));
        assert!(plain.faults.rules.is_empty() && plain.faults.page.is_none());
        assert!(matches!(plain.clock, Clock::System));
        let words = ["--auth", "--any-time", "--page-cap", "--speed", "60", "--trouble", "0.5", "--max-memory", "1"];
        let all = read(&words);
        assert!(all.auth_enabled && all.limits.reject_older.is_none());
        assert_eq!((all.faults.rules.len(), all.max_bytes), (5, 1 << 20));
        assert!(matches!(all.clock, Clock::Fast { speed, .. } if speed == 60.0));
    }
}
