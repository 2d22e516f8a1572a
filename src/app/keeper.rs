//! Starts and stops readers as the leases of their watches come and go.
//!
//! What comes in: watches and leases. What goes out: one running reader for each watch whose lease is ours, restored from
//! the store. What never happens here: a reader without its lease (what a late one still writes is refused by its fence).

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::clock::Clock;
use super::core::Core;
use super::fair::Fair;
use super::lease::{BEAT, of_watch};
use super::reader::{Job, Reader, Report, Until};
use super::{restore, stored, told, watches};
use crate::collect::client::Client;
use crate::collect::config::WatchConfig;
use crate::collect::loki::{Loki, Options as Poll, Start};
use crate::config::Settings;
use crate::store::StoreError;
use crate::time::{MINUTE, Nanos, floor};

/// What a reader is made of.
#[derive(Clone)]
pub(super) struct Starter {
    pub(super) core: Core,
    pub(super) settings: Arc<Settings>,
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) trust_date: bool,
    pub(super) until: Until,
    pub(super) judge_from: Option<Nanos>,
    pub(super) board: Board,
}

impl Starter {
    /// The reader of a watch that the engine knows, from where its last commit left it.
    pub(super) async fn reader(
        &self,
        watch: &WatchConfig,
        stop: CancellationToken,
    ) -> Result<impl Future<Output = Report> + Send + 'static> {
        let name: Arc<str> = watch.name.as_str().into();
        let mark = watches::mark(&self.settings, watch);
        let start = match stored(&self.core.store, &name, &mark).await? {
            Some(state) => {
                tracing::info!(watch = %name, from = %crate::time::rfc3339(state.done_until), "goes on where it was");
                let position = floor(state.done_until, MINUTE);
                Start::Resume { position, state: state.source_state }
            }
            None => Start::Fresh { learn: true, from: self.judge_from },
        };
        let eval_delay = watch.eval_delay.unwrap_or(self.settings.collect.eval_delay).nanos();
        let source = Loki::new(Poll {
            client: self.client.clone(),
            window: watches::window(&self.settings, watch),
            watch: watch.clone(),
            collect: self.settings.collect.clone(),
            clock: self.clock.reader(),
            trust_date: self.trust_date,
            start,
        })
        .map_err(anyhow::Error::msg)?;
        let job = Job { watch: Arc::clone(&name), mark, until: self.until, eval_delay };
        let (reader, progress) = Reader::new(job, source, self.core.clone());
        self.board.add(&name, progress);
        let (asking, asked, now) = (self.client.clone(), watch.clone(), self.clock.now());
        Ok(async move {
            let asking = warn_when_nothing_matches(asking, asked, now, name);
            let reading = reader.run(stop);
            tokio::pin!(asking, reading);
            tokio::select! {
                report = &mut reading => return report,
                () = &mut asking => {}
            }
            reading.await
        })
    }
}

/// A typo in a tenant or a selector looks like silence: says so once at the start. Failures are the reader's to tell.
async fn warn_when_nothing_matches(client: Client, watch: WatchConfig, now: Nanos, name: Arc<str>) {
    if let Ok(0) = client.matched(&watch, now).await {
        tracing::warn!(watch = %name, query = watch.query, org_id = watch.org_id.as_deref().unwrap_or("(none)"),
            "no stream of the last day matches: is the selector or the org_id mistyped?");
    }
}

/// Keeps as many readers running as are this process's share.
pub(super) struct Keeper {
    starter: Starter,
    watches: Vec<WatchConfig>,
    running: BTreeMap<String, Running>,
    fair: Fair,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Report>,
}

impl Keeper {
    pub(super) fn new(starter: Starter, watches: Vec<WatchConfig>) -> Self {
        Self { starter, watches, running: BTreeMap::new(), fair: Fair::default() }
    }

    /// Works until told to stop; then ends every reader and gives its lease back. Returns the lines of all.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Report {
        let mut report = Report::default();
        while !stop.is_cancelled() {
            report.lines += self.reap().await;
            if let Err(error) = self.starter.core.share_budget().await {
                tracing::warn!(%error, "cannot ask how the budget is divided");
            }
            if let Err(error) = self.balance().await {
                tracing::warn!("cannot look for watches that are free: {}", told(&error));
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(BEAT) => {}
                () = self.any_lost() => {}
            }
        }
        let names: Vec<String> = self.running.keys().cloned().collect();
        for running in self.running.values() {
            running.stop.cancel();
        }
        for name in names {
            report.lines += self.end(&name).await;
        }
        report
    }

    /// Resolves when the lease of a running reader is lost.
    async fn any_lost(&self) {
        let lost = self.running.keys().map(|name| {
            let (leases, name) = (self.starter.core.leases.clone(), of_watch(name));
            Box::pin(async move { leases.lost(&name).await })
        });
        let lost: Vec<_> = lost.collect();
        if lost.is_empty() {
            return std::future::pending().await;
        }
        futures_util::future::select_all(lost).await;
    }

    /// Ends readers whose lease is lost, or that ended by themselves (a commit was refused).
    async fn reap(&mut self) -> u64 {
        let leases = &self.starter.core.leases;
        let over = |(name, running): &(&String, &Running)| {
            running.task.is_finished() || leases.fence(&of_watch(name)).is_err()
        };
        let over: Vec<String> = self.running.iter().filter(over).map(|(name, _)| name.clone()).collect();
        let mut lines = 0;
        for name in over {
            lines += self.end(&name).await;
        }
        lines
    }

    /// Takes and gives back what makes the shares of all processes even.
    async fn balance(&mut self) -> Result<()> {
        let view = self.starter.core.leases.view().await?;
        let names: Vec<String> = self.watches.iter().map(|watch| watch.name.clone()).collect();
        let moves = self.fair.look(&names, &view);
        for name in moves.give.iter().filter(|name| self.running.contains_key(*name)).cloned().collect::<Vec<_>>() {
            tracing::info!(watch = name, "another process has fewer watches: it may have this one");
            self.end(&name).await;
        }
        for watch in self.watches.clone() {
            if moves.take.contains(&watch.name) && !self.running.contains_key(&watch.name) {
                self.begin(&watch).await?;
            }
        }
        metrics::gauge!("sigyn_watches_held").set(self.running.len() as f64);
        Ok(())
    }

    async fn begin(&mut self, watch: &WatchConfig) -> Result<()> {
        let core = &self.starter.core;
        if !core.leases.take(&of_watch(&watch.name)).await? {
            return Ok(());
        }
        match self.start(watch).await {
            Ok(running) => {
                self.running.insert(watch.name.clone(), running);
                Ok(())
            }
            Err(error) => {
                self.starter.core.leases.give_back(&of_watch(&watch.name)).await;
                Err(error)
            }
        }
    }

    async fn start(&self, watch: &WatchConfig) -> Result<Running> {
        let name: Arc<str> = watch.name.as_str().into();
        let core = &self.starter.core;
        // The engine may still know it from the last time, when it got further than the store.
        core.engine.forget(&name).await;
        let mark = watches::mark(&self.starter.settings, watch);
        if let Some(state) = core.store.watch_state(&name).await?
            && mark.strip(state.source_state.as_deref()).is_none()
        {
            core.withdraw(&name, &state, super::OTHER_QUERY).await;
        }
        restore(core, &self.starter.settings, watch).await?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(self.starter.reader(watch, stop.clone()).await?);
        Ok(Running { stop, task })
    }

    /// Stops a reader, waits until its models are stored, and gives its lease back.
    async fn end(&mut self, name: &str) -> u64 {
        let Some(running) = self.running.remove(name) else { return 0 };
        running.stop.cancel();
        let lines = running.task.await.map_or(0, |report| report.lines);
        self.starter.board.remove(name);
        self.starter.core.leases.give_back(&of_watch(name)).await;
        lines
    }
}

/// Takes the lease of every watch that is free, once: for those who read to the end and stop.
pub(super) async fn free(core: &Core, watches: Vec<WatchConfig>) -> Result<Vec<WatchConfig>, StoreError> {
    let mut ours = Vec::new();
    for watch in watches {
        if core.leases.take(&of_watch(&watch.name)).await? {
            ours.push(watch);
        } else {
            tracing::warn!(watch = watch.name, "another process works on it; it is left out");
        }
    }
    Ok(ours)
}
