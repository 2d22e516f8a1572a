//! The shop's traffic, made a little before its time and put into the stand-in for Loki, and the count of all that was
//! made. Some lines come late: at times a shipper stands still for a minute or more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use log_generator::loki::{Delay, Loki};
use log_generator::{Generator, Plan};
use sigyn::time::{MINUTE, Nanos, SECOND, floor};

use super::time::Time;
use crate::shop::dice;

/// Lines are made so long before their time.
pub(crate) const AHEAD: Nanos = 10 * MINUTE;
/// And put in for so long at a time.
const STRETCH: Nanos = 20 * SECOND;
/// A shipper stands still once in this time.
const STILL_EVERY: Nanos = 6 * MINUTE;
/// For so long at most: well below `late_after`.
const STILL: Nanos = 100 * SECOND;

/// Lines written by service and minute.
pub(crate) type Written = BTreeMap<(&'static str, Nanos), u64>;

/// The traffic in the making.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    until: AtomicI64,
    lines: AtomicU64,
    late: AtomicU64,
    written: Mutex<Written>,
}

struct Maker {
    generator: Generator,
    loki: Arc<Loki>,
    time: Time,
    seed: u64,
    shared: Arc<Shared>,
    /// By stream.
    waiting: Vec<Vec<(Nanos, String)>>,
    count: Written,
}

impl Feed {
    /// Puts in all before now, and from then on what time demands.
    pub(crate) fn start(plan: &Plan, loki: &Arc<Loki>, time: &Time) -> Self {
        let shared = Arc::new(Shared { until: AtomicI64::new(plan.start), ..Shared::default() });
        let mut maker = Maker {
            generator: Generator::new(plan),
            loki: Arc::clone(loki),
            time: time.clone(),
            seed: plan.seed,
            shared: Arc::clone(&shared),
            waiting: Vec::new(),
            count: Written::new(),
        };
        maker.catch_up();
        let thread = std::thread::spawn(move || {
            while !maker.shared.stop.load(Ordering::Relaxed) {
                maker.catch_up();
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// All before this is in the stand-in.
    pub(crate) fn until(&self) -> Nanos {
        self.shared.until.load(Ordering::Acquire)
    }

    /// Lines made so far, and how many of them came late.
    pub(crate) fn made(&self) -> (u64, u64) {
        (self.shared.lines.load(Ordering::Relaxed), self.shared.late.load(Ordering::Relaxed))
    }

    /// What was written in the minutes before this; it is given out once.
    pub(crate) fn take(&self, before: Nanos) -> Written {
        let mut written = self.shared.written.lock().unwrap();
        written.extract_if(.., |(_, minute), _| *minute < before).collect()
    }

    pub(crate) fn stop(mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Maker {
    fn catch_up(&mut self) {
        let wanted = self.time.now() + AHEAD;
        let mut until = self.shared.until.load(Ordering::Relaxed);
        while until < wanted && !self.shared.stop.load(Ordering::Relaxed) {
            until = self.stretch(until + STRETCH);
            self.shared.until.store(until, Ordering::Release);
        }
    }

    /// Makes lines up to `end` and the first after it; returns how far it has come.
    fn stretch(&mut self, end: Nanos) -> Nanos {
        let mut reached = end;
        let mut lines = 0;
        while let Some(record) = self.generator.next() {
            let (index, ts, service) = (record.stream.index, record.ts, record.service());
            lines += 1;
            *self.count.entry((service, floor(ts, MINUTE))).or_default() += 1;
            if self.waiting.len() <= index {
                self.waiting.resize_with(index + 1, Vec::new);
            }
            match still(self.seed, ts, index) {
                Some(again) => {
                    let by = (again - self.time.now()).max(0).unsigned_abs();
                    self.loki.push_late(&record.stream.labels(), ts, record.line, Delay::For(Duration::from_nanos(by)));
                    self.shared.late.fetch_add(1, Ordering::Relaxed);
                }
                None => self.waiting[index].push((ts, record.line.to_owned())),
            }
            if ts >= end {
                reached = ts;
                break;
            }
        }
        for (stream, lines) in self.generator.streams().iter().zip(&mut self.waiting) {
            if !lines.is_empty() {
                self.loki.push_all("fake", &stream.labels(), lines.drain(..));
            }
        }
        self.shared.lines.fetch_add(lines, Ordering::Relaxed);
        let mut written = self.shared.written.lock().unwrap();
        for (key, lines) in std::mem::take(&mut self.count) {
            *written.entry(key).or_default() += lines;
        }
        reached
    }
}

/// When the shipper of this stream goes on, if it stands still at `ts`.
fn still(seed: u64, ts: Nanos, stream: usize) -> Option<Nanos> {
    let slot = ts.div_euclid(STILL_EVERY);
    let chance = |of: u64| dice(seed ^ slot.cast_unsigned() << 8 ^ of).cast_signed();
    // New pods come with deploys; of the first ones, some are gone.
    if chance(1) % 40 != stream as Nanos {
        return None;
    }
    let begin = slot * STILL_EVERY + chance(2) % (STILL_EVERY - STILL);
    let end = begin + STILL / 4 + chance(3) % (STILL * 3 / 4);
    (begin..end).contains(&ts).then_some(end)
}
