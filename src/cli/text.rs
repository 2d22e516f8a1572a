//! Text for people at a terminal: what a message says, laid out; colours where somebody sees them.
//!
//! Log lines are data from strangers: no control character of theirs reaches the terminal.

use std::io::IsTerminal;

use owo_colors::{OwoColorize, Style};

use super::output;
use crate::incident::{Severity, TransitionKind};
use crate::notify::render::Message;

/// Where text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// No colours: a file, a pipe, or a person who wants none.
    Plain,
    /// A terminal with colours.
    Colours,
}

impl Look {
    /// Of standard output. `NO_COLOR` (no-color.org) and a dumb terminal switch colours off.
    #[must_use]
    pub fn of_stdout() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let colours = std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb;
        if colours { Self::Colours } else { Self::Plain }
    }

    /// The text in a style, where there are colours.
    #[must_use]
    pub fn paint(self, text: &str, style: Style) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colours => text.style(style).to_string(),
        }
    }
}

/// The text on one line, without anything that moves a cursor, hides text or turns its direction.
#[must_use]
pub fn clean(text: &str) -> String {
    output::clean(&text.replace(['\t', '\n'], " ")).into_owned()
}

/// All that a message says.
#[must_use]
pub fn message(message: &Message, look: Look) -> String {
    let state = look.paint(message.state(), state_style(message));
    let title = look.paint(&clean(&message.title), Style::new().bold());
    let mut page = Page { look, out: format!("{state}  {title}\n") };
    page.line("incident", Some(&message.id));
    page.line("when", Some(&message.when));
    page.line("how much", message.size.as_deref());
    page.line("lines/s", message.bars.as_deref());
    page.line("where", Some(&message.place));
    page.line("watch", Some(&message.watch));
    page.line("labels", message.labels.as_deref());
    page.line("ended", message.ended.as_deref());
    page.line("detail", message.detail.as_deref());
    for (index, why) in message.why.iter().enumerate() {
        page.line(if index == 0 { "why" } else { "" }, Some(&format!("{} ({})", why.all_words(), why.share)));
    }
    for (index, common) in message.common.iter().enumerate() {
        page.line(if index == 0 { "in common" } else { "" }, Some(common));
    }
    for (index, gate) in message.gates.iter().enumerate() {
        page.line(if index == 0 { "passed" } else { "" }, Some(gate));
    }
    page.line("how sure", message.sure().as_deref());
    for (index, sample) in message.samples.iter().enumerate() {
        let text = format!("{}  {}", sample.time, sample.text);
        page.line(if index == 0 { "samples" } else { "" }, Some(&text));
    }
    page.line("owner", message.owner.as_deref());
    page.line("runbook", message.runbook.as_deref());
    page.line("query", message.query.as_ref().map(|query| query.logql.as_str()));
    page.line("ask Loki", message.query.as_ref().map(|query| query.logcli.as_str()));
    page.line("Grafana", message.links.explore.as_deref());
    page.line("page", message.links.incident.as_deref());
    page.out
}

struct Page {
    look: Look,
    out: String,
}

impl Page {
    fn line(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            let name = self.look.paint(&format!("{name:>10}"), Style::new().dimmed());
            self.out.push_str(&format!("{name}  {}\n", clean(text)));
        }
    }
}

fn state_style(message: &Message) -> Style {
    match (message.kind, message.severity) {
        (TransitionKind::Resolved, _) => Style::new().green().bold(),
        (_, severity) => severity_style(severity).bold(),
    }
}

fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Critical => Style::new().red(),
        Severity::Warning => Style::new().yellow(),
        Severity::Info => Style::new().blue(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{fixture, render};

    #[test]
    fn nothing_of_a_line_reaches_the_terminal() {
        assert_eq!(clean("a\x1b[31mb\x07\nc\td\u{202e}e\u{9b}"), r"a\u{1b}[31mb\u{7} c d\u{202e}e\u{9b}");
    }

    #[test]
    fn a_message_says_everything() {
        let message = render::message(&fixture::notification(fixture::opened(), "slack"));
        insta::assert_snapshot!(super::message(&message, Look::Plain), @r#"
        CRITICAL  cart: more errors than usual
          incident  00c0ffee00c0ffee
              when  since 2026-11-20T22:00:00Z, 3 minutes so far
          how much  3,412 lines in 3 unusual windows
           lines/s  ▃▃▃▅▇█
             where  {service_name="cart"}
             watch  shop
            labels  cluster=eu-1
               why  errors 48, expected 0 to 3; most of them "payment gateway timeout", never seen before (71 %)
                    different messages 131, expected 20 to 42.5 (19 %)
                    rate 20.1 lines/s, expected 4 to 9.25 (8 %)
                    line length 214 bytes, expected 80 to 220 (2 %)
         in common  all 48 errors from pod=cart-7; 12 % of the other lines
            passed  1,440 windows learnt (60 needed)
                    by chance once in 810,000 looks (490 needed)
          how sure  score 0.93, unusual from 0.71 · every line seen, counted exactly
           samples  22:02:01Z  level=error msg="payment gateway timeout" order=<*>
                    22:02:02Z  java.net.SocketTimeoutException: Read timed out  at Pay.call(Pay.java:42)
                    22:02:30Z  level=warn msg="retrying" attempt=‹3›
                    22:02:31Z  level=warn msg="retrying" attempt=4
             owner  team-shop
           runbook  https://wiki.example.com/cart?a=1&b=2
             query  {service_name="cart"}
          ask Loki  logcli query --from=2026-11-20T21:59:00Z --to=2026-11-20T22:04:00Z --limit=500 '{service_name="cart"}'
           Grafana  https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
              page  https://sigyn.example.com/incidents/00c0ffee00c0ffee
        "#);
        let lines = render::message(&fixture::notification(fixture::patterns(), "slack"));
        insta::assert_snapshot!(super::message(&lines, Look::Plain), @r#"
        CRITICAL  cart: a step is missing
          incident  00c0ffee00c0ffee
              when  since 2026-11-20T22:00:00Z, 3 minutes so far
          how much  3,412 lines in 3 unusual windows
           lines/s  ▃▃▃▅▇█
             where  {service_name="cart"}
             watch  shop
            labels  cluster=eu-1
               why  step missing in 14 of 15 requests (trace_id), expected 0.1 (up to 2): "order <*> stored"; first seen 2026-11-20T20:30:00Z, last before this 2026-11-20T21:59:00Z (60 %)
                    new problem 1, expected 0: "stock of <*> is negative"; never seen before (40 %)
         in common  all 48 such lines from pod=cart-7; 12 % of the other lines
            passed  1,440 windows learnt (60 needed)
                    1,240 earlier requests like these (20 needed)
                    0.08 % of those did so (under 15 % needed)
                    by chance once in 810,000 looks (490 needed)
          how sure  score 0.93, unusual from 0.71 · requests 60 %, new lines 40 % · every line seen, counted exactly
           samples  22:02:01Z  level=error msg="payment gateway timeout" order=<*>
                    22:02:02Z  java.net.SocketTimeoutException: Read timed out  at Pay.call(Pay.java:42)
                    22:02:30Z  level=warn msg="retrying" attempt=‹3›
                    22:02:31Z  level=warn msg="retrying" attempt=4
             owner  team-shop
           runbook  https://wiki.example.com/cart?a=1&b=2
             query  {service_name="cart"}
          ask Loki  logcli query --from=2026-11-20T21:59:00Z --to=2026-11-20T22:04:00Z --limit=500 '{service_name="cart"}'
           Grafana  https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
              page  https://sigyn.example.com/incidents/00c0ffee00c0ffee
        "#);
        let coloured = super::message(&message, Look::Colours);
        assert!(coloured.starts_with("\u{1b}["), "{coloured:?}");
    }
}
