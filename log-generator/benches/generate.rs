//! How many lines a second one core makes: alone, and into a file.

use std::time::Duration;

use divan::counter::ItemsCount;
use log_generator::output::{Plain, Sink};
use log_generator::{Generator, Plan};

fn main() {
    divan::main();
}

fn plan() -> Plan {
    Plan { rate: 1000.0, duration: Duration::from_secs(600), ..Plan::default() }
}

fn lines(mut each: impl FnMut(&log_generator::Record<'_>)) -> usize {
    let mut generator = Generator::new(&plan());
    let mut count = 0;
    while let Some(record) = generator.next() {
        each(&record);
        count += 1;
    }
    count
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn generate(bencher: divan::Bencher<'_, '_>) {
    let count = lines(|_| ());
    bencher.counter(ItemsCount::new(count)).bench_local(|| lines(|record| _ = divan::black_box(record.line.len())));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn write_to_a_file(bencher: divan::Bencher<'_, '_>) {
    let count = lines(|_| ());
    let path = std::env::temp_dir().join("log-generator-bench.log");
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let Ok(plain) = Plain::open(&path.to_string_lossy()) else { return };
        let mut sink = Sink::Plain(plain);
        lines(|record| _ = sink.take(record));
        _ = sink.flush();
    });
    _ = std::fs::remove_file(&path);
}
