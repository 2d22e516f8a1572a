//! A small stand-in for Grafana Loki, in memory: for tests, the demo, and `log-generator serve`. Lines come in by push or
//! straight from the program that holds it; queries go out as Loki answers them, errors in Loki's words. It speaks only a
//! part of Loki (selectors, line filters, counts); everything else answers 501 "not in the stand-in". It can be told to
//! misbehave ([`Faults`]). Nothing is written to disk, and nothing here calls out.
//!
//! It runs on a thread of its own, so a test needs no runtime, and a busy client cannot hold it up.

mod answer;
mod api;
mod clock;
#[cfg(test)]
mod contract;
mod fault;
mod http;
mod level;
mod logql;
#[cfg(test)]
mod probe;
mod push;
mod query;
pub mod serve;
mod store;
#[cfg(test)]
mod tests;
mod wire;

pub use clock::Clock;
pub use fault::{Delay, Endpoint, Fault, Faults, Late, PageCap, Rule, When};
pub use logql::Error as QueryError;

use http::Shared;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use store::{Line, Pairs, Store};
use thiserror::Error;
use tokio::sync::watch;

/// Why the stand-in did not start.
#[derive(Debug, Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("the stand-in for Loki cannot listen on {address}: {source}; give a free address, or port 0 for any")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its thread could not be started.
    #[error("the stand-in for Loki cannot start its thread: {0}")]
    Thread(std::io::Error),
}

/// Settings of the stand-in; the defaults are a single-tenant Loki 3.8 on any free port of 127.0.0.1.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether calls must name their tenant in `X-Scope-OrgID`; otherwise all is tenant `fake`.
    pub auth_enabled: bool,
    /// Whether `a|b` in `X-Scope-OrgID` queries both tenants.
    pub multi_tenant: bool,
    /// What counts as now: push limits, default ranges and the `Date` header follow it.
    pub clock: Clock,
    /// Limits of every tenant that has none of its own.
    pub limits: Limits,
    /// Limits of single tenants.
    pub tenant_limits: BTreeMap<String, Limits>,
    /// Whether lines get `detected_level` on their way in (Loki since 3.1).
    pub discover_levels: bool,
    /// Whether it heeds `X-Loki-Response-Encoding-Flags: categorize-labels` (Loki since 3.0).
    pub categorize: bool,
    /// Whether streams get `service_name` on their way in (Loki since 3.0).
    pub name_services: bool,
    /// Whether `series` may be asked without a matcher; old ones refuse it.
    pub bare_series: bool,
    /// What `status/buildinfo` says.
    pub version: String,
    /// Cap on the memory for lines, in bytes; over it the oldest lines go.
    pub max_bytes: usize,
    /// How it misbehaves from the start.
    pub faults: Faults,
}

/// Loki's limits that the stand-in keeps; the defaults are those of Loki 3.8.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `max_entries_limit_per_query`
    pub max_entries: usize,
    /// `max_query_length`; zero is off.
    pub max_query_length: Duration,
    /// `max_query_range`, the `[5m]` of a count; zero is off.
    pub max_query_range: Duration,
    /// `max_query_lookback`; zero is off.
    pub max_query_lookback: Duration,
    /// `max_query_series`
    pub max_series: usize,
    /// `max_global_streams_per_user`
    pub max_streams: usize,
    /// `max_label_names_per_series`
    pub max_labels: usize,
    /// `max_line_size` in bytes.
    pub max_line_bytes: usize,
    /// `reject_old_samples_max_age`; `None` takes lines of any age.
    pub reject_older: Option<Duration>,
    /// `creation_grace_period`; `None` takes lines from the future.
    pub reject_newer: Option<Duration>,
    /// How far a line may be behind the newest of its stream; `None` is any.
    pub out_of_order: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            auth_enabled: false,
            multi_tenant: false,
            clock: Clock::System,
            limits: Limits::default(),
            tenant_limits: BTreeMap::new(),
            discover_levels: true,
            categorize: true,
            name_services: true,
            bare_series: true,
            version: "3.8.0".to_owned(),
            max_bytes: 2 << 30,
            faults: Faults::default(),
        }
    }
}

impl Options {
    /// What Loki 2.9 has not: levels, the flag `categorize-labels`, `service_name`, series without a matcher.
    pub fn old() -> Self {
        Self {
            discover_levels: false,
            categorize: false,
            name_services: false,
            bare_series: false,
            version: "2.9.10".to_owned(),
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Self {
            max_entries: 5000,
            max_query_length: hours(721),
            max_query_range: Duration::ZERO,
            max_query_lookback: Duration::ZERO,
            max_series: 500,
            max_streams: 5000,
            max_labels: 15,
            max_line_bytes: 256 << 10,
            reject_older: Some(hours(7 * 24)),
            reject_newer: Some(Duration::from_secs(600)),
            out_of_order: Some(hours(1)),
        }
    }
}

impl Limits {
    /// The defaults, but lines of any age are taken, in any order.
    pub fn any_time() -> Self {
        Self { reject_older: None, reject_newer: None, out_of_order: None, ..Self::default() }
    }
}

/// Labels of a stream, or metadata of a line.
pub type Labels = BTreeMap<String, String>;

/// One request as the stand-in saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLog {
    /// `GET`, `POST`.
    pub method: String,
    /// The path without the query string.
    pub path: String,
    /// The decoded parameters, of the query string and of a form body.
    pub query: Vec<(String, String)>,
    /// The status it was answered with; 0 when it never was.
    pub status: u16,
    /// `X-Scope-OrgID`
    pub org_id: Option<String>,
    /// `User-Agent`
    pub user_agent: Option<String>,
    /// `X-Query-Tags`
    pub tags: Option<String>,
}

impl RequestLog {
    /// The first parameter of this name.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What the stand-in has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests of any kind.
    pub requests: u64,
    /// Requests of `query_range` and `query`.
    pub queries: u64,
    /// Lines taken in, duplicates left out.
    pub lines_in: u64,
    /// Lines sent out in answers (a cut answer counts whole).
    pub lines_out: u64,
    /// Body bytes sent out, before compression.
    pub bytes_out: u64,
    /// Requests that a fault met.
    pub faults: u64,
    /// Lines dropped because of `max_bytes`.
    pub evicted: u64,
}

/// A running stand-in. It stops when it is dropped.
#[derive(Debug)]
pub struct Loki {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What the server and its owner both hold, under one lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) mischief: fault::Mischief,
    pub(crate) held: Vec<Held>,
    pub(crate) log: VecDeque<RequestLog>,
    pub(crate) counters: Counters,
}

/// A line that is pushed but not yet to be seen.
#[derive(Debug)]
pub(crate) struct Held {
    tenant: String,
    labels: Arc<Pairs>,
    line: Line,
    until: Until,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    Time(i64),
    Queries(u64),
}

/// The tenant of a Loki without tenants.
const FAKE: &str = "fake";

/// Requests that are remembered, and the bytes of one of their parameters.
const MAX_LOG: usize = 20_000;
const MAX_PARAM: usize = 8 << 10;

/// Late lines that are kept back; further ones are to be seen at once.
const MAX_HELD: usize = 1_000_000;

impl Loki {
    /// Binds the address and serves on a thread of its own.
    ///
    /// # Errors
    /// When the address cannot be bound or the thread not be started.
    pub fn start(options: Options) -> Result<Self, Error> {
        let address = options.listen;
        let bind = |source| Error::Bind { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared::new(options, stopped));
        let server = http::serve(Arc::clone(&shared), listener);
        let thread = std::thread::Builder::new()
            .name("loki".to_owned())
            .spawn(move || {
                if let Err(error) = runtime.block_on(server) {
                    tracing::warn!(%error, "the stand-in for Loki stopped");
                }
                runtime.shutdown_background();
            })
            .map_err(Error::Thread)?;
        Ok(Self { shared, address, stop, thread: Some(thread) })
    }

    /// `http://127.0.0.1:<port>`, to be used as Loki's base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts one line in, without HTTP and without limits. `ts` in ns.
    pub fn push(&self, labels: &[(&str, &str)], ts: i64, line: impl Into<String>) {
        self.push_all(FAKE, labels, [(ts, line.into())]);
    }

    /// Puts many lines of one stream in, without HTTP and without limits. Returns how many were new.
    pub fn push_all(
        &self,
        tenant: &str,
        labels: &[(&str, &str)],
        lines: impl IntoIterator<Item = (i64, String)>,
    ) -> usize {
        let lines = lines.into_iter().map(|(ts, text)| Line { ts, text, meta: Pairs::new() }).collect();
        let mut state = self.state();
        let labels = Arc::new(state.store.normal(owned(labels)));
        state.take(tenant, &labels, lines)
    }

    /// Puts one line with structured metadata in.
    pub fn push_with(&self, tenant: &str, labels: &[(&str, &str)], ts: i64, line: &str, metadata: &[(&str, &str)]) {
        let line = Line { ts, text: line.to_owned(), meta: owned(metadata) };
        let mut state = self.state();
        let labels = Arc::new(state.store.normal(owned(labels)));
        state.take(tenant, &labels, vec![line]);
    }

    /// Puts one line in that shows up only later.
    pub fn push_late(&self, labels: &[(&str, &str)], ts: i64, line: impl Into<String>, by: Delay) {
        let line = Line { ts, text: line.into(), meta: Pairs::new() };
        let now = self.shared.options.clock.now();
        let mut state = self.state();
        let labels = Arc::new(state.store.normal(owned(labels)));
        state.hold(FAKE, &labels, line, (by, now));
    }

    /// Lines held, hidden ones too.
    pub fn len(&self) -> usize {
        let state = self.state();
        state.store.len() + state.held.len()
    }

    /// Whether it holds no line.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Late lines that are not yet to be seen.
    pub fn hidden(&self) -> usize {
        self.state().held.len()
    }

    /// All lines of tenant `fake` that fit a log query (`{app="a"} |= "x"`), in global time order, hidden late ones too:
    /// what a client must have read in the end.
    ///
    /// # Errors
    /// When the query does not parse.
    pub fn entries(&self, selector: &str) -> Result<Vec<(Labels, i64, String)>, QueryError> {
        self.entries_of(FAKE, selector)
    }

    /// As [`entries`](Self::entries), of any tenant.
    ///
    /// # Errors
    /// When the query does not parse.
    pub fn entries_of(&self, tenant: &str, selector: &str) -> Result<Vec<(Labels, i64, String)>, QueryError> {
        let logql::Query::Log(log) = logql::parse(selector)? else {
            return Err(QueryError::Unsupported("a count where lines are asked for".to_owned()));
        };
        let state = self.state();
        let sources = query::sources(&state.store, &[tenant.to_owned()], &log.matchers);
        let window =
            query::Window { start: i64::MIN, end: i64::MAX, limit: usize::MAX, direction: query::Direction::Forward };
        let hits = query::page(&sources, &log.stages, window);
        let labels: Vec<Labels> = sources.iter().map(|s| s.labels.iter().cloned().collect()).collect();
        let one = |(i, e): (usize, &store::Entry)| Some((labels.get(i)?.clone(), e.ts, e.line.to_string()));
        let mut entries: Vec<_> = hits.into_iter().filter_map(one).collect();
        for held in state.held.iter().filter(|h| h.tenant == tenant && h.fits(&log)) {
            let entry = (held.labels.iter().cloned().collect(), held.line.ts, held.line.text.clone());
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        entries.sort_by_key(|(_, ts, _)| *ts);
        Ok(entries)
    }

    /// Sets how it misbehaves from now on; `Faults::default()` makes it behave.
    pub fn set_faults(&self, faults: Faults) {
        self.state().mischief.set(faults);
    }

    /// How it misbehaves.
    pub fn faults(&self) -> Faults {
        self.state().mischief.faults.clone()
    }

    /// The latest requests, oldest first; at most 20 000 are remembered.
    pub fn requests(&self) -> Vec<RequestLog> {
        self.state().log.iter().cloned().collect()
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        let state = self.state();
        Counters { faults: state.mischief.hits, evicted: state.store.evicted(), ..state.counters }
    }

    /// Stops: held requests are dropped, running ones finish within a second, and the port is free afterwards.
    pub fn shutdown(mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there; there is nothing to add.
            let _ = thread.join();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Loki {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Held {
    fn fits(&self, log: &logql::Log) -> bool {
        log.matchers.iter().all(|m| m.fits(|name| store::value(&self.labels, name)))
            && query::passes(&log.stages, &self.labels, (&self.line.text, &self.line.meta))
    }
}

impl State {
    fn new(options: &Options) -> Self {
        Self {
            store: Store::new(options.max_bytes, options.discover_levels, options.name_services),
            mischief: fault::Mischief::new(options.faults.clone()),
            held: Vec::new(),
            log: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Stores lines that are to be seen at once.
    pub(crate) fn take(&mut self, tenant: &str, labels: &Arc<Pairs>, lines: Vec<Line>) -> usize {
        let added = self.store.push(tenant, labels, lines);
        self.counters.lines_in += added as u64;
        added
    }

    /// Keeps a line back.
    pub(crate) fn hold(&mut self, tenant: &str, labels: &Arc<Pairs>, line: Line, (by, now): (Delay, i64)) {
        if self.held.len() >= MAX_HELD {
            self.take(tenant, labels, vec![line]);
            return;
        }
        let until = match by {
            Delay::For(time) => Until::Time(now.saturating_add(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))),
            Delay::Queries(n) => Until::Queries(self.counters.queries.saturating_add(n)),
        };
        self.held.push(Held { tenant: tenant.to_owned(), labels: Arc::clone(labels), line, until });
    }

    /// Lets late lines out whose time has come.
    pub(crate) fn release(&mut self, now: i64) {
        if self.held.is_empty() {
            return;
        }
        let queries = self.counters.queries;
        let due = |held: &mut Held| match held.until {
            Until::Time(at) => at <= now,
            Until::Queries(n) => n < queries,
        };
        let released: Vec<Held> = self.held.extract_if(.., due).collect();
        for held in released {
            self.take(&held.tenant, &held.labels, vec![held.line]);
        }
    }

    /// Remembers a request.
    pub(crate) fn remember(&mut self, mut request: RequestLog) {
        for (_, value) in &mut request.query {
            value.truncate(value.floor_char_boundary(MAX_PARAM));
        }
        if self.log.len() >= MAX_LOG {
            self.log.pop_front();
        }
        self.log.push_back(request);
    }
}

fn owned(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
