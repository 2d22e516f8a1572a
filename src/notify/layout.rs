//! How a message is laid out, once for all receivers: head, rows, details, members, samples, links and foot.
//!
//! What comes in: a [`Message`], the [`Markup`] of the receiver, and the user's own words if the settings have some. What
//! goes out: parts of text in that markup, each within the limits given here. What never happens here: text of strangers
//! that is not escaped, or a part that is cut in its middle, so that no code block stays open.

use super::escape;
use super::render::{Line, Message};
use super::template::Template;
use crate::incident::TransitionKind;

/// More reasons than this are noise at night.
const REASONS: usize = 3;
/// Log lines in a message.
const SAMPLES: usize = 3;
/// Characters of a log line; three of them, escaped to five times their length, fit 3,000.
const LINE: usize = 180;
/// Characters of any other value.
const VALUE: usize = 240;
/// What is wrong with sigyn itself takes more words.
const DETAIL: usize = 500;
/// Members in a message that tells the whole story.
const MEMBERS: usize = 10;
/// Members in any other, the newest.
const FEW: usize = 3;
/// Characters of a member.
const MEMBER: usize = 160;

/// How one markup writes things. What is not `&'static` is as hostile as it came, and comes back harmless.
#[derive(Clone, Copy, Debug)]
pub struct Markup {
    /// Text of strangers inside a line, cut to a number of characters.
    pub inline: fn(&str, usize) -> String,
    /// A log line inside a block of code, cut to a number of characters.
    pub code: fn(&str, usize) -> String,
    /// A block of code around lines that [`Self::code`] gave.
    pub block: fn(&str) -> String,
    /// A label before its value.
    pub label: fn(&'static str) -> String,
    /// A link to a URL that [`escape::url`] let through.
    pub link: fn(&'static str, &str) -> String,
}

impl Markup {
    /// Text without markup.
    pub const PLAIN: Self = Self {
        inline: escape::plain,
        code: escape::plain,
        block: |lines| lines.to_owned(),
        label: |label| format!("{label}:"),
        link: |label, url| format!("{label}: {url}"),
    };
}

/// A label of ours and a value in the markup.
pub type Row = (&'static str, String);

/// A message on its way into a markup.
#[derive(Debug)]
pub struct Layout<'a> {
    said: &'a Message,
    markup: Markup,
    /// Whether everything is told, or only what changed.
    full: bool,
    title: Option<String>,
    text: Option<String>,
}

impl<'a> Layout<'a> {
    /// Lays out what this kind of transition tells, in the user's own words where `template` has some.
    #[must_use]
    pub fn new(said: &'a Message, markup: Markup, template: &Template) -> Self {
        let (title, text) = (template.title(said, markup.inline), template.text(said, markup.inline));
        Self { said, markup, full: said.kind.is_full(), title, text }
    }

    /// Tells everything, whatever the kind: for a message that is changed in place.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.full = true;
        self
    }

    /// Sign, state and title in one line of at most `max` characters.
    #[must_use]
    pub fn head(&self, max: usize) -> String {
        let said = self.said;
        if let Some(title) = self.title.as_ref().filter(|title| title.chars().count() <= max) {
            return title.clone();
        }
        let head = |cut| format!("{} {} {}", said.sign(), said.state(), (self.markup.inline)(&said.title, cut));
        // Escaped, a character can become six: cut the title rather than the escapes.
        let fits = |head: &String| head.chars().count() <= max;
        [max.saturating_sub(30).min(160), 120, 60, 24]
            .map(head)
            .into_iter()
            .find(fits)
            .unwrap_or_else(|| said.state().to_owned())
    }

    /// The user's own text instead of rows, details, members and samples.
    #[must_use]
    pub fn own_text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// What is said.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let said = self.said;
        let mut rows = Vec::new();
        let over = said.kind == TransitionKind::Resolved;
        let size = said.size.as_deref().map(|size| format!(" · {size}")).unwrap_or_default();
        let bars = said.bars.as_deref().filter(|_| !over).map(|bars| format!(" · {bars}")).unwrap_or_default();
        rows.push(("When", format!("{}{size}{bars}", said.when)));
        rows.extend(said.ended.as_deref().map(|ended| ("End", self.inline(ended, VALUE))));
        rows.extend(said.care.as_deref().map(|care| ("Handled", self.inline(care, DETAIL))));
        if self.full {
            self.why(&mut rows);
        } else {
            // What is wrong with sigyn itself is no measurement, so nothing is the worst of it.
            let worst = if said.detail.is_some() { "Why" } else { "Worst" };
            rows.extend(said.reason().map(|reason| (worst, self.inline(&reason, DETAIL))));
        }
        rows
    }

    fn why(&self, rows: &mut Vec<Row>) {
        let said = self.said;
        let labels = said.labels.as_deref().map(|labels| format!(" · {}", self.inline(labels, VALUE)));
        // Half a query finds something else; without one, the labels say where.
        let query =
            said.query.as_ref().map(|query| query.logql.as_str()).filter(|query| query.chars().count() <= VALUE);
        let place = self.inline(query.unwrap_or(&said.place), VALUE);
        rows.push(("Where", format!("{place}{}", labels.unwrap_or_default())));
        // A message of more lines than a phone shows is not read: what odd lines have in common counts more than the last
        // reason.
        let reasons = REASONS - usize::from(!said.common.is_empty());
        for (index, reason) in said.told().into_iter().take(reasons).enumerate() {
            rows.push((
                if index == 0 { "Why" } else { "and" },
                format!("{} ({} of the score)", self.inline(&reason.all_words(), DETAIL), reason.share),
            ));
        }
        rows.extend(said.detail.as_deref().map(|detail| ("Why", self.inline(detail, DETAIL))));
    }

    /// What else speaks for it.
    #[must_use]
    pub fn details(&self) -> Vec<Row> {
        if !self.full {
            return Vec::new();
        }
        let said = self.said;
        let mut rows = Vec::new();
        if !said.common.is_empty() {
            rows.push(("In common", self.inline(&said.common.join(" · "), DETAIL)));
        }
        let sure: Vec<String> = said.sure().into_iter().chain(said.gates.iter().cloned()).collect();
        if !sure.is_empty() {
            rows.push(("How sure", sure.join(" · ")));
        }
        rows
    }

    /// Other groups of the same problem, or the incidents that a message about many lists; under a heading of ours.
    #[must_use]
    pub fn members(&self) -> Option<(&'static str, Vec<String>)> {
        let members = &self.said.members;
        if members.is_empty() {
            return None;
        }
        let heading = if self.said.detail.is_some() { "Incidents" } else { "Also part of it" };
        let line = |member: &String| self.inline(member, MEMBER);
        let mut lines: Vec<String> = match self.full {
            true => members.iter().take(MEMBERS).map(line).collect(),
            // The newest come last, and they are the news.
            false => members.iter().skip(members.len().saturating_sub(FEW)).map(line).collect(),
        };
        if members.len() > lines.len() {
            lines.push(format!("and {} more", members.len() - lines.len()));
        }
        Some((heading, lines))
    }

    /// Log lines, to stand in a block of code.
    #[must_use]
    pub fn samples(&self) -> Vec<String> {
        let line = |line: &Line| format!("{} {}", line.time, (self.markup.code)(&line.text, LINE));
        let taken = if self.full { SAMPLES } else { 0 };
        self.said.samples.iter().take(taken).map(line).collect()
    }

    /// Where to look further, as pairs of a label and a URL that a browser opens.
    #[must_use]
    pub fn urls(&self) -> Vec<(&'static str, String)> {
        let urls = [
            ("Incident", self.said.links.incident.as_deref()),
            ("Logs in Grafana", self.said.links.explore.as_deref()),
            ("Runbook", self.said.runbook.as_deref()),
        ];
        urls.into_iter().filter_map(|(label, url)| Some((label, escape::url(url?)?))).collect()
    }

    /// The same as links, and who owns the watch.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        let links = self.urls().into_iter().map(|(label, url)| (self.markup.link)(label, &url));
        links.chain(self.owner().map(|owner| format!("Owner: {owner}"))).collect()
    }

    /// Who owns the watch.
    #[must_use]
    pub fn owner(&self) -> Option<String> {
        self.said.owner.as_deref().map(|owner| self.inline(owner, 80))
    }

    /// Who says it, and by which name it can be found, silenced or closed.
    #[must_use]
    pub fn foot(&self) -> String {
        let held = self.said.held_back.as_deref().map(|held| format!(" · {held}")).unwrap_or_default();
        let (watch, id) = (self.inline(&self.said.watch, 80), self.inline(&self.said.id, 40));
        let open = self.full && self.said.kind != TransitionKind::Resolved;
        let how = if open { " · to handle: sigyn incident ack, snooze or resolve" } else { "" };
        // The id stands last: who reads a message by machine finds it there.
        format!("sigyn · watch {watch}{held}{how} · incident {id}")
    }

    /// Everything between head and foot but the links, part by part.
    #[must_use]
    pub fn body(&self) -> Vec<String> {
        if let Some(text) = self.own_text() {
            return vec![text.to_owned()];
        }
        let rows = self.rows().into_iter().chain(self.details());
        let mut parts: Vec<String> =
            rows.map(|(label, value)| format!("{} {value}", (self.markup.label)(label))).collect();
        if let Some((heading, lines)) = self.members() {
            parts.push((self.markup.label)(heading));
            parts.extend(lines.into_iter().map(|line| format!("- {line}")));
        }
        let samples = self.samples();
        parts.extend((!samples.is_empty()).then(|| (self.markup.block)(&samples.join("\n"))));
        parts
    }

    /// The whole message as one text of at most `max` characters; what does not fit is left out part by part, the foot last.
    #[must_use]
    pub fn text(&self, head: usize, max: usize) -> String {
        let foot = self.foot();
        let mut parts = vec![self.head(head)];
        parts.extend(self.body());
        parts.extend(self.links());
        let upper = fit(&parts, "\n", max.saturating_sub(foot.chars().count() + 1));
        fit(&[upper, foot], "\n", max)
    }

    fn inline(&self, text: &str, max: usize) -> String {
        (self.markup.inline)(text, max)
    }
}

/// Joins whole parts only, as many as fit into `max` characters, so that no code block stays open and no link is cut.
#[must_use]
pub fn fit(parts: &[String], between: &str, max: usize) -> String {
    let mut out = String::new();
    let (mut length, gap) = (0, between.chars().count());
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let more = part.chars().count() + if out.is_empty() { 0 } else { gap };
        if length + more <= max {
            out.push_str(if out.is_empty() { "" } else { between });
            out.push_str(part);
            length += more;
        }
    }
    out
}

/// A text of at most `max` characters, for what has no markup.
#[must_use]
pub fn within(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).take(max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::{Mark, Member, Severity, State};
    use crate::notify::fixture;
    use crate::notify::render::message;

    fn text(transition: crate::incident::Transition) -> String {
        let said = message(&fixture::notification(transition, "mail"));
        Layout::new(&said, Markup::PLAIN, &Template::default()).text(150, 4_000)
    }

    fn members(count: usize) -> Vec<Member> {
        let incident = fixture::opened().incident;
        let member = |index: usize| Member { title: format!("s{index}: errors"), ..Member::from(&incident) };
        (0..count).map(member).collect()
    }

    #[test]
    fn what_people_and_the_grouping_made_of_it_is_told() {
        let mut transition = fixture::continued();
        transition.incident.handling.members = members(5);
        transition.incident.handling.members[4].state = State::Resolved;
        transition.incident.handling.held_back = 3;
        transition.incident.handling.acknowledged =
            Some(Mark { by: "ann".to_owned(), at: fixture::START, note: Some("I look".to_owned()) });
        insta::assert_snapshot!(text(transition), @r#"
        🔴 STILL CRITICAL cart: more errors than usual
        When: since 2026-11-20T22:00:00Z, 33 minutes so far · 38,912 lines in 33 unusual windows · ▃▃▃▅▇█
        Handled: acknowledged by ann at 2026-11-20T22:00:00Z: I look
        Worst: errors 48, expected 0 to 3
        Also part of it:
        - s2: errors, critical, since 2026-11-20T22:00:00Z
        - s3: errors, critical, since 2026-11-20T22:00:00Z
        - s4: errors, critical, since 2026-11-20T22:00:00Z, over
        - and 2 more
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        Runbook: https://wiki.example.com/cart?a=1&b=2
        Owner: team-shop
        sigyn · watch shop · 3 messages held back since the last one · incident 00c0ffee00c0ffee
        "#);
    }

    #[test]
    fn a_storm_is_a_table() {
        let mut transition = fixture::internal();
        transition.incident.title = "sigyn: many new incidents".to_owned();
        transition.incident.detail = Some("23 new incidents within 5 minutes; they are told together".to_owned());
        transition.incident.handling.members = members(23);
        transition.incident.severity = Severity::Critical;
        insta::assert_snapshot!(text(transition), @r#"
        🔴 CRITICAL sigyn: many new incidents
        When: since 2026-11-20T22:00:00Z, 3 minutes so far
        Where: {on="shop", problem="loki_unreachable", service="sigyn"} · cluster=eu-1
        Why: 23 new incidents within 5 minutes; they are told together
        Incidents:
        - s0: errors, critical, since 2026-11-20T22:00:00Z
        - s1: errors, critical, since 2026-11-20T22:00:00Z
        - s2: errors, critical, since 2026-11-20T22:00:00Z
        - s3: errors, critical, since 2026-11-20T22:00:00Z
        - s4: errors, critical, since 2026-11-20T22:00:00Z
        - s5: errors, critical, since 2026-11-20T22:00:00Z
        - s6: errors, critical, since 2026-11-20T22:00:00Z
        - s7: errors, critical, since 2026-11-20T22:00:00Z
        - s8: errors, critical, since 2026-11-20T22:00:00Z
        - s9: errors, critical, since 2026-11-20T22:00:00Z
        - and 13 more
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        sigyn · watch sigyn · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
        "#);
    }

    #[test]
    fn an_end_can_be_told_whole() {
        let said = message(&fixture::notification(fixture::resolved(), "slack"));
        let layout = Layout::new(&said, Markup::PLAIN, &Template::default());
        assert!(layout.details().is_empty() && layout.samples().is_empty());
        let layout = layout.whole();
        let rows: Vec<&str> = layout.rows().iter().chain(&layout.details()).map(|(label, _)| *label).collect();
        assert_eq!(rows, ["When", "End", "Where", "Why", "and", "In common", "How sure"]);
        assert_eq!(layout.samples().len(), 3);
    }

    #[test]
    fn the_foot_stays_when_room_is_short() {
        let said = message(&fixture::notification(fixture::opened(), "x"));
        let text = Layout::new(&said, Markup::PLAIN, &Template::default()).text(60, 160);
        assert!(text.chars().count() <= 160 && text.ends_with("incident 00c0ffee00c0ffee"), "{text}");
    }
}
