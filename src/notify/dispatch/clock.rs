//! A clock that was set back: what was noted in a time that has not come yet counts as noted now, and what was planned from
//! there is due now. So a clock that was wrong for a while holds nothing back once it is right.

use super::Dispatcher;
use super::lead::{Lead, Told};
use super::tell::LOOK_AGAIN;
use crate::notify::route::Router;
use crate::time::{Nanos, SECOND};

/// A clock that is set right by less than this has not been wrong.
const SLACK: Nanos = SECOND;

/// Brings a moment to now when it is later.
pub(super) fn not_after(at: &mut Nanos, now: Nanos) -> bool {
    let ahead = *at > now.saturating_add(SLACK);
    if ahead {
        *at = now;
    }
    ahead
}

impl Dispatcher {
    pub(super) fn set_back(&mut self, now: Nanos) {
        for (id, lead) in &mut self.leads {
            if lead_set_back(&self.rules.router, lead, now) {
                self.dirty.leads.insert(id.clone());
            }
        }
        for (path, book) in &mut self.books {
            let next = || self.rules.router.route(path).map_or(Nanos::MAX, |route| route.next_digest(now));
            if book.set_back(now, next) {
                self.dirty.books.insert(path.clone());
            }
        }
    }
}

fn lead_set_back(router: &Router, lead: &mut Lead, now: Nanos) -> bool {
    let mut changed = not_after(&mut lead.since, now);
    // The end of a snooze is a time that somebody has named.
    let snoozed = lead.incident.handling.snoozed.is_some();
    for (path, told) in &mut lead.told {
        let longest = router.route(path).map_or(0, |route| route.group_wait.max(route.group_interval)).max(LOOK_AGAIN);
        changed |= told_set_back(told, (longest, snoozed), now);
    }
    changed
}

fn told_set_back(told: &mut Told, (longest, snoozed): (Nanos, bool), now: Nanos) -> bool {
    let changed = not_after(&mut told.at, now);
    match &mut told.waits {
        // Nothing but a snooze is ever planned further away than this.
        Some((_, due)) if !snoozed && *due > now.saturating_add(longest).saturating_add(SLACK) => {
            *due = now;
            true
        }
        _ => changed,
    }
}
