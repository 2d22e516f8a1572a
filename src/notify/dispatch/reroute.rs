//! New settings while something is open: what waits on a route that is gone must still be told.
//!
//! What comes in: what a restart has put back, and the routes as they are now. What goes out: the same, on routes that are
//! there. What fires is told anew where the incident goes now (receivers that know it show one thing); of what is over, what
//! waits goes there; rows of a digest go to the nearest route above. What never happens here: a message.

use super::lead::{Lead, Told};
use super::{ALWAYS, Dispatcher};
use crate::incident::TransitionKind;
use crate::notify::route::Router;

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

/// True when a route that it was told on is gone.
fn lead_rerouted(router: &Router, lead: &mut Lead) -> bool {
    let gone: Vec<String> =
        lead.told.keys().filter(|path| *path != ALWAYS && router.route(path).is_none()).cloned().collect();
    let gone: Vec<Told> = gone.iter().filter_map(|path| lead.told.remove(path)).collect();
    // Of several the one that knew most.
    let Some(knew) = gone.into_iter().max_by_key(|told| (told.open, told.waits.is_some(), told.severity)) else {
        return false;
    };
    let (firing, since) = (lead.is_firing(), lead.since);
    for route in router.matching(&lead.labels()) {
        let knows = |told: &Told| told.open || told.waits.is_some() || (told.severity.is_some() && !knew.open);
        if lead.told.get(&route.path).is_some_and(knows) {
            continue;
        }
        // Who has heard of it hears that it is over, also when that comes before it is told anew.
        let heard = Told { held: None, ..if firing && !knew.open { Told::default() } else { knew.clone() } };
        let anew = Some((TransitionKind::Opened, since.saturating_add(route.group_wait)));
        let waits = if firing { anew } else { heard.waits };
        lead.told.insert(route.path.clone(), Told { waits, ..heard });
    }
    true
}
