//! The daemon: probes, signals and reloads around an [`App`].
//!
//! A reload drains the app and starts a new one on the same store with the new settings; bad settings change nothing, and with
//! those that cannot be started with the old ones are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::clock::Clock;
use super::reader::Until;
use super::{App, Options, told};
use crate::config::Settings;
use crate::config::load::{Loaded, Loader};
use crate::config::watch::FileWatch;
use crate::detect::personal;
use crate::http;
use crate::notify::receiver::Show;
use crate::telemetry::Metrics;
use crate::time::SECOND;

/// After this, a drain that hangs is given up: the store is consistent at every moment. Containers are given ten seconds.
const DRAIN: Duration = Duration::from_secs(9);

/// What `sigyn run` hands over.
pub struct Daemon {
    /// Reads the settings, now and at each reload.
    pub loader: Loader,
    /// What the command line changes in the settings, after each load.
    pub adjust: Arc<dyn Fn(&mut Settings) + Send + Sync>,
    /// Renders `/metrics`.
    pub metrics: Metrics,
    /// Show messages instead of sending them.
    pub dry: Option<Show>,
    /// The time of the log.
    pub clock: Clock,
}

type Answer = Result<String, String>;

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

enum Wake {
    Stop,
    Reload(Option<oneshot::Sender<Answer>>),
}

impl Daemon {
    /// Runs until SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the first settings cannot be used.
    pub async fn run(self, first: Loaded) -> Result<()> {
        let mut signals = Signals::new()?;
        let board = Board::default();
        board.set(Some("starting".to_owned()));
        metrics::gauge!("sigyn_config_reload_success").set(1.0);
        taken_over();
        let (asks, mut asked) = mpsc::channel(4);
        let probes = self.serve(&first, &board, asks).await?;
        let mut changes = match &first.file {
            Some(file) => Some(FileWatch::new(file.clone()).await),
            None => None,
        };
        let (mut settings, mut earlier) = (self.settings(first), None);
        loop {
            let stop = CancellationToken::new();
            let app = match (self.start(&settings, &board, &stop, &mut signals).await, earlier.take()) {
                (Ok(app), _) => app,
                (Err(error), Some(old)) if !stop.is_cancelled() => {
                    metrics::gauge!("sigyn_config_reload_success").set(0.0);
                    tracing::error!("the new settings cannot be used, the old ones are taken again: {}", told(&error));
                    settings = old;
                    personal::install(&settings.mask);
                    continue;
                }
                (Err(error), _) => return Err(error),
            };
            let Some(app) = app else { break };
            if stop.is_cancelled() {
                // The signal came while it was starting, and does not come again.
                drain(app).await?;
                break;
            }
            let next = loop {
                match wake(&mut signals, &mut changes, &mut asked).await {
                    Wake::Stop => break None,
                    Wake::Reload(answer) => {
                        // Or the same content would be taken over twice: asked for, and because it is new.
                        if let Some(changes) = &mut changes {
                            changes.look().await;
                        }
                        let loaded = self.reload();
                        let told = loaded.as_ref().map(Loaded::origin).map_err(Clone::clone);
                        if let Some(answer) = answer {
                            let _ = answer.send(told);
                        }
                        if let Ok(loaded) = loaded {
                            break Some(loaded);
                        }
                    }
                }
            };
            let drained = drain(app).await;
            match next {
                None => {
                    drained?;
                    break;
                }
                Some(loaded) => {
                    if let Err(error) = drained {
                        tracing::error!("{}", told(&error));
                    }
                    earlier = Some(settings);
                    settings = self.settings(loaded);
                }
            }
        }
        probes.cancel();
        Ok(())
    }

    async fn serve(
        &self,
        first: &Loaded,
        board: &Board,
        asks: mpsc::Sender<oneshot::Sender<Answer>>,
    ) -> Result<CancellationToken> {
        let mut settings = first.settings.clone();
        (self.adjust)(&mut settings);
        let address = settings.http.listen;
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} (http.listen): is another sigyn running?"))?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "probes and metrics are served");
        }
        let (board, metrics) = (board.clone(), self.metrics.clone());
        let state = http::State {
            health: Arc::new(move || board.health()),
            metrics: Arc::new(move || metrics.render()),
            reload: Arc::new(move || {
                let asks = asks.clone();
                Box::pin(async move {
                    let (answer, told) = oneshot::channel();
                    let gone = || "sigyn is stopping".to_owned();
                    asks.send(answer).await.map_err(|_| gone())?;
                    told.await.map_err(|_| gone())?
                })
            }),
        };
        let stop = CancellationToken::new();
        tokio::spawn(http::serve(listener, http::router(state), stop.clone().cancelled_owned()));
        Ok(stop)
    }

    /// Starts an app; a signal to stop counts while it waits for Loki, too.
    async fn start(
        &self,
        settings: &Arc<Settings>,
        board: &Board,
        stop: &CancellationToken,
        signals: &mut Signals,
    ) -> Result<Option<App>> {
        let options = Options {
            settings: Arc::clone(settings),
            clock: self.clock.clone(),
            trust_date: self.clock.is_real(),
            until: Until::Stopped,
            judge_from: None,
            dry: self.dry.clone(),
            observer: None,
            explain: false,
            board: board.clone(),
        };
        // The watches of the settings before are no more.
        board.set(Some("starting".to_owned()));
        let start = App::start(options, stop.clone());
        tokio::pin!(start);
        let app = tokio::select! {
            app = &mut start => app?,
            () = signals.stop() => {
                stop.cancel();
                let started = tokio::time::timeout(DRAIN, start).await;
                started.map_err(|_| anyhow!("stopped while starting: the store or Loki did not answer"))??
            }
        };
        board.set(None);
        Ok(app)
    }

    fn settings(&self, loaded: Loaded) -> Arc<Settings> {
        let mut settings = loaded.settings;
        (self.adjust)(&mut settings);
        personal::install(&settings.mask);
        Arc::new(settings)
    }

    fn reload(&self) -> Result<Loaded, String> {
        let loaded = self.loader.load();
        metrics::gauge!("sigyn_config_reload_success").set(f64::from(u8::from(loaded.is_ok())));
        match &loaded {
            Ok(loaded) => {
                tracing::info!("{}: taking them over", loaded.origin());
                taken_over();
            }
            Err(mistakes) => tracing::error!("the old settings stay, the new ones have mistakes:\n{mistakes}"),
        }
        loaded.map_err(|mistakes| mistakes.to_string())
    }
}

impl Signals {
    fn new() -> Result<Self> {
        let of = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn wake(
    signals: &mut Signals,
    changes: &mut Option<FileWatch>,
    asked: &mut mpsc::Receiver<oneshot::Sender<Answer>>,
) -> Wake {
    let changed = async {
        match changes {
            Some(changes) => changes.changed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = signals.terminate.recv() => Wake::Stop,
        _ = signals.interrupt.recv() => Wake::Stop,
        _ = signals.hangup.recv() => Wake::Reload(None),
        () = changed => Wake::Reload(None),
        Some(answer) = asked.recv() => Wake::Reload(Some(answer)),
    }
}

/// Waits until everything is stored, but not for ever.
async fn drain(app: App) -> Result<()> {
    match tokio::time::timeout(DRAIN, app.drain()).await {
        Ok(done) => {
            done?;
            tracing::info!("stopped; everything is stored");
            Ok(())
        }
        Err(_) => bail!(
            "stopped before everything was stored, after {} s (is the store away, or its disk full?): what was not \
             committed is read again at the next start",
            DRAIN.as_secs()
        ),
    }
}

/// Notes when settings came into force.
fn taken_over() {
    metrics::gauge!("sigyn_config_reload_timestamp_seconds").set((Clock::real().now() / SECOND) as f64);
}
