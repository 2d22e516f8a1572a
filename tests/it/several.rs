//! Several real processes on one PostgreSQL: killed, paused, replaced. Every line is counted once, by whoever it is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use log_generator::loki::{Endpoint, Fault, Faults, Loki, When};
use sigyn::app::clock::Clock;
use sigyn::app::lease::{BEAT, TTL};
use sigyn::secret::Secret;
use sigyn::store::{Place, Store};
use sigyn::time::{MINUTE, Nanos, SECOND, floor};
use sqlx::Connection;
use tokio::time::Instant;

use crate::child::{self, Daemon, PATIENCE, until};
use crate::proxy::{Net, Proxy};
use crate::server::Server;
use crate::shop::standin;

const WATCHES: [&str; 4] = ["w0", "w1", "w2", "w3"];
const PROCESSES: usize = 4;
/// Each service writes a line this often.
const EVERY: Nanos = 2 * SECOND;
/// What is there to be caught up with at the start.
const BEHIND: Nanos = 30 * MINUTE;
/// The promise for what a killed process worked on: its lease runs out, and others look.
const TAKEOVER: Duration = Duration::from_secs(30);
const _: () = assert!(TTL.as_secs() + BEAT.as_secs() < TAKEOVER.as_secs());

struct World {
    url: String,
    loki: Loki,
    store: Store,
    /// Every watch stands here at the start.
    from: Nanos,
    /// Folders of the processes.
    places: Vec<child::Place>,
}

impl World {
    /// A database in which all watches stand where they stood half an hour ago. `None` without PostgreSQL.
    async fn new() -> Option<Self> {
        let url = Server::shared()?.database();
        let loki = standin();
        let now = floor(Clock::real().now(), MINUTE);
        for watch in WATCHES {
            let mut at = now - 2 * BEHIND;
            while at < now + BEHIND {
                loki.push(&[("service_name", watch)], at, format!("served order {at}"));
                at += EVERY;
            }
        }
        let from = now - BEHIND;
        assert_eq!(process(&url, &loki).run(&["once", "--lookback", "20m"]).code, Some(0));
        let mut link = sqlx::PgConnection::connect(&url).await.unwrap();
        for sql in ["DELETE FROM windows", "DELETE FROM models", "DELETE FROM groups", "DELETE FROM chains"] {
            sqlx::query(sql).execute(&mut link).await.unwrap();
        }
        // Of the source's state the mark of the query stays.
        let back = "UPDATE watches SET done_until = $1, source_state = substr(source_state, 1, 17), carry = NULL, \
                    patterns = NULL";
        sqlx::query(back).bind(from).execute(&mut link).await.unwrap();
        link.close().await.unwrap();
        // So slow that there is something to disturb.
        let slow = Fault::Slow(Duration::from_millis(200));
        loki.set_faults(Faults::rule(slow, Endpoint::Queries, When::Always));
        let store = Store::open_read_only(Place::server(&Secret::new(url.as_str())).unwrap()).await.unwrap();
        Some(Self { url, loki, store, from, places: Vec::new() })
    }

    fn start(&mut self) -> Daemon {
        self.start_at(&self.url.clone())
    }

    /// One that reaches the database by this URL.
    fn start_at(&mut self, url: &str) -> Daemon {
        let place = process(url, &self.loki);
        let daemon = place.start(&["run"]);
        self.places.push(place);
        daemon
    }

    /// Who holds which watch now, by the process id in its name.
    async fn holders(&self) -> BTreeMap<String, u32> {
        let leases = self.store.leases().await.unwrap();
        let watches = leases.iter().filter(|lease| lease.live && !lease.holder.is_empty());
        let pid = |holder: &str| holder.rsplit('/').nth(1).unwrap().parse().unwrap();
        watches.filter_map(|lease| Some((lease.name.strip_prefix("watch/")?.to_owned(), pid(&lease.holder)))).collect()
    }

    async fn done_until(&self) -> Nanos {
        let mut done = Nanos::MAX;
        for watch in WATCHES {
            done = done.min(self.store.watch_state(watch).await.unwrap().unwrap().done_until);
        }
        done
    }

    /// Waits until every watch is held, and each of so many processes has its fair share.
    async fn even(&self, processes: usize) {
        until("even shares", async || {
            let mut counts = BTreeMap::<u32, usize>::new();
            for pid in self.holders().await.into_values() {
                *counts.entry(pid).or_default() += 1;
            }
            let fair = WATCHES.len() / processes..=WATCHES.len().div_ceil(processes);
            let even =
                counts.len() == processes.min(WATCHES.len()) && counts.values().all(|count| fair.contains(count));
            (even && counts.values().sum::<usize>() == WATCHES.len()).then_some(())
        })
        .await;
    }

    /// Waits until every watch is held, and by none of these.
    async fn held_without(&self, gone: &[u32]) {
        until("all watches to be held", async || {
            let holders = self.holders().await;
            (holders.len() == WATCHES.len() && holders.values().all(|pid| !gone.contains(pid))).then_some(())
        })
        .await;
    }
}

/// A process with its own folder on the common database.
fn process(url: &str, loki: &Loki) -> child::Place {
    let mut settings =
        "collect:\n  max_requests_per_minute: 100000\n  interval: 1s\n  eval_delay: 1s\nwatches:\n".to_owned();
    for watch in WATCHES {
        writeln!(settings, "  - name: {watch}\n    query: '{{service_name=\"{watch}\"}}'").unwrap();
    }
    let place = child::Place::new().set("LOKI_URL", loki.url()).set("SIGYN_CONFIG", "settings.yaml");
    place.file("settings.yaml", &settings);
    place.set("SIGYN__STORE__URL", url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_is_counted_once_whoever_dies_sleeps_or_leaves() {
    let Some(mut world) = World::new().await else { return };
    let mut daemons: Vec<Daemon> = (0..PROCESSES).map(|_| world.start()).collect();
    world.held_without(&[]).await;
    // One each, once all know of each other.
    world.even(PROCESSES).await;
    let shares = world.store.shares().await.unwrap();
    assert_eq!(shares.all.len(), WATCHES.len());

    // kill -9, in the middle of its work.
    let killed = daemons.remove(0);
    let pid = killed.pid();
    killed.kill();
    let began = Instant::now();
    world.held_without(&[pid]).await;
    println!("taken over {:.1} s after kill -9", began.elapsed().as_secs_f64());

    // Asleep for longer than its lease: when it wakes, it finds that others have its work, and has written nothing.
    let mut sleeper = daemons.remove(0);
    sleeper.signal("STOP");
    world.held_without(&[sleeper.pid()]).await;
    sleeper.signal("CONT");
    sleeper.says("another process").await;
    sleeper.stop().await;

    // A rolling update: each is replaced by a new one.
    for daemon in daemons {
        let pid = daemon.pid();
        let next = world.start();
        daemon.stop().await;
        world.held_without(&[pid]).await;
        // The last ones go on until all is read.
        if world.done_until().await < world.from + BEHIND {
            until("progress", async || (world.done_until().await >= world.from + BEHIND).then_some(())).await;
        }
        next.stop().await;
    }
    assert_eq!(world.store.shares().await.unwrap(), shares, "whoever reads a watch, its part of the budget stays");
    every_line_is_there_once(&world).await;
}

/// The database is gone for a while, in the middle of transactions, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_and_comes_back_loses_and_doubles_nothing() {
    let Some(mut world) = World::new().await else { return };
    let Some(server) = Server::shared() else { return };
    let name = world.url.rsplit('/').next().unwrap().to_owned();
    let mut daemon = world.start();
    world.held_without(&[]).await;
    for _ in 0..3 {
        let said = daemon.said().len();
        server.run("postgres", &format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"));
        server.run(
            "postgres",
            &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
        );
        until("sigyn to miss its database", async || daemon.said()[said..].contains("cannot ").then_some(())).await;
        server.run("postgres", &format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true"));
        let (back, read) = (Instant::now(), daemon.metric("sigyn_lines_total{").await);
        // Nothing more is read before what was read is stored.
        until("progress", async || (daemon.metric("sigyn_lines_total{").await > read + 8.0).then_some(())).await;
        println!("goes on {:.1} s after the database is back", back.elapsed().as_secs_f64());
    }
    let place = Place::server(&Secret::new(world.url.as_str())).unwrap();
    world.store = Store::open_read_only(place).await.unwrap();
    until("all", async || (world.done_until().await >= world.from + BEHIND).then_some(())).await;
    daemon.stop().await;
    every_line_is_there_once(&world).await;
}

/// Two of three processes are cut off for longer than their leases: of one the bytes come late, of the other they are lost
/// and its connections stay half-open. Both run on and read the log, and write nothing until they know that they are late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_writes_nothing_and_comes_back() {
    let Some(mut world) = World::new().await else { return };
    let address = world.url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned();
    let networks = [Proxy::before(address.clone()).await, Proxy::before(address).await];
    let mut cut = Vec::new();
    for network in &networks {
        let url = network.through(&world.url);
        cut.push(world.start_at(&url));
    }
    let mut whole = world.start();
    world.even(3).await;
    let shares = world.store.shares().await.unwrap();

    networks[0].set(Net::Held);
    networks[1].set(Net::Lost);
    let (began, pids) = (Instant::now(), [cut[0].pid(), cut[1].pid()]);
    world.held_without(&pids).await;
    println!("taken over {:.1} s after the network was cut", began.elapsed().as_secs_f64());
    for daemon in &mut cut {
        daemon.says("cannot renew the leases").await;
    }
    // What was on its way arrives now; who sent it is late, and finds it out: by its next renewal, or by a commit that is
    // refused.
    for network in &networks {
        network.set(Net::Whole);
    }
    for daemon in &mut cut {
        daemon.says("another process").await;
    }
    world.even(3).await;
    assert_eq!(world.store.shares().await.unwrap(), shares, "the budget is divided as before");
    until("all", async || (world.done_until().await >= world.from + BEHIND).then_some(())).await;
    whole.says("taken").await;
    for daemon in cut.into_iter().chain([whole]) {
        daemon.stop().await;
    }
    every_line_is_there_once(&world).await;
}

/// Stopped while the database is away: it does not wait for ever, says so, and what was not committed is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_ever_for_the_database() {
    let Some(mut world) = World::new().await else { return };
    let network = Proxy::before(world.url.split_once('@').unwrap().1.split_once('/').unwrap().0.to_owned()).await;
    let mut daemon = world.start_at(&network.through(&world.url));
    world.held_without(&[]).await;
    let before = world.done_until().await;
    until("progress", async || (world.done_until().await > before).then_some(())).await;
    network.set(Net::Lost);
    daemon.signal("TERM");
    let status = daemon.ended_within(PATIENCE).await;
    let said = daemon.said();
    assert_eq!(status.map(|status| status.code()), Some(Some(1)), "{said}");
    assert!(said.contains("stopped before everything was stored, after 9 s"), "{said}");
    // Nor while it starts.
    let mut daemon = world.start_at(&network.through(&world.url));
    daemon.says(child::SERVED).await;
    daemon.signal("TERM");
    let status = daemon.ended_within(PATIENCE).await;
    assert!(status.is_some_and(|status| !status.success()), "{}", daemon.said());

    let next = world.start();
    until("all", async || (world.done_until().await >= world.from + BEHIND).then_some(())).await;
    next.stop().await;
    every_line_is_there_once(&world).await;
}

async fn every_line_is_there_once(world: &World) {
    let to = floor(world.done_until().await, MINUTE);
    assert!(to >= world.from + BEHIND);
    for watch in WATCHES {
        let mut lines: BTreeMap<Nanos, u64> = BTreeMap::new();
        for row in world.store.windows_all_since(watch, world.from).await.unwrap() {
            *lines.entry(row.window.range.start).or_default() += row.window.lines;
        }
        lines.retain(|start, _| *start < to);
        let minutes = u64::try_from((to - world.from) / MINUTE).unwrap();
        let expected: BTreeMap<_, _> = (0..minutes)
            .map(|minute| (world.from + i64::try_from(minute).unwrap() * MINUTE, (MINUTE / EVERY).unsigned_abs()))
            .collect();
        assert_eq!(lines, expected, "{watch}");
    }
}
