//! The isolation forest alone: CPU time to fit it, and to score rows with their shares. Written so that another program
//! can be measured beside it on the same rows: `tools/forest.py` does that with scikit-learn.
//!
//! ```text
//! cargo bench --bench forest                         # rows of its own
//! cargo bench --bench forest -- --rows FILE          # five numbers a line: length, errors, warnings, messages, rate
//! ```
//! One line of JSON: `rows`, `fit_ms` (a forest of all rows), `score_ms` (all rows scored), the least of `--rounds` (9).

use std::path::Path;

use sigyn::collect::Coverage;
use sigyn::detect::config::{DetectConfig, Kind, Preset};
use sigyn::detect::detector::forest::Forest;
use sigyn::detect::detector::{Dice, features};
use sigyn::detect::history::{History, Row};
use sigyn::detect::{Features, Window};
use sigyn::time::{MINUTE, TimeRange};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut rows, mut rounds) = (None, 9);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rows" => rows = arguments.next(),
            "--rounds" => rounds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(rounds),
            _ => {}
        }
    }
    let points = rows.map_or_else(own, |path| read(Path::new(&path)));
    let config = DetectConfig { kind: Kind::Forest, ..DetectConfig::default() };
    let history = History::new(&config, points.len());
    let rows: Vec<Row> = points.iter().zip(0..).map(|(point, at)| history.row(&window(*point, at))).collect();
    let rows: Vec<&Row> = rows.iter().collect();
    let Some(forest) = Forest::fit(&rows, features(Preset::Standard), 1) else {
        println!("{{\"rows\":{},\"error\":\"too few rows\"}}", rows.len());
        return;
    };
    let (mut fit, mut score) = (f64::MAX, f64::MAX);
    for round in 0..rounds {
        fit = fit.min(milliseconds(|| Forest::fit(&rows, features(Preset::Standard), round)));
        score = score.min(milliseconds(|| rows.iter().map(|row| forest.score(row).value).sum::<f64>()));
    }
    println!("{{\"rows\":{},\"fit_ms\":{fit:.3},\"score_ms\":{score:.3}}}", rows.len());
}

/// CPU time of one call, from as many as take a third of a second: the system counts it in ticks.
fn milliseconds<T>(mut run: impl FnMut() -> T) -> f64 {
    let (start, mut count) = (cpu_seconds(), 0);
    loop {
        std::hint::black_box(run());
        count += 1;
        let taken = cpu_seconds() - start;
        if taken > 0.3 || taken.is_nan() {
            return 1e3 * taken / f64::from(count);
        }
    }
}

/// CPU time of this thread (proc(5), `schedstat`); the clock on the wall would count what else the machine does.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

fn read(path: &Path) -> Vec<[f64; 5]> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let row = |line: &str| {
        let numbers: Vec<f64> = line.split([',', '\t']).filter_map(|number| number.trim().parse().ok()).collect();
        <[f64; 5]>::try_from(numbers).ok()
    };
    text.lines().filter_map(row).collect()
}

/// Two days of windows of a minute.
fn own() -> Vec<[f64; 5]> {
    let mut dice = Dice(1);
    let mut near = |middle: f64, spread: f64| (middle + spread * (dice.unit() + dice.unit() - 1.0)).max(0.0).round();
    (0..2_880)
        .map(|_| [near(140.0, 20.0), near(2.0, 3.0), near(6.0, 6.0), near(30.0, 12.0), near(200.0, 50.0) / 60.0])
        .collect()
}

fn window([length, errors, warns, messages, rate]: [f64; 5], at: i64) -> Window {
    Window {
        range: TimeRange::new(at * MINUTE, (at + 1) * MINUTE),
        lines: (rate * 60.0).round() as u64,
        features: Features([length, errors, warns, messages, rate].map(Some)),
        coverage: Coverage::default(),
        late: false,
        samples: Vec::new(),
    }
}
