//! A message for Slack: Block Kit, and the plain text that Mattermost and Rocket.Chat show instead.
//!
//! What comes in: a [`Message`]. What goes out: JSON within Slack's limits. Every text that is not ours goes through
//! [`escape`], by way of [`Layout`].

use serde_json::{Value, json};

use crate::notify::layout::{Layout, Markup, fit, within};
use crate::notify::render::{Message, message};
use crate::notify::template::Template;
use crate::notify::{Notification, escape};

/// Slack: plain text of a header block, docs.slack.dev/reference/block-kit/blocks/header-block.
const HEADER: usize = 150;
/// Slack: text of a section block, docs.slack.dev/reference/block-kit/blocks/section-block.
const SECTION: usize = 3_000;
/// Slack: blocks in a message, docs.slack.dev/reference/block-kit/blocks.
const BLOCKS: usize = 50;
/// Slack advises at most this much `text`, docs.slack.dev/reference/methods/chat.postMessage; Mattermost takes four times as much.
const TEXT: usize = 4_000;

/// In blocks: bold labels, named links.
const MRKDWN: Markup = Markup {
    inline: escape::mrkdwn,
    code: escape::mrkdwn_code,
    block: |lines| format!("```\n{lines}\n```"),
    label: |label| format!("*{label}*"),
    link: |label, url| format!("<{}|{label}>", url.replace('&', "&amp;")),
};

/// In `text`, which the others show with markup of their own.
const SHARED: Markup =
    Markup { label: |label| format!("{label}:"), link: |label, url| format!("{label}: {url}"), ..MRKDWN };

/// The body of a request to an incoming webhook. Mattermost and Rocket.Chat ignore `blocks` and show `text`.
#[must_use]
pub fn render_slack(notification: &Notification) -> Value {
    body(&message(notification), &Template::default(), false)
}

/// The same message as text alone, for a server that refuses blocks.
#[must_use]
pub fn render_text(notification: &Notification) -> Value {
    text(&message(notification), &Template::default(), false)
}

/// A message with blocks; with everything in it when it is `whole`.
pub(super) fn body(said: &Message, template: &Template, whole: bool) -> Value {
    let layout = laid_out(said, MRKDWN, template, whole);
    let mut body = text(said, template, whole);
    body["blocks"] = blocks(&layout).into();
    body["unfurl_links"] = false.into();
    body["unfurl_media"] = false.into();
    body
}

/// A message of text alone.
pub(super) fn text(said: &Message, template: &Template, whole: bool) -> Value {
    json!({ "text": laid_out(said, SHARED, template, whole).text(HEADER, TEXT) })
}

fn laid_out<'a>(said: &'a Message, markup: Markup, template: &Template, whole: bool) -> Layout<'a> {
    let layout = Layout::new(said, markup, template);
    if whole { layout.whole() } else { layout }
}

fn blocks(layout: &Layout<'_>) -> Vec<Value> {
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": layout.head(HEADER), "emoji": false }
    })];
    if let Some(own) = layout.own_text() {
        blocks.push(section(own));
    } else {
        for rows in [layout.rows(), layout.details()] {
            let rows: Vec<String> = rows.into_iter().map(|(label, value)| format!("*{label}* {value}")).collect();
            blocks.extend((!rows.is_empty()).then(|| section(&fit(&rows, "\n", SECTION))));
        }
        if let Some((heading, lines)) = layout.members() {
            let lines: Vec<String> = [format!("*{heading}*")].into_iter().chain(lines).collect();
            blocks.push(section(&fit(&lines, "\n", SECTION)));
        }
        let samples = layout.samples();
        blocks.extend((!samples.is_empty()).then(|| section(&(MRKDWN.block)(&samples.join("\n")))));
    }
    let links = layout.links();
    blocks.extend((!links.is_empty()).then(|| section(&fit(&links, " · ", SECTION))));
    blocks.push(json!({ "type": "context", "elements": [mrkdwn(&layout.foot())] }));
    blocks.truncate(BLOCKS);
    blocks
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

/// `verbatim`: Slack makes no links and mentions of its own out of the text.
fn mrkdwn(text: &str) -> Value {
    // The limits of the layout leave room, so this cuts nothing unless one of them is changed without thought.
    json!({ "type": "mrkdwn", "text": within(text, SECTION), "verbatim": true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::TransitionKind;
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
        sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
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
        sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
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
        sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
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
        sigyn · watch shop · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
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
        sigyn · watch sigyn · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
        =====
        🟠 WARNING sigyn: cannot reach Loki
        When: since 2026-11-20T22:00:00Z, 3 minutes so far
        Where: {on="shop", problem="loki_unreachable", service="sigyn"} · cluster=eu-1
        Why: GET http:/·/loki:3100/loki/api/v1/query_range: connection refused; is Loki up, and is loki.url right?
        Incident: https://sigyn.example.com/incidents/00c0ffee00c0ffee
        Logs in Grafana: https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D
        sigyn · watch sigyn · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
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
        sigyn · watch &lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire:  · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
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
        sigyn · watch &lt;!channel&gt; ''' @·all ![x]·(http:/·/e.vil) &lt;http:/·/e.vil|ok&gt;⏎:fire:  · to handle: sigyn incident ack, snooze or resolve · incident 00c0ffee00c0ffee
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
