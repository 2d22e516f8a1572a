//! Which detectors are heard.
//!
//! What comes in: names, as the settings have them. What goes out: whether a detector may say something. A detector that
//! is not heard does not spend of the others' budget either: each keeps its own calibration, so that what one finds alone,
//! and what is missing without it, can be measured.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Feature, PatternKind, session};

/// A detector, by what it says. Its name is the one that its evidence bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Voice {
    /// [`Feature::LineLength`].
    LineLength,
    /// [`Feature::ErrorCount`].
    ErrorCount,
    /// [`Feature::WarnCount`].
    WarnCount,
    /// [`Feature::UniqueMessages`].
    UniqueMessages,
    /// [`Feature::Rate`].
    Rate,
    /// [`PatternKind::New`].
    New,
    /// [`PatternKind::Burst`].
    Burst,
    /// [`PatternKind::Value`].
    Value,
    /// [`PatternKind::Ratio`].
    Ratio,
    /// [`PatternKind::Stopped`].
    Stopped,
    /// [`PatternKind::Instance`].
    Instance,
    /// [`PatternKind::Begins`].
    Begins,
    /// [`PatternKind::Unexpected`].
    Unexpected,
    /// [`PatternKind::Missing`].
    Missing,
    /// [`PatternKind::MoreOften`].
    MoreOften,
    /// [`PatternKind::LessOften`].
    LessOften,
    /// [`PatternKind::Slow`].
    Slow,
    /// [`PatternKind::Order`].
    Order,
    /// [`PatternKind::Lost`].
    Lost,
    /// [`PatternKind::Rare`].
    Rare,
    /// [`session::model::Kind::Present`].
    Present,
    /// [`session::model::Kind::Absent`].
    Absent,
    /// [`session::model::Kind::Count`].
    Count,
}

use Voice as V;

/// All of them with their names, in the order of [`Voice`].
const NAMES: [(Voice, &str); 23] = [
    (V::LineLength, "line_length"),
    (V::ErrorCount, "error_count"),
    (V::WarnCount, "warn_count"),
    (V::UniqueMessages, "unique_messages"),
    (V::Rate, "rate"),
    (V::New, "new"),
    (V::Burst, "burst"),
    (V::Value, "value"),
    (V::Ratio, "ratio"),
    (V::Stopped, "stopped"),
    (V::Instance, "instance"),
    (V::Begins, "begins"),
    (V::Unexpected, "unexpected"),
    (V::Missing, "missing"),
    (V::MoreOften, "more_often"),
    (V::LessOften, "less_often"),
    (V::Slow, "slow"),
    (V::Order, "order"),
    (V::Lost, "lost"),
    (V::Rare, "rare"),
    (V::Present, "present"),
    (V::Absent, "absent"),
    (V::Count, "count"),
];

impl Voice {
    /// Its name in settings and evidence.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(_, name)| name)
    }
}

impl From<Feature> for Voice {
    fn from(feature: Feature) -> Self {
        match feature {
            Feature::LineLength => Self::LineLength,
            Feature::ErrorCount => Self::ErrorCount,
            Feature::WarnCount => Self::WarnCount,
            Feature::UniqueMessages => Self::UniqueMessages,
            Feature::Rate => Self::Rate,
        }
    }
}

impl From<PatternKind> for Voice {
    fn from(kind: PatternKind) -> Self {
        match kind {
            PatternKind::New => Self::New,
            PatternKind::Burst => Self::Burst,
            PatternKind::Value => Self::Value,
            PatternKind::Ratio => Self::Ratio,
            PatternKind::Stopped => Self::Stopped,
            PatternKind::Instance => Self::Instance,
            PatternKind::Begins => Self::Begins,
            PatternKind::Unexpected => Self::Unexpected,
            PatternKind::Missing => Self::Missing,
            PatternKind::MoreOften => Self::MoreOften,
            PatternKind::LessOften => Self::LessOften,
            PatternKind::Slow => Self::Slow,
            PatternKind::Order => Self::Order,
            PatternKind::Lost => Self::Lost,
            PatternKind::Rare => Self::Rare,
        }
    }
}

impl From<session::model::Kind> for Voice {
    fn from(kind: session::model::Kind) -> Self {
        match kind {
            session::model::Kind::Present => Self::Present,
            session::model::Kind::Absent => Self::Absent,
            session::model::Kind::Count => Self::Count,
        }
    }
}

/// A set of detectors. As text: names with commas between; `all`, `features`, `trace` and `session` are several at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct Detectors(u32);

impl Detectors {
    /// All there are.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);
    /// The window features.
    pub const FEATURES: Self = Self::span(V::LineLength, V::Rate);
    /// What is found in requests, blocks and jobs.
    pub const TRACE: Self = Self::span(V::Begins, V::Lost);
    /// What is found in single sessions, which `eval --window session` asks for.
    pub const SESSION: Self = Self::span(V::Present, V::Count);
    /// The rarest line of a window of lines.
    pub const RARE: Self = Self::span(V::Rare, V::Rare);

    const GROUPS: [(&'static str, Self); 4] =
        [("all", Self::ALL), ("features", Self::FEATURES), ("trace", Self::TRACE), ("session", Self::SESSION)];

    const fn span(first: Voice, last: Voice) -> Self {
        Self((2 << last as u32) - (1 << first as u32))
    }

    /// Whether one of them may say this.
    #[must_use]
    pub fn has(self, voice: impl Into<Voice>) -> bool {
        self.0 >> voice.into() as u8 & 1 == 1
    }

    /// Whether any of the others is among them.
    #[must_use]
    pub fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// All but the others.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Those that are among the others too.
    #[must_use]
    pub fn among(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// The others too.
    #[must_use]
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each alone.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (0..NAMES.len()).map(|at| Self(1 << at)).filter(move |one| self.has_any(*one))
    }

    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        names.map(str::trim).filter(|name| !name.is_empty()).try_fold(Self(0), |set, name| {
            let group = Self::GROUPS.iter().find(|(known, _)| *known == name).map(|(_, group)| *group);
            let one = || NAMES.iter().find(|(_, known)| *known == name).map(|(voice, _)| Self(1 << *voice as u8));
            let found = group.or_else(one).ok_or_else(|| {
                let known: Vec<&str> =
                    Self::GROUPS.iter().map(|(name, _)| *name).chain(NAMES.map(|(_, name)| name)).collect();
                format!("`{name}` is no detector; write {}", known.join(", "))
            })?;
            Ok(Self(set.0 | found.0))
        })
    }
}

impl Default for Detectors {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for Detectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = Self::GROUPS.iter().find(|(_, group)| group == self) {
            return f.write_str(name);
        }
        let names: Vec<&str> = NAMES.iter().filter(|(voice, _)| self.has(*voice)).map(|(_, name)| *name).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Detectors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let set = Self::of(text.split(','))?;
        if set.is_empty() { Err(format!("`{text}` names no detector; write `all` for all of them")) } else { Ok(set) }
    }
}

impl From<Detectors> for Vec<String> {
    fn from(set: Detectors) -> Self {
        set.to_string().split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

impl TryFrom<Vec<String>> for Detectors {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        names.join(",").parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str, count: usize) {
        let set: Detectors = text.parse().unwrap();
        assert_eq!((set.to_string().as_str(), set.len()), (shown, count), "{text}");
        let back: Detectors = serde_json::from_str(&serde_json::to_string(&set).unwrap()).unwrap();
        assert_eq!(back, set);
    }

    #[test]
    fn sets_are_read_and_written() {
        check("all", "all", 23);
        check("features", "features", 5);
        check("trace", "trace", 8);
        check("session", "session", 3);
        check("burst, new", "new,burst", 2);
        check("features,trace,new,burst,value,ratio,stopped,instance,rare,session", "all", 23);
        check("order,slow,order", "slow,order", 2);
        for text in ["", "bursts", "new,,x"] {
            assert!(text.parse::<Detectors>().unwrap_err().contains("detector; write"), "{text}");
        }
        assert_eq!(Detectors::ALL.without(Detectors::TRACE).among(Detectors::TRACE).len(), 0);
        assert_eq!(Detectors::TRACE.each().map(|one| one.to_string()).collect::<Vec<_>>().join(","), {
            "begins,unexpected,missing,more_often,less_often,slow,order,lost"
        });
    }

    #[test]
    fn names_are_those_of_the_evidence() {
        for (at, (voice, name)) in NAMES.iter().enumerate() {
            assert_eq!((*voice as usize, voice.name()), (at, *name));
        }
        for feature in Feature::ALL {
            assert_eq!(serde_json::to_value(feature).unwrap(), Voice::from(feature).name());
            assert!(Detectors::FEATURES.has(feature) && !Detectors::TRACE.has(feature));
        }
        for kind in [PatternKind::New, PatternKind::Burst, PatternKind::Begins, PatternKind::Order, PatternKind::Rare] {
            assert_eq!(serde_json::to_value(kind).unwrap(), Voice::from(kind).name());
        }
    }
}
