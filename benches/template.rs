//! What templates cost: whole sets of raw lines through the miner, new ones with all misses and known ones without.
//!
//! Labelled sets come from the folder that `SIGYN_SHARED` names; where there is none, only the generator's lines are measured.
//! `alloc` must stay at nought for known lines. With `-- --cpu` the same is told by CPU time, so that a busy machine does not count.

use std::io::Read;
use std::path::{Path, PathBuf};

use divan::counter::{BytesCount, ItemsCount};
use sigyn::detect::Level;
use sigyn::detect::level::level_of;
use sigyn::detect::template::{Limits, Miner};

#[global_allocator]
static ALLOC: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    if std::env::args().any(|arg| arg == "--cpu") {
        return by_cpu();
    }
    divan::main();
}

/// CPU seconds of this process, to a hundredth (`proc_pid_stat(5)`).
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Each set for three seconds of CPU time, three times; the best of them.
fn by_cpu() {
    println!("{:<12} {:<10} {:>10} {:>8}", "set", "", "M lines/s", "MB/s");
    for name in ["mix", "hdfs_dev", "trainticket", "json"] {
        let lines = lines(name);
        let (bytes, streams) = (lines.iter().map(String::len).sum::<usize>(), if name == "mix" { 8 } else { 1 });
        for (what, known, level) in [
            ("known", true, (|_| Level::Unknown) as fn(&str) -> Level),
            ("new", false, |_| Level::Unknown),
            ("with level", true, |line| level_of(line, None)),
        ] {
            let mut miner = Miner::new(Limits::default());
            let warm = if known { 6000 / lines.len().max(1) + 1 } else { 0 };
            (0..warm).for_each(|_| mine(&mut miner, &lines, streams, level));
            let round = || {
                let (start, mut rounds) = (cpu(), 0.0);
                while cpu() - start < 3.0 {
                    if !known {
                        miner = Miner::new(Limits::default());
                    }
                    mine(&mut miner, &lines, streams, level);
                    rounds += 1.0;
                }
                rounds / (cpu() - start)
            };
            let best = std::iter::repeat_with(round).take(3).fold(0.0, f64::max);
            let (count, bytes) = (best * lines.len() as f64 / 1e6, best * bytes as f64 / 1e6);
            println!("{name:<12} {what:<10} {count:>10.2} {bytes:>8.0}");
        }
    }
}

/// Name and the column that the line stands in; the last are made here.
const SETS: [(&str, usize); 12] = [
    ("apache", 1),
    ("bgl", 1),
    ("hadoop", 1),
    ("hdfs", 1),
    ("linux", 1),
    ("openssh", 1),
    ("spark", 1),
    ("zookeeper", 1),
    ("mix", 1),
    ("hdfs_dev", 4),
    ("trainticket", 4),
    ("json", 0),
];

fn names() -> impl Iterator<Item = &'static str> {
    SETS.iter().map(|(name, _)| *name)
}

fn shared() -> PathBuf {
    let named = std::env::var_os("SIGYN_SHARED").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared")).join("data")
}

fn column(path: &Path, column: usize) -> Vec<String> {
    let mut bytes = Vec::new();
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    if let Err(error) = flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes) {
        println!("{} is damaged: {error}", path.display());
    }
    let text = String::from_utf8_lossy(&bytes);
    text.lines().filter_map(|line| line.splitn(column + 1, '\t').nth(column)).map(str::to_owned).collect()
}

/// The lines of a set; the eight small ones many times.
fn lines(name: &str) -> Vec<String> {
    let data = shared();
    match name {
        "json" => json(),
        "hdfs_dev" => column(&data.join("hdfs/hdfs_dev.tsv.gz"), 4),
        "trainticket" => column(&data.join("trainticket/trainticket_dev.tsv.gz"), 4),
        "mix" => {
            let eight: Vec<Vec<String>> = SETS.iter().take(8).map(|(name, _)| lines(name)).collect();
            let length = eight.iter().map(Vec::len).max().unwrap_or(0);
            (0..length).flat_map(|at| eight.iter().filter_map(move |lines| lines.get(at).cloned())).collect()
        }
        _ => column(&data.join(format!("templates/{name}.tsv.gz")), 1),
    }
}

/// Lines of a shop's service that writes JSON.
fn json() -> Vec<String> {
    (0..50_000u64)
        .map(|n| {
            let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (message, more) = match n % 4 {
                0 => (format!("item SKU-{} added", n % 977), format!("\"cart\":\"{id:016x}\",\"quantity\":{}", n % 7)),
                1 => ("cart shown".to_owned(), format!("\"cart\":\"{id:016x}\",\"items\":{}", n % 5)),
                2 => (format!("login failed for user{}: wrong password", n % 313), format!("\"ip\":\"10.0.{}.7\"", n % 255)),
                _ => ("payment authorised".to_owned(), format!("\"order\":\"{id:x}\",\"amount\":{}.5", n % 100)),
            };
            format!(
                "{{\"timestamp\":\"2026-11-20T22:00:{:02}.123Z\",\"level\":\"info\",\"service\":\"cart\",\"message\":\"{message}\",\
                 \"trace_id\":\"{id:032x}\",{more}}}",
                n % 60
            )
        })
        .collect()
}

/// One stream, or one for each of the eight.
fn mine(miner: &mut Miner, lines: &[String], streams: usize, level: impl Fn(&str) -> Level) {
    let slots: Vec<_> = (0..streams as u64).map(|key| miner.stream(key)).collect();
    for (line, slot) in lines.iter().zip(slots.iter().cycle()) {
        divan::black_box(miner.mine(*slot, 0, level(line), line));
    }
}

fn run(bencher: divan::Bencher<'_, '_>, name: &str, known: bool, level: fn(&str) -> Level) {
    let lines = lines(name);
    let streams = if name == "mix" { 8 } else { 1 };
    let bytes: usize = lines.iter().map(String::len).sum();
    let bencher = bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(lines.len()));
    let mut miner = Miner::new(Limits::default());
    if known {
        for _ in 0..6000 / lines.len().max(1) + 1 {
            mine(&mut miner, &lines, streams, level);
        }
        bencher.bench_local(|| mine(&mut miner, &lines, streams, level));
    } else {
        bencher.with_inputs(|| Miner::new(Limits::default())).bench_local_refs(|miner| {
            mine(miner, &lines, streams, level);
        });
    }
}

/// Lines that were seen before: the steady state.
#[divan::bench(args = names(), sample_count = 20, sample_size = 1)]
fn known(bencher: divan::Bencher<'_, '_>, name: &str) {
    run(bencher, name, true, |_| Level::Unknown);
}

/// All of a set by a new miner, misses and header included.
#[divan::bench(args = ["hdfs_dev", "trainticket", "json"], sample_count = 10, sample_size = 1)]
fn new(bencher: divan::Bencher<'_, '_>, name: &str) {
    run(bencher, name, false, |_| Level::Unknown);
}

/// With the level of each line, as the engine does it.
#[divan::bench(args = ["mix", "hdfs_dev", "trainticket", "json"], sample_count = 10, sample_size = 1)]
fn with_level(bencher: divan::Bencher<'_, '_>, name: &str) {
    run(bencher, name, true, |line| level_of(line, None));
}
