//! Opening and closing: the file, its lock, its connections and its shape.
//!
//! What comes in: a folder. What goes out: a [`Store`]. What never happens here: two processes that write one store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use super::StoreError;
use super::dispatch::write_words;
use super::error::{base_code, failed, io_failed, text};

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");

/// The migration since which incidents are found by words.
const WORDS_SINCE: i64 = 3;

/// How long a statement waits for another process' lock (a reader's checkpoint, a backup) before it fails.
const BUSY: Duration = Duration::from_secs(10);
/// The write-ahead file is cut back to this after a checkpoint, so that one large step does not stay on disk for ever.
const WAL_LIMIT: &str = "67108864";
/// `SQLITE_READONLY` and `SQLITE_CANTOPEN`: a reader cannot make the two files that it shares with writers.
const NO_SHARED_FILES: [Option<i32>; 2] = [Some(8), Some(14)];

/// State that survives. Cheap to clone: all clones share one writer and a few readers.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

/// There is no pool on purpose: the number of connections is fixed, and a pool's timeouts are clocks of their own.
#[derive(Debug)]
struct Inner {
    path: PathBuf,
    writer: Slot,
    readers: [Slot; 2],
    turn: AtomicUsize,
    read_only: bool,
    /// Held while the store is open for writing. Its own file: closing any handle of the database file would drop
    /// SQLite's own locks on it (POSIX), and the system releases it when the process dies.
    lock: std::sync::Mutex<Option<File>>,
}

type Slot = Mutex<Option<SqliteConnection>>;

impl Store {
    /// Opens `<dir>/sigyn.db` for reading and writing; makes folder and file, and brings its shape up to date.
    ///
    /// # Errors
    /// When another process has it open for writing, a newer sigyn has written it, or it cannot be written.
    pub async fn open(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|error| io_failed("make the folder", dir, &error))?;
        let path = file(dir);
        let lock = lock(dir, &path)?;
        let mut writer = writer(&path).await?;
        let was = version(&mut writer).await.map_err(failed("open", &path))?;
        migrate(&mut writer, &path).await?;
        if (1..WORDS_SINCE).contains(&was) {
            index_words(&mut writer).await.map_err(failed("bring up to date", &path))?;
        }
        let readers = [reader(&path, false).await?, reader(&path, false).await?];
        Ok(Self::new(path, Some(writer), readers, Some(lock)))
    }

    /// Opens `<dir>/sigyn.db` for reading only, also while another process writes it. Writing methods fail.
    ///
    /// # Errors
    /// When there is no store, or its shape is not this version's.
    pub async fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        let path = file(dir);
        if !path.exists() {
            return Err(StoreError::Missing { path: text(&path) });
        }
        let mut immutable = false;
        let mut first = reader(&path, immutable).await?;
        let mut found = version(&mut first).await;
        if let Err(error) = &found
            && NO_SHARED_FILES.contains(&base_code(error))
            && !wal(&path).exists()
        {
            // A folder that we cannot write, without the files that a living writer keeps: nobody writes.
            immutable = true;
            first = reader(&path, immutable).await?;
            found = version(&mut first).await;
        }
        check_version(found.map_err(failed("read", &path))?, &path)?;
        let readers = [first, reader(&path, immutable).await?];
        Ok(Self::new(path, None, readers, None))
    }

    /// Opens `<dir>/sigyn.db` beside the process that works with it, for what people want of it: reading, and
    /// [`Store::append_command`]. Nothing else may be written through it.
    ///
    /// # Errors
    /// When there is no store, or its shape is not this version's.
    pub async fn open_beside(dir: &Path) -> Result<Self, StoreError> {
        let path = file(dir);
        if !path.exists() {
            return Err(StoreError::Missing { path: text(&path) });
        }
        let mut writer = writer(&path).await?;
        check_version(version(&mut writer).await.map_err(failed("read", &path))?, &path)?;
        let readers = [reader(&path, false).await?, reader(&path, false).await?];
        Ok(Self::new(path, Some(writer), readers, None))
    }

    /// Ends all connections and lets another process open the store. Waits for what is running; later calls fail.
    ///
    /// # Errors
    /// When SQLite could not close the file; everything committed is safe all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut result = Ok(());
        // The writer comes last, so that it can fold the write-ahead file back into the database.
        for slot in inner.readers.iter().chain([&inner.writer]) {
            let connection = slot.lock().await.take();
            if let Some(connection) = connection {
                result = connection.close().await.map_err(failed("close", &inner.path)).and(result);
            }
        }
        if let Ok(mut lock) = inner.lock.lock() {
            lock.take();
        }
        result
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn new(
        path: PathBuf,
        writer: Option<SqliteConnection>,
        readers: [SqliteConnection; 2],
        lock: Option<File>,
    ) -> Self {
        let readers = readers.map(|reader| Mutex::new(Some(reader)));
        let read_only = writer.is_none();
        let (writer, lock, turn) = (Mutex::new(writer), std::sync::Mutex::new(lock), AtomicUsize::new(0));
        Self { inner: Arc::new(Inner { path, writer, readers, turn, read_only, lock }) }
    }

    /// The one connection that writes; `doing` is for the message when there is none.
    pub(super) async fn writer(&self, doing: &'static str) -> Result<Guard<'_>, StoreError> {
        if self.inner.read_only {
            return Err(StoreError::ReadOnly { doing, path: text(&self.inner.path) });
        }
        self.take(&self.inner.writer, doing).await
    }

    /// Replaces the writing connection after a failed transaction. SQLite takes some back by itself (a full disk), sqlx does
    /// not notice, and its connection would refuse to begin another for ever. When it cannot be replaced now, the next
    /// failure tries again.
    pub(super) async fn renew(&self, connection: &mut SqliteConnection) {
        if let Ok(fresh) = writer(&self.inner.path).await {
            *connection = fresh;
        }
    }

    /// A connection for reading. It sees everything that is committed.
    pub(super) async fn reader(&self, doing: &'static str) -> Result<Guard<'_>, StoreError> {
        let turn = self.inner.turn.fetch_add(1, Ordering::Relaxed) % self.inner.readers.len();
        self.take(&self.inner.readers[turn], doing).await
    }

    async fn take<'a>(&'a self, slot: &'a Slot, doing: &'static str) -> Result<Guard<'a>, StoreError> {
        MutexGuard::try_map(slot.lock().await, Option::as_mut)
            .map_err(|_| StoreError::Closed { doing, path: text(&self.inner.path) })
    }
}

pub(super) type Guard<'a> = MappedMutexGuard<'a, SqliteConnection>;

fn file(dir: &Path) -> PathBuf {
    dir.join("sigyn.db")
}

fn wal(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

fn options(path: &Path) -> SqliteConnectOptions {
    // Statements are not logged: they would be in the way of the daemon's own words.
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).foreign_keys(true).disable_statement_logging()
}

async fn writer(path: &Path) -> Result<SqliteConnection, StoreError> {
    options(path)
        .create_if_missing(true)
        // Write-ahead: readers never wait for the writer.
        .journal_mode(SqliteJournalMode::Wal)
        // A commit is on the disk when it returns. NORMAL would survive kill -9 too, but a power cut would take back
        // the last commits, and with them the receipts of messages that are already out: they would be sent twice.
        // The price is one fsync for a step, and there are few steps in a second.
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", WAL_LIMIT)
        .connect()
        .await
        .map_err(failed("open", path))
}

async fn reader(path: &Path, immutable: bool) -> Result<SqliteConnection, StoreError> {
    options(path).read_only(true).immutable(immutable).connect().await.map_err(failed("open", path))
}

/// Takes the lock that keeps a second writer out, and leaves our process id for its message.
fn lock(dir: &Path, path: &Path) -> Result<File, StoreError> {
    let name = dir.join("sigyn.lock");
    let broken = |error: std::io::Error| io_failed("lock", &name, &error);
    let mut file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&name).map_err(broken)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Without a readable id the message is only shorter.
            let _ = file.read_to_string(&mut holder);
            let holder = Some(holder.trim().to_owned()).filter(|pid| !pid.is_empty());
            return Err(StoreError::Locked { path: text(path), holder });
        }
        Err(TryLockError::Error(error)) => return Err(broken(error)),
    }
    file.set_len(0).map_err(broken)?;
    writeln!(file, "{}", std::process::id()).map_err(broken)?;
    Ok(file)
}

async fn migrate(writer: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    match MIGRATIONS.run_direct(None, writer, false).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => {
            Err(StoreError::Newer { path: text(path), found, known: known_version() })
        }
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            Err(failed("bring up to date", path)(error))
        }
        Err(error) => {
            Err(StoreError::Corrupt { doing: "bring up to date", path: text(path), reason: error.to_string() })
        }
    }
}

/// Writes the words of incidents that an older sigyn stored. When it is cut off, some are not found by words.
async fn index_words(writer: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut tx = writer.begin_with("BEGIN IMMEDIATE").await?;
    for row in sqlx::query("SELECT id, started_at, title FROM incidents").fetch_all(&mut *tx).await? {
        let (id, title): (String, String) = (row.try_get("id")?, row.try_get("title")?);
        write_words(&mut tx, &id, row.try_get("started_at")?, std::iter::once(title.as_str())).await?;
    }
    tx.commit().await
}

/// Number of this binary's newest migration.
fn known_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Number of the store's newest migration; 0 when its first start was cut off.
async fn version(reader: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    const BEGUN: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations')";
    if !sqlx::query_scalar(BEGUN).fetch_one(&mut *reader).await? {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success").fetch_one(reader).await
}

fn check_version(found: i64, path: &Path) -> Result<(), StoreError> {
    let known = known_version();
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(StoreError::Older { path: text(path), found, known }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::Newer { path: text(path), found, known }),
    }
}
