//! Places faults and harmless surprises in time.
//!
//! What comes in: a plan. What goes out: its truth. The time after the quiet start is cut into one slot per fault; a
//! fault takes at most half of its slot, and deploys and surges take only what faults leave free.

use crate::fault::{Benign, BenignKind, Fault, FaultKind, Truth};
use crate::plan::Plan;
use crate::rng::Rng;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// All that `plan` plants.
pub(crate) fn truth(plan: &Plan) -> Truth {
    let slots = slots(plan);
    let faults = slots
        .iter()
        .zip(&plan.faults)
        .enumerate()
        .map(|(index, (slot, kind))| fault(*kind, *slot, &mut Rng::new(plan.seed, 0xfa_0000 + index as u64)))
        .collect();
    Truth { faults, benign: if plan.benign { benign(plan, &slots) } else { Vec::new() } }
}

/// Seconds `[from, to)` of each fault; one slot of the whole time when there are no faults.
fn slots(plan: &Plan) -> Vec<(i64, i64)> {
    let (start, end) = plan.seconds();
    let quiet = i64::try_from(plan.first_fault_after.as_secs()).unwrap_or(i64::MAX);
    let quiet = if quiet >= end - start { (end - start) / 2 } else { quiet };
    let count = plan.faults.len().max(1) as i64;
    let room = end - start - quiet;
    (0..count).map(|i| (start + quiet + room * i / count, start + quiet + room * (i + 1) / count)).collect()
}

fn fault(kind: FaultKind, (from, to): (i64, i64), rng: &mut Rng) -> Fault {
    let room = to - from;
    let length = kind.seconds().min(room / 2).max(2).min(room.max(1));
    let begin = from + (room as f64 * (0.1 + 0.1 * rng.unit())) as i64;
    let places = rng.pick(kind.places()).copied().unwrap_or(&["gateway"]);
    let onset = begin + (length as f64 * kind.onset_share() + 0.999) as i64;
    Fault {
        kind,
        service: places[0],
        also: places[1..].to_vec(),
        start: onset.min(begin + length - 1) * SECOND,
        end: (begin + length) * SECOND,
        scripted_start: begin * SECOND,
        strength: 0.8 + 0.45 * rng.unit(),
        salt: rng.next(),
    }
}

fn benign(plan: &Plan, slots: &[(i64, i64)]) -> Vec<Benign> {
    let (start, end) = plan.seconds();
    let mut rng = Rng::new(plan.seed, 0xbe);
    let mut out = periodic(&mut rng, start, end);
    let mut gaps = gaps(plan, slots);
    let mut place = |kind: BenignKind, service, wanted: i64, rng: &mut Rng| {
        if gaps.is_empty() {
            return;
        }
        let (from, to) = gaps.remove(rng.below(gaps.len() as u64) as usize);
        let length = wanted.min(to - from);
        let begin = from + rng.below((to - from - length) as u64 + 1) as i64;
        out.push(Benign { kind, service, start: begin * SECOND, end: (begin + length) * SECOND });
    };
    const DEPLOYED: [&str; 6] = ["cart", "payment", "inventory", "order", "search", "auth"];
    let hours = (end - start) / HOUR;
    if end - start >= HOUR / 2 {
        for _ in 0..(hours / 8).max(1) {
            let service = rng.pick(&DEPLOYED).copied().unwrap_or("cart");
            place(BenignKind::Deploy, service, 600, &mut rng);
        }
    }
    if hours >= 2 {
        for _ in 0..(hours / 12).max(1) {
            let length = 1800 + rng.below(1800) as i64;
            place(BenignKind::Surge, "-", length, &mut rng);
        }
    }
    out.sort_by_key(|event| (event.start, event.kind));
    out
}

/// The hourly jobs and the nightly batch, at a minute that the seed chooses.
fn periodic(rng: &mut Rng, start: i64, end: i64) -> Vec<Benign> {
    let cron = rng.within(1, 58) as i64 * 60;
    let nightly = HOUR + rng.below(150) as i64 * 60;
    let mut out = Vec::new();
    let mut every = |kind, period: i64, offset: i64, length: i64| {
        let mut at = start - start.rem_euclid(period) + offset;
        while at < end {
            if at >= start {
                let stop = (at + length).min(end);
                out.push(Benign { kind, service: "scheduler", start: at * SECOND, end: stop * SECOND });
            }
            at += period;
        }
    };
    every(BenignKind::Cron, HOUR, cron, 30);
    every(BenignKind::Batch, DAY, nightly, 900);
    out
}

/// Where no fault can be: the second half of the quiet time and the last quarter of each slot; at least a minute each.
fn gaps(plan: &Plan, slots: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let (start, end) = plan.seconds();
    let quiet_end = slots.first().map_or(end, |slot| slot.0);
    let quiet = [(start + (quiet_end - start) * 2 / 5, start + (quiet_end - start) * 19 / 20)];
    let free = slots.iter().flat_map(|(from, to)| {
        let room = to - from;
        if plan.faults.is_empty() {
            (0..8).map(|i| (from + room * i / 8, from + room * i / 8 + room / 10)).collect::<Vec<_>>()
        } else {
            vec![(from + room * 18 / 25, from + room * 49 / 50)]
        }
    });
    quiet.into_iter().chain(free).filter(|(from, to)| to - from >= 60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn plan(seed: u64, hours: u64) -> Plan {
        Plan { seed, duration: Duration::from_secs(hours * 3600), ..Plan::default() }
    }

    #[test]
    fn faults_are_ordered_apart_and_inside() {
        for (seed, hours) in [(1, 1), (2, 6), (3, 48)] {
            let plan = plan(seed, hours);
            let truth = plan.truth();
            assert_eq!(truth.faults.len(), 12);
            assert!(truth.faults[0].scripted_start >= plan.start + 900 * SECOND);
            for pair in truth.faults.windows(2) {
                assert!(pair[0].end < pair[1].scripted_start);
            }
            for fault in &truth.faults {
                assert!(fault.scripted_start <= fault.start && fault.start < fault.end && fault.end <= plan.end());
            }
        }
    }

    #[test]
    fn deploys_and_surges_keep_out_of_faults() {
        for seed in 0..50 {
            let truth = plan(seed, 24).truth();
            for kind in [BenignKind::Deploy, BenignKind::Batch, BenignKind::Cron, BenignKind::Surge] {
                assert!(truth.benign.iter().any(|event| event.kind == kind), "seed {seed}: no {kind:?}");
            }
            let moved = |event: &&Benign| matches!(event.kind, BenignKind::Deploy | BenignKind::Surge);
            for event in truth.benign.iter().filter(moved) {
                assert!(truth.faults.iter().all(|f| event.end <= f.scripted_start || event.start >= f.end));
            }
        }
    }

    #[test]
    fn seeds_choose_services() {
        let services = |seed| plan(seed, 6).truth().faults.iter().map(|f| f.service).collect::<Vec<_>>();
        assert_ne!(services(1), services(2));
        assert_eq!(services(1), services(1));
    }

    #[test]
    fn tiny_plans_do_not_break() {
        for seconds in [0, 1, 10, 90] {
            let plan = Plan { duration: Duration::from_secs(seconds), ..Plan::default() };
            let _ = plan.truth();
        }
        assert!(Plan { faults: Vec::new(), benign: false, ..Plan::default() }.truth().benign.is_empty());
    }
}
