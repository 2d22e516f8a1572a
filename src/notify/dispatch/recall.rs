//! Incidents of which the dispatcher's own documents say too little: they cannot be read (a newer sigyn wrote them, or they
//! are damaged), or an older sigyn did not note in them who had heard.
//!
//! What comes in: what the rest of the store knows of such an incident. What goes out: the incident, open or over, with whom
//! it was told to, so that everybody who heard that it began hears that it is over, and no number is given twice. What never
//! happens here: a message.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Dispatcher;
use super::lead::{Lead, MAX_PARTS, Part, Told};
use crate::incident::{Incident, Severity, State};
use crate::time::Nanos;

/// No route has this path: what it knew is known on the routes that there are.
const UNREAD: &str = "unread";

/// What the store knows of an incident besides [`Dispatch::state`](super::Dispatch::state).
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    /// As people saw it last.
    pub incident: Incident,
    /// The incidents of groups that it was made of, its own first, and whether the engine has them open.
    pub parts: Vec<(Incident, bool)>,
    /// The number of the last notice, and when it was written.
    pub last: (u64, Nanos),
    /// Receivers whose last message says that it is there, and how bad it was then.
    pub heard: BTreeMap<String, Severity>,
}

/// Whether a document of [`Dispatch::state`](super::Dispatch::state) can be read.
///
/// # Errors
/// Why it cannot.
pub fn readable(key: &str, document: &str) -> Result<(), String> {
    let read = match key.split_once('/').map(|(kind, _)| kind) {
        Some("lead") => serde_json::from_str::<Lead>(document).map(drop),
        Some("past") => serde_json::from_str::<super::Past>(document).map(drop),
        Some("book") => serde_json::from_str::<super::Book>(document).map(drop),
        _ => Ok(()),
    };
    read.map_err(|error| error.to_string())
}

/// Whether who has heard of an incident is noted in its document.
pub(super) fn notes_heard(document: &str) -> bool {
    #[derive(Deserialize)]
    struct Noted {
        heard: Option<IgnoredAny>,
    }
    serde_json::from_str::<Noted>(document).is_ok_and(|lead| lead.heard.is_some())
}

impl Dispatcher {
    /// Ids of the incidents of which [`Dispatcher::restore`] has found too little: before the first step, what the store
    /// knows of them goes to [`Dispatcher::recall`].
    #[must_use]
    pub fn wanting(&self) -> Vec<String> {
        self.wanting.iter().cloned().collect()
    }

    /// Takes what the store knows of one of them.
    pub fn recall(&mut self, id: &str, known: Recalled) {
        self.wanting.remove(id);
        if let Some(lead) = self.leads.get_mut(id) {
            lead.heard = known.heard;
            return;
        }
        let lead = Lead::recalled(known, |incident| self.key(incident));
        for part in lead.parts.keys() {
            self.lead_of.entry(part.clone()).or_insert_with(|| id.to_owned());
        }
        self.leads.insert(id.to_owned(), lead);
    }
}

impl Lead {
    fn recalled(known: Recalled, key: impl Fn(&Incident) -> String) -> Self {
        let Recalled { mut incident, parts, last: (number, at), heard } = known;
        let main = parts.iter().find(|(_, open)| *open).map_or(&incident, |(part, _)| part).id.clone();
        let shown: BTreeSet<&str> = incident.handling.members.iter().map(|member| member.id.as_str()).collect();
        let parts =
            parts.into_iter().filter(|(part, open)| *open || part.id == main || shown.contains(part.id.as_str()));
        let parts = parts.take(MAX_PARTS).map(|(part, open)| {
            let state = if open { State::Firing } else { State::Resolved };
            let part = Incident { state, ..part };
            (part.id.clone(), Part::new(&part, key(&part)))
        });
        let parts = parts.collect();
        let knew = Told { open: !heard.is_empty(), severity: heard.values().min().copied(), at, ..Told::default() };
        let (since, over_at) = (incident.started_at, incident.last_seen);
        if incident.handling.closed.is_none() {
            incident.resolved_at.get_or_insert(over_at);
        }
        let mut lead = Self {
            incident,
            main,
            parts,
            number,
            since,
            opened_at: since,
            over_at,
            told: [(UNREAD.to_owned(), knew)].into(),
            heard,
            snoozed_windows: None,
        };
        lead.settle();
        let more = lead.incident.handling.snoozed.as_ref().and_then(|snooze| snooze.windows);
        lead.snoozed_windows = more.map(|more| lead.windows().saturating_add(more));
        lead
    }
}
