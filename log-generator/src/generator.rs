//! The generator: a plan in, records in time order out, one second at a time.

use std::sync::Arc;

use crate::board::Board;
use crate::effect::Act;
use crate::fault::{Fault, Truth};
use crate::plan::Plan;
use crate::rng::{Rng, mix};
use crate::service::Level;
use crate::shop::Shop;
use crate::stamp::Stamp;
use crate::surprise::Surprises;
use crate::template::{Event, NO_FAULT};
use crate::traffic::{self, Moment};

/// Where a line comes from: one pod of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The service's name.
    pub service: &'static str,
    /// The pod's name.
    pub pod: String,
    /// Number of the stream within its generator, from 0; new pods get new numbers.
    pub index: usize,
}

impl Stream {
    /// Loki's stream labels, in the order of their names.
    #[must_use]
    pub fn labels(&self) -> [(&'static str, &str); 4] {
        [("app", self.service), ("env", "demo"), ("pod", &self.pod), ("service_name", self.service)]
    }
}

/// One line, borrowed from the generator until the next is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Nanoseconds since the Unix epoch; whole microseconds, strictly increasing.
    pub ts: i64,
    /// Where it comes from.
    pub stream: &'a Stream,
    /// How grave it is in truth.
    pub level: Level,
    /// The line, without a line break. UTF-8; stack traces hold tabs.
    pub line: &'a str,
    /// The fault whose visible line this is.
    pub fault: Option<&'a Fault>,
    /// That fault's index in [`Truth::faults`].
    pub fault_index: Option<usize>,
}

impl Record<'_> {
    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.stream.service
    }
}

/// One line on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// As in [`Record`].
    pub ts: i64,
    /// As in [`Record`].
    pub stream: Arc<Stream>,
    /// As in [`Record`].
    pub level: Level,
    /// As in [`Record`].
    pub line: String,
    /// Index in [`Truth::faults`] of the fault whose visible line this is.
    pub fault: Option<usize>,
}

/// Draws the traffic of a plan. Memory is that of one busy second.
#[derive(Debug)]
pub struct Generator {
    plan: Plan,
    shop: Shop,
    truth: Truth,
    surprises: Surprises,
    /// Dice for ordinary traffic, faults and surprises: what is planted does not change what is ordinary.
    dice: [Rng; 3],
    board: Board,
    second: i64,
    end: i64,
    ready: Vec<Event>,
    at: usize,
    last: i64,
    line: Vec<u8>,
    stamp: Stamp,
    streams: Vec<Arc<Stream>>,
    /// The stream of each service's pods.
    running: Vec<Vec<usize>>,
}

impl Generator {
    /// A generator at the start of `plan`.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let shop = Shop::new(plan);
        let truth = plan.truth();
        let (second, end) = plan.seconds();
        let mut generator = Self {
            surprises: Surprises::new(&truth.benign, &shop),
            dice: [Rng::new(plan.seed, 1), Rng::new(plan.seed, 2), Rng::new(plan.seed, 3)],
            board: Board::new(second),
            second,
            end,
            ready: Vec::new(),
            at: 0,
            last: i64::MIN / 2,
            line: Vec::with_capacity(1024),
            stamp: Stamp::new(),
            streams: Vec::new(),
            running: shop.services.iter().map(|service| vec![0; usize::from(service.pods)]).collect(),
            plan: plan.clone(),
            shop,
            truth,
        };
        for service in 0..generator.running.len() {
            for pod in 0..generator.running[service].len() {
                generator.start_pod(service, pod);
            }
        }
        generator
    }

    /// What is planted.
    #[must_use]
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The streams that have appeared so far, by their index.
    #[must_use]
    pub fn streams(&self) -> &[Arc<Stream>] {
        &self.streams
    }

    /// The next line; `None` at the plan's end. It borrows the generator, so nothing is allocated per line.
    #[expect(
        clippy::should_implement_trait,
        reason = "it lends, which Iterator cannot; see `into_iter` for owned records"
    )]
    pub fn next(&mut self) -> Option<Record<'_>> {
        while self.at >= self.ready.len() {
            if self.second >= self.end {
                return None;
            }
            self.draw_second();
        }
        let mut event = self.ready[self.at];
        self.at += 1;
        // Two texts at one nanosecond of one stream are fine in Loki, but equal ones would count once.
        event.ts = event.ts.max(self.last + 1000);
        self.last = event.ts;
        let line = &self.shop.lines[usize::from(event.line)];
        let stream = &self.streams[self.running[usize::from(line.service)][usize::from(event.pod)]];
        self.line.clear();
        line.template.write(&event, &stream.pod, &mut self.stamp, &mut self.line);
        let fault_index = (event.fault != NO_FAULT).then(|| usize::from(event.fault));
        Some(Record {
            ts: event.ts,
            stream,
            level: line.level,
            line: std::str::from_utf8(&self.line).unwrap_or_default(),
            fault: fault_index.map(|index| &self.truth.faults[index]),
            fault_index,
        })
    }

    fn next_owned(&mut self) -> Option<OwnedRecord> {
        let record = self.next()?;
        let (ts, level, line) = (record.ts, record.level, record.line.to_owned());
        let (index, fault) = (record.stream.index, record.fault_index);
        Some(OwnedRecord { ts, stream: Arc::clone(&self.streams[index]), level, line, fault })
    }

    fn draw_second(&mut self) {
        let second = self.second;
        for (service, pod) in self.surprises.renamed(&self.shop, second) {
            self.start_pod(usize::from(service), usize::from(pod));
        }
        let mut moment = Moment {
            second,
            swing: traffic::swing(&self.plan, second),
            surge: self.surprises.surge(second),
            burst: self.plan.burst(second),
            slow: None,
            swap: None,
        };
        let [ordinary, fault, surprise] = &mut self.dice;
        let act = Act::find(&self.truth.faults, &self.shop, second);
        if let Some(act) = &act {
            act.bend(&mut moment);
            act.plant(&self.shop, moment.swing * moment.surge, fault, &mut self.board);
        }
        traffic::draw(&self.shop, &moment, ordinary, &mut self.board);
        self.surprises.plant(&self.shop, second, surprise, &mut self.board);
        self.board.take(&mut self.ready);
        self.at = 0;
        self.second += 1;
        self.surprises.reshape(&self.shop, second, &mut self.ready);
        if let Some(act) = &act {
            act.reshape(&self.shop, &mut self.ready);
        }
        self.ready.sort_unstable_by_key(|event| (event.ts, event.seq));
    }

    /// Gives a pod a new name, as a Kubernetes deployment would: service, replica set, pod.
    fn start_pod(&mut self, service: usize, pod: usize) {
        let index = self.streams.len();
        let name = self.shop.services[service].name;
        let generation =
            self.streams.iter().filter(|stream| stream.service == name).count() / self.running[service].len();
        let set = mix(self.plan.seed ^ (service as u64) << 32 ^ (generation as u64) << 16);
        let own = mix(set ^ pod as u64);
        let pod_name = format!("{name}-{:09x}-{:05x}", set >> 28, own >> 44);
        self.streams.push(Arc::new(Stream { service: name, pod: pod_name, index }));
        self.running[service][pod] = index;
    }
}

/// Records on their own, for tests and small tools.
impl IntoIterator for Generator {
    type Item = OwnedRecord;
    type IntoIter = Owned;

    fn into_iter(self) -> Owned {
        Owned(self)
    }
}

/// The iterator of [`Generator::into_iter`].
#[derive(Debug)]
pub struct Owned(Generator);

impl Iterator for Owned {
    type Item = OwnedRecord;

    fn next(&mut self) -> Option<OwnedRecord> {
        self.0.next_owned()
    }
}

impl Owned {
    /// What is planted.
    #[must_use]
    pub fn truth(&self) -> &Truth {
        self.0.truth()
    }
}
