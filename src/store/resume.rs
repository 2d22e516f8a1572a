//! What a restart finds again: positions, models, the windows since, and wishes that nobody has carried out yet.

use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::commit::subject;
use super::error::failed;
use super::{Store, StoreError, TENANT, WatchState};
use crate::collect::{Coverage, Known};
use crate::detect::{Features, Group, Judgement, Window};
use crate::engine::{Command, CommandKind, JudgedWindow, Snapshot};
use crate::labels::Fingerprint;
use crate::time::{Nanos, TimeRange};

const DOING: &str = "read the state of a watch from";

pub(super) const WATCH: &str =
    "SELECT done_until, source_state, carry, patterns FROM watches WHERE tenant = ?1 AND watch = ?2";
pub(super) const SNAPSHOTS: &str = "SELECT grp, until, model FROM models WHERE tenant = ?1 AND watch = ?2 ORDER BY grp";
pub(super) const WINDOWS: &str = "
    SELECT w.*, g.labels FROM windows w JOIN groups g USING (tenant, watch, grp)
    WHERE w.tenant = ?1 AND w.watch = ?2 AND w.grp = ?3 AND w.range_end > ?4 AND w.revision = 0
    ORDER BY w.range_start, w.range_end";
pub(super) const ALL_WINDOWS: &str = "
    SELECT w.*, g.labels FROM groups g CROSS JOIN windows w USING (tenant, watch, grp)
    WHERE g.tenant = ?1 AND g.watch = ?2 AND w.range_end > ?3 AND w.revision = 0
    ORDER BY w.grp, w.range_start, w.range_end";
pub(super) const COMMANDS: &str = "SELECT id, at, document FROM commands WHERE tenant = ?1 AND done = 0 AND subject IS NOT NULL ORDER BY id LIMIT 1000";
const ANY_WATCH: &str = "SELECT 1 FROM watches WHERE tenant = ?1 LIMIT 1";
const NAMES: &str = "SELECT watch FROM watches WHERE tenant = ?1 AND watch <> ?2 ORDER BY watch";
pub(super) const LAST_WORD: &str =
    "SELECT document FROM commands WHERE tenant = ?1 AND subject = ?2 ORDER BY id DESC LIMIT 1";

impl Store {
    /// Where a watch stands; `None` when it has never committed a step.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn watch_state(&self, watch: &str) -> Result<Option<WatchState>, StoreError> {
        let mut reader = self.reader(DOING).await?;
        let row = sqlx::query(WATCH).bind(TENANT).bind(watch).fetch_optional(&mut *reader).await;
        row.and_then(|row| row.map(|row| state(&row)).transpose()).map_err(failed(DOING, self.path()))
    }

    /// Whether any watch has ever committed a step.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn has_watches(&self) -> Result<bool, StoreError> {
        let mut reader = self.reader(DOING).await?;
        let row = sqlx::query(ANY_WATCH).bind(TENANT).fetch_optional(&mut *reader).await;
        row.map(|row| row.is_some()).map_err(failed(DOING, self.path()))
    }

    /// The names of all watches that have ever committed a step, also of those that are set no more.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn watch_names(&self) -> Result<Vec<String>, StoreError> {
        let mut reader = self.reader(DOING).await?;
        let rows = sqlx::query(NAMES).bind(TENANT).bind(super::NO_WATCH).fetch_all(&mut *reader).await;
        let names = rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect());
        names.map_err(failed(DOING, self.path()))
    }

    /// The newest model of each group of a watch.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn snapshots(&self, watch: &str) -> Result<Vec<Snapshot>, StoreError> {
        let mut reader = self.reader(DOING).await?;
        let rows = sqlx::query(SNAPSHOTS).bind(TENANT).bind(watch).fetch_all(&mut *reader).await;
        rows.and_then(|rows| rows.iter().map(snapshot).collect()).map_err(failed(DOING, self.path()))
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
        let mut reader = self.reader(DOING).await?;
        let query = sqlx::query(WINDOWS).bind(TENANT).bind(watch).bind(group.0.cast_signed()).bind(after_end);
        let rows = query.fetch_all(&mut *reader).await;
        rows.and_then(|rows| rows.iter().map(window).collect()).map_err(failed(DOING, self.path()))
    }

    /// As [`Store::windows_since`], for all groups of the watch, one after the other.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn windows_all_since(&self, watch: &str, after_end: Nanos) -> Result<Vec<JudgedWindow>, StoreError> {
        let mut reader = self.reader(DOING).await?;
        let query = sqlx::query(ALL_WINDOWS).bind(TENANT).bind(watch).bind(after_end);
        let rows = query.fetch_all(&mut *reader).await;
        rows.and_then(|rows| rows.iter().map(window).collect()).map_err(failed(DOING, self.path()))
    }

    /// The oldest commands for the engine that no step has carried out yet, at most 1000, in their order.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn pending_commands(&self) -> Result<Vec<Command>, StoreError> {
        const DOING: &str = "read the commands from";
        let mut reader = self.reader(DOING).await?;
        let rows = sqlx::query(COMMANDS).bind(TENANT).fetch_all(&mut *reader).await;
        rows.and_then(|rows| rows.iter().map(command).collect()).map_err(failed(DOING, self.path()))
    }

    /// Whether the newest [`CommandKind::Internal`] about this problem said that it is there. So a part of sigyn knows
    /// after a restart whether it still has to say that it is well again.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn internal_firing(&self, problem: &str, on: &str) -> Result<bool, StoreError> {
        const DOING: &str = "read the commands from";
        let mut reader = self.reader(DOING).await?;
        let query = sqlx::query(LAST_WORD).bind(TENANT).bind(subject(problem, on));
        let row = query.fetch_optional(&mut *reader).await;
        let last = row.and_then(|row| row.map(|row| parsed::<CommandKind>(&row, "document")).transpose());
        let last = last.map_err(failed(DOING, self.path()))?;
        Ok(matches!(last, Some(CommandKind::Internal { firing: true, .. })))
    }
}

/// A column that holds JSON.
pub(super) fn parsed<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

/// A column that holds one word of an enum.
pub(super) fn named<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_value(serde_json::Value::String(text)).map_err(|error| unreadable(column, error))
}

fn unreadable(column: &str, error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.into() }
}

/// A count; they are never written below zero.
pub(super) fn count(row: &SqliteRow, column: &'static str) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
}

fn state(row: &SqliteRow) -> Result<WatchState, sqlx::Error> {
    Ok(WatchState {
        done_until: row.try_get("done_until")?,
        source_state: row.try_get("source_state")?,
        carry: row.try_get("carry")?,
        patterns: row.try_get::<Option<Vec<u8>>, _>("patterns")?.and_then(|packed| unpacked(&packed)),
    })
}

/// What was packed; `None` when it is damaged: then it is learnt anew.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(bytes), &mut out).ok()?;
    Some(out)
}

fn group(row: &SqliteRow) -> Result<Fingerprint, sqlx::Error> {
    Ok(Fingerprint(row.try_get::<i64, _>("grp")?.cast_unsigned()))
}

fn snapshot(row: &SqliteRow) -> Result<Snapshot, sqlx::Error> {
    Ok(Snapshot { group: group(row)?, until: row.try_get("until")?, model: row.try_get("model")? })
}

fn window(row: &SqliteRow) -> Result<JudgedWindow, sqlx::Error> {
    let features = Features([
        row.try_get("line_length")?,
        row.try_get("error_count")?,
        row.try_get("warn_count")?,
        row.try_get("unique_messages")?,
        row.try_get("rate")?,
    ]);
    let known: Known = named(row, "known")?;
    let anomalous = match row.try_get::<Option<&str>, _>("anomalous")? {
        Some(_) => Some(parsed(row, "anomalous")?),
        None => None,
    };
    Ok(JudgedWindow {
        group: Group { fingerprint: group(row)?, labels: parsed(row, "labels")? },
        window: Window {
            range: TimeRange { start: row.try_get("range_start")?, end: row.try_get("range_end")? },
            lines: count(row, "lines")?,
            features,
            coverage: Coverage { known, seen: count(row, "seen")?, missing: count(row, "missing")? },
            late: row.try_get("late")?,
            samples: Vec::new(),
        },
        judgement: Judgement {
            score: row.try_get("score")?,
            threshold: row.try_get("threshold")?,
            anomalous,
            patterns: Vec::new(),
            samples: Vec::new(),
            raw: None,
        },
        learnt: row.try_get("learnt")?,
        revision: row.try_get("revision")?,
    })
}

pub(super) fn command(row: &SqliteRow) -> Result<Command, sqlx::Error> {
    Ok(Command { id: row.try_get("id")?, at: row.try_get("at")?, kind: parsed(row, "document")? })
}
