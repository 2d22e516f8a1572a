//! Is a store whole? The database's own checks, and whether every document can be read.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::link::{Row, Statement};
use super::open::version;
use super::resume::{named, parsed};
use super::table::TABLES;
use super::{Store, StoreError};
use crate::engine::CommandKind;
use crate::incident::{Handling, Incident, State, Transition};
use crate::notify::dispatch::readable as readable_state;

const DOING: &str = "check";

/// Whether a row can be read.
type Look<'a> = &'a dyn Fn(&Row) -> Result<(), sqlx::Error>;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Number of the newest migration.
    pub version: i64,
    /// Rows of each table.
    pub tables: Vec<(String, u64)>,
    /// What is wrong, in words; at most [`MOST`].
    pub faults: Vec<String>,
}

/// Faults that are told; more would be the same again.
pub const MOST: usize = 20;

impl Store {
    /// Reads everything once. It may be asked while another process works.
    ///
    /// # Errors
    /// When the store cannot be read at all.
    pub async fn check(&self) -> Result<Health, StoreError> {
        let mut faults = Vec::new();
        if !self.is_shared() {
            let told = |row: &Row| row.get::<String>("integrity_check");
            let found = self.read(DOING, Statement::plain("PRAGMA integrity_check(20)"), told).await?;
            faults.extend(found.into_iter().filter(|text| text != "ok"));
            let told = |row: &Row| {
                let (table, parent) = (row.get::<String>("table")?, row.get::<String>("parent")?);
                Ok(format!("{table}: a row refers to one of {parent} that is not there"))
            };
            faults.extend(self.read(DOING, Statement::plain("PRAGMA foreign_key_check"), told).await?);
        }
        let mut tables = Vec::new();
        for table in &TABLES {
            let count = Statement::made(format!("SELECT COUNT(*) AS n FROM {}", table.name));
            let rows = self.read(DOING, count, |row| super::resume::count(row, "n")).await?;
            tables.push((table.name.to_owned(), rows.first().copied().unwrap_or(0)));
        }
        self.documents(&mut faults).await?;
        faults.truncate(MOST);
        let mut reader = self.reader(DOING).await?;
        let version = version(&mut reader).await.map_err(|error| self.failed(DOING, error))?;
        Ok(Health { version, tables, faults })
    }

    async fn documents(&self, faults: &mut Vec<String>) -> Result<(), StoreError> {
        let incident = |row: &Row| {
            parsed::<Incident>(row, "document")?;
            named::<State>(row, "state")?;
            row.get::<Option<&str>>("handling")?.map(|_| parsed::<Handling>(row, "handling")).transpose().map(|_| ())
        };
        let told = |row: &Row| {
            let (key, document) = (row.get::<&str>("name")?, row.get::<&str>("document")?);
            readable_state(key, document).map_err(|error| sqlx::Error::Decode(error.into()))
        };
        let each: [(&str, &str, Look<'_>); 5] = [
            ("incidents", "SELECT id AS name, document, state, handling FROM incidents", &incident),
            ("transitions", "SELECT incident AS name, document FROM transitions", &readable::<Transition>),
            ("notices", "SELECT incident AS name, document FROM notices", &readable::<Transition>),
            (
                "commands",
                "SELECT COALESCE(subject, 'order ' || id) AS name, document FROM commands",
                &readable::<CommandKind>,
            ),
            ("dispatch", "SELECT key AS name, document FROM dispatch", &told),
        ];
        for (table, sql, read) in each {
            let mut reader = self.reader(DOING).await?;
            let look = |row: Row| {
                if let Err(error) = read(&row)
                    && faults.len() < MOST
                {
                    let name = row.get::<Option<String>>("name")?.unwrap_or_default();
                    faults.push(format!("{table}: what is stored of {name} cannot be read: {error}"));
                }
                Ok::<_, sqlx::Error>(())
            };
            reader.each(Statement::plain(sql), look).await.map_err(|error| self.failed(DOING, error))?;
        }
        Ok(())
    }

    /// Why nothing can be restored here; `None`: it is empty.
    pub(super) async fn in_use(&self, version_wanted: i64) -> Result<Option<String>, StoreError> {
        let mut reader = self.reader(DOING).await?;
        let found = version(&mut reader).await.map_err(|error| self.failed(DOING, error))?;
        drop(reader);
        if found != version_wanted {
            return Ok(Some("is of another version than the backup".to_owned()));
        }
        for table in ["watches", "incidents", "commands"] {
            let any = Statement::made(format!("SELECT 1 FROM {table} LIMIT 1"));
            if !self.read(DOING, any, |_| Ok(())).await?.is_empty() {
                return Ok(Some(format!("holds {table} already")));
            }
        }
        Ok(None)
    }
}

fn readable<T: DeserializeOwned>(row: &Row) -> Result<(), sqlx::Error> {
    parsed::<T>(row, "document").map(|_| ())
}
