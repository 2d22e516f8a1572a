//! Each fault against the same traffic without it: ordinary dice do not see faults, so the two differ by the fault only.

use std::collections::BTreeMap;
use std::time::Duration;

use log_generator::{Fault, FaultKind, Level, OwnedRecord, Plan};

use crate::{quiet, records};

struct Seen {
    fault: Fault,
    with: Vec<OwnedRecord>,
    without: Vec<OwnedRecord>,
}

impl Seen {
    fn new(kind: FaultKind, seed: u64) -> Self {
        let without = Plan { seed, first_fault_after: Duration::from_secs(120), ..quiet(22, 40.0) };
        let plan = Plan { faults: vec![kind], ..without.clone() };
        let fault = plan.truth().faults.remove(0);
        let seen = Self { fault, with: records(&plan), without: records(&without) };
        seen.before_the_script_nothing_differs();
        seen
    }

    fn before_the_script_nothing_differs(&self) {
        let before = |lines: &[OwnedRecord]| {
            lines.iter().take_while(|line| line.ts < self.fault.scripted_start).cloned().collect::<Vec<_>>()
        };
        assert!(before(&self.with) == before(&self.without), "{}", self.fault.kind);
        for line in self.with.iter().filter(|line| line.fault.is_some()) {
            // A request that was bent may end a little after the fault.
            let end = self.fault.end + 10_000_000_000;
            assert!((self.fault.start..end).contains(&line.ts), "{}: {}", self.fault.kind, line.line);
            assert!(self.fault.services().any(|service| service == line.stream.service));
        }
    }

    fn marked(&self) -> Vec<&OwnedRecord> {
        self.with.iter().filter(|line| line.fault == Some(0)).collect()
    }

    /// Lines of the service within a part of the time from onset to end, with the fault and without.
    fn counts(&self, (from, to): (f64, f64), test: impl Fn(&OwnedRecord) -> bool) -> (f64, f64) {
        let length = (self.fault.end - self.fault.start) as f64;
        let at = |share: f64| self.fault.start + (length * share) as i64;
        let count = |lines: &[OwnedRecord]| {
            let own = lines.iter().filter(|line| line.stream.service == self.fault.service);
            own.filter(|line| (at(from)..at(to)).contains(&line.ts) && test(line)).count() as f64
        };
        (count(&self.with), count(&self.without))
    }
}

const WHOLE: (f64, f64) = (0.0, 1.0);

#[test]
fn error_burst_multiplies_errors() {
    let seen = Seen::new(FaultKind::ErrorBurst, 1);
    let (with, without) = seen.counts(WHOLE, |line| line.level == Level::Error);
    assert!(with > 5.0 * without, "{with} {without}");
    assert!(seen.marked().len() > 100);
}

#[test]
fn new_exception_is_new_from_its_first_second() {
    for seed in 1..6 {
        let seen = Seen::new(FaultKind::NewException, seed);
        let marked = seen.marked();
        assert!(marked.len() > 10 && marked[0].ts < seen.fault.start + 1_000_000_000);
        let text = if seen.fault.service == "order" { "PriceCalculator.roundingRule" } else { "unhandled exception" };
        assert!(marked.iter().any(|line| line.line.contains(text)), "{}", marked[0].line);
        assert!(!seen.without.iter().any(|line| line.line.contains(text)));
    }
}

#[test]
fn warn_creep_counts_from_twice_the_ordinary() {
    let seen = Seen::new(FaultKind::WarnCreep, 1);
    let warn = |line: &OwnedRecord| line.level == Level::Warn;
    let (with, without) = seen.counts((-0.05, 0.05), warn);
    assert!((1.4..2.8).contains(&(with / without)), "around the onset: {with} {without}");
    let (with, without) = seen.counts((0.85, 1.0), warn);
    assert!(with > 4.0 * without, "at the end: {with} {without}");
    assert!(seen.fault.start > seen.fault.scripted_start);
}

#[test]
fn silence_leaves_nothing() {
    let seen = Seen::new(FaultKind::Silence, 1);
    let (with, without) = seen.counts(WHOLE, |_| true);
    assert!(with == 0.0 && without > 100.0, "{with} {without}");
    assert!(seen.marked().is_empty());
}

#[test]
fn latency_rises_past_twice_and_stays() {
    let seen = Seen::new(FaultKind::Latency, 1);
    let mean = |lines: &[OwnedRecord]| {
        let third = seen.fault.start + (seen.fault.end - seen.fault.start) / 2;
        let own = lines.iter().filter(|line| line.stream.service == seen.fault.service && line.level == Level::Info);
        let inside = own.filter(|line| (third..seen.fault.end).contains(&line.ts));
        let times: Vec<f64> = inside.filter_map(|line| duration(&line.line)).map(f64::ln).collect();
        (times.iter().sum::<f64>() / times.len() as f64).exp()
    };
    let (with, without) = (mean(&seen.with), mean(&seen.without));
    assert!((6.0..10.0).contains(&(with / without)), "{with} {without}");
    assert!(seen.fault.start > seen.fault.scripted_start && seen.marked().len() > 100);
}

fn duration(line: &str) -> Option<f64> {
    let at = line.find("duration_ms").map(|at| at + 11).or_else(|| line.find(" in ").map(|at| at + 3))?;
    let digits: String =
        line[at..].chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[test]
fn crash_loop_starts_again_and_again() {
    let seen = Seen::new(FaultKind::CrashLoop, 1);
    let (exits, _) = seen.counts(WHOLE, |line| line.line.contains("exited with code"));
    assert!(exits > 8.0, "{exits}");
    let (with, without) = seen.counts(WHOLE, |line| line.fault.is_none());
    assert!(with < 0.8 * without, "{with} {without}");
}

#[test]
fn brute_force_comes_from_few_addresses() {
    let seen = Seen::new(FaultKind::BruteForce, 1);
    let (with, without) = seen.counts(WHOLE, |line| line.line.contains("login failed"));
    assert!(with > 5.0 * without, "{with} {without}");
    assert!(seen.marked().iter().all(|line| line.line.contains("203.0.113.")));
    assert!(seen.marked().iter().any(|line| line.stream.service == "gateway"));
}

#[test]
fn a_disk_fills_from_twice_the_ordinary_to_failure() {
    let seen = Seen::new(FaultKind::DiskFull, 1);
    let marked = seen.marked();
    assert!(marked[0].line.contains("is 84 percent full") || marked[0].line.contains("is 85 percent full"));
    let failed = marked.iter().position(|line| line.line.contains("no space left")).unwrap();
    assert!(failed > 5 && marked.len() > failed + 100, "{failed} of {}", marked.len());
    let early = seen.with.iter().filter(|line| line.ts < seen.fault.start && line.stream.service == seen.fault.service);
    assert!(early.filter(|line| line.line.contains("percent full")).count() > 10);
}

#[test]
fn memory_runs_out_more_than_once() {
    let seen = Seen::new(FaultKind::Oom, 1);
    let (killed, _) = seen.counts(WHOLE, |line| line.line.contains("exit code 137"));
    assert!((2.0..=3.0).contains(&killed), "{killed}");
    assert!(seen.marked()[0].line.contains("memory in use 84") || seen.marked()[0].line.contains("memory in use 85"));
}

#[test]
fn a_cascade_spreads_over_three_services() {
    let seen = Seen::new(FaultKind::Cascade, 1);
    let mut first = BTreeMap::new();
    for line in seen.marked() {
        first.entry(line.stream.service).or_insert(line.ts);
    }
    let order: Vec<i64> = seen.fault.services().map(|service| first[service]).collect();
    assert_eq!(order.len(), 3);
    assert!(order.is_sorted() && order[2] - order[0] > 20_000_000_000, "{order:?}");
}

#[test]
fn an_odd_value_changes_nothing_but_the_value() {
    let seen = Seen::new(FaultKind::OddValue, 1);
    assert_eq!(seen.with.len(), seen.without.len());
    assert!(seen.marked().len() > 20);
    for (with, without) in seen.with.iter().zip(&seen.without) {
        let is_odd = with.line.contains("-99999999.00") || with.line.contains("-2147483648");
        assert_eq!(is_odd, with.fault.is_some(), "{}", with.line);
        assert_eq!(is_odd, with.line != without.line);
    }
}

#[test]
fn wrong_order_keeps_the_counts() {
    for seed in 1..4 {
        let seen = Seen::new(FaultKind::WrongOrder, seed);
        assert!(seen.marked().len() > 20);
        let mut first: BTreeMap<String, &str> = BTreeMap::new();
        for line in seen.marked() {
            let hex = |part: &str| part.len() == 32 && part.chars().all(|c| c.is_ascii_hexdigit());
            let trace = line.line.split(|c: char| !c.is_ascii_alphanumeric()).find(|part| hex(part)).unwrap();
            first.entry(trace.to_owned()).or_insert(&line.line);
        }
        // The step that ought to be last comes first.
        let last = ["captured", "confirmed", "session opened", "acknowledged"];
        let turned = first.values().filter(|line| last.iter().any(|text| line.contains(text))).count();
        assert!(turned * 10 > first.len() * 9, "{turned} of {}", first.len());
        let share = seen.with.len() as f64 / seen.without.len() as f64;
        assert!((0.99..1.01).contains(&share), "{share}");
    }
}

#[test]
fn every_kind_can_strike_on_every_seed() {
    for seed in 1..8 {
        let plan = Plan { seed, rate: 20.0, ..Plan::default() };
        let mut marked = [0; 12];
        for index in records(&plan).iter().filter_map(|line| line.fault) {
            marked[index] += 1;
        }
        for (fault, marked) in plan.truth().faults.iter().zip(marked) {
            assert_eq!(marked == 0, fault.kind == FaultKind::Silence, "seed {seed}: {}", fault.id());
        }
    }
}
