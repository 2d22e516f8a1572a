//! What can go wrong with the store, in words that say what to do.

use std::path::{Path, PathBuf};

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process writes this store.
    #[error(
        "another sigyn{} works on {path}; stop it, or give this one its own `store.data_dir`",
        holder.as_ref().map_or(String::new(), |pid| format!(" (process {pid})"))
    )]
    Locked {
        /// The database file.
        path: String,
        /// Process id of the other one, when it left it.
        holder: Option<String>,
    },
    /// There is nothing to read.
    #[error(
        "there is no store at {path}; `sigyn run` or `sigyn once` makes one, or point `store.data_dir` to the folder of an \
         existing one"
    )]
    Missing {
        /// The database file.
        path: String,
    },
    /// A newer sigyn has written this store.
    #[error(
        "{path} was written by a newer sigyn (its shape is {found}, this one knows {known}); run that version or a newer \
         one, or give this one its own `store.data_dir`"
    )]
    Newer {
        /// The database file.
        path: String,
        /// Number of the store's newest migration.
        found: i64,
        /// Number of this binary's newest migration.
        known: i64,
    },
    /// An older sigyn has written this store, and a reader does not change it.
    #[error(
        "{path} was written by an older sigyn (its shape is {found}, this one needs {known}); start `sigyn run` once to bring it up to date"
    )]
    Older {
        /// The database file.
        path: String,
        /// Number of the store's newest migration.
        found: i64,
        /// Number of this binary's newest migration.
        known: i64,
    },
    /// The folder or the file may not be written.
    #[error("cannot {doing} {path}: {reason}; sigyn's user must be able to write the folder and its files")]
    NotWritable {
        /// What was attempted.
        doing: &'static str,
        /// The file or folder.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// No room left.
    #[error(
        "cannot {doing} {path}: the disk is full; make room, or lower `store.window_retention`. Nothing was written by \
         halves"
    )]
    Full {
        /// What was attempted.
        doing: &'static str,
        /// The database file.
        path: String,
    },
    /// The file is no SQLite database, or a broken one.
    #[error(
        "cannot {doing} {path}: the file is damaged or no sigyn store ({reason}); move it and its -wal and -shm away and \
         start again (sigyn learns anew), or bring back a copy"
    )]
    Corrupt {
        /// What was attempted.
        doing: &'static str,
        /// The database file.
        path: String,
        /// What SQLite said.
        reason: String,
    },
    /// The database server cannot be reached, or went away.
    #[error(
        "cannot {doing} {path}: {reason}; is PostgreSQL running there, and may it be reached from here (`store.url`)?"
    )]
    Away {
        /// What was attempted.
        doing: &'static str,
        /// The database.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// The database server does not let us in, or not do this.
    #[error(
        "cannot {doing} {path}: {reason}; check the user, the password, the database and its rights in `store.url`"
    )]
    Refused {
        /// What was attempted.
        doing: &'static str,
        /// The database.
        path: String,
        /// What the server said.
        reason: String,
    },
    /// The URL is none, or cannot be read.
    #[error("store.url cannot be used: {reason}; it must be like postgres://user:password@host:5432/database")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// A backup could not be written or used.
    #[error("{file}: {reason}")]
    Backup {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// More than one incident begins like this.
    #[error("more than one incident begins with `{prefix}`; give more of its id")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
    },
    /// Somebody else holds the lease now.
    #[error("another process has taken over `{name}`; nothing was written")]
    Fenced {
        /// Name of the lease.
        name: String,
    },
    /// The store was closed before.
    #[error("cannot {doing} {path}: the store is closed already")]
    Closed {
        /// What was attempted.
        doing: &'static str,
        /// The database file.
        path: String,
    },
    /// It was opened with [`Store::open_read_only`](super::Store::open_read_only).
    #[error("cannot {doing} {path}: it was opened for reading only")]
    ReadOnly {
        /// What was attempted.
        doing: &'static str,
        /// The database file.
        path: String,
    },
    /// Anything else.
    #[error("cannot {doing} {path}: {source}")]
    Failed {
        /// What was attempted.
        doing: &'static str,
        /// The database file.
        path: String,
        /// What went wrong.
        source: Box<sqlx::Error>,
    },
}

/// The base codes of <https://www.sqlite.org/rescode.html> that get their own words. The upper bits of a code are detail.
mod code {
    pub(super) const PERM: i32 = 3;
    pub(super) const READONLY: i32 = 8;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const NOTADB: i32 = 26;
}

/// Classes of <https://www.postgresql.org/docs/current/errcodes-appendix.html> that get their own words.
mod state {
    pub(super) const AWAY: [&str; 2] = ["08", "57"];
    pub(super) const REFUSED: [&str; 3] = ["28", "3D", "42501"];
    pub(super) const FULL: &str = "53100";
}

/// Adds what was attempted to a failure: `.map_err(failed("read ...", place))`.
pub(super) fn failed(doing: &'static str, place: &str) -> impl FnOnce(sqlx::Error) -> StoreError {
    let path = place.to_owned();
    move |error| {
        let is_server = place_is_server(&path);
        match (base_code(&error), server_code(&error)) {
            (Some(code::FULL), _) => StoreError::Full { doing, path },
            (Some(code::PERM | code::READONLY | code::CANTOPEN), _) => {
                StoreError::NotWritable { doing, path, reason: message(&error) }
            }
            (Some(code::CORRUPT | code::NOTADB), _) => StoreError::Corrupt { doing, path, reason: message(&error) },
            (_, Some(state)) if state == state::FULL => StoreError::Full { doing, path },
            (_, Some(state)) if state::AWAY.iter().any(|class| state.starts_with(class)) => {
                StoreError::Away { doing, path, reason: message(&error) }
            }
            (_, Some(state)) if state::REFUSED.iter().any(|class| state.starts_with(class)) => {
                StoreError::Refused { doing, path, reason: message(&error) }
            }
            _ if is_server && matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => {
                StoreError::Away { doing, path, reason: error.to_string() }
            }
            _ if !is_server && matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
                StoreError::Corrupt { doing, path, reason: message(&error) }
            }
            _ => StoreError::Failed { doing, path, source: Box::new(error) },
        }
    }
}

fn place_is_server(place: &str) -> bool {
    place.starts_with("postgres://")
}

/// Failure of a file operation that is not SQLite's.
pub(super) fn io_failed(doing: &'static str, path: &Path, error: &std::io::Error) -> StoreError {
    let path = text(path);
    match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full { doing, path },
        _ => StoreError::NotWritable { doing, path, reason: error.to_string() },
    }
}

/// The path as people read it.
pub(super) fn text(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}

/// SQLite's result code without its detail bits.
pub(super) fn base_code(error: &sqlx::Error) -> Option<i32> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
    error.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}

/// PostgreSQL's five characters.
fn server_code(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
    error.code().map(std::borrow::Cow::into_owned)
}

fn message(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
