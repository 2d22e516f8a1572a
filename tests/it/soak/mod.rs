//! Days of the log in minutes: the whole of sigyn in a process of its own, against a stand-in for Loki that is ill at times
//! and gives it the shop's traffic with bursts, late lines and planted faults, and a receiver that fails. Afterwards every
//! line must have been judged once, by the account of whoever made them, and nothing may have grown.
//!
//! The log's time runs as fast as sigyn keeps up: it goes slowly while sigyn is too far behind.

mod books;
pub(crate) mod daemon;
mod feed;
mod figures;
mod gauge;
mod ill;
mod time;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log_generator::loki::{Clock as LokiClock, Faults, Limits, Loki, Options};
use log_generator::{Burst, FaultKind, Plan};
use sigyn::time::{HOUR, MINUTE, Nanos, SECOND, floor};
use tokio::time::Instant;

use self::books::Books;
use self::feed::{AHEAD, Feed};
pub(crate) use self::figures::Figures;
use self::gauge::Sample;
use self::ill::Spell;
use self::time::Time;
use crate::child::{Daemon, PATIENCE, Place, until};
use crate::crash::hook::Hooks;
use crate::shop::dice;

/// History that sigyn learns from at its start.
const PAST: Nanos = 30 * MINUTE;
/// When sigyn is started, it judges from the full minute `eval_delay` ago.
const BEGIN: Nanos = 20 * SECOND;
/// The traffic goes on for so long after what is looked at, without anything that goes wrong.
const TAIL: Nanos = 25 * MINUTE;
/// When sigyn is further behind than this, time goes slowly until it is no more than half as far.
const FAR: Nanos = 40 * MINUTE;
/// Time that goes slowly goes at this share of its speed.
const SLOWLY: f64 = 1.0 / 16.0;
/// Bytes of lines that the stand-in keeps: two hours of ordinary traffic, whose last hour may be asked for again.
const KEPT: usize = 1 << 30;
/// Of a hundred messages to the receiver, so many fail in some way.
const ILL: u64 = 25;
/// Kills fall into this share of the time, so that the rest shows one process growing old.
const KILLED_IN: f64 = 0.4;
/// The traffic does not end before sigyn has ended, however long that takes.
const SPARE: Nanos = HOUR;
/// How often everything is looked after.
const LOOK: Duration = Duration::from_millis(20);
/// What is done only once in so much of the log's time.
const SAMPLE: Nanos = 2 * MINUTE;
const COMPARE: Nanos = HOUR;
const TELL: Nanos = 3 * HOUR;
/// Windows younger than this may still grow.
const SETTLED: Nanos = 20 * MINUTE;
/// How far behind sigyn is when all is well: `eval_delay`, `interval`, a window, and the time of a look.
const CAUGHT_UP: Nanos = 3 * MINUTE;
/// A burst lasts so long.
const BURST: Nanos = 3 * MINUTE;
/// And comes once in this time.
const BURST_EVERY: Nanos = 8 * HOUR;

/// The settings. What is not here is as it comes.
const SETTINGS: &str = "
watches:
  - name: shop
    query: '{env=\"demo\"}'
collect:
  learn_lookback: 30m
  # Each line that comes late must be found, not most of them.
  audit_every: 1
  late_after: 3m
store:
  window_retention: 1d
  incident_retention: 2d
  gap_retention: 3d
  command_retention: 1d
";

/// What is to be soaked.
#[derive(Clone, Debug)]
pub(crate) struct Soak {
    /// Decides all that is left to chance.
    pub(crate) seed: u64,
    /// Time of the log that is looked at.
    pub(crate) length: Nanos,
    /// Lines a second in the mean.
    pub(crate) rate: f64,
    /// Times as many in a burst.
    pub(crate) burst: f64,
    /// Seconds of the log in one of ours, while sigyn keeps up.
    pub(crate) speed: f64,
    /// How often sigyn is killed.
    pub(crate) kills: u64,
    /// What is planted.
    pub(crate) faults: Vec<FaultKind>,
    /// The program that is sigyn, and its arguments; see [`daemon::run`].
    pub(crate) program: (PathBuf, Vec<String>),
    /// Whether to say how it goes.
    pub(crate) loud: bool,
}

/// A soak at work.
struct World {
    soak: Soak,
    start: Nanos,
    end: Nanos,
    time: Time,
    loki: Arc<Loki>,
    feed: Feed,
    place: Place,
    /// `None` only between two processes.
    daemon: Option<Daemon>,
    books: Books,
    hooks: Hooks,
    kills: Vec<Nanos>,
    spell: Option<Spell>,
    /// Whether time goes slowly.
    slow: bool,
    figures: Figures,
    /// When all that is seldom done was done last.
    sampled: Nanos,
    compared: Nanos,
    told: Nanos,
    /// Where sigyn stood, and since when.
    position: (Nanos, Instant),
    /// CPU seconds of the process that runs.
    cpu: f64,
    began: Instant,
}

impl Soak {
    fn plan(&self) -> Plan {
        let start = Plan::default().start;
        let span = |nanos: Nanos| Duration::from_nanos(nanos.unsigned_abs());
        let every = BURST_EVERY.min(self.length);
        let bursts = (0..self.length / every).map(|n| {
            // Not so late that the end would show nothing but the burst.
            let chance = dice(self.seed ^ 0xb0 ^ n.cast_unsigned()).cast_signed() % (every / 2);
            let begin = start + PAST + n * every + every / 4 + chance;
            Burst { start: begin, end: begin + BURST, factor: self.burst }
        });
        Plan {
            seed: self.seed,
            duration: span(PAST + self.length + TAIL + SPARE),
            rate: self.rate,
            faults: self.faults.clone(),
            // A day of the past before the first fault, when there is so much.
            first_fault_after: span(PAST + (self.length / 6).min(24 * HOUR)),
            bursts: bursts.collect(),
            ..Plan::default()
        }
    }

    fn daemon(&self, place: &Place) -> Daemon {
        let args: Vec<&str> = self.program.1.iter().map(String::as_str).collect();
        place.start(&args)
    }

    /// Does it all.
    pub(crate) async fn run(self) -> Figures {
        let mut world = World::new(self).await;
        while !world.look().await {
            tokio::time::sleep(LOOK).await;
        }
        world.finish().await
    }
}

impl World {
    async fn new(soak: Soak) -> Self {
        let plan = soak.plan();
        let start = plan.start + PAST;
        let end = start + soak.length;
        let hooks = Hooks::start(soak.seed, ILL).await;
        let place = Place::new()
            .set("SIGYN_CONFIG", "settings.yaml")
            .set("SIGYN__NOTIFY__RECEIVERS", format!(r#"[{{"name": "hook", "webhook": {{"url": "{}"}}}}]"#, hooks.url));
        place.file("settings.yaml", SETTINGS);
        let clock = place.folder().join("clock");
        let time = Time::new(clock.clone(), start + BEGIN);
        let now = time.clone();
        let loki = Arc::new(
            Loki::start(Options {
                clock: LokiClock::Function(Arc::new(move || now.now())),
                limits: Limits::any_time(),
                max_bytes: KEPT,
                ..Options::default()
            })
            .unwrap(),
        );
        let place = place
            .set("LOKI_URL", loki.url())
            .set(daemon::CLOCK, clock.to_str().unwrap())
            .program(soak.program.0.clone());
        let feed = Feed::start(&plan, &loki, &time);
        let kills = ill::kills(soak.seed, (start, end), soak.kills, KILLED_IN);
        let mut truth = plan.truth();
        truth.faults.retain(|fault| fault.end <= end);
        // Time almost stands until sigyn has learnt from the past: killed while it learns, it would begin anew.
        time.go(0.1);
        let daemon = Some(soak.daemon(&place));
        let mut books = until("a store", async || Books::open(&place.data(), start).await).await;
        until("the first step", async || books.position().await).await;
        time.go(soak.speed);
        let figures = Figures::new((start, soak.length), truth, plan.bursts.clone());
        Self {
            position: (0, Instant::now()),
            sampled: 0,
            compared: start,
            told: start,
            cpu: 0.0,
            began: Instant::now(),
            spell: None,
            slow: false,
            soak,
            start,
            end,
            time,
            loki,
            feed,
            place,
            daemon,
            books,
            hooks,
            kills,
            figures,
        }
    }

    /// Looks after everything once; whether it is over.
    async fn look(&mut self) -> bool {
        let now = self.time.now();
        let over = now >= self.end;
        let spell = Spell::at(self.soak.seed, now).filter(|_| !over);
        if spell != self.spell || self.sampled == 0 {
            self.loki.set_faults(if over { Faults::default() } else { ill::faults(self.soak.seed, spell) });
            *self.figures.spells.entry(spell).or_default() += 1;
            self.spell = spell;
        }
        if self.kills.first().is_some_and(|at| *at <= now) {
            self.kills.remove(0);
            self.kill();
        }
        let position = self.books.position().await.unwrap_or(self.start);
        self.moves(position);
        let lag = now - position;
        self.steer(now, lag);
        if now >= self.sampled + SAMPLE || (over && self.figures.caught_up.is_none()) {
            self.sample(now, lag);
        }
        if over && self.figures.caught_up.is_none() && lag <= CAUGHT_UP {
            self.figures.caught_up = Some(lag);
        }
        let settled = floor(position - SETTLED, MINUTE);
        if settled >= self.compared + COMPARE || position >= self.end + TAIL {
            let until = settled.min(self.end);
            self.books.compare(&self.feed.take(until), until).await;
            self.figures.rows.push((now, self.books.rows().await));
            self.compared = settled;
        }
        if self.soak.loud && now >= self.told + TELL {
            self.told = now;
            println!("{}", self.line(now, lag));
        }
        position >= self.end + TAIL && self.figures.caught_up.is_some()
    }

    /// Time goes on as fast as sigyn and the traffic come after it.
    fn steer(&mut self, now: Nanos, lag: Nanos) {
        let fed = self.feed.until() - now;
        let over = now >= self.end + TAIL;
        // While Loki is down, sigyn comes no nearer however slowly time goes.
        let behind = (lag > FAR || (self.slow && lag > FAR / 2)) && self.spell != Some(Spell::Down);
        let starved = fed < AHEAD / 4 || (self.slow && fed < AHEAD / 2);
        let slow = over || behind || starved;
        if slow != self.slow {
            self.figures.held += u64::from(slow && !over);
        }
        self.slow = slow;
        self.time.go(if slow { self.soak.speed * SLOWLY } else { self.soak.speed });
        self.figures.starved = self.figures.starved.max(-fed);
    }

    /// Fails when sigyn stands still.
    fn moves(&mut self, position: Nanos) {
        if position > self.position.0 {
            self.position = (position, Instant::now());
        }
        let still = self.position.1.elapsed();
        let said = || self.daemon.as_ref().map(Daemon::said).unwrap_or_default();
        assert!(still < PATIENCE, "sigyn stands at {position} since {still:?}:\n{}", said());
    }

    /// `kill -9`, and the next one.
    fn kill(&mut self) {
        self.count_cpu();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        self.figures.cpu += std::mem::take(&mut self.cpu);
        self.figures.kills += 1;
        self.daemon = Some(self.soak.daemon(&self.place));
    }

    fn count_cpu(&mut self) {
        self.cpu = self.daemon.as_ref().and_then(|daemon| gauge::cpu(daemon.pid())).unwrap_or(self.cpu);
    }

    fn sample(&mut self, now: Nanos, lag: Nanos) {
        self.sampled = now;
        self.count_cpu();
        let data = self.place.data();
        let Some((rss, peak)) = self.daemon.as_ref().and_then(|daemon| gauge::memory(daemon.pid())) else { return };
        self.figures.peak = self.figures.peak.max(peak);
        let (store, log) = (gauge::size(&data.join("sigyn.db")), gauge::size(&data.join("sigyn.db-wal")));
        self.figures.samples.push(Sample { at: now, rss, lag, store, log });
    }

    fn line(&self, now: Nanos, lag: Nanos) -> String {
        let sample = self.figures.samples.last().copied().unwrap_or_default();
        let mb = |bytes: u64| bytes as f64 / 1e6;
        format!(
            "{}: {:.0} s behind, {:.0} MB, store {:.1} + {:.1} MB, {} of {} lines compared, {:.0} s",
            time::since(self.start, now),
            lag as f64 / 1e9,
            mb(sample.rss),
            mb(sample.store),
            mb(sample.log),
            self.books.lines,
            self.feed.made().0,
            self.began.elapsed().as_secs_f64(),
        )
    }

    /// All is judged: waits until all is told, and writes down what came of it.
    async fn finish(mut self) -> Figures {
        self.hooks.heal();
        let books = &self.books;
        until("the last messages", async || (books.waiting().await.0 == 0).then_some(())).await;
        self.count_cpu();
        self.figures.cpu += self.cpu;
        self.figures.wall = self.began.elapsed().as_secs_f64();
        let dead = self.books.waiting().await.1;
        if let Some(mut daemon) = self.daemon.take() {
            self.figures.late_found = daemon.metric("sigyn_late_lines_total").await;
            daemon.stop().await;
        }
        (self.figures.made, self.figures.late) = self.feed.made();
        self.feed.stop();
        let mut figures = self.figures;
        let counters = self.loki.counters();
        (figures.requests, figures.refused) = (counters.requests, counters.faults);
        figures.receiver = self.hooks.wire();
        figures.dead = dead;
        figures.close(&self.books);
        self.books.close().await;
        figures
    }
}
