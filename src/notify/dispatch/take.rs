//! What transitions and orders change: whose a transition is, and what waits on which route because of it.

use std::collections::BTreeSet;

use super::lead::{Lead, Part, Told, problem};
use super::{ALWAYS, Dispatch, Dispatcher, Input};
use crate::engine::{Command, CommandKind, Order};
use crate::incident::group::{Candidate, MAX_CANDIDATES, clusters};
use crate::incident::{Incident, Mark, SIGYN, Snooze, State, Transition, TransitionKind};
use crate::notify::route;
use crate::time::{HOUR, Nanos};

/// Something that was closed by hand and still goes on is told again after this time.
const AFTER_HAND: Nanos = HOUR;

impl Dispatcher {
    pub(super) fn take(&mut self, input: &Input<'_>, out: &mut Dispatch) {
        let fresh = self.fresh(input);
        let mut joins = self.joins(&fresh);
        for (seq, transition) in input.queued {
            out.taken.push(*seq);
            let id = transition.incident.id.as_str();
            if let Some(lead) = self.lead_of.get(id).cloned() {
                self.goes_on(&lead, transition, input.now);
            } else if transition.kind == TransitionKind::Resolved {
                // Nobody has heard of it.
                out.incidents.push(transition.incident.clone());
            } else if !self.not_over(transition, input.now) && !self.back(transition, input.now) {
                let at = fresh.iter().position(|one| one.id == id);
                let host = at.and_then(|at| joins.get_mut(at)?.take());
                self.comes(transition, host, input.now);
            }
            if let Some(lead) = self.lead_of.get(id).filter(|lead| *lead != id) {
                let mut member = transition.incident.clone();
                member.handling.lead = Some(lead.clone());
                out.incidents.retain(|known| known.id != member.id);
                out.incidents.push(member);
            }
        }
    }

    /// Incidents of groups that nobody has heard of, each once.
    fn fresh<'a>(&self, input: &Input<'a>) -> Vec<&'a Incident> {
        let mut seen = BTreeSet::new();
        let news = input.queued.iter().filter(|(_, one)| one.kind != TransitionKind::Resolved);
        let news = news.map(|(_, one)| &one.incident).filter(|one| !self.lead_of.contains_key(&one.id));
        let mut fresh: Vec<&Incident> = news.filter(|one| seen.insert(one.id.as_str())).collect();
        // The group that was unusual first gives the incident its name.
        fresh.sort_by_key(|one| (one.started_at, one.id.as_str()));
        fresh
    }

    /// For each fresh incident the one that it becomes a part of: an open one, or the first fresh one of its cluster.
    fn joins(&self, fresh: &[&Incident]) -> Vec<Option<String>> {
        if fresh.is_empty() {
            return Vec::new();
        }
        let open = self.leads.iter().filter(|(_, lead)| lead.is_firing() && lead.incident.watch != SIGYN);
        let open = open.flat_map(|(id, lead)| lead.parts.values().map(move |part| (id, part)));
        let mut known: Vec<(&String, &Part)> = open.filter(|(_, part)| part.is_open()).collect();
        known.sort_by_key(|(id, part)| (std::cmp::Reverse(part.candidate.started_at), *id));
        known.truncate(MAX_CANDIDATES);
        let mut candidates: Vec<Candidate> = known.iter().map(|(_, part)| part.candidate.clone()).collect();
        candidates.extend(fresh.iter().take(MAX_CANDIDATES).map(|one| Candidate::new(one, self.key(one))));
        let found = clusters(&candidates);
        let (old, new) = found.split_at(known.len());
        let mut hosts: Vec<Option<String>> = Vec::new();
        for (at, one) in fresh.iter().enumerate() {
            let cluster = new.get(at).copied().flatten().filter(|_| one.watch != SIGYN);
            let host = cluster.and_then(|cluster| {
                let open = old.iter().position(|of| *of == Some(cluster)).and_then(|at| known.get(at));
                let first = new.iter().take(at).position(|of| *of == Some(cluster)).and_then(|at| fresh.get(at));
                open.map(|(id, _)| (*id).clone()).or_else(|| first.map(|first| first.id.clone()))
            });
            hosts.push(host);
        }
        hosts
    }

    /// Only incidents with the same key may be one: what the first route that takes it groups by.
    pub(super) fn key(&self, incident: &Incident) -> String {
        if incident.watch == SIGYN {
            return format!("{SIGYN}:{}", incident.id);
        }
        let labels = route::labels(incident);
        self.rules.router.matching(&labels).first().map_or_else(String::new, |route| route.group_key(&labels))
    }

    /// A new incident, by itself or as a part of another.
    fn comes(&mut self, transition: &Transition, host: Option<String>, now: Nanos) {
        let (id, key) = (transition.incident.id.clone(), self.key(&transition.incident));
        // The first of its cluster may itself have become a part of another.
        let host = host.map(|host| self.lead_of.get(&host).cloned().unwrap_or(host));
        let host = host.filter(|host| self.leads.contains_key(host));
        self.lead_of.insert(id.clone(), host.clone().unwrap_or_else(|| id.clone()));
        if let Some((host, lead)) = host.and_then(|host| Some((host.clone(), self.leads.get_mut(&host)?))) {
            lead.put(&transition.incident, key);
            self.event(&host, TransitionKind::Continued, now);
        } else {
            let mut lead = Lead::new(transition, key, now);
            lead.settle();
            self.leads.insert(id.clone(), lead);
            self.event(&id, TransitionKind::Opened, now);
        }
    }

    /// The same problem at the same place while its incident is open, or before anybody has heard that it was over: true
    /// when it was.
    fn not_over(&mut self, transition: &Transition, now: Nanos) -> bool {
        let incident = &transition.incident;
        let same = |part: &Part| {
            !part.is_open()
                && part.member.group.fingerprint == incident.group.fingerprint
                && part.member.title == incident.title
        };
        let found = self.leads.iter().flat_map(|(id, lead)| lead.parts.values().map(move |part| (id, part)));
        let found = found.into_iter().find(|(_, part)| same(part));
        let Some((id, part)) = found.map(|(id, part)| (id.clone(), part.member.id.clone())) else { return false };
        let key = self.key(incident);
        let mut kind = TransitionKind::Continued;
        if let Some(lead) = self.leads.get_mut(&id) {
            if lead.incident.handling.closed.take().is_some() {
                // It came again after somebody had closed it.
                lead.incident.handling.reopened_at = Some(now);
                kind = TransitionKind::Reopened;
            }
            lead.parts.remove(&part);
            if lead.main == part {
                lead.main.clone_from(&incident.id);
            }
            lead.put(incident, key);
            lead.unend();
        }
        self.lead_of.insert(incident.id.clone(), id.clone());
        self.event(&id, kind, now);
        true
    }

    /// The same problem at the same place, not long after it was over: true when it was, and is open again.
    fn back(&mut self, transition: &Transition, now: Nanos) -> bool {
        let problem = problem(&transition.incident);
        let key = self.key(&transition.incident);
        let Some(past) = self.past.remove(&problem) else { return false };
        self.dirty.past.insert(problem);
        if past.over_at < now.saturating_sub(self.rules.reopen_within) {
            return false;
        }
        let mut lead = past.lead;
        let heard = lead.told.values().any(|told| told.severity.is_some());
        let id = lead.incident.id.clone();
        lead.main.clone_from(&transition.incident.id);
        lead.incident.severity = transition.incident.severity;
        let handling = &mut lead.incident.handling;
        (handling.acknowledged, handling.snoozed, handling.closed) = (None, None, None);
        (handling.escalated, handling.reopened_at) = (false, heard.then_some(now));
        lead.snoozed_windows = None;
        (lead.since, lead.opened_at) = (now, transition.at);
        for told in lead.told.values_mut() {
            *told = Told { at: told.at, ..Told::default() };
        }
        lead.put(&transition.incident, key);
        self.lead_of.insert(transition.incident.id.clone(), id.clone());
        self.leads.insert(id.clone(), lead);
        self.event(&id, if heard { TransitionKind::Reopened } else { TransitionKind::Opened }, now);
        true
    }

    /// More of an open one.
    fn goes_on(&mut self, id: &str, transition: &Transition, now: Nanos) {
        let key = self.key(&transition.incident);
        let Some(lead) = self.leads.get_mut(id) else { return };
        let before = lead.incident.severity;
        lead.put(&transition.incident, key);
        self.dirty.leads.insert(id.to_owned());
        let worse = lead.incident.severity > before || transition.kind == TransitionKind::Escalated;
        lead.incident.handling.escalated |= worse;
        if worse {
            lead.incident.handling.snoozed = None;
        }
        let over = !lead.parts.values().any(Part::is_open);
        if let Some(closed) = lead.incident.handling.closed.clone() {
            let again = worse || transition.at >= closed.at.saturating_add(AFTER_HAND);
            if !over && again && transition.kind != TransitionKind::Resolved {
                lead.incident.handling.closed = None;
                lead.incident.handling.reopened_at = Some(now);
                lead.unend();
                lead.settle();
                self.event(id, TransitionKind::Reopened, now);
            }
            return;
        }
        match transition.kind {
            TransitionKind::Resolved if over => {
                lead.incident.resolved_at.get_or_insert(transition.at);
                if transition.incident.id != lead.main {
                    lead.incident.resolved_at = Some(transition.at);
                }
                lead.over_at = transition.at;
                self.event(id, TransitionKind::Resolved, now);
            }
            // That a part is over is seen in the next message.
            TransitionKind::Resolved => {}
            _ if worse => self.event(id, TransitionKind::Escalated, now),
            _ => self.event(id, TransitionKind::Continued, now),
        }
    }

    /// Something waits to be told from now on, on each route that the incident takes.
    pub(super) fn event(&mut self, id: &str, kind: TransitionKind, now: Nanos) {
        let Some(lead) = self.leads.get_mut(id) else { return };
        self.dirty.leads.insert(id.to_owned());
        let labels = lead.labels();
        let mut routes: Vec<(&str, Nanos, Nanos)> = self
            .rules
            .router
            .matching(&labels)
            .iter()
            .map(|route| (route.path.as_str(), route.group_wait, route.group_interval))
            .collect();
        if !self.rules.always.is_empty() {
            routes.push((ALWAYS, 0, 0));
        }
        // Who has heard of it, or is about to, hears the rest, too.
        let known = lead.told.iter().filter(|(_, told)| told.severity.is_some() || told.waits.is_some());
        let known = known.filter_map(|(path, _)| {
            let route = self.rules.router.route(path)?;
            Some((route.path.as_str(), route.group_wait, route.group_interval))
        });
        for known in known.collect::<Vec<_>>() {
            if !routes.iter().any(|(path, ..)| *path == known.0) {
                routes.push(known);
            }
        }
        for (path, wait, interval) in routes {
            let (since, lasted) = (lead.since, lead.over_at.saturating_sub(lead.opened_at));
            let told = lead.told.entry(path.to_owned()).or_default();
            if kind == TransitionKind::Resolved && told.severity.is_none() {
                told.never_mind(lasted >= wait, now);
            } else {
                told.wait(kind, (since.saturating_add(wait), interval), now);
            }
        }
    }

    pub(super) fn order(&mut self, input: &Input<'_>, out: &mut Dispatch) {
        for command in input.orders {
            out.orders_done.push(command.id);
            match &command.kind {
                CommandKind::Incident { incident, order } => self.care(incident, order, command, input.now),
                CommandKind::Silence { id, document } => {
                    if self.silences.apply(id, document.as_deref(), command.at).is_ok() {
                        out.silences.push((id.clone(), self.silences.get(id).cloned()));
                    }
                }
                CommandKind::Internal { .. } | CommandKind::Resend { .. } => {}
            }
        }
    }

    fn care(&mut self, incident: &str, order: &Order, command: &Command, now: Nanos) {
        let id = self.lead_of.get(incident).cloned().unwrap_or_else(|| incident.to_owned());
        let Some(lead) = self.leads.get_mut(&id) else { return };
        self.dirty.leads.insert(id.clone());
        let windows = lead.windows();
        let handling = &mut lead.incident.handling;
        match order {
            // What is over needs no care any more.
            Order::Acknowledge(_) | Order::Snooze(_) | Order::Resolve(_) if lead.incident.state == State::Resolved => {}
            Order::Acknowledge(mark) => {
                handling.acknowledged = Some(mark.clone());
                self.event(&id, TransitionKind::Acknowledged, now);
            }
            Order::Snooze(snooze) => {
                lead.snoozed_windows = snooze.windows.map(|more| windows + more);
                handling.snoozed =
                    Some(Snooze { mark: Mark { at: command.at, ..snooze.mark.clone() }, ..snooze.clone() });
            }
            Order::Release(_) => {
                (handling.acknowledged, handling.snoozed) = (None, None);
                lead.snoozed_windows = None;
            }
            Order::Resolve(mark) => {
                handling.closed = Some(mark.clone());
                (lead.incident.state, lead.incident.resolved_at) = (State::Resolved, Some(now));
                self.event(&id, TransitionKind::Resolved, now);
                // Whoever closes it waits for nothing.
                let waits = self.leads.get_mut(&id).into_iter().flat_map(|lead| lead.told.values_mut());
                waits.filter_map(|told| told.waits.as_mut()).for_each(|(_, due)| *due = now);
            }
        }
    }
}

impl Told {
    /// It is over before it was told. What lasted for longer than others are waited for would have been told in time, but
    /// for an outage: it is told late, with its end. Anything else is not told at all.
    fn never_mind(&mut self, lasted: bool, now: Nanos) {
        self.waits = self.waits.filter(|_| lasted && self.held.is_none()).map(|(kind, _)| (kind, now));
        self.over = self.waits.is_some();
    }

    /// Something is to be told; of two things the weightier waits.
    fn wait(&mut self, kind: TransitionKind, (first, interval): (Nanos, Nanos), now: Nanos) {
        let due = match (self.severity, kind) {
            (None, TransitionKind::Acknowledged) => return,
            (None, _) => first.max(now),
            (_, TransitionKind::Escalated | TransitionKind::Reopened) => now,
            _ if !self.open => return,
            (_, TransitionKind::Acknowledged) => now,
            (Some(_), _) => now.max(self.at.saturating_add(interval)),
        };
        self.waits = match self.waits {
            Some((waiting, at)) if weight(waiting) >= weight(kind) => Some((waiting, at.min(due))),
            Some((_, at)) if self.held.is_some() => Some((kind, at.min(due))),
            _ => Some((kind, due)),
        };
    }
}

/// What is told when several things have happened.
fn weight(kind: TransitionKind) -> u8 {
    match kind {
        TransitionKind::Continued => 0,
        TransitionKind::Acknowledged => 1,
        TransitionKind::Escalated => 2,
        TransitionKind::Opened => 3,
        TransitionKind::Reopened => 4,
        TransitionKind::Resolved => 5,
    }
}
