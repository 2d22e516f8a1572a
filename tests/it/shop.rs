//! The shop's past and its faults in stand-ins for Loki, and the state of a sigyn that has learnt from it.
//!
//! The binary knows the wall clock only, but it catches up fast. So all is placed around `origin`, the last full half hour
//! before now: first the past to learn from, then a stretch with faults, then ordinary traffic until long after now, so
//! that no service falls silent while the tests run. The lines are the same at every time of day, save their time stamps.

use std::ffi::OsString;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use log_generator::loki::{Limits, Loki, Options};
use log_generator::{FaultKind, Generator, Plan, Stream, Truth};
use sigyn::app::clock::Clock;
use sigyn::incident::State;
use sigyn::store::Store;
use sigyn::time::{HOUR, MINUTE, Nanos, SECOND, floor};

use crate::child::{Place, until};

/// Before it, sigyn learns.
const JUDGED: Nanos = -100 * MINUTE;
/// Up to here `sigyn once` has judged already.
const CAUGHT_UP: Nanos = -95 * MINUTE;
/// Length of the past.
const PAST: Nanos = 4 * HOUR;
/// The traffic goes on until then: 10 to 40 minutes after now.
const END: Nanos = 40 * MINUTE;
/// Transitions after it are of no interest: they depend on when the test runs.
const CUT_OFF: Nanos = -MINUTE;

/// What is planted: six in a quarter of an hour each, all over before [`CUT_OFF`]; then three that are hard to see.
const FAULTS: [FaultKind; 9] = [
    FaultKind::ErrorBurst,
    FaultKind::NewException,
    FaultKind::Silence,
    FaultKind::CrashLoop,
    FaultKind::DiskFull,
    FaultKind::Cascade,
    FaultKind::OddValue,
    FaultKind::OddValue,
    FaultKind::OddValue,
];

/// The settings of all runs.
const SETTINGS: &str = "
watches:
  - name: shop
    query: '{env=\"demo\"}'
collect:
  max_requests_per_minute: 100000
";

/// One shop for all tests of the process.
pub(crate) struct Shop {
    pub(crate) origin: Nanos,
    pub(crate) truth: Truth,
    lines: Vec<(Arc<Stream>, Nanos, String)>,
    /// Name and content of the files of a data folder.
    learnt: Vec<(OsString, Vec<u8>)>,
}

/// The shop; made once.
pub(crate) fn shop() -> &'static Shop {
    static SHOP: OnceLock<Shop> = OnceLock::new();
    SHOP.get_or_init(Shop::new)
}

/// A place with the settings of all runs, but nobody to read from.
pub(crate) fn place(loki: &str) -> Place {
    let place = Place::new().set("LOKI_URL", loki).set("SIGYN_CONFIG", "settings.yaml");
    // Each incident by itself and at once, so that a test has nothing to wait for.
    let place = place
        .set("SIGYN__NOTIFY__ROUTE__GROUP_BY", "[\"...\"]")
        .set("SIGYN__NOTIFY__ROUTE__GROUP_WAIT", "0s")
        .set("SIGYN__NOTIFY__ROUTE__GROUP_INTERVAL", "10ms")
        .set("SIGYN__NOTIFY__STORM__INCIDENTS", "1000");
    place.file("settings.yaml", SETTINGS);
    place
}

/// A stand-in that takes lines of any time.
pub(crate) fn standin() -> Loki {
    Loki::start(Options { limits: Limits::any_time(), ..Options::default() }).unwrap()
}

impl Shop {
    /// One that is about now.
    pub(crate) fn new() -> Self {
        let origin = floor(Clock::real().now(), 30 * MINUTE);
        let span = |nanos: Nanos| Duration::from_nanos(nanos.unsigned_abs());
        let plan = Plan {
            seed: 11,
            start: origin + JUDGED - PAST,
            duration: span(END - JUDGED + PAST),
            rate: 10.0,
            faults: FAULTS.to_vec(),
            first_fault_after: span(PAST + CAUGHT_UP - JUDGED),
            // Nothing that depends on the time of day.
            benign: false,
            rhythm: 0.0,
            ..Plan::default()
        };
        let generator = Generator::new(&plan).into_iter();
        let lines = generator.map(|record| (record.stream, record.ts, record.line)).collect();
        let mut shop = Self { origin, truth: plan.truth(), lines, learnt: Vec::new() };
        let cut_off = shop.cut_off();
        shop.truth.faults.retain(|fault| fault.end <= cut_off);
        assert_eq!(shop.truth.faults.len(), 6);
        shop.learn();
        shop
    }

    /// Transitions and windows up to here are compared.
    pub(crate) fn cut_off(&self) -> Nanos {
        self.origin + CUT_OFF
    }

    /// A stand-in with all that a sigyn that has learnt will ask for.
    pub(crate) fn loki(&self) -> Loki {
        self.loki_from(self.origin + JUDGED - 10 * MINUTE)
    }

    /// Lets a service write this line often in one of the minutes that are judged.
    pub(crate) fn burst(&self, loki: &Loki, line: &str) {
        let (stream, ..) = &self.lines[0];
        let minute = self.origin - 30 * MINUTE;
        for n in 0..300 {
            loki.push(&stream.labels(), minute + n * SECOND / 10, format!("{line} n={n}"));
        }
    }

    /// A place where sigyn has learnt and has judged the first minutes.
    pub(crate) fn place(&self, loki: &Loki) -> Place {
        let place = place(&loki.url());
        std::fs::create_dir(place.data()).unwrap();
        for (name, content) in &self.learnt {
            std::fs::write(place.data().join(name), content).unwrap();
        }
        place
    }

    /// Runs sigyn until all lines are judged and all messages are sent, and stops it. The log goes on all the while: what
    /// began in the last moment is told by another run, so that what is read at the end is at rest.
    pub(crate) async fn finish(&self, place: &Place) {
        let mut at_rest = false;
        while !at_rest {
            let daemon = place.start(&["run"]);
            let store = until("the store", async || Store::open_read_only(&place.data()).await.ok()).await;
            until("all lines judged and all messages sent", async || {
                let done =
                    store.watch_state("shop").await.unwrap().is_some_and(|state| state.done_until >= self.origin);
                let ill = store.incidents(Some(State::Firing), 1000, None).await.unwrap();
                let well = !ill.iter().any(|incident| incident.watch == "sigyn");
                (done && well && nothing_waits(&store).await).then_some(())
            })
            .await;
            store.close().await.unwrap();
            daemon.stop().await;
            let store = Store::open_read_only(&place.data()).await.unwrap();
            at_rest = nothing_waits(&store).await;
            store.close().await.unwrap();
        }
    }

    /// How many lines each service wrote in each minute that is judged, up to the cut-off.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&'static str, Nanos)> {
        let judged = self.origin + JUDGED..self.cut_off();
        let lines = self.lines.iter().filter(move |(_, ts, _)| judged.contains(ts));
        lines.map(|(stream, ts, _)| (stream.service, floor(*ts, MINUTE)))
    }

    /// A Loki 2.9 with all lines, as Promtail labels them there.
    pub(crate) fn old_loki(&self) -> Loki {
        let loki = Loki::start(Options { limits: Limits::any_time(), ..Options::old() }).unwrap();
        for (stream, ts, line) in &self.lines {
            let labels = stream.labels();
            let given: Vec<_> = labels.into_iter().filter(|(name, _)| *name != "service_name").collect();
            loki.push(&given, *ts, line.as_str());
        }
        loki
    }

    /// The look-back with which `sigyn once`, without state, judges from [`JUDGED`] on.
    pub(crate) fn lookback(&self) -> String {
        // Judging begins at the full minute before; half a minute keeps it clear of the border.
        format!("{}s", 4 * (self.ago(JUDGED) - 30))
    }

    /// Seconds from then to now.
    fn ago(&self, at: Nanos) -> i64 {
        (Clock::real().now() - self.origin - at) / SECOND
    }

    fn loki_from(&self, from: Nanos) -> Loki {
        let loki = standin();
        for (stream, ts, line) in self.lines.iter().filter(|(_, ts, _)| *ts >= from) {
            loki.push(&stream.labels(), *ts, line.as_str());
        }
        loki
    }

    /// Lets `sigyn once` learn and judge up to [`CAUGHT_UP`], and keeps its state.
    fn learn(&mut self) {
        let loki = self.loki_from(Nanos::MIN);
        let place = place(&loki.url()).set("SIGYN__COLLECT__EVAL_DELAY", format!("{}s", self.ago(CAUGHT_UP)));
        let ended = place.run(&["once", "--lookback", &self.lookback()]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        let files = std::fs::read_dir(place.data()).unwrap().map(|entry| entry.unwrap());
        self.learnt = files.map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect();
    }
}

/// Whether every transition is dealt with and every message sent. In this order: a transition that is dealt with leaves
/// messages.
async fn nothing_waits(store: &Store) -> bool {
    store.queued(1).await.unwrap().is_empty() && store.deliveries_by_state().await.unwrap().pending == 0
}

/// SplitMix64's output function: spreads a small number over all bits, so that chance can be repeated.
pub(crate) fn dice(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}
