//! Sessions that may still go on.
//!
//! What comes in: events. What goes out: sessions that are over. One that goes on after all is judged again as a whole:
//! sessions that are over are remembered for four times as long as they had to be quiet. Bounded: sessions, and the
//! templates of one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use super::lag::Lags;
use super::vector::Unit;
use crate::time::Nanos;

/// Templates of one session; further ones are not counted.
const MAX_PARTS: usize = 256;
/// For how many times the quiet a session is remembered that is over.
const REMEMBER: i64 = 4;

/// A line of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) key: u64,
    pub(super) ts: Nanos,
    pub(super) unit: Unit,
    /// Number of the line.
    pub(super) line: u64,
    /// Whether a session that begins with it is only learnt.
    pub(super) learn: bool,
}

/// A session that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) key: u64,
    pub(super) first: Nanos,
    pub(super) line: u64,
    pub(super) learn: bool,
    pub(super) parts: Vec<(Unit, u16)>,
}

#[derive(Clone, Debug)]
struct Session {
    first: Nanos,
    last: Nanos,
    line: u64,
    learn: bool,
    over: bool,
    parts: Vec<(Unit, u16)>,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Open {
    limit: usize,
    sessions: FxHashMap<u64, Session>,
    /// One entry a session: a time at which it had not been quiet for long, or until which it is remembered.
    due: BinaryHeap<Reverse<(Nanos, u64)>>,
    /// Pushed out by others.
    forced: Vec<Closed>,
    now: Nanos,
    looked: Nanos,
}

impl Open {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            sessions: FxHashMap::default(),
            due: BinaryHeap::new(),
            forced: Vec::new(),
            now: Nanos::MIN,
            looked: Nanos::MIN,
        }
    }

    /// Time of the newest line.
    pub(super) fn now(&self) -> Nanos {
        self.now
    }

    pub(super) fn add(&mut self, event: &Event, lags: &mut Lags) {
        self.now = self.now.max(event.ts);
        let Event { key, ts, unit, line, learn } = *event;
        let session = self.sessions.entry(key).or_insert_with(|| {
            self.due.push(Reverse((ts, key)));
            Session { first: ts, last: ts, line, learn, over: false, parts: Vec::new() }
        });
        if !session.parts.is_empty() {
            lags.paused(ts - session.last);
        }
        session.last = session.last.max(ts);
        session.over = false;
        let room = session.parts.len() < MAX_PARTS;
        match session.parts.iter_mut().find(|(known, _)| *known == unit) {
            Some((_, count)) => *count = count.saturating_add(1),
            None if room => {
                lags.came(unit, ts - session.first);
                session.parts.push((unit, 1));
            }
            None => {}
        }
        while self.sessions.len() > self.limit {
            let Some(Reverse((_, key))) = self.due.pop() else { break };
            self.forced.extend(self.sessions.remove(&key).filter(|one| !one.over).map(|one| one.closed(key)));
        }
    }

    /// Those that have been quiet for so long, in the order of their first lines.
    pub(super) fn over(&mut self, quiet: Nanos) -> Vec<Closed> {
        let mut over = std::mem::take(&mut self.forced);
        while let Some(Reverse((base, key))) = self.due.peek().copied() {
            if base.saturating_add(quiet) > self.now {
                break;
            }
            self.due.pop();
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            let remembered = session.last.saturating_add(quiet.saturating_mul(REMEMBER));
            if session.over {
                if remembered.saturating_add(quiet) <= self.now {
                    self.sessions.remove(&key);
                } else {
                    self.due.push(Reverse((remembered, key)));
                }
            } else if session.last.saturating_add(quiet) <= self.now {
                session.over = true;
                over.push(session.clone().closed(key));
                self.due.push(Reverse((remembered, key)));
            } else {
                self.due.push(Reverse((session.last, key)));
            }
        }
        over.sort_unstable_by_key(|one| one.line);
        over
    }

    /// Whether it is time to look for sessions that are over: each second of the log.
    pub(super) fn is_time(&mut self) -> bool {
        let time = self.now.saturating_sub(self.looked) >= crate::time::SECOND || !self.forced.is_empty();
        if time {
            self.looked = self.now;
        }
        time
    }

    /// All that are not over yet, in the order of their first lines; nothing is left.
    pub(super) fn all(&mut self) -> Vec<Closed> {
        self.due.clear();
        let mut all = std::mem::take(&mut self.forced);
        all.extend(self.sessions.drain().filter(|(_, one)| !one.over).map(|(key, one)| one.closed(key)));
        all.sort_unstable_by_key(|one| one.line);
        self.looked = Nanos::MIN;
        all
    }

    /// Time begins anew.
    pub(super) fn rewind(&mut self) {
        self.now = Nanos::MIN;
    }
}

impl Session {
    fn closed(self, key: u64) -> Closed {
        Closed { key, first: self.first, line: self.line, learn: self.learn, parts: self.parts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: u64, ts: Nanos, unit: Unit) -> Event {
        Event { key, ts, unit, line: ts as u64, learn: false }
    }

    fn open(events: &[(u64, Nanos)], limit: usize) -> Open {
        let mut open = Open::new(limit);
        let mut lags = Lags::default();
        events.iter().for_each(|(key, ts)| open.add(&event(*key, *ts, 1), &mut lags));
        open
    }

    fn keys(closed: &[Closed]) -> Vec<u64> {
        closed.iter().map(|one| one.key).collect()
    }

    #[test]
    fn sessions_are_over_when_they_were_quiet() {
        let mut one = open(&[(1, 0), (2, 5), (1, 8), (3, 18)], 10);
        assert_eq!(keys(&one.over(10)), [1, 2]);
        assert!(one.over(10).is_empty());
        // The second goes on after all: it is told again, whole.
        one.add(&event(2, 20, 2), &mut Lags::default());
        one.add(&event(4, 60, 1), &mut Lags::default());
        let again = one.over(10);
        assert_eq!(keys(&again), [2, 3]);
        assert_eq!(again[0].parts, [(1, 1), (2, 1)]);
        assert_eq!(keys(&one.all()), [4]);
    }

    #[test]
    fn nothing_grows_without_end() {
        let events: Vec<(u64, Nanos)> = (0..5_000).map(|n| (n, n as Nanos)).collect();
        let mut one = open(&events, 100);
        assert_eq!((one.sessions.len(), one.due.len()), (100, 100));
        assert_eq!(one.over(Nanos::MAX).len(), 4_900);
        let mut one = open(&events, 10_000);
        one.over(3);
        assert!(one.sessions.len() <= 20, "{}", one.sessions.len());
        let mut long = Open::new(1);
        (0..5_000).for_each(|n| long.add(&event(1, 0, n), &mut Lags::default()));
        assert_eq!(long.all()[0].parts.len(), MAX_PARTS);
    }
}
