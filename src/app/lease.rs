//! Which part of the work is this process's, when several share a server.
//!
//! What comes in: the store's leases. What goes out: fences for commits, and a word when something is lost. Alone on a file
//! everything is ours and nothing is fenced.
//!
//! A lease is held for [`TTL`] and renewed every [`BEAT`], so what a killed process held is taken over within
//! `TTL + BEAT`. When the server is away nobody can take anything, so nothing is given up: whether a lease is still ours is
//! what the first renewal after it says. Until then nothing is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fair::View;
use crate::store::{Fence, Store, StoreError};

/// How long a lease is held without a renewal.
pub const TTL: Duration = Duration::from_secs(20);
/// Leases are renewed, and free ones looked for, this often.
pub const BEAT: Duration = Duration::from_secs(5);
/// The lease of the one process that groups, tells and carries out orders.
pub const DISPATCH: &str = "dispatch";

/// Every living process holds one that begins so.
const PROCESS: &str = "process/";
/// The lease of each watch begins so.
const WATCH: &str = "watch/";

/// The lease of a watch.
#[must_use]
pub fn of_watch(name: &str) -> String {
    format!("{WATCH}{name}")
}

/// What this process holds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leases {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    holder: String,
    held: Mutex<BTreeMap<String, Held>>,
    /// What is being asked for at this moment.
    asked: Mutex<BTreeSet<String>>,
    /// Told when something is lost.
    lost: watch::Sender<()>,
}

#[derive(Clone, Debug)]
struct Held {
    fence: Fence,
    /// Until then nobody else can have it, counted from before it was asked for.
    sure: Instant,
}

/// It is not ours, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

impl Leases {
    /// What is needed with this store: nothing for a file, which has one process.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        let shared = store.is_shared().then(|| {
            let (store, held, asked) = (store.clone(), Mutex::default(), Mutex::default());
            Arc::new(Shared { store, holder: holder(), held, asked, lost: watch::Sender::new(()) })
        });
        Self { shared }
    }

    /// Whether others may hold what we do not.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// What to show when something is written under a lease.
    ///
    /// # Errors
    /// When it is not ours.
    pub fn fence(&self, name: &str) -> Result<Option<Fence>, Lost> {
        let Some(shared) = &self.shared else { return Ok(None) };
        shared.held().get(name).map(|held| Some(held.fence.clone())).ok_or(Lost)
    }

    /// Whether it is ours for sure at this moment: for what cannot be taken back.
    #[must_use]
    pub fn is_sure(&self, name: &str) -> bool {
        let Some(shared) = &self.shared else { return true };
        shared.held().get(name).is_some_and(|held| held.sure > Instant::now())
    }

    /// Takes a lease when nobody else has it. True when it is ours now.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn take(&self, name: &str) -> Result<bool, StoreError> {
        let Some(shared) = &self.shared else { return Ok(true) };
        if shared.held().contains_key(name) {
            return Ok(true);
        }
        let sure = Instant::now() + TTL;
        let _asking = shared.ask(name);
        let Some(fence) = shared.store.lease(name, &shared.holder, TTL).await? else { return Ok(false) };
        tracing::info!(lease = name, token = fence.token, "taken");
        shared.held().insert(name.to_owned(), Held { fence, sure });
        Ok(true)
    }

    /// Gives a lease back. What was written under it must be done.
    pub async fn give_back(&self, name: &str) {
        let Some(shared) = &self.shared else { return };
        let Some(held) = shared.held().remove(name) else { return };
        shared.lost.send_replace(());
        match shared.store.release(&held.fence).await {
            Ok(()) => tracing::info!(lease = name, "given back"),
            Err(error) => tracing::warn!(%error, lease = name, "cannot be given back; it runs out by itself"),
        }
    }

    /// Gives everything back, at the end.
    pub async fn give_all_back(&self) {
        let Some(shared) = &self.shared else { return };
        let names: Vec<String> = shared.held().keys().cloned().collect();
        for name in names {
            self.give_back(&name).await;
        }
    }

    /// Resolves when the lease is ours no more; at once when it never was.
    pub async fn lost(&self, name: &str) {
        let Some(shared) = &self.shared else { return std::future::pending().await };
        let mut lost = shared.lost.subscribe();
        while shared.held().contains_key(name) {
            if lost.changed().await.is_err() {
                return;
            }
        }
    }

    /// Who lives, and who has which watch.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn view(&self) -> Result<View, StoreError> {
        let Some(shared) = &self.shared else { return Ok(View::default()) };
        let mut view = View { me: shared.holder.clone(), ..View::default() };
        for lease in shared.store.leases().await?.into_iter().filter(|lease| lease.live) {
            if lease.name.starts_with(PROCESS) {
                view.living.insert(lease.holder);
            } else if let Some(watch) = lease.name.strip_prefix(WATCH) {
                view.held.insert(watch.to_owned(), lease.holder);
            }
        }
        Ok(view)
    }

    /// What to show when something is written that belongs to every living process.
    ///
    /// # Errors
    /// When this one counts as dead.
    pub fn of_process(&self) -> Result<Option<Fence>, Lost> {
        let Some(shared) = &self.shared else { return Ok(None) };
        self.fence(&format!("{PROCESS}{}", shared.holder))
    }

    /// Says once that this process lives, before it takes anything.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn join(&self) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        self.take(&format!("{PROCESS}{}", shared.holder)).await.map(|_| ())
    }

    /// Renews what is held until told to stop.
    pub async fn beat(self, stop: CancellationToken) {
        let Some(shared) = &self.shared else { return };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(BEAT) => {}
            }
            let sure = Instant::now() + TTL;
            match shared.store.renew_leases(&shared.holder, TTL).await {
                Ok(fences) => {
                    for stray in shared.renewed(&fences, sure) {
                        tracing::warn!(lease = stray.name, "taken by a request whose answer was lost: given back");
                        // It is tried again with the next beat.
                        let _ = shared.store.release(&stray).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot renew the leases; nothing is sent while they are not sure");
                }
            }
        }
    }

    /// Forgets processes that ended long ago.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn forget_old(&self) -> Result<(), StoreError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        shared.store.forget_leases(PROCESS).await.map(|_| ())
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a lease is asked for, until the answer is there.
    fn ask(&self, name: &str) -> Asking<'_> {
        self.asked().insert(name.to_owned());
        Asking { shared: self, name: name.to_owned() }
    }

    fn asked(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not among the renewed any more is lost. What was taken since the renewal was asked for is not looked at.
    /// Returns leases that the store says are ours and nobody here works under: the answer that gave them was lost.
    fn renewed(&self, fences: &[Fence], sure: Instant) -> Vec<Fence> {
        let asked = self.asked().clone();
        let mut held = self.held();
        let before = held.len();
        held.retain(|name, held| {
            let ours = fences.contains(&held.fence) || held.sure >= sure;
            if !ours {
                tracing::warn!(lease = name, "another process has taken it over; this one stops working on it");
            }
            ours
        });
        for fence in fences {
            if let Some(held) = held.get_mut(&fence.name).filter(|held| held.fence == *fence) {
                held.sure = held.sure.max(sure);
            }
        }
        if held.len() < before {
            self.lost.send_replace(());
        }
        let stray = |fence: &&Fence| !held.contains_key(&fence.name) && !asked.contains(&fence.name);
        fences.iter().filter(stray).cloned().collect()
    }
}

/// Ends the note of [`Shared::ask`], also when the asking is dropped.
struct Asking<'a> {
    shared: &'a Shared,
    name: String,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.shared.asked().remove(&self.name);
    }
}

/// A name for this process that no other has.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "host" } else { host.trim() };
    // The standard library's seed is random for each process.
    let seed = RandomState::new().build_hasher().finish();
    format!("{host}/{}/{seed:016x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_whose_answer_was_lost_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let (held, asked) = (Mutex::default(), Mutex::default());
        let shared = Shared { store, holder: "one".to_owned(), held, asked, lost: watch::Sender::new(()) };
        let (fence, sure) = (Fence { name: of_watch("a"), token: 3 }, Instant::now() + TTL);
        let renewed = || shared.renewed(std::slice::from_ref(&fence), sure);
        assert_eq!(renewed(), std::slice::from_ref(&fence), "the store says that it is ours");
        let asking = shared.ask(&fence.name);
        assert_eq!(renewed(), [], "the answer is on its way");
        drop(asking);
        assert_eq!(renewed(), std::slice::from_ref(&fence));
        shared.held().insert(fence.name.clone(), Held { fence: fence.clone(), sure });
        assert_eq!(renewed(), []);
    }
}
