//! One connection, to either database, and the statements that both understand.
//!
//! What comes in: a [`Statement`] with `$1`, `$2` ... for its values. What goes out: rows. Everything else in this folder
//! is written once for both databases.

use std::future::Future;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, Row as _, Sqlite, SqliteConnection};

use super::TENANT;

/// An answer, or its next row, that takes longer over the network has failed: the other side may be gone without a word.
const LONGEST: Duration = Duration::from_secs(30);

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    wire: Wire,
    /// Something went wrong with it: it is to be replaced before it is used again.
    spoilt: bool,
    /// A transaction was begun and has not ended.
    begun: bool,
}

#[derive(Debug)]
enum Wire {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// What a statement is given for one of its places.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// SQL with the values of its places.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    sql: Words,
    values: Vec<Value>,
}

#[derive(Clone, Debug)]
enum Words {
    Fixed(Sql),
    /// Made of our own names of tables and columns, never of data.
    Made(String),
}

/// The words of a statement; where the databases differ, one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sql {
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

/// A row of an answer.
#[derive(Debug)]
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! filled {
    ($sql:expr, $kind:ident, $values:expr) => {{
        let mut query = match $sql {
            Words::Fixed(sql) => sqlx::query(sql.$kind),
            Words::Made(sql) => sqlx::query(AssertSqlSafe(sql)),
        };
        for value in $values {
            query = match value {
                Value::Int(value) => query.bind(value),
                Value::Real(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
            };
        }
        query
    }};
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

impl Statement {
    /// A statement whose `$1` is the tenant.
    pub(super) fn of(sql: impl Into<Sql>) -> Self {
        Self::plain(sql).bind(TENANT)
    }

    /// A statement without values.
    pub(super) fn plain(sql: impl Into<Sql>) -> Self {
        Self { sql: Words::Fixed(sql.into()), values: Vec::new() }
    }

    /// A statement that is made of names of tables and columns. The same for both databases.
    pub(super) fn made(sql: String) -> Self {
        Self { sql: Words::Made(sql), values: Vec::new() }
    }

    /// Gives the next place its value.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }
}

impl Link {
    pub(super) fn sqlite(connection: SqliteConnection) -> Self {
        Self { wire: Wire::Sqlite(connection), spoilt: false, begun: false }
    }

    pub(super) fn postgres(connection: PgConnection) -> Self {
        Self { wire: Wire::Postgres(connection), spoilt: false, begun: false }
    }

    /// Whether it must be replaced: it failed, or whoever used it went away in the middle of a transaction.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt || self.begun
    }

    /// Begins to write all or nothing.
    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        // IMMEDIATE: a writer that begins as a reader could fail half-way with "busy".
        self.begin_as(Sql { sqlite: "BEGIN IMMEDIATE", postgres: "BEGIN" }).await
    }

    /// Begins a transaction in these words.
    pub(super) async fn begin_as(&mut self, begin: Sql) -> Result<(), sqlx::Error> {
        self.begun = true;
        self.run(Statement::plain(begin)).await.map(|_| ())
    }

    /// Writes what was begun.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.run(Statement::plain("COMMIT")).await?;
        self.begun = false;
        Ok(())
    }

    /// Takes back what was begun, after a failure too. When that fails, the connection is replaced.
    pub(super) async fn rollback(&mut self) {
        if self.begun && !self.spoilt {
            self.begun = false;
            self.spoilt = self.run(Statement::plain("ROLLBACK")).await.is_err();
        }
    }

    /// Carries a statement out; returns how many rows it changed.
    pub(super) async fn run(&mut self, Statement { sql, values }: Statement) -> Result<u64, sqlx::Error> {
        let result = match &mut self.wire {
            Wire::Sqlite(wire) => filled!(sql, sqlite, values).execute(wire).await.map(|done| done.rows_affected()),
            Wire::Postgres(wire) => {
                let done = filled!(sql, postgres, values.into_iter().map(Value::storable)).execute(wire);
                in_time(done).await.map(|done| done.rows_affected())
            }
        };
        self.judged(result)
    }

    /// All rows of an answer.
    pub(super) async fn all(&mut self, statement: Statement) -> Result<Vec<Row>, sqlx::Error> {
        let mut rows = Vec::new();
        let push = |row| {
            rows.push(row);
            Ok::<_, sqlx::Error>(())
        };
        self.each(statement, push).await?;
        Ok(rows)
    }

    /// Hands on the rows of an answer one by one, however many there are. Of a server, each has to come in time.
    pub(super) async fn each<E: From<sqlx::Error>>(
        &mut self,
        Statement { sql, values }: Statement,
        mut take: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = match &mut self.wire {
            Wire::Sqlite(wire) => {
                let mut rows = filled!(sql, sqlite, values).fetch(wire);
                loop {
                    match rows.try_next().await {
                        Ok(Some(row)) => take(Row::Sqlite(row))?,
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
            }
            Wire::Postgres(wire) => {
                let mut rows = filled!(sql, postgres, values.into_iter().map(Value::storable)).fetch(wire);
                loop {
                    match in_time(rows.try_next()).await {
                        Ok(Some(row)) => take(Row::Postgres(row))?,
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
            }
        };
        self.judged(failed).map_err(E::from)
    }

    /// The first row of an answer.
    pub(super) async fn one(&mut self, statement: Statement) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.all(statement).await?.into_iter().next())
    }

    /// The connection itself, for what only SQLite does.
    pub(super) fn as_sqlite(&mut self) -> Option<&mut SqliteConnection> {
        match &mut self.wire {
            Wire::Sqlite(wire) => Some(wire),
            Wire::Postgres(_) => None,
        }
    }

    /// The connection itself, for what only PostgreSQL does.
    pub(super) fn as_postgres(&mut self) -> Option<&mut PgConnection> {
        match &mut self.wire {
            Wire::Postgres(wire) => Some(wire),
            Wire::Sqlite(_) => None,
        }
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self.wire {
            Wire::Sqlite(wire) => wire.close().await,
            Wire::Postgres(wire) => in_time(wire.close()).await,
        }
    }

    /// Notes when the connection, and not the statement, has failed.
    fn judged<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if let (Err(error), Wire::Postgres(_)) = (&result, &self.wire) {
            self.spoilt |= match error.as_database_error() {
                // Class 57: stopped by the operator or going down; 25P03: it was idle in a transaction for too long.
                Some(told) => told.code().is_none_or(|code| code.starts_with("57") || code == "25P03"),
                None => !matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }),
            };
        }
        result
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(LONGEST, work).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", LONGEST.as_secs());
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    })
}

impl Row {
    /// A column by its name.
    pub(super) fn get<'r, T>(&'r self, column: &str) -> Result<T, sqlx::Error>
    where
        T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    /// A yes or no; both databases keep it as a number.
    pub(super) fn flag(&self, column: &str) -> Result<bool, sqlx::Error> {
        Ok(self.get::<i64>(column)? != 0)
    }
}

impl Value {
    /// PostgreSQL keeps no NUL in a text.
    fn storable(self) -> Self {
        match self {
            Self::Text(Some(text)) if text.contains('\0') => Self::Text(Some(text.replace('\0', "\u{fffd}"))),
            other => other,
        }
    }
}

macro_rules! values {
    ($($from:ty => $kind:ident($with:expr)),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$kind($with(value))
            }
        }
    )*};
}

values! {
    i64 => Int(Some),
    Option<i64> => Int(|value| value),
    u32 => Int(|value| Some(i64::from(value))),
    bool => Int(|value| Some(i64::from(value))),
    Option<f64> => Real(|value| value),
    &str => Text(|value: &str| Some(value.to_owned())),
    &String => Text(|value: &String| Some(value.clone())),
    String => Text(Some),
    Option<&str> => Text(|value: Option<&str>| value.map(str::to_owned)),
    Option<String> => Text(|value| value),
    Vec<u8> => Bytes(Some),
    Option<Vec<u8>> => Bytes(|value| value),
}
