//! What is due, whether it may be told, and who gets it.

use std::collections::{BTreeMap, BTreeSet};

use super::book::Storm;
use super::lead::Lead;
use super::{ALWAYS, Dispatch, Dispatcher, Input};
use crate::incident::{Incident, Transition, TransitionKind};
use crate::labels::Labels;
use crate::notify::inhibit::inhibited;
use crate::notify::route::Route;
use crate::notify::{Notification, links};
use crate::time::{MINUTE, Nanos};

/// What is held back is looked at again this often.
pub(super) const LOOK_AGAIN: Nanos = MINUTE;

/// What a gate says of something that is due.
enum Gate {
    /// It is told.
    Pass,
    /// Not now, for this reason; looked at again then.
    Hold(String, &'static str, Nanos),
    /// Not by itself: as a row of the storm.
    Storm,
    /// Not by itself: as a row of the digest.
    Digest,
    /// Not at all.
    Drop,
}

impl Dispatcher {
    pub(super) fn tell(&mut self, input: &Input<'_>, out: &mut Dispatch) {
        self.wake(input.now);
        let firing = self.firing();
        // Oldest first, so that a storm tells the first ones by themselves.
        let mut ids: Vec<(Nanos, String)> = self.leads.iter().map(|(id, lead)| (lead.since, id.clone())).collect();
        ids.sort_unstable();
        for (_, id) in ids {
            let due = self.due(&id, input);
            let mut told: BTreeMap<TransitionKind, Vec<String>> = BTreeMap::new();
            for (path, kind) in due {
                let gate = self.gate(&id, &path, kind, (&firing, input.now));
                if let Some(kind) = self.pass(&id, &path, kind, gate, (input.now, out)) {
                    told.entry(kind).or_default().push(path);
                }
            }
            let ends = told.keys().any(|kind| kind.is_full());
            for (kind, paths) in told {
                self.notice(&id, kind, &paths, (input.now, out));
            }
            if ends {
                self.end(&id, (input.now, out));
            }
            self.strays(&id, (input.now, out));
        }
        self.storms(input, out);
        self.digests(input.now, out);
    }

    /// Tells the end of what was over before it could be told.
    fn end(&mut self, id: &str, (now, out): (Nanos, &mut Dispatch)) {
        let told = self.leads.get_mut(id).into_iter().flat_map(|lead| &mut lead.told);
        let over = told.filter(|(_, told)| told.open && told.over);
        let over: Vec<String> = over
            .map(|(path, told)| {
                (told.open, told.over) = (false, false);
                path.clone()
            })
            .collect();
        self.notice(id, TransitionKind::Resolved, &over, (now, out));
    }

    /// Ends snoozes that are over, and repeats what nobody has changed for long.
    fn wake(&mut self, now: Nanos) {
        let mut events = Vec::new();
        for (id, lead) in &mut self.leads {
            let Some(snooze) = &lead.incident.handling.snoozed else { continue };
            let windows = lead.snoozed_windows.is_some_and(|end| lead.windows() >= end);
            if windows || snooze.until.is_some_and(|until| until <= now) {
                lead.incident.handling.snoozed = None;
                lead.snoozed_windows = None;
                self.dirty.leads.insert(id.clone());
                if lead.is_firing() {
                    events.push(id.clone());
                }
            }
        }
        for id in events {
            self.event(&id, TransitionKind::Continued, now);
        }
    }

    /// Routes for which something is due, by path, and what it is for each.
    fn due(&self, id: &str, input: &Input<'_>) -> Vec<(String, TransitionKind)> {
        let Some(lead) = self.leads.get(id) else { return Vec::new() };
        let mut due = Vec::new();
        for (path, told) in &lead.told {
            let waits = told.waits.filter(|(_, at)| *at <= input.now || (input.flush && told.held.is_none()));
            let kind = match (waits, told.severity) {
                (Some((TransitionKind::Resolved, _)), _) => Some(TransitionKind::Resolved),
                // The first that a route hears tells the whole story.
                (Some(_), None) => Some(lead.full()),
                (Some((TransitionKind::Continued, _)), Some(severity)) if lead.incident.severity > severity => {
                    Some(TransitionKind::Escalated)
                }
                (Some((kind, _)), Some(_)) => Some(kind),
                (None, Some(_)) if self.repeats_at(lead, path).is_some_and(|at| at <= input.now) => {
                    Some(TransitionKind::Continued)
                }
                (None, _) => None,
            };
            due.extend(kind.map(|kind| (path.clone(), kind)));
        }
        due
    }

    /// When a route hears the same again.
    fn repeats_at(&self, lead: &Lead, path: &str) -> Option<Nanos> {
        let told = lead.told.get(path).filter(|told| told.open && lead.is_firing())?;
        let handling = &lead.incident.handling;
        let quiet = handling.acknowledged.is_some() || handling.snoozed.is_some();
        let route = self.rules.router.route(path).filter(|_| !quiet)?;
        Some(told.at.saturating_add(route.repeat_interval))
    }

    fn gate(&mut self, id: &str, path: &str, kind: TransitionKind, (firing, now): (&[Labels], Nanos)) -> Gate {
        if path == ALWAYS {
            return Gate::Pass;
        }
        let (Some(lead), Some(route)) = (self.leads.get(id), self.rules.router.route(path)) else { return Gate::Drop };
        let later = now.saturating_add(LOOK_AGAIN);
        if let Some(muted) = route.muted(now) {
            return Gate::Hold(muted.to_string(), "muted", later);
        }
        // Whoever heard that it began hears that it is over, and that somebody looks after it.
        if matches!(kind, TransitionKind::Resolved | TransitionKind::Acknowledged) {
            return Gate::Pass;
        }
        let handling = &lead.incident.handling;
        let worse = kind == TransitionKind::Escalated;
        if let Some(snooze) = handling.snoozed.as_ref().filter(|_| !worse) {
            return Gate::Hold("snoozed".to_owned(), "snoozed", snooze.until.unwrap_or(later).max(now + 1));
        }
        let labels = lead.labels();
        if let Some(silence) = self.silences.held(&labels, now) {
            let again = later.min(silence.ends_at.max(now + 1));
            return Gate::Hold(format!("silence {}", silence.id), "silenced", again);
        }
        if let Some(found) = inhibited(&self.rules.inhibit, &labels, firing.iter()) {
            return Gate::Hold(format!("inhibit_rules[{}]", found.rule), "inhibited", later);
        }
        if kind == TransitionKind::Continued && handling.acknowledged.is_some() {
            return Gate::Drop;
        }
        if !route.tells(lead.incident.severity) {
            return Gate::Digest;
        }
        let (day, limit) = (route.day(now), route.interruptions_per_day);
        let book = self.books.entry(path.to_owned()).or_default();
        if kind.is_full() && book.is_storm(now, self.rules.storm.incidents, self.rules.storm.within.nanos()) {
            return Gate::Storm;
        }
        let interrupts = kind.is_full() || worse;
        if interrupts && !book.may_interrupt(day, limit) {
            return Gate::Digest;
        }
        Gate::Pass
    }

    /// Notes what a gate has said; the kind, when the route is told.
    fn pass(
        &mut self,
        id: &str,
        path: &str,
        kind: TransitionKind,
        gate: Gate,
        (now, out): (Nanos, &mut Dispatch),
    ) -> Option<TransitionKind> {
        let lead = self.leads.get_mut(id)?;
        let told = lead.told.get_mut(path)?;
        self.dirty.leads.insert(id.to_owned());
        let row = lead.incident.clone();
        match gate {
            Gate::Pass => {
                (told.waits, told.held, told.at) = (None, None, now);
                told.severity = Some(lead.incident.severity);
                // Who knows it as a row of a table only gets the whole story.
                let first = !told.open && kind == TransitionKind::Escalated;
                told.open = kind != TransitionKind::Resolved;
                if kind != TransitionKind::Resolved && path != ALWAYS {
                    let book = self.books.entry(path.to_owned()).or_default();
                    if kind.is_full() {
                        book.opened(now, self.rules.storm.incidents);
                    }
                    if kind.is_full() || kind == TransitionKind::Escalated {
                        book.interrupted();
                    }
                    self.dirty.books.insert(path.to_owned());
                }
                return Some(if first { TransitionKind::Opened } else { kind });
            }
            Gate::Hold(why, word, again) => {
                let counted = told.held.replace(why).is_some();
                told.waits = Some((told.waits.map_or(kind, |(kind, _)| kind), again));
                if !counted {
                    lead.incident.handling.held_back += 1;
                    out.held.push((path.to_owned(), word));
                }
            }
            Gate::Storm => {
                (told.waits, told.at, told.severity) = (None, now, Some(lead.incident.severity));
                self.books.entry(path.to_owned()).or_default().in_storm(&row, now);
                self.dirty.books.insert(path.to_owned());
                out.held.push((path.to_owned(), "storm"));
            }
            Gate::Digest => {
                told.waits = None;
                if told.severity.is_none() && kind.is_full() {
                    lead.incident.handling.held_back += 1;
                }
                // Told or not, only what is worse is told by itself from now on.
                (told.at, told.severity) = (now, Some(lead.incident.severity));
                let route = self.rules.router.route(path);
                let book = self.books.entry(path.to_owned()).or_default();
                book.in_digest(&row, now, || route.map_or(Nanos::MAX, |route| route.next_digest(now)));
                self.dirty.books.insert(path.to_owned());
                out.held.push((path.to_owned(), "digest"));
            }
            Gate::Drop => told.waits = None,
        }
        None
    }

    /// Tells the receivers of the routes that hear the same.
    fn notice(&mut self, id: &str, kind: TransitionKind, paths: &[String], (now, out): (Nanos, &mut Dispatch)) {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let told = self.say(id, kind, &self.receivers(&paths), (now, out));
        if let Some(lead) = self.leads.get_mut(id).filter(|_| told && paths.iter().any(|path| *path != ALWAYS)) {
            lead.incident.handling.held_back = 0;
        }
    }

    /// One notice for all to whom the same is news; whether it was news to anybody.
    fn say(
        &mut self,
        id: &str,
        kind: TransitionKind,
        receivers: &BTreeSet<String>,
        (now, out): (Nanos, &mut Dispatch),
    ) -> bool {
        let mut news: BTreeMap<TransitionKind, BTreeSet<String>> = BTreeMap::new();
        let Some(lead) = self.leads.get_mut(id) else { return false };
        for receiver in receivers {
            if let Some(kind) = lead.news(kind, receiver) {
                lead.hear(kind, receiver);
                news.entry(kind).or_default().insert(receiver.clone());
            }
        }
        let told = !news.is_empty();
        for (kind, receivers) in news {
            let Some(lead) = self.leads.get_mut(id) else { continue };
            lead.number += 1;
            let notice = Transition { kind, number: lead.number, at: now, incident: lead.incident.clone() };
            self.dirty.leads.insert(id.to_owned());
            self.deliver(notice, &receivers, out);
        }
        told
    }

    /// Tells the end at once to those who heard of it and whom no route will tell: theirs is gone, or tells others now.
    fn strays(&mut self, id: &str, (now, out): (Nanos, &mut Dispatch)) {
        let Some(lead) = self.leads.get(id).filter(|lead| !lead.is_firing() && !lead.heard.is_empty()) else { return };
        let waiting = lead.told.iter().filter(|(_, told)| told.waits.is_some()).map(|(path, _)| path.as_str());
        let later = self.receivers(&waiting.collect::<Vec<_>>());
        let strays = lead.heard.keys().filter(|receiver| !later.contains(*receiver)).cloned().collect();
        self.say(id, TransitionKind::Resolved, &strays, (now, out));
    }

    fn receivers(&self, paths: &[&str]) -> BTreeSet<String> {
        let names = paths.iter().flat_map(|path| match *path {
            ALWAYS => self.rules.always.as_slice(),
            path => self.rules.router.route(path).map_or(&[][..], |route: &Route| route.receivers.as_slice()),
        });
        names.cloned().collect()
    }

    fn deliver(&self, notice: Transition, receivers: &BTreeSet<String>, out: &mut Dispatch) {
        let links = links(&self.rules.links, &notice.incident);
        for receiver in receivers {
            let key = format!("{}/{}/{receiver}", notice.incident.id, notice.number);
            let notification = Notification { key, transition: notice.clone(), links: links.clone() };
            out.deliveries.push((receiver.clone(), notification));
        }
        out.notices.push(notice);
    }

    /// Tells that a storm began, grew or is over.
    fn storms(&mut self, input: &Input<'_>, out: &mut Dispatch) {
        let (now, within) = (input.now, self.rules.storm.within.nanos());
        let mut told = Vec::new();
        for (path, book) in &mut self.books {
            let Some(storm) = &mut book.storm else { continue };
            let interval = self.rules.router.route(path).map_or(within, |route| route.group_interval);
            let over = storm.ends(within) <= now;
            let kind = match storm.number {
                0 => TransitionKind::Opened,
                _ if over => TransitionKind::Resolved,
                _ if storm.news && storm.told_at.saturating_add(interval) <= now => TransitionKind::Continued,
                _ => continue,
            };
            let done = over && kind == TransitionKind::Resolved;
            (storm.number, storm.told_at, storm.news) = (storm.number + 1, now, false);
            let incident = storm.incident(path, now, done);
            told.push((path.clone(), Transition { kind, number: storm.number, at: now, incident }));
            if done {
                book.storm = None;
            }
            self.dirty.books.insert(path.clone());
        }
        for (path, notice) in told {
            self.report(&path, notice, out);
        }
    }

    fn digests(&mut self, now: Nanos, out: &mut Dispatch) {
        let mut told: Vec<(String, Incident)> = Vec::new();
        for (path, book) in &mut self.books {
            if let Some(incident) = book.digest(path, now) {
                self.dirty.books.insert(path.clone());
                told.push((path.clone(), incident));
            }
        }
        for (path, incident) in told {
            self.report(&path, Transition { kind: TransitionKind::Opened, number: 1, at: now, incident }, out);
        }
    }

    /// A table for the receivers of a route.
    fn report(&self, path: &str, notice: Transition, out: &mut Dispatch) {
        let receivers = self.receivers(&[path]);
        out.incidents.push(notice.incident.clone());
        self.deliver(notice, &receivers, out);
    }

    /// When the next thing is due; `None` when nothing ever is.
    pub(super) fn next_at(&self, now: Nanos) -> Option<Nanos> {
        let waiting = self.leads.values().flat_map(|lead| {
            let waits = lead.told.values().filter_map(|told| told.waits.map(|(_, at)| at));
            let again = lead.told.iter().filter(|(_, told)| told.waits.is_none());
            let again = again.filter_map(|(path, _)| self.repeats_at(lead, path));
            let snoozed = lead.incident.handling.snoozed.as_ref().and_then(|snooze| snooze.until);
            waits.chain(again).chain(snoozed)
        });
        let within = self.rules.storm.within.nanos();
        let books = self.books.iter().flat_map(|(path, book)| {
            let interval = self.rules.router.route(path).map_or(within, |route| route.group_interval);
            let next = |storm: &Storm| {
                let grown = storm.news.then(|| storm.told_at.saturating_add(interval));
                grown.map_or(storm.ends(within), |grown| grown.min(storm.ends(within)))
            };
            book.digest_at.into_iter().chain(book.storm.as_ref().map(next))
        });
        waiting.chain(books).min().map(|at| at.max(now))
    }
}
