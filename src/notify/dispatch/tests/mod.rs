//! Telling, by scripts of what happens and when.

mod held;
mod life;
mod property;
mod recall;
mod receivers;
mod routes;

use super::*;
use crate::engine::{CommandKind, Order};
use crate::incident::{Mark, Severity, Snooze, State, TransitionKind};
use crate::labels::{Fingerprint, Labels};
use crate::notify::fixture;
use crate::notify::route::{RouteConfig, Rules as RouteRules};
use crate::time::{HOUR, MINUTE, Nanos, SECOND};

const START: Nanos = fixture::START;

/// A dispatcher with a script of what happens, and what was told.
struct World {
    dispatcher: Dispatcher,
    rules: fn() -> Rules,
    now: Nanos,
    /// How wrong the clock is.
    wrong: Nanos,
    seq: i64,
    state: BTreeMap<String, String>,
    told: Vec<String>,
    keys: BTreeSet<String>,
    /// Who was told what of which incident, and how bad it was then.
    heard: Vec<(String, String, TransitionKind, Severity)>,
    restarts: bool,
}

fn rules(route: &str, rest: &str) -> Rules {
    let route: RouteConfig = serde_json::from_str(route).unwrap();
    let receivers = ["chat", "desk", "pager"].map(ToOwned::to_owned);
    let config: NotifyConfig = serde_json::from_str(rest).unwrap();
    let tree = RouteRules { route: &route, time_intervals: &config.time_intervals, receivers: &receivers };
    Rules {
        router: Router::new(&tree).unwrap(),
        inhibit: config.inhibit_rules.clone(),
        storm: config.storm,
        reopen_within: config.reopen_within.nanos(),
        always: Vec::new(),
        links: config,
    }
}

fn plain() -> Rules {
    rules(r#"{"receiver": "chat", "group_wait": "30s", "group_interval": "5m", "repeat_interval": "4h"}"#, "{}")
}

/// An incident of a group that began at this minute.
fn incident(service: &str, minute: i64, severity: Severity) -> Incident {
    let labels: Labels = [("service_name", service)].into_iter().collect();
    let mut incident = fixture::opened().incident;
    incident.group.fingerprint = Fingerprint::of("default", "shop", &labels);
    incident.group.labels = labels;
    incident.title = format!("{service}: more errors than usual");
    incident.id = format!("{service}{minute:04}");
    incident.severity = severity;
    incident.started_at = START + minute * MINUTE;
    incident.labels = Labels::new();
    if let Some(worst) = &mut incident.worst {
        worst.evidence.common.clear();
        worst.evidence.features.clear();
    }
    incident
}

impl World {
    fn new(rules: fn() -> Rules) -> Self {
        let dispatcher = Dispatcher::new(rules(), Silences::new());
        let (state, told, keys) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self { dispatcher, rules, now: START, wrong: 0, seq: 0, state, told, keys, heard: Vec::new(), restarts: false }
    }

    fn at(&mut self, seconds: i64) {
        self.now = START + seconds * SECOND;
    }

    fn step(&mut self, queued: Vec<Transition>, orders: Vec<CommandKind>, flush: bool) -> Dispatch {
        if self.restarts {
            let silences = std::mem::take(&mut self.dispatcher.silences);
            self.dispatcher = Dispatcher::new((self.rules)(), silences);
            let state = self.state.iter().map(|(key, document)| (key.as_str(), document.as_str()));
            assert_eq!(self.dispatcher.restore(state), Vec::<String>::new());
        }
        let queued: Vec<(i64, Transition)> = queued.into_iter().map(|one| (self.next(), one)).collect();
        let orders: Vec<Command> =
            orders.into_iter().map(|kind| Command { id: self.next(), at: self.now, kind }).collect();
        let out = self.dispatcher.step(&Input { queued: &queued, orders: &orders, now: self.now + self.wrong, flush });
        assert_eq!(out.taken.len(), queued.len());
        for (key, document) in &out.state {
            match document {
                Some(document) => drop(self.state.insert(key.clone(), document.clone())),
                None => drop(self.state.remove(key)),
            }
        }
        for (receiver, one) in &out.deliveries {
            assert!(self.keys.insert(one.key.clone()), "{} is told twice", one.key);
            let Transition { kind, number, incident, .. } = &one.transition;
            self.heard.push((receiver.clone(), incident.id.clone(), *kind, incident.severity));
            let members: Vec<String> = incident
                .handling
                .members
                .iter()
                .map(|member| member.title.replace(": more errors than usual", ""))
                .collect();
            let members = if members.is_empty() { String::new() } else { format!(" with {}", members.join(" ")) };
            let held = incident.handling.held_back;
            let held = if held > 0 { format!(" ({held} held back)") } else { String::new() };
            let at = (self.now - START) / SECOND;
            let title = incident.title.replace(": more errors than usual", "");
            self.told.push(format!("{at}s {receiver}: {}#{number} {title}{members}{held}", kind.as_str()));
        }
        out
    }

    fn next(&mut self) -> i64 {
        self.seq += 1;
        self.seq
    }

    fn feed(&mut self, kind: TransitionKind, incident: &Incident) -> Dispatch {
        let state = if kind == TransitionKind::Resolved { State::Resolved } else { State::Firing };
        let resolved_at = (kind == TransitionKind::Resolved).then_some(self.now);
        let incident = Incident { state, resolved_at, ..incident.clone() };
        self.step(vec![Transition { kind, number: 1, at: self.now, incident }], Vec::new(), false)
    }

    fn order(&mut self, incident: &str, order: Order) {
        let kind = CommandKind::Incident { incident: incident.to_owned(), order };
        self.step(Vec::new(), vec![kind], false);
    }

    /// Goes on until `seconds`, waking when something is due.
    fn until(&mut self, seconds: i64) {
        let end = START + seconds * SECOND;
        let due = |own: &Self| Some(own.dispatcher.next_at(own.now + own.wrong)? - own.wrong);
        while let Some(next) = due(self).filter(|next| *next <= end) {
            self.now = next.max(self.now + 1);
            self.step(Vec::new(), Vec::new(), false);
        }
        self.now = end;
    }

    fn told(&self) -> String {
        self.told.join("\n")
    }
}

fn mark() -> Mark {
    Mark { by: "ann".to_owned(), at: START, note: None }
}

use TransitionKind::{Continued, Escalated, Opened, Resolved};
