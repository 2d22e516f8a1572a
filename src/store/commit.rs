//! Writing one step: all of it or nothing.
//!
//! Everything is keyed by what it is, so writing the same [`Commit`] again changes nothing. What never happens here:
//! taking back what was told (a transition and a delivery are written once).

use std::collections::BTreeSet;

use serde::Serialize;

use super::chain::{Chains, Document, Written};
use super::dispatch::{holds, write_words};
use super::link::{Link, Statement};
use super::{Commit, NewDelivery, Store, StoreError};
use crate::collect::Gap;
use crate::detect::{Feature, FeatureEvidence};
use crate::engine::{CommandKind, JudgedWindow, Snapshot, Step};
use crate::incident::{Handling, Incident, State, Transition};
use crate::time::Nanos;

const DOING: &str = "write a step to";

/// What older versions kept in columns is in rows of its own once it was written again.
pub(super) const WATCH: &str = "
    INSERT INTO watches (tenant, watch, done_until, source_state) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant, watch) DO UPDATE SET done_until = excluded.done_until,
        source_state = COALESCE(excluded.source_state, watches.source_state),
        carry = CASE WHEN $5 = 1 THEN NULL ELSE watches.carry END,
        patterns = CASE WHEN $6 = 1 THEN NULL ELSE watches.patterns END";
pub(super) const GROUP: &str = "
    INSERT INTO groups (tenant, watch, grp, labels) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
pub(super) const WINDOW: &str = "
    INSERT INTO windows (tenant, watch, grp, range_end, range_start, revision, lines, line_length,
        error_count, warn_count, unique_messages, rate, known, seen, missing, score, threshold, anomalous, learnt, late)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
    ON CONFLICT (tenant, watch, grp, range_end, range_start, revision) DO UPDATE SET lines = excluded.lines,
        line_length = excluded.line_length, error_count = excluded.error_count, warn_count = excluded.warn_count,
        unique_messages = excluded.unique_messages, rate = excluded.rate, known = excluded.known, seen = excluded.seen,
        missing = excluded.missing, score = excluded.score, threshold = excluded.threshold,
        anomalous = excluded.anomalous, learnt = excluded.learnt, late = excluded.late";
/// What the engine knows of an incident. What the dispatcher made of it stays: see the migration.
pub(super) const INCIDENT: &str = "
    INSERT INTO incidents (tenant, id, fingerprint, watch, title, state, severity, started_at, last_seen, resolved_at,
        document, open)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (tenant, id) DO UPDATE SET document = excluded.document, open = excluded.open,
        title = CASE WHEN incidents.handling IS NULL THEN excluded.title ELSE incidents.title END,
        state = CASE WHEN incidents.handling IS NULL THEN excluded.state ELSE incidents.state END,
        severity = CASE WHEN incidents.handling IS NULL THEN excluded.severity ELSE incidents.severity END,
        resolved_at = CASE WHEN incidents.handling IS NULL THEN excluded.resolved_at ELSE incidents.resolved_at END,
        last_seen = CASE WHEN excluded.last_seen > incidents.last_seen
            THEN excluded.last_seen ELSE incidents.last_seen END";
pub(super) const TITLE: &str = "SELECT title, handling IS NULL AS bare FROM incidents WHERE tenant = $1 AND id = $2";
pub(super) const TRANSITION: &str = "
    INSERT INTO transitions (tenant, incident, number, kind, at, document) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING";
pub(super) const QUEUE: &str = "INSERT INTO queue (tenant, incident, number) VALUES ($1, $2, $3)";
pub(super) const NOTICE: &str = "
    INSERT INTO notices (tenant, incident, number, kind, at, document) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING";
pub(super) const DELIVERY: &str = "
    INSERT INTO deliveries (tenant, key, receiver, incident, number, links, state, next_at, changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $7) ON CONFLICT DO NOTHING";
pub(super) const SNAPSHOT: &str = "
    INSERT INTO models (tenant, watch, grp, until, model) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant, watch, grp) DO UPDATE SET until = excluded.until, model = excluded.model";
pub(super) const GAP: &str = "
    INSERT INTO gaps (tenant, watch, range_start, range_end, reason, lines) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant, watch, range_start, range_end, reason) DO UPDATE SET lines = excluded.lines";
pub(super) const COMMAND_DONE: &str = "UPDATE commands SET done = 1 WHERE tenant = $1 AND id = $2";
pub(super) const COMMAND: &str =
    "INSERT INTO commands (tenant, at, subject, document) VALUES ($1, $2, $3, $4) RETURNING id";

impl Store {
    /// Writes a step and its source's state in one transaction. When it returns, all of it
    /// survives a kill and a power cut; when it fails, nothing of it is there. When the future is dropped, all or nothing
    /// is there, and the position of the watch tells which.
    ///
    /// # Errors
    /// When somebody else holds the lease now ([`StoreError::Fenced`]), or the file could not be written.
    pub async fn commit(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let mut writer = self.writer(DOING).await?;
        let mut chains = Written::default();
        let written = write_all(&mut writer, commit, (&self.inner.chains, &mut chains)).await;
        self.settle(&mut writer, written, commit.fence, DOING).await?;
        self.inner.chains.keep(chains);
        Ok(())
    }

    /// Appends a wish for the engine; returns its number.
    ///
    /// # Errors
    /// When the file could not be written.
    pub async fn append_command(&self, kind: &CommandKind, now: Nanos) -> Result<i64, StoreError> {
        const DOING: &str = "append a command to";
        let mut writer = self.writer(DOING).await?;
        let about = match kind {
            CommandKind::Internal { problem, on, .. } => Some(subject(problem, on)),
            CommandKind::Incident { .. } | CommandKind::Silence { .. } | CommandKind::Resend { .. } => None,
        };
        let insert = async {
            let row = writer.one(Statement::of(COMMAND).bind(now).bind(about).bind(json(kind)?)).await?;
            row.ok_or(sqlx::Error::RowNotFound)?.get("id")
        };
        insert.await.map_err(|error| self.failed(DOING, error))
    }
}

/// What an internal problem is about, as one text.
pub(super) fn subject(problem: &str, on: &str) -> String {
    format!("{problem}/{on}")
}

/// A word of an enum as serde writes it, without quotes.
pub(super) fn word<T: Serialize>(value: &T) -> Result<String, sqlx::Error> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(other) => Err(sqlx::Error::Encode(format!("expected one word, got {other}").into())),
        Err(error) => Err(sqlx::Error::Encode(error.into())),
    }
}

pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// SQLite knows no unsigned numbers; counts of lines never come near the end of the signed ones.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// False when the fence does not hold: then nothing is written.
async fn write_all(tx: &mut Link, commit: &Commit<'_>, chains: (&Chains, &mut Written)) -> Result<bool, sqlx::Error> {
    tx.begin().await?;
    if !holds(tx, commit.fence).await? {
        return Ok(false);
    }
    let step = commit.step;
    if let Some(watch) = &step.watch {
        write_watch(tx, (watch, step), commit.source_state, chains).await?;
        write_windows(tx, watch, &step.windows).await?;
        write_models(tx, watch, &step.snapshots).await?;
        write_gaps(tx, watch, &step.gaps).await?;
    } else if step.carry.is_some() {
        write_watch(tx, (super::NO_WATCH, step), None, chains).await?;
    }
    write_incidents(tx, step).await?;
    for transition in &step.transitions {
        write_transition(tx, transition).await?;
    }
    if let Some(id) = step.command_done {
        tx.run(Statement::of(COMMAND_DONE).bind(id)).await?;
    }
    tx.commit().await?;
    Ok(true)
}

async fn write_watch(
    tx: &mut Link,
    (watch, step): (&str, &Step),
    source_state: Option<&str>,
    (chains, written): (&Chains, &mut Written),
) -> Result<(), sqlx::Error> {
    let query = Statement::of(WATCH).bind(watch).bind(step.done_until).bind(source_state);
    tx.run(query.bind(step.carry.is_some()).bind(step.patterns.is_some())).await?;
    let carry = step.carry.as_deref().map(str::as_bytes);
    for (document, text) in [(Document::Carry, carry), (Document::Patterns, step.patterns.as_deref())] {
        if let Some(text) = text {
            chains.write(tx, (watch, document), text, written).await?;
        }
    }
    Ok(())
}

async fn write_windows(tx: &mut Link, watch: &str, windows: &[JudgedWindow]) -> Result<(), sqlx::Error> {
    let mut known = BTreeSet::new();
    for judged in windows {
        if known.insert(judged.group.fingerprint) {
            let query = Statement::of(GROUP).bind(watch).bind(judged.group.fingerprint.0.cast_signed());
            tx.run(query.bind(json(&judged.group.labels)?)).await?;
        }
        write_window(tx, watch, judged).await?;
    }
    Ok(())
}

async fn write_window(tx: &mut Link, watch: &str, judged: &JudgedWindow) -> Result<(), sqlx::Error> {
    let JudgedWindow { group, window, judgement, learnt, revision } = judged;
    let anomalous = match &judgement.anomalous {
        Some(evidence) => Some(json(&evidence.iter().map(finite_evidence).collect::<Vec<_>>())?),
        None => None,
    };
    let mut query = Statement::of(WINDOW)
        .bind(watch)
        .bind(group.fingerprint.0.cast_signed())
        .bind(window.range.end)
        .bind(window.range.start)
        .bind(*revision)
        .bind(signed(window.lines));
    for feature in Feature::ALL {
        query = query.bind(window.features.get(feature));
    }
    let query = query
        .bind(word(&window.coverage.known)?)
        .bind(signed(window.coverage.seen))
        .bind(signed(window.coverage.missing))
        .bind(judgement.score)
        .bind(judgement.threshold)
        .bind(anomalous)
        .bind(*learnt)
        .bind(window.late);
    tx.run(query).await.map(|_| ())
}

async fn write_models(tx: &mut Link, watch: &str, models: &[Snapshot]) -> Result<(), sqlx::Error> {
    for Snapshot { group, until, model } in models {
        let query = Statement::of(SNAPSHOT).bind(watch).bind(group.0.cast_signed());
        tx.run(query.bind(*until).bind(model)).await?;
    }
    Ok(())
}

async fn write_gaps(tx: &mut Link, watch: &str, gaps: &[Gap]) -> Result<(), sqlx::Error> {
    for Gap { range, lines, reason } in gaps {
        let query = Statement::of(GAP).bind(watch).bind(range.start).bind(range.end);
        tx.run(query.bind(word(reason)?).bind(lines.map(signed))).await?;
    }
    Ok(())
}

/// The incidents of the step, and those that only its transitions name: no transition stands without its incident.
async fn write_incidents(tx: &mut Link, step: &Step) -> Result<(), sqlx::Error> {
    let listed: BTreeSet<&str> = step.incidents.iter().map(|incident| incident.id.as_str()).collect();
    let told = step.transitions.iter().map(|transition| &transition.incident);
    let unlisted = told.filter(|incident| !listed.contains(incident.id.as_str()));
    for incident in unlisted.chain(&step.incidents) {
        let row = tx.one(Statement::of(TITLE).bind(&incident.id)).await?;
        let known = row.map(|row| Ok::<_, sqlx::Error>((row.get::<String>("title")?, row.get::<bool>("bare")?)));
        let known = known.transpose()?;
        tx.run(row_of(INCIDENT, incident)?.bind(incident.state != State::Resolved)).await?;
        if known.is_none_or(|(title, bare)| bare && title != incident.title) {
            let titles = std::iter::once(incident.title.as_str());
            write_words(tx, &incident.id, incident.started_at, titles).await?;
        }
    }
    Ok(())
}

/// A statement whose first places are filled with an incident; what the dispatcher made of it is not among them.
pub(super) fn row_of(sql: &'static str, incident: &Incident) -> Result<Statement, sqlx::Error> {
    Ok(Statement::of(sql)
        .bind(&incident.id)
        .bind(incident.group.fingerprint.to_string())
        .bind(&incident.watch)
        .bind(&incident.title)
        .bind(word(&incident.state)?)
        .bind(word(&incident.severity)?)
        .bind(incident.started_at)
        .bind(incident.last_seen)
        .bind(incident.resolved_at)
        .bind(json(&bare(incident))?))
}

async fn write_transition(tx: &mut Link, transition: &Transition) -> Result<(), sqlx::Error> {
    // A step that is written again finds its transitions there; they may have been dispatched already.
    if write_told(tx, TRANSITION, transition).await? > 0 {
        let query = Statement::of(QUEUE).bind(&transition.incident.id);
        tx.run(query.bind(signed(transition.number))).await?;
    }
    Ok(())
}

/// Writes what people are told, once for each number.
pub(super) async fn write_notice(tx: &mut Link, notice: &Transition) -> Result<(), sqlx::Error> {
    write_told(tx, NOTICE, notice).await.map(|_| ())
}

/// How many rows are new: 1 or 0.
async fn write_told(tx: &mut Link, sql: &'static str, transition: &Transition) -> Result<u64, sqlx::Error> {
    let stored = Transition { incident: finite(&transition.incident), ..transition.clone() };
    let query = Statement::of(sql)
        .bind(&transition.incident.id)
        .bind(signed(transition.number))
        .bind(word(&transition.kind)?)
        .bind(transition.at)
        .bind(json(&stored)?);
    tx.run(query).await
}

pub(super) async fn write_deliveries(tx: &mut Link, deliveries: &[NewDelivery], now: Nanos) -> Result<(), sqlx::Error> {
    for NewDelivery { receiver, notification } in deliveries {
        let transition = &notification.transition;
        let query = Statement::of(DELIVERY)
            .bind(&notification.key)
            .bind(receiver)
            .bind(&transition.incident.id)
            .bind(signed(transition.number))
            .bind(json(&notification.links)?)
            .bind(now);
        tx.run(query).await?;
    }
    Ok(())
}

/// What is stored of an incident itself: what the dispatcher made of it has its own column.
fn bare(incident: &Incident) -> Incident {
    Incident { handling: Handling::default(), ..finite(incident) }
}

/// JSON has no infinity and no NaN: they would be written as `null`, and the row could never be read again.
fn finite(incident: &Incident) -> Incident {
    let mut incident = incident.clone();
    incident.rates.iter_mut().for_each(|rate| *rate = clamp(*rate));
    if let Some(worst) = &mut incident.worst {
        worst.score = clamp(worst.score);
        worst.threshold = clamp(worst.threshold);
        worst.evidence.features.iter_mut().for_each(|evidence| *evidence = finite_evidence(evidence));
    }
    incident
}

fn finite_evidence(evidence: &FeatureEvidence) -> FeatureEvidence {
    FeatureEvidence {
        feature: evidence.feature,
        seen: clamp(evidence.seen),
        expected: (clamp(evidence.expected.0), clamp(evidence.expected.1)),
        share: clamp(evidence.share),
        ..evidence.clone()
    }
}

fn clamp(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(f64::MIN, f64::MAX) }
}
