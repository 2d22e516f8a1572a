//! A copy of a store as one file, from either database and into either.
//!
//! The file is gzip of JSON lines: a header, then for each table its name with its columns and one array for each row, and
//! at the end how many rows there were: without that line it was cut off. Numbers that JSON does not know are words, bytes
//! are hexadecimal. What never happens here: a copy of two moments, or half a restore.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::link::{Link, Row, Sql, Statement, Value};
use super::open::known_version;
use super::place::Place;
use super::table::{Kind, TABLES, Table};
use super::{Store, StoreError};
use crate::time::Nanos;

const READING: &str = "read for a backup";
const WRITING: &str = "write a backup into";
/// The form of the file.
const FORM: u32 = 1;
/// No row is longer than this; a file that says so is none of ours.
const LONGEST_LINE: u64 = 1 << 30;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Rows of each table.
    pub tables: Vec<(String, u64)>,
    /// When it was made.
    pub made_at: Nanos,
}

/// A line of the file. Rows are arrays and stand for themselves.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Header { sigyn_backup: u32, version: i64, made_at: Nanos },
    Table { table: String, columns: Vec<String> },
    Row(Vec<Json>),
    End { rows: u64 },
}

impl Store {
    /// Copies everything as it is at one moment into a new file, also while another process works. The file appears when
    /// it is whole.
    ///
    /// # Errors
    /// When the file is there already or cannot be written, or the store cannot be read.
    pub async fn backup(&self, file: &Path, now: Nanos) -> Result<Copied, StoreError> {
        let broken = |error| StoreError::Backup { file: file.display().to_string(), reason: format!("{error}") };
        if file.exists() {
            return Err(broken(std::io::Error::other("it is there already; name another one")));
        }
        let part = file.with_extension("part");
        let out = File::create(&part).map_err(broken)?;
        let mut out = GzEncoder::new(BufWriter::new(out), Compression::default());
        let mut reader = self.reader(READING).await?;
        let begin = Sql { sqlite: "BEGIN", postgres: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" };
        let copied = async {
            reader.begin_as(begin).await?;
            copy_all(&mut reader, &mut out, now).await
        };
        let copied = copied.await;
        reader.rollback().await;
        let copied = match copied {
            Ok(copied) => copied,
            Err(trouble) => {
                // What is left of it is of no use; when it cannot be removed either, its name says what it is.
                let _ = std::fs::remove_file(&part);
                return Err(match trouble {
                    Trouble::Store(error) => self.failed(READING, error),
                    Trouble::File(error) => broken(error),
                });
            }
        };
        let whole = out.finish().and_then(|buffer| buffer.into_inner().map_err(std::io::IntoInnerError::into_error));
        whole.and_then(|file| file.sync_all()).and_then(|()| std::fs::rename(&part, file)).map_err(broken)?;
        Ok(copied)
    }
}

/// Fills a place that holds no store yet, or an empty one, with what a backup holds. All of it or nothing. A backup of an
/// older sigyn is brought up to date.
///
/// # Errors
/// When the file is none, was cut off or is of a newer sigyn, or when the place is in use.
pub async fn restore(file: &Path, place: Place) -> Result<Copied, StoreError> {
    let shown = file.display().to_string();
    let broken = |reason: String| StoreError::Backup { file: shown.clone(), reason };
    let opened = File::open(file).map_err(|error| broken(format!("cannot be read: {error}")))?;
    let mut lines = Lines { from: BufReader::new(MultiGzDecoder::new(BufReader::new(opened))), file: &shown };
    let (version, made_at) = match lines.next()? {
        Some(Line::Header { sigyn_backup: FORM, version, made_at }) => (version, made_at),
        Some(Line::Header { .. }) => return Err(broken("it was written in another form".to_owned())),
        _ => return Err(broken("it is no backup of sigyn".to_owned())),
    };
    if version > known_version() {
        return Err(StoreError::Newer { path: shown, found: version, known: known_version() });
    }
    let store = Store::open_with(place.clone(), Some(version)).await?;
    if let Some(what) = store.in_use(version).await? {
        return Err(broken(format!("{} {what}; restore into a new place", store.place())));
    }
    let mut writer = store.writer(WRITING).await?;
    let filled = async {
        writer.begin().await.map_err(|error| store.failed(WRITING, error))?;
        let tables = fill(&store, &mut writer, &mut lines).await?;
        writer.commit().await.map_err(|error| store.failed(WRITING, error))?;
        Ok(tables)
    };
    let filled = filled.await;
    writer.rollback().await;
    drop(writer);
    store.close().await?;
    let tables = filled?;
    // What is older than this sigyn becomes what it is today.
    Store::open(place).await?.close().await?;
    Ok(Copied { tables, made_at })
}

/// Which end failed.
#[derive(Debug)]
enum Trouble {
    Store(sqlx::Error),
    File(std::io::Error),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}

async fn copy_all<W: Write>(reader: &mut Link, out: &mut W, now: Nanos) -> Result<Copied, Trouble> {
    line(out, &Line::Header { sigyn_backup: FORM, version: known_version(), made_at: now })?;
    let mut tables = Vec::new();
    for table in &TABLES {
        let columns = table.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        line(out, &Line::Table { table: table.name.to_owned(), columns })?;
        let mut count = 0;
        let each = |row: Row| {
            count += 1;
            line(out, &Line::Row(cells(table, &row)?))
        };
        reader.each(Statement::made(table.select()), each).await?;
        tables.push((table.name.to_owned(), count));
    }
    line(out, &Line::End { rows: tables.iter().map(|(_, count)| count).sum() })?;
    Ok(Copied { tables, made_at: now })
}

fn line<W: Write>(out: &mut W, line: &Line) -> Result<(), Trouble> {
    serde_json::to_writer(&mut *out, line).map_err(|error| Trouble::File(error.into()))?;
    out.write_all(b"\n").map_err(Trouble::File)
}

fn cells(table: &Table, row: &Row) -> Result<Vec<Json>, sqlx::Error> {
    let cell = |(name, kind): &(&str, Kind)| {
        Ok(match kind {
            Kind::Int => row.get::<Option<i64>>(name)?.into(),
            Kind::Text => row.get::<Option<String>>(name)?.into(),
            Kind::Real => row.get::<Option<f64>>(name)?.map_or(Json::Null, real),
            Kind::Bytes => row.get::<Option<Vec<u8>>>(name)?.map_or(Json::Null, |bytes| hex(&bytes).into()),
        })
    };
    table.columns.iter().map(cell).collect()
}

fn real(value: f64) -> Json {
    if value.is_finite() { value.into() } else { value.to_string().into() }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

struct Lines<'a, R> {
    from: R,
    file: &'a str,
}

impl<R: BufRead> Lines<'_, R> {
    fn next(&mut self) -> Result<Option<Line>, StoreError> {
        let mut text = String::new();
        let read = (&mut self.from).take(LONGEST_LINE).read_line(&mut text);
        if read.map_err(|error| self.broken(&error))? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::Backup {
            file: self.file.to_owned(),
            reason: format!("it is damaged or no backup of sigyn: {error}"),
        }
    }
}

/// Writes the rows of all tables of the file.
async fn fill<R: BufRead>(
    store: &Store,
    writer: &mut Link,
    lines: &mut Lines<'_, R>,
) -> Result<Vec<(String, u64)>, StoreError> {
    let mut tables: Vec<(String, u64)> = Vec::new();
    let mut into: Option<Target> = None;
    loop {
        match lines.next()? {
            Some(Line::Table { table, columns }) => {
                into = Some(Target::of(&table, &columns).ok_or_else(|| lines.broken(&format!("table {table}")))?);
                tables.push((table, 0));
            }
            Some(Line::Row(cells)) => {
                let statement = into.as_ref().and_then(|into| into.insert(&cells));
                let statement = statement.ok_or_else(|| lines.broken(&"a row does not fit its table"))?;
                writer.run(statement).await.map_err(|error| store.failed(WRITING, error))?;
                if let Some((_, count)) = tables.last_mut() {
                    *count += 1;
                }
            }
            Some(Line::End { rows }) if rows == tables.iter().map(|(_, count)| count).sum::<u64>() => break,
            Some(_) => return Err(lines.broken(&"the lines are not those that were written")),
            None => return Err(lines.broken(&"it was cut off")),
        }
    }
    for table in &TABLES {
        if let (Some(number), true) = (table.numbered, store.is_shared()) {
            let (name, next) = (table.name, format!("COALESCE(MAX({number}), 0) + 1"));
            let go_on =
                format!("SELECT setval(pg_get_serial_sequence('{name}', '{number}'), {next}, false) FROM {name}");
            let exists = tables.iter().any(|(table, _)| table == name);
            if exists {
                writer.all(Statement::made(go_on)).await.map_err(|error| store.failed(WRITING, error))?;
            }
        }
    }
    Ok(tables)
}

/// Where rows of the file go. Only names that are ours become part of a statement.
struct Target {
    sql: String,
    kinds: Vec<Kind>,
}

impl Target {
    fn of(table: &str, columns: &[String]) -> Option<Self> {
        let table = TABLES.iter().find(|known| known.name == table)?;
        let known = |column: &String| table.columns.iter().find(|(name, _)| name == column).copied();
        let columns: Vec<(&str, Kind)> = columns.iter().map(known).collect::<Option<_>>()?;
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let places: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), places.join(", "));
        Some(Self { sql, kinds: columns.into_iter().map(|(_, kind)| kind).collect() })
    }

    fn insert(&self, cells: &[Json]) -> Option<Statement> {
        if cells.len() != self.kinds.len() {
            return None;
        }
        let values = self.kinds.iter().zip(cells).map(|(kind, cell)| value(*kind, cell));
        values
            .collect::<Option<Vec<Value>>>()
            .map(|values| values.into_iter().fold(Statement::made(self.sql.clone()), Statement::bind))
    }
}

fn value(kind: Kind, cell: &Json) -> Option<Value> {
    let is_null = cell.is_null();
    let text = || cell.as_str();
    Some(match kind {
        Kind::Int => Value::Int(if is_null { None } else { Some(cell.as_i64()?) }),
        Kind::Text => Value::Text(if is_null { None } else { Some(text()?.to_owned()) }),
        Kind::Bytes => Value::Bytes(if is_null { None } else { Some(unhex(text()?)?) }),
        Kind::Real => Value::Real(match (is_null, cell.as_f64()) {
            (true, _) => None,
            (false, Some(number)) => Some(number),
            (false, None) => Some(text()?.parse().ok()?),
        }),
    })
}
