//! The layout of a message for Slack: Block Kit, and the plain text that Mattermost and Rocket.Chat show instead.
//!
//! What comes in: a [`Notification`]. What goes out: the JSON of an incoming webhook, within Slack's limits. Every text
//! that is not ours goes through [`escape`].

use serde_json::{Value, json};

use crate::incident::TransitionKind;
use crate::notify::render::{Message, message};
use crate::notify::{Notification, escape};

/// Slack: plain text of a header block, docs.slack.dev/reference/block-kit/blocks/header-block.
const HEADER: usize = 150;
/// Slack: text of a section block, docs.slack.dev/reference/block-kit/blocks/section-block.
const SECTION: usize = 3_000;
/// Slack: blocks in a message, docs.slack.dev/reference/block-kit/blocks.
const BLOCKS: usize = 50;
/// Slack advises at most this much `text`, docs.slack.dev/reference/methods/chat.postMessage; Mattermost takes four times as much.
const TEXT: usize = 4_000;

/// Ours: more reasons than this are noise at night.
const REASONS: usize = 3;
/// Ours: log lines in a message.
const SAMPLES: usize = 3;
/// Ours: characters of a log line; three of them, escaped to five times their length, fit a section.
const LINE: usize = 180;
/// Ours: characters of any other value.
const VALUE: usize = 240;
/// Ours: what is wrong with sigyn itself takes more words.
const DETAIL: usize = 500;

/// The body of a request to an incoming webhook. Mattermost and Rocket.Chat ignore `blocks` and show `text`.
#[must_use]
pub fn render_slack(notification: &Notification) -> Value {
    let said = message(notification);
    json!({ "text": text(&said), "blocks": blocks(&said), "unfurl_links": false, "unfurl_media": false })
}

/// The same message as text alone, for a server that refuses blocks.
#[must_use]
pub fn render_text(notification: &Notification) -> Value {
    json!({ "text": text(&message(notification)) })
}

fn blocks(said: &Message) -> Vec<Value> {
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": within(&head(said), HEADER), "emoji": false }
    })];
    for rows in [rows(said), details(said)] {
        let rows: Vec<String> = rows.into_iter().map(|(label, value)| format!("*{label}* {value}")).collect();
        blocks.extend((!rows.is_empty()).then(|| section(&rows.join("\n"))));
    }
    blocks.extend(samples(said).map(|lines| section(&lines)));
    let links = links(said, |label, url| format!("<{}|{label}>", url.replace('&', "&amp;")));
    blocks.extend((!links.is_empty()).then(|| section(&fit(&links, " · ", SECTION))));
    blocks.push(json!({ "type": "context", "elements": [mrkdwn(&foot(said))] }));
    blocks.truncate(BLOCKS);
    blocks
}

fn text(said: &Message) -> String {
    let mut lines = vec![head(said)];
    lines.extend(rows(said).into_iter().chain(details(said)).map(|(label, value)| format!("{label}: {value}")));
    lines.extend(samples(said));
    lines.extend(links(said, |label, url| format!("{label}: {url}")));
    lines.push(foot(said));
    fit(&lines, "\n", TEXT)
}

/// Whole parts only, so that no code block stays open and no link is cut.
fn fit(parts: &[String], between: &str, max: usize) -> String {
    let mut out = String::new();
    for part in parts {
        let between = if out.is_empty() { "" } else { between };
        if out.chars().count() + between.chars().count() + part.chars().count() <= max {
            out.push_str(between);
            out.push_str(part);
        }
    }
    out
}

fn head(said: &Message) -> String {
    let head = |max| format!("{} {} {}", said.sign(), said.state(), escape::mrkdwn(&said.title, max));
    // Escaped, a character can become five: cut the title rather than the escapes.
    let fits = |head: &String| head.chars().count() <= HEADER;
    [120, 60, 24].map(head).into_iter().find(fits).unwrap_or_else(|| said.state().to_owned())
}

/// What is said, as pairs of a label of ours and an escaped value.
fn rows(said: &Message) -> Vec<(&'static str, String)> {
    let value = |text: &str| escape::mrkdwn(text, VALUE);
    let mut rows = Vec::new();
    let with_bars = |mut text: String| {
        text.extend(said.bars.as_deref().map(|bars| format!(" · {bars}")));
        text
    };
    // What is wrong with sigyn itself is no measurement, so nothing is the worst of it.
    let worst = if said.detail.is_some() { "Why" } else { "Worst" };
    let size = said.size.as_deref().map(|size| format!(" · {size}")).unwrap_or_default();
    if said.kind == TransitionKind::Resolved {
        rows.push(("When", format!("{}{size}", said.when)));
        rows.extend(said.ended.clone().map(|ended| ("End", ended)));
        rows.extend(said.reason().map(|reason| (worst, escape::mrkdwn(&reason, DETAIL))));
        return rows;
    }
    rows.push(("When", with_bars(format!("{}{size}", said.when))));
    if !said.kind.is_full() {
        rows.extend(said.reason().map(|reason| (worst, escape::mrkdwn(&reason, DETAIL))));
        return rows;
    }
    let labels = said.labels.as_deref().map(|labels| format!(" · {}", value(labels))).unwrap_or_default();
    // Half a query finds something else; without one, the labels say where.
    let query = said.query.as_ref().map(|query| query.logql.as_str()).filter(|query| query.chars().count() <= VALUE);
    rows.push(("Where", format!("{}{labels}", value(query.unwrap_or(&said.place)))));
    // A message of more lines than a phone shows is not read: what odd lines have in common counts more than the last reason.
    let reasons = REASONS - usize::from(!said.common.is_empty());
    for (index, reason) in said.told().into_iter().take(reasons).enumerate() {
        rows.push((
            if index == 0 { "Why" } else { "and" },
            format!("{} ({} of the score)", escape::mrkdwn(&reason.all_words(), DETAIL), reason.share),
        ));
    }
    rows.extend(said.detail.as_deref().map(|detail| ("Why", escape::mrkdwn(detail, DETAIL))));
    rows
}

/// What else speaks for it, in the first message only.
fn details(said: &Message) -> Vec<(&'static str, String)> {
    if !said.kind.is_full() {
        return Vec::new();
    }
    let mut rows = Vec::new();
    if !said.common.is_empty() {
        rows.push(("In common", escape::mrkdwn(&said.common.join(" · "), DETAIL)));
    }
    let sure: Vec<String> = said.sure().into_iter().chain(said.gates.iter().cloned()).collect();
    if !sure.is_empty() {
        rows.push(("How sure", sure.join(" · ")));
    }
    rows
}

/// Log lines in a code block, in the first message only.
fn samples(said: &Message) -> Option<String> {
    if !said.kind.is_full() || said.samples.is_empty() {
        return None;
    }
    let line = |line: &crate::notify::render::Line| format!("{} {}", line.time, escape::mrkdwn_code(&line.text, LINE));
    let lines: Vec<String> = said.samples.iter().take(SAMPLES).map(line).collect();
    Some(format!("```\n{}\n```", lines.join("\n")))
}

fn links(said: &Message, link: impl Fn(&str, &str) -> String) -> Vec<String> {
    let urls = [
        ("Incident", said.links.incident.as_deref()),
        ("Logs in Grafana", said.links.explore.as_deref()),
        ("Runbook", said.runbook.as_deref()),
    ];
    let urls = urls.into_iter().filter_map(|(label, url)| Some(link(label, &escape::url(url?)?)));
    let owner = said.owner.as_deref().map(|owner| format!("Owner: {}", escape::mrkdwn(owner, 80)));
    urls.chain(owner).collect()
}

fn foot(said: &Message) -> String {
    format!("sigyn · watch {} · incident {}", escape::mrkdwn(&said.watch, 80), escape::mrkdwn(&said.id, 40))
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

/// `verbatim`: Slack makes no links and mentions of its own out of the text.
fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": within(text, SECTION), "verbatim": true })
}

/// The limits above leave room, so this cuts nothing unless one of them is changed without thought.
fn within(text: &str, max: usize) -> String {
    if text.chars().count() <= max { text.to_owned() } else { text.chars().take(max - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::lifecycle::WITHDRAWN;
    use crate::notify::fixture;
    use proptest::prelude::*;

    /// The message as a person sees it: blocks, then what others show instead.
    fn show(transition: crate::incident::Transition) -> String {
        let body = render_slack(&fixture::notification(transition, "slack"));
        let blocks: Vec<String> = body["blocks"].as_array().unwrap().iter().map(block).collect();
        format!("{}\n=====\n{}", blocks.join("\n---\n"), body["text"].as_str().unwrap()).replace('\u{200b}', "·")
    }

    fn block(block: &Value) -> String {
        let text = &block["text"]["text"];
        text.as_str().or_else(|| block["elements"][0]["text"].as_str()).unwrap().to_owned()
    }

    #[test]
    fn opened() {
        insta::assert_snapshot!(show(fixture::opened()), @r#"
        🔴 CRITICAL cart: more errors than usual
        ---
        *When* since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        *Where* {service_name="cart"} · cluster=eu-1
        *Why* errors 48, expected 0 to 3; most of them "payment gateway timeout", never seen before (71 % of the score)
        *and* different messages 131, expected 20 to 42.5 (19 % of the score)
        ---
        *In common* all 48 errors from pod=cart-7; 12 % of the other lines
        *How sure* score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)
        ---
        ```
        22:02:01Z level=error msg="payment gateway timeout" order=&lt;*&gt;
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        ```
        ---
        <https://sigyn.example.com/incidents/00c0ffee00c0ffee|Incident> · <https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D|Logs in Grafana> · <https://wiki.example.com/cart?a=1&amp;b=2|Runbook> · Owner: team-shop
        ---
        sigyn · watch shop · incident 00c0ffee00c0ffee
        =====
        🔴 CRITICAL cart: more errors than usual
        When: since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        Where: {service_name="cart"} · cluster=eu-1
        Why: errors 48, expected 0 to 3; most of them "payment gateway timeout", never seen before (71 % of the score)
        and: different messages 131, expected 20 to 42.5 (19 % of the score)
        In common: all 48 errors from pod=cart-7; 12 % of the other lines
        How sure: score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)
        ```
        22:02:01Z level=error msg="payment gateway timeout" order=&lt;*&gt;
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        ```
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        Runbook: https://wiki.example.com/cart?a=1&b=2
        Owner: team-shop
        sigyn · watch shop · incident 00c0ffee00c0ffee
        "#);
    }

    #[test]
    fn opened_for_its_lines() {
        insta::assert_snapshot!(show(fixture::patterns()), @r#"
        🔴 CRITICAL cart: a step is missing
        ---
        *When* since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        *Where* {service_name="cart"} · cluster=eu-1
        *Why* step missing in 14 of 15 requests (trace_id), expected 0.1 (up to 2): "order &lt;*&gt; stored"; first seen 2026-11-20T20:30:00Z, last before this 2026-11-20T21:59:00Z (60 % of the score)
        *and* new problem 1, expected 0: "stock of &lt;*&gt; is negative"; never seen before (40 % of the score)
        ---
        *In common* all 48 such lines from pod=cart-7; 12 % of the other lines
        *How sure* score 0.93, unusual from 0.71 · requests 60 %, new lines 40 % · every line seen, counted exactly · 1,440 windows learnt (60 needed) · 1,240 earlier requests like these (20 needed) · 0.08 % of those did so (under 15 % needed) · by chance once in 810,000 looks (490 needed)
        ---
        ```
        22:02:01Z level=error msg="payment gateway timeout" order=&lt;*&gt;
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        ```
        ---
        <https://sigyn.example.com/incidents/00c0ffee00c0ffee|Incident> · <https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D|Logs in Grafana> · <https://wiki.example.com/cart?a=1&amp;b=2|Runbook> · Owner: team-shop
        ---
        sigyn · watch shop · incident 00c0ffee00c0ffee
        =====
        🔴 CRITICAL cart: a step is missing
        When: since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        Where: {service_name="cart"} · cluster=eu-1
        Why: step missing in 14 of 15 requests (trace_id), expected 0.1 (up to 2): "order &lt;*&gt; stored"; first seen 2026-11-20T20:30:00Z, last before this 2026-11-20T21:59:00Z (60 % of the score)
        and: new problem 1, expected 0: "stock of &lt;*&gt; is negative"; never seen before (40 % of the score)
        In common: all 48 such lines from pod=cart-7; 12 % of the other lines
        How sure: score 0.93, unusual from 0.71 · requests 60 %, new lines 40 % · every line seen, counted exactly · 1,440 windows learnt (60 needed) · 1,240 earlier requests like these (20 needed) · 0.08 % of those did so (under 15 % needed) · by chance once in 810,000 looks (490 needed)
        ```
        22:02:01Z level=error msg="payment gateway timeout" order=&lt;*&gt;
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        ```
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        Runbook: https://wiki.example.com/cart?a=1&b=2
        Owner: team-shop
        sigyn · watch shop · incident 00c0ffee00c0ffee
        "#);
    }

    #[test]
    fn continued() {
        insta::assert_snapshot!(show(fixture::continued()), @r"
        🔴 STILL CRITICAL cart: more errors than usual
        ---
        *When* since 2026-11-20T22:00:00Z, 33 minutes so far · 38,912 lines in 33 unusual windows · ▃▃▃▅▇█
        *Worst* errors 48, expected 0 to 3
        ---
        <https://sigyn.example.com/incidents/00c0ffee00c0ffee|Incident> · <https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D|Logs in Grafana> · <https://wiki.example.com/cart?a=1&amp;b=2|Runbook> · Owner: team-shop
        ---
        sigyn · watch shop · incident 00c0ffee00c0ffee
        =====
        🔴 STILL CRITICAL cart: more errors than usual
        When: since 2026-11-20T22:00:00Z, 33 minutes so far · 38,912 lines in 33 unusual windows · ▃▃▃▅▇█
        Worst: errors 48, expected 0 to 3
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        Runbook: https://wiki.example.com/cart?a=1&b=2
        Owner: team-shop
        sigyn · watch shop · incident 00c0ffee00c0ffee
        ");
    }

    #[test]
    fn resolved() {
        let mut withdrawn = fixture::resolved();
        withdrawn.incident.detail = Some(format!("{WITHDRAWN}the watch was taken out of the settings"));
        insta::assert_snapshot!(show(withdrawn), @"
        🟢 RESOLVED cart: more errors than usual
        ---
        *When* 2026-11-20T22:00:00Z to 2026-11-20T22:33:00Z, 33 minutes · 38,912 lines in 33 unusual windows
        *End* the watch was taken out of the settings
        *Worst* errors 48, expected 0 to 3
        ---
        <https://sigyn.example.com/incidents/00c0ffee00c0ffee|Incident> · <https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D|Logs in Grafana> · <https://wiki.example.com/cart?a=1&amp;b=2|Runbook> · Owner: team-shop
        ---
        sigyn · watch shop · incident 00c0ffee00c0ffee
        =====
        🟢 RESOLVED cart: more errors than usual
        When: 2026-11-20T22:00:00Z to 2026-11-20T22:33:00Z, 33 minutes · 38,912 lines in 33 unusual windows
        End: the watch was taken out of the settings
        Worst: errors 48, expected 0 to 3
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        Runbook: https://wiki.example.com/cart?a=1&b=2
        Owner: team-shop
        sigyn · watch shop · incident 00c0ffee00c0ffee
        ");
        insta::assert_snapshot!(show(fixture::resolved()), @r"
        🟢 RESOLVED cart: more errors than usual
        ---
        *When* 2026-11-20T22:00:00Z to 2026-11-20T22:33:00Z, 33 minutes · 38,912 lines in 33 unusual windows
        *End* quiet for 5 minutes
        *Worst* errors 48, expected 0 to 3
        ---
        <https://sigyn.example.com/incidents/00c0ffee00c0ffee|Incident> · <https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D|Logs in Grafana> · <https://wiki.example.com/cart?a=1&amp;b=2|Runbook> · Owner: team-shop
        ---
        sigyn · watch shop · incident 00c0ffee00c0ffee
        =====
        🟢 RESOLVED cart: more errors than usual
        When: 2026-11-20T22:00:00Z to 2026-11-20T22:33:00Z, 33 minutes · 38,912 lines in 33 unusual windows
        End: quiet for 5 minutes
        Worst: errors 48, expected 0 to 3
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        Runbook: https://wiki.example.com/cart?a=1&b=2
        Owner: team-shop
        sigyn · watch shop · incident 00c0ffee00c0ffee
        ");
    }

    #[test]
    fn about_sigyn_itself() {
        insta::assert_snapshot!(show(fixture::internal()), @r#"
        🟠 WARNING sigyn: cannot reach Loki
        ---
        *When* since 2026-11-20T22:00:00Z, 3 minutes so far
        *Where* {on="shop", problem="loki_unreachable", service="sigyn"} · cluster=eu-1
        *Why* GET http:/·/loki:3100/loki/api/v1/query_range: connection refused; is Loki up, and is loki.url right?
        ---
        <https://sigyn.example.com/incidents/00c0ffee00c0ffee|Incident> · <https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D|Logs in Grafana>
        ---
        sigyn · watch sigyn · incident 00c0ffee00c0ffee
        =====
        🟠 WARNING sigyn: cannot reach Loki
        When: since 2026-11-20T22:00:00Z, 3 minutes so far
        Where: {on="shop", problem="loki_unreachable", service="sigyn"} · cluster=eu-1
        Why: GET http:/·/loki:3100/loki/api/v1/query_range: connection refused; is Loki up, and is loki.url right?
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        sigyn · watch sigyn · incident 00c0ffee00c0ffee
        "#);
    }

    #[test]
    fn hostile() {
        let text = "<!channel> ``` @all ![x](http://e.vil) <http://e.vil|ok>\n:fire: \u{1b}[31m";
        insta::assert_snapshot!(show(fixture::hostile(text)), @r#"
        🔴 CRITICAL &lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: : more errors than usual
        ---
        *When* since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        *Where* {service_name="&lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;\n:fire: \u001b[31m"} · cluster=&lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: 
        *Why* errors 48, expected 0 to 3; all of them "&lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: " (71 % of the score)
        *and* different messages 131, expected 20 to 42.5 (19 % of the score)
        ---
        *In common* all 48 errors from pod=&lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: ; 12 % of the other lines
        *How sure* score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)
        ---
        ```
        22:02:01Z &lt;!channel&gt; `·`·`· @·all ![x](http://e.vil) &lt;http://e.vil|ok&gt;⏎:fire: 
        22:02:02Z &lt;!channel&gt; `·`·`· @·all ![x](http://e.vil) &lt;http://e.vil|ok&gt;⏎:fire: 
        ```
        ---
        <https://sigyn.example.com/incidents/00c0ffee00c0ffee|Incident> · <https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D|Logs in Grafana> · Owner: &lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: 
        ---
        sigyn · watch &lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire:  · incident 00c0ffee00c0ffee
        =====
        🔴 CRITICAL &lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: : more errors than usual
        When: since 2026-11-20T22:00:00Z, 3 minutes so far · 3,412 lines in 3 unusual windows · ▃▃▃▅▇█
        Where: {service_name="&lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;\n:fire: \u001b[31m"} · cluster=&lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: 
        Why: errors 48, expected 0 to 3; all of them "&lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: " (71 % of the score)
        and: different messages 131, expected 20 to 42.5 (19 % of the score)
        In common: all 48 errors from pod=&lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: ; 12 % of the other lines
        How sure: score 0.93, unusual from 0.71 · every line seen, counted exactly · 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)
        ```
        22:02:01Z &lt;!channel&gt; `·`·`· @·all ![x](http://e.vil) &lt;http://e.vil|ok&gt;⏎:fire: 
        22:02:02Z &lt;!channel&gt; `·`·`· @·all ![x](http://e.vil) &lt;http://e.vil|ok&gt;⏎:fire: 
        ```
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        Owner: &lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire: 
        sigyn · watch &lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire:  · incident 00c0ffee00c0ffee
        "#);
    }

    #[test]
    fn the_whole_payload() {
        let body = render_slack(&fixture::notification(fixture::continued(), "slack"));
        insta::assert_json_snapshot!(body, @r#"
        {
          "blocks": [
            {
              "text": {
                "emoji": false,
                "text": "🔴 STILL CRITICAL cart: more errors than usual",
                "type": "plain_text"
              },
              "type": "header"
            },
            {
              "text": {
                "text": "*When* since 2026-11-20T22:00:00Z, 33 minutes so far · 38,912 lines in 33 unusual windows · ▃▃▃▅▇█\n*Worst* errors 48, expected 0 to 3",
                "type": "mrkdwn",
                "verbatim": true
              },
              "type": "section"
            },
            {
              "text": {
                "text": "<https://sigyn.example.com/incidents/00c0ffee00c0ffee|Incident> · <https://grafana.example.com/explore?schemaVersion=1&amp;panes=%7B%7D|Logs in Grafana> · <https://wiki.example.com/cart?a=1&amp;b=2|Runbook> · Owner: team-shop",
                "type": "mrkdwn",
                "verbatim": true
              },
              "type": "section"
            },
            {
              "elements": [
                {
                  "text": "sigyn · watch shop · incident 00c0ffee00c0ffee",
                  "type": "mrkdwn",
                  "verbatim": true
                }
              ],
              "type": "context"
            }
          ],
          "text": "🔴 STILL CRITICAL cart: more errors than usual\nWhen: since 2026-11-20T22:00:00Z, 33 minutes so far · 38,912 lines in 33 unusual windows · ▃▃▃▅▇█\nWorst: errors 48, expected 0 to 3\nIncident: https://sigyn.example.com/incidents/00c0ffee00c0ffee\nLogs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D\nRunbook: https://wiki.example.com/cart?a=1&b=2\nOwner: team-shop\nsigyn · watch shop · incident 00c0ffee00c0ffee",
          "unfurl_links": false,
          "unfurl_media": false
        }
        "#);
    }

    #[test]
    fn a_message_is_at_most_twelve_lines() {
        let body = render_slack(&fixture::notification(fixture::opened(), "slack"));
        let shown: Vec<String> = body["blocks"].as_array().unwrap().iter().map(block).collect();
        let lines = shown.iter().flat_map(|text| text.lines()).filter(|line| *line != "```").count();
        assert!(lines <= 12, "{lines}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn within_the_limits_whatever_the_lines(piece in "\\PC{1,8}|[<>&@`\n]{1,4}|<!channel>", times in 1usize..20_000) {
            let text: String = piece.repeat(times).chars().take(100_000).collect();
            for kind in [TransitionKind::Opened, TransitionKind::Continued, TransitionKind::Resolved] {
                let mut transition = fixture::hostile(&text);
                transition.kind = kind;
                let mut notification = fixture::notification(transition, "slack");
                // Links come from the settings, but may be long.
                notification.links.explore = Some(format!("https://e.xy/{}", "é&".repeat(times % 700)));
                notification.links.incident = notification.links.explore.clone();
                let body = render_slack(&notification);
                let blocks = body["blocks"].as_array().unwrap();
                prop_assert!(blocks.len() <= BLOCKS);
                for one in blocks {
                    let max = if one["type"] == "header" { HEADER } else { SECTION };
                    prop_assert!(block(one).chars().count() <= max);
                    let shown = block(one).replace("<https://", "").replace("<http://", "");
                    prop_assert!(!shown.contains('<'), "{shown}");
                    prop_assert!(shown.matches("```").count().is_multiple_of(2));
                }
                let text = body["text"].as_str().unwrap();
                prop_assert!(text.chars().count() <= TEXT && text.matches("```").count().is_multiple_of(2));
                prop_assert!(body.to_string().len() < 40_000);
            }
        }
    }
}
