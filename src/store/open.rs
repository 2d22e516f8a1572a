//! Opening and closing: the file or the server, the lock, the connections and the shape.
//!
//! What comes in: a [`Place`]. What goes out: a [`Store`]. What never happens here: two processes that write one file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use super::chain::Chains;
use super::dispatch::write_words;
use super::error::{base_code, failed, io_failed, text};
use super::link::{Link, Row, Sql, Statement};
use super::place::Place;
use super::unread::Unread;
use super::{Fence, StoreError};

static FILE_MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");
static SERVER_MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// The migration since which incidents are found by words.
const WORDS_SINCE: i64 = 3;

/// How long a statement waits for another process' lock (a reader's checkpoint, a backup) before it fails.
const BUSY: Duration = Duration::from_secs(10);
/// How long connecting to a server may take.
const CONNECT: Duration = Duration::from_secs(10);
/// The write-ahead file is cut back to this after a checkpoint, so that one large step does not stay on disk for ever.
const WAL_LIMIT: &str = "67108864";
/// `SQLITE_READONLY` and `SQLITE_CANTOPEN`: a reader cannot make the two files that it shares with writers.
const NO_SHARED_FILES: [Option<i32>; 2] = [Some(8), Some(14)];

/// State that survives. Cheap to clone: all clones share one writer and a few readers.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

/// There is no pool on purpose: the number of connections is fixed, and a pool's timeouts are clocks of their own.
#[derive(Debug)]
pub(super) struct Inner {
    place: Place,
    /// The place as people may see it.
    shown: String,
    writer: Slot,
    readers: [Slot; 2],
    turn: AtomicUsize,
    read_only: bool,
    /// Of a file that nobody can write: see [`Store::open_read_only`].
    immutable: bool,
    /// Held while a file is open for writing. Its own file: closing any handle of the database file would drop
    /// SQLite's own locks on it (POSIX), and the system releases it when the process dies.
    lock: std::sync::Mutex<Option<File>>,
    pub(super) chains: Chains,
    pub(super) unread: Unread,
}

type Slot = Mutex<Option<Link>>;

pub(super) type Guard<'a> = MappedMutexGuard<'a, Link>;

impl Store {
    /// Opens the place for reading and writing: makes folder and file (`<dir>/sigyn.db`), and brings its shape up to date.
    /// Of a file there is one writer; a server may have several, which share their work by leases.
    ///
    /// # Errors
    /// When another process has the file open for writing, a newer sigyn has written it, or it cannot be written.
    pub async fn open(place: impl Into<Place>) -> Result<Self, StoreError> {
        Self::open_with(place.into(), None).await
    }

    /// Brings the shape up to that of a version, as an older sigyn would have left it; `None`: the newest.
    pub(super) async fn open_with(place: Place, target: Option<i64>) -> Result<Self, StoreError> {
        let lock = match &place {
            Place::Folder(dir) => {
                std::fs::create_dir_all(dir).map_err(|error| io_failed("make the folder", dir, &error))?;
                Some(lock(dir, &file(dir))?)
            }
            Place::Server(_) => None,
        };
        let shown = place.to_string();
        let mut writer = writer(&place).await?;
        let was = version(&mut writer).await.map_err(failed("open", &shown))?;
        migrate(&mut writer, &shown, target).await?;
        if (1..WORDS_SINCE).contains(&was) {
            index_words(&mut writer).await.map_err(failed("bring up to date", &shown))?;
        }
        let readers = [reader(&place, false).await?, reader(&place, false).await?];
        Ok(Self::new(place, Some(writer), readers, Access { lock, immutable: false }))
    }

    /// Opens the place for reading only, also while another process writes it. Writing methods fail.
    ///
    /// # Errors
    /// When there is no store, or its shape is not this version's.
    pub async fn open_read_only(place: impl Into<Place>) -> Result<Self, StoreError> {
        let place = place.into();
        must_exist(&place)?;
        let mut immutable = false;
        let mut first = reader(&place, immutable).await?;
        let mut found = version(&mut first).await;
        if let (Err(error), Place::Folder(dir)) = (&found, &place)
            && NO_SHARED_FILES.contains(&base_code(error))
            && !wal(&file(dir)).exists()
        {
            // A folder that we cannot write, without the files that a living writer keeps: nobody writes.
            immutable = true;
            first = reader(&place, immutable).await?;
            found = version(&mut first).await;
        }
        check_version(found.map_err(failed("read", &place.to_string()))?, &place)?;
        let readers = [first, reader(&place, immutable).await?];
        Ok(Self::new(place, None, readers, Access { lock: None, immutable }))
    }

    /// Opens the place beside the process that works with it, for what people want of it: reading, and
    /// [`Store::append_command`]. Nothing else may be written through it.
    ///
    /// # Errors
    /// When there is no store, or its shape is not this version's.
    pub async fn open_beside(place: impl Into<Place>) -> Result<Self, StoreError> {
        let place = place.into();
        must_exist(&place)?;
        let mut writer = writer(&place).await?;
        check_version(version(&mut writer).await.map_err(failed("read", &place.to_string()))?, &place)?;
        let readers = [reader(&place, false).await?, reader(&place, false).await?];
        Ok(Self::new(place, Some(writer), readers, Access { lock: None, immutable: false }))
    }

    /// Ends all connections and lets another process open the store. Waits for what is running; later calls fail.
    ///
    /// # Errors
    /// When a connection could not be closed in order; everything committed is safe all the same.
    pub async fn close(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let mut result = Ok(());
        // The writer comes last, so that it can fold the write-ahead file back into the database.
        for slot in inner.readers.iter().chain([&inner.writer]) {
            let link = slot.lock().await.take();
            if let Some(link) = link {
                // One that failed cannot be closed in order, and need not.
                let spoilt = link.is_spoilt();
                let closed = link.close().await.map_err(failed("close", &inner.shown));
                result = if spoilt { result } else { closed.and(result) };
            }
        }
        if let Ok(mut lock) = inner.lock.lock() {
            lock.take();
        }
        result
    }

    /// The database file, or the server and its database, as people may see it.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.inner.shown
    }

    /// Whether several processes may work with it at the same time.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.inner.place, Place::Server(_))
    }

    fn new(place: Place, writer: Option<Link>, readers: [Link; 2], access: Access) -> Self {
        let readers = readers.map(|reader| Mutex::new(Some(reader)));
        let (read_only, shown) = (writer.is_none(), place.to_string());
        let Access { lock, immutable } = access;
        let (writer, lock, turn) = (Mutex::new(writer), std::sync::Mutex::new(lock), AtomicUsize::new(0));
        let (chains, unread) = (Chains::default(), Unread::default());
        Self {
            inner: Arc::new(Inner { place, shown, writer, readers, turn, read_only, immutable, lock, chains, unread }),
        }
    }

    /// The one connection that writes; `doing` is for the message when there is none. What failed before, or was left
    /// in the middle of a transaction, is replaced first.
    pub(super) async fn writer(&self, doing: &'static str) -> Result<Guard<'_>, StoreError> {
        if self.inner.read_only {
            return Err(StoreError::ReadOnly { doing, path: self.inner.shown.clone() });
        }
        let mut guard = self.take(&self.inner.writer, doing).await?;
        guard.rollback().await;
        if guard.is_spoilt() {
            *guard = writer(&self.inner.place).await?;
        }
        Ok(guard)
    }

    /// A connection for reading. It sees everything that is committed.
    pub(super) async fn reader(&self, doing: &'static str) -> Result<Guard<'_>, StoreError> {
        let turn = self.inner.turn.fetch_add(1, Ordering::Relaxed) % self.inner.readers.len();
        let mut guard = self.take(&self.inner.readers[turn], doing).await?;
        if guard.is_spoilt() {
            *guard = reader(&self.inner.place, self.inner.immutable).await?;
        }
        Ok(guard)
    }

    async fn take<'a>(&'a self, slot: &'a Slot, doing: &'static str) -> Result<Guard<'a>, StoreError> {
        MutexGuard::try_map(slot.lock().await, Option::as_mut)
            .map_err(|_| StoreError::Closed { doing, path: self.inner.shown.clone() })
    }

    /// Reads all rows of an answer. A connection that went away since it was last used is made anew once.
    pub(super) async fn read<T>(
        &self,
        doing: &'static str,
        statement: Statement,
        each: impl Fn(&Row) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let mut link = self.reader(doing).await?;
        let mut rows = link.all(statement.clone()).await;
        if rows.is_err() && link.is_spoilt() {
            *link = reader(&self.inner.place, self.inner.immutable).await?;
            rows = link.all(statement).await;
        }
        rows.and_then(|rows| rows.iter().map(each).collect()).map_err(|error| self.failed(doing, error))
    }

    /// Carries out one statement; returns how many rows it changed.
    pub(super) async fn write(&self, doing: &'static str, statement: Statement) -> Result<u64, StoreError> {
        let mut writer = self.writer(doing).await?;
        writer.run(statement).await.map_err(|error| self.failed(doing, error))
    }

    /// Ends a transaction: `written` is false when its fence did not hold.
    pub(super) async fn settle(
        &self,
        writer: &mut Link,
        written: Result<bool, sqlx::Error>,
        fence: Option<&Fence>,
        doing: &'static str,
    ) -> Result<(), StoreError> {
        // After a commit there is nothing to take back.
        writer.rollback().await;
        match (written, fence) {
            (Ok(true), _) | (Ok(false), None) => Ok(()),
            (Ok(false), Some(fence)) => Err(StoreError::Fenced { name: fence.name.clone() }),
            (Err(error), _) => Err(self.failed(doing, error)),
        }
    }

    /// Adds what was attempted to a failure.
    pub(super) fn failed(&self, doing: &'static str, error: sqlx::Error) -> StoreError {
        failed(doing, &self.inner.shown)(error)
    }
}

/// How a file is held.
struct Access {
    lock: Option<File>,
    immutable: bool,
}

fn must_exist(place: &Place) -> Result<(), StoreError> {
    match place {
        Place::Folder(dir) if !file(dir).exists() => Err(StoreError::Missing { path: place.to_string() }),
        _ => Ok(()),
    }
}

pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join("sigyn.db")
}

fn wal(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

fn options(path: &Path) -> SqliteConnectOptions {
    // Statements are not logged: they would be in the way of the daemon's own words.
    SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).foreign_keys(true).disable_statement_logging()
}

async fn writer(place: &Place) -> Result<Link, StoreError> {
    let dir = match place {
        Place::Folder(dir) => dir,
        Place::Server(server) => return server_link(server, place).await,
    };
    options(&file(dir))
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
        .map(Link::sqlite)
        .map_err(failed("open", &place.to_string()))
}

async fn reader(place: &Place, immutable: bool) -> Result<Link, StoreError> {
    let dir = match place {
        Place::Folder(dir) => dir,
        Place::Server(server) => return server_link(server, place).await,
    };
    let connected = options(&file(dir)).read_only(true).immutable(immutable).connect().await;
    connected.map(Link::sqlite).map_err(failed("open", &place.to_string()))
}

async fn server_link(server: &PgConnectOptions, place: &Place) -> Result<Link, StoreError> {
    let connected = tokio::time::timeout(CONNECT, server.connect()).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", CONNECT.as_secs());
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    });
    connected.map(Link::postgres).map_err(failed("open", &place.to_string()))
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

async fn migrate(writer: &mut Link, shown: &str, target: Option<i64>) -> Result<(), StoreError> {
    let done = match writer.as_postgres() {
        Some(server) => SERVER_MIGRATIONS.run_direct(target, server, false).await,
        None => match writer.as_sqlite() {
            Some(file) => FILE_MIGRATIONS.run_direct(target, file, false).await,
            None => Ok(()),
        },
    };
    match done {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => {
            Err(StoreError::Newer { path: shown.to_owned(), found, known: known_version() })
        }
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
            Err(failed("bring up to date", shown)(error))
        }
        Err(error) => {
            Err(StoreError::Corrupt { doing: "bring up to date", path: shown.to_owned(), reason: error.to_string() })
        }
    }
}

/// Writes the words of incidents that an older sigyn stored. When it is cut off, some are not found by words.
async fn index_words(writer: &mut Link) -> Result<(), sqlx::Error> {
    writer.begin().await?;
    for row in writer.all(Statement::plain("SELECT id, started_at, title FROM incidents")).await? {
        let (id, title): (String, String) = (row.get("id")?, row.get("title")?);
        write_words(writer, &id, row.get("started_at")?, std::iter::once(title.as_str())).await?;
    }
    writer.commit().await
}

/// Number of this binary's newest migration; both databases have the same.
pub(super) fn known_version() -> i64 {
    FILE_MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Number of the store's newest migration; 0 when its first start was cut off.
pub(super) async fn version(reader: &mut Link) -> Result<i64, sqlx::Error> {
    const BEGUN: Sql = Sql {
        sqlite: "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations') AS begun",
        postgres: "SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS begun",
    };
    const NEWEST: &str = "SELECT COALESCE(MAX(version), 0) AS version FROM _sqlx_migrations WHERE success";
    let begun = reader.one(Statement::plain(BEGUN)).await?.map(|row| row.get::<bool>("begun")).transpose()?;
    if begun != Some(true) {
        return Ok(0);
    }
    let newest = reader.one(Statement::plain(NEWEST)).await?;
    newest.map_or(Ok(0), |row| row.get("version"))
}

fn check_version(found: i64, place: &Place) -> Result<(), StoreError> {
    let (known, path) = (known_version(), place.to_string());
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(StoreError::Older { path, found, known }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::Newer { path, found, known }),
    }
}
