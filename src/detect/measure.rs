//! A measurement, not a check: how the detector does on labelled streams. `cargo test --lib measure -- --ignored --nocapture`
//! with `$SIGYN_STREAMS` as a folder of folders made by resample.py (`clean*` without faults).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::config::{DetectConfig, Kind, WindowSpec};
use super::explain::{headline, reason};
use super::model::Model;
use super::window::OpenWindow;
use super::{Feature, Window};
use crate::collect::{Coverage, Entry};
use crate::labels::Fingerprint;
use crate::time::{HOUR, Nanos, SECOND, Span, TimeRange, floor};

struct Fault {
    kind: String,
    service: String,
    also: String,
    onset: Nanos,
    start: Nanos,
    end: Nanos,
}

/// An incident: alarms of one group with no quiet longer than `QUIET`.
struct Alarm {
    group: String,
    at: Nanos,
    last: Nanos,
    text: String,
    feature: Feature,
}

const QUIET: Nanos = 300 * SECOND;

fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let head = lines.next().unwrap();
    lines.map(|line| head.iter().cloned().zip(line).collect()).collect()
}

fn faults(path: &Path) -> Vec<Fault> {
    let number = |row: &BTreeMap<String, String>, key: &str| row[key].parse::<Nanos>().unwrap();
    table(path)
        .iter()
        .map(|row| Fault {
            kind: row["kind"].clone(),
            service: row["service"].clone(),
            also: row.get("also").cloned().unwrap_or_default(),
            onset: if row.contains_key("onset_ns") { number(row, "onset_ns") } else { number(row, "start_ns") },
            start: number(row, "start_ns"),
            end: number(row, "end_ns"),
        })
        .collect()
}

type Streams = (BTreeMap<String, Vec<Window>>, TimeRange);

fn windows(path: &Path, size: Nanos) -> Streams {
    let mut reader = BufReader::new(flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()));
    let mut open: BTreeMap<String, BTreeMap<Nanos, OpenWindow>> = BTreeMap::new();
    let (mut first, mut last) = (None, 0);
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 {
        let columns: Vec<&str> = line.trim_end_matches('\n').splitn(5, '\t').collect();
        let ts: Nanos = columns[0].parse().unwrap();
        first.get_or_insert(ts);
        last = ts;
        let words: Vec<&str> = columns[3].split("-service").collect();
        let windows = open.entry(words[0].trim_start_matches("ts-").to_owned()).or_default();
        let entry = Entry { ts, stream: 0, detected_level: None, line: columns[4] };
        windows.entry(floor(ts, size)).or_default().add(&entry);
        line.clear();
    }
    let (from, to) = (floor(first.unwrap(), size), floor(last, size));
    let closed = open.into_iter().map(|(group, mut windows)| {
        let start = *windows.keys().next().unwrap().max(&from);
        let all = (0..).map(|n| start + n * size).take_while(|at| *at < to);
        let close = |at: Nanos| {
            windows.remove(&at).unwrap_or_default().close(TimeRange::new(at, at + size), Coverage::default(), false)
        };
        (group, all.map(close).collect())
    });
    (closed.collect(), TimeRange::new(from, to))
}

fn alarms(streams: &Streams, config: &DetectConfig) -> (Vec<Alarm>, usize) {
    let mut alarms: Vec<Alarm> = Vec::new();
    let mut anomalous = 0;
    for (number, (group, windows)) in streams.0.iter().enumerate() {
        let mut model = Model::new(config, Fingerprint(number as u64));
        let mut current: Option<usize> = None;
        for window in windows {
            let judgement = model.judge(window);
            model.learn(window, &judgement);
            let Some(evidence) = &judgement.anomalous else { continue };
            anomalous += 1;
            match current.filter(|at| window.range.start - alarms[*at].last < QUIET) {
                Some(at) => alarms[at].last = window.range.end,
                None => {
                    current = Some(alarms.len());
                    let (score, threshold) = (judgement.score.unwrap(), judgement.threshold.unwrap());
                    let text = format!("{}: {} [{score:.3}/{threshold:.3}]", headline(evidence), reason(evidence));
                    let (at, last) = (window.range.end, window.range.end);
                    alarms.push(Alarm { group: group.clone(), at, last, text, feature: evidence[0].feature });
                }
            }
        }
    }
    (alarms, anomalous)
}

#[derive(Default)]
struct Totals {
    kinds: BTreeMap<String, (u32, u32, Vec<i64>)>,
    false_clean: usize,
    hours_clean: f64,
    false_faulty: usize,
    hours_faulty: f64,
    benign: BTreeMap<String, (u32, u32)>,
    delays: Vec<i64>,
    features: BTreeMap<Feature, usize>,
}

fn score(folder: &Path, alarms: &[Alarm], range: TimeRange, totals: &mut Totals, verbose: bool) {
    let (faults, benign) = (faults(&folder.join("incidents.tsv")), faults(&folder.join("benign.tsv")));
    for fault in &faults {
        let named =
            |alarm: &&Alarm| alarm.group == fault.service || fault.also.split(';').any(|also| also == alarm.group);
        let hit =
            alarms.iter().filter(named).filter(|alarm| alarm.last > fault.onset && alarm.at <= fault.end + 30 * SECOND);
        let hit: Vec<&Alarm> = hit.collect();
        if let Some(first) = hit.first().filter(|_| verbose) {
            println!("    found {} {} {}", fault.kind, first.group, first.text);
        }
        let delay = hit.iter().map(|alarm| (alarm.at - fault.onset).max(0) / SECOND).min();
        let kind = totals.kinds.entry(fault.kind.clone()).or_default();
        kind.1 += 1;
        if let Some(delay) = delay {
            kind.0 += 1;
            kind.2.push(delay);
            totals.delays.push(delay);
        } else if verbose {
            println!("    missed {} {} {} s", fault.kind, fault.service, (fault.end - fault.onset) / SECOND);
        }
    }
    let busy = |alarm: &Alarm| {
        faults.iter().any(|fault| fault.start <= alarm.at && alarm.at <= fault.end + 90 * SECOND)
            || benign.iter().any(|fault| fault.start <= alarm.at && alarm.at <= fault.end + 90 * SECOND)
    };
    for event in &benign {
        let count = totals.benign.entry(event.kind.clone()).or_default();
        count.1 += 1;
        if verbose {
            for alarm in alarms.iter().filter(|alarm| event.start <= alarm.at && alarm.at <= event.end + 90 * SECOND) {
                println!("    benign {} {} {}", event.kind, alarm.group, alarm.text);
            }
        }
        count.0 += u32::from(alarms.iter().any(|alarm| event.start <= alarm.at && alarm.at <= event.end + 90 * SECOND));
    }
    let wrong: Vec<&Alarm> = alarms.iter().filter(|alarm| !busy(alarm)).collect();
    for alarm in &wrong {
        *totals.features.entry(alarm.feature).or_default() += 1;
        if verbose {
            let minute = (alarm.at - range.start) / 60 / SECOND;
            println!("    false {minute} min {} {} ({} s)", alarm.group, alarm.text, (alarm.last - alarm.at) / SECOND);
        }
    }
    let taken: Nanos = faults.iter().chain(&benign).map(|fault| fault.end + 90 * SECOND - fault.start).sum();
    let hours = (range.len() - taken) as f64 / HOUR as f64;
    if faults.is_empty() {
        totals.false_clean += wrong.len();
        totals.hours_clean += hours;
    } else {
        totals.false_faulty += wrong.len();
        totals.hours_faulty += hours;
    }
}

#[test]
#[ignore = "a measurement, needs streams"]
fn table_of_streams() {
    let Some(root) = std::env::var_os("SIGYN_STREAMS").map(PathBuf::from) else { return };
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("stream.tsv.gz").exists());
    folders.sort();
    let verbose = std::env::var_os("VERBOSE").is_some();
    let kinds =
        if std::env::var_os("EXTENDED").is_some() { vec![Kind::Forest, Kind::Extended] } else { vec![Kind::Forest] };
    for size in [Span::minutes(1), Span::seconds(10)] {
        let streams: Vec<Streams> =
            folders.iter().map(|folder| windows(&folder.join("stream.tsv.gz"), size.nanos())).collect();
        for kind in &kinds {
            let config = DetectConfig { window: WindowSpec::Time(size), kind: *kind, ..DetectConfig::default() };
            let mut totals = Totals::default();
            for (folder, stream) in folders.iter().zip(&streams) {
                let (alarms, anomalous) = alarms(stream, &config);
                if verbose {
                    println!("  {} {size}: {} alarms, {anomalous} windows", folder.display(), alarms.len());
                }
                score(folder, &alarms, stream.1, &mut totals, verbose);
            }
            print_totals(&format!("{size} {kind:?}"), totals);
        }
    }
}

fn print_totals(name: &str, mut totals: Totals) {
    totals.delays.sort_unstable();
    let found: u32 = totals.kinds.values().map(|kind| kind.0).sum();
    let all: u32 = totals.kinds.values().map(|kind| kind.1).sum();
    println!("== {name}: found {found} of {all}, median delay {:?} s", totals.delays.get(totals.delays.len() / 2));
    println!(
        "   false: clean {} in {:.1} h = {:.2}/h, faulty {} in {:.1} h = {:.2}/h, by feature {:?}, benign {:?}",
        totals.false_clean,
        totals.hours_clean,
        totals.false_clean as f64 / totals.hours_clean,
        totals.false_faulty,
        totals.hours_faulty,
        totals.false_faulty as f64 / totals.hours_faulty,
        totals.features,
        totals.benign
    );
    for (kind, (found, all, delays)) in totals.kinds {
        println!("   {kind:12} {found}/{all} {delays:?}");
    }
}
