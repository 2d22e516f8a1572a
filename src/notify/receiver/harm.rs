//! What no text may do, whatever receiver it goes to: one body for the property test and for the fuzz target `render`.
//!
//! What comes in: any text. What goes out: nothing, or a panic that says which receiver let it through.

use serde_json::Value;

use super::{
    alertmanager, discord, email, file, github, grafana, loki, opsgenie, pagerduty, slack, sms, teams, telegram,
    webhook,
};
use crate::incident::TransitionKind;
use crate::labels::Labels;
use crate::notify::render::{Message, message};
use crate::notify::template::Template;
use crate::notify::{Notification, sample};
use crate::time::HOUR;

const KINDS: [TransitionKind; 6] = [
    TransitionKind::Opened,
    TransitionKind::Continued,
    TransitionKind::Escalated,
    TransitionKind::Acknowledged,
    TransitionKind::Reopened,
    TransitionKind::Resolved,
];

/// Renders an incident full of `text` for every receiver.
///
/// # Panics
/// When a limit is passed, markup of the text is alive, or the result is not what the receiver reads.
pub fn try_all(text: &str) {
    for kind in KINDS {
        let notification = sample::hostile(text, kind);
        let said = message(&notification);
        chats(&notification, &said);
        pagers(&notification, &said);
        mails(&notification, &said);
        records(&notification, &said);
        own_words(&said);
    }
}

fn chats(notification: &Notification, said: &Message) {
    let plain = Template::default();
    let body = slack::render_slack(notification);
    for block in body["blocks"].as_array().into_iter().flatten() {
        let text = block["text"]["text"].as_str().or_else(|| block["elements"][0]["text"].as_str()).unwrap_or_default();
        let max = if block["type"] == "header" { 150 } else { 3_000 };
        short("slack", text, max);
        assert!(!text.replace("<https://", "").contains('<'), "slack: {text}");
        fenced("slack", text);
    }
    short("slack", body["text"].as_str().unwrap_or_default(), 4_000);
    fenced("slack", body["text"].as_str().unwrap_or_default());

    let card = teams::render(said, &plain).to_string();
    assert!(card.len() <= teams::BYTES && !card.contains("{{"), "teams: {card}");

    for whole in [false, true] {
        let body = discord::render(said, &plain, whole);
        let part = |key: &str| body["embeds"][0][key].as_str().unwrap_or_default().to_owned();
        short("discord", &part("title"), 256);
        short("discord", &part("description"), 4_096);
        fenced("discord", &part("description"));
        unlinked("discord", &part("title"));
    }
    let text = telegram::render(said, &plain);
    short("telegram", &text, 4_096);
    tags("telegram", &text);
}

fn pagers(notification: &Notification, said: &Message) {
    let event = pagerduty::render(notification, said);
    short("pagerduty", event["payload"]["summary"].as_str().unwrap_or_default(), 1_024);
    unlinked("pagerduty", event["payload"]["summary"].as_str().unwrap_or_default());
    assert!(event.to_string().len() < 512_000, "pagerduty");
    let alert = opsgenie::render(notification, said, None);
    short("opsgenie", alert["message"].as_str().unwrap_or_default(), 130);
    short("opsgenie", alert["description"].as_str().unwrap_or_default(), 15_000);
    short("opsgenie", alert["tags"][1].as_str().unwrap_or_default(), 50);
    let text = sms::render(said);
    short("sms", &text, sms::SEPTETS);
    assert!(!text.contains(['\n', '[', '{', '\u{200b}']), "sms: {text}");
    assert!(!text.contains("://"), "sms: {text}");
}

fn mails(notification: &Notification, said: &Message) {
    let email::Form { subject, text, html } = email::form(said, &Template::default());
    short("email", &subject, 200);
    assert!(!subject.contains(['\r', '\n']), "email: {subject}");
    short("email", &text, 20_000);
    tags("email", &html);
    let (Ok(from), Ok(to)) = ("sigyn@example.com".parse(), "oncall@example.com".parse()) else { return };
    let made = email::mail(notification, said, &Template::default(), (&from, &[to]), None);
    let mail = made.map(|mail| mail.formatted()).unwrap_or_default();
    let head = String::from_utf8_lossy(&mail).split("\r\n\r\n").next().unwrap_or_default().to_owned();
    assert!(head.starts_with("From: ") && !head.contains("\nBcc:"), "email: {head}");
}

fn records(notification: &Notification, said: &Message) {
    let line = file::render(notification, file::Format::Json, &Template::default());
    assert!(line.len() <= loki::LINE && line.trim_end().lines().count() == 1, "record of {} bytes", line.len());
    let parsed: Result<Value, _> = serde_json::from_str(&line);
    assert!(parsed.is_ok_and(|record| record["incident"] == "00c0ffee00c0ffee"), "{line}");
    let body = webhook::render(notification, Some("[{{ title }}, {{ why }}]"), "application/json");
    assert!(serde_json::from_str::<Value>(&body).is_ok(), "webhook: {body}");
    let alerts = alertmanager::render(notification, said, HOUR);
    for (name, value) in alerts[0]["labels"].as_object().into_iter().flatten() {
        assert!(
            !name.is_empty() && value.as_str().is_some_and(|value| value.chars().count() <= 200),
            "{name}: {value}"
        );
    }
    let annotation = grafana::render(notification, said, &grafana::GrafanaConfig::default());
    tags("grafana", annotation["text"].as_str().unwrap_or_default());
    assert!(
        annotation["tags"]
            .as_array()
            .is_some_and(|tags| tags.iter().all(|tag| tag.as_str().is_some_and(|tag| tag.chars().count() <= 100)))
    );
    let push = loki::render(notification, &Labels::new());
    assert_eq!(push["streams"][0]["stream"]["service_name"], "sigyn");
    let (title, body) = github::render_issue(notification);
    short("github", &title, 256);
    short("github", &body, 65_536);
    short("github", &github::render_comment(notification), 65_536);
}

/// The user's template is markup, values in it are not.
fn own_words(said: &Message) {
    let source = "{{ title }}{% for one in why %}{{ one.words }}{% endfor %}{{ samples[0].text }}".to_owned();
    let template = Template { title: Some("{{ title }}".to_owned()), text: Some(source) };
    tags("telegram with a template", &telegram::render(said, &template));
    let email::Form { subject, html, .. } = email::form(said, &template);
    tags("email with a template", &html);
    assert!(!subject.contains(['\r', '\n']), "email with a template: {subject}");
}

fn short(who: &str, text: &str, max: usize) {
    assert!(text.chars().count() <= max, "{who}: {} characters: {text}", text.chars().count());
}

/// No code block is left open.
fn fenced(who: &str, text: &str) {
    assert!(text.matches("```").count().is_multiple_of(2), "{who}: {text}");
}

/// Nothing that a reader makes a link of.
fn unlinked(who: &str, text: &str) {
    assert!(!text.contains("://"), "{who}: {text}");
}

/// Only tags of ours, each closed, and none in a text.
fn tags(who: &str, html: &str) {
    const OURS: [&str; 10] = ["b", "a", "p", "h3", "table", "tr", "td", "ul", "li", "pre"];
    let mut open: Vec<String> = Vec::new();
    for part in html.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or((part, ">"));
        assert!(!text.contains('>'), "{who}: {html}");
        let name = tag.trim_start_matches('/').split(' ').next().unwrap_or_default().to_owned();
        if name == "br" {
            continue;
        }
        assert!(OURS.contains(&name.as_str()), "{who}: <{tag}> in {html}");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{who}: {html}");
        } else {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{who}: {open:?} left open in {html}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture::hostile_text;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_text_does_harm_to_any_receiver(text in hostile_text(), times in 1usize..200) {
            try_all(&text);
            try_all(&text.repeat(times).chars().take(3_000).collect::<String>());
        }
    }
}
