use std::collections::BTreeMap;
use std::time::Duration;

use log_generator::{Burst, Generator, Level, Plan, parse_time};

use crate::{quiet, records};

/// FNV-1a of the first `count` lines with time stamp and pod.
fn hash(plan: &Plan, count: usize) -> u64 {
    let mut generator = Generator::new(plan);
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for _ in 0..count {
        let record = generator.next().unwrap();
        let stamp = record.ts.to_le_bytes();
        for byte in stamp.iter().chain(record.stream.pod.as_bytes()).chain(record.line.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// The number stands for the bytes on every machine. It changes when the shop's lines or rates change, and then only.
#[test]
fn a_seed_gives_the_same_bytes_everywhere() {
    let plan = Plan { rate: 50.0, ..Plan::default() };
    assert_eq!(hash(&plan, 100_000), PINNED);
    assert_ne!(hash(&Plan { seed: 2, ..plan }, 1000), hash(&Plan { rate: 50.0, ..Plan::default() }, 1000));
}

const PINNED: u64 = 1_961_513_742_521_523_227;

#[test]
fn hourly_and_nightly_jobs_run_when_the_truth_says() {
    let start = parse_time("2026-03-02").unwrap();
    let plan = Plan { start, benign: true, rate: 4.0, ..quiet(5 * 60, 4.0) };
    let truth = plan.truth();
    let lines = records(&plan);
    for (kind, text) in [("cron", "hourly"), ("batch", "nightly close")] {
        let times: Vec<_> = truth.benign.iter().filter(|event| event.kind.name() == kind).collect();
        let own: Vec<_> = lines.iter().filter(|line| line.line.contains(text)).collect();
        let inside = |ts: i64| times.iter().any(|event| (event.start..event.end).contains(&ts));
        assert!(!times.is_empty() && own.len() > 10 && own.iter().all(|line| inside(line.ts)), "{kind}");
    }
    assert_eq!(truth.benign.iter().filter(|event| event.kind.name() == "cron").count(), 5);
}

#[test]
fn a_burst_is_so_many_times_the_usual_and_over_when_it_should() {
    let plain = quiet(6, 50.0);
    let minute = |n: i64| plain.start + n * 60_000_000_000;
    let burst = Burst { start: minute(2), end: minute(4), factor: 10.0 };
    let counts = |plan: &Plan| {
        let mut counts = [0.0; 6];
        records(plan).iter().for_each(|line| counts[((line.ts - minute(0)) / 60_000_000_000) as usize] += 1.0);
        counts
    };
    let (usual, more) = (counts(&plain), counts(&Plan { bursts: vec![burst], ..plain.clone() }));
    for n in [0, 1, 5] {
        assert!((0.8..1.25).contains(&(more[n] / usual[n])), "{usual:?} {more:?}");
    }
    for n in [2, 3] {
        assert!((8.0..12.0).contains(&(more[n] / usual[n])), "{usual:?} {more:?}");
    }
}

#[test]
fn lines_come_in_time_order_and_inside_the_plan() {
    let plan = Plan { rate: 40.0, ..Plan::default() };
    let mut generator = Generator::new(&plan);
    let mut last = plan.start - 1;
    while let Some(record) = generator.next() {
        assert!(record.ts > last && record.ts < plan.end() && record.ts % 1000 == 0);
        assert!(!record.line.is_empty() && !record.line.contains('\n'));
        last = record.ts;
    }
    assert!(plan.end() - last < 5_000_000_000);
}

#[test]
fn shares_are_seventy_twenty_five_five() {
    for seed in [1, 2] {
        let lines = records(&Plan { seed, ..quiet(30, 50.0) });
        let share = |level| lines.iter().filter(|line| line.level == level).count() as f64 / lines.len() as f64;
        for (level, expected) in [(Level::Info, 0.70), (Level::Warn, 0.25), (Level::Error, 0.05)] {
            assert!((share(level) - expected).abs() < 0.012, "{level:?}: {}", share(level));
        }
    }
}

#[test]
fn rate_is_as_asked_and_counts_look_random() {
    let lines = records(&Plan { rhythm: 0.0, ..quiet(60, 30.0) });
    let mean = lines.len() as f64 / 3600.0;
    assert!((mean / 30.0 - 1.0).abs() < 0.03, "{mean}");
    let mut counts = vec![0.0; 3600];
    for line in lines.iter().filter(|line| line.stream.service == "storefront") {
        counts[((line.ts - Plan::default().start) / 1_000_000_000) as usize] += 1.0;
    }
    let mean: f64 = counts.iter().sum::<f64>() / 3600.0;
    let variance = counts.iter().map(|count| (count - mean) * (count - mean)).sum::<f64>() / 3600.0;
    // Poisson would be 1; warnings beside lines bunch them a little.
    assert!((0.9..2.5).contains(&(variance / mean)), "{}", variance / mean);
}

#[test]
fn days_are_busy_and_nights_are_not() {
    let plan = Plan { start: parse_time("2026-03-02").unwrap(), ..quiet(24 * 60, 1.0) };
    let mut hours = [0u32; 24];
    for line in records(&plan) {
        hours[((line.ts - plan.start) / 3_600_000_000_000) as usize] += 1;
    }
    assert!(f64::from(hours[15]) > 1.8 * f64::from(hours[3]), "{hours:?}");
}

#[test]
fn every_service_speaks_its_language() {
    let mut seen = BTreeMap::new();
    for record in records(&Plan { rate: 60.0, ..Plan::default() }) {
        *seen.entry(record.stream.service).or_insert(0) += 1;
        match record.stream.service {
            "auth" | "cart" | "payment" | "inventory" => {
                let line: serde_json::Value = serde_json::from_str(&record.line).unwrap();
                assert_eq!(parse_time(line["timestamp"].as_str().unwrap()), Ok(record.ts));
                assert_eq!(line["service"], record.stream.service);
                assert_eq!(line["level"], format!("{:?}", record.level).to_lowercase());
                assert!(!line["message"].as_str().unwrap().is_empty());
                assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
            }
            "database" | "queue-worker" => {
                let level = format!(" level={} ", format!("{:?}", record.level).to_lowercase());
                assert!(record.line.starts_with("ts=") && record.line.contains(&level), "{}", record.line);
            }
            _ => {}
        }
    }
    assert_eq!(seen.len(), 12, "{seen:?}");
    assert!(seen.values().all(|count| *count > 500), "{seen:?}");
}

#[test]
fn a_checkout_goes_through_its_services_in_order() {
    let order =
        ["payment requested", "payment authorised", "payment captured", "transaction committed", "message taken"];
    let mut traces: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for record in records(&quiet(10, 60.0)) {
        let line = &record.line;
        let Some(step) = order.iter().position(|text| line.contains(text)) else { continue };
        let at = line.find("trace_id").unwrap() + 8;
        let trace: String = line[at..].chars().filter(char::is_ascii_hexdigit).take(32).collect();
        traces.entry(trace).or_default().push(step);
    }
    let whole: Vec<_> = traces.values().filter(|steps| steps.contains(&0) && steps.len() == 5).collect();
    assert!(whole.len() > 50, "{}", whole.len());
    assert!(whole.iter().all(|steps| **steps == [0, 1, 2, 3, 4]));
}

#[test]
fn a_deploy_renames_pods_and_brings_new_lines() {
    let plan = Plan { faults: Vec::new(), duration: Duration::from_secs(3600), rate: 40.0, ..Plan::default() };
    let truth = plan.truth();
    let deploy = truth.benign.iter().find(|event| event.kind.name() == "deploy").unwrap();
    let with = records(&plan);
    let without = records(&Plan { benign: false, ..plan.clone() });
    let pods = |from: i64, to: i64| {
        let own = with.iter().filter(|line| line.stream.service == deploy.service && (from..to).contains(&line.ts));
        own.map(|line| line.stream.pod.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(pods(plan.start, deploy.start).is_disjoint(&pods(deploy.start + 120_000_000_000, plan.end())));
    assert!(with.iter().any(|line| line.line.contains("listening on 0.0.0.0:8080")));
    assert!(with.iter().all(|line| line.fault.is_none()));
    let more = with.len() as f64 / without.len() as f64;
    assert!((1.0..1.1).contains(&more), "{more}");
}
