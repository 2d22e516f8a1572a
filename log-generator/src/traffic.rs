//! Ordinary traffic: counts per second, requests through services, everyday warnings and errors beside them.

use crate::board::{Board, Spot};
use crate::plan::Plan;
use crate::rng::{Rng, cosine, mix};
use crate::shop::{Shop, Source};
use crate::template::NO_FAULT;

/// What the moment does to ordinary traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The second, since the Unix epoch.
    pub(crate) second: i64,
    /// Traffic against the mean, from day and week.
    pub(crate) swing: f64,
    /// Traffic of users against what day and week give, from a slow rise.
    pub(crate) surge: f64,
    /// Everything against the usual, from a burst.
    pub(crate) burst: f64,
    /// A service whose work takes longer, and how many times.
    pub(crate) slow: Option<(u8, f64)>,
    /// A service whose steps change places, and the fault that does it.
    pub(crate) swap: Option<(u8, u16)>,
}

/// Traffic at `second` against its mean: one smooth peak in the afternoon, a smaller one in the evening, weekends lower.
pub(crate) fn swing(plan: &Plan, second: i64) -> f64 {
    let amplitude = plan.rhythm.clamp(0.0, 0.9);
    let hour = second.rem_euclid(86_400) as f64 / 3600.0;
    let day = 1.0 + amplitude * (0.85 * cosine((hour - 15.0) / 24.0) + 0.25 * cosine((hour - 20.0) / 12.0));
    // The epoch began on a Thursday.
    let since_monday = (second + 3 * 86_400).rem_euclid(7 * 86_400) as f64 / 86_400.0;
    let week = 1.0 + 0.25 * amplitude * cosine((since_monday - 2.5) / 7.0);
    (day * week).max(0.02)
}

/// Draws all requests that begin in the moment's second.
pub(crate) fn draw(shop: &Shop, moment: &Moment, rng: &mut Rng, board: &mut Board) {
    for source in &shop.sources {
        let follow = 1.0 + source.rhythm * (moment.swing * moment.surge - 1.0);
        for _ in 0..rng.poisson(source.rate * follow * moment.burst) {
            request(shop, source, moment, rng, board);
        }
    }
}

/// Share of requests whose steps change places while a fault says so.
const SWAPPED: u64 = 180;

fn request(shop: &Shop, source: &Source, moment: &Moment, rng: &mut Rng, board: &mut Board) {
    let mut spot = Spot::within(moment.second, rng);
    let begin = spot.ts;
    let swap = moment.swap.filter(|_| mix(spot.flow ^ 9) & 0xff < SWAPPED);
    for (index, stage) in source.stages.iter().enumerate() {
        let slow = moment.slow.filter(|(service, _)| *service == stage.service).map_or(1.0, |(_, factor)| factor);
        let gap = rng.log_normal(stage.gap, 0.5) * slow;
        if index > 0 {
            spot.ts += gap as i64 * 1000;
        }
        // A web page alone takes its gap; a request through services takes what its steps took.
        let taken = if index > 0 { (spot.ts - begin) as f64 / 1000.0 } else { gap };
        spot.span = if shop.lines[usize::from(stage.line)].gauge { gauge(stage.line, spot) } else { taken as u32 };
        let (line, fault) = match swap {
            Some((service, fault)) if service == stage.service => swapped(source, index, fault),
            _ => (stage.line, NO_FAULT),
        };
        board.put(shop, line, Spot { fault, ..spot });
        beside(shop, stage.service, spot, rng, board);
    }
}

/// An ordinary gauge moves slowly between 40 and 44 percent.
fn gauge(line: u16, spot: Spot) -> u32 {
    let hours = spot.ts as f64 / 3.6e12;
    (42.0 + 2.0 * cosine(hours / 7.0 + f64::from(line) * 0.37) + 0.5) as u32
}

/// The line at `index` when the steps of its service run backwards; it carries the fault only when it is another line.
fn swapped(source: &Source, index: usize, fault: u16) -> (u16, u16) {
    let own = source.stages[index];
    let same = |stage: &&crate::shop::Stage| stage.service == own.service;
    let before = source.stages[..index].iter().filter(same).count();
    let line = source.stages.iter().rev().filter(same).nth(before).map_or(own.line, |stage| stage.line);
    (line, if line == own.line { NO_FAULT } else { fault })
}

/// Everyday trouble beside an ordinary line: a warning, an error with its stack trace, both or none.
fn beside(shop: &Shop, service: u8, spot: Spot, rng: &mut Rng, board: &mut Board) {
    let repertoire = &shop.services[usize::from(service)];
    if rng.chance(repertoire.warn_chance)
        && let Some(line) = repertoire.warns.draw(rng)
    {
        board.put(shop, line, Spot { ts: spot.ts + later(rng), span: spot.span / 2, ..spot });
    }
    if rng.chance(repertoire.error_chance)
        && let Some(line) = repertoire.errors.draw(rng)
    {
        let ts = spot.ts + later(rng);
        board.put(shop, line, Spot { ts, span: spot.span + 900, ..spot });
        if repertoire.throws(line) {
            for (index, frame) in repertoire.frames.iter().enumerate() {
                board.put(shop, *frame, Spot { ts: ts + (index as i64 + 1) * 1000, ..spot });
            }
        }
    }
}

/// 1 to 30 milliseconds.
fn later(rng: &mut Rng) -> i64 {
    rng.within(1000, 30_000) as i64 * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rhythm_has_mean_one_and_a_quiet_night() {
        let plan = Plan::default();
        let week = (0..7 * 24 * 4).map(|quarter| swing(&plan, quarter * 900));
        let mean = week.sum::<f64>() / (7.0 * 24.0 * 4.0);
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        let monday = 1_772_409_600;
        let at = |hour: i64| swing(&plan, monday + hour * 3600);
        assert!(at(3) < 0.8 && at(15) > 1.2, "{} {}", at(3), at(15));
        let sunday = swing(&plan, monday + 6 * 86_400 + 15 * 3600);
        assert!(sunday < at(15 + 48));
        assert!((swing(&Plan { rhythm: 0.0, ..plan }, monday) - 1.0).abs() < 1e-9);
    }
}
