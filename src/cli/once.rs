//! `sigyn once`: what is new since last time, judged once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::Map;
use tokio_util::sync::CancellationToken;

use super::output::{Meter, Printer};
use super::{Common, Exit, Output};
use crate::app::board::Board;
use crate::app::clock::Clock;
use crate::app::core::Observer;
use crate::app::reader::{Report, Until};
use crate::app::{App, Options, place};
use crate::config::Settings;
use crate::store::{Place, Store};
use crate::telemetry::start_log;
use crate::time::{Nanos, Span, rfc3339};

/// Without stored state, the newest part of the look-back is judged: one in this many. The rest is learnt from.
const JUDGED_PART: u32 = 4;

/// Longest wait for messages to be taken. What is not sent then is sent by the next run.
const LAST_SENDS: Duration = Duration::from_secs(30);

/// Arguments of `sigyn once`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End with code 3 when something was found
    #[arg(long)]
    pub exit_code: bool,
    /// Do everything but send messages and remediate
    #[arg(long)]
    pub dry_run: bool,
    /// Explain each anomaly, and show at the end what came nearest to being one and what held it back
    #[arg(long)]
    pub explain: bool,
    /// How far back to read where nothing is stored yet, such as 6h; else `collect.learn_lookback`
    #[arg(long, value_name = "DURATION")]
    pub lookback: Option<Span>,
    /// Where results go.
    #[command(flatten)]
    pub output: Output,
}

type Shared = Arc<Mutex<Printer<std::io::Stdout>>>;

/// Carries it out.
///
/// # Errors
/// When Loki could not be read to the end, or a part could not be started.
pub async fn run(args: &Args, common: &Common) -> anyhow::Result<Exit> {
    let meter = Meter::start();
    let mut settings = common.settings()?.settings;
    // Cron mails all that is said: only what is amiss.
    start_log(&settings.telemetry, "warn")?;
    args.output.apply(&mut settings);
    let printer: Shared = Arc::new(Mutex::new(Printer::stdout(args.output.output)));
    if args.explain {
        printer.lock().unwrap_or_else(PoisonError::into_inner).explain();
    }
    let clock = Clock::real();
    let from = first_line(args, &mut settings, clock.now(), &printer).await?;
    let options = Options {
        settings: Arc::new(settings),
        clock,
        trust_date: true,
        until: Until::CaughtUp,
        judge_from: Some(from),
        dry: args.dry_run.then(super::run::printed),
        observer: Some(observer(&printer)),
        explain: args.explain,
        board: Board::default(),
    };
    let mut app = App::start(options, CancellationToken::new()).await?.context("stopped before it began")?;
    let reports = app.finished().await;
    if !app.sent_within(LAST_SENDS).await {
        eprintln!("sigyn: some messages could not be sent; they are kept, and the next run sends them");
    }
    app.drain().await?;
    finish(args, &printer, &reports, &meter)
}

fn finish(args: &Args, printer: &Shared, reports: &[Report], meter: &Meter) -> anyhow::Result<Exit> {
    let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
    printer.summary(reports.iter().map(|report| report.lines).sum(), meter, Map::new())?;
    let mut failed = false;
    for error in reports.iter().filter_map(|report| report.error.as_ref()) {
        failed = true;
        eprintln!("sigyn: {error}");
    }
    let found = printer.tally().anomalies > 0;
    Ok(match (failed, found && args.exit_code) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Found,
        (false, false) => Exit::Done,
    })
}

/// Says which mode this is, and from when on lines are judged where nothing is stored.
async fn first_line(args: &Args, settings: &mut Settings, now: Nanos, printer: &Shared) -> anyhow::Result<Nanos> {
    let lookback = args.lookback.unwrap_or(settings.collect.learn_lookback);
    let judged = lookback.0 / JUDGED_PART;
    settings.collect.learn_lookback = Span(lookback.0 - judged);
    let from = now.saturating_sub(Span(judged).nanos());
    let place = place(settings, args.dry_run)?;
    let shown = match &place {
        Place::Folder(folder) => folder.display().to_string(),
        Place::Server(_) => place.to_string(),
    };
    // Only asks whether there is state: opening it for good comes later.
    let stored = match Store::open_read_only(place).await {
        Ok(store) => {
            let known = store.has_watches().await?;
            store.close().await?;
            known
        }
        Err(_) => false,
    };
    let text = if stored {
        format!("going on where the last run ended (state in {shown})")
    } else {
        let start = rfc3339(from.saturating_sub(settings.collect.learn_lookback.nanos()));
        format!("no state in {shown}: learning from {start} to {}, judging what is newer", rfc3339(from))
    };
    printer.lock().unwrap_or_else(PoisonError::into_inner).note(text)?;
    Ok(from)
}

fn observer(printer: &Shared) -> Observer {
    let printer = Arc::clone(printer);
    Arc::new(move |step| {
        let shown = printer.lock().unwrap_or_else(PoisonError::into_inner).step(step);
        if let Err(error) = shown {
            tracing::debug!(%error, "nobody reads the results any more");
        }
    })
}
