//! The detector of single sessions, behind the examiner's seam.
//!
//! What comes in: lines on their way to the judge. What goes out: verdicts by session, by name where the file names them.
//! What never happens here: a decision; and labels and groups do not come this far.

use std::collections::HashMap;
use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::session::{SessionEntry, SessionVerdict};
use crate::collect::Purpose;
use crate::detect::session::{Line, Sessions};

/// Judges single sessions.
pub struct SessionJudge {
    sessions: Sessions,
    /// Of files that name sessions.
    names: HashMap<u64, String>,
}

impl SessionJudge {
    /// Judges by these sessions.
    #[must_use]
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions, names: HashMap::new() }
    }

    /// Takes the next line, and `None` when all was handed over: a [`super::session::Judge`].
    pub fn take(&mut self, purpose: Purpose, entry: Option<SessionEntry<'_>>) -> Vec<SessionVerdict> {
        let found = match entry {
            None => self.sessions.finish(),
            Some(entry) => {
                let key = entry.key.map(|name| {
                    let key = hash(name);
                    self.names.entry(key).or_insert_with(|| name.to_owned());
                    key
                });
                let line = Line { key, ts: entry.ts, stream: hash(entry.stream), line: entry.line };
                self.sessions.add(purpose, &line)
            }
        };
        let verdicts = found.into_iter().map(|one| SessionVerdict {
            key: self.names.get(&one.key).cloned().unwrap_or_default(),
            line: one.line,
            score: one.score,
            alarm: one.alarm,
        });
        verdicts.collect()
    }

    /// What it judges by.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}
