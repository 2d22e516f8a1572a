//! Deleting what is old, in small transactions, so that a step never waits long for it.

use super::config::StoreConfig;
use super::link::{Row, Statement};
use super::{Store, StoreError};
use crate::time::{HOUR, Nanos, Span, rfc3339};

const DOING: &str = "delete old rows from";
/// Rows in one transaction: some milliseconds.
const CHUNK: u32 = 500;

pub(super) const GROUPS: &str = "SELECT watch, grp FROM groups WHERE tenant = $1";
pub(super) const WINDOWS: &str = "
    DELETE FROM windows WHERE (tenant, watch, grp, range_end, range_start, revision) IN (
        SELECT tenant, watch, grp, range_end, range_start, revision FROM windows
        WHERE tenant = $1 AND watch = $2 AND grp = $3 AND range_end <= $4 LIMIT $5)";
pub(super) const EMPTY_GROUP: &str = "
    DELETE FROM groups WHERE tenant = $1 AND watch = $2 AND grp = $3 AND NOT EXISTS (
        SELECT 1 FROM windows w WHERE w.tenant = $1 AND w.watch = $2 AND w.grp = $3)";
/// Transitions, notices and deliveries go with their incident. An incident never ends before it starts, so the index by
/// start finds those that may be old enough. `pending` ones that nothing came of go too; firing ones stay.
pub(super) const INCIDENTS: &str = "
    DELETE FROM incidents WHERE tenant = $1 AND id IN (
        SELECT id FROM incidents WHERE tenant = $1 AND state <> 'firing' AND started_at <= $2
            AND COALESCE(resolved_at, last_seen) <= $2 LIMIT $3)";
pub(super) const SILENCES: &str = "
    DELETE FROM silences WHERE tenant = $1 AND (ends_at <= $2 OR expired_at <= $2)";
pub(super) const COMMANDS: &str = "
    DELETE FROM commands WHERE id IN (
        SELECT id FROM commands WHERE tenant = $1 AND done = 1 AND at <= $2 LIMIT $3)";
pub(super) const DAYS: &str = "DELETE FROM days WHERE tenant = $1 AND day < $2";
pub(super) const MODELS: &str = "DELETE FROM models WHERE tenant = $1 AND until <= $2";
/// Where a watch stands that nobody has read for so long: it was renamed, or taken out of the settings.
pub(super) const WATCHES: &str = "DELETE FROM watches WHERE tenant = $1 AND watch <> '' AND done_until <= $2";
/// What was known of a watch that is gone.
pub(super) const CHAINS: &str = "
    DELETE FROM chains WHERE tenant = $1 AND NOT EXISTS (
        SELECT 1 FROM watches w WHERE w.tenant = $1 AND w.watch = chains.watch)";
pub(super) const GAPS: &str = "DELETE FROM gaps WHERE tenant = $1 AND range_end <= $2";

impl Store {
    /// Deletes what is past its retention: windows and silences by their end, resolved incidents (with transitions,
    /// notices and deliveries) by when they were over, models by their last window, watches with what was known of them by how
    /// far they were read, gaps, and commands that are done.
    /// Returns the number of deleted rows, without those that went with an incident. Call it about once an hour.
    ///
    /// # Errors
    /// When the store could not be written; what is deleted by then stays deleted.
    pub async fn prune(&self, now: Nanos, config: &StoreConfig) -> Result<u64, StoreError> {
        let until = |retention: Span| now.saturating_sub(retention.nanos());
        let mut deleted = self.prune_windows(until(config.window_retention)).await?;
        for (sql, retention) in [(INCIDENTS, config.incident_retention), (COMMANDS, config.command_retention)] {
            deleted += self.delete_all(Statement::of(sql).bind(until(retention))).await?;
        }
        for (sql, retention) in
            [(MODELS, config.model_retention), (GAPS, config.gap_retention), (SILENCES, config.silence_retention)]
        {
            deleted += self.write(DOING, Statement::of(sql).bind(until(retention))).await?;
        }
        deleted += self.write(DOING, Statement::of(WATCHES).bind(until(config.model_retention))).await?;
        deleted += self.write(DOING, Statement::of(CHAINS)).await?;
        // Days begin with their date, in whatever zone: a week is enough for all of them, and for clocks that are wrong.
        let week = rfc3339(now.saturating_sub(7 * 24 * HOUR));
        deleted += self.write(DOING, Statement::of(DAYS).bind(week.get(..10).unwrap_or_default())).await?;
        Ok(deleted)
    }

    async fn prune_windows(&self, until: Nanos) -> Result<u64, StoreError> {
        let key = |row: &Row| Ok((row.get::<String>("watch")?, row.get::<i64>("grp")?));
        let mut deleted = 0;
        for (watch, group) in self.read(DOING, Statement::of(GROUPS), key).await? {
            deleted += self.delete_all(Statement::of(WINDOWS).bind(&watch).bind(group).bind(until)).await?;
            deleted += self.write(DOING, Statement::of(EMPTY_GROUP).bind(&watch).bind(group)).await?;
        }
        Ok(deleted)
    }

    /// Runs a statement that ends in `LIMIT` until it finds nothing more.
    async fn delete_all(&self, chunk: Statement) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let now = self.write(DOING, chunk.clone().bind(CHUNK)).await?;
            deleted += now;
            if now < u64::from(CHUNK) {
                return Ok(deleted);
            }
        }
    }
}
