//! The real binary, killed with SIGKILL again and again: at any moment, while the stand-in for Loki or a receiver holds its
//! answer, and on a full disk. Inside nothing may be lost or doubled; on the wire everything comes at least once, and what
//! comes twice has the same key.

pub(crate) mod hook;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use log_generator::loki::{Endpoint, Fault, Faults, Loki, Rule, When};
use sigyn::incident::{State, TransitionKind};
use sigyn::store::{DeliveryState, IncidentDetail, Store};
use tokio::time::Instant;

use self::hook::Hooks;
use crate::child::{Daemon, Place};
use crate::outcome::Outcome;
use crate::shop::{Shop, dice};

/// Who is told.
const NAMES: [&str; 3] = ["one", "two", "three"];
/// Of a hundred requests to them, so many fail in some way.
const ILL: u64 = 40;
/// The longest that is waited for a moment that may not come.
const MOMENT: Duration = Duration::from_millis(2000);
/// The ordinary slowness of the stand-in for Loki, for each kill of a round: so the last ones still find it at work.
const SLOW: Duration = Duration::from_micros(2500);
/// What a full disk still takes.
const LEFT: u64 = 40 << 10;

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// Whenever.
    Any,
    /// While Loki holds its answer.
    Reading,
    /// While a receiver that was told holds its answer.
    Telling,
    /// While nothing can be written.
    FullDisk,
}

/// The moments of eight kills, in an order that the seed decides.
const MOMENTS: [Moment; 8] = [
    Moment::Any,
    Moment::Telling,
    Moment::Reading,
    Moment::Any,
    Moment::FullDisk,
    Moment::Telling,
    Moment::Any,
    Moment::Reading,
];

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) kills: BTreeMap<Moment, u64>,
    /// Kills before all of the log was judged.
    pub(crate) at_work: u64,
    pub(crate) windows: u64,
    pub(crate) lines: u64,
    pub(crate) transitions: u64,
    pub(crate) notices: u64,
    pub(crate) deliveries: u64,
    /// Messages that reached a receiver.
    pub(crate) told: u64,
    /// Of these, messages that it had already.
    pub(crate) again: u64,
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// What was found wrong.
    pub(crate) lost: Vec<String>,
    pub(crate) doubled: Vec<String>,
}

/// What a run comes to that nobody disturbs.
pub(crate) async fn undisturbed(shop: &Shop) -> Outcome {
    let (loki, hooks) = (shop.loki(), Hooks::start(0, 0).await);
    let place = place(shop, &loki, &hooks);
    shop.finish(&place).await;
    Outcome::read(shop, &place.data()).await
}

/// Lets sigyn catch up and tell all, killed so many times on the way, and compares with the undisturbed run.
pub(crate) async fn round(shop: &Shop, calm: &Outcome, seed: u64, kills: u64) -> Figures {
    let (loki, hooks) = (shop.loki(), Hooks::start(seed, ILL).await);
    let place = place(shop, &loki, &hooks);
    let mut figures = Figures::default();
    for kill in 0..kills {
        let slow = SLOW.saturating_mul(u32::try_from(kills).unwrap());
        let chance = dice(seed ^ (kill << 8));
        loki.set_faults(faults(slow, chance));
        hooks.hold(Duration::ZERO);
        let moment = life(&place, (&loki, &hooks), MOMENTS[((seed ^ kill) % 8) as usize], chance).await;
        *figures.kills.entry(moment).or_default() += 1;
        let store = Store::open_read_only(&place.data()).await.unwrap();
        let done = store.watch_state("shop").await.unwrap().is_some_and(|state| state.done_until >= shop.cut_off());
        store.close().await.unwrap();
        figures.at_work += u64::from(!done);
    }
    loki.set_faults(Faults::default());
    hooks.heal();
    shop.finish(&place).await;
    let outcome = Outcome::read(shop, &place.data()).await;
    inside(shop, calm, &outcome, &mut figures);
    for detail in &outcome.incidents {
        told_whole(detail, &outcome, &mut figures);
    }
    outside(&outcome, &hooks, &mut figures);
    figures
}

fn place(shop: &Shop, loki: &Loki, hooks: &Hooks) -> Place {
    let entry = |name: &str| format!(r#"{{"name": "{name}", "webhook": {{"url": "{}/{name}"}}}}"#, hooks.url);
    shop.place(loki)
        .set("SIGYN__COLLECT__INTERVAL", "1s")
        .set("SIGYN__COLLECT__EVAL_DELAY", "1s")
        .set("SIGYN__NOTIFY__RECEIVERS", format!("[{}]", NAMES.map(entry).join(",")))
}

/// One process from its start to its kill; the moment that it was.
async fn life(place: &Place, (loki, hooks): (&Loki, &Hooks), moment: Moment, chance: u64) -> Moment {
    let mut daemon = match moment {
        Moment::FullDisk => place.start_on_full_disk(&["run"], wal(&place.data()) + LEFT),
        _ => place.start(&["run"]),
    };
    // The moment of the kill is the point here; any is as good as another.
    let start = Duration::from_millis(150 + (chance >> 8) % 900);
    let came = match moment {
        Moment::Any => {
            tokio::time::sleep(start).await;
            true
        }
        Moment::Reading => {
            tokio::time::sleep(start).await;
            loki.set_faults(faults(MOMENT, chance));
            let before = loki.counters().faults;
            soon(&mut daemon, async |_| loki.counters().faults > before).await
        }
        Moment::Telling => {
            hooks.hold(MOMENT);
            soon(&mut daemon, async |_| hooks.holds()).await
        }
        Moment::FullDisk => soon(&mut daemon, async |daemon| daemon.said().contains("cannot commit")).await,
    };
    daemon.kill();
    if came { moment } else { Moment::Any }
}

/// Waits a moment for something to happen; whether it did.
async fn soon(daemon: &mut Daemon, mut happens: impl AsyncFnMut(&mut Daemon) -> bool) -> bool {
    let deadline = Instant::now() + MOMENT;
    while Instant::now() < deadline {
        if happens(daemon).await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}

/// A slow Loki that fails at times, with small pages.
fn faults(slow: Duration, seed: u64) -> Faults {
    let sometimes = |fault| Rule::new(fault, Endpoint::Queries, When::Chance(0.02));
    let rules = vec![
        sometimes(Fault::Status(503, "the ingester is unwell".to_owned())),
        sometimes(Fault::Reset),
        sometimes(Fault::Cut(0.5)),
        Rule::new(Fault::Slow(slow), Endpoint::Queries, When::Always),
    ];
    Faults { seed, rules, max_entries: Some(500), ..Faults::default() }
}

/// Bytes of the store's log.
fn wal(data: &Path) -> u64 {
    let files = std::fs::read_dir(data).unwrap().flatten();
    let logs = files.filter(|file| file.file_name().to_string_lossy().ends_with("-wal"));
    logs.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).max().unwrap_or(0)
}

/// What is stored is what the lines say: each judged once, each transition there once and dealt with.
fn inside(shop: &Shop, calm: &Outcome, outcome: &Outcome, figures: &mut Figures) {
    let mut written: BTreeMap<_, u64> = BTreeMap::new();
    for (service, minute) in shop.written() {
        *written.entry((service.to_owned(), minute)).or_default() += 1;
    }
    for (key, lines) in &written {
        match outcome.windows.get(key).map_or(0, |(judged, ..)| *judged) {
            judged if judged < *lines => figures.lost.push(format!("{key:?}: {judged} of {lines} lines judged")),
            judged if judged > *lines => figures.doubled.push(format!("{key:?}: {judged} for {lines} lines judged")),
            _ => {}
        }
        if outcome.windows.get(key) != calm.windows.get(key) {
            figures.lost.push(format!("{key:?}: judged otherwise than without kills"));
        }
    }
    if outcome.doubled > 0 {
        figures.doubled.push(format!("{} windows", outcome.doubled));
    }
    let (expected, found) = (calm.told(shop.cut_off()), outcome.told(shop.cut_off()));
    let lost = expected.iter().filter(|told| !found.contains(told));
    figures.lost.extend(lost.map(|told| format!("transition {told:?}")));
    let more = found.iter().filter(|told| !expected.contains(told));
    figures.doubled.extend(more.map(|told| format!("transition {told:?}")));
    if outcome.queued > 0 {
        figures.lost.push(format!("{} transitions wait for ever", outcome.queued));
    }
    figures.windows += outcome.windows.len() as u64;
    figures.lines += outcome.windows.values().map(|(lines, ..)| lines).sum::<u64>();
    figures.transitions += outcome.transitions().count() as u64;
}

/// Each notice went to each receiver once; who heard that something began heard its end.
fn told_whole(detail: &IncidentDetail, outcome: &Outcome, figures: &mut Figures) {
    let id = &detail.incident.id;
    let numbers: Vec<u64> = detail.transitions.iter().map(|told| told.number).collect();
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    if distinct.len() < numbers.len() {
        figures.doubled.push(format!("transitions {numbers:?} of {id}"));
    }
    let notices: Vec<u64> = detail.notices.iter().map(|notice| notice.number).collect();
    let expected: Vec<u64> = (1..=notices.len() as u64).collect();
    if notices != expected {
        figures.lost.push(format!("notices {notices:?} of {id}"));
    }
    figures.notices += notices.len() as u64;
    for notice in &detail.notices {
        for name in NAMES {
            let rows = detail.deliveries.iter().filter(|row| row.receiver == name);
            let rows: Vec<_> = rows.filter(|row| row.notification.transition.number == notice.number).collect();
            match rows.as_slice() {
                [row] if row.state == DeliveryState::Sent => figures.deliveries += 1,
                [] => figures.lost.push(format!("notice {} of {id} for {name}", notice.number)),
                [row] => figures.lost.push(format!("{row:?}")),
                _ => figures.doubled.push(format!("notice {} of {id} for {name}", notice.number)),
            }
        }
    }
    let opened = detail.transitions.iter().any(|told| told.kind == TransitionKind::Opened);
    if let Some(lead) = &detail.incident.handling.lead {
        let known = outcome.incidents.iter().any(|other| other.incident.id == *lead && !other.notices.is_empty());
        if opened && !known {
            figures.lost.push(format!("{id} is a part of {lead}, of which nobody has heard"));
        }
        return;
    }
    let first = detail.notices.first().is_some_and(|notice| notice.kind.is_full());
    let last = detail.notices.last().is_some_and(|notice| notice.kind == TransitionKind::Resolved);
    if opened && !first {
        figures.lost.push(format!("the beginning of {id}"));
    }
    if opened && detail.incident.state == State::Resolved && !last {
        figures.lost.push(format!("the end of {id}"));
    }
}

/// Every delivery came at least once, nothing came that is not stored, and the remediation log has each once.
fn outside(outcome: &Outcome, hooks: &Hooks, figures: &mut Figures) {
    let wire = hooks.wire();
    let rows = NAMES.iter().flat_map(|name| outcome.deliveries(name));
    let rows: BTreeSet<&str> = rows.map(|row| row.notification.key.as_str()).collect();
    for key in &rows {
        if !wire.told.contains_key(*key) {
            figures.lost.push(format!("message {key}"));
        }
    }
    for (key, count) in &wire.told {
        if !rows.contains(key.as_str()) {
            figures.doubled.push(format!("message {key}, which is not in the store"));
        }
        figures.told += count;
        figures.again += count - 1;
    }
    figures.doubled.extend(wire.mixed_up.iter().map(|key| format!("message {key} under the key of another")));
    for (kind, count) in &wire.failures {
        *figures.failures.entry(kind).or_default() += count;
    }
    let log: BTreeSet<&str> = outcome.log.iter().map(String::as_str).collect();
    if log.len() < outcome.log.len() {
        figures.doubled.push("a line of the remediation log".to_owned());
    }
    let rows = outcome.deliveries("remediation_log");
    if log != rows.iter().map(|row| row.notification.key.as_str()).collect() {
        figures.lost.push("a line of the remediation log".to_owned());
    }
}

impl Figures {
    /// Adds those of another round.
    pub(crate) fn add(&mut self, other: Self) {
        for (moment, count) in other.kills {
            *self.kills.entry(moment).or_default() += count;
        }
        for (kind, count) in other.failures {
            *self.failures.entry(kind).or_default() += count;
        }
        self.at_work += other.at_work;
        self.windows += other.windows;
        self.lines += other.lines;
        self.transitions += other.transitions;
        self.notices += other.notices;
        self.deliveries += other.deliveries;
        self.told += other.told;
        self.again += other.again;
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
    }

    /// Fails when anything was lost or doubled inside.
    pub(crate) fn hold(&self) {
        assert!(
            self.lost.is_empty() && self.doubled.is_empty(),
            "lost: {:#?}\ndoubled: {:#?}",
            self.lost,
            self.doubled
        );
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kills: u64 = self.kills.values().sum();
        writeln!(f, "{kills} kills {:?}, {} of them before all was judged", self.kills, self.at_work)?;
        writeln!(f, "{} lines in {} windows, {} transitions", self.lines, self.windows, self.transitions)?;
        writeln!(
            f,
            "{} notices, {} deliveries; lost {}, doubled {}",
            self.notices,
            self.deliveries,
            self.lost.len(),
            self.doubled.len()
        )?;
        write!(f, "{} messages on the wire, {} of them again; failures {:?}", self.told, self.again, self.failures)
    }
}
