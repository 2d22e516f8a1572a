//! From the division of the budget in the store to what the engine may spend.
//!
//! What comes in: the watches of the settings, and how many groups each has. What goes out: the budgets that have changed,
//! as inputs for the engine. What never happens here: a division of its own; all processes read the same one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lease::Leases;
use crate::engine::Budget;
use crate::store::{Claim, Share, Store, StoreError};
use crate::time::Nanos;

/// What this process claims and knows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shares {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    leases: Leases,
    /// False alarms a day of all watches.
    budget: f64,
    known: Mutex<BTreeMap<String, Known>>,
}

/// What is known of a watch of the settings.
#[derive(Debug, Default)]
struct Known {
    groups: u32,
    share: Option<Share>,
}

impl Shares {
    /// For these watches, which share `budget` false alarms a day with those of other processes.
    pub fn new<'a>(store: &Store, leases: &Leases, budget: f64, watches: impl IntoIterator<Item = &'a str>) -> Self {
        let known = Mutex::new(watches.into_iter().map(|watch| (watch.to_owned(), Known::default())).collect());
        Self { inner: Arc::new(Inner { store: store.clone(), leases: leases.clone(), budget, known }) }
    }

    /// Notes how many groups a watch has. True when its share has no room for them: then [`Shares::agree`] makes some.
    #[must_use]
    pub fn has_outgrown(&self, watch: &str, groups: u32) -> bool {
        let mut all = self.known();
        let Some(known) = all.get_mut(watch) else { return false };
        known.groups = known.groups.max(groups);
        known.share.as_ref().is_none_or(|share| share.groups < known.groups)
    }

    /// Claims what the watches need, and gives the budgets that are others than at the last time.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn agree(&self, now: Nanos) -> Result<Vec<(Arc<str>, Budget)>, StoreError> {
        let claims: Vec<Claim> =
            self.known().iter().map(|(watch, known)| Claim { watch: watch.clone(), groups: known.groups }).collect();
        let Ok(fence) = self.inner.leases.of_process() else { return Ok(Vec::new()) };
        let shares = self.inner.store.claim_shares(&claims, now, fence.as_ref()).await?;
        let mut all = self.known();
        let mut changed = Vec::new();
        for share in shares.all {
            let Some(known) = all.get_mut(&share.watch) else { continue };
            if known.share.as_ref() != Some(&share) {
                let (watch, group) = share.of(self.inner.budget);
                changed.push((Arc::from(share.watch.as_str()), Budget { watch, group }));
                known.share = Some(share);
            }
        }
        Ok(changed)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
