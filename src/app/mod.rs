//! Settings → parts → tasks → drain. The only folder that spawns.
//!
//! What comes in: immutable [`Settings`], a [`Clock`], a token to stop. What goes out: a running sigyn, and what it read.
//! What never happens here: work of its own.

pub mod board;
pub mod clock;
pub mod core;
pub mod daemon;
pub mod demo;
mod duty;
mod fair;
mod keeper;
pub mod lease;
pub mod reader;
mod shares;
pub mod teller;
mod watches;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::board::Board;
use self::clock::Clock;
use self::core::{Core, EngineHandle, Observer};
use self::duty::Duty;
use self::keeper::{Keeper, Starter};
use self::lease::{Leases, of_watch};
use self::reader::{Mark, Report, Until};
use self::shares::Shares;
use self::teller::Teller;
use crate::collect::client::Client;
use crate::collect::config::WatchConfig;
use crate::config::Settings;
use crate::detect::model::Model;
use crate::engine::{Engine, Options as EngineOptions, Restore, Snapshot};
use crate::incident::Incident;
use crate::incident::lifecycle::WITHDRAWN;
use crate::notify::outbox::{Outbox, Policy, Receiver};
use crate::notify::pace::{Limits, Quota};
use crate::notify::receiver::{Rate, Show};
use crate::notify::{client as http_client, heartbeat};
use crate::remediate::{self, Outlet};
use crate::store::{Place, Store, StoreError, WatchState};
use crate::time::{MINUTE, Nanos};

/// sigyn's own account space, until there are several.
pub const TENANT: &str = "default";

/// Late lines are looked for in windows of this age at most (see [`crate::engine`]).
const REMEMBER: Nanos = 70 * MINUTE;

/// Why what is open of a watch is closed when it looks at something else now.
const OTHER_QUERY: &str = "the watch has another query or org_id now";

/// Rows past their retention are deleted this often, in the time of the log.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// How a sigyn is to be put together.
pub struct Options {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The time of the log.
    pub clock: Clock,
    /// Whether Loki's clock corrects ours; not in simulated time.
    pub trust_date: bool,
    /// How long watches are read.
    pub until: Until,
    /// From when on lines are judged when nothing is stored; `None`: from now on.
    pub judge_from: Option<Nanos>,
    /// Show messages instead of sending them, and keep the state apart (`--dry-run`).
    pub dry: Option<Show>,
    /// Who looks on.
    pub observer: Option<Observer>,
    /// Whether the observer wants to know what came near to being told.
    pub explain: bool,
    /// Where health is shown.
    pub board: Board,
}

/// A running sigyn.
pub struct App {
    core: Core,
    readers: JoinSet<Report>,
    helpers: JoinSet<()>,
    /// Stops reading.
    stop: CancellationToken,
    /// Stops sending, after the last step is stored.
    stop_sending: CancellationToken,
}

impl App {
    /// Opens the store, puts every part back to where it was, and starts. Waits for Loki when it must be asked what to
    /// watch, until `stop`: then there is nothing to start, and the answer is `None`.
    ///
    /// # Errors
    /// When the store cannot be opened or a setting cannot be used.
    pub async fn start(options: Options, stop: CancellationToken) -> Result<Option<Self>> {
        let settings = Arc::clone(&options.settings);
        let data = data_dir(&settings, options.dry.is_some());
        let store = Store::open(place(&settings, options.dry.is_some())?).await?;
        let client = Client::new(&settings.loki)?;
        let Some(watches) = watches::choose(&settings, &client, &options, &stop).await? else {
            store.close().await?;
            return Ok(None);
        };
        let outlets = match &options.dry {
            Some(show) => remediate::dry(&settings.notify, show)?,
            None => remediate::build(&settings.notify, &settings.remediate, &data)?,
        };
        let leases = Leases::new(&store);
        leases.join().await?;
        let core = build_core(&options, &watches, (store, leases), &outlets).await?;
        core.share_budget().await?;
        let mut app = Self {
            core,
            readers: JoinSet::new(),
            helpers: JoinSet::new(),
            stop,
            stop_sending: CancellationToken::new(),
        };
        app.spawn_helpers(&options, outlets)?;
        app.spawn_readers(&options, client, watches).await?;
        Ok(Some(app))
    }

    /// Waits until every watch has come to its end.
    pub async fn finished(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        while let Some(report) = self.readers.join_next().await {
            reports.extend(report.ok());
        }
        reports
    }

    /// Stops reading, and waits until every reader has stored its models.
    pub async fn stop_reading(&mut self) -> Vec<Report> {
        self.stop.cancel();
        self.finished().await
    }

    /// Waits until everything that is due has been sent, at most this long. True when nothing is left.
    pub async fn sent_within(&self, limit: Duration) -> bool {
        let all_sent = async {
            loop {
                match self.core.store.deliveries_by_state().await {
                    Ok(counts) if counts.pending == 0 => return,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        self.core.run_commands().await;
        self.core.teller.pass(true).await;
        tokio::time::timeout(limit, all_sent).await.is_ok()
    }

    /// Stops reading, stores the models, lets running requests end, and closes the store.
    ///
    /// # Errors
    /// When the store could not be closed cleanly.
    pub async fn drain(mut self) -> Result<()> {
        self.stop_reading().await;
        self.core.run_commands().await;
        self.core.teller.pass(false).await;
        self.stop_sending.cancel();
        while self.helpers.join_next().await.is_some() {}
        self.core.leases.give_all_back().await;
        self.core.store.close().await.context("cannot close the store")
    }

    fn spawn_helpers(&mut self, options: &Options, outlets: Vec<(String, Outlet, Rate)>) -> Result<()> {
        let outbox = Outbox {
            store: self.core.store.clone(),
            receivers: outlets.into_iter().map(receiver).collect(),
            wake: Arc::clone(&self.core.wake),
            clock: Clock::real().reader(),
            policy: Policy::default(),
            may: Duty::may_send(&self.core),
        };
        let duty = Duty { core: self.core.clone(), outbox };
        self.helpers.spawn(duty.run(self.stop_sending.clone()));
        self.helpers.spawn(self.core.leases.clone().beat(self.stop_sending.clone()));

        let (store, config, stop) = (self.core.store.clone(), options.settings.store.clone(), self.stop.clone());
        let (clock, leases) = (options.clock.clone(), self.core.leases.clone());
        self.helpers.spawn(async move {
            loop {
                let pruned = async {
                    store.prune(clock.now(), &config).await?;
                    leases.forget_old().await
                };
                if let Err(error) = pruned.await {
                    tracing::warn!(%error, "cannot delete what is past its retention");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = clock.sleep(PRUNE_EVERY) => {}
                }
            }
        });

        let config = options.settings.notify.heartbeat.clone();
        let client = http_client::client().context("cannot make an HTTP client for the heartbeat")?;
        let (board, stop) = (options.board.clone(), self.stop.clone());
        self.helpers.spawn(async move {
            heartbeat::run(&config, client, move || board.health().is_ready(), stop).await;
        });
        Ok(())
    }

    /// All readers, or, of several processes, one that starts and stops those which are ours.
    async fn spawn_readers(&mut self, options: &Options, client: Client, watches: Vec<WatchConfig>) -> Result<()> {
        let starter = Starter {
            core: self.core.clone(),
            settings: Arc::clone(&options.settings),
            client,
            clock: options.clock.clone(),
            trust_date: options.trust_date,
            until: options.until,
            judge_from: options.judge_from,
            board: options.board.clone(),
        };
        if self.core.leases.is_shared() && options.until == Until::Stopped {
            self.readers.spawn(Keeper::new(starter, watches).run(self.stop.clone()));
            return Ok(());
        }
        let watches = keeper::free(&self.core, watches).await?;
        metrics::gauge!("sigyn_watches_held").set(watches.len() as f64);
        for watch in watches {
            restore(&self.core, &options.settings, &watch).await?;
            let reader = starter.reader(&watch, self.stop.clone()).await?;
            self.readers.spawn(reader);
        }
        Ok(())
    }
}

/// An error with all its causes, each once: many messages name their cause themselves.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// Where state is kept; a dry run keeps its own, so that it does not count as told what nobody was told.
pub(crate) fn data_dir(settings: &Settings, dry: bool) -> PathBuf {
    let data = settings.store.data_dir.clone();
    if dry { data.join("dry-run") } else { data }
}

/// Where the store is. A dry run never touches the server.
pub(crate) fn place(settings: &Settings, dry: bool) -> Result<Place, StoreError> {
    let folder = data_dir(settings, dry);
    if dry { Ok(Place::from(&folder)) } else { Place::of(&settings.store, &folder) }
}

async fn build_core(
    options: &Options,
    watches: &[WatchConfig],
    (store, leases): (Store, Leases),
    outlets: &[(String, Outlet, Rate)],
) -> Result<Core> {
    let settings = &options.settings;
    let mut engine = Engine::new(&EngineOptions {
        tenant: TENANT.to_owned(),
        detect: settings.detect.clone(),
        incident: settings.incident.clone(),
        external_labels: settings.notify.external_labels.clone(),
        watches: watches.iter().map(|watch| watches::options(settings, watch)).collect(),
    });
    if options.explain {
        engine = engine.explaining();
    }
    let ill = store.open_internal().await?;
    engine.restore_internal(ill.clone());
    let (engine, run) = EngineHandle::new(engine);
    std::thread::Builder::new().name("engine".to_owned()).spawn(run).context("cannot start the engine's thread")?;
    let wake = Arc::new(Notify::new());
    let name = |(name, ..): &(String, Outlet, Rate)| name.clone();
    let (people, always): (Vec<_>, Vec<_>) =
        outlets.iter().partition(|(_, outlet, _)| matches!(outlet, Outlet::Receiver(_)));
    let heard = (people.into_iter().map(name).collect(), always.into_iter().map(name).collect());
    let teller = Teller::new((&store, &leases), &options.clock, settings, heard, Arc::clone(&wake))?;
    let budget = settings.detect.false_alerts_per_day;
    let core = Core {
        engine,
        shares: Shares::new(&store, &leases, budget, watches.iter().map(|watch| watch.name.as_str())),
        store,
        leases,
        teller: Arc::new(teller),
        receivers: outlets.iter().map(|(name, ..)| name.clone()).collect(),
        wake,
        commands: Arc::new(Notify::new()),
        clock: options.clock.clone(),
        observer: options.observer.clone(),
    };
    withdraw(&core, settings, watches, &ill).await?;
    Ok(core)
}

/// What is stored of a watch, when it was asked for the same: with another query or tenant it starts afresh.
async fn stored(store: &Store, watch: &Arc<str>, mark: &Mark) -> Result<Option<WatchState>> {
    let Some(state) = store.watch_state(watch).await? else { return Ok(None) };
    let Some(source_state) = mark.strip(state.source_state.as_deref()) else {
        tracing::warn!(%watch, "the query or the org_id is another than before: it learns anew");
        return Ok(None);
    };
    Ok(Some(WatchState { source_state, ..state }))
}

/// Closes what is open of watches that are not set any more, or that look at something else now: nobody will ever see
/// that it is over. The same for `ill`, the open incidents about watches and receivers that are gone.
async fn withdraw(core: &Core, settings: &Settings, watches: &[WatchConfig], ill: &[Incident]) -> Result<()> {
    for name in core.store.watch_names().await? {
        let Some(state) = core.store.watch_state(&name).await? else { continue };
        let reason = match watches.iter().find(|watch| watch.name == name) {
            None => "the watch was taken out of the settings",
            Some(watch) if watches::mark(settings, watch).strip(state.source_state.as_deref()).is_none() => OTHER_QUERY,
            Some(_) => continue,
        };
        // What another process works on is set there.
        if core.leases.take(&of_watch(&name)).await? {
            core.withdraw(&name.as_str().into(), &state, reason).await;
            core.leases.give_back(&of_watch(&name)).await;
        }
    }
    for incident in ill {
        let label = |name| incident.group.labels.get(name).unwrap_or_default();
        let (problem, on) = (label("problem"), label("on"));
        let (gone, what) = match problem {
            "receiver" => (!core.receivers.iter().any(|name| name == on), "receiver"),
            _ => (!watches.iter().any(|watch| watch.name == on), "watch"),
        };
        if gone {
            let detail = format!("{WITHDRAWN}the {what} was taken out of the settings");
            core.report(problem, on, false, detail).await;
        }
    }
    Ok(())
}

/// Puts a watch of the engine back to where its last commit left it.
async fn restore(core: &Core, settings: &Settings, watch: &WatchConfig) -> Result<()> {
    let (mark, watch) = (watches::mark(settings, watch), &Arc::from(watch.name.as_str()));
    let Some(state) = stored(&core.store, watch, &mark).await? else { return Ok(()) };
    let snapshots = core.store.snapshots(watch).await?;
    let recent = state.done_until.saturating_sub(REMEMBER);
    let windows = core.store.windows_all_since(watch, oldest(settings, &snapshots, recent)).await?;
    let stored =
        Restore { done_until: state.done_until, carry: state.carry, patterns: state.patterns, snapshots, windows };
    core.engine.restore(watch, stored).await;
    Ok(())
}

/// Windows are needed that end after this: those after each snapshot, and all that are stored when a snapshot cannot be used
/// (another version made it, or other settings): then its model is made anew of them.
fn oldest(settings: &Settings, snapshots: &[Snapshot], recent: Nanos) -> Nanos {
    let usable = |one: &Snapshot| Model::restore(&settings.detect, one.group, &one.model).is_some();
    let from = |one: &Snapshot| if usable(one) { one.until } else { Nanos::MIN };
    snapshots.iter().map(from).fold(recent, Nanos::min)
}

fn receiver((name, notifier, rate): (String, Outlet, Rate)) -> Receiver<Outlet> {
    let creations = rate.opened_per_hour.map(|count| Quota { count, per: Duration::from_secs(3600) });
    let limits = Limits { sends: Quota { count: 1, per: rate.min_interval }, creations };
    Receiver { name, daily: notifier.daily(), notifier, limits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Fingerprint;

    #[test]
    fn each_cause_is_told_once() {
        let cause = std::io::Error::other("no such file");
        let error = crate::eval::EvalError::Open { path: "a.tsv".into(), source: cause };
        assert_eq!(told(&error.into()), "cannot open a.tsv: no such file");
        let error = anyhow::Error::msg("broken pipe").context("cannot write").context("cannot end");
        assert_eq!(told(&error), "cannot end: cannot write: broken pipe");
    }

    #[test]
    fn a_model_of_another_version_is_made_anew_of_all_windows() {
        let settings = Settings::default();
        let group = Fingerprint(7);
        let model = Model::new(&settings.detect, group).snapshot();
        let snapshot = |model: &str, until| Snapshot { group, until, model: model.to_owned() };
        let old = model.replacen("\"version\":1", "\"version\":0", 1);
        assert_ne!(old, model);
        for (snapshots, expected) in [
            (vec![], 100),
            (vec![snapshot(&model, 200)], 100),
            (vec![snapshot(&model, 50)], 50),
            (vec![snapshot(&model, 50), snapshot(&old, 60)], Nanos::MIN),
        ] {
            assert_eq!(oldest(&settings, &snapshots, 100), expected);
        }
    }
}
