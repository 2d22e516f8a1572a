//! Who works on what, when several sigyn share a server.
//!
//! A lease has a holder until it runs out, and a token that counts up with each new holder. Whoever writes shows the
//! token ([`Fence`]); in the same transaction it is compared, so a process that was paused and does not know yet that it
//! lost its lease writes nothing. Time is the server's: the clocks of the processes do not matter. A file has one process
//! (see [`Store::open`]), which gets every lease that it asks for.

use std::time::Duration;

use super::link::{Row, Sql, Statement};
use super::{Fence, Lease, Store, StoreError};

const DOING: &str = "take a lease in";

/// Nanoseconds since the epoch, by the server.
macro_rules! clock {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000000 AS BIGINT)"
    };
}

/// A file's leases never run out.
pub(super) const TAKE: Sql = Sql {
    sqlite: "INSERT INTO leases (tenant, name, holder, token, expires_at)
        VALUES ($1, $2, $3, 1, 9223372036854775807 - 0 * $4)
        ON CONFLICT (tenant, name) DO UPDATE SET token = leases.token + 1, holder = excluded.holder,
            expires_at = excluded.expires_at
        RETURNING token",
    postgres: concat!(
        "INSERT INTO leases (tenant, name, holder, token, expires_at) VALUES ($1, $2, $3, 1, ",
        clock!(),
        " + $4) ON CONFLICT (tenant, name) DO UPDATE SET token = leases.token + 1, holder = excluded.holder,
            expires_at = excluded.expires_at
        WHERE leases.expires_at <= ",
        clock!(),
        " OR leases.holder = excluded.holder RETURNING token"
    ),
};
pub(super) const RENEW: Sql = Sql {
    sqlite: "SELECT name, token FROM leases WHERE tenant = $1 AND holder = $2 AND $3 = $3",
    postgres: concat!(
        "UPDATE leases SET expires_at = ",
        clock!(),
        " + $3 WHERE tenant = $1 AND holder = $2 RETURNING name, token"
    ),
};
/// The row stays, so that the token goes on counting.
pub(super) const RELEASE: &str =
    "UPDATE leases SET holder = '', expires_at = 0 WHERE tenant = $1 AND name = $2 AND token = $3";
pub(super) const LEASES: Sql = Sql {
    sqlite: "SELECT name, holder, holder <> '' AS live FROM leases WHERE tenant = $1 ORDER BY name",
    postgres: concat!(
        "SELECT name, holder, expires_at > ",
        clock!(),
        " AS live FROM leases WHERE tenant = $1 ORDER BY name"
    ),
};
/// Leases that nobody held for a day, of names that do not come again.
pub(super) const FORGET: Sql = Sql {
    sqlite: "DELETE FROM leases WHERE tenant = $1 AND name >= $2 AND name < $3 AND holder = ''",
    postgres: concat!(
        "DELETE FROM leases WHERE tenant = $1 AND name >= $2 AND name < $3 AND expires_at < ",
        clock!(),
        " - 86400000000000"
    ),
};

impl Store {
    /// Takes a lease for `ttl` when nobody else has it. A holder that asks again gets it anew, with the next token.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        let mut writer = self.writer(DOING).await?;
        let take = Statement::of(TAKE).bind(name).bind(holder).bind(nanos(ttl));
        let row = writer.one(take).await.map_err(|error| self.failed(DOING, error))?;
        let token = row.map(|row| row.get("token")).transpose().map_err(|error| self.failed(DOING, error))?;
        Ok(token.map(|token| Fence { name: name.to_owned(), token }))
    }

    /// Holds all that `holder` still has for another `ttl`, and says what that is. What is not among it is lost.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn renew_leases(&self, holder: &str, ttl: Duration) -> Result<Vec<Fence>, StoreError> {
        let mut writer = self.writer(DOING).await?;
        let rows = writer.all(Statement::of(RENEW).bind(holder).bind(nanos(ttl))).await;
        let fence = |row: &Row| Ok(Fence { name: row.get("name")?, token: row.get("token")? });
        rows.and_then(|rows| rows.iter().map(fence).collect()).map_err(|error| self.failed(DOING, error))
    }

    /// Gives a lease back, so that another may take it at once.
    ///
    /// # Errors
    /// When the store could not be written; then it runs out by itself.
    pub async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        self.write(DOING, Statement::of(RELEASE).bind(&fence.name).bind(fence.token)).await.map(|_| ())
    }

    /// All leases by name, also those that nobody holds now.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let lease =
            |row: &Row| Ok(Lease { name: row.get("name")?, holder: row.get("holder")?, live: row.get("live")? });
        self.read("read the leases of", Statement::of(LEASES), lease).await
    }

    /// Forgets leases whose name begins so and that nobody has held for a day.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn forget_leases(&self, prefix: &str) -> Result<u64, StoreError> {
        let end = format!("{prefix}\u{10ffff}");
        self.write(DOING, Statement::of(FORGET).bind(prefix).bind(end)).await
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX / 2)
}
