//! From the division of the budget in the store to what the engine may spend.
//!
//! What comes in: the watches of the settings, and how many groups each has. What goes out: the budgets that have changed,
//! as inputs for the engine, and a gauge of each part. What never happens here: a division of its own; all processes read
//! the same one.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Watches whose part is shown.
    shown: Mutex<BTreeSet<String>>,
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
        let (store, leases, shown) = (store.clone(), leases.clone(), Mutex::default());
        Self { inner: Arc::new(Inner { store, leases, budget, known, shown }) }
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
        self.inner.show(&shares.all);
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

impl Inner {
    /// Shows each part, also those of watches that only others have; who has none any more has nothing.
    fn show(&self, all: &[Share]) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<String> = all.iter().map(|share| share.watch.clone()).collect();
        for gone in shown.difference(&now) {
            gauge(gone, 0.0);
        }
        for share in all {
            let (part, _) = share.of(1.0);
            gauge(&share.watch, part);
        }
        *shown = now;
    }
}

impl Drop for Inner {
    /// The settings that come next may lack a watch: nobody else would take back what is shown of it.
    fn drop(&mut self) {
        self.show(&[]);
    }
}

fn gauge(watch: &str, part: f64) {
    metrics::gauge!("sigyn_false_alert_share_ratio", "watch" => watch.to_owned()).set(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_part_of_each_watch_is_shown_while_it_has_one() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let rendered = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let shown = || {
            let text = rendered.render();
            let mut parts: Vec<String> = text
                .lines()
                .filter_map(|line| line.strip_prefix("sigyn_false_alert_share_ratio{watch="))
                .map(|line| line.replace("\"} ", " ").replace('"', ""))
                .collect();
            parts.sort_unstable();
            parts.join(", ")
        };
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let leases = Leases::new(&store);
        let shares = Shares::new(&store, &leases, 2.0, ["cart", "auth"]);
        let budgets = shares.agree(0).await.unwrap();
        assert_eq!(budgets.iter().map(|(_, budget)| budget.watch).collect::<Vec<_>>(), [1.0, 1.0]);
        assert_eq!(shown(), "auth 0.5, cart 0.5", "of the budget, whatever that is");

        assert!(shares.has_outgrown("cart", 12));
        shares.agree(1).await.unwrap();
        assert_eq!(shown(), "auth 0.2, cart 0.8", "room for 20 groups, and for 5");

        // Other settings.
        drop(shares);
        assert_eq!(shown(), "auth 0, cart 0");
        Shares::new(&store, &leases, 2.0, ["auth", "shop"]).agree(2).await.unwrap();
        store.close().await.unwrap();
    }
}
