//! An incident as people see it: one group's, or that of several that are one problem; and what each route has heard.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::incident::group::Candidate;
use crate::incident::{Incident, Member, Severity, State, Transition, TransitionKind};
use crate::labels::{FNV_OFFSET, Labels, fnv1a};
use crate::notify::route;
use crate::time::Nanos;

/// Groups of one problem that are shown; more are counted only.
pub(super) const MAX_PARTS: usize = 200;

/// An incident as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Lead {
    /// As it stands. Its id stays when it comes back.
    pub(super) incident: Incident,
    /// The part whose evidence it shows.
    pub(super) main: String,
    /// The incidents of groups that it is made of, by id.
    pub(super) parts: BTreeMap<String, Part>,
    /// Notices so far.
    pub(super) number: u64,
    /// When it was first heard of.
    pub(super) since: Nanos,
    /// When it opened and when it was over, in the time of the log: after an outage it may be long ago.
    pub(super) opened_at: Nanos,
    pub(super) over_at: Nanos,
    /// What each route has heard, by path.
    pub(super) told: BTreeMap<String, Told>,
    /// Receivers whose last message says that it is there, and how bad it was then: they must hear of its end, once, on
    /// whatever route. Routes come and go, and may share receivers.
    #[serde(default)]
    pub(super) heard: BTreeMap<String, Severity>,
    /// Anomalous windows after which a snooze ends.
    pub(super) snoozed_windows: Option<u64>,
}

/// An incident of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) member: Member,
    pub(super) windows: u64,
    pub(super) candidate: Candidate,
}

/// What a route has heard of an incident, and what waits for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    /// What waits, and from when on it may be told.
    pub(super) waits: Option<(TransitionKind, Nanos)>,
    /// How bad it was when it was told last, by itself or in a table; `None` when it never was.
    pub(super) severity: Option<Severity>,
    /// When that was.
    pub(super) at: Nanos,
    /// What waits is over already: its end is told right after it.
    pub(super) over: bool,
    /// Why what waits is held back, once that was counted.
    pub(super) held: Option<String>,
    /// The last that it heard by itself is that it is there. Who knows it as a row of a storm or a digest only, or has
    /// heard that it is over, hears by itself only that it is worse, or back.
    pub(super) open: bool,
}

/// An incident that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    pub(super) lead: Lead,
    pub(super) over_at: Nanos,
}

impl Past {
    /// Without its evidence: what comes back brings its own.
    pub(super) fn of(mut lead: Lead, now: Nanos) -> Self {
        lead.incident.worst = None;
        lead.incident.rates.clear();
        lead.incident.handling.members.clear();
        lead.parts.clear();
        Self { lead, over_at: now }
    }
}

impl Part {
    pub(super) fn new(incident: &Incident, key: String) -> Self {
        Self { member: Member::from(incident), windows: incident.windows, candidate: Candidate::new(incident, key) }
    }

    pub(super) fn is_open(&self) -> bool {
        self.member.state != State::Resolved
    }
}

impl Lead {
    /// An incident of one group, by itself so far.
    pub(super) fn new(transition: &Transition, key: String, now: Nanos) -> Self {
        let incident = &transition.incident;
        Self {
            incident: incident.clone(),
            main: incident.id.clone(),
            parts: [(incident.id.clone(), Part::new(incident, key))].into(),
            number: 0,
            since: now,
            opened_at: transition.at,
            over_at: transition.at,
            told: BTreeMap::new(),
            heard: BTreeMap::new(),
            snoozed_windows: None,
        }
    }

    /// Takes a group's incident in, or what is new about it.
    pub(super) fn put(&mut self, incident: &Incident, key: String) {
        if self.parts.len() >= MAX_PARTS && !self.parts.contains_key(&incident.id) {
            return;
        }
        self.parts.insert(incident.id.clone(), Part::new(incident, key));
        if incident.id == self.main {
            let (id, handling) = (std::mem::take(&mut self.incident.id), std::mem::take(&mut self.incident.handling));
            let (state, resolved_at) = match handling.closed {
                Some(_) => (self.incident.state, self.incident.resolved_at),
                None => (incident.state, incident.resolved_at),
            };
            self.incident = Incident { id, handling, state, resolved_at, ..incident.clone() };
        }
        self.settle();
    }

    /// Makes the incident say what its parts are.
    pub(super) fn settle(&mut self) {
        let parts = self.parts.values();
        let severity = parts.clone().map(|part| part.member.severity).max();
        self.incident.severity =
            severity.map_or(self.incident.severity, |severity| severity.max(self.incident.severity));
        self.incident.last_seen =
            parts.clone().map(|part| part.member.last_seen).fold(self.incident.last_seen, Nanos::max);
        let mut members: Vec<Member> =
            parts.filter(|part| part.member.id != self.main).map(|part| part.member.clone()).collect();
        members.sort_by(|one, two| (one.started_at, &one.id).cmp(&(two.started_at, &two.id)));
        self.incident.handling.members = members;
        if self.incident.handling.closed.is_none() {
            let open = self.parts.values().any(Part::is_open);
            self.incident.state = if open { State::Firing } else { State::Resolved };
            if open {
                self.incident.resolved_at = None;
            }
        }
    }

    pub(super) fn is_firing(&self) -> bool {
        self.incident.state == State::Firing
    }

    /// Nothing goes on, and nothing waits to be told.
    pub(super) fn is_over(&self) -> bool {
        !self.parts.values().any(Part::is_open) && self.told.values().all(|told| told.waits.is_none())
    }

    /// Anomalous windows of all parts.
    pub(super) fn windows(&self) -> u64 {
        self.parts.values().map(|part| part.windows).sum()
    }

    /// What is news to a receiver that is to be told this: the whole story when it knows nothing, and nothing when it knows.
    pub(super) fn news(&self, kind: TransitionKind, receiver: &str) -> Option<TransitionKind> {
        match (kind, self.heard.get(receiver)) {
            (kind, Some(heard)) if kind.is_full() => Some(kind).filter(|_| *heard < self.incident.severity),
            (kind, Some(_)) => Some(kind),
            (TransitionKind::Resolved | TransitionKind::Acknowledged, None) => None,
            (_, None) => Some(self.full()),
        }
    }

    /// The kind that tells the whole story.
    pub(super) fn full(&self) -> TransitionKind {
        match self.incident.handling.reopened_at {
            Some(_) => TransitionKind::Reopened,
            None => TransitionKind::Opened,
        }
    }

    /// Notes who is told something.
    pub(super) fn hear(&mut self, kind: TransitionKind, receiver: &str) {
        if kind == TransitionKind::Resolved {
            self.heard.remove(receiver);
        } else {
            self.heard.insert(receiver.to_owned(), self.incident.severity);
        }
    }

    /// It goes on: an end that nobody has heard of yet is none.
    pub(super) fn unend(&mut self) {
        for told in self.told.values_mut() {
            told.waits = told.waits.filter(|(kind, _)| *kind != TransitionKind::Resolved);
            told.over = false;
        }
    }

    /// As routes, silences and inhibition see it.
    pub(super) fn labels(&self) -> Labels {
        route::labels(&self.incident)
    }

    /// What tells this problem from others, over restarts and versions: where it is and what kind it is.
    pub(super) fn problem(&self) -> String {
        problem(&self.incident)
    }
}

/// The place and the kind of an incident's problem: the fingerprint of its group, and its title, which has no counts.
pub(super) fn problem(incident: &Incident) -> String {
    let title = fnv1a(FNV_OFFSET, incident.title.as_bytes());
    format!("{}-{title:016x}", incident.group.fingerprint)
}
