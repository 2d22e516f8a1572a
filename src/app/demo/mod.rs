//! The whole of sigyn against a stand-in for Loki, in fast simulated time, with faults that are known.
//!
//! Everything but the surroundings is what `sigyn run` uses: the poller over HTTP, the engine, the store, the outbox, the
//! receivers' own code. The surroundings are local: the stand-in, the traffic, and receivers in place of Slack and GitHub.

pub mod receivers;
mod score;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use log_generator::loki::{Clock as LokiClock, Limits, Loki, Options as LokiOptions};
use log_generator::push::{Pace, Pusher};
use log_generator::{Generator, Plan, Truth};
use tokio_util::sync::CancellationToken;

pub use self::score::{Planted, Score};
use super::board::Board;
use super::clock::Clock;
use super::core::Observer;
use super::reader::Until;
use super::{App, Options};
use crate::config::Settings;
use crate::incident::Transition;
use crate::secret::Secret;
use crate::time::{HOUR, MINUTE, Nanos, Span};
use receivers::{Posted, Receivers};

/// History that sigyn finds in Loki at its first start.
const HISTORY: Nanos = 8 * HOUR;

/// Mean lines per second of the simulated time, over all services.
const RATE: f64 = 12.0;

/// Longest wait at the end for a slow machine to read what was written.
const LAST_LINES: Duration = Duration::from_secs(240);

/// Pause between two looks at how far that is.
const LOOK: Duration = Duration::from_millis(50);

/// Longest wait for the last messages at the end.
const LAST_SENDS: Duration = Duration::from_secs(5);

/// How the demo is to run.
pub struct Demo {
    /// How long, by the wall clock.
    pub length: Duration,
    /// Seed of the traffic and its faults.
    pub seed: u64,
    /// Simulated seconds in a real one.
    pub speed: f64,
    /// Folder for the state.
    pub data: PathBuf,
    /// Who looks on.
    pub observer: Observer,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was planted, what of it was found, and what else was told.
    pub score: Score,
    /// What was posted.
    pub posted: Posted,
    /// Lines that were judged.
    pub lines: u64,
}

impl Demo {
    /// What will be planted.
    #[must_use]
    pub fn truth(&self) -> Truth {
        self.plan().truth()
    }

    /// Start and end of the time that is judged, in simulated time.
    #[must_use]
    pub fn judged(&self) -> (Nanos, Nanos) {
        let plan = self.plan();
        (plan.start + HISTORY, plan.end())
    }

    fn plan(&self) -> Plan {
        let live = self.length.mul_f64(self.speed);
        Plan {
            seed: self.seed,
            duration: Duration::from_nanos(HISTORY.unsigned_abs()) + live,
            rate: RATE,
            first_fault_after: Duration::from_nanos((HISTORY + 10 * MINUTE).unsigned_abs()),
            ..Plan::default()
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When a part cannot be started.
    pub async fn run(self) -> Result<Outcome> {
        let plan = self.plan();
        let now = plan.start + HISTORY;
        let mut generator = Generator::new(&plan);
        let history = history(&mut generator, now);
        let stop = CancellationToken::new();
        let receivers = Receivers::start(stop.clone()).await.context("cannot start the local receivers")?;
        let loki = Loki::start(LokiOptions {
            clock: LokiClock::fast(now, self.speed),
            limits: Limits::any_time(),
            ..LokiOptions::default()
        })?;
        for (stream, ts, line) in history {
            loki.push(&stream.labels(), ts, line);
        }
        let pusher = Pusher::new(&loki.url(), None)?;
        let clock = Clock::fast(now, self.speed);
        let pace = Pace::from_now(now, self.speed);
        let stopped = stop.clone();
        let traffic = tokio::spawn(async move { pusher.run(&mut generator, pace, stopped.cancelled_owned()).await });

        let told = Arc::new(std::sync::Mutex::new(Vec::<Transition>::new()));
        let (settings, board) = (Arc::new(self.settings(&loki.url(), &receivers)), Board::default());
        let options = Options {
            settings: Arc::clone(&settings),
            clock: clock.clone(),
            trust_date: false,
            until: Until::Stopped,
            judge_from: None,
            dry: None,
            observer: Some(self.observe(Arc::clone(&told))),
            explain: false,
            board: board.clone(),
        };
        let mut app = App::start(options, CancellationToken::new()).await?.context("the demo was stopped")?;
        let over = async {
            tokio::time::sleep(self.length).await;
            // Nothing is written any more: no more of the shop's time passes, or all would fall silent.
            clock.steer(plan.end(), 0.0);
            let behind = settings.collect.eval_delay.nanos() + 2 * settings.collect.interval.nanos();
            let _ = tokio::time::timeout(LAST_LINES, read_until(&board, plan.end() - behind)).await;
        };
        tokio::select! {
            () = over => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        let reports = app.stop_reading().await;
        app.sent_within(LAST_SENDS).await;
        app.drain().await?;
        stop.cancel();
        traffic.await.context("the traffic has broken off")??;
        let told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let score = Score::new(&plan.truth(), &told);
        Ok(Outcome { score, posted: receivers.posted(), lines: reports.iter().map(|report| report.lines).sum() })
    }

    fn observe(&self, told: Arc<std::sync::Mutex<Vec<Transition>>>) -> Observer {
        let observer = Arc::clone(&self.observer);
        Arc::new(move |step| {
            told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(step.transitions.iter().cloned());
            observer(step);
        })
    }

    fn settings(&self, loki: &str, receivers: &Receivers) -> Settings {
        let mut settings = Settings::default();
        loki.clone_into(&mut settings.loki.url);
        // In simulated time a tick of the traffic lasts many seconds; the poller must stay behind it.
        let tick = Span(Duration::from_secs_f64(0.5 * self.speed));
        settings.collect.eval_delay = tick;
        settings.collect.interval = tick;
        settings.collect.max_requests_per_minute = 100_000;
        settings.store.data_dir.clone_from(&self.data);
        settings.notify.slack.webhook_url = Some(Secret::new(receivers.slack_url()));
        settings.notify.github.token = Some(Secret::new("demo"));
        settings.notify.github.repo = Some(receivers::REPO.to_owned());
        settings.notify.github.api_url = receivers.github_url();
        settings
    }
}

/// Waits until every watch is read up to here.
async fn read_until(board: &Board, until: Nanos) {
    while board.read_until().is_none_or(|at| at < until) {
        tokio::time::sleep(LOOK).await;
    }
}

type Line = (Arc<log_generator::Stream>, Nanos, String);

fn history(generator: &mut Generator, until: Nanos) -> Vec<Line> {
    let streams = generator.streams().to_vec();
    let mut lines = Vec::new();
    while let Some(record) = generator.next() {
        if let Some(stream) = streams.get(record.stream.index) {
            lines.push((Arc::clone(stream), record.ts, record.line.to_owned()));
        }
        if record.ts >= until {
            break;
        }
    }
    lines
}
