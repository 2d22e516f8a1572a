//! A mail: subject, text, HTML and the headers that make a thread.
//!
//! What comes in: a [`Message`]. What goes out: MIME by lettre, which sees to encodings and line lengths. HTML is made of
//! tags of ours and text through [`escape::html`]; it loads nothing from anywhere.

use lettre::message::header::{HeaderName, HeaderValue, MessageId};
use lettre::message::{Mailbox, MultiPart};

use crate::notify::layout::{Layout, Markup, within};
use crate::notify::render::Message;
use crate::notify::template::Template;
use crate::notify::{Notification, escape};

/// Mail readers show about this much of a subject, and RFC 5322 §2.1.1 wants lines below 998.
const SUBJECT: usize = 200;
/// Ours: nobody reads a longer mail.
const TEXT: usize = 20_000;

const HTML: Markup = Markup {
    inline: escape::html,
    code: escape::html,
    block: |lines| format!("<pre style=\"white-space:pre-wrap;background:#f4f4f4;padding:8px\">{lines}</pre>"),
    label: |label| format!("<b>{label}</b>"),
    link: |label, url| format!("<a href=\"{}\">{label}</a>", attribute(url)),
};

/// The three texts of a mail.
#[derive(Clone, Debug)]
pub struct Form {
    /// One line.
    pub subject: String,
    /// As text.
    pub text: String,
    /// As HTML.
    pub html: String,
}

/// Puts a message into the form of a mail.
#[must_use]
pub fn form(said: &Message, template: &Template) -> Form {
    let plain = Layout::new(said, Markup::PLAIN, template);
    let text = plain.text(SUBJECT, TEXT);
    let layout = Layout::new(said, HTML, &Template::default());
    let html = match plain.own_text() {
        Some(own) => own_html(&layout, &plain.head(SUBJECT), own),
        None => html(&layout),
    };
    Form { subject: within(&plain.head(SUBJECT), SUBJECT), text, html }
}

/// A mail about a transition. `first` is the Message-ID of the incident's first mail.
///
/// # Errors
/// When a header cannot be written.
pub fn mail(
    notification: &Notification,
    said: &Message,
    template: &Template,
    (from, to): (&Mailbox, &[Mailbox]),
    first: Option<&str>,
) -> Result<lettre::Message, lettre::error::Error> {
    let Form { subject, text, html } = form(said, template);
    let own = message_id(notification, from.email.domain());
    let mut builder = lettre::Message::builder().from(from.clone()).subject(subject).message_id(Some(own));
    for one in to {
        builder = builder.to(one.clone());
    }
    if let Some(first) = first.filter(|first| first.starts_with('<') && first.is_ascii()) {
        builder = builder.in_reply_to(first.to_owned()).references(first.to_owned());
    }
    // RFC 3834: no machine answers a machine.
    for (name, value) in [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")] {
        builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned()));
    }
    let key = word(&notification.key);
    builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("X-Sigyn-Key"), key));
    builder.multipart(MultiPart::alternative_plain_html(text, html))
}

/// The Message-ID of a mail, with its brackets.
pub(super) fn id(mail: &lettre::Message) -> Option<String> {
    mail.headers().get::<MessageId>().map(|id| id.as_ref().to_owned())
}

/// The same for the same transition and receiver, in every try: `<incident.number.receiver@domain>`.
fn message_id(notification: &Notification, domain: &str) -> String {
    format!("<{}@{}>", word(&notification.key).replace('/', "."), word(domain))
}

/// Only what needs no quoting in a header.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.')).take(200).collect()
}

fn html(layout: &Layout<'_>) -> String {
    let mut out = format!("<h3>{}</h3>\n<table cellpadding=\"4\">\n", layout.head(SUBJECT * 6));
    for (label, value) in layout.rows().into_iter().chain(layout.details()) {
        out.push_str(&format!("<tr><td valign=\"top\"><b>{label}</b></td><td>{value}</td></tr>\n"));
    }
    out.push_str("</table>\n");
    if let Some((heading, lines)) = layout.members() {
        let lines: Vec<String> = lines.into_iter().map(|line| format!("<li>{line}</li>")).collect();
        out.push_str(&format!("<p><b>{heading}</b></p>\n<ul>\n{}\n</ul>\n", lines.join("\n")));
    }
    let samples = layout.samples();
    if !samples.is_empty() {
        out.push_str(&(HTML.block)(&samples.join("\n")));
        out.push('\n');
    }
    out + &end(layout)
}

fn own_html(layout: &Layout<'_>, head: &str, own: &str) -> String {
    // The user's template is text; escaped, it is the same text in HTML.
    let lines: Vec<String> = own.lines().map(|line| escape::html(line, TEXT)).collect();
    format!("<h3>{}</h3>\n<p>{}</p>\n{}", escape::html(head, SUBJECT), lines.join("<br>\n"), end(layout))
}

fn end(layout: &Layout<'_>) -> String {
    let links = layout.links();
    let links = if links.is_empty() { String::new() } else { format!("<p>{}</p>\n", links.join(" &middot; ")) };
    format!("{links}<p style=\"color:#666\">{}</p>\n", layout.foot())
}

/// A URL in a quoted attribute.
fn attribute(url: &str) -> String {
    url.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::render::message;

    fn made(transition: crate::incident::Transition, first: Option<&str>) -> String {
        let notification = fixture::notification(transition, "post");
        let (from, to) = ("sigyn <sigyn@example.com>".parse().unwrap(), ["oncall@example.com".parse().unwrap()]);
        let made = mail(&notification, &message(&notification), &Template::default(), (&from, &to), first).unwrap();
        String::from_utf8(made.formatted()).unwrap()
    }

    #[test]
    fn a_mail_has_two_forms() {
        let said = message(&fixture::notification(fixture::opened(), "post"));
        let Form { subject, text, html } = form(&said, &Template::default());
        insta::assert_snapshot!(format!("{subject}\n=====\n{text}\n=====\n{html}").replace('\u{200b}', "·"), @r#"
        🔴 CRITICAL cart: more errors than usual
        =====
        🔴 CRITICAL cart: more errors than usual
        When: since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        Where: {service_name="cart"} · cluster=eu-1
        Why: errors 48, expected 0 to 3; most of them "payment gateway timeout", never seen before (71 % of the score)
        and: different messages 131, expected 20 to 42.5 (19 % of the score)
        In common: all 48 errors from pod=cart-7; 12 % of the other lines
        How sure: score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)
        22:02:01Z level=error msg="payment gateway timeout" order=<*>
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        Runbook: https://wiki.example.com/cart?a=1&b=2
        Owner: team-shop
        sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
        =====
        <h3>🔴 CRITICAL cart: more errors than usual</h3>
        <table cellpadding="4">
        <tr><td valign="top"><b>When</b></td><td>since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█</td></tr>
        <tr><td valign="top"><b>Where</b></td><td>{service_name=&quot;cart&quot;} · cluster=eu-1</td></tr>
        <tr><td valign="top"><b>Why</b></td><td>errors 48, expected 0 to 3; most of them &quot;payment gateway timeout&quot;, never seen before (71 % of the score)</td></tr>
        <tr><td valign="top"><b>and</b></td><td>different messages 131, expected 20 to 42.5 (19 % of the score)</td></tr>
        <tr><td valign="top"><b>In common</b></td><td>all 48 errors from pod=cart-7; 12 % of the other lines</td></tr>
        <tr><td valign="top"><b>How sure</b></td><td>score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)</td></tr>
        </table>
        <pre style="white-space:pre-wrap;background:#f4f4f4;padding:8px">22:02:01Z level=error msg=&quot;payment gateway timeout&quot; order=&lt;*&gt;
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg=&quot;retrying&quot; attempt=‹3›</pre>
        <p><a href="https://sigyn.example.com/incidents/00c0ffee00c0ffee">Incident</a> &middot; <a href="https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D">Logs in Grafana</a> &middot; <a href="https://wiki.example.com/cart?a=1&amp;b=2">Runbook</a> &middot; Owner: team-shop</p>
        <p style="color:#666">sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee</p>
        "#);
    }

    #[test]
    fn headers_make_a_thread_and_keep_machines_silent() {
        let lines = |text: String| -> String {
            let kept = [
                "Message-ID",
                "In-Reply-To",
                "References",
                "X-",
                "Auto-",
                "Content-Type: multipart/alternative",
                "To",
                "From",
            ];
            let head = text.split("\r\n\r\n").next().unwrap().to_owned();
            let head: Vec<&str> =
                head.lines().filter(|line| kept.iter().any(|start| line.starts_with(start))).collect();
            head.join("\n")
        };
        let id = "<00c0ffee00c0ffee.1.post@example.com>";
        insta::assert_snapshot!(format!("{}\n---\n{}", lines(made(fixture::opened(), None)), lines(made(fixture::resolved(), Some(id)))), @r#"
        From: sigyn <sigyn@example.com>
        Message-ID: <00c0ffee00c0ffee.1.post@example.com>
        To: oncall@example.com
        Auto-Submitted: auto-generated
        X-Auto-Response-Suppress: All
        X-Sigyn-Key: 00c0ffee00c0ffee/1/post
        Content-Type: multipart/alternative;
        ---
        From: sigyn <sigyn@example.com>
        Message-ID: <00c0ffee00c0ffee.3.post@example.com>
        To: oncall@example.com
        In-Reply-To: <00c0ffee00c0ffee.1.post@example.com>
        References: <00c0ffee00c0ffee.1.post@example.com>
        Auto-Submitted: auto-generated
        X-Auto-Response-Suppress: All
        X-Sigyn-Key: 00c0ffee00c0ffee/3/post
        Content-Type: multipart/alternative;
        "#);
        assert_eq!(made(fixture::opened(), None).matches(id).count(), 1);
        // What the store gives back is no header of somebody else.
        assert!(!made(fixture::resolved(), Some("<x>\r\nBcc: all@example.com")).contains("\r\nBcc:"));
    }

    #[test]
    fn the_users_words_are_text_in_both_forms() {
        let said = message(&fixture::notification(fixture::hostile("<img src=x> http://e.vil"), "post"));
        let template =
            Template { title: Some("[{{ id }}] {{ title }}".to_owned()), text: Some("a < b\n{{ title }}".to_owned()) };
        let Form { subject, text, html } = form(&said, &template);
        assert!(subject.starts_with("[00c0ffee00c0ffee] <img"), "{subject}");
        assert!(text.contains("a < b\n<img src=x>") && html.contains("a &lt; b<br>\n&lt;img"), "{text}\n{html}");
        assert!(!html.contains("<img"));
    }
}
