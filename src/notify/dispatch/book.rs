//! What is counted of a route: interruptions of the day, what goes to the digest, new incidents of late, and a storm.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::clock::not_after;
use crate::incident::{Handling, Incident, Member, Severity, State};
use crate::time::{Nanos, TimeRange};

/// Rows of a table; more are counted only.
const MAX_ROWS: usize = 100;

/// What is counted of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Book {
    /// Start of the day that is counted, and messages in it that interrupted somebody.
    day: Nanos,
    interruptions: u32,
    /// What is told in the digest.
    digest: Table,
    /// When the digest comes.
    pub(super) digest_at: Option<Nanos>,
    /// When new incidents were told of late.
    opened: VecDeque<Nanos>,
    /// The storm that goes on.
    pub(super) storm: Option<Storm>,
}

/// New incidents that are told as one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Storm {
    pub(super) started_at: Nanos,
    /// When its newest incident came.
    newest: Nanos,
    table: Table,
    /// Notices so far, and the time of the last.
    pub(super) number: u64,
    pub(super) told_at: Nanos,
    /// Something came since.
    pub(super) news: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Table {
    from: Nanos,
    rows: Vec<Member>,
    more: u64,
}

/// Messages of a route that interrupted somebody on this day, by [`Dispatch::state`](super::Dispatch::state) as it is stored.
#[must_use]
pub fn interruptions(state: &[(String, String)], path: &str, day: TimeRange) -> u32 {
    let key = format!("book/{path}");
    let document = state.iter().find(|(name, _)| *name == key).map(|(_, document)| document);
    let book: Option<Book> = document.and_then(|document| serde_json::from_str(document).ok());
    book.filter(|book| book.day == day.start).map_or(0, |book| book.interruptions)
}

impl Table {
    fn add(&mut self, incident: &Incident, now: Nanos) {
        self.put(Member::from(incident), now);
    }

    fn put(&mut self, member: Member, now: Nanos) {
        if self.rows.is_empty() {
            self.from = now;
        }
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == member.id) {
            *row = member;
        } else if self.rows.len() < MAX_ROWS {
            self.rows.push(member);
        } else {
            self.more += 1;
        }
    }

    fn count(&self) -> u64 {
        self.rows.len() as u64 + self.more
    }
}

impl Book {
    /// Whether one more message may interrupt somebody today.
    pub(super) fn may_interrupt(&mut self, day: TimeRange, limit: u32) -> bool {
        if self.day != day.start {
            (self.day, self.interruptions) = (day.start, 0);
        }
        self.interruptions < limit
    }

    pub(super) fn interrupted(&mut self) {
        self.interruptions = self.interruptions.saturating_add(1);
    }

    /// Whether a new incident now is one of more than `most` within `within` nanoseconds.
    pub(super) fn is_storm(&mut self, now: Nanos, most: u32, within: Nanos) -> bool {
        while self.opened.front().is_some_and(|at| *at <= now - within) {
            self.opened.pop_front();
        }
        self.storm.is_some() || self.opened.len() >= most as usize
    }

    /// A new incident is told by itself.
    pub(super) fn opened(&mut self, now: Nanos, most: u32) {
        self.opened.push_back(now);
        while self.opened.len() > most.max(1) as usize {
            self.opened.pop_front();
        }
    }

    /// A new incident is told as a row of the storm.
    pub(super) fn in_storm(&mut self, incident: &Incident, now: Nanos) {
        let storm = self.storm.get_or_insert_with(|| Storm {
            started_at: now,
            newest: now,
            table: Table::default(),
            number: 0,
            told_at: Nanos::MIN,
            news: true,
        });
        storm.table.add(incident, now);
        (storm.newest, storm.news) = (now, true);
    }

    /// After a clock was set back; true when something has changed. `next`: when the next digest comes, by what is now.
    pub(super) fn set_back(&mut self, now: Nanos, next: impl FnOnce() -> Nanos) -> bool {
        let mut changed = false;
        for at in &mut self.opened {
            changed |= not_after(at, now);
        }
        if let Some(storm) = &mut self.storm {
            // It began when it was told to have begun: its id is made of that.
            for at in [&mut storm.newest, &mut storm.told_at] {
                changed |= not_after(at, now);
            }
        }
        if let Some(at) = &mut self.digest_at {
            let next = next();
            changed |= *at > next;
            *at = next.min(*at);
        }
        changed
    }

    /// What waits is told in the digest.
    pub(super) fn in_digest(&mut self, incident: &Incident, now: Nanos, at: impl FnOnce() -> Nanos) {
        self.digest.add(incident, now);
        self.digest_at.get_or_insert_with(at);
    }

    /// Takes over what another one would have told in a digest, and what its storm has not told yet. True when there was
    /// something.
    pub(super) fn inherit(&mut self, from: &mut Self) -> bool {
        let storm = from.storm.take().filter(|storm| storm.news);
        let (unsaid, due) = storm.map_or((None, None), |storm| (Some(storm.table), Some(storm.newest)));
        let due = from.digest_at.take().into_iter().chain(due).min();
        let tables = [Some(std::mem::take(&mut from.digest)), unsaid];
        for table in tables.into_iter().flatten() {
            for row in table.rows {
                self.digest.put(row, table.from);
            }
            self.digest.more += table.more;
        }
        self.digest_at = self.digest_at.into_iter().chain(due).min();
        due.is_some()
    }

    /// The digest, when it is due.
    pub(super) fn digest(&mut self, path: &str, now: Nanos) -> Option<Incident> {
        self.digest_at.take_if(|at| *at <= now)?;
        let table = std::mem::take(&mut self.digest);
        let count = table.count();
        let detail = format!(
            "{} that {} not told one by one: below the severity of the route, or over its interruptions_per_day",
            incidents(count),
            if count == 1 { "was" } else { "were" }
        );
        let title = format!("digest: {}", incidents(count));
        let from = table.from;
        Some(report(("digest", path, from), (from, now), title, detail, table))
    }
}

impl Storm {
    /// When it is over: nothing new for `within` nanoseconds.
    pub(super) fn ends(&self, within: Nanos) -> Nanos {
        self.newest.saturating_add(within)
    }

    /// The incident that tells it.
    pub(super) fn incident(&self, path: &str, now: Nanos, over: bool) -> Incident {
        let count = self.table.count();
        let detail = format!(
            "more new incidents than notify.storm allows; {} are told in this table instead of one by one until no new \
             one has come for a while. What becomes worse is still told by itself",
            incidents(count)
        );
        let title = "storm: many new incidents at once".to_owned();
        let (born, began) = (self.started_at, self.started_at.min(now));
        let mut incident = report(("storm", path, born), (began, now), title, detail, self.table.clone());
        incident.severity = self.table.rows.iter().map(|row| row.severity).max().unwrap_or(Severity::Warning);
        if !over {
            (incident.state, incident.resolved_at) = (State::Firing, None);
        }
        incident
    }
}

fn incidents(count: u64) -> String {
    if count == 1 { "1 incident".to_owned() } else { format!("{count} incidents") }
}

/// An incident about sigyn's own telling, with a table; its id is made of the first three.
fn report(
    (problem, path, born): (&str, &str, Nanos),
    (from, now): (Nanos, Nanos),
    title: String,
    mut detail: String,
    table: Table,
) -> Incident {
    if table.more > 0 {
        detail.push_str(&format!("; the first {} are shown", table.rows.len()));
    }
    Incident {
        state: State::Resolved,
        severity: Severity::Info,
        started_at: from,
        last_seen: now,
        resolved_at: Some(now),
        detail: Some(detail),
        handling: Handling { members: table.rows, ..Handling::default() },
        ..Incident::about_sigyn("default", (problem, path), title, born)
    }
}
