//! What is known of an incident besides the dispatcher's own document of it, for when that says too little.
//!
//! What comes in: the id of an incident that people see. What goes out: it, what it is made of, and who was told last that
//! it is there. What never happens here: failing because of a document that cannot be read; the columns beside it always can.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::incident::{PART, PARTS, incident};
use super::link::{Row, Statement};
use super::resume::{named, parsed};
use super::{Store, StoreError};
use crate::detect::Group;
use crate::incident::{Incident, Severity, State, TransitionKind};
use crate::labels::{Fingerprint, Labels};
use crate::notify::dispatch::Recalled;
use crate::time::Nanos;

const DOING: &str = "read what was told from";

/// Of each receiver the last that it was told of an incident.
pub(super) const HEARD: &str = "
    SELECT d.receiver, n.number, n.kind, n.at, n.document FROM deliveries d
    JOIN notices n ON n.tenant = d.tenant AND n.incident = d.incident AND n.number = d.number
    WHERE d.tenant = $1 AND d.incident = $2 AND NOT EXISTS (
        SELECT 1 FROM deliveries o WHERE o.tenant = d.tenant AND o.receiver = d.receiver AND o.incident = d.incident
            AND o.id > d.id)
    ORDER BY d.receiver";

/// The last notice that a receiver was told.
struct Last {
    receiver: String,
    number: u64,
    at: Nanos,
    /// How bad it was, unless that it was over.
    severity: Option<Severity>,
}

impl Store {
    /// All that is known of an incident that people see; `None` when it is not stored.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn recall(&self, id: &str) -> Result<Option<Recalled>, StoreError> {
        let about = |sql: &'static str| Statement::of(sql).bind(id);
        let own = self.read(DOING, about(PART), |row| Ok((seen(row)?, part(row)?))).await?;
        let Some((incident, own)) = own.into_iter().next() else { return Ok(None) };
        let mut parts = vec![own];
        parts.extend(self.read(DOING, about(PARTS), part).await?);
        let told = self.read(DOING, about(HEARD), last).await?;
        let last = told.iter().map(|last| (last.number, last.at)).max().unwrap_or((0, incident.started_at));
        let heard: BTreeMap<String, Severity> =
            told.into_iter().filter_map(|last| Some((last.receiver, last.severity?))).collect();
        Ok(Some(Recalled { incident, parts, last, heard }))
    }
}

/// The incident as people see it.
fn seen(row: &Row) -> Result<Incident, sqlx::Error> {
    incident(row).or_else(|_| bare(row))
}

/// The incident as the engine wrote it, and whether it has it open.
fn part(row: &Row) -> Result<(Incident, bool), sqlx::Error> {
    Ok((parsed(row, "document").or_else(|_| bare(row))?, row.flag("open")?))
}

/// What the columns say.
fn bare(row: &Row) -> Result<Incident, sqlx::Error> {
    let fingerprint = Fingerprint::try_from(row.get::<String>("fingerprint")?).unwrap_or(Fingerprint(0));
    let detail = "what is stored of this incident cannot be read: a newer sigyn wrote it, or it is damaged; \
                  `sigyn store check` says more";
    Ok(Incident {
        id: row.get("id")?,
        group: Group { fingerprint, labels: Labels::new() },
        watch: row.get("watch")?,
        labels: Labels::new(),
        owner: None,
        runbook_url: None,
        state: named(row, "state").unwrap_or(State::Firing),
        severity: named(row, "severity").unwrap_or(Severity::Warning),
        title: row.get("title")?,
        started_at: row.get("started_at")?,
        last_seen: row.get("last_seen")?,
        resolved_at: row.get("resolved_at")?,
        windows: 0,
        lines: 0,
        worst: None,
        rates: Vec::new(),
        detail: Some(detail.to_owned()),
        handling: parsed(row, "handling").unwrap_or_default(),
    })
}

fn last(row: &Row) -> Result<Last, sqlx::Error> {
    #[derive(Deserialize)]
    struct Told {
        incident: Bad,
    }
    #[derive(Deserialize)]
    struct Bad {
        severity: Severity,
    }
    // Who may not know how bad it is hears it again.
    let severity = parsed::<Told>(row, "document").map_or(Severity::Info, |told| told.incident.severity);
    let over = named::<TransitionKind>(row, "kind").is_ok_and(|kind| kind == TransitionKind::Resolved);
    Ok(Last {
        receiver: row.get("receiver")?,
        number: super::resume::count(row, "number")?,
        at: row.get("at")?,
        severity: Some(severity).filter(|_| !over),
    })
}
