//! How the stand-in is told to misbehave. Rules are asked in their order, once per request; what is random is drawn
//! from a seed and a count, so a test that runs twice sees the same.

use std::collections::BTreeMap;
use std::time::Duration;

/// What goes wrong. The default is nothing.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Seed of everything random here.
    pub seed: u64,
    /// Faults of requests.
    pub rules: Vec<Rule>,
    /// Lines that show up later than they were pushed.
    pub late: Option<Late>,
    /// A smaller `max_entries_limit_per_query` than the limits say.
    pub max_entries: Option<usize>,
    /// Pages that are never answered because of their size.
    pub page: Option<PageCap>,
}

/// One kind of fault and the requests it meets.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What happens.
    pub fault: Fault,
    /// Where.
    pub endpoint: Endpoint,
    /// To which of the requests there.
    pub when: When,
}

/// What can happen to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Status 429 with Loki's text, without `Retry-After`.
    TooManyRequests,
    /// Any status, with this text.
    Status(u16, String),
    /// The answer comes, but later (real time, whatever the clock).
    Slow(Duration),
    /// The connection is held for so long and then closed without a status line.
    NoAnswer(Duration),
    /// This part (0 to 1) of the body arrives, then the connection is closed; `Content-Length` is that of the whole.
    Cut(f64),
    /// The same with a body in chunks, as Loki sends pages: the last chunk is missing.
    CutChunk(f64),
    /// The connection is reset at once.
    Reset,
}

/// The calls a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// All of them.
    Any,
    /// `/loki/api/v1/query_range` and `/loki/api/v1/query`.
    Queries,
    /// `/loki/api/v1/query_range`
    QueryRange,
    /// `/loki/api/v1/query`
    Query,
    /// `/loki/api/v1/push`
    Push,
    /// `/loki/api/v1/labels` and `/loki/api/v1/label/<name>/values`
    Labels,
    /// `/loki/api/v1/series`
    Series,
    /// `/loki/api/v1/status/buildinfo`
    BuildInfo,
    /// `/ready`
    Ready,
    /// Everything else.
    Other,
}

/// Which of the requests that a rule's endpoint sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// Every one.
    Always,
    /// This share of them (0 to 1), by the seed.
    Chance(f64),
    /// The next so many.
    Next(u64),
    /// So many after having let so many through.
    After {
        /// Let through first.
        skip: u64,
        /// Hit then.
        count: u64,
    },
}

/// Late lines: a share of what is pushed becomes visible only later.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Late {
    /// The share of the pushed lines (0 to 1).
    pub chance: f64,
    /// How late.
    pub by: Delay,
}

/// How long a line stays hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// Until so much time has passed on the stand-in's clock.
    For(Duration),
    /// Until so many further queries (`query_range` or `query`) were asked.
    Queries(u64),
}

/// Pages over Loki's message size: the connection is held and then closed without a status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCap {
    /// The largest encoded page that is still answered.
    pub bytes: usize,
    /// How long the connection is held (a real Loki: 60 s).
    pub hold: Duration,
}

impl PageCap {
    /// A default Loki's: 4 MiB, closed after 60 s.
    pub const LOKI: Self = Self { bytes: 4 << 20, hold: Duration::from_secs(60) };
}

impl Rule {
    /// A rule for every request of the endpoint.
    pub fn new(fault: Fault, endpoint: Endpoint, when: When) -> Self {
        Self { fault, endpoint, when }
    }
}

impl Faults {
    /// One rule and nothing else.
    pub fn rule(fault: Fault, endpoint: Endpoint, when: When) -> Self {
        Self { rules: vec![Rule::new(fault, endpoint, when)], ..Self::default() }
    }
}

impl Endpoint {
    /// The endpoint of a path.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/loki/api/v1/query_range" => Self::QueryRange,
            "/loki/api/v1/query" => Self::Query,
            "/loki/api/v1/push" => Self::Push,
            "/loki/api/v1/labels" | "/loki/api/v1/label" => Self::Labels,
            "/loki/api/v1/series" => Self::Series,
            "/loki/api/v1/status/buildinfo" => Self::BuildInfo,
            "/ready" => Self::Ready,
            _ if path.starts_with("/loki/api/v1/label/") => Self::Labels,
            _ => Self::Other,
        }
    }

    fn covers(self, other: Self) -> bool {
        match self {
            Self::Any => true,
            Self::Queries => matches!(other, Self::QueryRange | Self::Query),
            _ => self == other,
        }
    }
}

/// The faults in force and how often each rule was asked.
#[derive(Debug, Default)]
pub(crate) struct Mischief {
    pub(crate) faults: Faults,
    asked: BTreeMap<usize, u64>,
    lines: u64,
    /// Requests that a rule hit.
    pub(crate) hits: u64,
}

impl Mischief {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// New faults; counting starts again.
    pub(crate) fn set(&mut self, faults: Faults) {
        *self = Self { hits: self.hits, ..Self::new(faults) };
    }

    /// What happens to the next request of this endpoint: the first rule that hits. A `Slow` lets later rules hit too.
    pub(crate) fn next(&mut self, endpoint: Endpoint) -> Vec<Fault> {
        let mut happens = Vec::new();
        for (i, rule) in self.faults.rules.iter().enumerate() {
            if !rule.endpoint.covers(endpoint) {
                continue;
            }
            let asked = self.asked.entry(i).or_default();
            let n = *asked;
            *asked += 1;
            let hit = match rule.when {
                When::Always => true,
                When::Chance(share) => draw(self.faults.seed, i as u64, n) < share,
                When::Next(count) => n < count,
                When::After { skip, count } => n >= skip && n < skip.saturating_add(count),
            };
            if hit {
                happens.push(rule.fault.clone());
                if !matches!(rule.fault, Fault::Slow(_)) {
                    break;
                }
            }
        }
        self.hits += u64::from(!happens.is_empty());
        happens
    }

    /// Whether the next pushed line is late, and how.
    pub(crate) fn late(&mut self) -> Option<Delay> {
        let late = self.faults.late?;
        let n = self.lines;
        self.lines += 1;
        (draw(self.faults.seed, u64::MAX, n) < late.chance).then_some(late.by)
    }
}

/// A number in [0, 1) for the n-th drawing of a rule (splitmix64).
fn draw(seed: u64, rule: u64, n: u64) -> f64 {
    let mut z = seed ^ rule.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(when: When, n: usize) -> Vec<bool> {
        let mut mischief = Mischief::new(Faults::rule(Fault::Reset, Endpoint::Queries, when));
        (0..n).map(|_| !mischief.next(Endpoint::QueryRange).is_empty()).collect()
    }

    #[test]
    fn rules_hit_the_requests_they_name() {
        assert_eq!(hits(When::Always, 2), [true, true]);
        assert_eq!(hits(When::Next(1), 3), [true, false, false]);
        assert_eq!(hits(When::After { skip: 1, count: 1 }, 3), [false, true, false]);
        let mut push = Mischief::new(Faults::rule(Fault::Reset, Endpoint::Queries, When::Always));
        assert!(push.next(Endpoint::Push).is_empty());
    }

    #[test]
    fn chance_is_about_right_and_the_same_each_time() {
        let first = hits(When::Chance(0.3), 2000);
        assert_eq!(first, hits(When::Chance(0.3), 2000));
        let share = first.iter().filter(|h| **h).count();
        assert!((520..680).contains(&share), "{share}");
    }

    #[test]
    fn slow_does_not_shield_from_the_next_rule() {
        let slow = Fault::Slow(Duration::from_millis(1));
        let mut faults = Faults::rule(slow.clone(), Endpoint::Any, When::Always);
        faults.rules.push(Rule::new(Fault::TooManyRequests, Endpoint::Any, When::Next(1)));
        let mut mischief = Mischief::new(faults);
        assert_eq!(mischief.next(Endpoint::Query), [slow.clone(), Fault::TooManyRequests]);
        assert_eq!(mischief.next(Endpoint::Query), [slow]);
        assert_eq!(mischief.hits, 2);
    }
}
