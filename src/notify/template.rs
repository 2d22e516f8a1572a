//! The user's own words for title and text of a message, as minijinja templates.
//!
//! What comes in: templates from the settings and a [`Message`]. What goes out: text in the receiver's markup, or nothing
//! when there is no template or it fails, and then the built-in text is sent. What never happens here: text of strangers
//! that is not escaped (the template itself is markup, each value is escaped), a loop without end, or a file that is read.

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, context};

use super::escape;
use super::render::Message;

/// Characters of a value, before it is escaped.
const VALUE: usize = 500;
/// Characters of a title: the built-in one is taken when the user's is longer than the receiver allows.
const TITLE: usize = 250;
/// Characters of a text: what every receiver with templates takes whole (Slack's section is the shortest).
const TEXT: usize = 3_000;
/// Characters of a body that is sent as it is.
const BODY: usize = 100_000;
/// Instructions that a template may take; a message takes some hundreds.
const FUEL: u64 = 200_000;

/// What a template may name: the fields of [`Message`], and what is made of them.
pub const NAMES: [&str; 33] = [
    "bars",
    "care",
    "common",
    "coverage",
    "detail",
    "detectors",
    "ended",
    "explore_url",
    "gates",
    "held_back",
    "id",
    "incident_url",
    "key",
    "kind",
    "labels",
    "logcli",
    "members",
    "owner",
    "place",
    "query",
    "reason",
    "runbook_url",
    "samples",
    "score",
    "severity",
    "sign",
    "size",
    "state",
    "sure",
    "title",
    "watch",
    "when",
    "why",
];

/// Templates of one receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// For the title: a chat message's first line, a mail's subject.
    pub title: Option<String>,
    /// For the text, instead of rows, details, members and samples.
    pub text: Option<String>,
}

impl Template {
    /// The title in the user's words.
    #[must_use]
    pub fn title(&self, said: &Message, inline: fn(&str, usize) -> String) -> Option<String> {
        let title = told("title", render(self.title.as_deref()?, said, "", inline, TITLE))?;
        // A title is one line, whatever the template's line breaks are.
        Some(title.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The text in the user's words.
    #[must_use]
    pub fn text(&self, said: &Message, inline: fn(&str, usize) -> String) -> Option<String> {
        told("text", render(self.text.as_deref()?, said, "", inline, TEXT)).map(|text| text.trim().to_owned())
    }

    /// What is wrong with the templates, as pairs of a key and what to do.
    #[must_use]
    pub fn wrong(&self) -> Vec<(&'static str, String)> {
        let both = [("title", &self.title), ("text", &self.text)];
        both.into_iter().filter_map(|(key, source)| Some((key, wrong(source.as_deref()?)?))).collect()
    }
}

/// The body of a request: each value is written as JSON, so `{{ title }}` stands without quotes.
#[must_use]
pub fn body(source: &str, said: &Message, key: &str) -> Option<String> {
    let mut made = environment(AutoEscape::Json);
    let body = made.add_template("template", source).and_then(|()| run(&made, said, key));
    told("body", body.and_then(|body| limited(body, BODY)))
}

/// What is wrong with a template: its line and what to do. `None` when nothing is.
#[must_use]
pub fn wrong(source: &str) -> Option<String> {
    let mut made = environment(AutoEscape::None);
    if let Err(error) = made.add_template("template", source) {
        return Some(explain(&error));
    }
    let template = made.get_template("template").ok()?;
    let mut unknown: Vec<String> =
        template.undeclared_variables(false).into_iter().filter(|name| !known(&made, name)).collect();
    unknown.sort();
    if let Some(name) = unknown.first() {
        let near = NAMES.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
        let near = near.filter(|known| strsim::damerau_levenshtein(known, name) <= 2);
        let meant = near
            .map(|near| format!("did you mean `{near}`?"))
            .unwrap_or_else(|| format!("known: {}", NAMES.join(", ")));
        return Some(format!("line {}: `{name}` is nothing that a message has; {meant}", line_of(source, name)));
    }
    // What names no filter or function that there is shows only when it runs; anything else depends on the message.
    let tried =
        template.render(context! { title => "", why => [""], samples => [""], members => [""], common => [""] });
    let error = tried.err()?;
    let unknown =
        matches!(error.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction);
    unknown.then(|| explain(&error))
}

fn known(made: &Environment<'_>, name: &str) -> bool {
    NAMES.contains(&name) || made.globals().any(|(global, _)| global == name)
}

fn line_of(source: &str, name: &str) -> usize {
    source.lines().position(|line| line.contains(name)).map_or(1, |index| index + 1)
}

fn explain(error: &Error) -> String {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!(
        "{line}is no template that can be used ({}{detail}); write it like `{{{{ title }}}}`, or leave it out",
        error.kind()
    )
}

/// Says in the log that a template failed; the built-in text is sent then.
fn told(what: &str, made: Result<String, Error>) -> Option<String> {
    match made {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(text),
        Err(error) => {
            let detail = error.detail().unwrap_or_default();
            tracing::warn!("the template of {what} failed, the built-in text is sent: {} {detail}", error.kind());
            None
        }
    }
}

fn render(
    source: &str,
    said: &Message,
    key: &str,
    inline: fn(&str, usize) -> String,
    max: usize,
) -> Result<String, Error> {
    let mut made = environment(AutoEscape::Custom("markup".into()));
    made.set_formatter(move |out, _, value| {
        let text = match value {
            value if value.is_none() || value.is_undefined() => String::new(),
            value if value.is_safe() => value.to_string(),
            value => inline(&value.to_string(), VALUE),
        };
        Ok(out.write_str(&text)?)
    });
    made.add_template("template", source)?;
    run(&made, said, key).and_then(|text| limited(text, max))
}

fn limited(text: String, max: usize) -> Result<String, Error> {
    if text.chars().count() > max {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("it made more than {max} characters")));
    }
    Ok(text)
}

/// No loader, so nothing is included from anywhere; no `safe`, so nothing goes out unescaped.
fn environment(escape: AutoEscape) -> Environment<'static> {
    let mut made = Environment::new();
    made.set_fuel(Some(FUEL));
    made.set_recursion_limit(50);
    made.set_undefined_behavior(UndefinedBehavior::Chainable);
    made.remove_filter("safe");
    made.set_auto_escape_callback(move |_| escape.clone());
    made
}

fn run(made: &Environment<'_>, said: &Message, key: &str) -> Result<String, Error> {
    made.get_template("template")?.render(fields(said, key))
}

fn fields(said: &Message, key: &str) -> Value {
    let url = |url: Option<&str>| url.and_then(escape::url).map(Value::from_safe_string);
    let why: Vec<Value> = said
        .why
        .iter()
        .map(|reason| context! { words => reason.words(), all_words => reason.all_words(), ..Value::from(Serde(reason)) })
        .collect();
    context! {
        key => key,
        state => said.state(),
        sign => said.sign().to_string(),
        reason => said.reason(),
        sure => said.sure(),
        why => why,
        query => said.query.as_ref().map(|query| query.logql.clone()),
        logcli => said.query.as_ref().map(|query| query.logcli.clone()),
        incident_url => url(said.links.incident.as_deref()),
        explore_url => url(said.links.explore.as_deref()),
        runbook_url => url(said.runbook.as_deref()),
        ..Value::from(Serde(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture;
    use crate::notify::render::message;

    fn text(source: &str, transition: crate::incident::Transition) -> Option<String> {
        let template = Template { title: None, text: Some(source.to_owned()) };
        template.text(&message(&fixture::notification(transition, "x")), escape::mrkdwn)
    }

    #[test]
    fn the_template_is_markup_and_values_are_escaped() {
        let source = "*{{ state }}* {{ title }} <{{ incident_url }}|look>\n{% for one in why %}{{ loop.index }}. {{ one.words }}\n{% endfor %}{{ samples[0].text }}";
        insta::assert_snapshot!(text(source, fixture::opened()).unwrap(), @r#"
        *CRITICAL* cart: more errors than usual <https://sigyn.example.com/incidents/00c0ffee00c0ffee|look>
        1. errors 48, expected 0 to 3
        2. different messages 131, expected 20 to 42.5
        3. rate 20.1 lines/s, expected 4 to 9.25
        4. line length 214 bytes, expected 80 to 220
        level=error msg="payment gateway timeout" order=&lt;*&gt;
        "#);
        let hostile =
            text("{{ title }} {{ title|upper }} {% set t = title %}{{ t }}", fixture::hostile("<!channel> {{ id }}"));
        assert!(!hostile.as_deref().unwrap().contains('<'), "{hostile:?}");
        assert_eq!(hostile.unwrap().matches("{{ id }}").count(), 2, "log text is no template");
    }

    #[test]
    fn what_fails_falls_back() {
        for source in [
            "{{ title|nothing }}",
            "{{ 1 // 0 }}",
            "{% for a in range(100000) %}x{% endfor %}",
            "{{ title|safe }}",
            " ",
        ] {
            assert_eq!(text(source, fixture::opened()), None, "{source}");
        }
        // What an incident does not have is nothing.
        assert_eq!(text("a{{ why[0].seen }}{{ query }}b", fixture::internal()).as_deref(), Some("ab"));
    }

    #[test]
    fn every_field_has_a_name() {
        let said = message(&fixture::notification(fixture::opened(), "x"));
        let fields = fields(&said, "k");
        let names: Vec<String> = fields.try_iter().unwrap().map(|name| name.to_string()).collect();
        for name in &names {
            assert!(NAMES.contains(&name.as_str()) || ["links", "runbook"].contains(&name.as_str()), "{name}");
        }
        assert!(NAMES.iter().all(|name| names.iter().any(|known| known == name)), "{names:?}");
    }

    #[test]
    fn mistakes_say_the_line_and_what_to_do() {
        let said: Vec<String> = ["ok\n{{ titel }}", "a\n\n{% if x %}", "{{ title|nix }}", "{{ zzzzzzzz }}"]
            .iter()
            .map(|source| wrong(source).unwrap())
            .collect();
        insta::assert_snapshot!(said.join("\n"), @r#"
        line 2: `titel` is nothing that a message has; did you mean `title`?
        line 3: is no template that can be used (syntax error: unexpected end of input, expected end of block); write it like `{{ title }}`, or leave it out
        line 1: is no template that can be used (unknown filter: filter nix is unknown); write it like `{{ title }}`, or leave it out
        line 1: `zzzzzzzz` is nothing that a message has; known: bars, care, common, coverage, detail, detectors, ended, explore_url, gates, held_back, id, incident_url, key, kind, labels, logcli, members, owner, place, query, reason, runbook_url, samples, score, severity, sign, size, state, sure, title, watch, when, why
        "#);
        for good in
            ["plain", "{{ title|upper }}", "{% for one in why %}{{ one.seen }}{% endfor %}", "{{ why[0].line.x }}"]
        {
            assert_eq!(wrong(good), None, "{good}");
        }
    }

    #[test]
    fn a_body_is_json() {
        let said = message(&fixture::notification(fixture::hostile("\" } <b>\n"), "x"));
        let body =
            body("{\"t\": {{ title }}, \"all\": {{ members }}, \"k\": {{ key }}, \"n\": {{ ended }}}", &said, "a/1/x");
        let parsed: serde_json::Value = serde_json::from_str(&body.unwrap()).unwrap();
        assert_eq!(parsed["t"], said.title.as_str());
        assert_eq!((&parsed["k"], &parsed["n"]), (&"a/1/x".into(), &serde_json::Value::Null));
    }
}
