//! Incidents and notifications, matched by what a notification names: an incident is found when somebody who reads the
//! notification would look at the right service.
//!
//! What comes in: planted incidents, benign events, notes. What goes out: a [`Tally`]. Pure. The rules are those of the
//! attributing scorer of the resampled streams, and a test holds that both give the same:
//!
//! - **found**: a note between onset and end + 30 s names the service, the one in `also`, or a template
//! - **any**: any note in that time, chance hits included
//! - **delay**: the first such note minus onset
//! - **false**: a note that opens outside of incidents (start to end + 30 s) and benign events (start to end + 60 s)
//! - **benign**: a benign event in which a note opens

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use crate::time::{HOUR, Nanos, SECOND, TimeRange};

/// Something that went wrong, as it stands in `incidents.tsv` or follows from the labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planted {
    /// Which kind.
    pub kind: String,
    /// What it did first.
    pub start: Nanos,
    /// From when on it counts.
    pub onset: Nanos,
    /// When it was over.
    pub end: Nanos,
    /// The services that a note may name.
    pub services: Vec<String>,
    /// The templates, of which the first three words may be named.
    pub templates: Vec<String>,
}

/// Something that should wake nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Benign {
    /// Which kind.
    pub kind: String,
    /// From when.
    pub start: Nanos,
    /// Until when.
    pub end: Nanos,
}

/// Something that would have been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub at: Nanos,
    /// False when it opens something, true when it adds to what is open.
    pub update: bool,
    /// What the reader reads, in one line.
    pub text: String,
}

/// What was found of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Kind {
    /// Found and named.
    pub found: usize,
    /// Planted.
    pub total: usize,
}

/// How notes match what was planted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// By kind.
    pub kinds: BTreeMap<String, Kind>,
    /// Incidents with any note at all.
    pub any: usize,
    /// Seconds from onset to the note that found it, in the order of the incidents.
    pub delays: Vec<f64>,
    /// Notes that opened something.
    pub notifications: usize,
    /// Those of them that belong to nothing.
    pub false_notifications: usize,
    /// By kind of benign event: how many had a note that opened, of how many.
    pub benign: BTreeMap<String, Kind>,
    /// Hours outside of incidents and benign events.
    pub normal_hours: f64,
}

/// After an incident its notes may still come.
const AFTER_INCIDENT: Nanos = 30 * SECOND;
/// After a benign event.
const AFTER_BENIGN: Nanos = 60 * SECOND;

impl Tally {
    /// Matches notes, in the order of time, with what was planted. `span`: what was judged, up to the last line.
    #[must_use]
    pub fn new(planted: &[Planted], benign: &[Benign], notes: &[Note], span: TimeRange) -> Self {
        let mut tally = Self::default();
        for incident in planted {
            let kind = tally.kinds.entry(incident.kind.clone()).or_default();
            kind.total += 1;
            let names = Names::of(incident);
            let until = incident.end + AFTER_INCIDENT;
            let mut during = notes.iter().filter(|note| incident.onset <= note.at && note.at <= until).peekable();
            tally.any += usize::from(during.peek().is_some());
            if let Some(first) = during.find(|note| names.are_in(&note.text)) {
                kind.found += 1;
                tally.delays.push((first.at - incident.onset) as f64 / SECOND as f64);
            }
        }
        let busy = busy(planted, benign);
        let opened: Vec<&Note> = notes.iter().filter(|note| !note.update && note.at >= span.start).collect();
        let outside = |note: &&&Note| !busy.iter().any(|(from, until)| *from <= note.at && note.at <= *until);
        tally.false_notifications = opened.iter().filter(outside).count();
        tally.notifications = opened.len();
        for event in benign {
            let kind = tally.benign.entry(event.kind.clone()).or_default();
            kind.total += 1;
            let inside = |note: &&Note| event.start <= note.at && note.at <= event.end + AFTER_BENIGN;
            kind.found += usize::from(opened.iter().any(inside));
        }
        let taken: Nanos = busy.iter().map(|(from, until)| (until - from.max(&span.start)).max(0)).sum();
        tally.normal_hours = (span.end - span.start - taken) as f64 / HOUR as f64;
        tally
    }

    /// Incidents that were found and named.
    #[must_use]
    pub fn found(&self) -> usize {
        self.kinds.values().map(|kind| kind.found).sum()
    }

    /// Incidents in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.kinds.values().map(|kind| kind.total).sum()
    }

    /// Benign events with a note.
    #[must_use]
    pub fn benign_notified(&self) -> usize {
        self.benign.values().map(|kind| kind.found).sum()
    }

    /// The middle of the delays in seconds; of an even number the upper one.
    #[must_use]
    pub fn median_delay(&self) -> Option<f64> {
        let mut delays = self.delays.clone();
        delays.sort_by(f64::total_cmp);
        delays.get(delays.len() / 2).copied()
    }
}

/// When a note is not false, both ends included.
#[must_use]
pub fn busy(planted: &[Planted], benign: &[Benign]) -> Vec<(Nanos, Nanos)> {
    let planted = planted.iter().map(|incident| (incident.start, incident.end + AFTER_INCIDENT));
    planted.chain(benign.iter().map(|event| (event.start, event.end + AFTER_BENIGN))).collect()
}

/// The names that a note must have one of.
struct Names {
    /// No name at all is in every text, as in the scorer.
    all: bool,
    any: Vec<Regex>,
}

impl Names {
    fn of(incident: &Planted) -> Self {
        let service =
            |name: &String| format!(r"(?:\A|[^\w-])(?:ts-)?{}(?:-service[\w-]*)?(?:\z|[^\w-])", regex::escape(name));
        let template = |text: &String| {
            let words: Vec<&str> = text.split(' ').take(3).collect();
            format!(r"(?:\A|\W){}(?:\z|\D)", regex::escape(&words.join(" ")))
        };
        let patterns = incident.services.iter().map(service).chain(incident.templates.iter().map(template));
        let build = |pattern: String| RegexBuilder::new(&pattern).case_insensitive(true).build().ok();
        let any: Vec<Regex> = patterns.filter_map(build).collect();
        Self { all: incident.services.is_empty() && incident.templates.is_empty(), any }
    }

    fn are_in(&self, text: &str) -> bool {
        self.all || self.any.iter().any(|name| name.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(service: &str, template: &str) -> Planted {
        let list = |text: &str| text.split(';').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let (start, end) = (100 * SECOND, 200 * SECOND);
        Planted {
            kind: "error".to_owned(),
            start,
            onset: start,
            end,
            services: list(service),
            templates: list(template),
        }
    }

    #[test]
    fn a_note_names_a_service_or_a_template_as_a_whole_word() {
        for (service, template, text, named) in [
            ("order", "", "order: more errors", true),
            ("order", "", "Order: more errors", true),
            ("order", "", "ts-order-service-5c66d57d58-6mp2b: more errors", true),
            ("order", "", "ts-order-other-service: more errors", false),
            ("order", "", "preorder: more errors", false),
            ("order", "", "order-other: more errors", false),
            ("order", "", "in {stream=\"order\"}", true),
            ("", "OrderImpl#68", "INFO o.OrderImpl#68 [find]", true),
            ("", "OrderImpl#68", "INFO o.OrderImpl#681 [find]", false),
            ("", "OrderImpl#68", "INFO xOrderImpl#68", false),
            ("", "unhandled exception in thread main", "an unhandled exception in it", true),
            ("", "", "whatever", true),
        ] {
            assert_eq!(Names::of(&planted(service, template)).are_in(text), named, "{service} {template} {text}");
        }
    }

    #[test]
    fn notes_are_counted_once_and_where_they_belong() {
        let note = |second: i64, update, text: &str| Note { at: second * SECOND, update, text: text.to_owned() };
        let notes = [
            note(40, false, "before the judged time"),
            note(90, false, "order: too early"),
            note(150, false, "cart: another"),
            note(230, true, "order: now it is named"),
            note(231, false, "order: too late"),
            note(400, false, "a deploy"),
        ];
        let benign = [Benign { kind: "deploy".to_owned(), start: 300 * SECOND, end: 350 * SECOND }];
        let span = TimeRange::new(50 * SECOND, 3650 * SECOND);
        let tally = Tally::new(&[planted("order", "")], &benign, &notes, span);
        assert_eq!((tally.found(), tally.any, tally.median_delay()), (1, 1, Some(130.0)));
        assert_eq!((tally.notifications, tally.false_notifications, tally.benign_notified()), (4, 2, 1));
        assert!((tally.normal_hours - (3600.0 - 130.0 - 110.0) / 3600.0).abs() < 1e-9);
    }
}
