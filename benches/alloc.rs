//! How often memory is asked for, per line, in the steady state: when streams, templates and services are known. And how
//! fast the whole engine is, from entries in memory to steps, nothing read or unpacked.
//!
//! The stages of a line, each alone and all together: file reader → template → window features → whole engine. The engine is
//! fed the lines of a minute and then the end of the minute, so what lines ask for and what ends of windows ask for is told
//! apart. Ends with code 1 when the reader, the templates, the features or the engine's path of a line ask per line, or when what
//! a watch believes to hold is not what it holds.
//!
//! ```text
//! SIGYN_SHARED=../shared cargo bench --bench alloc
//! ```

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use log_generator::{Generator, Plan};
use sigyn::collect::file::{File, FileConfig, Format};
use sigyn::collect::{Batch, Coverage, Entry, Known, Purpose, Stream};
use sigyn::detect::config::{DetectConfig, WindowSpec};
use sigyn::detect::detector::Dice;
use sigyn::detect::level::level_of;
use sigyn::detect::template::{Limits, Miner};
use sigyn::detect::window::OpenWindow;
use sigyn::engine::{Engine, Input, Options, WatchOptions};
use sigyn::incident::config::IncidentConfig;
use sigyn::labels::Labels;
use sigyn::time::{MINUTE, TimeRange, floor};

/// What a stage may ask for, per line, and the engine's path of a line: sessions begin there.
const MOST: f64 = 0.05;
const MOST_OF_ENGINE: f64 = 0.1;

fn main() -> ExitCode {
    println!("allocations per line, steady state (second half of each set); bytes in brackets");
    println!(
        "| set | lines | lines a window | file reader | templates | level, features | engine, a line | engine, a window |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let mut good = true;
    for (name, path) in sets() {
        let batches = read(&path).1;
        if batches.is_empty() {
            println!("| {name} | not there: {} |", path.display());
            continue;
        }
        let lines: usize = batches.iter().map(Batch::len).sum();
        let stages = [reader(&path), templates(&batches), features(&batches)];
        let (line, window, windows) = engine(&batches);
        let each: Vec<String> = stages.iter().map(Cost::to_string).collect();
        println!(
            "| {name} | {lines} | {:.0} | {} | {line} | {window} |",
            lines as f64 / 2.0 / windows.max(1) as f64,
            each.join(" | "),
        );
        good &= name.starts_with("sparse") || line.count <= MOST_OF_ENGINE;
        good &= name.starts_with("sparse") || stages.iter().all(|stage| stage.count <= MOST);
    }
    println!("\nbytes that a watch believes to hold, and those that it holds");
    println!("| what | groups | believed | held | ratio |");
    println!("|---|---:|---:|---:|---:|");
    for (name, batches) in heaps() {
        let (groups, believed, held) = weigh(&batches);
        let ratio = believed / held;
        println!("| {name} | {groups} | {:.1} MB | {:.1} MB | {ratio:.2} |", believed / MB, held / MB);
        // Of little, some buffers make much.
        good &= (0.7..=1.3).contains(&ratio) || (believed - held).abs() < 2.0 * MB;
    }
    println!("\nwhole engine alone, CPU time of its thread, all of each set, best of {RUNS} runs");
    println!("| set | lines/s | MB/s of line text |");
    println!("|---|---:|---:|");
    for (name, path) in sets() {
        let batches = read(&path).1;
        if !batches.is_empty() {
            let (lines, bytes) = speed(&batches);
            println!("| {name} | {lines:.0} | {:.0} |", bytes / 1e6);
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs of which the best counts: caches are warm, and the clock is high.
const RUNS: usize = 9;

/// Lines and bytes of line text that the whole engine takes in a second.
fn speed(batches: &[Batch]) -> (f64, f64) {
    let lines: usize = batches.iter().map(Batch::len).sum();
    let bytes: usize = batches.iter().flat_map(Batch::entries).map(|entry| entry.line.len()).sum();
    let best = (0..RUNS).map(|_| {
        let (mut engine, batches) = (new_engine(), batches.to_vec());
        let start = seconds();
        for batch in batches {
            std::hint::black_box(engine.step(Input::Batch(batch)));
        }
        seconds() - start
    });
    let seconds = best.fold(f64::INFINITY, f64::min);
    (lines as f64 / seconds, bytes as f64 / seconds)
}

/// Seconds that this thread has been working: others may use the machine too.
fn seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

/// Per line.
#[derive(Clone, Copy, Default)]
struct Cost {
    count: f64,
    bytes: f64,
}

impl Cost {
    /// Of `run`, which handles so many lines.
    fn of(run: impl FnOnce() -> usize) -> Self {
        let mut lines = 0;
        measured(|| lines = run()) / lines
    }
}

fn measured(run: impl FnOnce()) -> Cost {
    let info = measure(run);
    Cost { count: info.count_total as f64, bytes: info.bytes_total as f64 }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, more: Self) {
        *self = Self { count: self.count + more.count, bytes: self.bytes + more.bytes };
    }
}

impl std::ops::Div<usize> for Cost {
    type Output = Self;

    fn div(self, by: usize) -> Self {
        let by = by.max(1) as f64;
        Self { count: self.count / by, bytes: self.bytes / by }
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.4} ({:.0})", self.count, self.bytes)
    }
}

/// Two made here, at a thousand lines a second and at ten, and labelled ones where they are.
fn sets() -> Vec<(&'static str, PathBuf)> {
    let folder = std::env::temp_dir();
    let made = |name: &str, rate: f64, minutes: u64| {
        let path = folder.join(name);
        write(&path, rate, minutes);
        path
    };
    let named = std::env::var_os("SIGYN_SHARED").map(PathBuf::from);
    let shared = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")).join("data");
    vec![
        ("generator, 1,000 lines/s", made("sigyn-alloc-dense.tsv", 1_000.0, 20)),
        ("sparse: generator, 10 lines/s", made("sigyn-alloc-sparse.tsv", 10.0, 600)),
        ("sparse: hdfs", shared.join("hdfs/hdfs_dev.tsv.gz")),
        ("trainticket", shared.join("trainticket/trainticket_dev.tsv.gz")),
    ]
}

fn write(path: &Path, rate: f64, minutes: u64) {
    let duration = Duration::from_secs(60 * minutes);
    let plan = Plan { rate, duration, faults: Vec::new(), benign: false, ..Plan::default() };
    let mut generator = Generator::new(&plan);
    let Ok(file) = fs::File::create(path) else { return };
    let mut file = std::io::BufWriter::new(file);
    while let Some(record) = generator.next() {
        if writeln!(file, "{}\t0\t-\t{}\t{}", record.ts, record.service(), record.line).is_err() {
            return;
        }
    }
}

/// Batches of a file, and what reading its second half cost.
fn read(path: &Path) -> (Cost, Vec<Batch>) {
    let config = FileConfig { watch: WATCH.to_owned(), path: path.to_owned(), format: Format::Tsv5 };
    let mut all = Vec::with_capacity(1 << 16);
    let Ok(mut file) = File::open(&config) else { return (Cost::default(), all) };
    let half = fs::metadata(path).map_or(0, |data| data.len()) / 2;
    let mut next = |file: &mut File| file.read().ok().flatten().map(|batch| all.push(batch)).is_some();
    while file.progress().read.load(std::sync::atomic::Ordering::Relaxed) < half && next(&mut file) {}
    let mut lines = 0;
    let cost = Cost::of(|| {
        while let Ok(Some(batch)) = file.read() {
            lines += batch.len();
            all.push(batch);
        }
        lines
    });
    (cost, all)
}

fn reader(path: &Path) -> Cost {
    read(path).0
}

/// All entries of the second half, after those of the first.
fn twice(batches: &[Batch], mut take: impl FnMut(&Batch, Entry<'_>)) -> Cost {
    let (first, second) = batches.split_at(batches.len() / 2);
    let mut run = |batches: &[Batch]| {
        batches.iter().for_each(|batch| batch.entries().for_each(|entry| take(batch, entry)));
        batches.iter().map(Batch::len).sum()
    };
    run(first);
    Cost::of(|| run(second))
}

fn templates(batches: &[Batch]) -> Cost {
    let mut miner = Miner::new(Limits::default());
    twice(batches, |batch, entry| {
        let key = batch.streams.get(entry.stream).map_or(0, |stream| stream.hash);
        let slot = miner.stream(key);
        std::hint::black_box(miner.mine(slot, entry.ts, sigyn::collect::Level::Info, entry.line));
    })
}

/// Level, and windows of a minute of each stream.
fn features(batches: &[Batch]) -> Cost {
    let mut miner = Miner::new(Limits::default());
    let mut messages: Vec<u64> = Vec::new();
    twice(batches, |batch, entry| {
        let key = batch.streams.get(entry.stream).map_or(0, |stream| stream.hash);
        let slot = miner.stream(key);
        messages.push(miner.mine(slot, entry.ts, sigyn::collect::Level::Info, entry.line).template.0.into());
    });
    let mut open: std::collections::BTreeMap<u64, OpenWindow> = std::collections::BTreeMap::new();
    let (mut at, mut minute) = (0, 0);
    twice(batches, |batch, entry| {
        let start = floor(entry.ts, MINUTE);
        if start != minute {
            let range = TimeRange::new(minute, start);
            for open in open.values_mut() {
                std::hint::black_box(open.close(range, Coverage::default(), false));
                open.clear();
            }
            minute = start;
        }
        let key = batch.streams.get(entry.stream).map_or(0, |stream| stream.hash);
        let message = messages.get(at).copied().unwrap_or_default();
        at += 1;
        open.entry(key).or_default().add(&entry, level_of(entry.line, None), message);
    })
}

const WATCH: &str = "bench";

fn new_engine() -> Engine {
    Engine::new(&Options {
        tenant: "default".to_owned(),
        detect: DetectConfig::default(),
        incident: IncidentConfig::default(),
        external_labels: Labels::new(),
        watches: vec![WatchOptions {
            name: Arc::from(WATCH),
            query: "{}".to_owned(),
            window: WindowSpec::Time(sigyn::time::Span::minutes(1)),
            group_by: vec!["stream".to_owned()],
            labels: Labels::new(),
            owner: None,
            runbook_url: None,
        }],
    })
    .unstored()
}

/// The same entries in batches of a minute, each but its last nanosecond, and that up to the next minute with lines for itself: only
/// there windows end.
fn by_minute(batches: &[Batch]) -> Vec<(Batch, Batch)> {
    let mut minutes: Vec<(Batch, Batch)> = Vec::new();
    for (batch, entry) in batches.iter().flat_map(|batch| batch.entries().map(move |entry| (batch, entry))) {
        let start = floor(entry.ts, MINUTE);
        if minutes.last().is_none_or(|(lines, _)| lines.range.start < start) {
            if let Some((_, end)) = minutes.last_mut() {
                end.range.end = start;
            }
            let part = |from, to| {
                let mut part = Batch::new(Arc::from(WATCH), TimeRange::new(from, to), Purpose::Judge);
                part.coverage = Coverage { known: Known::Audited, ..Coverage::default() };
                part
            };
            let end = start + MINUTE;
            minutes.push((part(start, end - 1), part(end - 1, end)));
        }
        let (Some((lines, _)), Some(stream)) = (minutes.last_mut(), batch.streams.get(entry.stream)) else { continue };
        let stream = lines.stream_index(stream);
        lines.push(entry.ts.min(lines.range.end - 1), stream, entry.line, entry.detected_level);
    }
    minutes.iter_mut().for_each(|(lines, _)| lines.sort());
    minutes
}

/// The whole engine: per line, per window, and how many windows the second half had.
fn engine(batches: &[Batch]) -> (Cost, Cost, usize) {
    let mut engine = new_engine();
    let mut all = by_minute(batches);
    let second = all.split_off(all.len() / 2);
    for (lines, end) in all {
        engine.step(Input::Batch(lines));
        engine.step(Input::Batch(end));
    }
    let (mut lines, mut windows) = (0, 0);
    let (mut of_lines, mut of_windows) = (Cost::default(), Cost::default());
    for (batch, end) in second {
        lines += batch.len();
        of_lines += measured(|| drop(engine.step(Input::Batch(batch))));
        of_windows += measured(|| windows += engine.step(Input::Batch(end)).windows.len());
    }
    (of_lines / lines, of_windows / windows, windows)
}

const MB: f64 = 1e6;

/// What fills a watch in different ways.
fn heaps() -> Vec<(&'static str, Vec<Batch>)> {
    let named = sets().into_iter().map(|(name, path)| (name, read(&path).1));
    let mut all: Vec<(&'static str, Vec<Batch>)> = named.filter(|(_, batches)| !batches.is_empty()).collect();
    let mut dice = Dice(1);
    let mut word =
        move |letters: usize| -> String { (0..letters).map(|_| char::from(b'a' + dice.below(26) as u8)).collect() };
    let made = |minutes: i64, lines: i64, text: &mut dyn FnMut(i64) -> (String, String)| -> Vec<Batch> {
        (0..minutes)
            .map(|minute| {
                let range = TimeRange::new(minute * MINUTE, (minute + 1) * MINUTE);
                let mut batch = Batch::new(Arc::from(WATCH), range, Purpose::Judge);
                for n in 0..lines {
                    let (stream, line) = text(minute * lines + n);
                    let stream = batch.stream_index(&Stream::new([("stream", stream.as_str())].into_iter().collect()));
                    batch.push(range.start + n * (MINUTE / lines), stream, &line, None);
                }
                batch.sort();
                batch.coverage = Coverage { known: Known::Audited, ..Coverage::default() };
                batch
            })
            .collect()
    };
    let quiet = |n: i64| (format!("service-{}", n % 400), format!("INFO item {n} stored in {} ms", n % 17));
    all.push(("400 services, two days", made(2_880, 400, &mut |n| quiet(n))));
    let mut unique = |n: i64| {
        let words: Vec<String> = (0..5).map(|_| word(7)).collect();
        (format!("service-{}", n % 50), format!("WARN {}", words.join(" ")))
    };
    all.push(("only unique lines", made(120, 2_000, &mut unique)));
    let session = |n: i64| {
        let id = (n / 5).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed());
        let step = ["accepted", "checked", "priced", "stored", "answered"][(n % 5) as usize];
        (format!("service-{}", n % 5), format!("INFO trace_id={id:016x}{:016x} request {step}", id ^ 77))
    };
    all.push(("many sessions", made(60, 10_000, &mut |n| session(n))));
    all
}

/// Groups of a watch that was fed with this, what it believes to hold, and what it holds.
fn weigh(batches: &[Batch]) -> (u32, f64, f64) {
    let (mut engine, mut groups) = (new_engine(), 0);
    let info = measure(|| {
        for batch in batches {
            groups = engine.step(Input::Batch(batch.clone())).learning.groups;
        }
    });
    (groups, engine.held(WATCH) as f64, info.bytes_current as f64)
}
