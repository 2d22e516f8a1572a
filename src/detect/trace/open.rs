//! Sessions that may still go on.
//!
//! What comes in: events with their session keys. What goes out: sessions that have been quiet for longer than their
//! like ever are. Bounded: sessions, and the parts of one.

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::super::held;
use super::tally::Unit;
use crate::time::{Nanos, SECOND};

/// Open sessions at the end of a window; past it those that were quiet longest are dropped unjudged. In the midst of a window
/// there may be twice as many; a line of one more is in no session.
pub(super) const MAX_OPEN: usize = 20_000;
/// Parts of all open sessions together, for each of those; past it sessions are counted by what they have.
const PARTS: usize = 32;
/// Sessions that are over whose memory is used again: as many as may end with one window of heavy traffic, and small ones, so
/// that they hold 15 MB at most.
const MAX_SPARE: usize = 8_000;
const SPARE_PARTS: usize = 32;
/// Bytes of an ordinary one.
const SPARE: usize = 512;
/// Units, groups and steps of one session.
const MAX_PARTS: usize = 256;
/// A session ends after this long without a line, until the gaps inside of sessions are known.
const FIRST_QUIET: Nanos = 30 * SECOND;
/// No session is waited for longer.
const LONGEST_QUIET: Nanos = 3_600 * SECOND;
/// Gaps before their quantile is trusted.
const ENOUGH: u64 = 1_000;
/// Buckets of gaps: two an octave from 1 ms on.
const GAPS: usize = 48;

/// From a line of a session to the next one, by the groups that wrote them. Who had its first line in the session first
/// counts as the one who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// Who calls.
    pub caller: u32,
    /// Who is called; the same where both lines are of one group.
    pub callee: u32,
    /// The second line is the caller's.
    pub back: bool,
}

impl Hop {
    /// Between a line of the first and one of the second, each with its place in the order in which they came in.
    fn between((from, first): (u32, u16), (to, second): (u32, u16)) -> Self {
        if first <= second {
            Self { caller: from, callee: to, back: false }
        } else {
            Self { caller: to, callee: from, back: true }
        }
    }

    /// Whether it is one of the two.
    #[must_use]
    pub fn has(self, group: u32) -> bool {
        self.caller == group || self.callee == group
    }

    /// Whose line was first, and whose was second.
    #[must_use]
    pub fn in_time(self) -> (u32, u32) {
        if self.back { (self.callee, self.caller) } else { (self.caller, self.callee) }
    }
}

/// One session: a request, a block, a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    first: Nanos,
    last: Nanos,
    counts: Vec<(Unit, u16)>,
    spans: Vec<Part>,
    steps: Vec<(Unit, Unit)>,
    #[serde(default)]
    waits: Vec<Wait>,
    /// Place of the group of its last line among `spans`.
    #[serde(default)]
    at: u16,
}

/// What a session did in one group.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Part {
    group: u32,
    first: Nanos,
    last: Nanos,
    unit: Unit,
    /// The longest time between two lines in a row of it.
    #[serde(default = "no_wait")]
    wait: Nanos,
}

/// No two lines in a row.
const NO_WAIT: Nanos = -1;

fn no_wait() -> Nanos {
    NO_WAIT
}

/// The longest time from a line of one group to the next line, of another: their places in the order in which they came in.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Wait {
    from: u16,
    to: u16,
    longest: Nanos,
}

impl Session {
    fn new(ts: Nanos) -> Self {
        let (counts, spans, steps, waits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { first: ts, last: ts, counts, spans, steps, waits, at: 0 }
    }

    /// Begins anew at `ts`, with the room that it has.
    fn reset(&mut self, ts: Nanos) {
        (self.first, self.last) = (ts, ts);
        self.counts.clear();
        self.spans.clear();
        self.steps.clear();
        self.waits.clear();
        self.at = 0;
    }

    /// Counts a line. With `most` parts of a kind it takes no more; a new session has at least one.
    fn add(&mut self, ts: Nanos, group: u32, unit: Unit, most: usize) {
        let wait = (ts - self.last).max(0);
        self.last = self.last.max(ts);
        let most = if self.counts.is_empty() { 1 } else { most };
        let (room, more) = (self.counts.len() < most, self.spans.len() < most);
        match self.counts.iter_mut().find(|(known, _)| *known == unit) {
            Some((_, count)) => *count = count.saturating_add(1),
            None if room => self.counts.push((unit, 1)),
            None => {}
        }
        // Most lines are of the group of the one before.
        let from = usize::from(self.at);
        let same = self.spans.get(from).is_some_and(|part| part.group == group);
        let known = if same { Some(from) } else { self.spans.iter().position(|part| part.group == group) };
        let at = known.unwrap_or(self.spans.len()) as u16;
        if !same && from < self.spans.len() {
            self.wait(self.at, at, wait, most);
        }
        self.at = at;
        match known.and_then(|at| self.spans.get_mut(at)) {
            Some(part) => {
                let step = (part.unit, unit);
                part.last = part.last.max(ts);
                part.unit = unit;
                if same {
                    part.wait = wait.max(part.wait);
                }
                if self.steps.len() < most && !self.steps.contains(&step) {
                    self.steps.push(step);
                }
            }
            None if more => self.spans.push(Part { group, first: ts, last: ts, unit, wait: NO_WAIT }),
            None => {}
        }
    }

    /// Counts the time between two lines in a row of different groups, by their places.
    fn wait(&mut self, from: u16, to: u16, wait: Nanos, most: usize) {
        let room = self.waits.len() < most;
        match self.waits.iter_mut().find(|known| (known.from, known.to) == (from, to)) {
            Some(known) => known.longest = wait.max(known.longest),
            None if room => self.waits.push(Wait { from, to, longest: wait }),
            None => {}
        }
    }

    fn parts(&self) -> usize {
        self.counts.len() + self.spans.len() + self.steps.len() + self.waits.len()
    }

    fn has_any(&self, gone: &FxHashSet<Unit>) -> bool {
        self.counts.iter().any(|(unit, _)| gone.contains(unit))
            || self.spans.iter().any(|part| gone.contains(&part.unit))
            || self.steps.iter().any(|(from, to)| gone.contains(from) || gone.contains(to))
    }

    /// Whether it holds little memory.
    fn is_small(&self) -> bool {
        let (counts, spans, steps) = (self.counts.capacity(), self.spans.capacity(), self.steps.capacity());
        let waits = self.waits.capacity();
        counts <= SPARE_PARTS && spans <= SPARE_PARTS && steps <= 2 * SPARE_PARTS && waits <= SPARE_PARTS
    }

    /// The unit that it began with.
    #[must_use]
    pub fn root(&self) -> Unit {
        self.counts.first().map_or(Unit::MAX, |(unit, _)| *unit)
    }

    /// Nanoseconds from its first to its last line.
    #[must_use]
    pub fn length(&self) -> Nanos {
        self.last - self.first
    }

    /// How often it has which unit.
    #[must_use]
    pub fn counts(&self) -> &[(Unit, u16)] {
        &self.counts
    }

    /// Nanoseconds from its first to its last line in each group.
    pub fn spans(&self) -> impl Iterator<Item = (u32, Nanos)> {
        self.spans.iter().map(|part| (part.group, part.last - part.first))
    }

    /// The longest time between two lines in a row, by the groups that wrote them.
    pub fn waits(&self) -> impl Iterator<Item = (Hop, Nanos)> {
        let group = |at: u16| Some((self.spans.get(usize::from(at))?.group, at));
        let between = move |wait: &Wait| Some((Hop::between(group(wait.from)?, group(wait.to)?), wait.longest));
        let own = |part: &Part| Hop { caller: part.group, callee: part.group, back: false };
        let inside = self.spans.iter().filter(|part| part.wait != NO_WAIT).map(move |part| (own(part), part.wait));
        self.waits.iter().filter_map(between).chain(inside)
    }

    /// Which unit follows which, each pair once.
    #[must_use]
    pub fn steps(&self) -> &[(Unit, Unit)] {
        &self.steps
    }
}

/// All open sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenSessions {
    #[serde(with = "super::tally::pairs")]
    open: FxHashMap<u64, Session>,
    /// Gaps inside of sessions, by length.
    gaps: Vec<u64>,
    /// Those since the last window ended, not learnt yet.
    #[serde(default = "no_gaps")]
    fresh: Vec<u64>,
    known: u64,
    /// Sessions that begin earlier may have begun before reading did.
    whole_from: Option<Nanos>,
    /// Sessions that are over, for their memory.
    #[serde(skip)]
    spare: Vec<Session>,
    /// Those that end with a window; empty between.
    #[serde(skip)]
    ended: Vec<(u64, Session)>,
    /// At most so many; 0: [`MAX_OPEN`]. Not stored: it follows from the settings.
    #[serde(skip)]
    most: usize,
    /// Parts of all of them.
    #[serde(skip)]
    parts: usize,
}

fn no_gaps() -> Vec<u64> {
    vec![0; GAPS]
}

impl Default for OpenSessions {
    fn default() -> Self {
        Self {
            open: FxHashMap::default(),
            gaps: no_gaps(),
            fresh: no_gaps(),
            known: 0,
            whole_from: None,
            spare: Vec::new(),
            ended: Vec::new(),
            most: 0,
            parts: 0,
        }
    }
}

impl OpenSessions {
    /// From now on there are at most so many. Also to be called after a restart.
    pub(super) fn limit(&mut self, most: usize) {
        self.most = most;
        self.parts = self.open.values().map(Session::parts).sum();
    }

    fn most(&self) -> usize {
        if self.most == 0 { MAX_OPEN } else { self.most }
    }

    /// Bytes that they hold, with those that are kept for their memory: about as many as `ended` in the last window.
    pub(super) fn held(&self, ended: usize) -> usize {
        // Four short lists each; a part of a kind is 8 to 32 bytes, and lists have some room.
        let lists = self.parts * 20 + self.open.len() * 64;
        held::map::<u64, Session>(self.open.len()) + lists + ended.min(MAX_SPARE) * SPARE
    }

    /// Forgets units, and with them the sessions that have them.
    pub(super) fn forget(&mut self, gone: &FxHashSet<Unit>) {
        self.open.retain(|_, session| !session.has_any(gone));
        self.open.shrink_to_fit();
        self.spare = Vec::new();
        self.limit(self.most);
    }

    /// Counts a line of a session, and says what the session began with. `None`: there are too many sessions for a new one.
    pub fn add(&mut self, key: u64, ts: Nanos, group: u32, unit: Unit) -> Option<Unit> {
        let most = self.most();
        if self.open.len() >= 2 * most && !self.open.contains_key(&key) {
            return None;
        }
        let parts = if self.parts < PARTS * most { MAX_PARTS } else { 0 };
        self.whole_from.get_or_insert(ts.saturating_add(FIRST_QUIET));
        let session = self.open.entry(key).or_insert_with(|| match self.spare.pop() {
            Some(mut session) => {
                session.reset(ts);
                session
            }
            None => Session::new(ts),
        });
        if !session.counts.is_empty() {
            let millis = (ts - session.last).max(0) as f64 / 1e6;
            let bucket = if millis < 1.0 { 0 } else { (1 + (millis.log2() * 2.0) as usize).min(GAPS - 1) };
            if let Some(count) = self.fresh.get_mut(bucket) {
                *count += 1;
            }
        }
        let before = session.parts();
        session.add(ts, group, unit, parts);
        self.parts += session.parts() - before;
        Some(session.root())
    }

    /// The gaps of the window that ends now: `learn` takes them in once they are known to be ordinary. Right away while
    /// nothing is known.
    pub(super) fn take_gaps(&mut self) -> Vec<u64> {
        let gaps = std::mem::replace(&mut self.fresh, no_gaps());
        if self.known < ENOUGH {
            self.learn(&gaps);
            return Vec::new();
        }
        gaps
    }

    /// Takes ordinary gaps in. A fault that makes requests slow must not make sessions wait longer for their end.
    pub(super) fn learn(&mut self, gaps: &[u64]) {
        self.gaps.iter_mut().zip(gaps).for_each(|(sum, count)| *sum += count);
        self.known += gaps.iter().sum::<u64>();
    }

    /// How long a session has to be quiet to be over: four times what all but one in a thousand gaps are below.
    #[must_use]
    pub fn quiet(&self) -> Nanos {
        if self.known < ENOUGH {
            return FIRST_QUIET;
        }
        let mut left = self.known / 1_000;
        let longest = self.gaps.iter().enumerate().rev().find(|(_, count)| {
            let past = **count > left;
            left = left.saturating_sub(**count);
            past
        });
        let millis = longest.map_or(0.0, |(bucket, _)| (bucket as f64 / 2.0).exp2());
        ((4.0 * millis * 1e6) as Nanos).clamp(2 * SECOND, LONGEST_QUIET)
    }

    /// Forgets all that is open: lines before `start` were not read.
    pub(super) fn jump(&mut self, start: Nanos) {
        self.open.clear();
        self.parts = 0;
        self.whole_from = Some(start.saturating_add(self.quiet()));
    }

    /// Counts one unit as another from now on.
    pub(super) fn rename(&mut self, from: Unit, into: Unit) {
        let moved = |unit: &mut Unit| {
            if *unit == from {
                *unit = into;
            }
        };
        for session in self.open.values_mut() {
            session.counts.iter_mut().for_each(|(unit, _)| moved(unit));
            session.spans.iter_mut().for_each(|part| moved(&mut part.unit));
            session.steps.iter_mut().for_each(|(one, two)| {
                moved(one);
                moved(two);
            });
        }
    }

    /// Takes out all sessions that are over at `now`, and hands on those that were seen from their start.
    pub fn close(&mut self, now: Nanos, mut closed: impl FnMut(&Session)) {
        let over = now.saturating_sub(self.quiet());
        let whole_from = self.whole_from.unwrap_or(Nanos::MAX);
        let mut ended = std::mem::take(&mut self.ended);
        ended.extend(self.open.extract_if(|_, session| session.last < over));
        // Where there are too many kinds of sessions, the first come is the first served: not in the order of the map, which
        // depends on how it grew.
        ended.sort_unstable_by_key(|(key, _)| *key);
        for (_, session) in ended.drain(..) {
            if session.first >= whole_from {
                closed(&session);
            }
            self.parts -= session.parts().min(self.parts);
            if self.spare.len() < MAX_SPARE && session.is_small() {
                self.spare.push(session);
            }
        }
        self.ended = ended;
        self.ended.shrink_to(MAX_SPARE);
        let most = self.most();
        if self.open.len() > most {
            let mut by_age: Vec<(Nanos, u64)> = self.open.iter().map(|(key, one)| (one.last, *key)).collect();
            by_age.sort_unstable();
            for (_, key) in by_age.iter().take(self.open.len() - most) {
                let gone = self.open.remove(key);
                self.parts -= gone.map_or(0, |session| session.parts()).min(self.parts);
            }
        }
    }
}
