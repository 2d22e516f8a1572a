//! Where the store is: a folder with a SQLite file, or a PostgreSQL server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::config::StoreConfig;
use super::open::file;
use super::{StoreError, error};
use crate::secret::Secret;

/// A transaction that nothing happens in for this long is taken back by the server, so that a process that is paused in
/// the middle of one keeps nobody from its lease. Shorter than a lease.
const IDLE: &str = "10s";

/// Where state is kept.
#[derive(Clone)]
pub enum Place {
    /// `sigyn.db` in this folder.
    Folder(PathBuf),
    /// A database of a server.
    Server(Box<PgConnectOptions>),
}

impl Place {
    /// The place that the settings name; `folder` when they name no server.
    ///
    /// # Errors
    /// When the URL cannot be read, or is none of PostgreSQL.
    pub fn of(config: &StoreConfig, folder: &Path) -> Result<Self, StoreError> {
        let url = Secret::read(config.url.as_ref(), config.url_file.as_deref());
        match url.map_err(|error| StoreError::Url { reason: error.to_string() })? {
            Some(url) => Self::server(&url),
            None => Ok(Self::from(folder)),
        }
    }

    /// The database that a URL names.
    ///
    /// # Errors
    /// When it is none of PostgreSQL.
    pub fn server(url: &Secret) -> Result<Self, StoreError> {
        if !is_url(url) {
            return Err(StoreError::Url { reason: "it does not begin with postgres://".to_owned() });
        }
        // The parser's own words may repeat what it was given.
        let options = PgConnectOptions::from_str(url.expose())
            .map_err(|_| StoreError::Url { reason: "it cannot be taken apart".to_owned() })?;
        let options = options.application_name("sigyn").options([("idle_in_transaction_session_timeout", IDLE)]);
        Ok(Self::Server(Box::new(options.disable_statement_logging())))
    }
}

/// As people may see it: without the password.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(dir) => f.write_str(&error::text(&file(dir))),
            Self::Server(server) => {
                let (host, port) = (server.get_host(), server.get_port());
                let database = server.get_database().unwrap_or_else(|| server.get_username());
                write!(f, "postgres://{host}:{port}/{database}")
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Whether this looks like a URL of PostgreSQL.
#[must_use]
pub fn is_url(url: &Secret) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme))
}

impl From<&Path> for Place {
    fn from(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }
}

impl From<&PathBuf> for Place {
    fn from(folder: &PathBuf) -> Self {
        Self::Folder(folder.clone())
    }
}
