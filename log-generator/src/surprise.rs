//! Makes harmless surprises visible: deploys, the nightly batch, the hourly jobs, a slow rise of traffic.
//!
//! None of their lines is labelled.

use crate::board::{Board, Spot};
use crate::fault::{Benign, BenignKind};
use crate::rng::{Rng, cosine};
use crate::shop::{Choice, Repertoire, Shop};
use crate::template::Event;

const SECOND: i64 = 1_000_000_000;
/// A rise adds so much of the ordinary traffic at its height.
const RISE: f64 = 0.6;
/// Seconds of a rolling restart: until the first pod stops, between pods, and that a pod is down.
const ROLL: (i64, i64, i64) = (10, 35, 12);
/// Mean lines per second of each new kind of line after a deploy, against all lines of the service.
const FRESH: f64 = 0.03;

/// The surprises of a plan, with their services looked up.
#[derive(Debug)]
pub(crate) struct Surprises {
    events: Vec<(Benign, Option<u8>)>,
}

impl Surprises {
    pub(crate) fn new(benign: &[Benign], shop: &Shop) -> Self {
        Self { events: benign.iter().map(|event| (event.clone(), shop.service(event.service))).collect() }
    }

    fn now(&self, second: i64) -> impl Iterator<Item = &(Benign, Option<u8>)> {
        let at = second * SECOND;
        self.events.iter().filter(move |(event, _)| event.start <= at && at < event.end)
    }

    /// Traffic of users against the usual.
    pub(crate) fn surge(&self, second: i64) -> f64 {
        let rises = self.now(second).filter(|(event, _)| event.kind == BenignKind::Surge);
        rises.fold(1.0, |factor, (event, _)| {
            let progress = (second * SECOND - event.start) as f64 / (event.end - event.start) as f64;
            factor * (1.0 + RISE * 0.5 * (1.0 - cosine(progress)))
        })
    }

    /// Adds their lines of `second`.
    pub(crate) fn plant(&self, shop: &Shop, second: i64, rng: &mut Rng, board: &mut Board) {
        for (event, service) in &self.events {
            if event.start > second * SECOND {
                break;
            }
            if event.kind == BenignKind::Deploy
                && let Some(service) = service
            {
                roll(shop, event, *service, second, rng, board);
            }
        }
        for (event, _) in self.now(second) {
            match event.kind {
                BenignKind::Cron => burst(shop, |service| &service.cron, second, rng, board),
                BenignKind::Batch => burst(shop, |service| &service.batch, second, rng, board),
                BenignKind::Deploy | BenignKind::Surge => {}
            }
        }
    }

    /// Moves lines of a pod that is down to the next one.
    pub(crate) fn reshape(&self, shop: &Shop, second: i64, events: &mut [Event]) {
        for (deploy, service) in self.now(second).filter(|(event, _)| event.kind == BenignKind::Deploy) {
            for event in events.iter_mut() {
                let own = shop.lines[usize::from(event.line)].service;
                let pods = shop.services[usize::from(own)].pods;
                let phase = phase(deploy, event.pod, second);
                if Some(own) == *service && event.seq < 1 << 40 && phase > 0 && phase <= ROLL.2 {
                    event.pod = (event.pod + 1) % pods;
                }
            }
        }
    }

    /// Services and pods that come back under a new name in `second`.
    pub(crate) fn renamed(&self, shop: &Shop, second: i64) -> Vec<(u8, u8)> {
        let deploys = self.now(second).filter(|(event, _)| event.kind == BenignKind::Deploy);
        deploys
            .filter_map(|(event, service)| service.map(|service| (event, service)))
            .flat_map(|(event, service)| {
                let pods = 0..shop.services[usize::from(service)].pods;
                pods.filter(move |pod| phase(event, *pod, second) == ROLL.2).map(move |pod| (service, pod))
            })
            .collect()
    }
}

/// Seconds since `pod` was told to stop.
fn phase(deploy: &Benign, pod: u8, second: i64) -> i64 {
    second - deploy.start / SECOND - ROLL.0 - ROLL.1 * i64::from(pod)
}

/// The rolling restart of a deploy, and the new lines from then on.
fn roll(shop: &Shop, deploy: &Benign, service: u8, second: i64, rng: &mut Rng, board: &mut Board) {
    let own = &shop.services[usize::from(service)];
    for pod in 0..own.pods {
        let lines = match phase(deploy, pod, second) {
            0 => &own.stop,
            phase if phase == ROLL.2 => &own.start,
            _ => continue,
        };
        for (index, line) in lines.iter().enumerate() {
            let ts = second * SECOND + (index as i64 + 1) * 170_000_000;
            board.plant(shop, *line, Spot { ts, pod: Some(pod), ..Spot::within(second, rng) });
        }
    }
    if phase(deploy, 0, second) > ROLL.2 {
        for line in &own.fresh {
            for _ in 0..rng.poisson(own.rate * FRESH) {
                board.plant(shop, *line, Spot::within(second, rng));
            }
        }
    }
}

fn burst(shop: &Shop, lines: fn(&Repertoire) -> &Choice, second: i64, rng: &mut Rng, board: &mut Board) {
    for service in shop.services.iter().filter(|service| !lines(service).is_empty()) {
        // The scheduler is small and does most of it.
        let share = if service.name == "scheduler" { 2.0 } else { 0.4 };
        for _ in 0..rng.poisson(service.rate * share) {
            if let Some(line) = lines(service).draw(rng) {
                board.plant(shop, line, Spot::within(second, rng));
            }
        }
    }
}
