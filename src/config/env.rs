//! What of the environment is a setting: `SIGYN__SECTION__KEY`, and a few plain names that other tools know too.
//!
//! The environment is an argument; no process environment is read here. Empty values count as unset.

use std::collections::BTreeMap;

use config::{Environment, Source, Value};

use super::mistake::{Mistake, Place, nearest, shown};
use super::tree::{Origin, Origins};

/// Names and values of an environment.
pub type Env = BTreeMap<String, String>;

const PREFIX: &str = "SIGYN";
const SEPARATOR: &str = "__";

/// How the value of a plain name becomes the value of its key.
type Unit = fn(&str) -> String;

/// Plain names, the keys that they set, and how their value is read.
const PLAIN: [(&str, &str, Unit); 10] = [
    ("LOKI_URL", "loki.url", str::to_owned),
    ("SLACK_WEBHOOK_URL", "notify.slack.webhook_url", str::to_owned),
    ("SLACK_BOT_TOKEN", "notify.slack.bot_token", str::to_owned),
    ("SLACK_CHANNEL", "notify.slack.channel", str::to_owned),
    ("GITHUB_TOKEN", "notify.github.token", str::to_owned),
    ("GITHUB_REPO", "notify.github.repo", str::to_owned),
    ("GITHUB_API_URL", "notify.github.api_url", str::to_owned),
    ("WINDOW_SIZE", "detect.window", |text| with_unit(text, " lines")),
    ("POLL_INTERVAL", "collect.interval", |text| with_unit(text, "s")),
    ("LOOKBACK_MINUTES", "collect.learn_lookback", |text| with_unit(text, "m")),
];

/// A bare number gets the unit that the name implies; `30s` stays what it is.
fn with_unit(text: &str, unit: &str) -> String {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}{unit}") } else { text.to_owned() }
}

/// The settings in the environment as key path and value, the stronger later: plain names, then `SIGYN__` names.
pub(super) fn read(env: &Env, origins: &mut Origins, mistakes: &mut Vec<Mistake>) -> Vec<(String, Value)> {
    let set = |name: &str| env.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let mut found: Vec<(String, Value)> = PLAIN
        .iter()
        .filter_map(|(name, key, read)| Some((name, key, read(set(name)?))))
        .map(|(name, key, text)| {
            let origin = origins.add(Origin::Env((*name).to_owned()));
            ((*key).to_owned(), Value::new(Some(&origin), text))
        })
        .collect();

    let names: BTreeMap<String, &String> = env.keys().filter_map(|name| Some((key_of(name)?, name))).collect();
    let source = names.values().filter_map(|name| Some(((*name).clone(), set(name)?.to_owned()))).collect();
    let source = Environment::with_prefix(PREFIX).separator(SEPARATOR).ignore_empty(true).source(Some(source));
    // It fails on values that are not Unicode only, and these are.
    let mut values: Vec<(String, Value)> = source.collect().unwrap_or_default().into_iter().collect();
    // A section as JSON first, single keys of it after.
    values.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (key, value) in values {
        let Some(name) = names.get(&key) else { continue };
        if is_path(&key) {
            let origin = origins.add(Origin::Env((*name).clone()));
            found.push((key, Value::new(Some(&origin), value.kind)));
        } else {
            let text = "no such key; write it as SIGYN__SECTION__KEY, such as SIGYN__LOKI__URL".to_owned();
            mistakes.push(Mistake { place: Place::Env(shown(name).to_owned()), key: String::new(), text });
        }
    }
    found
}

/// What a person may want to know of names that look like settings and are none.
pub(super) fn notes(env: &Env, known: &[String]) -> Vec<String> {
    let single: BTreeMap<String, &String> = known.iter().map(|key| (key.replace('.', "_"), key)).collect();
    env.keys()
        .filter(|name| key_of(name).is_none())
        .filter_map(|name| Some((name, name.to_lowercase().strip_prefix("sigyn_")?.to_owned())))
        .filter_map(|(name, rest)| {
            let near = nearest(&rest, single.keys().map(String::as_str))?;
            let key = single.get(near)?;
            let right = format!("{PREFIX}{SEPARATOR}{}", key.replace('.', SEPARATOR).to_uppercase());
            Some(format!("{name} is ignored; did you mean {right} (two underscores between the parts)?"))
        })
        .collect()
}

/// Whether it is a `SIGYN__` name, the strongest layer.
pub(super) fn is_own(name: &str) -> bool {
    key_of(name).is_some()
}

fn key_of(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    lower.strip_prefix("sigyn__").map(|rest| rest.replace(SEPARATOR, "."))
}

fn is_path(key: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    key.split('.').all(word)
}
