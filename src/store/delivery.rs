//! The rows of the outbox: what is due, and what became of it.
//!
//! Order is kept per incident and receiver: a row is due only when no earlier row of the same two still waits.

use super::commit::json;
use super::link::{Row, Statement};
use super::resume::{count, named, parsed};
use super::{Delivery, DeliveryCounts, Store, StoreError};
use crate::notify::{Notification, Receipt};
use crate::time::{MINUTE, Nanos, SECOND};

const READING: &str = "read the outbox of";
const WRITING: &str = "write to the outbox of";

/// The columns of a [`Delivery`]: its row, its notice, and the receipt of the first message about the incident. (Asking
/// for `state = 'sent'` there would let SQLite walk all that was ever sent.)
macro_rules! delivery_columns {
    () => {
        "d.*, t.document, (
            SELECT e.receipt FROM deliveries e
            WHERE e.tenant = d.tenant AND e.receiver = d.receiver AND e.incident = d.incident AND e.id < d.id
                AND e.receipt IS NOT NULL ORDER BY e.id LIMIT 1) AS earlier
        FROM deliveries d JOIN notices t ON t.tenant = d.tenant AND t.incident = d.incident AND t.number = d.number"
    };
}

/// Rows that wait, and for which nothing older waits.
macro_rules! heads {
    () => {
        "d.tenant = $1 AND d.receiver = $2 AND d.state = 'pending' AND NOT EXISTS (
            SELECT 1 FROM deliveries o WHERE o.tenant = d.tenant AND o.receiver = d.receiver
                AND o.incident = d.incident AND o.id < d.id AND o.state = 'pending')"
    };
}

pub(super) const DUE: &str =
    concat!("SELECT ", delivery_columns!(), " WHERE ", heads!(), " AND d.next_at <= $3 ORDER BY d.id LIMIT $4");
pub(super) const NEXT_DUE: &str = concat!("SELECT MIN(d.next_at) AS next_at FROM deliveries d WHERE ", heads!());
pub(super) const OF_INCIDENT: &str =
    concat!("SELECT ", delivery_columns!(), " WHERE d.tenant = $1 AND d.incident = $2 ORDER BY d.id");
pub(super) const SENT: &str = "
    UPDATE deliveries SET state = 'sent', attempts = attempts + 1, first_try = COALESCE(first_try, $3), error = NULL,
        changed_at = $3, receipt = $4
    WHERE tenant = $1 AND id = $2 AND state <> 'sent'";
pub(super) const RETRY: &str = "
    UPDATE deliveries SET attempts = attempts + 1, first_try = $6, changed_at = $3, error = $4, next_at = $5
    WHERE tenant = $1 AND id = $2 AND state = 'pending'";
pub(super) const DEAD: &str = "
    UPDATE deliveries SET state = 'dead', attempts = attempts + 1, first_try = COALESCE(first_try, $3),
        changed_at = $3, error = $4
    WHERE tenant = $1 AND id = $2 AND state = 'pending'";
pub(super) const POSTPONE: &str =
    "UPDATE deliveries SET next_at = $3, changed_at = $4 WHERE tenant = $1 AND id = $2 AND state = 'pending'";
pub(super) const SET_BACK: &str = "
    UPDATE deliveries SET next_at = $3, changed_at = $3
    WHERE tenant = $1 AND receiver = $2 AND state = 'pending' AND changed_at > $4";
pub(super) const AHEAD: &str = "
    SELECT COUNT(*) AS n FROM deliveries
    WHERE tenant = $1 AND receiver = $2 AND state = 'pending' AND changed_at > $3";
pub(super) const YOUNGER: &str = "
    UPDATE deliveries SET first_try = first_try + $3
    WHERE tenant = $1 AND receiver = $2 AND state = 'pending' AND first_try IS NOT NULL";
pub(super) const LAST_TRY: &str = "
    SELECT MAX(changed_at) AS at FROM deliveries
    WHERE tenant = $1 AND receiver = $2 AND state = 'pending' AND first_try IS NOT NULL";
/// Up to its next try, a message that waits counts as tried; from the last try of any, nobody may have been there.
pub(super) const UNTRIED: &str = "
    UPDATE deliveries SET first_try = first_try + $3 - CASE WHEN next_at > $4 THEN next_at ELSE $4 END, changed_at = $3
    WHERE tenant = $1 AND receiver = $2 AND state = 'pending' AND first_try IS NOT NULL AND next_at < $3";
/// Nobody is there to take it, which counts as a try; a first one of the future was noted by a clock that was ahead. What
/// was tried a moment ago is left, so that a row is not written with each new one.
pub(super) const MISSED: &str = "
    UPDATE deliveries SET first_try = CASE WHEN first_try < $3 THEN first_try ELSE $3 END, changed_at = $3, error = $4
    WHERE tenant = $1 AND receiver = $2 AND state = 'pending'
        AND (first_try IS NULL OR changed_at <= $5 OR changed_at > $3)";
pub(super) const ABANDON: &str = "
    UPDATE deliveries SET state = 'dead', changed_at = $4
    WHERE tenant = $1 AND receiver = $2 AND state = 'pending' AND first_try < $3";
pub(super) const DEAD_ONES: &str = concat!(
    "SELECT ",
    delivery_columns!(),
    " WHERE d.tenant = $1 AND d.state = 'dead' ORDER BY d.receiver, d.id LIMIT $2"
);
/// With its first try begins its time anew.
pub(super) const REVIVE: &str = "
    UPDATE deliveries SET state = 'pending', attempts = 0, first_try = NULL, next_at = $2, changed_at = $2
    WHERE tenant = $1 AND state = 'dead' AND receiver = COALESCE($3, receiver) AND incident = COALESCE($4, incident)";
pub(super) const DAY_COUNT: &str = "
    INSERT INTO days (tenant, receiver, day, key) SELECT $1, $2, $3, $4
    WHERE (SELECT COUNT(*) FROM days WHERE tenant = $1 AND receiver = $2 AND day = $3 AND key <> $4) < $5
    ON CONFLICT DO NOTHING";
pub(super) const DAY_COUNTED: &str =
    "SELECT key FROM days WHERE tenant = $1 AND receiver = $2 AND day = $3 AND key = $4";
pub(super) const DAY_UNCOUNT: &str = "DELETE FROM days WHERE tenant = $1 AND receiver = $2 AND day = $3 AND key = $4";
pub(super) const COUNT: &str = "SELECT COUNT(*) AS n FROM deliveries WHERE tenant = $1 AND state = $2";
pub(super) const WAITING: &str = "
    SELECT receiver, COUNT(*) AS n FROM deliveries WHERE tenant = $1 AND state = 'pending' GROUP BY receiver
    ORDER BY receiver";

impl Store {
    /// What `receiver` is to be sent now, oldest first, at most `limit`: pending, `next_at` reached, and nothing older of
    /// the same incident waits for it. A row that cannot be read any more is given up here, so that it blocks nothing.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn due_deliveries(&self, receiver: &str, now: Nanos, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        let query = Statement::of(DUE).bind(receiver).bind(now).bind(limit);
        let rows = self.read(READING, query, |row| Ok((row.get("id")?, delivery(row)))).await?;
        let mut due = Vec::new();
        for (id, row) in rows {
            match row {
                Ok(delivery) => due.push(delivery),
                Err(error) => {
                    let error = format!("what is stored of this message cannot be read any more: {error}");
                    self.delivery_dead(id, &error, now).await?;
                }
            }
        }
        Ok(due)
    }

    /// When `receiver` has something due next; a time in the past when it has it now, `None` when nothing waits.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn next_due(&self, receiver: &str) -> Result<Option<Nanos>, StoreError> {
        let next = self.read(READING, Statement::of(NEXT_DUE).bind(receiver), |row| row.get("next_at")).await?;
        Ok(next.into_iter().next().flatten())
    }

    /// The receiver has it.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn delivery_sent(&self, id: i64, receipt: &Receipt, now: Nanos) -> Result<(), StoreError> {
        let receipt = json(receipt).map_err(|error| self.failed(WRITING, error))?;
        self.change(Statement::of(SENT).bind(id).bind(now).bind(receipt)).await
    }

    /// The attempt failed; the next is not before `next_at`. Giving up counts from `first_try`.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn delivery_retry(
        &self,
        id: i64,
        error: &str,
        (first_try, next_at): (Nanos, Nanos),
        now: Nanos,
    ) -> Result<(), StoreError> {
        self.change(Statement::of(RETRY).bind(id).bind(now).bind(error).bind(next_at).bind(first_try)).await
    }

    /// The attempt failed and there is no other. The row stays visible, and later ones of the incident go on.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn delivery_dead(&self, id: i64, error: &str, now: Nanos) -> Result<(), StoreError> {
        self.change(Statement::of(DEAD).bind(id).bind(now).bind(error)).await
    }

    /// Not tried, and not to be tried before `next_at` (a limit of ours).
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn delivery_postponed(&self, id: i64, next_at: Nanos, now: Nanos) -> Result<(), StoreError> {
        self.change(Statement::of(POSTPONE).bind(id).bind(next_at).bind(now)).await
    }

    /// Makes due what was put off by a clock that was ahead by more than a second: rows that were changed in the future.
    /// Returns how many. Nearly always there are none, and nothing is written.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn deliveries_set_back(&self, receiver: &str, now: Nanos) -> Result<u64, StoreError> {
        let ahead = now.saturating_add(SECOND);
        let found = self.read(READING, Statement::of(AHEAD).bind(receiver).bind(ahead), |row| count(row, "n")).await?;
        if found.iter().all(|found| *found == 0) {
            return Ok(0);
        }
        self.write(WRITING, Statement::of(SET_BACK).bind(receiver).bind(now).bind(ahead)).await
    }

    /// So much time has not passed, for what was tried already.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn deliveries_younger(&self, receiver: &str, by: Nanos) -> Result<(), StoreError> {
        self.change(Statement::of(YOUNGER).bind(receiver).bind(by)).await
    }

    /// From the last try of what waits for a receiver, or the next one that was due, until now nobody tried: that time has
    /// not passed for it. For whoever begins to send: then no other does.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn deliveries_untried(&self, receiver: &str, now: Nanos) -> Result<(), StoreError> {
        let last =
            self.read(READING, Statement::of(LAST_TRY).bind(receiver), |row| row.get::<Option<Nanos>>("at")).await?;
        // A last try of the future was noted by a clock that was ahead.
        match last.into_iter().flatten().next().filter(|last| *last < now) {
            Some(last) => self.change(Statement::of(UNTRIED).bind(receiver).bind(now).bind(last)).await,
            None => Ok(()),
        }
    }

    /// What waits for a receiver that is not there was tried now, in vain, unless it was within the last minute.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn deliveries_missed(&self, receiver: &str, error: &str, now: Nanos) -> Result<(), StoreError> {
        let before = now.saturating_sub(MINUTE);
        self.change(Statement::of(MISSED).bind(receiver).bind(now).bind(error).bind(before)).await
    }

    /// Gives up what waits for a receiver and was first tried before `before`; how many.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn deliveries_abandon(&self, receiver: &str, before: Nanos, now: Nanos) -> Result<u64, StoreError> {
        self.write(WRITING, Statement::of(ABANDON).bind(receiver).bind(before).bind(now)).await
    }

    /// Messages that were given up, at most `limit`, by receiver in the order of writing; without those that cannot be read.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn dead_deliveries(&self, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        self.read_each((READING, "a message"), Statement::of(DEAD_ONES).bind(limit), delivery).await
    }

    /// Lets all messages that were given up be sent again, or only those for this receiver or about this incident; how many.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn deliveries_revive(
        &self,
        receiver: Option<&str>,
        incident: Option<&str>,
        now: Nanos,
    ) -> Result<u64, StoreError> {
        self.write(WRITING, Statement::of(REVIVE).bind(now).bind(receiver).bind(incident)).await
    }

    /// Counts a message of a receiver for a calendar day, once however often it is asked. False, and nothing is counted,
    /// when `cap` others are.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn day_count(&self, receiver: &str, day: &str, key: &str, cap: u32) -> Result<bool, StoreError> {
        let mut writer = self.writer(WRITING).await?;
        let of = |sql: &'static str| Statement::of(sql).bind(receiver).bind(day).bind(key);
        let counted = async {
            writer.run(of(DAY_COUNT).bind(cap)).await?;
            writer.one(of(DAY_COUNTED)).await
        };
        counted.await.map(|row| row.is_some()).map_err(|error| self.failed(WRITING, error))
    }

    /// Takes a message out of the count of a day.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn day_uncount(&self, receiver: &str, day: &str, key: &str) -> Result<(), StoreError> {
        self.change(Statement::of(DAY_UNCOUNT).bind(receiver).bind(day).bind(key)).await
    }

    /// How many deliveries are in each state.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn deliveries_by_state(&self) -> Result<DeliveryCounts, StoreError> {
        let mut counts = DeliveryCounts::default();
        for (state, count) in [("pending", &mut counts.pending), ("sent", &mut counts.sent), ("dead", &mut counts.dead)]
        {
            let found = self.read(READING, Statement::of(COUNT).bind(state), |row| self::count(row, "n")).await?;
            *count = found.first().copied().unwrap_or(0);
        }
        Ok(counts)
    }

    /// How many deliveries wait for each receiver, by its name; also for receivers that the settings no longer have.
    ///
    /// # Errors
    /// When the file could not be read.
    pub async fn deliveries_waiting(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let waiting = |row: &Row| Ok((row.get("receiver")?, count(row, "n")?));
        self.read(READING, Statement::of(WAITING), waiting).await
    }

    async fn change(&self, statement: Statement) -> Result<(), StoreError> {
        self.write(WRITING, statement).await.map(|_| ())
    }
}

/// Reads a row with the columns of `delivery_columns!`.
pub(super) fn delivery(row: &Row) -> Result<Delivery, sqlx::Error> {
    let transition: crate::incident::Transition = parsed(row, "document")?;
    let receipt = |column| -> Result<Option<Receipt>, sqlx::Error> {
        row.get::<Option<&str>>(column)?.map(|_| parsed(row, column)).transpose()
    };
    Ok(Delivery {
        id: row.get("id")?,
        receiver: row.get("receiver")?,
        incident: row.get("incident")?,
        kind: transition.kind,
        notification: Notification { key: row.get("key")?, transition, links: parsed(row, "links")? },
        attempts: u32::try_from(row.get::<i64>("attempts")?).unwrap_or(u32::MAX),
        state: named(row, "state")?,
        first_try: row.get("first_try")?,
        next_at: row.get("next_at")?,
        changed_at: row.get("changed_at")?,
        error: row.get("error")?,
        receipt: receipt("receipt")?,
        earlier: receipt("earlier")?,
    })
}
