//! What goes wrong, and when: a Loki that fails now and then, spells in which it does little else, and kills of sigyn.

use std::time::Duration;

use log_generator::loki::{Endpoint, Fault, Faults, Rule, When};
use sigyn::time::{HOUR, MINUTE, Nanos};

use crate::shop::dice;

/// A spell begins once in this time.
const SPELL_EVERY: Nanos = 3 * HOUR;

/// A time in which Loki is of little use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spell {
    /// Nothing is answered but 503.
    Down,
    /// Half of the queries are "too many outstanding requests".
    Crowded,
    /// Every answer comes late.
    Slow,
    /// Only small pages are allowed.
    SmallPages,
    /// Every fourth answer breaks off.
    Cut,
}

impl Spell {
    const ALL: [Self; 5] = [Self::Down, Self::Crowded, Self::Slow, Self::SmallPages, Self::Cut];

    fn length(self) -> Nanos {
        match self {
            Self::Down => 10 * MINUTE,
            _ => 20 * MINUTE,
        }
    }

    /// Where `at` lies in one.
    pub(crate) fn at(seed: u64, at: Nanos) -> Option<Self> {
        let slot = at.div_euclid(SPELL_EVERY);
        let chance = dice(seed ^ 0x5e11 ^ slot.cast_unsigned() << 16);
        // Each kind in its turn, from any of them on.
        let spell = Self::ALL[(seed.wrapping_add(slot.cast_unsigned()) % 5) as usize];
        let begin = slot * SPELL_EVERY + chance.cast_signed() % (SPELL_EVERY - spell.length());
        (begin..begin + spell.length()).contains(&at).then_some(spell)
    }
}

/// How the stand-in behaves in a spell, and outside of one.
pub(crate) fn faults(seed: u64, spell: Option<Spell>) -> Faults {
    let rule = |fault, when| Rule::new(fault, Endpoint::Queries, when);
    let status = |status, text: &str| Fault::Status(status, text.to_owned());
    let mut rules = match spell {
        Some(Spell::Down) => vec![rule(status(503, "the ingester is gone"), When::Always)],
        Some(Spell::Crowded) => vec![rule(Fault::TooManyRequests, When::Chance(0.5))],
        Some(Spell::Slow) => vec![rule(Fault::Slow(Duration::from_millis(15)), When::Always)],
        Some(Spell::Cut) => vec![rule(Fault::CutChunk(0.7), When::Chance(0.25))],
        Some(Spell::SmallPages) | None => Vec::new(),
    };
    let often = [
        (status(500, "the querier is unwell"), 0.004),
        (status(504, "context deadline exceeded"), 0.001),
        (Fault::TooManyRequests, 0.004),
        (Fault::Cut(0.5), 0.003),
        (Fault::CutChunk(0.5), 0.003),
        (Fault::Reset, 0.004),
        (Fault::NoAnswer(Duration::from_millis(30)), 0.001),
        (Fault::Slow(Duration::from_millis(30)), 0.01),
    ];
    rules.extend(often.map(|(fault, chance)| rule(fault, When::Chance(chance))));
    let max_entries = (spell == Some(Spell::SmallPages)).then_some(1000);
    Faults { seed, rules, max_entries, ..Faults::default() }
}

/// When sigyn is killed: so often, in the first `share` of the time, so that the rest shows one process growing old.
pub(crate) fn kills(seed: u64, (start, end): (Nanos, Nanos), count: u64, share: f64) -> Vec<Nanos> {
    let room = ((end - start) as f64 * share) as Nanos / Nanos::try_from(count.max(1)).unwrap();
    let moment = |n: u64| start + n.cast_signed() * room + (dice(seed ^ n << 32) as Nanos) % room;
    (0..count).map(moment).collect()
}
