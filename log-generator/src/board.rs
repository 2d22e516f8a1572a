//! Events waiting for their second.
//!
//! Requests reach into seconds to come; a ring of one list per second keeps them. Nothing is allocated once the lists
//! have grown to the busiest second.

use crate::rng::Rng;
use crate::shop::Shop;
use crate::template::{Event, NO_FAULT, ORDINARY};

const SECOND: i64 = 1_000_000_000;
/// Seconds that a request can last; what would come later comes at the end of them.
const AHEAD: i64 = 64;

/// The ring, and the counters of two kinds of lines: those of ordinary traffic do not depend on what is planted.
#[derive(Debug)]
pub(crate) struct Board {
    ring: Vec<Vec<Event>>,
    now: i64,
    ordinary: u64,
    planted: u64,
}

/// Where and when a line is to appear.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) ts: i64,
    pub(crate) flow: u64,
    pub(crate) span: u32,
    pub(crate) fault: u16,
    /// A certain pod, or any.
    pub(crate) pod: Option<u8>,
}

impl Spot {
    /// Somewhere in `second`, for a new request.
    pub(crate) fn within(second: i64, rng: &mut Rng) -> Self {
        let ts = second * SECOND + rng.below(1_000_000) as i64 * 1000;
        Self { ts, flow: rng.next(), span: 0, fault: NO_FAULT, pod: None }
    }
}

impl Board {
    pub(crate) fn new(now: i64) -> Self {
        Self { ring: vec![Vec::new(); AHEAD as usize], now, ordinary: 0, planted: 1 << 40 }
    }

    /// Puts an ordinary line.
    #[inline]
    pub(crate) fn put(&mut self, shop: &Shop, line: u16, spot: Spot) {
        self.ordinary += 1;
        self.place(shop, line, spot, self.ordinary);
    }

    /// Puts a line of a fault or a surprise.
    pub(crate) fn plant(&mut self, shop: &Shop, line: u16, spot: Spot) {
        self.planted += 1;
        self.place(shop, line, spot, self.planted);
    }

    #[inline]
    fn place(&mut self, shop: &Shop, line: u16, spot: Spot, seq: u64) {
        let service = usize::from(shop.lines[usize::from(line)].service);
        let latest = (self.now + AHEAD) * SECOND - 1000;
        let ts = spot.ts.clamp(self.now * SECOND, latest);
        let pod = spot.pod.unwrap_or((spot.flow >> 40) as u8 % shop.services[service].pods.max(1));
        let event = Event {
            ts: ts - ts % 1000,
            flow: spot.flow,
            seq,
            span: spot.span,
            line,
            fault: spot.fault,
            slow: ORDINARY,
            pod,
            odd: false,
        };
        self.ring[(ts / SECOND).rem_euclid(AHEAD) as usize].push(event);
    }

    /// Swaps the events of the current second into `events` (whose old content is dropped) and moves on.
    pub(crate) fn take(&mut self, events: &mut Vec<Event>) {
        events.clear();
        std::mem::swap(events, &mut self.ring[self.now.rem_euclid(AHEAD) as usize]);
        self.now += 1;
    }
}
