//! Incidents for people: lists, newest first and page by page, and one with all that was told of it.

use super::delivery::{OF_INCIDENT, delivery};
use super::dispatch::words;
use super::link::{Link, Row, Statement};
use super::resume::{named, parsed};
use super::{Cursor, IncidentDetail, Search, Store, StoreError};
use crate::incident::{Incident, SIGYN, State};
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
/// With what stands beside its documents.
macro_rules! part {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", i.watch, i.fingerprint, i.started_at, i.open FROM incidents i WHERE i.tenant = $1 AND ",
            $condition
        )
    };
}

pub(super) const PART: &str = part!("i.id = $2");
pub(super) const PARTS: &str = part!("i.lead = $2 ORDER BY i.started_at, i.id LIMIT 1000");
pub(super) const MEMBERS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM incidents i WHERE i.tenant = $1 AND i.lead = $2 ORDER BY i.started_at, i.id LIMIT 1000"
);
pub(super) const OPEN: &str =
    "SELECT id, document FROM incidents WHERE tenant = $1 AND watch = $2 AND open = 1 ORDER BY id";
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
        let (started_at, id) = before.map_or((Nanos::MAX, LAST), |cursor| (cursor.started_at, cursor.id.as_str()));
        let mut words: Vec<String> = search.text.iter().flat_map(|text| words(text)).collect();
        words.sort_by_key(|word| (std::cmp::Reverse(word.chars().count()), word.clone()));
        words.dedup();
        let sql = match (words.is_empty(), search.members, search.state) {
            (false, ..) => FOUND,
            (true, true, _) => ALL,
            (true, false, Some(_)) => LEADS_IN_STATE,
            (true, false, None) => LEADS,
        };
        let mut query = Statement::of(sql).bind(started_at).bind(id).bind(limit);
        if sql != LEADS {
            let state = search.state.map_or(Ok(String::new()), |state| super::commit::word(&state));
            query = query.bind(state.map_err(|error| self.failed(DOING, error))?);
        }
        if let Some(first) = words.first() {
            query = query.bind(search.members);
            for n in 0..WORDS {
                query = query.bind(words.get(n).unwrap_or(first));
            }
        }
        self.read(DOING, query, incident).await
    }

    /// The open incidents about sigyn itself as the engine wrote them, whatever people made of them.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn open_internal(&self) -> Result<Vec<Incident>, StoreError> {
        self.read_each((DOING, "an incident"), Statement::of(OPEN).bind(SIGYN), |row| parsed(row, "document")).await
    }

    /// The incident with this id, or the only one whose id begins so, with all that was told of it.
    ///
    /// # Errors
    /// When more than one begins so, or the file could not be read.
    pub async fn incident(&self, id_or_prefix: &str) -> Result<Option<IncidentDetail>, StoreError> {
        let end = format!("{id_or_prefix}{LAST}");
        let found = self.read(DOING, Statement::of(BY_PREFIX).bind(id_or_prefix).bind(end), incident).await?;
        let many = found.len() > 1;
        let Some(first) = found.into_iter().next() else { return Ok(None) };
        if many && first.id != id_or_prefix {
            return Err(StoreError::Ambiguous { prefix: id_or_prefix.to_owned() });
        }
        let mut reader = self.reader(DOING).await?;
        detail(&mut reader, first).await.map(Some).map_err(|error| self.failed(DOING, error))
    }
}

async fn detail(reader: &mut Link, found: Incident) -> Result<IncidentDetail, sqlx::Error> {
    let about = |sql: &'static str| Statement::of(sql).bind(&found.id);
    let members = reader.all(about(MEMBERS)).await?;
    let deliveries = reader.all(about(OF_INCIDENT)).await?;
    let transitions = reader.all(about(TRANSITIONS)).await?;
    let notices = reader.all(about(NOTICES)).await?;
    let told = |rows: &[Row]| rows.iter().map(|row| parsed(row, "document")).collect::<Result<_, _>>();
    Ok(IncidentDetail {
        members: members.iter().map(incident).collect::<Result<_, _>>()?,
        transitions: told(&transitions)?,
        notices: told(&notices)?,
        deliveries: deliveries.iter().map(delivery).collect::<Result<_, _>>()?,
        incident: found,
    })
}

/// Reads a row with the columns of `columns!`.
pub(super) fn incident(row: &Row) -> Result<Incident, sqlx::Error> {
    let incident: Incident = parsed(row, "document")?;
    if row.get::<Option<&str>>("handling")?.is_none() {
        return Ok(incident);
    }
    Ok(Incident {
        handling: parsed(row, "handling")?,
        title: row.get("title")?,
        state: named(row, "state")?,
        severity: named(row, "severity")?,
        resolved_at: row.get("resolved_at")?,
        last_seen: row.get("last_seen")?,
        ..incident
    })
}
