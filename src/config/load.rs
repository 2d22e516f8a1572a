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
        self.load_text(file, text.as_deref().unwrap_or_default())
    }

    /// Settings of a text that stands in `file`, with those of the environment over them.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_text(&self, file: Option<PathBuf>, text: &str) -> Result<Loaded, Mistakes> {
        let name = file.as_ref().map_or_else(String::new, |path| path.display().to_string());
        let mut load = Load { name, origins: Origins::default(), mistakes: Vec::new(), seen: Vec::new() };
        let mut root = load.layers(text, &self.env);
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
            // What was taken out of a list can fail again; then the list goes.
            if !self.seen.contains(&path) {
                self.mistakes.push(Mistake { place, key: path.to_string(), text });
            }
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
            .map(|item| *item = Value::new(None, ValueKind::Nil))
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
mod tests;
