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
    /// More than one incident begins like this.
    #[error("more than one incident begins with `{prefix}`; give more of its id")]
    Ambiguous {
        /// What was asked for.
        prefix: String,
    },
    /// Somebody else holds the lease now.
    #[error("another sigyn has taken over `{name}`; nothing was written")]
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

/// Adds what was attempted to a failure of SQLite: `.map_err(failed("read ...", path))`.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(sqlx::Error) -> StoreError {
    let path = text(path);
    move |error| match base_code(&error) {
        Some(code::FULL) => StoreError::Full { doing, path },
        Some(code::PERM | code::READONLY | code::CANTOPEN) => {
            StoreError::NotWritable { doing, path, reason: message(&error) }
        }
        Some(code::CORRUPT | code::NOTADB) => StoreError::Corrupt { doing, path, reason: message(&error) },
        _ if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
            StoreError::Corrupt { doing, path, reason: message(&error) }
        }
        _ => StoreError::Failed { doing, path, source: Box::new(error) },
    }
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
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

fn message(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
