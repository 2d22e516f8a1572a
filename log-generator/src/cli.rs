//! The command line: flags in, lines out.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use crate::output::{Labelled, Plain, Sink, write_truth};
use crate::push::{Pace, Pusher};
use crate::{FaultKind, Generator, Plan, parse_time};

/// Writes the log lines of a small shop of services, with planted faults.
#[derive(Debug, Parser)]
#[command(name = "log-generator", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What else to do than to generate.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How and where to generate.
    #[command(flatten)]
    pub generate: Generate,
}

/// What the binary can do besides generating.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a small in-memory stand-in for Loki.
    Serve(crate::loki::serve::Args),
}

/// What to generate, and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct Generate {
    /// Chooses everything that is left open; the same seed gives the same bytes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Mean lines per second over all services.
    #[arg(long, default_value_t = 100.0, value_parser = rate)]
    pub rate: f64,
    /// How many times faster than the clock; 0 does not wait at all [default: 1 with --push, else 0].
    #[arg(long, value_parser = speed)]
    pub speed: Option<f64>,
    /// Faults to plant: all, none, or kinds with commas between them (error_burst,silence,...).
    #[arg(long, default_value = "all", value_parser = faults)]
    pub faults: FaultList,
    /// Time that the lines span: 90s, 30m, 6h, 2d.
    #[arg(long, default_value = "1h", value_parser = duration)]
    pub duration: Duration,
    /// First instant, RFC 3339 in UTC or nanoseconds [default: 2026-03-02T08:00:00Z; with --push or --speed over 0 so
    /// that no line is ahead of the clock].
    #[arg(long, value_parser = parse_time)]
    pub start: Option<i64>,
    /// Time without faults at the beginning [default: a quarter of the duration].
    #[arg(long, value_parser = duration)]
    pub quiet: Option<Duration>,
    /// How much the day shapes the traffic, 0 to 0.9.
    #[arg(long, default_value_t = 0.4)]
    pub rhythm: f64,
    /// No deploys, batch jobs, cron bursts and rises.
    #[arg(long)]
    pub no_benign: bool,
    /// Goes on for ever: after the duration, the next seed.
    #[arg(long)]
    pub repeat: bool,
    /// Plain lines to a file, to one file per service in a folder (ends in /), or to standard output (-).
    #[arg(long, value_name = "PATH")]
    pub output: Option<String>,
    /// Pushes to the Loki at this URL.
    #[arg(long, value_name = "URL")]
    pub push: Option<String>,
    /// Loki's tenant for --push.
    #[arg(long)]
    pub org_id: Option<String>,
    /// Labelled lines in five columns, compressed when the name ends in .gz; incidents.tsv and benign.tsv beside it.
    #[arg(long, value_name = "PATH")]
    pub labelled: Option<PathBuf>,
    /// What is planted, as JSON.
    #[arg(long, value_name = "PATH")]
    pub truth: Option<PathBuf>,
}

/// Kinds to plant; a type of its own, since clap would take a `Vec` as a flag that may repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultList(pub Vec<FaultKind>);

fn faults(text: &str) -> Result<FaultList, String> {
    match text {
        "all" => Ok(FaultList(FaultKind::ALL.to_vec())),
        "none" => Ok(FaultList(Vec::new())),
        kinds => kinds.split(',').map(|kind| kind.trim().parse()).collect::<Result<_, _>>().map(FaultList),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no rate; give lines per second from 0.1 to 200000");
    text.parse().ok().filter(|rate| (0.1..=200_000.0).contains(rate)).ok_or_else(wrong)
}

fn speed(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no speed; give 0 for no waiting, 1 for real time, 60 for a minute a second");
    text.parse().ok().filter(|speed| (0.0..=1e9).contains(speed)).ok_or_else(wrong)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write it like 90s, 30m, 6h or 2d");
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    seconds.filter(|seconds| *seconds <= 3650 * 86_400).map(Duration::from_secs).ok_or_else(wrong)
}

impl Cli {
    /// Does what the flags say.
    ///
    /// # Errors
    /// When a file cannot be written or Loki refuses the lines.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Some(Command::Serve(args)) => crate::loki::serve::run(args).await,
            None => self.generate.run().await,
        }
    }
}

impl Generate {
    fn speed(&self) -> f64 {
        self.speed.unwrap_or(if self.push.is_some() { 1.0 } else { 0.0 })
    }

    /// The plan that the flags describe.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let speed = self.speed();
        // Loki refuses lines from the future, so a fast clock begins in the past and reaches the present at the end.
        let ahead = if speed > 0.0 { (1.0 - 1.0 / speed).max(0.0) } else { 1.0 };
        let start = match self.start {
            Some(start) => start,
            None if self.push.is_some() || speed > 0.0 => now() - (self.duration.as_nanos() as f64 * ahead) as i64,
            None => Plan::default().start,
        };
        Plan {
            seed: self.seed,
            start,
            duration: self.duration,
            rate: self.rate,
            faults: self.faults.0.clone(),
            benign: !self.no_benign,
            first_fault_after: self.quiet.unwrap_or(self.duration / 4),
            rhythm: self.rhythm,
            ..Plan::default()
        }
    }

    /// Generates until the end, or until the process is told to stop.
    ///
    /// # Errors
    /// When a file cannot be written or Loki refuses the lines.
    pub async fn run(mut self) -> anyhow::Result<()> {
        if self.repeat && (self.labelled.is_some() || self.truth.is_some()) {
            bail!("--repeat has no end, so --labelled and --truth cannot be finished; leave one of them out");
        }
        if self.repeat && self.speed() <= 0.0 {
            bail!("--repeat without waiting would write until the disk is full; add --speed 1");
        }
        let mut plan = self.plan();
        let mut plain = match &self.output {
            Some(path) => Some(Plain::open(path)?),
            None if self.push.is_none() && self.labelled.is_none() => Some(Plain::open("-")?),
            None => None,
        };
        let pace = if self.speed() > 0.0 { Pace::from_now(plan.start, self.speed()) } else { Pace::none() };
        loop {
            let stopped = self.once(&plan, pace, &mut plain).await?;
            if stopped || !self.repeat {
                return Ok(());
            }
            self.seed = self.seed.wrapping_add(1);
            plan = Plan { seed: self.seed, start: plan.end(), ..plan };
        }
    }

    /// One plan to all places; true when it was stopped.
    async fn once(&self, plan: &Plan, pace: Pace, plain: &mut Option<Plain>) -> anyhow::Result<bool> {
        let mut generator = Generator::new(plan);
        let truth = generator.truth().clone();
        if let Some(path) = &self.truth {
            write_truth(path, &truth)?;
        }
        let mut sinks: Vec<Sink> = plain.take().map(Sink::Plain).into_iter().collect();
        if let Some(path) = &self.labelled {
            sinks.push(Sink::Labelled(Labelled::create(path, &truth)?));
        }
        let stopped = match &self.push {
            Some(url) => {
                let pusher = Pusher::new(url, self.org_id.as_deref())?;
                let beside = |record: &crate::Record<'_>| sinks.iter_mut().try_for_each(|sink| sink.take(record));
                let report = pusher.run_with(&mut generator, pace, interrupted(), beside).await?;
                eprintln!("pushed {} lines in {} batches, {} sent again", report.lines, report.batches, report.retries);
                report.stopped
            }
            None => write(&mut generator, pace, &mut sinks).await?,
        };
        for sink in sinks {
            match sink {
                Sink::Plain(mut open) => {
                    open.flush()?;
                    *plain = Some(open);
                }
                labelled => labelled.finish(&truth)?,
            }
        }
        Ok(stopped)
    }
}

/// Writes all lines in `pace`; true when it was stopped.
async fn write(generator: &mut Generator, pace: Pace, sinks: &mut [Sink]) -> anyhow::Result<bool> {
    let stop = interrupted();
    tokio::pin!(stop);
    while let Some(record) = generator.next() {
        if pace.waits(record.ts) {
            sinks.iter_mut().try_for_each(Sink::flush)?;
            tokio::select! {
                biased;
                () = &mut stop => return Ok(true),
                () = pace.wait(record.ts) => {}
            }
        }
        sinks.iter_mut().try_for_each(|sink| sink.take(&record)).context("generating lines")?;
    }
    Ok(false)
}

/// Done when the process is asked to stop. Without waiting there is no need: the process just ends.
async fn interrupted() {
    let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Nanoseconds since the Unix epoch, to start lines that go to a live Loki.
#[expect(
    clippy::disallowed_methods,
    reason = "lines for a live Loki carry the time of day; plans given a start do not"
)]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() as i64 * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"log-generator").chain(arguments))
    }

    #[test]
    fn flags_make_a_plan() {
        let cli = parse(&["--seed", "7", "--rate", "50", "--faults", "silence,oom", "--duration", "2h"]).unwrap();
        let plan = cli.generate.plan();
        assert_eq!((plan.seed, plan.rate, plan.duration.as_secs()), (7, 50.0, 7200));
        assert_eq!(plan.faults, [FaultKind::Silence, FaultKind::Oom]);
        assert_eq!(plan.start, Plan::default().start);
        assert_eq!(parse(&["--faults", "none"]).unwrap().generate.plan().faults, []);
    }

    #[test]
    fn mistakes_say_what_is_right() {
        for (arguments, said) in [
            (["--faults", "flood"], "error_burst"),
            (["--duration", "5x"], "90s, 30m"),
            (["--rate", "0"], "lines per second"),
            (["--speed", "-1"], "0 for no waiting"),
            (["--start", "noon"], "2026-03-02T08:00:00Z"),
        ] {
            let arguments = format!("{}={}", arguments[0], arguments[1]);
            let error = parse(&[&arguments]).unwrap_err().to_string();
            assert!(error.contains(said), "{arguments}: {error}");
        }
    }
}
