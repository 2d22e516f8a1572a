//! Rows that cannot be read: a newer sigyn wrote them, or they are damaged.
//!
//! What comes in: a question whose rows have an `id`. What goes out: the rows that can be read; the others stay where they
//! are, hold up nothing, and are said once each. What never happens here: changing them; [`Store::check`] names them for as
//! long as they are there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::link::{Row, Statement};
use super::{Store, StoreError};

/// What could not be read at the last look, by the name of its kind. As many as one look brings.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<BTreeMap<&'static str, BTreeSet<String>>>);

/// An id, and why its row cannot be read.
pub(super) type Left = (String, sqlx::Error);

impl Unread {
    /// How many there were at the last look.
    pub(super) fn count(&self, kind: &str) -> u32 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(kind).map_or(0, |ids| u32::try_from(ids.len()).unwrap_or(u32::MAX))
    }

    /// Those that were not among `kind` at the last look.
    fn news(&self, kind: &'static str, left: Vec<Left>) -> Vec<Left> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = left.iter().map(|(id, _)| id.clone()).collect();
        let before = all.insert(kind, ids).unwrap_or_default();
        left.into_iter().filter(|(id, _)| !before.contains(id)).collect()
    }
}

impl Store {
    /// As [`Store::read`], without the rows that cannot be read. `kind` is what a row is, for people.
    pub(super) async fn read_each<T>(
        &self,
        (doing, kind): (&'static str, &'static str),
        statement: Statement,
        each: impl Fn(&Row) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let (rows, news) = self.read_noting((doing, kind), statement, each).await?;
        for (id, error) in news {
            tracing::warn!(
                id,
                %error,
                "{kind} is left aside, as it cannot be read: run the newer sigyn that wrote it; `sigyn store check` shows \
                 such rows of {}",
                self.place()
            );
        }
        Ok(rows)
    }

    /// The rows that can be read, and those that cannot and have not been said yet.
    pub(super) async fn read_noting<T>(
        &self,
        (doing, kind): (&'static str, &'static str),
        statement: Statement,
        each: impl Fn(&Row) -> Result<T, sqlx::Error>,
    ) -> Result<(Vec<T>, Vec<Left>), StoreError> {
        let (mut read, mut left) = (Vec::new(), Vec::new());
        for row in self.read(doing, statement, |row| Ok(each(row).map_err(|error| (id(row), error)))).await? {
            match row {
                Ok(row) => read.push(row),
                Err(unread) => left.push(unread),
            }
        }
        Ok((read, self.inner.unread.news(kind, left)))
    }
}

/// A number or a text.
fn id(row: &Row) -> String {
    row.get::<i64>("id").map(|id| id.to_string()).or_else(|_| row.get("id")).unwrap_or_default()
}
