//! New settings while something is open: what waits on a route that is gone must still be told.
//!
//! What comes in: what a restart has put back, and the routes as they are now. What goes out: the same, on routes that are
//! there. What fires is told where the incident goes now, to those who have not heard of it; of what is over, what waits goes
//! there; rows of a digest go to the nearest route above. Whoever heard of it on a route that is gone hears of its end in any
//! case: see `Lead::heard`. What never happens here: a message.

use super::lead::{Lead, Told};
use super::{ALWAYS, Dispatcher};
use crate::incident::TransitionKind;
use crate::notify::route::{Route, Router};

impl Dispatcher {
    pub(super) fn reroute(&mut self) {
        for (id, lead) in &mut self.leads {
            if lead_rerouted(&self.rules.router, lead) {
                self.dirty.leads.insert(id.clone());
            }
        }
        let gone = |path: &String| self.rules.router.route(path).is_none();
        let gone: Vec<String> = self.books.keys().filter(|path| gone(path)).cloned().collect();
        for path in gone {
            let Some(above) = self.rules.router.above(&path).map(|route| route.path.clone()) else { continue };
            let Some(mut book) = self.books.remove(&path) else { continue };
            if self.books.entry(above.clone()).or_default().inherit(&mut book) {
                self.dirty.books.insert(above);
                self.dirty.books.insert(path.clone());
            }
            // What it has counted of the day counts again when it comes back.
            self.books.insert(path, book);
        }
    }
}

/// True when a route that it was told on is gone, or tells others now.
fn lead_rerouted(router: &Router, lead: &mut Lead) -> bool {
    let gone: Vec<String> =
        lead.told.keys().filter(|path| *path != ALWAYS && router.route(path).is_none()).cloned().collect();
    let gone: Vec<Told> = gone.iter().filter_map(|path| lead.told.remove(path)).collect();
    // Of several the one that knew most.
    let knew = gone.into_iter().max_by_key(|told| (told.open, told.waits.is_some(), told.severity));
    let mut changed = knew.is_some();
    for route in router.matching(&lead.labels()) {
        changed |= takes(lead, route, knew.as_ref());
    }
    changed
}

/// What a route knows of an incident from now on; `knew`: what a route did that is gone. True when that is something else.
fn takes(lead: &mut Lead, route: &Route, knew: Option<&Told>) -> bool {
    let firing = lead.is_firing();
    let strangers = firing && route.receivers.iter().any(|receiver| !lead.heard.contains_key(receiver));
    let anew = Some((TransitionKind::Opened, lead.since.saturating_add(route.group_wait)));
    if let Some(told) = lead.told.get_mut(&route.path) {
        if told.open && told.waits.is_none() && strangers {
            told.waits = anew;
            return true;
        }
        let knows = |knew: &Told| told.open || told.waits.is_some() || (told.severity.is_some() && !knew.open);
        if knew.is_none_or(knows) {
            return false;
        }
    }
    let Some(knew) = knew else { return false };
    // That it is much worse says more than the story from its beginning.
    let worse = matches!(knew.waits, Some((TransitionKind::Escalated, _)));
    let told = match (firing, knew.open) {
        (true, false) => Told { waits: anew, ..Told::default() },
        (true, true) if strangers && !worse => Told { waits: anew, held: None, ..knew.clone() },
        _ => Told { held: None, ..knew.clone() },
    };
    lead.told.insert(route.path.clone(), told);
    true
}
