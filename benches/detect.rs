//! What the detector costs: a line on the hot path, a window, a fit.

use sigyn::collect::{Coverage, Entry};
use sigyn::detect::config::DetectConfig;
use sigyn::detect::level::level_of;
use sigyn::detect::mask::{mask_secrets, message_hash};
use sigyn::detect::model::Model;
use sigyn::detect::window::OpenWindow;
use sigyn::detect::{Features, Window};
use sigyn::labels::Fingerprint;
use sigyn::time::{MINUTE, TimeRange};

fn main() {
    divan::main();
}

/// About 140 bytes each.
const LINES: [&str; 4] = [
    r#"{"timestamp":"2026-11-20T22:00:00.123Z","level":"info","service":"cart","message":"item added","trace":"9139f686ac553a14719f6e376f51fe6c"}"#,
    r#"ts=2026-11-20T22:00:00.123Z caller=cart.go:87 level=info msg="item added to cart" user=48213 items=3 total=129.90 took=12.2ms trace=9139f686ac553a14"#,
    "08:00:28.598 INFO  f.m.s.BasicServiceImpl#438 TraceID: 178033d2bbc2c4346b5451bbb00b52a7 SpanID: bc4494273ffe6785 [getRouteByRouteId][Success]  ",
    r#"10.12.0.7 - - [20/Nov/2026:22:00:00 +0000] "GET /api/cart/48213?full=1 HTTP/1.1" 200 5123 "-" "Mozilla/5.0 (X11; Linux x86_64) Gecko/2010" 0.012"#,
];

#[divan::bench(args = [0, 1, 2, 3])]
fn level(bencher: divan::Bencher<'_, '_>, at: usize) {
    bencher.bench(|| level_of(divan::black_box(LINES[at]), None));
}

#[divan::bench(args = [0, 1, 2, 3])]
fn hash(bencher: divan::Bencher<'_, '_>, at: usize) {
    bencher.bench(|| message_hash(divan::black_box(LINES[at])));
}

#[divan::bench(args = [0, 1, 2, 3])]
fn mask(bencher: divan::Bencher<'_, '_>, at: usize) {
    bencher.bench(|| mask_secrets(divan::black_box(LINES[at])));
}

/// Level, hash and count of one line.
#[divan::bench(args = [0, 1, 2, 3])]
fn line(bencher: divan::Bencher<'_, '_>, at: usize) {
    let mut open = OpenWindow::new();
    let entry = Entry { ts: 0, stream: 0, detected_level: None, line: LINES[at] };
    bencher.bench_local(|| open.add(divan::black_box(&entry), level_of(entry.line, None), message_hash(entry.line)));
}

fn window(at: i64) -> Window {
    let lines = (200 + (at * 7919) % 41) as u64;
    let features =
        [Some(140.0 + (at % 13) as f64), Some((at % 3) as f64), Some((at % 7) as f64), Some(30.0 + (at % 5) as f64)];
    let [length, errors, warns, unique] = features;
    Window {
        range: TimeRange::new(at * MINUTE, (at + 1) * MINUTE),
        lines,
        features: Features([length, errors, warns, unique, Some(lines as f64 / 60.0)]),
        coverage: Coverage::default(),
        late: false,
        samples: Vec::new(),
    }
}

fn model(windows: i64) -> Model {
    let mut model = Model::new(&DetectConfig::default(), Fingerprint(1));
    for at in 0..windows {
        let window = window(at);
        let judgement = model.judge(&window);
        model.learn(&window, &judgement);
    }
    model
}

#[divan::bench(sample_count = 50)]
fn judge(bencher: divan::Bencher<'_, '_>) {
    let (model, window) = (model(2900), window(2901));
    bencher.bench(|| model.judge(divan::black_box(&window)));
}

/// A whole day of one group: 1,440 windows judged and learnt, with all fits.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn day() -> Model {
    model(1440)
}

#[divan::bench(sample_count = 20)]
fn snapshot(bencher: divan::Bencher<'_, '_>) {
    let model = model(2900);
    bencher.bench(|| model.snapshot());
}

#[divan::bench(sample_count = 20)]
fn restore(bencher: divan::Bencher<'_, '_>) {
    let text = model(2900).snapshot();
    bencher.bench(|| Model::restore(&DetectConfig::default(), Fingerprint(1), &text));
}
