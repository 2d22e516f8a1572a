//! The layout of a GitHub issue and of its comments, and the hidden marks by which they are found again.
//!
//! What comes in: a [`Notification`]. What goes out: Markdown below GitHub's limit. A mark is always the first line, so
//! that no log text can forge one. Every text that is not ours goes through [`escape`].

use crate::incident::{Incident, TransitionKind};
use crate::notify::render::{Message, Query, message};
use crate::notify::{Notification, escape};

/// GitHub refuses longer bodies of issues and comments ("body is too long (maximum is 65536 characters)").
const BODY: usize = 65_536;
/// GitHub: characters of a title ("title is too long (maximum is 256 characters)").
const TITLE: usize = 256;

/// Ours: characters of a log line.
const LINE: usize = 1_000;
/// Ours: characters of any other value.
const VALUE: usize = 400;
/// Ours: characters of a query; it is cut only where it would not work as a command either.
const QUERY: usize = 4_000;
/// Ours: log lines in an issue.
const SAMPLES: usize = 5;
/// Ours: members in an issue.
const MEMBERS: usize = 30;

/// Title and body of the issue of an incident. The title is stable and holds no counts, so that it can be searched.
#[must_use]
pub fn render_issue(notification: &Notification) -> (String, String) {
    let said = message(notification);
    let parts = [
        Some(format!("{}\n{}", incident_mark(&notification.transition.incident), summary(&said))),
        Some(what_happened(&said)),
        why(&said),
        members(&said),
        samples(&said),
        look(&said),
        Some(foot(&said)),
    ];
    (title(&said), whole(parts.into_iter().flatten()))
}

/// The comment for a transition of an incident that has its issue already, and for an incident that comes again.
#[must_use]
pub fn render_comment(notification: &Notification) -> String {
    let said = message(notification);
    let mark = key_mark(&notification.key);
    let opened = said.kind.is_full();
    let first = match said.kind {
        TransitionKind::Opened => format!("**Again**, as a new incident: {}.", sentence(&said)),
        TransitionKind::Reopened => format!("**Back again** after it was resolved: {}.", sentence(&said)),
        TransitionKind::Continued => format!("**Still going on**: {}.", sentence(&said)),
        TransitionKind::Escalated => format!("**Much worse now**: {}.", sentence(&said)),
        TransitionKind::Acknowledged => {
            format!(
                "**Acknowledged**: {}",
                escape::markdown(said.care.as_deref().unwrap_or("somebody looks after it"), VALUE)
            )
        }
        TransitionKind::Resolved => {
            let ended = said.ended.as_deref().map(|ended| format!(" End: {ended}.")).unwrap_or_default();
            format!("**Resolved**: {}.{ended}", sentence(&said))
        }
    };
    let worst = if said.detail.is_some() { "Why" } else { "Worst" };
    let reason = said.reason().map(|reason| format!("{worst}: {}", escape::markdown(&reason, VALUE)));
    let parts = [
        Some(format!("{mark}\n{first}")),
        reason.filter(|_| !opened),
        why(&said).filter(|_| opened),
        members(&said),
        samples(&said).filter(|_| opened),
        said.held_back.as_deref().map(|held| format!("Not told: {held}.")),
        Some(links(&said).join(" · ")).filter(|links| !links.is_empty()),
    ];
    whole(parts.into_iter().flatten())
}

/// First line of an issue: which incident, and which place.
#[must_use]
pub(super) fn incident_mark(incident: &Incident) -> String {
    format!("<!-- sigyn:incident={} fingerprint={} -->", word(&incident.id), incident.group.fingerprint)
}

/// The end of [`incident_mark`] that all incidents of one place share.
#[must_use]
pub(super) fn fingerprint_mark(incident: &Incident) -> String {
    format!(" fingerprint={} -->", incident.group.fingerprint)
}

/// First line of a comment: which notification.
#[must_use]
pub(super) fn key_mark(key: &str) -> String {
    format!("<!-- sigyn:key={} -->", word(key))
}

/// Only what cannot end a comment.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | ':' | '_' | '.')).take(200).collect()
}

fn title(said: &Message) -> String {
    // Escaped, a text is at most twice as long.
    const START: &str = "[sigyn] ";
    format!("{START}{}", escape::title(&said.title, (TITLE - START.len()) / 2))
}

/// Joins the parts; a part that would pass the limit is left out as a whole, so that nothing stays open.
fn whole(parts: impl Iterator<Item = String>) -> String {
    let mut out = String::new();
    for part in parts {
        if out.chars().count() + part.chars().count() + 2 < BODY {
            out.push_str(if out.is_empty() { "" } else { "\n\n" });
            out.push_str(&part);
        }
    }
    out
}

fn summary(said: &Message) -> String {
    let value = |text: &str| escape::markdown(text, VALUE);
    let rows = [
        ("Severity", Some(said.severity.as_str().to_owned())),
        ("Where", Some(value(&said.place))),
        ("Labels", said.labels.as_deref().map(value)),
        ("When", Some(said.when.clone())),
        ("How much", said.size.clone()),
        ("Lines per second", said.bars.clone()),
        ("How sure", said.sure()),
        ("Owner", said.owner.as_deref().map(value)),
        ("Handled", said.care.as_deref().map(value)),
    ];
    table(&["", ""], rows.into_iter().filter_map(|(label, value)| Some(vec![format!("**{label}**"), value?])))
}

fn what_happened(said: &Message) -> String {
    let detail = said.detail.as_deref().map(|detail| format!("\n\n{}", escape::markdown(detail, VALUE)));
    format!("### What happened\n\n{}.{}", sentence(said), detail.unwrap_or_default())
}

fn sentence(said: &Message) -> String {
    let size = said.size.as_deref().map(|size| format!(", {size}")).unwrap_or_default();
    format!("{}, {}{size}", escape::markdown(&said.title, VALUE), said.when)
}

fn why(said: &Message) -> Option<String> {
    if said.why.is_empty() {
        return None;
    }
    let known = said.why.iter().any(|reason| reason.before.is_some());
    let row = |reason: &crate::notify::render::Reason| {
        let line = reason.line.as_deref().map(|line| format!(": {}", escape::markdown(line, LINE)));
        let what = format!("{}{}", reason.what, line.unwrap_or_default());
        let mut row = vec![what, reason.seen.clone(), reason.expected.clone(), reason.share.clone()];
        row.extend(
            known.then(|| reason.before.as_deref().map(|before| escape::markdown(before, LINE)).unwrap_or_default()),
        );
        row
    };
    let mut head = vec!["Measured", "Seen", "Expected", "Share of the score"];
    head.extend(known.then_some("Besides"));
    let mut parts = vec![format!("### Why\n\n{}", table(&head, said.why.iter().map(row)))];
    let common: Vec<String> = said.common.iter().map(|one| escape::markdown(one, VALUE)).collect();
    parts.extend((!common.is_empty()).then(|| format!("**In common**: {}", common.join(" · "))));
    parts.extend((!said.gates.is_empty()).then(|| format!("**Passed**: {}", said.gates.join(" · "))));
    Some(parts.join("\n\n"))
}

/// Other groups of the same problem, or the incidents that an issue about many lists.
fn members(said: &Message) -> Option<String> {
    let line = |member: &String| format!("- {}", escape::markdown(member, VALUE));
    let mut lines: Vec<String> = said.members.iter().take(MEMBERS).map(line).collect();
    let more = said.members.len() - lines.len();
    lines.extend((more > 0).then(|| format!("- and {more} more")));
    let heading = if said.detail.is_some() { "Incidents" } else { "Also part of it" };
    (!lines.is_empty()).then(|| format!("### {heading}\n\n{}", lines.join("\n")))
}

fn samples(said: &Message) -> Option<String> {
    let line = |line: &crate::notify::render::Line| format!("{} {}", line.time, line.text);
    let lines: Vec<String> = said.samples.iter().take(SAMPLES).map(line).collect();
    (!lines.is_empty()).then(|| {
        let block = escape::fenced("text", &lines, LINE);
        format!("<details><summary>Log lines, secrets masked</summary>\n\n{block}\n\n</details>")
    })
}

fn look(said: &Message) -> Option<String> {
    let mut parts = links(said);
    let query = said.query.as_ref().filter(|query| query.logcli.chars().count() <= QUERY);
    parts.extend(query.map(commands));
    (!parts.is_empty()).then(|| format!("### How to look\n\n{}", parts.join("\n\n")))
}

fn commands(query: &Query) -> String {
    let block = |info, text: &str| escape::fenced(info, &[text.to_owned()], QUERY);
    format!("{}\n\n{}", block("logql", &query.logql), block("sh", &query.logcli))
}

fn links(said: &Message) -> Vec<String> {
    let urls = [
        ("Incident at sigyn", said.links.incident.as_deref()),
        ("Logs in Grafana", said.links.explore.as_deref()),
        ("Runbook", said.runbook.as_deref()),
    ];
    urls.into_iter().filter_map(|(label, url)| Some(format!("[{label}](<{}>)", escape::url(url?)?))).collect()
}

fn foot(said: &Message) -> String {
    format!(
        "<sub>sigyn · watch {} · incident {} · closed by sigyn when it is over</sub>",
        escape::markdown(&said.watch, VALUE),
        escape::markdown(&said.id, VALUE)
    )
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rule = vec!["---"; head.len()].join(" | ");
    let mut out = format!("| {} |\n| {rule} |", head.join(" | "));
    for row in rows {
        out.push_str(&format!("\n| {} |", row.join(" | ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use proptest::prelude::*;

    fn issue(transition: crate::incident::Transition) -> String {
        let (title, body) = render_issue(&fixture::notification(transition, "github"));
        format!("{title}\n=====\n{body}").replace('\u{200b}', "·")
    }

    #[test]
    fn opened() {
        insta::assert_snapshot!(issue(fixture::opened()), @r#"
        [sigyn] cart: more errors than usual
        =====
        <!-- sigyn:incident=00c0ffee00c0ffee fingerprint=v1:cd9da4c2580bd810 -->
        |  |  |
        | --- | --- |
        | **Severity** | critical |
        | **Where** | {service\_name="cart"} |
        | **Labels** | cluster=eu-1 |
        | **When** | since 2026-11-20T22:00:00Z, 3 minutes so far |
        | **How much** | 3,412 lines in 3 unusual windows |
        | **Lines per second** | ▃▃▃▅▇█ |
        | **How sure** | score 0.93, unusual from 0.71 · every line seen, counted exactly |
        | **Owner** | team-shop |

        ### What happened

        cart: more errors than usual, since 2026-11-20T22:00:00Z, 3 minutes so far, 3,412 lines in 3 unusual windows.

        ### Why

        | Measured | Seen | Expected | Share of the score | Besides |
        | --- | --- | --- | --- | --- |
        | errors | 48 | 0 to 3 | 71 % | most of them "payment gateway timeout", never seen before |
        | different messages | 131 | 20 to 42.5 | 19 % |  |
        | rate | 20.1 lines/s | 4 to 9.25 | 8 % |  |
        | line length | 214 bytes | 80 to 220 | 2 % |  |

        **In common**: all 48 errors from pod=cart-7; 12 % of the other lines

        **Passed**: 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)

        <details><summary>Log lines, secrets masked</summary>

        ```text
        22:02:01Z level=error msg="payment gateway timeout" order=<*>
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        22:02:31Z level=warn msg="retrying" attempt=4
        ```

        </details>

        ### How to look

        [Incident at sigyn](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>)

        [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>)

        [Runbook](<https://wiki.example.com/cart?a=1&b=2>)

        ```logql
        {service_name="cart"}
        ```

        ```sh
        logcli query --from=2026-11-20T21:59:00Z --to=2026-11-20T22:04:00Z --limit=500 '{service_name="cart"}'
        ```

        <sub>sigyn · watch shop · incident 00c0ffee00c0ffee · closed by sigyn when it is over</sub>
        "#);
    }

    #[test]
    fn what_people_and_the_grouping_made_of_it_is_told() {
        let mut transition = fixture::continued();
        let member =
            crate::incident::Member { title: "auth: <b> *errors*".to_owned(), ..(&transition.incident).into() };
        transition.incident.handling.members = vec![member; 31];
        transition.incident.handling.held_back = 2;
        let comment = render_comment(&fixture::notification(transition, "github")).replace('\u{200b}', "·");
        let kept: Vec<&str> = comment.lines().filter(|line| !line.starts_with("- auth") || line.len() < 10).collect();
        assert_eq!(comment.matches("- auth: &lt;b&gt; \\*errors\\*, critical").count(), 30);
        insta::assert_snapshot!(kept.join("\n"), @r#"
        <!-- sigyn:key=00c0ffee00c0ffee/2/github -->
        **Still going on**: cart: more errors than usual, since 2026-11-20T22:00:00Z, 33 minutes so far, 38,912 lines in 33 unusual windows.

        Worst: errors 48, expected 0 to 3

        ### Also part of it

        - and 1 more

        Not told: 2 messages held back since the last one.

        [Incident at sigyn](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>) · [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>) · [Runbook](<https://wiki.example.com/cart?a=1&b=2>)
        "#);
    }

    #[test]
    fn opened_for_its_lines() {
        insta::assert_snapshot!(issue(fixture::patterns()), @r#"
        [sigyn] cart: a step is missing
        =====
        <!-- sigyn:incident=00c0ffee00c0ffee fingerprint=v1:cd9da4c2580bd810 -->
        |  |  |
        | --- | --- |
        | **Severity** | critical |
        | **Where** | {service\_name="cart"} |
        | **Labels** | cluster=eu-1 |
        | **When** | since 2026-11-20T22:00:00Z, 3 minutes so far |
        | **How much** | 3,412 lines in 3 unusual windows |
        | **Lines per second** | ▃▃▃▅▇█ |
        | **How sure** | score 0.93, unusual from 0.71 · requests 60 %, new lines 40 % · every line seen, counted exactly |
        | **Owner** | team-shop |

        ### What happened

        cart: a step is missing, since 2026-11-20T22:00:00Z, 3 minutes so far, 3,412 lines in 3 unusual windows.

        ### Why

        | Measured | Seen | Expected | Share of the score | Besides |
        | --- | --- | --- | --- | --- |
        | step missing: "order &lt;\*&gt; stored" | in 14 of 15 requests (trace_id) | 0.1 (up to 2) | 60 % | first seen 2026-11-20T20:30:00Z, last before this 2026-11-20T21:59:00Z |
        | new problem: "stock of &lt;\*&gt; is negative" | 1 | 0 | 40 % | never seen before |

        **In common**: all 48 such lines from pod=cart-7; 12 % of the other lines

        **Passed**: 1,440 windows learnt (60 needed) · 1,240 earlier requests like these (20 needed) · 0.08 % of those did so (under 15 % needed) · by chance once in 810,000 looks (490 needed)

        <details><summary>Log lines, secrets masked</summary>

        ```text
        22:02:01Z level=error msg="payment gateway timeout" order=<*>
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        22:02:31Z level=warn msg="retrying" attempt=4
        ```

        </details>

        ### How to look

        [Incident at sigyn](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>)

        [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>)

        [Runbook](<https://wiki.example.com/cart?a=1&b=2>)

        ```logql
        {service_name="cart"}
        ```

        ```sh
        logcli query --from=2026-11-20T21:59:00Z --to=2026-11-20T22:04:00Z --limit=500 '{service_name="cart"}'
        ```

        <sub>sigyn · watch shop · incident 00c0ffee00c0ffee · closed by sigyn when it is over</sub>
        "#);
    }

    #[test]
    fn about_sigyn_itself() {
        insta::assert_snapshot!(issue(fixture::internal()), @r#"
        [sigyn] sigyn: cannot reach Loki
        =====
        <!-- sigyn:incident=00c0ffee00c0ffee fingerprint=v1:18590898ede2571d -->
        |  |  |
        | --- | --- |
        | **Severity** | warning |
        | **Where** | {on="shop", problem="loki\_unreachable", service="sigyn"} |
        | **Labels** | cluster=eu-1 |
        | **When** | since 2026-11-20T22:00:00Z, 3 minutes so far |

        ### What happened

        sigyn: cannot reach Loki, since 2026-11-20T22:00:00Z, 3 minutes so far.

        GET http:/·/loki:3100/loki/api/v1/query\_range: connection refused; is Loki up, and is loki.url right?

        ### How to look

        [Incident at sigyn](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>)

        [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>)

        <sub>sigyn · watch sigyn · incident 00c0ffee00c0ffee · closed by sigyn when it is over</sub>
        "#);
    }

    #[test]
    fn hostile() {
        let text = "<img src=x> ``` @org/team #12 ![x](http://e.vil) --> <!-- sigyn:incident=1 -->\nfixes GH-1 | it's";
        insta::assert_snapshot!(issue(fixture::hostile(text)), @r#"
        [sigyn] <img src=x> ''' @·org/team #·12 ![x](http://e.vil) --> <!-- sigyn:incident=1 -->⏎fixes GH-1 | it's: more errors than usual
        =====
        <!-- sigyn:incident=00c0ffee00c0ffee fingerprint=v1:cd9da4c2580bd810 -->
        |  |  |
        | --- | --- |
        | **Severity** | critical |
        | **Where** | {service\_name="&lt;img src=x&gt; \`\`\` @·org/team #·12 \!\[x\](http:/·/e.vil) --&gt; &lt;\!-- sigyn:incident=1 --&gt;\\nfixes GH·-1 \| it's"} |
        | **Labels** | cluster=&lt;img src=x&gt; \`\`\` @·org/team #·12 \!\[x\](http:/·/e.vil) --&gt; &lt;\!-- sigyn:incident=1 --&gt;⏎fixes GH·-1 \| it's |
        | **When** | since 2026-11-20T22:00:00Z, 3 minutes so far |
        | **How much** | 3,412 lines in 3 unusual windows |
        | **Lines per second** | ▃▃▃▅▇█ |
        | **How sure** | score 0.93, unusual from 0.71 · every line seen, counted exactly |
        | **Owner** | &lt;img src=x&gt; \`\`\` @·org/team #·12 \!\[x\](http:/·/e.vil) --&gt; &lt;\!-- sigyn:incident=1 --&gt;⏎fixes GH·-1 \| it's |

        ### What happened

        &lt;img src=x&gt; \`\`\` @·org/team #·12 \!\[x\](http:/·/e.vil) --&gt; &lt;\!-- sigyn:incident=1 --&gt;⏎fixes GH·-1 \| it's: more errors than usual, since 2026-11-20T22:00:00Z, 3 minutes so far, 3,412 lines in 3 unusual windows.

        ### Why

        | Measured | Seen | Expected | Share of the score | Besides |
        | --- | --- | --- | --- | --- |
        | errors | 48 | 0 to 3 | 71 % | all of them "&lt;img src=x&gt; \`\`\` @·org/team #·12 \!\[x\](http:/·/e.vil) --&gt; &lt;\!-- sigyn:incident=1 --&gt;⏎fixes GH·-1 \| it's" |
        | different messages | 131 | 20 to 42.5 | 19 % |  |
        | rate | 20.1 lines/s | 4 to 9.25 | 8 % |  |
        | line length | 214 bytes | 80 to 220 | 2 % |  |

        **In common**: all 48 errors from pod=&lt;img src=x&gt; \`\`\` @·org/team #·12 \!\[x\](http:/·/e.vil) --&gt; &lt;\!-- sigyn:incident=1 --&gt;⏎fixes GH·-1 \| it's; 12 % of the other lines

        **Passed**: 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)

        <details><summary>Log lines, secrets masked</summary>

        ````text
        22:02:01Z <img src=x> ``` @org/team #12 ![x](http://e.vil) --·> <·!-- sigyn:incident=1 --·>⏎fixes GH-1 | it's
        22:02:02Z <img src=x> ``` @org/team #12 ![x](http://e.vil) --·> <·!-- sigyn:incident=1 --·>⏎fixes GH-1 | it's
        ````

        </details>

        ### How to look

        [Incident at sigyn](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>)

        [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>)

        ````logql
        {service_name="<img src=x> ``` @org/team #12 ![x](http://e.vil) --·> <·!-- sigyn:incident=1 --·>\nfixes GH-1 | it's"}
        ````

        ````sh
        logcli query --from=2026-11-20T21:59:00Z --to=2026-11-20T22:04:00Z --limit=500 '{service_name="<img src=x> ``` @org/team #12 ![x](http://e.vil) --·> <·!-- sigyn:incident=1 --·>\nfixes GH-1 | it'\''s"}'
        ````

        <sub>sigyn · watch &lt;img src=x&gt; \`\`\` @·org/team #·12 \!\[x\](http:/·/e.vil) --&gt; &lt;\!-- sigyn:incident=1 --&gt;⏎fixes GH·-1 \| it's · incident 00c0ffee00c0ffee · closed by sigyn when it is over</sub>
        "#);
    }

    #[test]
    fn comments() {
        let comment = |transition| render_comment(&fixture::notification(transition, "github"));
        let all = [fixture::continued(), fixture::resolved(), fixture::opened()].map(comment);
        insta::assert_snapshot!(all.join("\n=====\n"), @r#"
        <!-- sigyn:key=00c0ffee00c0ffee/2/github -->
        **Still going on**: cart: more errors than usual, since 2026-11-20T22:00:00Z, 33 minutes so far, 38,912 lines in 33 unusual windows.

        Worst: errors 48, expected 0 to 3

        [Incident at sigyn](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>) · [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>) · [Runbook](<https://wiki.example.com/cart?a=1&b=2>)
        =====
        <!-- sigyn:key=00c0ffee00c0ffee/3/github -->
        **Resolved**: cart: more errors than usual, 2026-11-20T22:00:00Z to 2026-11-20T22:33:00Z, 33 minutes, 38,912 lines in 33 unusual windows. End: quiet for 5 minutes.

        Worst: errors 48, expected 0 to 3

        [Incident at sigyn](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>) · [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>) · [Runbook](<https://wiki.example.com/cart?a=1&b=2>)
        =====
        <!-- sigyn:key=00c0ffee00c0ffee/1/github -->
        **Again**, as a new incident: cart: more errors than usual, since 2026-11-20T22:00:00Z, 3 minutes so far, 3,412 lines in 3 unusual windows.

        ### Why

        | Measured | Seen | Expected | Share of the score | Besides |
        | --- | --- | --- | --- | --- |
        | errors | 48 | 0 to 3 | 71 % | most of them "payment gateway timeout", never seen before |
        | different messages | 131 | 20 to 42.5 | 19 % |  |
        | rate | 20.1 lines/s | 4 to 9.25 | 8 % |  |
        | line length | 214 bytes | 80 to 220 | 2 % |  |

        **In common**: all 48 errors from pod=cart-7; 12 % of the other lines

        **Passed**: 1,440 windows learnt (60 needed) · by chance once in 810,000 looks (490 needed)

        <details><summary>Log lines, secrets masked</summary>

        ```text
        22:02:01Z level=error msg="payment gateway timeout" order=<*>
        22:02:02Z java.net.SocketTimeoutException: Read timed out⏎ at Pay.call(Pay.java:42)
        22:02:30Z level=warn msg="retrying" attempt=‹3›
        22:02:31Z level=warn msg="retrying" attempt=4
        ```

        </details>

        [Incident at sigyn](<https://sigyn.example.com/incidents/00c0ffee00c0ffee>) · [Logs in Grafana](<https://grafana.example.com/explore?schemaVersion=1&panes=%7B%7D>) · [Runbook](<https://wiki.example.com/cart?a=1&b=2>)
        "#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn within_the_limits_whatever_the_lines(piece in "\\PC{1,8}|[<>&@#`|\n]{1,4}|-->|@all", times in 1usize..20_000) {
            let text: String = piece.repeat(times).chars().take(100_000).collect();
            let notification = fixture::notification(fixture::hostile(&text), "github");
            let (title, body) = render_issue(&notification);
            prop_assert!(title.chars().count() <= TITLE && body.chars().count() < BODY);
            for body in [body, render_comment(&notification)] {
                prop_assert!(body.chars().count() < BODY && body.len() < 4 * BODY);
                prop_assert_eq!(body.matches("<!--").count(), 1);
                prop_assert!(body.starts_with("<!-- sigyn:") && body.matches("-->").count() == 1);
                prop_assert_eq!(body.matches("</details>").count(), body.matches("<details>").count());
            }
        }
    }
}
