//! Deleting what is old, in small transactions, so that a step never waits long for it.

use sqlx::Row;

use super::config::StoreConfig;
use super::error::failed;
use super::{Store, StoreError, TENANT};
use crate::time::Nanos;

const DOING: &str = "delete old rows from";
/// Rows in one transaction: some milliseconds.
const CHUNK: u64 = 500;

pub(super) const GROUPS: &str = "SELECT watch, grp FROM groups WHERE tenant = ?1";
pub(super) const WINDOWS: &str = "
    DELETE FROM windows WHERE (tenant, watch, grp, range_end, range_start, revision) IN (
        SELECT tenant, watch, grp, range_end, range_start, revision FROM windows
        WHERE tenant = ?1 AND watch = ?2 AND grp = ?3 AND range_end <= ?4 LIMIT ?5)";
pub(super) const EMPTY_GROUP: &str = "
    DELETE FROM groups WHERE tenant = ?1 AND watch = ?2 AND grp = ?3 AND NOT EXISTS (
        SELECT 1 FROM windows w WHERE w.tenant = ?1 AND w.watch = ?2 AND w.grp = ?3)";
/// Transitions, notices and deliveries go with their incident. An incident never ends before it starts, so the index by
/// start finds those that may be old enough. `pending` ones that nothing came of go too; firing ones stay.
pub(super) const INCIDENTS: &str = "
    DELETE FROM incidents WHERE tenant = ?1 AND id IN (
        SELECT id FROM incidents WHERE tenant = ?1 AND state <> 'firing' AND started_at <= ?2
            AND COALESCE(resolved_at, last_seen) <= ?2 LIMIT ?3)";
pub(super) const SILENCES: &str = "
    DELETE FROM silences WHERE tenant = ?1 AND (ends_at <= ?2 OR expired_at <= ?2)";
pub(super) const COMMANDS: &str = "
    DELETE FROM commands WHERE id IN (
        SELECT id FROM commands WHERE tenant = ?1 AND done = 1 AND at <= ?2 LIMIT ?3)";
pub(super) const MODELS: &str = "DELETE FROM models WHERE tenant = ?1 AND until <= ?2";
pub(super) const GAPS: &str = "DELETE FROM gaps WHERE tenant = ?1 AND range_end <= ?2";

impl Store {
    /// Deletes windows that ended before `window_retention`, and resolved incidents (with transitions and deliveries),
    /// gaps, models and commands that ended before `incident_retention`. Returns the number of deleted rows, without
    /// those that went with an incident. Call it about once an hour.
    ///
    /// # Errors
    /// When the file could not be written; what is deleted by then stays deleted.
    pub async fn prune(&self, now: Nanos, config: &StoreConfig) -> Result<u64, StoreError> {
        let windows = now.saturating_sub(config.window_retention.nanos());
        let rest = now.saturating_sub(config.incident_retention.nanos());
        Ok(self.prune_windows(windows).await? + self.prune_rest(rest).await?)
    }

    async fn prune_windows(&self, until: Nanos) -> Result<u64, StoreError> {
        let groups = sqlx::query(GROUPS).bind(TENANT).fetch_all(&mut *self.reader(DOING).await?).await;
        let mut deleted = 0;
        for row in groups.map_err(failed(DOING, self.path()))? {
            let key = || -> Result<(String, i64), sqlx::Error> { Ok((row.try_get("watch")?, row.try_get("grp")?)) };
            let (watch, group) = key().map_err(failed(DOING, self.path()))?;
            let chunk = || sqlx::query(WINDOWS).bind(TENANT).bind(watch.clone()).bind(group).bind(until);
            deleted += self.delete_all(chunk).await?;
            deleted += self.delete(sqlx::query(EMPTY_GROUP).bind(TENANT).bind(watch.clone()).bind(group)).await?;
        }
        Ok(deleted)
    }

    async fn prune_rest(&self, until: Nanos) -> Result<u64, StoreError> {
        let mut deleted = self.delete_all(|| sqlx::query(INCIDENTS).bind(TENANT).bind(until)).await?;
        deleted += self.delete(sqlx::query(SILENCES).bind(TENANT).bind(until)).await?;
        deleted += self.delete_all(|| sqlx::query(COMMANDS).bind(TENANT).bind(until)).await?;
        deleted += self.delete(sqlx::query(MODELS).bind(TENANT).bind(until)).await?;
        Ok(deleted + self.delete(sqlx::query(GAPS).bind(TENANT).bind(until)).await?)
    }

    /// Runs a statement that ends in `LIMIT` until it finds nothing more.
    async fn delete_all<'q>(&self, chunk: impl Fn() -> Query<'q>) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let now = self.delete(chunk().bind(i64::try_from(CHUNK).unwrap_or(i64::MAX))).await?;
            deleted += now;
            if now < CHUNK {
                return Ok(deleted);
            }
        }
    }

    async fn delete(&self, query: Query<'_>) -> Result<u64, StoreError> {
        let mut writer = self.writer(DOING).await?;
        let done = query.execute(&mut *writer).await.map_err(failed(DOING, self.path()))?;
        Ok(done.rows_affected())
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;
