//! Where the parts show how they are, for `/readyz` and the heartbeat.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::reader::Progress;
use crate::http::{Health, WatchHealth};
use crate::time::Nanos;

/// Shared by all parts of one process; survives reloads.
#[derive(Clone, Default)]
pub struct Board {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    reasons: Vec<String>,
    watches: Vec<(String, watch::Receiver<Progress>)>,
}

impl Board {
    /// Says why sigyn as a whole is not ready, and forgets the watches; `None`: it is.
    pub fn set(&self, reason: Option<String>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if reason.is_some() {
            inner.watches.clear();
        }
        inner.reasons = reason.into_iter().collect();
    }

    /// Shows the progress of a watch from now on.
    pub fn add(&self, name: &str, progress: watch::Receiver<Progress>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.watches.retain(|(known, _)| known != name);
        inner.watches.push((name.to_owned(), progress));
    }

    /// A watch is another process's now.
    pub fn remove(&self, name: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.watches.retain(|(known, _)| known != name);
    }

    /// Up to where every watch is read; `None` without any.
    #[must_use]
    pub fn read_until(&self) -> Option<Nanos> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.watches.iter().map(|(_, progress)| progress.borrow().read_until).min()
    }

    /// How sigyn is now.
    #[must_use]
    pub fn health(&self) -> Health {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let watches = inner.watches.iter().map(|(name, progress)| {
            let progress = progress.borrow();
            WatchHealth {
                name: name.clone(),
                read: progress.read_once,
                lag_seconds: progress.read_once.then_some(progress.lag_seconds),
                groups: u64::from(progress.learning.ready),
                learning: u64::from(progress.learning.groups - progress.learning.ready.min(progress.learning.groups)),
                error: progress.error.clone(),
            }
        });
        Health { reasons: inner.reasons.clone(), watches: watches.collect() }
    }
}
