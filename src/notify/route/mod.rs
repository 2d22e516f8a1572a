//! Who hears of an incident, when, and how often: the routing tree.
//!
//! What comes in: the settings, the names of the receivers, labels. What goes out: the routes that match, all they inherit
//! filled in. Pure. What never happens here: counting what was told, which is the dispatcher's.

mod config;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

pub use config::{
    Day, DigestConfig, Every, GROUP_BY, GROUP_INTERVAL, GROUP_WAIT, REPEAT_INTERVAL, RouteConfig, StormConfig,
    UNLIMITED,
};

use super::interval::TimeInterval;
use super::zone::Zone;
use crate::incident::{Incident, Severity};
use crate::labels::{Labels, Matchers};
use crate::time::{Nanos, TimeRange};

/// Most routes of a tree, and how deep it may be.
pub const MAX_ROUTES: usize = 1000;
const MAX_DEPTH: usize = 20;
/// Labels in which a group may differ.
const MAX_GROUP_BY: usize = 32;
/// Labels that say which service it is, the best first.
const SERVICE: [&str; 4] = ["service", "service_name", "app", "job"];

/// A route with all that it inherits.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name for ever, as long as its matchers and those above it stay: `root/team="shop"`.
    pub path: String,
    /// How many routes are above it.
    pub depth: usize,
    /// What must hold here, besides what holds above.
    pub matchers: Matchers,
    /// Whether routes after it are looked at too.
    pub go_on: bool,
    /// Who is told.
    pub receivers: Vec<String>,
    /// Which incidents may be told together.
    pub group_by: GroupBy,
    /// Nanoseconds before the first message of a group.
    pub group_wait: Nanos,
    /// Nanoseconds before the next message of a group that has something new.
    pub group_interval: Nanos,
    /// Nanoseconds until the same is told again.
    pub repeat_interval: Nanos,
    /// What is less severe is not told.
    pub min_severity: Severity,
    /// Messages that may interrupt somebody in a day ([`Route::day`]); [`UNLIMITED`] where there is no limit.
    pub interruptions_per_day: u32,
    /// When the digest comes.
    pub digest: DigestConfig,
    /// By whose days and clocks.
    pub time_zone: Zone,
    mute: Vec<Arc<TimeInterval>>,
    active: Vec<Arc<TimeInterval>>,
}

/// Which incidents may be told together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Each by itself.
    All,
    /// Those that are equal in these labels.
    Labels(Vec<String>),
}

/// Why a route is silent at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Muted<'a> {
    /// It is muted in this interval.
    In(&'a str),
    /// None of the intervals in which it speaks.
    NotActive,
}

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Key path such as `route.routes[0].receiver`, from `notify` on.
    pub key: String,
    /// What was expected, what was found, and what to do.
    pub text: String,
}

/// The settings that make a [`Router`].
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The tree.
    pub route: &'a RouteConfig,
    /// What it calls by name.
    pub time_intervals: &'a [TimeInterval],
    /// The receivers that there are.
    pub receivers: &'a [String],
}

/// The tree.
#[derive(Clone, Debug)]
pub struct Router {
    /// In depth-first order, the root first.
    routes: Vec<Route>,
    /// Of each route, its children.
    children: Vec<Vec<usize>>,
}

impl Router {
    /// A tree from the settings. Without any, the root tells all receivers.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn new(rules: &Rules<'_>) -> Result<Self, Vec<Wrong>> {
        let mut build = Build { rules, intervals: BTreeMap::new(), router: Self::empty(), wrong: Vec::new() };
        build.intervals();
        let root = Route {
            path: "root".to_owned(),
            depth: 0,
            matchers: Matchers::default(),
            go_on: false,
            receivers: rules.receivers.to_vec(),
            group_by: GroupBy::Labels(GROUP_BY.map(ToOwned::to_owned).to_vec()),
            group_wait: GROUP_WAIT.nanos(),
            group_interval: GROUP_INTERVAL.nanos(),
            repeat_interval: REPEAT_INTERVAL.nanos(),
            min_severity: Severity::Info,
            interruptions_per_day: UNLIMITED,
            digest: DigestConfig::default(),
            time_zone: Zone::default(),
            mute: Vec::new(),
            active: Vec::new(),
        };
        build.root(rules.route);
        build.add(rules.route, root, "route");
        if build.wrong.is_empty() { Ok(build.router) } else { Err(build.wrong) }
    }

    fn empty() -> Self {
        Self { routes: Vec::new(), children: Vec::new() }
    }

    /// The routes that an incident with these labels takes, in the order of the tree: at each level the first child that
    /// matches, and those after it while they say `continue`; where no child matches, the route itself. Never empty.
    #[must_use]
    pub fn matching(&self, labels: &Labels) -> Vec<&Route> {
        let mut found = Vec::new();
        self.walk(0, labels, &mut found);
        found
    }

    fn walk<'a>(&'a self, index: usize, labels: &Labels, found: &mut Vec<&'a Route>) {
        let (Some(route), Some(children)) = (self.routes.get(index), self.children.get(index)) else { return };
        let before = found.len();
        for child in children {
            let Some(next) = self.routes.get(*child).filter(|next| next.matchers.matches(labels)) else { continue };
            self.walk(*child, labels, found);
            if !next.go_on {
                break;
            }
        }
        if found.len() == before {
            found.push(route);
        }
    }

    /// All routes, each before those below it.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The nearest route that is there above a path that may not be there any more; the root at last.
    #[must_use]
    pub fn above(&self, path: &str) -> Option<&Route> {
        let above = |route: &&Route| path.strip_prefix(&route.path).is_some_and(|rest| rest.starts_with('/'));
        self.routes.iter().filter(above).max_by_key(|route| route.path.len())
    }

    /// The route of this path, such as that of a stored group.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.path == path)
    }
}

impl Route {
    /// Why it is silent at `at`; `None` when it speaks.
    #[must_use]
    pub fn muted(&self, at: Nanos) -> Option<Muted<'_>> {
        if let Some(interval) = self.mute.iter().find(|interval| interval.contains(at)) {
            return Some(Muted::In(&interval.name));
        }
        let active = self.active.is_empty() || self.active.iter().any(|interval| interval.contains(at));
        if active { None } else { Some(Muted::NotActive) }
    }

    /// Whether it tells incidents of this severity.
    #[must_use]
    pub fn tells(&self, severity: Severity) -> bool {
        severity >= self.min_severity
    }

    /// What tells groups of this route apart: its path and the labels that it groups by, such as
    /// `root/team="shop":{cluster="eu-1", watch="shop"}`. Labels that are not there are left out.
    #[must_use]
    pub fn group_key(&self, labels: &Labels) -> String {
        format!("{}:{}", self.path, self.group(labels))
    }

    /// The labels of the group that `labels` belong to.
    #[must_use]
    pub fn group(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            GroupBy::All => labels.clone(),
            // As Alertmanager has it, an absent label and an empty one are the same.
            GroupBy::Labels(names) => names
                .iter()
                .filter_map(|name| Some((name.as_str(), labels.get(name).filter(|value| !value.is_empty())?)))
                .collect(),
        }
    }

    /// The day that `at` belongs to, for which interruptions are counted.
    #[must_use]
    pub fn day(&self, at: Nanos) -> TimeRange {
        self.time_zone.day(at)
    }

    /// When the first digest after `after` comes. Once a day or week also where clocks change.
    #[must_use]
    pub fn next_digest(&self, after: Nanos) -> Nanos {
        let DigestConfig { every, at, weekday } = &self.digest;
        let (hour, minute) = (at.0 / 60, at.0 % 60);
        let when = |date: Date| {
            let time = jiff::civil::time(i8::try_from(hour).unwrap_or(0), i8::try_from(minute).unwrap_or(0), 0, 0);
            self.time_zone.first(date.to_datetime(time))
        };
        let today = self.time_zone.civil(after).date();
        // From yesterday on, as the day may have begun twice.
        let days = (-1..=8).filter_map(|days| today.checked_add(days.days()).ok());
        let wanted = |date: &Date| *every == Every::Day || date.weekday() == Weekday::from(*weekday);
        days.filter(wanted).map(when).find(|due| *due > after).unwrap_or(Nanos::MAX)
    }

    /// Names of the intervals in which it is silent, and of those in which alone it speaks.
    #[must_use]
    pub fn intervals(&self) -> (Vec<&str>, Vec<&str>) {
        (
            self.mute.iter().map(|interval| interval.name.as_str()).collect(),
            self.active.iter().map(|interval| interval.name.as_str()).collect(),
        )
    }
}

/// The labels of an incident as routes, silences and inhibition see them: those of its watch and the external ones, over
/// them those of its group, over them our own, which nobody can set otherwise: `watch`, `severity` (info, warning,
/// critical) and `alertname`, what is wrong in the words of its title without the service and without counts (`more errors
/// than usual`; of sigyn's own problems their word, such as `loki_unreachable`). `service` is the group's own, else its
/// `service_name`, `app` or `job`.
#[must_use]
pub fn labels(incident: &Incident) -> Labels {
    let group = &incident.group.labels;
    let mut labels: Labels = incident.labels.iter().chain(group.iter()).collect();
    if let Some(service) = SERVICE.iter().find_map(|name| group.get(name)) {
        labels.insert("service", service);
    }
    labels.insert("watch", &incident.watch);
    labels.insert("severity", incident.severity.as_str());
    labels.insert("alertname", alertname(incident));
    labels
}

/// What is wrong, as one word or a few: the same over the incident's life, and without counts.
#[must_use]
pub fn alertname(incident: &Incident) -> &str {
    match incident.group.labels.get("problem") {
        Some(problem) if incident.worst.is_none() => problem,
        _ => incident.title.rsplit_once(": ").map_or(incident.title.as_str(), |(_, what)| what),
    }
}

struct Build<'a> {
    rules: &'a Rules<'a>,
    intervals: BTreeMap<&'a str, Arc<TimeInterval>>,
    router: Router,
    wrong: Vec<Wrong>,
}

impl<'a> Build<'a> {
    fn say(&mut self, key: String, text: impl Into<String>) {
        self.wrong.push(Wrong { key, text: text.into() });
    }

    fn intervals(&mut self) {
        for (index, interval) in self.rules.time_intervals.iter().enumerate() {
            let key = format!("time_intervals[{index}]");
            if interval.name.trim().is_empty() {
                self.say(format!("{key}.name"), "a time interval needs a name, by which routes call it");
            } else if self.intervals.insert(&interval.name, Arc::new(interval.clone())).is_some() {
                self.say(format!("{key}.name"), "is the name of another time interval; names must be unique");
            }
            if interval.time_intervals.is_empty() {
                self.say(format!("{key}.time_intervals"), "needs at least one part, or it is never");
            }
            for (part, mistake) in interval.time_intervals.iter().map(super::interval::Part::mistake).enumerate() {
                if let Some((field, text)) = mistake {
                    let dot = if field.is_empty() { "" } else { "." };
                    self.say(format!("{key}.time_intervals[{part}]{dot}{field}"), text);
                }
            }
        }
    }

    /// The root takes whatever no other route takes.
    fn root(&mut self, config: &RouteConfig) {
        let root = "takes whatever no other route takes, so it cannot have";
        if !config.matchers.is_empty() {
            self.say("route.matchers".to_owned(), format!("the root {root} matchers; make a route below it"));
        }
        if config.go_on {
            self.say("route.continue".to_owned(), format!("the root {root} `continue`"));
        }
        for (key, names) in [
            ("mute_time_intervals", &config.mute_time_intervals),
            ("active_time_intervals", &config.active_time_intervals),
        ] {
            if !names.is_empty() {
                self.say(format!("route.{key}"), format!("the root {root} {key}; make a route below it"));
            }
        }
    }

    fn add(&mut self, config: &'a RouteConfig, base: Route, key: &str) {
        if self.router.routes.len() == MAX_ROUTES || base.depth > MAX_DEPTH {
            let text = format!("at most {MAX_ROUTES} routes, at most {MAX_DEPTH} deep");
            if !self.wrong.iter().any(|wrong| wrong.text == text) {
                self.say(key.to_owned(), text);
            }
            return;
        }
        let route = self.resolved(config, base, key);
        let index = self.router.routes.len();
        self.router.routes.push(route.clone());
        self.router.children.push(Vec::new());
        let mut paths: BTreeMap<String, usize> = BTreeMap::new();
        for (number, child) in config.routes.iter().enumerate() {
            let key = format!("{key}.routes[{number}]");
            if let Some(children) = self.router.children.get_mut(index) {
                children.push(self.router.routes.len());
            }
            let mut path = format!("{}/{}", route.path, bare(&child.matchers));
            let same = paths.entry(path.clone()).or_default();
            *same += 1;
            if *same > 1 {
                path = format!("{path}#{same}");
            }
            let (matchers, depth) = (child.matchers.clone(), route.depth + 1);
            let base = Route { path, depth, matchers, go_on: child.go_on, ..route.clone() };
            self.add(child, base, &key);
        }
    }

    /// The route with what its settings say over what it inherits.
    fn resolved(&mut self, config: &'a RouteConfig, base: Route, key: &str) -> Route {
        let mut route = base;
        if let Some(receivers) = self.receivers(config, key) {
            route.receivers = receivers;
        }
        if let Some(names) = &config.group_by {
            route.group_by = self.group_by(names, &format!("{key}.group_by"));
        }
        route.group_wait = config.group_wait.map_or(route.group_wait, crate::time::Span::nanos);
        for (name, span, field) in [
            ("group_interval", config.group_interval, &mut route.group_interval),
            ("repeat_interval", config.repeat_interval, &mut route.repeat_interval),
        ] {
            if let Some(span) = span {
                *field = span.nanos();
                if span.0.is_zero() {
                    self.say(format!("{key}.{name}"), "must be longer than 0");
                }
            }
        }
        route.mute = self.named(&config.mute_time_intervals, &format!("{key}.mute_time_intervals"));
        route.active = self.named(&config.active_time_intervals, &format!("{key}.active_time_intervals"));
        route.min_severity = config.min_severity.unwrap_or(route.min_severity);
        route.interruptions_per_day = config.interruptions_per_day.unwrap_or(route.interruptions_per_day);
        if let Some(digest) = &config.digest {
            if digest.at.0 >= 24 * 60 {
                self.say(format!("{key}.digest.at"), "must be from 00:00 to 23:59");
            }
            route.digest.clone_from(digest);
        }
        if let Some(zone) = &config.time_zone {
            route.time_zone = zone.clone();
        }
        route
    }

    fn receivers(&mut self, config: &RouteConfig, key: &str) -> Option<Vec<String>> {
        let (names, several) = match (&config.receiver, &config.receivers) {
            (Some(_), Some(_)) => {
                self.say(format!("{key}.receiver"), "both receiver and receivers are set; keep one");
                return None;
            }
            (Some(name), None) => (vec![name.clone()], false),
            (None, Some(names)) => (names.clone(), true),
            (None, None) => return None,
        };
        let known = self.rules.receivers;
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !known.contains(name)) {
            let key = if several { format!("{key}.receivers[{index}]") } else { format!("{key}.receiver") };
            let text = match known {
                [] => format!("there is no receiver `{name}`, as none is set up; see notify.slack and others"),
                known => format!("there is no receiver `{name}`; there are: {}", known.join(", ")),
            };
            self.say(key, text);
        }
        Some(names)
    }

    fn group_by(&mut self, names: &[String], key: &str) -> GroupBy {
        if names.iter().any(|name| name == "...") {
            if names.len() > 1 {
                self.say(key.to_owned(), "`...` is all labels; it cannot stand beside others");
            }
            return GroupBy::All;
        }
        if names.len() > MAX_GROUP_BY {
            self.say(key.to_owned(), format!("at most {MAX_GROUP_BY} labels"));
        }
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() {
                self.say(format!("{key}[{index}]"), "must be the name of a label");
            } else if names.iter().take(index).any(|before| before == name) {
                self.say(format!("{key}[{index}]"), "stands here twice");
            }
        }
        GroupBy::Labels(names.to_vec())
    }

    fn named(&mut self, names: &[String], key: &str) -> Vec<Arc<TimeInterval>> {
        let mut found = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match self.intervals.get(name.as_str()) {
                Some(interval) => found.push(Arc::clone(interval)),
                None => self.say(format!("{key}[{index}]"), "there is no such name in notify.time_intervals"),
            }
        }
        found
    }
}

/// Matchers without braces: `team="shop", env="prod"`; `*` where there are none.
fn bare(matchers: &Matchers) -> String {
    match matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "*".to_owned(),
        text => text,
    }
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Monday => Self::Monday,
            Day::Tuesday => Self::Tuesday,
            Day::Wednesday => Self::Wednesday,
            Day::Thursday => Self::Thursday,
            Day::Friday => Self::Friday,
            Day::Saturday => Self::Saturday,
            Day::Sunday => Self::Sunday,
        }
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("..."),
            Self::Labels(names) => f.write_str(&names.join(", ")),
        }
    }
}

impl fmt::Display for Muted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(name) => write!(f, "muted by {name}"),
            Self::NotActive => f.write_str("not active now"),
        }
    }
}
