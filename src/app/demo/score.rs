//! Planted against found.

use std::collections::BTreeMap;

use log_generator::{Fault, Truth};

use crate::incident::{Incident, Transition, TransitionKind};
use crate::time::{MINUTE, Nanos};

/// A service needs a while to be itself again after a fault; what is told then belongs to the fault.
const AFTERMATH: Nanos = 10 * MINUTE;
/// What begins so soon after a fault goes along with it.
const SOON: Nanos = MINUTE / 2;

/// One planted fault.
#[derive(Clone, Debug)]
pub struct Planted {
    /// What was planted, where and when.
    pub fault: Fault,
    /// When it was told first, and as what; `None`: it was missed.
    pub found: Option<(Nanos, Incident)>,
}

/// Planted against found.
#[derive(Clone, Debug)]
pub struct Score {
    /// Every planted fault that began before the end.
    pub planted: Vec<Planted>,
    /// Incidents that belong to no fault, and came while none was in force.
    pub false_alarms: Vec<Incident>,
}

impl Score {
    /// Compares the truth with what was told.
    #[must_use]
    pub fn new(truth: &Truth, told: &[Transition]) -> Self {
        let mut last: BTreeMap<&str, &Incident> = BTreeMap::new();
        for transition in told {
            last.insert(&transition.incident.id, &transition.incident);
        }
        let opened: Vec<(Nanos, &Incident)> = told
            .iter()
            .filter(|transition| transition.kind == TransitionKind::Opened && transition.incident.watch != "sigyn")
            .filter_map(|transition| Some((transition.at, *last.get(transition.incident.id.as_str())?)))
            .collect();
        let planted = truth.faults.iter().map(|fault| {
            let found = opened.iter().find(|(_, incident)| belongs(fault, incident));
            Planted { fault: fault.clone(), found: found.map(|(at, incident)| (*at, (*incident).clone())) }
        });
        let stray = opened.iter().filter(|(_, incident)| {
            !truth.faults.iter().any(|fault| belongs(fault, incident) || goes_along(fault, incident))
        });
        Self { planted: planted.collect(), false_alarms: stray.map(|(_, incident)| (*incident).clone()).collect() }
    }

    /// How many faults were found.
    #[must_use]
    pub fn found(&self) -> usize {
        self.planted.iter().filter(|planted| planted.found.is_some()).count()
    }
}

/// Whether an incident begins while a fault is in force: what it does to other services is no false alarm.
fn goes_along(fault: &Fault, incident: &Incident) -> bool {
    fault.scripted_start <= incident.last_seen && incident.started_at <= fault.end + SOON
}

fn belongs(fault: &Fault, incident: &Incident) -> bool {
    let service = incident.group.labels.get("service_name").unwrap_or_default();
    let during = incident.last_seen > fault.scripted_start && incident.started_at < fault.end + AFTERMATH;
    during && fault.services().any(|name| name == service)
}
