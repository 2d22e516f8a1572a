//! What a restart finds again: positions, models, the windows since, and wishes that nobody has carried out yet.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::chain::{self, Document};
use super::commit::subject;
use super::link::{Row, Sql, Statement};
use super::{Store, StoreError, WatchState};
use crate::collect::{Coverage, Known};
use crate::detect::{Features, Group, Judgement, Window};
use crate::engine::{Command, CommandKind, JudgedWindow, Snapshot};
use crate::labels::Fingerprint;
use crate::time::{Nanos, TimeRange};

const DOING: &str = "read the state of a watch from";

/// One row for each of its chains' rows: all of one moment.
pub(super) const WATCH: &str = "
    SELECT w.done_until, w.source_state, w.carry, w.patterns, c.document, c.number, c.checksum, c.bytes
    FROM watches w LEFT JOIN chains c ON c.tenant = w.tenant AND c.watch = w.watch
    WHERE w.tenant = $1 AND w.watch = $2 ORDER BY c.document, c.number";
pub(super) const SNAPSHOTS: &str = "SELECT grp, until, model FROM models WHERE tenant = $1 AND watch = $2 ORDER BY grp";
pub(super) const WINDOWS: &str = "
    SELECT w.*, g.labels FROM windows w JOIN groups g ON g.tenant = w.tenant AND g.watch = w.watch AND g.grp = w.grp
    WHERE w.tenant = $1 AND w.watch = $2 AND w.grp = $3 AND w.range_end > $4 AND w.revision = 0
    ORDER BY w.range_start, w.range_end";
macro_rules! all_windows {
    ($join:literal) => {
        concat!(
            "SELECT w.*, g.labels FROM groups g ",
            $join,
            " windows w ON w.tenant = g.tenant AND w.watch = g.watch AND w.grp = g.grp
            WHERE g.tenant = $1 AND g.watch = $2 AND w.range_end > $3 AND w.revision = 0
            ORDER BY w.grp, w.range_start, w.range_end"
        )
    };
}
/// To SQLite, CROSS says that the groups come first; PostgreSQL knows by itself.
pub(super) const ALL_WINDOWS: Sql = Sql { sqlite: all_windows!("CROSS JOIN"), postgres: all_windows!("JOIN") };
pub(super) const COMMANDS: &str = "SELECT id, at, document FROM commands WHERE tenant = $1 AND done = 0 AND subject IS NOT NULL ORDER BY id LIMIT 1000";
const ANY_WATCH: &str = "SELECT 1 FROM watches WHERE tenant = $1 LIMIT 1";
const NAMES: &str = "SELECT watch FROM watches WHERE tenant = $1 AND watch <> $2 ORDER BY watch";
pub(super) const LAST_WORD: &str =
    "SELECT document FROM commands WHERE tenant = $1 AND subject = $2 ORDER BY id DESC LIMIT 1";

impl Store {
    /// Where a watch stands; `None` when it has never committed a step.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn watch_state(&self, watch: &str) -> Result<Option<WatchState>, StoreError> {
        let rows = self.read(DOING, Statement::of(WATCH).bind(watch), state).await?;
        let mut chains: BTreeMap<String, Vec<chain::Stored>> = BTreeMap::new();
        let mut found = None;
        for (state, row) in rows {
            found.get_or_insert(state);
            row.into_iter().for_each(|(document, row)| chains.entry(document).or_default().push(row));
        }
        let Some(mut found) = found else { return Ok(None) };
        if let Some(rows) = chains.remove(Document::Carry.name()) {
            found.carry = chain::text(rows).and_then(|text| String::from_utf8(text).ok());
        }
        if let Some(rows) = chains.remove(Document::Patterns.name()) {
            found.patterns = chain::text(rows);
        }
        Ok(Some(found))
    }

    /// Whether any watch has ever committed a step.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn has_watches(&self) -> Result<bool, StoreError> {
        Ok(!self.read(DOING, Statement::of(ANY_WATCH), |_| Ok(())).await?.is_empty())
    }

    /// The names of all watches that have ever committed a step, also of those that are set no more.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn watch_names(&self) -> Result<Vec<String>, StoreError> {
        self.read(DOING, Statement::of(NAMES).bind(super::NO_WATCH), |row| row.get("watch")).await
    }

    /// The newest model of each group of a watch.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn snapshots(&self, watch: &str) -> Result<Vec<Snapshot>, StoreError> {
        self.read(DOING, Statement::of(SNAPSHOTS).bind(watch), snapshot).await
    }

    /// Windows of one group that end after `after_end`, as they were when they were first closed (revision 0), in the
    /// order of (start, end): what has to be folded into a model whose [`Snapshot::until`] is `after_end`. Without
    /// samples: those are stored with anomalies only.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn windows_since(
        &self,
        watch: &str,
        group: Fingerprint,
        after_end: Nanos,
    ) -> Result<Vec<JudgedWindow>, StoreError> {
        let query = Statement::of(WINDOWS).bind(watch).bind(group.0.cast_signed()).bind(after_end);
        self.read(DOING, query, window).await
    }

    /// As [`Store::windows_since`], for all groups of the watch, one after the other.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn windows_all_since(&self, watch: &str, after_end: Nanos) -> Result<Vec<JudgedWindow>, StoreError> {
        self.read(DOING, Statement::of(ALL_WINDOWS).bind(watch).bind(after_end), window).await
    }

    /// The oldest commands for the engine that no step has carried out yet, at most 1000, in their order; without those that
    /// cannot be read.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn pending_commands(&self) -> Result<Vec<Command>, StoreError> {
        const DOING: &str = "read the commands from";
        self.read_each((DOING, "a command"), Statement::of(COMMANDS), command).await
    }

    /// Whether the newest [`CommandKind::Internal`] about this problem said that it is there. So a part of sigyn knows
    /// after a restart whether it still has to say that it is well again.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn internal_firing(&self, problem: &str, on: &str) -> Result<bool, StoreError> {
        const DOING: &str = "read the commands from";
        let query = Statement::of(LAST_WORD).bind(subject(problem, on));
        let last = self.read(DOING, query, |row| parsed::<CommandKind>(row, "document")).await?;
        Ok(matches!(last.first(), Some(CommandKind::Internal { firing: true, .. })))
    }
}

/// A column that holds JSON.
pub(super) fn parsed<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, sqlx::Error> {
    let text: &str = row.get(column)?;
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

/// A column that holds one word of an enum.
pub(super) fn named<T: DeserializeOwned>(row: &Row, column: &'static str) -> Result<T, sqlx::Error> {
    let text: String = row.get(column)?;
    serde_json::from_value(serde_json::Value::String(text)).map_err(|error| unreadable(column, error))
}

fn unreadable(column: &str, error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.into() }
}

/// A count; they are never written below zero.
pub(super) fn count(row: &Row, column: &'static str) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.get::<i64>(column)?).unwrap_or(0))
}

/// A watch, and a row of a chain of its documents.
fn state(row: &Row) -> Result<(WatchState, Option<(String, chain::Stored)>), sqlx::Error> {
    let document: Option<String> = row.get("document")?;
    let state = WatchState {
        done_until: row.get("done_until")?,
        source_state: row.get("source_state")?,
        carry: row.get("carry")?,
        patterns: row.get::<Option<Vec<u8>>>("patterns")?.and_then(|packed| chain::unpacked(&packed)),
    };
    Ok((state, document.map(|document| Ok::<_, sqlx::Error>((document, chain::row(row)?))).transpose()?))
}

fn group(row: &Row) -> Result<Fingerprint, sqlx::Error> {
    Ok(Fingerprint(row.get::<i64>("grp")?.cast_unsigned()))
}

fn snapshot(row: &Row) -> Result<Snapshot, sqlx::Error> {
    Ok(Snapshot { group: group(row)?, until: row.get("until")?, model: row.get("model")? })
}

fn window(row: &Row) -> Result<JudgedWindow, sqlx::Error> {
    let features = Features([
        row.get("line_length")?,
        row.get("error_count")?,
        row.get("warn_count")?,
        row.get("unique_messages")?,
        row.get("rate")?,
    ]);
    let known: Known = named(row, "known")?;
    let anomalous = match row.get::<Option<&str>>("anomalous")? {
        Some(_) => Some(parsed(row, "anomalous")?),
        None => None,
    };
    Ok(JudgedWindow {
        group: Group { fingerprint: group(row)?, labels: parsed(row, "labels")? },
        window: Window {
            range: TimeRange { start: row.get("range_start")?, end: row.get("range_end")? },
            lines: count(row, "lines")?,
            features,
            coverage: Coverage { known, seen: count(row, "seen")?, missing: count(row, "missing")? },
            late: row.flag("late")?,
            samples: Vec::new(),
        },
        judgement: Judgement {
            score: row.get("score")?,
            threshold: row.get("threshold")?,
            anomalous,
            patterns: Vec::new(),
            samples: Vec::new(),
            raw: None,
        },
        learnt: row.flag("learnt")?,
        revision: u32::try_from(row.get::<i64>("revision")?).unwrap_or(u32::MAX),
    })
}

pub(super) fn command(row: &Row) -> Result<Command, sqlx::Error> {
    Ok(Command { id: row.get("id")?, at: row.get("at")?, kind: parsed(row, "document")? })
}
