//! Incidents for people: lists, newest first and page by page, and one with all that was told of it.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::delivery::{OF_INCIDENT, delivery};
use super::dispatch::words;
use super::error::failed;
use super::resume::{named, parsed};
use super::{Cursor, IncidentDetail, Search, Store, StoreError, TENANT};
use crate::incident::{Incident, State};
use crate::time::Nanos;

const DOING: &str = "read incidents from";

/// The columns of an [`Incident`]: the engine's document, and what the dispatcher made of it.
macro_rules! columns {
    () => {
        "i.id, i.document, i.handling, i.title, i.state, i.severity, i.resolved_at, i.last_seen"
    };
}

/// A page of a list.
macro_rules! list {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            " FROM incidents i WHERE i.tenant = $1 AND (i.started_at, i.id) < ($2, $3) AND ",
            $condition,
            " ORDER BY i.started_at DESC, i.id DESC LIMIT $4"
        )
    };
}

pub(super) const LEADS: &str = list!("i.lead IS NULL");
pub(super) const LEADS_IN_STATE: &str = list!("i.lead IS NULL AND i.state = $5");
pub(super) const ALL: &str = list!("($5 = '' OR i.state = $5)");
/// The first word leads, the others are looked up for each row.
pub(super) const FOUND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM words w JOIN incidents i ON i.tenant = w.tenant AND i.id = w.incident
    WHERE w.tenant = $1 AND (w.started_at, w.incident) < ($2, $3) AND ($5 = '' OR i.state = $5)
        AND ($6 = 1 OR i.lead IS NULL) AND w.word = $7 AND EXISTS (
            SELECT 1 FROM words o WHERE o.tenant = $1 AND o.word = $8 AND o.started_at = w.started_at
                AND o.incident = w.incident) AND EXISTS (
            SELECT 1 FROM words o WHERE o.tenant = $1 AND o.word = $9 AND o.started_at = w.started_at
                AND o.incident = w.incident) AND EXISTS (
            SELECT 1 FROM words o WHERE o.tenant = $1 AND o.word = $10 AND o.started_at = w.started_at
                AND o.incident = w.incident)
    ORDER BY w.started_at DESC, w.incident DESC LIMIT $4"
);
pub(super) const BY_PREFIX: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM incidents i WHERE i.tenant = $1 AND i.id >= $2 AND i.id < $3 ORDER BY i.id LIMIT 2"
);
pub(super) const MEMBERS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM incidents i WHERE i.tenant = $1 AND i.lead = $2 ORDER BY i.started_at, i.id LIMIT 1000"
);
pub(super) const OPEN: &str =
    "SELECT document FROM incidents WHERE tenant = $1 AND watch = $2 AND open = 1 ORDER BY id";
pub(super) const TRANSITIONS: &str =
    "SELECT document FROM transitions WHERE tenant = $1 AND incident = $2 ORDER BY number";
pub(super) const NOTICES: &str = "SELECT document FROM notices WHERE tenant = $1 AND incident = $2 ORDER BY number";

/// Sorts after every id.
const LAST: &str = "\u{10ffff}";
/// Words of a search that count.
const WORDS: usize = 4;

impl Store {
    /// Incidents that lead, newest start first, at most `limit`; of one state, or of all. `before` is the last row of the
    /// page before: rows are neither skipped nor repeated, even when many start at the same time or new ones come in.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn incidents(
        &self,
        state: Option<State>,
        limit: u32,
        before: Option<&Cursor>,
    ) -> Result<Vec<Incident>, StoreError> {
        self.search(&Search { state, ..Search::default() }, limit, before).await
    }

    /// As [`Store::incidents`], of those that are looked for. Of the words the four longest count; a text without any
    /// finds everything.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn search(
        &self,
        search: &Search,
        limit: u32,
        before: Option<&Cursor>,
    ) -> Result<Vec<Incident>, StoreError> {
        let mut reader = self.reader(DOING).await?;
        let (started_at, id) = before.map_or((Nanos::MAX, LAST), |cursor| (cursor.started_at, cursor.id.as_str()));
        let read = async {
            let mut words: Vec<String> = search.text.iter().flat_map(|text| words(text)).collect();
            words.sort_by_key(|word| (std::cmp::Reverse(word.chars().count()), word.clone()));
            words.dedup();
            let state = search.state.map_or(Ok(String::new()), |state| super::commit::word(&state))?;
            let sql = match (words.is_empty(), search.members, search.state) {
                (false, ..) => FOUND,
                (true, true, _) => ALL,
                (true, false, Some(_)) => LEADS_IN_STATE,
                (true, false, None) => LEADS,
            };
            let mut query = sqlx::query(sql).bind(TENANT).bind(started_at).bind(id).bind(limit);
            if sql != LEADS {
                query = query.bind(state);
            }
            if let Some(first) = words.first() {
                query = query.bind(search.members);
                for n in 0..WORDS {
                    query = query.bind(words.get(n).unwrap_or(first));
                }
            }
            let rows = query.fetch_all(&mut *reader).await?;
            rows.iter().map(incident).collect::<Result<Vec<_>, sqlx::Error>>()
        };
        read.await.map_err(failed(DOING, self.path()))
    }

    /// The open incidents about sigyn itself as the engine wrote them, whatever people made of them.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn open_internal(&self) -> Result<Vec<Incident>, StoreError> {
        let mut reader = self.reader(DOING).await?;
        documents(&mut reader, OPEN, "sigyn").await.map_err(failed(DOING, self.path()))
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
        let found = incident(first).map_err(failed(DOING, self.path()))?;
        if rows.len() > 1 && found.id != id_or_prefix {
            return Err(StoreError::Ambiguous { prefix: id_or_prefix.to_owned() });
        }
        detail(&mut reader, found).await.map(Some).map_err(failed(DOING, self.path()))
    }
}

async fn detail(reader: &mut SqliteConnection, found: Incident) -> Result<IncidentDetail, sqlx::Error> {
    let members = sqlx::query(MEMBERS).bind(TENANT).bind(&found.id).fetch_all(&mut *reader).await?;
    let deliveries = sqlx::query(OF_INCIDENT).bind(TENANT).bind(&found.id).fetch_all(&mut *reader).await?;
    Ok(IncidentDetail {
        members: members.iter().map(incident).collect::<Result<_, _>>()?,
        transitions: documents(reader, TRANSITIONS, &found.id).await?,
        notices: documents(reader, NOTICES, &found.id).await?,
        deliveries: deliveries.iter().map(delivery).collect::<Result<_, _>>()?,
        incident: found,
    })
}

/// The documents that a statement finds for a key.
async fn documents<T: serde::de::DeserializeOwned>(
    reader: &mut SqliteConnection,
    sql: &'static str,
    key: &str,
) -> Result<Vec<T>, sqlx::Error> {
    let rows = sqlx::query(sql).bind(TENANT).bind(key).fetch_all(reader).await?;
    rows.iter().map(|row| parsed(row, "document")).collect()
}

/// Reads a row with the columns of `columns!`.
fn incident(row: &SqliteRow) -> Result<Incident, sqlx::Error> {
    let incident: Incident = parsed(row, "document")?;
    if row.try_get::<Option<&str>, _>("handling")?.is_none() {
        return Ok(incident);
    }
    Ok(Incident {
        handling: parsed(row, "handling")?,
        title: row.try_get("title")?,
        state: named(row, "state")?,
        severity: named(row, "severity")?,
        resolved_at: row.try_get("resolved_at")?,
        last_seen: row.try_get("last_seen")?,
        ..incident
    })
}
