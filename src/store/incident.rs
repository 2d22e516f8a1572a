//! Incidents for people: lists, newest first and page by page, and one with all that was told of it.

use super::delivery::{OF_INCIDENT, delivery};
use super::error::failed;
use super::resume::parsed;
use super::{Cursor, IncidentDetail, Store, StoreError, TENANT};
use crate::incident::{Incident, State, Transition};
use crate::time::Nanos;

const DOING: &str = "read incidents from";

pub(super) const NEWEST: &str = "
    SELECT document FROM incidents WHERE tenant = ?1 AND (started_at, id) < (?2, ?3)
    ORDER BY started_at DESC, id DESC LIMIT ?4";
pub(super) const NEWEST_IN_STATE: &str = "
    SELECT document FROM incidents WHERE tenant = ?1 AND state = ?5 AND (started_at, id) < (?2, ?3)
    ORDER BY started_at DESC, id DESC LIMIT ?4";
pub(super) const BY_PREFIX: &str =
    "SELECT id, document FROM incidents WHERE tenant = ?1 AND id >= ?2 AND id < ?3 ORDER BY id LIMIT 2";
pub(super) const TRANSITIONS: &str =
    "SELECT document FROM transitions WHERE tenant = ?1 AND incident = ?2 ORDER BY number";

/// Sorts after every id.
const LAST: &str = "\u{10ffff}";

impl Store {
    /// Incidents, newest start first, at most `limit`; of one state, or of all. `before` is the last row of the page
    /// before: rows are neither skipped nor repeated, even when many start at the same time or new ones come in.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn incidents(
        &self,
        state: Option<State>,
        limit: u32,
        before: Option<&Cursor>,
    ) -> Result<Vec<Incident>, StoreError> {
        let mut reader = self.reader(DOING).await?;
        let (started_at, id) = before.map_or((Nanos::MAX, LAST), |cursor| (cursor.started_at, cursor.id.as_str()));
        let sql = if state.is_some() { NEWEST_IN_STATE } else { NEWEST };
        let read = async {
            let mut query = sqlx::query(sql).bind(TENANT).bind(started_at).bind(id).bind(limit);
            if let Some(state) = state {
                query = query.bind(super::commit::word(&state)?);
            }
            let rows = query.fetch_all(&mut *reader).await?;
            rows.iter().map(|row| parsed(row, "document")).collect::<Result<Vec<_>, sqlx::Error>>()
        };
        read.await.map_err(failed(DOING, self.path()))
    }

    /// The incident with this id, or the only one whose id begins so, with all that was told of it.
    ///
    /// # Errors
    /// When more than one begins so, or the file could not be read.
    pub async fn incident(&self, id_or_prefix: &str) -> Result<Option<IncidentDetail>, StoreError> {
        let mut reader = self.reader(DOING).await?;
        let end = format!("{id_or_prefix}{LAST}");
        let query = sqlx::query(BY_PREFIX).bind(TENANT).bind(id_or_prefix).bind(end);
        let rows = query.fetch_all(&mut *reader).await.map_err(failed(DOING, self.path()))?;
        let Some(first) = rows.first() else { return Ok(None) };
        let incident: Incident = parsed(first, "document").map_err(failed(DOING, self.path()))?;
        if rows.len() > 1 && incident.id != id_or_prefix {
            return Err(StoreError::Ambiguous { prefix: id_or_prefix.to_owned() });
        }
        let read = async {
            let query = sqlx::query(TRANSITIONS).bind(TENANT).bind(&incident.id);
            let rows = query.fetch_all(&mut *reader).await?;
            let transitions = rows.iter().map(|row| parsed(row, "document")).collect::<Result<Vec<Transition>, _>>()?;
            let query = sqlx::query(OF_INCIDENT).bind(TENANT).bind(&incident.id);
            let rows = query.fetch_all(&mut *reader).await?;
            Ok((transitions, rows.iter().map(delivery).collect::<Result<Vec<_>, sqlx::Error>>()?))
        };
        let (transitions, deliveries) = read.await.map_err(failed(DOING, self.path()))?;
        Ok(Some(IncidentDetail { incident, transitions, deliveries }))
    }
}
