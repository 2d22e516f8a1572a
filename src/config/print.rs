//! Settings in force as YAML: every key, secrets masked, each set value with the place that set it.

use std::collections::BTreeMap;

use saphyr::{LoadableYamlNode, Scalar, Yaml};

use super::load::Loaded;

/// The settings in force as a settings file.
#[must_use]
pub fn effective(loaded: &Loaded) -> String {
    // JSON is YAML, and it keeps the order of the fields.
    let json = serde_json::to_string(&loaded.settings).unwrap_or_default();
    let documents = Yaml::load_from_str(&json).unwrap_or_default();
    let places = loaded.places.iter().map(|(key, place)| (key.as_str(), place.to_string())).collect();
    let mut printer = Printer { out: format!("# {}\n", loaded.origin()), places };
    if let Some(Yaml::Mapping(sections)) = documents.first() {
        printer.entries(sections, 0, "");
    }
    printer.out
}

struct Printer<'a> {
    out: String,
    places: BTreeMap<&'a str, String>,
}

impl Printer<'_> {
    fn entries(&mut self, entries: &saphyr::Mapping<'_>, indent: usize, path: &str) {
        for (key, value) in entries {
            let key = key.as_str().unwrap_or_default();
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            self.out.push_str(&format!("{:indent$}{}:", "", plain(key)));
            self.value(value, indent, &path);
        }
    }

    /// What stands behind `key:` or `-`, to the end of the line and below.
    fn value(&mut self, value: &Yaml<'_>, indent: usize, path: &str) {
        let place = self.places.get(path).map_or_else(String::new, |place| format!("  # {place}"));
        match value {
            Yaml::Mapping(entries) if !entries.is_empty() => {
                self.out.push('\n');
                self.entries(entries, indent + 2, path);
            }
            Yaml::Sequence(items) if items.iter().any(Yaml::is_mapping) => {
                self.out.push_str(&format!("{place}\n"));
                for item in items {
                    self.item(item, indent + 2);
                }
            }
            other => self.out.push_str(&format!(" {}{place}\n", inline(other))),
        }
    }

    /// A section in a list: its first key stands behind the `- `.
    fn item(&mut self, item: &Yaml<'_>, indent: usize) {
        let start = self.out.len() + indent;
        match item {
            Yaml::Mapping(entries) => self.entries(entries, indent + 2, ""),
            other => self.out.push_str(&format!("{:indent$}  {}\n", "", inline(other))),
        }
        self.out.replace_range(start..=start, "-");
    }
}

fn inline(value: &Yaml<'_>) -> String {
    match value {
        Yaml::Value(Scalar::Boolean(value)) => value.to_string(),
        Yaml::Value(Scalar::Integer(value)) => value.to_string(),
        Yaml::Value(Scalar::FloatingPoint(value)) => format!("{:?}", value.into_inner()),
        Yaml::Value(Scalar::String(text)) => plain(text),
        Yaml::Sequence(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Yaml::Mapping(_) => "{}".to_owned(),
        _ => "null".to_owned(),
    }
}

/// A text without quotes where it would be read as the same text, else in double quotes.
fn plain(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_./-:".contains(c);
    let is_text = matches!(Scalar::parse_from_cow(text.into()), Scalar::String(_));
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    if is_text && starts && !text.ends_with(':') && text.chars().all(safe) {
        return text.to_owned();
    }
    serde_json::to_string(text).unwrap_or_default()
}
