//! The work of one process only: carrying out commands and telling people. With a file that is this process; of several
//! on one server it is the one that holds the lease `dispatch`.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::lease::{BEAT, DISPATCH};
use crate::notify::outbox::Outbox;
use crate::remediate::Outlet;

/// Commands of other processes and of the outbox come without a call.
const LOOK: Duration = Duration::from_secs(5);

/// Everything that only one process may do.
pub(super) struct Duty {
    pub(super) core: Core,
    pub(super) outbox: Outbox<Outlet>,
}

impl Duty {
    /// Works whenever the lease is this process's, until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.core.leases.take(DISPATCH).await {
                Ok(true) => self.hold(&stop).await,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "cannot ask for the lease `{DISPATCH}`"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(BEAT) => {}
            }
        }
    }

    /// From here until it is lost, nobody else does this work.
    async fn hold(&self, stop: &CancellationToken) {
        if self.core.leases.is_shared() {
            match self.core.store.open_internal().await {
                Ok(open) => self.core.engine.restore_internal(open).await,
                Err(error) => {
                    tracing::warn!(%error, "cannot read what is open about sigyn itself");
                    return self.core.leases.give_back(DISPATCH).await;
                }
            }
        }
        let over = stop.child_token();
        let work =
            async { tokio::join!(self.outbox.run(over.clone()), self.commands(&over), self.core.teller.run(&over)) };
        tokio::pin!(work);
        tokio::select! {
            _ = &mut work => return,
            () = self.core.leases.lost(DISPATCH) => {}
        }
        over.cancel();
        work.await;
        self.core.teller.forget().await;
    }

    async fn commands(&self, stop: &CancellationToken) {
        loop {
            self.core.run_commands().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.commands.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// What the outbox asks before it sends: a process that was paused may not know yet that it lost the lease.
    pub(super) fn may_send(core: &Core) -> Arc<dyn Fn() -> bool + Send + Sync> {
        let leases = core.leases.clone();
        Arc::new(move || leases.is_sure(DISPATCH))
    }
}
