//! What stands in sigyn's store while it works, compared with what was written.

use std::collections::BTreeMap;
use std::path::Path;

use sigyn::incident::Transition;
use sigyn::store::{Search, Store};
use sigyn::time::{Nanos, TimeRange};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::feed::Written;

/// All tables that grow.
const TABLES: [(&str, &str); 9] = [
    ("windows", "SELECT COUNT(*) FROM windows"),
    ("models", "SELECT COUNT(*) FROM models"),
    ("incidents", "SELECT COUNT(*) FROM incidents"),
    ("transitions", "SELECT COUNT(*) FROM transitions"),
    ("notices", "SELECT COUNT(*) FROM notices"),
    ("deliveries", "SELECT COUNT(*) FROM deliveries"),
    ("words", "SELECT COUNT(*) FROM words"),
    ("commands", "SELECT COUNT(*) FROM commands"),
    ("gaps", "SELECT COUNT(*) FROM gaps"),
];

/// The newest revision of each window that ended in a range.
const WINDOWS: &str = "
    SELECT g.labels ->> 'service_name' AS service, w.range_start, MAX(w.revision) AS revision, w.lines
    FROM windows w JOIN groups g ON g.tenant = w.tenant AND g.watch = w.watch AND g.grp = w.grp
    WHERE w.watch = 'shop' AND w.range_start >= $1 AND w.range_start < $2
    GROUP BY w.grp, w.range_start";

/// The store, looked at from outside.
pub(crate) struct Books {
    link: SqliteConnection,
    store: Store,
    /// Windows up to here were compared.
    compared: Nanos,
    pub(crate) written: u64,
    pub(crate) lines: u64,
    pub(crate) windows: u64,
    /// Windows that grew after they had been judged.
    pub(crate) grown: u64,
    /// By service.
    pub(crate) read: BTreeMap<String, u64>,
    /// What is wrong.
    pub(crate) lost: Vec<String>,
    pub(crate) doubled: Vec<String>,
    /// Lines that are missing and noted as missing.
    pub(crate) noted: u64,
    /// Of each incident, by id.
    told: BTreeMap<String, Vec<Transition>>,
}

impl Books {
    /// Of a store that is there; nothing before `start` is compared.
    pub(crate) async fn open(data: &Path, start: Nanos) -> Option<Self> {
        let store = Store::open_read_only(data).await.ok()?;
        let link = SqliteConnectOptions::new().filename(data.join("sigyn.db")).read_only(true).connect().await.ok()?;
        Some(Self {
            link,
            store,
            compared: start,
            written: 0,
            lines: 0,
            windows: 0,
            grown: 0,
            read: BTreeMap::new(),
            lost: Vec::new(),
            doubled: Vec::new(),
            noted: 0,
            told: BTreeMap::new(),
        })
    }

    /// All windows before it are stored; `None` before the first.
    pub(crate) async fn position(&mut self) -> Option<Nanos> {
        let row = sqlx::query("SELECT done_until FROM watches WHERE watch = 'shop'");
        row.fetch_optional(&mut self.link).await.unwrap().map(|row| row.get(0))
    }

    /// Rows of each table.
    pub(crate) async fn rows(&mut self) -> BTreeMap<&'static str, u64> {
        let mut rows = BTreeMap::new();
        for (table, sql) in TABLES {
            let count: i64 = sqlx::query(sql).fetch_one(&mut self.link).await.unwrap().get(0);
            rows.insert(table, count.unsigned_abs());
        }
        rows
    }

    /// Messages that wait for a receiver, and those that were given up.
    pub(crate) async fn waiting(&self) -> (u64, u64) {
        let counts = self.store.deliveries_by_state().await.unwrap();
        (counts.pending + self.store.queued(1).await.unwrap().len() as u64, counts.dead)
    }

    /// Compares the windows up to `until` with what was written in them.
    pub(crate) async fn compare(&mut self, written: &Written, until: Nanos) {
        let range = TimeRange::new(self.compared, until);
        let rows = sqlx::query(WINDOWS).bind(range.start).bind(range.end).fetch_all(&mut self.link).await.unwrap();
        let mut judged = BTreeMap::new();
        for row in rows {
            let (service, start): (String, Nanos) = (row.get("service"), row.get("range_start"));
            let (revision, lines): (i64, i64) = (row.get("revision"), row.get("lines"));
            self.grown += u64::from(revision > 0);
            self.windows += u64::from(lines > 0);
            *judged.entry((service, start)).or_insert(0) += lines.unsigned_abs();
        }
        let gaps = self.gaps(range).await;
        for ((service, minute), wrote) in written.iter().filter(|((_, minute), _)| *minute >= range.start) {
            let read = judged.remove(&((*service).to_owned(), *minute)).unwrap_or(0);
            let noted = gaps.iter().any(|(gap, _)| gap.start <= *minute && *minute < gap.end);
            match read {
                _ if read > *wrote => self.doubled.push(format!("{service} {minute}: {read} of {wrote} lines")),
                _ if read < *wrote && !noted => self.lost.push(format!("{service} {minute}: {read} of {wrote} lines")),
                _ => {}
            }
            self.written += wrote;
            self.lines += read;
            *self.read.entry((*service).to_owned()).or_default() += read;
        }
        let more = judged.iter().filter(|(_, lines)| **lines > 0);
        self.doubled.extend(more.map(|(key, lines)| format!("{key:?}: {lines} lines that nobody wrote")));
        self.noted += gaps.iter().map(|(_, lines)| lines).sum::<u64>();
        self.compared = until;
        self.remember().await;
    }

    /// Minutes with a gap, and its lines.
    async fn gaps(&mut self, range: TimeRange) -> Vec<(TimeRange, u64)> {
        let sql =
            "SELECT range_start, range_end, COALESCE(lines, 0) FROM gaps WHERE range_start >= $1 AND range_start < $2";
        let rows = sqlx::query(sql).bind(range.start).bind(range.end).fetch_all(&mut self.link).await.unwrap();
        let gap = |row: &sqlx::sqlite::SqliteRow| {
            let lines: i64 = row.get(2);
            (TimeRange::new(row.get(0), row.get(1)), lines.unsigned_abs())
        };
        rows.iter().map(gap).collect()
    }

    /// Keeps what was told of the incidents that are stored: their rows go with time.
    async fn remember(&mut self) {
        let all = Search { members: true, ..Search::default() };
        for incident in self.store.search(&all, 1000, None).await.unwrap() {
            if let Some(detail) = self.store.incident(&incident.id).await.unwrap() {
                self.told.insert(incident.id, detail.transitions);
            }
        }
    }

    /// All that the engine has said.
    pub(crate) fn told(&self) -> Vec<Transition> {
        let mut told: Vec<Transition> = self.told.values().flatten().cloned().collect();
        told.sort_by_key(|transition| transition.at);
        told
    }

    pub(crate) async fn close(self) {
        self.link.close().await.unwrap();
        self.store.close().await.unwrap();
    }
}
