//! Between the engine and people: what waits to be dispatched, and one transaction for all that follows from it.
//!
//! What comes in: [`Dispatched`], all or nothing. What goes out: the queue of transitions, orders of people, and the
//! dispatcher's own state. What never happens here: changing what the engine wrote about an incident.

use std::collections::BTreeSet;

use super::commit::{COMMAND_DONE, json, row_of, write_deliveries, write_notice};
use super::link::{Link, Row, Sql, Statement};
use super::resume::{command, parsed};
use super::{Dispatched, Fence, Queued, Store, StoreError, StoredSilence};
use crate::engine::Command;
use crate::incident::Incident;
use crate::time::Nanos;

const READING: &str = "read what is to be dispatched from";
const WRITING: &str = "write what was dispatched to";

/// Words of one incident that it can be found by.
const MAX_WORDS: usize = 64;

pub(super) const QUEUED: &str = "
    SELECT q.seq AS id, t.document FROM queue q
    JOIN transitions t ON t.tenant = q.tenant AND t.incident = q.incident AND t.number = q.number
    WHERE q.tenant = $1 ORDER BY q.seq LIMIT $2";
pub(super) const ORDERS: &str =
    "SELECT id, at, document FROM commands WHERE tenant = $1 AND done = 0 AND subject IS NULL ORDER BY id LIMIT 1000";
pub(super) const STATE: &str = "SELECT key, document FROM dispatch WHERE tenant = $1 ORDER BY key";
pub(super) const SILENCES: &str =
    "SELECT id, document, ends_at, expired_at FROM silences WHERE tenant = $1 ORDER BY id";
pub(super) const TAKEN: &str = "DELETE FROM queue WHERE tenant = $1 AND seq = $2";
pub(super) const SET_STATE: &str = "
    INSERT INTO dispatch (tenant, key, document) VALUES ($1, $2, $3)
    ON CONFLICT (tenant, key) DO UPDATE SET document = excluded.document";
pub(super) const DROP_STATE: &str = "DELETE FROM dispatch WHERE tenant = $1 AND key = $2";
pub(super) const SET_SILENCE: &str = "
    INSERT INTO silences (tenant, id, document, ends_at, expired_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant, id) DO UPDATE SET document = excluded.document, ends_at = excluded.ends_at,
        expired_at = excluded.expired_at";
pub(super) const DROP_SILENCE: &str = "DELETE FROM silences WHERE tenant = $1 AND id = $2";
/// The lock keeps the lease from going to another before this transaction has ended.
pub(super) const FENCE: Sql = Sql {
    sqlite: "SELECT token FROM leases WHERE tenant = $1 AND name = $2",
    postgres: "SELECT token FROM leases WHERE tenant = $1 AND name = $2 FOR SHARE",
};
/// What the engine still has open it knows best; of what is over, or never was its, the newest word stays.
pub(super) const HANDLED: &str = "
    INSERT INTO incidents (tenant, id, fingerprint, watch, title, state, severity, started_at, last_seen, resolved_at,
        document, handling, lead)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    ON CONFLICT (tenant, id) DO UPDATE SET title = excluded.title, state = excluded.state,
        severity = excluded.severity, resolved_at = excluded.resolved_at, handling = excluded.handling,
        lead = excluded.lead,
        document = CASE WHEN incidents.open = 0 AND excluded.last_seen >= incidents.last_seen
            THEN excluded.document ELSE incidents.document END,
        last_seen = CASE WHEN excluded.last_seen > incidents.last_seen
            THEN excluded.last_seen ELSE incidents.last_seen END";
pub(super) const DROP_WORDS: &str = "DELETE FROM words WHERE tenant = $1 AND incident = $2";
pub(super) const WORD: &str = "
    INSERT INTO words (tenant, word, started_at, incident) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

impl Store {
    /// Transitions that were committed and not taken yet, oldest first, at most `limit`; without those that cannot be read,
    /// of which any number may stand before them.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn queued(&self, limit: u32) -> Result<Vec<Queued>, StoreError> {
        let queued = |row: &Row| Ok(Queued { seq: row.get("id")?, transition: parsed(row, "document")? });
        const KIND: &str = "a transition";
        let all = limit.saturating_add(self.inner.unread.count(KIND));
        let mut found = self.read_each((READING, KIND), Statement::of(QUEUED).bind(all), queued).await?;
        found.truncate(limit as usize);
        Ok(found)
    }

    /// What people ordered and the dispatcher has not done yet, oldest first, at most 1000; without what only a newer sigyn
    /// can read, so that an update leaves nobody without messages.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn pending_orders(&self) -> Result<Vec<Command>, StoreError> {
        self.read_each((READING, "an order"), Statement::of(ORDERS), command).await
    }

    /// All that the dispatcher must find again, as (key, document), by key.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn dispatch_state(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read(READING, Statement::of(STATE), |row| Ok((row.get("key")?, row.get("document")?))).await
    }

    /// All silences by id, also ended ones until they are pruned.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn silences(&self) -> Result<Vec<StoredSilence>, StoreError> {
        self.read(READING, Statement::of(SILENCES), silence).await
    }

    /// Writes all that followed from what was queued, in one transaction. Everything is keyed by what it is, so writing
    /// the same again changes nothing.
    ///
    /// # Errors
    /// When somebody else holds the lease now ([`StoreError::Fenced`]), or the store could not be written. Nothing of it
    /// is there then.
    pub async fn commit_dispatch(&self, dispatched: &Dispatched<'_>) -> Result<(), StoreError> {
        let mut writer = self.writer(WRITING).await?;
        let written = write_all(&mut writer, dispatched).await;
        self.settle(&mut writer, written, dispatched.fence, WRITING).await
    }
}

/// Whether the fence holds: nobody took the lease after it was made. False also when the lease is gone.
pub(super) async fn holds(tx: &mut Link, fence: Option<&Fence>) -> Result<bool, sqlx::Error> {
    let Some(fence) = fence else { return Ok(true) };
    let row = tx.one(Statement::of(FENCE).bind(&fence.name)).await?;
    let token = row.map(|row| row.get::<i64>("token")).transpose()?;
    Ok(token == Some(fence.token))
}

/// False when the fence does not hold: then nothing is written.
async fn write_all(tx: &mut Link, dispatched: &Dispatched<'_>) -> Result<bool, sqlx::Error> {
    tx.begin().await?;
    if !holds(tx, dispatched.fence).await? {
        return Ok(false);
    }
    for incident in dispatched.incidents {
        write_handled(tx, incident).await?;
    }
    for notice in dispatched.notices {
        write_notice(tx, notice).await?;
    }
    write_deliveries(tx, dispatched.deliveries, dispatched.now).await?;
    for (key, document) in dispatched.state {
        let query = match document {
            Some(document) => Statement::of(SET_STATE).bind(key).bind(document),
            None => Statement::of(DROP_STATE).bind(key),
        };
        tx.run(query).await?;
    }
    for (id, silence) in dispatched.silences {
        let query = match silence {
            Some(StoredSilence { id, document, ends_at, expired_at }) => {
                Statement::of(SET_SILENCE).bind(id).bind(document).bind(*ends_at).bind(*expired_at)
            }
            None => Statement::of(DROP_SILENCE).bind(id),
        };
        tx.run(query).await?;
    }
    for seq in dispatched.taken {
        tx.run(Statement::of(TAKEN).bind(*seq)).await?;
    }
    for id in dispatched.orders_done {
        tx.run(Statement::of(COMMAND_DONE).bind(*id)).await?;
    }
    tx.commit().await?;
    Ok(true)
}

async fn write_handled(tx: &mut Link, incident: &Incident) -> Result<(), sqlx::Error> {
    let row = row_of(HANDLED, incident)?;
    tx.run(row.bind(json(&incident.handling)?).bind(incident.handling.lead.as_deref())).await?;
    let members = incident.handling.members.iter().map(|member| member.title.as_str());
    let titles = std::iter::once(incident.title.as_str()).chain(members);
    write_words(tx, &incident.id, incident.started_at, titles).await
}

/// Replaces the words that an incident is found by.
pub(super) async fn write_words<'a>(
    tx: &mut Link,
    incident: &str,
    started_at: Nanos,
    titles: impl Iterator<Item = &'a str>,
) -> Result<(), sqlx::Error> {
    tx.run(Statement::of(DROP_WORDS).bind(incident)).await?;
    let all: BTreeSet<String> = titles.flat_map(words).take(MAX_WORDS).collect();
    for found in all {
        tx.run(Statement::of(WORD).bind(found).bind(started_at).bind(incident)).await?;
    }
    Ok(())
}

/// The words of a text as they are stored and looked for: letters and digits, in lower case.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

fn silence(row: &Row) -> Result<StoredSilence, sqlx::Error> {
    Ok(StoredSilence {
        id: row.get("id")?,
        document: row.get("document")?,
        ends_at: row.get("ends_at")?,
        expired_at: row.get("expired_at")?,
    })
}
