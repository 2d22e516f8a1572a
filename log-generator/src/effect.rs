//! Makes faults visible: lines that they add each second, and ordinary lines that they drop or change.
//!
//! A fault's visible lines carry its index. A gradual fault acts from its scripted start, but its lines count only from
//! the moment when its effect passes twice the ordinary.

use crate::board::{Board, Spot};
use crate::fault::{CREEP, Fault, FaultKind, GAUGE, GAUGE_RAMP, SLOW, SLOW_RAMP};
use crate::rng::{Rng, mix};
use crate::shop::Shop;
use crate::template::{Event, NO_FAULT, ORDINARY};
use crate::traffic::Moment;

const SECOND: i64 = 1_000_000_000;

/// The fault that acts in one second.
pub(crate) struct Act<'a> {
    pub(crate) fault: &'a Fault,
    pub(crate) index: u16,
    /// The service at the root.
    pub(crate) service: u8,
    pub(crate) second: i64,
}

impl<'a> Act<'a> {
    /// The fault that acts in `second`, if any; `faults` are in time order and do not overlap.
    pub(crate) fn find(faults: &'a [Fault], shop: &Shop, second: i64) -> Option<Self> {
        let at = second * SECOND;
        let index = faults.partition_point(|fault| fault.end <= at);
        let fault = faults.get(index).filter(|fault| fault.scripted_start <= at)?;
        Some(Self { fault, index: index as u16, service: shop.service(fault.service)?, second })
    }

    /// What it does to requests that begin now.
    pub(crate) fn bend(&self, moment: &mut Moment) {
        match self.fault.kind {
            FaultKind::Latency => moment.slow = Some((self.service, self.slowness())),
            FaultKind::WrongOrder => moment.swap = Some((self.service, self.index)),
            _ => {}
        }
    }

    /// Adds its lines of this second.
    pub(crate) fn plant(&self, shop: &Shop, swing: f64, rng: &mut Rng, board: &mut Board) {
        let own = &shop.services[usize::from(self.service)];
        let strength = self.fault.strength * swing;
        match self.fault.kind {
            FaultKind::ErrorBurst => {
                let lines: Vec<u16> = (0..8).filter_map(|_| own.errors.draw(rng)).collect();
                self.pour(shop, &lines, strength * (own.rate * 0.6).max(1.0), rng, board);
            }
            FaultKind::NewException => self.exception(shop, strength * (own.rate * 0.05).max(0.15), rng, board),
            FaultKind::WarnCreep => {
                let extra = own.warn_rate * swing * (CREEP - 1.0) * self.fault.progress(self.second * SECOND);
                let lines: Vec<u16> = (0..8).filter_map(|_| own.warns.draw(rng)).collect();
                self.pour(shop, &lines, extra, rng, board);
            }
            FaultKind::Latency if self.counts() => {
                self.pour(shop, &shop.keyed(self.service, "slow"), strength * (own.rate * 0.08).max(0.1), rng, board);
            }
            FaultKind::CrashLoop => self.crash(shop, rng, board),
            FaultKind::BruteForce => self.brute(shop, strength * (own.rate * 0.5).max(4.0), rng, board),
            FaultKind::DiskFull | FaultKind::Oom => self.fill(shop, strength, rng, board),
            FaultKind::Cascade => self.cascade(shop, strength, rng, board),
            FaultKind::Silence | FaultKind::Latency | FaultKind::OddValue | FaultKind::WrongOrder => {}
        }
    }

    /// Drops or changes the lines of this second that are not its own.
    pub(crate) fn reshape(&self, shop: &Shop, events: &mut Vec<Event>) {
        let hit =
            |event: &Event| event.fault == NO_FAULT && shop.lines[usize::from(event.line)].service == self.service;
        match self.fault.kind {
            FaultKind::Silence => events.retain(|event| !hit(event)),
            FaultKind::CrashLoop => events.retain(|event| !(hit(event) && self.is_down(event.pod))),
            FaultKind::Oom => {
                let down = self.oom_phase().is_some_and(|phase| phase < self.rest());
                events.retain(|event| !(hit(event) && (down || self.replaces(shop, event))));
            }
            FaultKind::DiskFull => events.retain(|event| !(hit(event) && self.replaces(shop, event))),
            FaultKind::Latency => {
                let slow = (self.slowness() * f64::from(ORDINARY)) as u16;
                let mark = if self.counts() { self.index } else { NO_FAULT };
                for event in events.iter_mut().filter(|event| hit(event)) {
                    if shop.lines[usize::from(event.line)].timed {
                        event.slow = slow;
                        event.fault = mark;
                    }
                }
            }
            FaultKind::OddValue => {
                for event in events.iter_mut().filter(|event| hit(event)) {
                    if shop.lines[usize::from(event.line)].valued && mix(event.flow ^ 10) & 3 == 0 {
                        event.odd = true;
                        event.fault = self.index;
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether its lines count already.
    fn counts(&self) -> bool {
        self.second * SECOND >= self.fault.start
    }

    fn mark(&self) -> u16 {
        if self.counts() { self.index } else { NO_FAULT }
    }

    /// Seconds since the scripted start, and the whole length.
    fn clock(&self) -> (i64, i64) {
        let length = (self.fault.end - self.fault.scripted_start) / SECOND;
        (self.second - self.fault.scripted_start / SECOND, length)
    }

    fn spot(&self, rng: &mut Rng) -> Spot {
        Spot { fault: self.mark(), ..Spot::within(self.second, rng) }
    }

    /// `mean` lines in this second, each one of `lines`.
    fn pour(&self, shop: &Shop, lines: &[u16], mean: f64, rng: &mut Rng, board: &mut Board) {
        for _ in 0..rng.poisson(mean) {
            let spot = self.spot(rng);
            if let Some(line) = rng.pick(lines) {
                board.plant(shop, *line, spot);
            }
        }
    }

    /// The first line of `key`, at a certain millisecond of this second.
    fn say(&self, shop: &Shop, key: &str, pod: u8, (millis, gauge): (i64, u32), rng: &mut Rng, board: &mut Board) {
        if let Some(line) = shop.keyed(self.service, key).first() {
            let ts = self.second * SECOND + millis * 1_000_000;
            board.plant(shop, *line, Spot { ts, span: gauge, pod: Some(pod), ..self.spot(rng) });
        }
    }

    fn exception(&self, shop: &Shop, mean: f64, rng: &mut Rng, board: &mut Board) {
        let lines = shop.keyed(self.service, "exception");
        let frames = &shop.services[usize::from(self.service)].new_frames;
        // A service with stack traces has its own text for them, which comes first.
        let choices = if frames.is_empty() { lines.len() as u64 } else { 1 };
        let line = lines.get((self.fault.salt % choices.max(1)) as usize);
        let (since, _) = self.clock();
        // The first second always shows it, so that the truth's start is the first sight.
        let count = rng.poisson(mean).max(u32::from(since == 0));
        for (_, line) in (0..count).zip(line.into_iter().cycle()) {
            let spot = self.spot(rng);
            board.plant(shop, *line, spot);
            for (index, frame) in frames.iter().enumerate() {
                board.plant(shop, *frame, Spot { ts: spot.ts + (index as i64 + 1) * 1000, ..spot });
            }
        }
    }

    /// Seconds of one round of a crash loop, and how long of it the pod is down.
    fn round(&self) -> (i64, i64) {
        let round = (self.clock().1 / 6).clamp(6, 30);
        (round, (round / 3).max(2))
    }

    fn phase(&self, pod: u8) -> i64 {
        (self.clock().0 + i64::from(pod) * 7) % self.round().0
    }

    fn is_down(&self, pod: u8) -> bool {
        self.phase(pod) <= self.round().1
    }

    fn crash(&self, shop: &Shop, rng: &mut Rng, board: &mut Board) {
        let own = &shop.services[usize::from(self.service)];
        for pod in 0..own.pods {
            if self.phase(pod) == 0 {
                self.say(shop, "crash", pod, (40, 0), rng, board);
                self.say(shop, "exit", pod, (55, 0), rng, board);
            } else if self.phase(pod) == self.round().1 {
                self.boot(shop, pod, rng, board);
            }
        }
    }

    fn boot(&self, shop: &Shop, pod: u8, rng: &mut Rng, board: &mut Board) {
        for (index, line) in shop.services[usize::from(self.service)].start.iter().enumerate() {
            let ts = self.second * SECOND + (index as i64 + 1) * 170_000_000;
            board.plant(shop, *line, Spot { ts, pod: Some(pod), ..self.spot(rng) });
        }
    }

    fn brute(&self, shop: &Shop, mean: f64, rng: &mut Rng, board: &mut Board) {
        let lines: Vec<u16> = self
            .fault
            .services()
            .filter_map(|name| shop.keyed(shop.service(name)?, "brute").first().copied())
            .collect();
        for _ in 0..rng.poisson(mean) {
            let spot = self.spot(rng);
            for (index, line) in lines.iter().enumerate() {
                let ts = spot.ts + index as i64 * 4_000_000;
                board.plant(shop, *line, Spot { ts, span: 70_000 * index as u32, ..spot });
            }
        }
    }

    fn cascade(&self, shop: &Shop, strength: f64, rng: &mut Rng, board: &mut Board) {
        let (since, length) = self.clock();
        let lag = (length / 8).min(30);
        for (depth, name) in self.fault.services().enumerate() {
            let Some(service) = shop.service(name).filter(|_| since >= lag * depth as i64) else { continue };
            let lines = shop.keyed(service, if depth == 0 { "root" } else { "downstream" });
            let mean = strength * (shop.services[usize::from(service)].rate * 0.35).max(1.0);
            self.pour(shop, &lines, mean, rng, board);
        }
    }

    /// How many times slower the service is.
    fn slowness(&self) -> f64 {
        1.0 + (SLOW - 1.0) * (self.fault.progress((self.second + 1) * SECOND) / SLOW_RAMP).min(1.0)
    }

    fn fill(&self, shop: &Shop, strength: f64, rng: &mut Rng, board: &mut Board) {
        let disk = self.fault.kind == FaultKind::DiskFull;
        let (since, length) = self.clock();
        let (gauge, phase) = (self.gauge(), self.oom_phase());
        let every = (length / 60).clamp(1, 5);
        let high = f64::from(gauge) >= 2.0 * GAUGE && self.counts();
        if since % every == 0 && phase.is_none_or(|phase| phase >= self.rest()) {
            let key = match (disk, high) {
                (true, true) => "disk_high",
                (true, false) => "disk",
                (false, true) => "heap_high",
                (false, false) => "heap",
            };
            self.say(shop, key, 0, (rng.below(1000) as i64, gauge), rng, board);
        }
        if disk && gauge >= 100 {
            let rate = shop.services[usize::from(self.service)].rate;
            self.pour(shop, &shop.keyed(self.service, "disk_full"), strength * (rate * 0.4).max(1.0), rng, board);
        }
        match phase {
            Some(0) if !disk => {
                for millis in [10, 60, 130] {
                    self.say(shop, "oom", 0, (millis, 0), rng, board);
                }
                self.say(shop, "oom_killed", 0, (150, 0), rng, board);
            }
            Some(phase) if !disk && phase == self.rest() => self.boot(shop, 0, rng, board),
            _ => {}
        }
    }

    /// The fault's own reports take the place of the ordinary ones.
    fn replaces(&self, shop: &Shop, event: &Event) -> bool {
        shop.lines[usize::from(event.line)].gauge && event.seq < 1 << 40
    }

    /// Seconds from the scripted start until the gauge stands at 100.
    fn full_at(&self) -> i64 {
        (self.clock().1 as f64 * GAUGE_RAMP) as i64
    }

    /// Seconds of one round from kill to kill.
    fn again(&self) -> i64 {
        ((self.clock().1 - self.full_at()) / 3).max(8)
    }

    /// Seconds that a killed process needs to come back.
    fn rest(&self) -> i64 {
        (self.again() / 3).clamp(2, 12)
    }

    /// Seconds since the last kill, once there was one.
    fn oom_phase(&self) -> Option<i64> {
        let since = self.clock().0 - self.full_at();
        (self.fault.kind == FaultKind::Oom && since >= 0).then(|| since % self.again())
    }

    fn gauge(&self) -> u32 {
        let way = match self.oom_phase() {
            Some(phase) => (phase - self.rest()).max(0) as f64 / (self.again() - self.rest()).max(1) as f64,
            None => self.clock().0 as f64 / self.full_at().max(1) as f64,
        };
        (GAUGE + (100.0 - GAUGE) * way.min(1.0)) as u32
    }
}
