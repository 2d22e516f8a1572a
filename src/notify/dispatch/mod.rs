//! From transitions of groups to what people hear: incidents of several groups that are one problem become one, and each
//! route hears of it when, and as often as, it wants.
//!
//! What comes in: committed [`Transition`]s of the engine, orders of people, the time. What goes out: *notices* (a
//! transition of the incident as people see it) and who gets them, and what a restart needs. All of it is written in one
//! transaction, so nothing is lost or told twice inside. Pure: no I/O, no clock; the same inputs give the same output.
//!
//! ```text
//! transition ─▶ whose? (of an open incident · back again · one problem with others · new) ─▶ something waits on each route
//! time ───────▶ what is due ─▶ gates (snoozed, silenced, inhibited, muted, severity, storm, budget) ─▶ notice + deliveries
//! ```
//!
//! `group_wait`, `group_interval` and `repeat_interval` have Alertmanager's meanings.

mod book;
mod clock;
mod lead;
mod recall;
mod reroute;
mod take;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use self::book::interruptions;
pub use self::recall::{Recalled, readable};

use self::book::Book;
use self::lead::{Lead, Past};
use super::Notification;
use super::config::NotifyConfig;
use super::inhibit::InhibitRule;
use super::route::{Router, StormConfig};
use super::silence::{Silence, Silences};
use crate::engine::Command;
use crate::incident::{Incident, Transition};
use crate::labels::Labels;
use crate::time::Nanos;

/// Incidents that are over and may come back; past it the oldest are forgotten.
const MAX_PAST: usize = 5_000;
/// The path of those who hear everything at once: remediation is no person.
const ALWAYS: &str = "always";

/// What the dispatcher works with; immutable.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who hears what.
    pub router: Router,
    /// Which incidents hold which others back.
    pub inhibit: Vec<InhibitRule>,
    /// From when on new incidents are told as one table.
    pub storm: StormConfig,
    /// An incident that is back within this time, in nanoseconds, is reopened.
    pub reopen_within: Nanos,
    /// Receivers that hear everything at once, whatever the routes say.
    pub always: Vec<String>,
    /// For the links in messages.
    pub links: NotifyConfig,
}

/// What is to be dealt with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Input<'a> {
    /// Transitions with their numbers in the queue, oldest first.
    pub queued: &'a [(i64, Transition)],
    /// What people want, oldest first.
    pub orders: &'a [Command],
    /// The time of the log.
    pub now: Nanos,
    /// Tells at once whatever waits for others: for a run that ends.
    pub flush: bool,
}

/// All that follows; committed as one transaction, or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dispatch {
    /// Transitions that are dealt with.
    pub taken: Vec<i64>,
    /// Orders that are carried out.
    pub orders_done: Vec<i64>,
    /// Incidents as people see them, new or changed.
    pub incidents: Vec<Incident>,
    /// What people are told.
    pub notices: Vec<Transition>,
    /// Who gets them.
    pub deliveries: Vec<(String, Notification)>,
    /// What a restart needs: document by key, `None` forgets it.
    pub state: Vec<(String, Option<String>)>,
    /// Silences that changed; `None`: gone.
    pub silences: Vec<(String, Option<Silence>)>,
    /// Messages that were held back: the path of the route, and why.
    pub held: Vec<(String, &'static str)>,
    /// When something is due next.
    pub next_at: Option<Nanos>,
}

impl Dispatch {
    /// Whether nothing has to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { taken, orders_done, incidents, notices, state, silences, .. } = self;
        taken.is_empty()
            && orders_done.is_empty()
            && incidents.is_empty()
            && notices.is_empty()
            && state.is_empty()
            && silences.is_empty()
    }
}

/// All that is open, and what was told of it.
#[derive(Debug)]
pub struct Dispatcher {
    rules: Rules,
    silences: Silences,
    /// By the id of the incident that people see.
    leads: BTreeMap<String, Lead>,
    /// Whose part an incident of a group is.
    lead_of: BTreeMap<String, String>,
    /// By what tells problems apart.
    past: BTreeMap<String, Past>,
    /// By the path of the route.
    books: BTreeMap<String, Book>,
    /// Incidents of which more must be known.
    wanting: BTreeSet<String>,
    /// Put back, and routes may be others than before.
    restored: bool,
    dirty: Dirty,
}

/// What must be written.
#[derive(Debug, Default)]
struct Dirty {
    leads: BTreeSet<String>,
    past: BTreeSet<String>,
    books: BTreeSet<String>,
}

impl Dispatcher {
    /// Nothing open.
    #[must_use]
    pub fn new(rules: Rules, silences: Silences) -> Self {
        Self {
            rules,
            silences,
            leads: BTreeMap::new(),
            lead_of: BTreeMap::new(),
            past: BTreeMap::new(),
            books: BTreeMap::new(),
            wanting: BTreeSet::new(),
            restored: false,
            dirty: Dirty::default(),
        }
    }

    /// Puts back what [`Dispatch::state`] has left in the store. What cannot be read any more is left out and
    /// named; see [`Dispatcher::wanting`].
    pub fn restore<'a>(&mut self, state: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<String> {
        let mut unreadable = Vec::new();
        for (key, document) in state {
            let Some((kind, id)) = key.split_once('/') else { continue };
            let name = id.to_owned();
            let read = match kind {
                "lead" => serde_json::from_str(document).map(|lead: Lead| {
                    if !recall::notes_heard(document) {
                        self.wanting.insert(name.clone());
                    }
                    self.lead_of.extend(lead.parts.keys().map(|part| (part.clone(), name.clone())));
                    self.leads.insert(name, lead);
                }),
                "past" => serde_json::from_str(document).map(|past| drop(self.past.insert(name, past))),
                "book" => serde_json::from_str(document).map(|book| drop(self.books.insert(name, book))),
                _ => Ok(()),
            };
            if let Err(error) = read {
                unreadable.push(format!("{key}: {error}"));
                if kind == "lead" {
                    self.wanting.insert(id.to_owned());
                }
            }
        }
        self.restored = true;
        unreadable
    }

    /// Deals with what has come and with what is due.
    pub fn step(&mut self, input: &Input<'_>) -> Dispatch {
        let mut out = Dispatch::default();
        if std::mem::take(&mut self.restored) {
            self.reroute();
        }
        self.set_back(input.now);
        self.take(input, &mut out);
        self.order(input, &mut out);
        self.tell(input, &mut out);
        self.close(input.now, &mut out);
        self.write(&mut out);
        out.next_at = self.next_at(input.now);
        out
    }

    /// What is over and told becomes past.
    fn close(&mut self, now: Nanos, out: &mut Dispatch) {
        let over: Vec<String> =
            self.leads.iter().filter(|(_, lead)| lead.is_over()).map(|(id, _)| id.clone()).collect();
        for id in over {
            let Some(lead) = self.leads.remove(&id) else { continue };
            self.lead_of.retain(|_, of| *of != id);
            out.incidents.retain(|known| known.id != id);
            out.incidents.push(lead.incident.clone());
            self.dirty.leads.insert(id);
            let key = lead.problem();
            self.dirty.past.insert(key.clone());
            self.past.insert(key, Past::of(lead, now));
        }
        let old = now.saturating_sub(self.rules.reopen_within);
        let mut by_age: Vec<(Nanos, String)> =
            self.past.iter().map(|(key, past)| (past.over_at, key.clone())).collect();
        by_age.sort_unstable();
        let spare = by_age.len().saturating_sub(MAX_PAST);
        for (index, (at, key)) in by_age.into_iter().enumerate() {
            if index < spare || at < old {
                self.past.remove(&key);
                self.dirty.past.insert(key);
            }
        }
    }

    fn write(&mut self, out: &mut Dispatch) {
        let Dirty { leads, past, books } = std::mem::take(&mut self.dirty);
        let text = |kind: &str, key: &str, document: Option<Result<String, serde_json::Error>>| {
            (format!("{kind}/{key}"), document.and_then(Result::ok))
        };
        out.state.extend(leads.iter().map(|id| text("lead", id, self.leads.get(id).map(serde_json::to_string))));
        out.state.extend(past.iter().map(|key| text("past", key, self.past.get(key).map(serde_json::to_string))));
        out.state.extend(books.iter().map(|path| text("book", path, self.books.get(path).map(serde_json::to_string))));
        for id in leads {
            if let Some(lead) = self.leads.get(&id) {
                out.incidents.retain(|known| known.id != id);
                out.incidents.push(lead.incident.clone());
            }
        }
    }

    /// Labels of all that fires, for inhibition.
    fn firing(&self) -> Vec<Labels> {
        self.leads.values().filter(|lead| lead.is_firing()).map(Lead::labels).collect()
    }
}
