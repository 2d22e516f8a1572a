//! Incidents about sigyn itself, with the label `service="sigyn"`: Loki unreachable, lag, a gap, a failing receiver.

use std::collections::BTreeMap;

use super::{Command, CommandKind, Step};
use crate::incident::{Incident, SIGYN, Severity, State, Transition, TransitionKind};
use crate::labels::Labels;
use crate::time::Nanos;

/// Open incidents about sigyn itself, by problem and what it is on. Bounded: problems are a fixed list, and what they
/// are on are watches and receivers of the settings.
#[derive(Debug)]
pub(super) struct Internal {
    tenant: String,
    labels: Labels,
    open: BTreeMap<(String, String), Incident>,
}

impl Internal {
    pub(super) fn new(tenant: &str, labels: &Labels) -> Self {
        Self { tenant: tenant.to_owned(), labels: labels.clone(), open: BTreeMap::new() }
    }

    pub(super) fn restore(&mut self, open: impl IntoIterator<Item = Incident>) {
        self.open.clear();
        for incident in open.into_iter().filter(|incident| incident.watch == SIGYN) {
            let label = |name| incident.group.labels.get(name).unwrap_or_default().to_owned();
            self.open.insert((label("problem"), label("on")), incident);
        }
    }

    pub(super) fn step(&mut self, command: &Command) -> Step {
        let CommandKind::Internal { problem, on, firing, since, detail } = &command.kind else {
            return Step::default();
        };
        let key = (problem.clone(), on.clone());
        let transition = match (*firing, self.open.get(&key).cloned()) {
            (true, None) => {
                let start = since.map_or(command.at, |since| since.min(command.at));
                let incident = Incident { last_seen: command.at, ..self.opened(problem, on, detail, start) };
                self.open.insert(key, incident.clone());
                Some(Transition { kind: TransitionKind::Opened, number: 1, at: command.at, incident })
            }
            (false, Some(incident)) => {
                self.open.remove(&key);
                let incident = Incident {
                    state: State::Resolved,
                    last_seen: command.at,
                    resolved_at: Some(command.at),
                    detail: Some(detail.clone()),
                    ..incident
                };
                Some(Transition { kind: TransitionKind::Resolved, number: 2, at: command.at, incident })
            }
            (true, Some(_)) | (false, None) => None,
        };
        Step {
            incidents: transition.iter().map(|transition| transition.incident.clone()).collect(),
            transitions: transition.into_iter().collect(),
            command_done: Some(command.id),
            ..Step::default()
        }
    }

    fn opened(&self, problem: &str, on: &str, detail: &str, at: Nanos) -> Incident {
        let title = format!("sigyn: {} ({on})", words(problem));
        Incident {
            labels: self.labels.clone(),
            severity: if problem == "gap" { Severity::Info } else { Severity::Warning },
            detail: Some(detail.to_owned()),
            ..Incident::about_sigyn(&self.tenant, (problem, on), title, at)
        }
    }
}

fn words(problem: &str) -> String {
    match problem {
        "loki_unreachable" => "cannot read Loki".to_owned(),
        "lag" => "falls behind".to_owned(),
        "gap" => "left lines out".to_owned(),
        "memory" => "forgets for want of memory".to_owned(),
        "receiver" => "cannot tell".to_owned(),
        other => other.replace('_', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_late_began_when_it_began() {
        let mut internal = Internal::new("default", &Labels::new());
        let mut step = |at, firing, since| {
            let (problem, on, detail) = ("loki_unreachable".to_owned(), "shop".to_owned(), "why".to_owned());
            let kind = CommandKind::Internal { problem, on, firing, since, detail };
            let told = internal.step(&Command { id: 1, at, kind }).transitions;
            told.into_iter()
                .map(|told| (told.at, told.incident.started_at, told.incident.last_seen))
                .collect::<Vec<_>>()
        };
        assert_eq!(step(200, true, Some(80)), [(200, 80, 200)]);
        assert_eq!(step(210, true, Some(80)), []);
        assert_eq!(step(300, false, None), [(300, 80, 300)]);
        assert_eq!(step(400, true, None), [(400, 400, 400)]);
    }
}
