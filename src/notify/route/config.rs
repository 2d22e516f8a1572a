//! `notify.route`: a tree like Alertmanager's, with its words and meanings, and ours beside them; and what goes with it.
//!
//! What comes in: the settings. What goes out: a route with what it inherits filled in. Nothing is matched here.

use serde::{Deserialize, Serialize};

use super::super::interval::Clock;
use super::super::zone::Zone;
use crate::incident::Severity;
use crate::labels::Matchers;
use crate::time::Span;

/// `notify.route:`, and each of its `routes`. What is not set is inherited, where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteConfig {
    /// Who is told: one receiver by its name.
    pub receiver: Option<String>,
    /// Who is told: several receivers.
    pub receivers: Option<Vec<String>>,
    /// All must hold. Not inherited: they hold already.
    pub matchers: Matchers,
    /// Whether routes after this one are looked at too when it matches. Not inherited.
    #[serde(rename = "continue")]
    pub go_on: bool,
    /// Only incidents that are equal in these labels may be told together; `...` is all labels, so each by itself.
    pub group_by: Option<Vec<String>>,
    /// How long to wait for others before the first message of a group.
    pub group_wait: Option<Span>,
    /// How long to wait with what is new in a group that was told before.
    pub group_interval: Option<Span>,
    /// How long until the same is told again.
    pub repeat_interval: Option<Span>,
    /// Not told in these. Not inherited.
    pub mute_time_intervals: Vec<String>,
    /// Told in these only. Not inherited.
    pub active_time_intervals: Vec<String>,
    /// What is less severe is not told.
    pub min_severity: Option<Severity>,
    /// At most so many messages that interrupt somebody in a day; the rest goes to the digest.
    pub interruptions_per_day: Option<u32>,
    /// When the digest comes.
    pub digest: Option<DigestConfig>,
    /// By whose days and clocks.
    pub time_zone: Option<Zone>,
    /// The first that matches is taken, or this one when none does.
    pub routes: Vec<RouteConfig>,
}

/// `digest:` of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DigestConfig {
    /// How often.
    pub every: Every,
    /// When, by the clocks of the route's time zone.
    pub at: Clock,
    /// On which day, when it comes once a week.
    pub weekday: Day,
}

impl Default for DigestConfig {
    fn default() -> Self {
        Self { every: Every::Day, at: Clock(8 * 60), weekday: Day::Monday }
    }
}

/// How often a digest comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    /// Once a day.
    Day,
    /// Once a week.
    Week,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days of the week")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// `notify.storm:` from when on incidents are told as one table, whatever the routes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StormConfig {
    /// More new incidents than this,
    pub incidents: u32,
    /// within this time.
    pub within: Span,
}

impl Default for StormConfig {
    fn default() -> Self {
        Self { incidents: 10, within: Span::minutes(10) }
    }
}

/// The root's `group_by`: one query is what somebody asked about together, and a cluster or namespace is what fails together
/// and has one owner. All labels (`...`) would tell each service by itself, none would put strangers into one message.
pub const GROUP_BY: [&str; 3] = ["watch", "cluster", "namespace"];
/// The root's `group_wait`: windows of all services close at the same moment, and each watch is read once in
/// `collect.interval` (30 s), so this is how far apart the news of one cause can be.
pub const GROUP_WAIT: Span = Span::seconds(30);
/// The root's `group_interval`: as long as `incident.keep_firing_for`; who joins later is part of the next message.
pub const GROUP_INTERVAL: Span = Span::minutes(5);
/// The root's `repeat_interval`, that of Alertmanager: an incident expires after a day (`incident.expire_after`), so nobody
/// hears the same more than six times.
pub const REPEAT_INTERVAL: Span = Span::hours(4);
/// No limit to `interruptions_per_day`.
pub const UNLIMITED: u32 = u32::MAX;
