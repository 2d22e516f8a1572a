//! Silences: what nobody wants to hear of for a time, and maintenance windows, which come again.
//!
//! What comes in: silences as JSON (commands) or YAML ([`mod@file`]), labels and a time. What goes out: which silence holds an
//! incident back. Pure but for [`file::load`]. What never happens here: forgetting that something was held back.

pub mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::interval::CronWindow;
use crate::labels::{FNV_OFFSET, Labels, Matcher, Matchers, fnv1a};
use crate::time::Nanos;

/// Most silences that there may be.
pub const MAX_SILENCES: usize = 10_000;
/// Most of them that keep more than a few hundred bytes: a schedule takes 6 kB, a regular expression that is more than words
/// and `.*` takes 14 kB and more.
pub const MAX_HEAVY: usize = 2000;
/// The end of a silence that has none.
pub const FOREVER: Nanos = Nanos::MAX;
/// Longest comment, and longest name of who made it, in bytes.
const MAX_COMMENT: usize = 4096;
const MAX_NAME: usize = 256;

/// Incidents with these labels are not told from `starts_at` on, until `ends_at`; with a schedule only in its windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Letters, digits, `-`, `_` and `.`; made from the content when none is given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Which incidents.
    pub matchers: Matchers,
    /// From when on; 0: since ever.
    #[serde(default, with = "stamp", skip_serializing_if = "is_zero")]
    pub starts_at: Nanos,
    /// Until when, without that instant; [`FOREVER`]: it has no end.
    #[serde(default = "forever", with = "stamp", skip_serializing_if = "is_forever")]
    pub ends_at: Nanos,
    /// The windows of a maintenance that comes again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<CronWindow>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// When it was made; 0: not known.
    #[serde(default, with = "stamp", skip_serializing_if = "is_zero")]
    pub created_at: Nanos,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The file that declares it: it can only be changed there.
    #[serde(skip)]
    pub file: Option<String>,
}

/// Where a silence is in its life, in amtool's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SilenceState {
    /// It has not begun, or its next window has not.
    Pending,
    /// It holds.
    Active,
    /// It is over.
    Expired,
}

impl SilenceState {
    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// Why a silence cannot be set or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SilenceError {
    /// It is none.
    #[error("{0}")]
    Wrong(String),
    /// There are too many.
    #[error("there are {MAX_SILENCES} silences, and no more are kept; expire some first")]
    Full,
    /// There are too many of those that need much memory.
    #[error(
        "there are {MAX_HEAVY} silences with a schedule or with a regular expression that is more than words (a|b) and .*, and \
         no more are kept; expire some, or write simpler ones"
    )]
    Heavy,
    /// There is none with this id.
    #[error("there is no silence `{0}`; `sigyn silence list` shows all")]
    Unknown(String),
    /// More than one begins so.
    #[error("more than one silence has an id that begins with `{0}`; write more of it")]
    Ambiguous(String),
    /// It is declared in a file.
    #[error("the silence `{id}` is declared in {file}, and can only be ended there: take it out, or set its `ends_at`")]
    Declared {
        /// Its id.
        id: String,
        /// The file.
        file: String,
    },
}

impl Silence {
    /// One with all that is not said left open: since ever, without end, by nobody.
    #[must_use]
    pub fn new(matchers: Matchers) -> Self {
        Self {
            id: String::new(),
            matchers,
            starts_at: 0,
            ends_at: FOREVER,
            schedule: None,
            created_by: String::new(),
            created_at: 0,
            comment: String::new(),
            file: None,
        }
    }

    /// The same with an id, where it has none: 16 hex digits of its content, so the same silence has the same id again.
    #[must_use]
    pub fn named(mut self) -> Self {
        if self.id.is_empty() {
            let content = serde_json::to_string(&self).unwrap_or_default();
            self.id = format!("{:016x}", fnv1a(FNV_OFFSET, content.as_bytes()));
        }
        self
    }

    /// From the JSON of a command.
    ///
    /// # Errors
    /// When it is no silence; the text says why.
    pub fn read(document: &str) -> Result<Self, SilenceError> {
        let silence: Self = serde_json::from_str(document)
            .map_err(|error| SilenceError::Wrong(format!("this is no silence: {error}")))?;
        silence.checked()
    }

    /// As the JSON of a command.
    #[must_use]
    pub fn document(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The silence, with an id, when it is one.
    ///
    /// # Errors
    /// What must be.
    pub fn checked(self) -> Result<Self, SilenceError> {
        let silence = self.named();
        let id = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let wrong = if !silence.matchers.iter().any(|matcher| !matcher.holds("")) {
            "matchers: at least one must name a value, such as `service_name=\"cart\"`, or it would hold for everything"
                .to_owned()
        } else if silence.starts_at >= silence.ends_at {
            "ends_at: must be after starts_at".to_owned()
        } else if let Some(Err(text)) = silence.schedule.as_ref().map(CronWindow::check) {
            format!("schedule: {text}")
        } else if silence.id.len() > 64 || !silence.id.chars().all(id) {
            "id: must be at most 64 letters, digits, or any of -_.".to_owned()
        } else if silence.comment.len() > MAX_COMMENT || silence.created_by.len() > MAX_NAME {
            format!("comment and created_by: at most {MAX_COMMENT} and {MAX_NAME} bytes")
        } else {
            return Ok(silence);
        };
        Err(SilenceError::Wrong(wrong))
    }

    /// Whether it holds back an incident with these labels at this time.
    #[must_use]
    pub fn holds(&self, labels: &Labels, at: Nanos) -> bool {
        self.is_on(at) && self.matchers.matches(labels) && self.in_window(at)
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self, at: Nanos) -> SilenceState {
        match () {
            () if at >= self.ends_at => SilenceState::Expired,
            () if self.is_on(at) && self.in_window(at) => SilenceState::Active,
            () => SilenceState::Pending,
        }
    }

    fn is_heavy(&self) -> bool {
        self.schedule.is_some() || self.matchers.iter().any(Matcher::is_heavy)
    }

    fn is_on(&self, at: Nanos) -> bool {
        self.starts_at <= at && at < self.ends_at
    }

    fn in_window(&self, at: Nanos) -> bool {
        self.schedule.as_ref().is_none_or(|schedule| schedule.contains(at))
    }
}

/// All silences.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    all: BTreeMap<String, Silence>,
    /// How many of them are heavy.
    heavy: usize,
}

impl Silences {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one; it takes the place of the one with its id. One that is declared in a file stays as it is declared.
    ///
    /// # Errors
    /// When it is none, or there are too many.
    pub fn set(&mut self, silence: Silence) -> Result<(), SilenceError> {
        let silence = silence.checked()?;
        match self.all.get(&silence.id) {
            Some(Silence { file: Some(file), .. }) if silence.file.is_none() => {
                return Err(SilenceError::Declared { id: silence.id, file: file.clone() });
            }
            None if self.all.len() >= MAX_SILENCES => return Err(SilenceError::Full),
            _ => {}
        }
        let before = self.all.get(&silence.id).is_some_and(Silence::is_heavy);
        let heavy = self.heavy - usize::from(before) + usize::from(silence.is_heavy());
        if heavy > MAX_HEAVY {
            return Err(SilenceError::Heavy);
        }
        self.heavy = heavy;
        self.all.insert(silence.id.clone(), silence);
        Ok(())
    }

    /// Ends one.
    ///
    /// # Errors
    /// When there is none with this id, or it is declared in a file.
    pub fn expire(&mut self, id: &str, at: Nanos) -> Result<&Silence, SilenceError> {
        let silence = self.all.get_mut(id).ok_or_else(|| SilenceError::Unknown(id.to_owned()))?;
        if let Some(file) = &silence.file {
            return Err(SilenceError::Declared { id: id.to_owned(), file: file.clone() });
        }
        // One that has not begun never does.
        silence.ends_at = silence.ends_at.min(at);
        silence.starts_at = silence.starts_at.min(silence.ends_at);
        Ok(silence)
    }

    /// Carries out the command `CommandKind::Silence` of the engine: sets the silence of the document, or ends the one with this id.
    ///
    /// # Errors
    /// As [`Silences::set`] and [`Silences::expire`].
    pub fn apply(&mut self, id: &str, document: Option<&str>, at: Nanos) -> Result<&Silence, SilenceError> {
        if let Some(document) = document {
            self.set(Silence { id: id.to_owned(), ..Silence::read(document)? })?;
            return self.get(id).ok_or_else(|| SilenceError::Unknown(id.to_owned()));
        }
        self.expire(id, at)
    }

    /// The silence that holds back an incident with these labels at this time; of several, the one that ends last.
    #[must_use]
    pub fn held(&self, labels: &Labels, at: Nanos) -> Option<&Silence> {
        let holding = self.all.values().filter(|silence| silence.holds(labels, at));
        holding.max_by(|a, b| (a.ends_at, &b.id).cmp(&(b.ends_at, &a.id)))
    }

    /// Forgets those that ended before `before`, but for declared ones.
    pub fn forget(&mut self, before: Nanos) {
        self.all.retain(|_, silence| silence.file.is_some() || silence.ends_at >= before);
        self.heavy = self.all.values().filter(|silence| silence.is_heavy()).count();
    }

    /// The one with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.all.get(id)
    }

    /// The one with this id, or the only one whose id begins so.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, prefix: &str) -> Result<&Silence, SilenceError> {
        if let Some(silence) = self.all.get(prefix) {
            return Ok(silence);
        }
        let mut found = self.all.values().filter(|silence| silence.id.starts_with(prefix) && !prefix.is_empty());
        match (found.next(), found.next()) {
            (Some(silence), None) => Ok(silence),
            (None, _) => Err(SilenceError::Unknown(prefix.to_owned())),
            (Some(_), Some(_)) => Err(SilenceError::Ambiguous(prefix.to_owned())),
        }
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.all.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl fmt::Display for SilenceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn forever() -> Nanos {
    FOREVER
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(at: &Nanos) -> bool {
    *at == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_forever(at: &Nanos) -> bool {
    *at == FOREVER
}

/// Times as people write them, in RFC 3339.
mod stamp {
    use super::{Deserialize, Deserializer, Nanos, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Nanos, serializer: S) -> Result<S::Ok, S::Error> {
        let stamp = jiff::Timestamp::from_nanosecond(i128::from(*at)).map_err(serde::ser::Error::custom)?;
        stamp.to_string().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Nanos, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::read_time(&text).map_err(serde::de::Error::custom)
    }
}

/// A time in RFC 3339, such as `2026-11-21T22:00:00+01:00`.
///
/// # Errors
/// When it is none; the text says what to write.
pub fn read_time(text: &str) -> Result<Nanos, String> {
    let wrong = || format!("`{text}` is no time; write it like 2026-11-21T22:00:00Z or 2026-11-21T22:00:00+01:00");
    let stamp: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    Nanos::try_from(stamp.as_nanosecond()).map_err(|_| wrong())
}
