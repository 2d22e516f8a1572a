//! From the layers to [`Settings`]: built-in defaults, then the file, then plain environment names, then `SIGYN__` names.
//!
//! What goes out: the settings with where they came from, or all mistakes at once. A mistake takes its value out of the
//! tree and the rest is looked at again, so that one look shows all.

use std::io::Read;
use std::path::{Path as FilePath, PathBuf};

use config::{Config, ConfigError, Map, Source, Value, ValueKind};
use serde::Deserialize;

use super::Settings;
use super::env::{self, Env};
use super::mistake::{Mistake, Mistakes, Path, Place, Step, nearest, shown};
use super::tree::{Fault, Node, Origin, Origins, json};
use super::{validate, yaml};
use crate::detect::config::{Preset, WindowSpec};

/// The file that is taken when it is there and none is named.
pub const USUAL_FILE: &str = "sigyn.yaml";

/// Window of the preset `classic` when none is set: what such detectors usually take.
const CLASSIC_WINDOW: WindowSpec = WindowSpec::Lines { size: 20, step: 20 };

/// More mistakes than this are not looked for.
const MAX_MISTAKES: usize = 100;

/// Reads the settings, as often as it is asked to.
#[derive(Clone)]
pub struct Loader {
    named: Option<PathBuf>,
    env: Env,
}

/// Settings and where they came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The file that was read; `None`: built-in defaults and the environment only.
    pub file: Option<PathBuf>,
    /// What is no mistake, but probably not what was meant. Hold no secret.
    pub notes: Vec<String>,
    /// Key path and place of each value that was set.
    pub places: Vec<(String, Place)>,
}

impl Loaded {
    /// Says for the log where the settings came from.
    #[must_use]
    pub fn origin(&self) -> String {
        match &self.file {
            Some(path) => format!("settings from {}", path.display()),
            None => format!("built-in settings, as no file is named and there is no ./{USUAL_FILE}"),
        }
    }
}

impl Loader {
    /// A loader for a named file (else [`USUAL_FILE`] when it is there, else the built-in defaults) and an environment.
    #[must_use]
    pub fn new(named: Option<PathBuf>, env: Env) -> Self {
        Self { named: named.filter(|path| !path.as_os_str().is_empty()), env }
    }

    /// The file that is read now.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.named.clone().or_else(|| Some(PathBuf::from(USUAL_FILE)).filter(|path| path.exists()))
    }

    /// Reads everything anew.
    ///
    /// # Errors
    /// All mistakes that there are, in the order of their places.
    pub fn load(&self) -> Result<Loaded, Mistakes> {
        let file = self.file();
        let text = file.as_deref().map(read_file).transpose();
        let text = text.map_err(|mistake| Mistakes(vec![mistake]))?;
        let name = file.as_ref().map_or_else(String::new, |path| path.display().to_string());
        let mut load = Load { name, origins: Origins::default(), mistakes: Vec::new(), seen: Vec::new() };
        let mut root = load.layers(text.as_deref().unwrap_or_default(), &self.env);
        load.drop_weaker(&mut root);
        let settings = load.settings(&mut root);
        let mut notes = env::notes(&self.env, &known_keys());
        if let Some(settings) = &settings {
            load.validate(settings, &root);
            notes.extend(validate::notes(settings));
        }
        load.mistakes.sort();
        load.mistakes.dedup();
        match settings {
            Some(mut settings) if load.mistakes.is_empty() => {
                let places = load.places(&root);
                // The simple detector is one of windows of lines, unless somebody has chosen otherwise.
                if settings.detect.preset == Preset::Classic && !places.iter().any(|(key, _)| key == "detect.window") {
                    settings.detect.window = CLASSIC_WINDOW;
                }
                Ok(Loaded { settings, file, notes, places })
            }
            _ => Err(Mistakes(load.mistakes)),
        }
    }
}

struct Load {
    name: String,
    origins: Origins,
    mistakes: Vec<Mistake>,
    /// Paths of which a mistake is known already.
    seen: Vec<Path>,
}

impl Load {
    /// All layers in one tree, the stronger over the weaker.
    fn layers(&mut self, text: &str, env: &Env) -> Value {
        let mut layers = Vec::new();
        match yaml::read(text, &mut self.origins) {
            Ok(table) => layers.extend(table.into_iter().filter_map(|entry| self.top_level(entry))),
            Err(refused) => {
                let (line, column) = (refused.line, refused.column);
                let place = Place::File { name: self.name.clone(), line, column };
                self.mistakes.push(Mistake { place, key: String::new(), text: refused.text });
            }
        }
        layers.extend(env::read(env, &mut self.origins, &mut self.mistakes));
        let mut builder = Config::builder();
        for (key, value) in layers {
            builder = builder.add_source(Layer { key, value });
        }
        match builder.build() {
            Ok(config) => config.cache,
            Err(error) => {
                let place = Place::Unset;
                self.mistakes.push(Mistake { place, key: String::new(), text: format!("cannot be merged: {error}") });
                Value::new(None, Map::<String, Value>::new())
            }
        }
    }

    /// Keys at the top are paths for config (`a.b`, `a[7]`): what is no word never gets there.
    fn top_level(&mut self, (key, value): (String, Value)) -> Option<(String, Value)> {
        if !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Some((key, value));
        }
        let place = self.place(&value, &Path::of(&key), true);
        self.mistakes.push(Mistake { place, key: shown(&key).to_owned(), text: "no such key".to_owned() });
        None
    }

    /// Of a secret and its `_file` from two layers, the stronger layer counts; both in one layer stay, and are a mistake.
    fn drop_weaker(&self, value: &mut Value) {
        let ValueKind::Table(table) = &mut value.kind else { return };
        let rank = |value: &Value| match self.origins.of(value) {
            Some(Origin::Env(name)) if env::is_own(name) => 2,
            Some(Origin::Env(_)) => 1,
            _ => 0,
        };
        let files: Vec<String> = table.keys().filter(|key| key.ends_with("_file")).cloned().collect();
        for file in files {
            let plain = file.strip_suffix("_file").unwrap_or(&file);
            let ranks = table.get(plain).filter(|value| value.kind != ValueKind::Nil).map(rank);
            match ranks.zip(table.get(&file).filter(|value| value.kind != ValueKind::Nil).map(rank)) {
                Some((value, path)) if value > path => drop(table.remove(&file)),
                Some((value, path)) if value < path => drop(table.remove(plain)),
                _ => {}
            }
        }
        table.values_mut().for_each(|value| self.drop_weaker(value));
    }

    /// The tree as settings; every value that does not fit is a mistake and is taken out.
    fn settings(&mut self, root: &mut Value) -> Option<Settings> {
        for _ in 0..MAX_MISTAKES {
            let node = Node { value: root.clone(), origins: &self.origins };
            let fault = match Settings::deserialize(node) {
                Ok(settings) => return Some(settings),
                Err(fault) => fault,
            };
            let path = Path(fault.path.iter().rev().cloned().collect());
            let place = self.find(root, &path, fault.unknown.is_some());
            let mut text = explain(&path, &fault);
            if matches!(place, Place::Env(_)) && text.starts_with("expected a list") {
                text.push_str("; in the environment a list is one value: JSON, or words with commas between them");
            }
            self.mistakes.push(Mistake { place, key: path.to_string(), text });
            take_out(root, &path.0);
            // What was meant is not missing as well.
            self.seen.extend(meant(&path, &fault));
            self.seen.push(path);
        }
        None
    }

    fn validate(&mut self, settings: &Settings, root: &Value) {
        for finding in validate::findings(settings) {
            let known = |path: &Path| self.seen.iter().any(|seen| seen.touches(path));
            if known(&finding.path) || finding.also.iter().any(known) {
                continue;
            }
            let place = self.find(root, &finding.path, false);
            self.mistakes.push(Mistake { place, key: finding.path.to_string(), text: finding.text });
        }
    }

    /// The place of the value at a path, or of the last one on the way to it.
    fn find(&self, root: &Value, path: &Path, of_key: bool) -> Place {
        let mut value = root;
        let mut way = Path::default();
        for step in &path.0 {
            let next = match (step, &value.kind) {
                (Step::Key(key), ValueKind::Table(table)) => table.get(key),
                (Step::Index(index), ValueKind::Array(items)) => items.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            value = next;
            way.0.push(step.clone());
        }
        // Of a section where a key is missing, its own key is the place.
        let of_key = of_key || (way != *path && !matches!(way.0.last(), Some(Step::Index(_))));
        if way.0.is_empty() { Place::Unset } else { self.place(value, &way, of_key) }
    }

    fn place(&self, value: &Value, path: &Path, of_key: bool) -> Place {
        match self.origins.at(path, value) {
            Some(Origin::Env(name)) => Place::Env(name.clone()),
            Some(Origin::File { key, value, .. }) => {
                let (line, column) = key.filter(|_| of_key).unwrap_or(*value);
                Place::File { name: self.name.clone(), line, column }
            }
            None => Place::Unset,
        }
    }

    fn places(&self, root: &Value) -> Vec<(String, Place)> {
        let mut places = Vec::new();
        self.collect(root, &Path::default(), &mut places);
        places.sort();
        places
    }

    fn collect(&self, value: &Value, path: &Path, places: &mut Vec<(String, Place)>) {
        match &value.kind {
            ValueKind::Table(table) => {
                for (key, value) in table {
                    self.collect(value, &path.key(key), places);
                }
            }
            _ => places.push((path.to_string(), self.place(value, path, true))),
        }
    }
}

/// One key of one layer.
#[derive(Clone)]
struct Layer {
    key: String,
    value: Value,
}

impl std::fmt::Debug for Layer {
    /// Its value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.key)
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok([(self.key.clone(), self.value.clone())].into_iter().collect())
    }
}

/// What is wrong, with the nearest known key when the key is unknown.
fn explain(path: &Path, fault: &Fault) -> String {
    let Some(known) = fault.unknown else { return fault.text.clone() };
    let Some(Step::Key(key)) = path.0.last() else { return fault.text.clone() };
    if let Some(Step::Key(near)) = meant(path, fault).and_then(|path| path.0.last().cloned()) {
        return format!("no such key; did you mean `{near}`?");
    }
    let elsewhere: Vec<String> =
        known_keys().into_iter().filter(|known| known.rsplit('.').next() == Some(key.as_str())).collect();
    match elsewhere.as_slice() {
        [] => format!("no such key; known here: {}", known.join(", ")),
        keys => format!("no such key here; did you mean `{}`?", keys.join("` or `")),
    }
}

/// The known key that is most like an unknown one.
fn meant(path: &Path, fault: &Fault) -> Option<Path> {
    let (Step::Key(key), way) = path.0.split_last()? else { return None };
    let near = nearest(key, fault.unknown?.iter().copied())?;
    Some(Path(way.to_vec()).key(near))
}

/// Key paths of all sections and settings that are not in a list.
pub(super) fn known_keys() -> Vec<String> {
    fn walk(value: &serde_json::Value, prefix: &str, keys: &mut Vec<String>) {
        let serde_json::Value::Object(entries) = value else { return };
        for (key, value) in entries {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            walk(value, &path, keys);
            keys.push(path);
        }
    }
    let mut keys = Vec::new();
    walk(&serde_json::to_value(Settings::default()).unwrap_or_default(), "", &mut keys);
    keys
}

/// Takes the value at a path out of the tree. It always takes something out, so that the next look is at less.
fn take_out(root: &mut Value, path: &[Step]) {
    let Some((last, way)) = path.split_last() else {
        *root = Value::new(None, Map::<String, Value>::new());
        return;
    };
    let mut value = &mut *root;
    for step in way {
        // A list or a section as JSON in one variable.
        if let Some(parsed) = json(value) {
            *value = parsed;
        }
        let next = match (step, &mut value.kind) {
            (Step::Key(key), ValueKind::Table(table)) => table.get_mut(key),
            (Step::Index(index), ValueKind::Array(items)) => items.get_mut(*index),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return take_out(root, way),
        }
    }
    if let Some(parsed) = json(value) {
        *value = parsed;
    }
    let taken = match (last, &mut value.kind) {
        (Step::Key(key), ValueKind::Table(table)) => table.remove(key).is_some(),
        (Step::Index(index), ValueKind::Array(items)) => items
            .get_mut(*index)
            .filter(|item| item.kind != ValueKind::Nil)
            .map(|item| item.kind = ValueKind::Nil)
            .is_some(),
        _ => false,
    };
    if !taken {
        take_out(root, way);
    }
}

fn read_file(path: &FilePath) -> Result<String, Mistake> {
    let name = path.display().to_string();
    let mistake = |text: String| {
        let place = Place::File { name: name.clone(), line: 0, column: 0 };
        Mistake { place, key: String::new(), text }
    };
    let unreadable = |error: std::io::Error| {
        mistake(format!("cannot be read: {error}; it must exist and be readable by sigyn's user"))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > yaml::MAX_BYTES {
        return Err(mistake(format!("is longer than {} bytes, so it is no settings file", yaml::MAX_BYTES)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|b| **b == b'\n').count() + 1;
        mistake(format!("is not UTF-8 text (line {line}), so it is no settings file"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detect::config::WindowSpec;
    use crate::time::Span;

    /// What a file and an environment give; `{dir}` in the outcome is the folder of the file.
    fn load(yaml: &str, env: &[(&str, &str)]) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sigyn.yaml");
        std::fs::write(&file, yaml).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Loader::new(Some(file), env)
            .load()
            .map_err(|mistakes| mistakes.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    fn wrong(yaml: &str, env: &[(&str, &str)]) -> String {
        load(yaml, env).unwrap_err()
    }

    #[test]
    fn the_simple_detector_takes_windows_of_lines_unless_told_otherwise() {
        for (yaml, env, window) in [
            ("detect: {preset: classic}", vec![], "20 lines"),
            ("detect: {preset: classic, window: 1m}", vec![], "1m"),
            ("detect: {preset: classic}", vec![("WINDOW_SIZE", "50")], "50 lines"),
            ("{}", vec![], "1m"),
        ] {
            assert_eq!(load(yaml, &env).unwrap().settings.detect.window.to_string(), window, "{yaml}");
        }
    }

    #[test]
    fn the_built_in_file_says_what_the_defaults_say() {
        let settings = load(super::super::DEFAULTS, &[]).unwrap().settings;
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn the_built_in_file_names_every_key_and_its_examples_are_right() {
        for key in known_keys() {
            let name = key.rsplit('.').next().unwrap();
            let named = |line: &str| line.trim_start().trim_start_matches('#').starts_with(&format!("{name}:"));
            assert!(super::super::DEFAULTS.lines().any(named), "{key} is not in config/sigyn.yaml");
        }
        // A setting that is commented out has no blank behind its `#`; the lines of a list have two or more.
        let examples: Vec<String> = super::super::DEFAULTS
            .lines()
            .skip_while(|line| !line.is_empty())
            .filter(|line| *line != "watches: []")
            .map(|line| match line.trim_start().strip_prefix('#') {
                Some(rest) if rest.starts_with("  ") || !rest.starts_with(' ') => line.replacen('#', "", 1),
                _ => line.to_owned(),
            })
            .collect();
        let text = wrong(&examples.join("\n"), &[]);
        assert!(!text.contains("no such key") && !text.contains("expected"), "{text}");
        assert!(text.contains("both password and password_file are set"), "{text}");
    }

    #[test]
    fn an_empty_file_and_empty_sections_are_the_defaults() {
        for yaml in ["", "# nothing\n", "---\n", "loki:\nnotify:\n  slack:\n  external_labels:\nwatches:\n", "{}"] {
            assert_eq!(load(yaml, &[]).unwrap().settings, Settings::default(), "{yaml:?}");
        }
    }

    #[test]
    fn layers_win_in_their_order() {
        let yaml = "loki: {url: 'http://file', org_id: file}\ncollect: {interval: 1m}";
        let check = |env: &[(&str, &str)], url: &str| assert_eq!(load(yaml, env).unwrap().settings.loki.url, url);
        check(&[], "http://file");
        check(&[("LOKI_URL", "http://plain")], "http://plain");
        check(&[("LOKI_URL", "http://plain"), ("SIGYN__LOKI__URL", "http://own")], "http://own");
        check(&[("sigyn__loki__url", "http://lower")], "http://lower");
        check(&[("LOKI_URL", ""), ("SIGYN__LOKI__URL", "  ")], "http://file");
        check(&[("SIGYN__LOKI", r#"{"url": "http://json"}"#)], "http://json");
        let both = load(yaml, &[("SIGYN__LOKI__URL", "http://own")]).unwrap().settings;
        assert_eq!((both.loki.org_id.as_deref(), both.collect.interval), (Some("file"), Span::minutes(1)));
    }

    #[test]
    fn a_secret_of_a_stronger_layer_replaces_the_file_of_a_weaker_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token").display().to_string();
        std::fs::write(&file, "t").unwrap();
        let yaml = format!("notify: {{github: {{token_file: '{file}', repo: a/b}}}}");
        let github = |yaml: &str, env: &[(&str, &str)]| {
            let github = load(yaml, env).unwrap().settings.notify.github;
            (github.token.is_some(), github.token_file.is_some())
        };
        assert_eq!(github(&yaml, &[]), (false, true));
        assert_eq!(github(&yaml, &[("GITHUB_TOKEN", "t")]), (true, false));
        let env = [("GITHUB_TOKEN", "t"), ("SIGYN__NOTIFY__GITHUB__TOKEN_FILE", file.as_str())];
        assert_eq!(github("", &env), (false, true));
        let both = wrong(&yaml.replace("repo", "token: t, repo"), &[]);
        assert!(both.contains("notify.github.token: both token and token_file are set; keep one"), "{both}");
    }

    #[test]
    fn plain_names_have_their_units() {
        let set = |name, value| load("", &[(name, value)]).unwrap().settings;
        for (text, window) in [("20", "20 lines"), ("1m", "1m"), ("20 lines step 5", "20 lines step 5")] {
            assert_eq!(set("WINDOW_SIZE", text).detect.window, window.parse::<WindowSpec>().unwrap());
        }
        for (text, seconds) in [("15", 15), ("2m", 120)] {
            assert_eq!(set("POLL_INTERVAL", text).collect.interval, Span::seconds(seconds));
        }
        for (text, minutes) in [("90", 90), ("6h", 360)] {
            assert_eq!(set("LOOKBACK_MINUTES", text).collect.learn_lookback, Span::minutes(minutes));
        }
        assert_eq!(set("SLACK_WEBHOOK_URL", "https://x").notify.slack.webhook_url.unwrap().expose(), "https://x");
        let env = [("GITHUB_TOKEN", "t"), ("GITHUB_REPO", "a/b"), ("GITHUB_API_URL", "https://ghe/api/v3")];
        let github = load("", &env).unwrap().settings.notify.github;
        assert_eq!((github.repo.as_deref(), github.api_url.as_str()), (Some("a/b"), "https://ghe/api/v3"));
        assert_eq!(github.token.unwrap().expose(), "t");
    }

    #[test]
    fn each_field_gets_what_it_asks_for() {
        let env = [
            ("SIGYN__LOKI__USERNAME", "007"),
            ("SIGYN__LOKI__PASSWORD", "12345"),
            ("SIGYN__LOKI__GZIP", "true"),
            ("SIGYN__DETECT__SEED", "7"),
            ("SIGYN__DETECT__FALSE_ALERTS_PER_DAY", "2"),
            ("SIGYN__NOTIFY__GITHUB__LABELS", "a, b"),
            ("SIGYN__NOTIFY__EXTERNAL_LABELS__CLUSTER", "1"),
            ("SIGYN__WATCHES", r#"[{"name": "x", "query": "{a=\"b\"}", "group_by": ["app"]}]"#),
        ];
        let settings = load("", &env).unwrap().settings;
        assert_eq!(settings.loki.username.as_deref(), Some("007"));
        assert_eq!(settings.loki.password.unwrap().expose(), "12345");
        assert!(settings.loki.gzip);
        assert_eq!((settings.detect.seed, settings.detect.false_alerts_per_day), (7, 2.0));
        assert_eq!(settings.notify.github.labels, ["a", "b"]);
        assert_eq!(settings.notify.external_labels.get("cluster"), Some("1"));
        assert_eq!(settings.watches[0].group_by, ["app"]);
        let json = load("", &[("SIGYN__NOTIFY__GITHUB__LABELS", r#"["a,b ", "c"]"#)]);
        insta::assert_snapshot!(json.unwrap_err(), @"
        1 mistake in the settings:
          SIGYN__NOTIFY__GITHUB__LABELS: notify.github.labels[0]: must be 1 to 50 characters without commas
        ");
        let yaml = "loki: {username: 007, password: 1.50}\nnotify: {external_labels: {_1: true}}";
        let settings = load(yaml, &[]).unwrap().settings;
        assert_eq!(settings.loki.username.as_deref(), Some("007"));
        assert_eq!(settings.loki.password.unwrap().expose(), "1.50");
        assert_eq!(settings.notify.external_labels.get("_1"), Some("true"));
    }

    #[test]
    fn a_bad_value() {
        insta::assert_snapshot!(wrong("collect:\n  interval: soon\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:13: collect.interval: `soon` is no duration; write it like 30s, 5m, 1h30m or 7d
        ");
    }

    #[test]
    fn an_unknown_key() {
        insta::assert_snapshot!(wrong("loki:\n  timout: 3s\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:3: loki.timout: no such key; did you mean `timeout`?
        ");
        insta::assert_snapshot!(wrong("slack:\n  webhook_url: https://secret\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:1:1: slack: no such key here; did you mean `notify.slack`?
        ");
        insta::assert_snapshot!(wrong("loki:\n  interval: 1m\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:3: loki.interval: no such key here; did you mean `collect.interval` or `notify.heartbeat.interval`?
        ");
        insta::assert_snapshot!(wrong("zzz: 1\na.b: 2\n\"watches[99999999999]\": 3\n", &[]), @"
        3 mistakes in the settings:
          sigyn.yaml:1:1: zzz: no such key; known here: loki, watches, collect, detect, incident, notify, remediate, store, http, telemetry
          sigyn.yaml:2:1: a.b: no such key
          sigyn.yaml:3:1: (not shown): no such key
        ");
    }

    #[test]
    fn all_mistakes_at_once() {
        let yaml = r#"
loki:
  url: loki:3100
  username: me
  gzip: maybe
collect:
  eval_delay: 7h
  limit: many
  audit_every: -1
watches:
  - name: a
    query: sum(rate({a="b"}[1m]))
    window: 1 rows
  - just text
  - name: a
    qury: '{app="x"}'
    labels: {no-label: 1}
detect:
  preset: clasic
  warm_up: 10000
incident: 5
http:
  listen: 9477
notify:
  github: {repo: shop}
telemetry: [info]
"#;
        insta::assert_snapshot!(wrong(yaml, &[("SIGYN__DETECT__KIND", "tree")]), @r#"
        20 mistakes in the settings:
          sigyn.yaml:3:8: loki.url: `loki:` is not http or https; write it like http://loki:3100
          sigyn.yaml:4:13: loki.username: needs password or password_file
          sigyn.yaml:5:9: loki.gzip: expected true or false, found a text
          sigyn.yaml:7:15: collect.eval_delay: must be shorter than collect.max_lag (6h), or nothing is ever read
          sigyn.yaml:8:10: collect.limit: expected a whole number from 0 to 4294967295, found a text
          sigyn.yaml:9:16: collect.audit_every: expected a whole number from 0 to 4294967295, found -1
          sigyn.yaml:12:12: watches[0].query: must be a LogQL selector with optional line filters, such as `{app="cart"} != "healthz"`; metric queries are made by sigyn itself
          sigyn.yaml:13:13: watches[0].window: `1 rows` is no window; write a length of time from 1s (`1m`) or lines from 1 to 10000 (`20 lines`, `20 lines step 5`)
          sigyn.yaml:14:5: watches[1]: expected a section with keys, found a text
          sigyn.yaml:15:11: watches[2].name: `a` is the name of another watch; names must be unique
          sigyn.yaml:16:5: watches[2].qury: no such key; did you mean `query`?
          sigyn.yaml:17:13: watches[2].labels: `no-label` is no name of a label: letters, digits and _ only
          sigyn.yaml:19:11: detect.preset: `clasic` is not one of: standard, classic; did you mean `classic`?
          sigyn.yaml:20:12: detect.warm_up: must be at most history (2880), or nothing is ever judged
          sigyn.yaml:21:11: incident: expected a section with keys, found a number
          sigyn.yaml:23:11: http.listen: this is no address with a port; write it like 0.0.0.0:9477 or [::]:9477
          sigyn.yaml:25:18: notify.github.repo: must be owner/name, such as acme/shop
          sigyn.yaml:25:18: notify.github.repo: needs token or token_file
          sigyn.yaml:26:12: telemetry: expected a section with keys, found a list
          SIGYN__DETECT__KIND: detect.kind: `tree` is not one of: auto, none, forest, extended
        "#);
    }

    #[test]
    fn mistakes_in_the_environment_name_the_variable() {
        let env = [
            ("SIGYN__LOKI__TIMOUT", "3s"),
            ("SIGYN__COLLECT__LIMIT", "many"),
            ("POLL_INTERVAL", "often"),
            ("WINDOW_SIZE", "0"),
            ("GITHUB_REPO", "shop"),
            ("SIGYN__WATCHES__0__QUERY", "{}"),
            ("SIGYN__NOTIFY__SLACK", "https://secret"),
            ("SIGYN____URL", "x"),
        ];
        insta::assert_snapshot!(wrong("", &env), @"
        9 mistakes in the settings:
          GITHUB_REPO: notify.github.repo: must be owner/name, such as acme/shop
          GITHUB_REPO: notify.github.repo: needs token or token_file
          POLL_INTERVAL: collect.interval: `often` is no duration; write it like 30s, 5m, 1h30m or 7d
          SIGYN__COLLECT__LIMIT: collect.limit: expected a whole number from 0 to 4294967295, found a text
          SIGYN__LOKI__TIMOUT: loki.timout: no such key; did you mean `timeout`?
          SIGYN__NOTIFY__SLACK: notify.slack: expected a section with keys, found a text
          SIGYN__WATCHES__0__QUERY: watches: expected a list, found keys with values; in the environment a list is one value: JSON, or words with commas between them
          SIGYN____URL: no such key; write it as SIGYN__SECTION__KEY, such as SIGYN__LOKI__URL
          WINDOW_SIZE: detect.window: `0 lines` is no window; write a length of time from 1s (`1m`) or lines from 1 to 10000 (`20 lines`, `20 lines step 5`)
        ");
        let env = [("SIGYN__WATCHES", r#"[{"name": 1, "qury": "x", "interval": "y"}, 7]"#)];
        insta::assert_snapshot!(wrong("", &env), @"
        3 mistakes in the settings:
          SIGYN__WATCHES: watches[0].interval: `y` is no duration; write it like 30s, 5m, 1h30m or 7d
          SIGYN__WATCHES: watches[0].qury: no such key; did you mean `query`?
          SIGYN__WATCHES: watches[1]: expected a section with keys, found a number
        ");
    }

    #[test]
    fn broken_yaml_names_line_and_column() {
        insta::assert_snapshot!(wrong("loki:\n  url: http://x\n  url: http://y\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:3:3: this is not YAML: duplicated key in mapping
        ");
        insta::assert_snapshot!(wrong("loki:\n\turl: x\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:2: this is not YAML: tabs disallowed within this context (block indentation)
        ");
        insta::assert_snapshot!(wrong("loki: {url: x\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:2:1: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'
        ");
        insta::assert_snapshot!(wrong("- a\n- b\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:1:1: expected keys such as `loki:` at the top of the file
        ");
        insta::assert_snapshot!(wrong("loki:\n---\nloki:\n", &[]), @"
        1 mistake in the settings:
          sigyn.yaml:3:1: a second document; put all settings in one
        ");
        insta::assert_snapshot!(wrong(&format!("{}a", "- ".repeat(100_000)), &[]), @"
        1 mistake in the settings:
          sigyn.yaml:1:1: nested more than 200 levels deep
        ");
        insta::assert_snapshot!(wrong(&"[".repeat(100_000), &[]), @"
        1 mistake in the settings:
          sigyn.yaml:1:256: this is not YAML: recursion limit exceeded
        ");
    }

    #[test]
    fn a_file_that_is_no_settings_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("binary"), [b'a', b'\n', 0xff, 0xfe, 0]).unwrap();
        std::fs::write(at("nul"), [0, 1, 2, 3]).unwrap();
        std::fs::write(at("long"), vec![b'#'; yaml::MAX_BYTES + 1]).unwrap();
        let try_file = |name: &str| {
            let mistakes = Loader::new(Some(at(name)), Env::new()).load().unwrap_err();
            mistakes.to_string().replace(&format!("{}", folder.path().display()), "")
        };
        insta::assert_snapshot!(try_file("none"), @"
        1 mistake in the settings:
          /none: cannot be read: No such file or directory (os error 2); it must exist and be readable by sigyn's user
        ");
        insta::assert_snapshot!(try_file("."), @"
        1 mistake in the settings:
          /.: cannot be read: Is a directory (os error 21); it must exist and be readable by sigyn's user
        ");
        insta::assert_snapshot!(try_file("binary"), @"
        1 mistake in the settings:
          /binary: is not UTF-8 text (line 2), so it is no settings file
        ");
        insta::assert_snapshot!(try_file("nul"), @"
        1 mistake in the settings:
          /nul:1:1: this is not YAML: found unprintable character
        ");
        insta::assert_snapshot!(try_file("long"), @"
        1 mistake in the settings:
          /long: is longer than 1048576 bytes, so it is no settings file
        ");
    }

    #[test]
    fn secrets_never_show() {
        const SECRET: &str = "hunter2hunter2";
        let at: [(&str, &str); 8] = [
            ("loki: {password: [S]}", ""),
            ("loki: {password: {S: 1}, headers: {X-Key: \"S\\nx\"}}", ""),
            ("loki: {url: 'http://me:S@loki'}", ""),
            ("loki: {url: 'me:S@loki:3100:x'}", ""),
            ("loki: S\nnotify: {slack: S, github: [S], heartbeat: {url: S}}", ""),
            ("notify: {slack: {webhook_url: S, 'https://S': 1}}", ""),
            ("", "SLACK_WEBHOOK_URL"),
            ("", "SIGYN__NOTIFY__SLACK"),
        ];
        for (yaml, name) in at {
            let env = if name.is_empty() { vec![] } else { vec![(name, SECRET)] };
            let text = wrong(&yaml.replace('S', SECRET), &env);
            assert!(!text.contains(SECRET), "{text}");
        }
        let loaded =
            load(&format!("notify: {{slack: {{webhook_url: 'https://{SECRET}'}}}}"), &[("GITHUB_TOKEN", SECRET)]);
        let loaded = loaded.unwrap();
        let shown = format!("{loaded:?}{}", super::super::print::effective(&loaded));
        assert!(!shown.contains(SECRET), "{shown}");
    }

    #[test]
    fn notes_say_what_may_not_be_meant() {
        let env = [("SIGYN_LOKI_URL", "x"), ("SIGYN_SERVICE_HOST", "10.0.0.1"), ("GITHUB_TOKEN", "t")];
        let notes = load("loki: {url: 'http://loki', bearer_token: x}", &env).unwrap().notes;
        insta::assert_snapshot!(notes.join("\n"), @"
        SIGYN_LOKI_URL is ignored; did you mean SIGYN__LOKI__URL (two underscores between the parts)?
        a GitHub token is set but no notify.github.repo: no issues are made
        neither Slack nor GitHub is set: incidents go to the remediation log only
        loki.url is http: the credentials go over the network in clear text
        ");
    }

    #[test]
    fn settings_in_force_read_back_the_same() {
        let yaml = r#"
loki: {url: "http://loki:3100", org_id: "12345", headers: {X-A: b}}
watches:
  - {name: "a: b", query: '{app="x"}', group_by: [app], labels: {team: "yes", n: "1"}, interval: 10s}
notify: {external_labels: {cluster: eu-1}}
"#;
        let loaded = load(yaml, &[("WINDOW_SIZE", "20")]).unwrap();
        let printed = super::super::print::effective(&loaded);
        let again = load(&printed.replace("\"[secret]\"", "b"), &[]).unwrap();
        assert_eq!(again.settings, loaded.settings);
        let start = printed.lines().skip(1).take_while(|line| *line != "collect:").collect::<Vec<_>>().join("\n");
        let start = regex::Regex::new("# /.*/").unwrap().replace_all(&start, "# ");
        insta::assert_snapshot!(start, @r#"
        loki:
          url: http://loki:3100  # sigyn.yaml:2:8
          org_id: "12345"  # sigyn.yaml:2:33
          username: null
          password: null
          password_file: null
          bearer_token: null
          bearer_token_file: null
          headers:
            X-A: "[secret]"  # sigyn.yaml:2:60
          ca_file: null
          cert_file: null
          key_file: null
          timeout: 35s
          gzip: false
        watches:  # sigyn.yaml:3:1
          - name: "a: b"
            query: "{app=\"x\"}"
            org_id: null
            interval: 10s
            eval_delay: null
            window: null
            group_by: [app]
            labels:
              n: "1"
              team: yes
            owner: null
            runbook_url: null
        "#);
        assert!(printed.contains("\n  window: \"20 lines\"  # WINDOW_SIZE\n"), "{printed}");
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "\\PC{0,200}", bits in "[-?:,\\[\\]{}#&*!|>'\"%@` \\n\ta-c0-2~.]{0,80}") {
            let _ = load(&text, &[]);
            let _ = load(&bits, &[("SIGYN__WATCHES", &text), ("SIGYN__LOKI", &bits)]);
        }

        #[test]
        fn any_values_at_known_keys_give_an_answer(
            parts in proptest::collection::vec((any::<prop::sample::Index>(), "[-?:,\\[\\]{}'\" \\n\ta-c0-9~.]{0,20}"), 1..8)
        ) {
            let known = known_keys();
            let env: Vec<(String, String)> = parts
                .iter()
                .map(|(key, value)| {
                    let key = key.get(&known).replace('.', "__").to_uppercase();
                    (format!("SIGYN__{key}"), value.clone())
                })
                .collect();
            let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let _ = load("", &env);
        }
    }
}
