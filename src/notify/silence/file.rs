//! Silences as a YAML file: what is exported can be imported again, and declared in the settings (`notify.silence_files`).
//!
//! ```yaml
//! silences:
//!   - matchers: ['service_name="billing"', 'severity!="critical"']
//!     schedule: {cron: '0 2 * * SUN', for: 2h, time_zone: Europe/Berlin}
//!     comment: month's end runs
//! ```
//!
//! What never happens here: changing a file. An id that is not given is made from the content, so the same file imported
//! again changes nothing.

use std::io::Read;
use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde::Deserialize;

use super::{MAX_SILENCES, Silence};

/// Longest file.
const MAX_BYTES: usize = 8 << 20;
/// Nesting that no such file needs; the parser recurses, so deeper input could overflow its stack.
const MAX_DEPTH: usize = 100;

/// The fields in the order in which people read them.
const FIELDS: [&str; 8] = ["id", "matchers", "starts_at", "ends_at", "schedule", "created_by", "created_at", "comment"];

/// Why a file has no silences in it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path}: {text}")]
    Wrong {
        /// The file.
        path: String,
        /// Where and what.
        text: String,
    },
}

/// Reads a file. The silences in it are declared there (see [`Silence::file`]).
///
/// # Errors
/// When it cannot be read, or something in it is no silence.
pub fn load(path: &Path) -> Result<Vec<Silence>, FileError> {
    let name = path.display().to_string();
    let unreadable = |source| FileError::Unreadable { path: name.clone(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    let silences = parse(&text).map_err(|text| FileError::Wrong { path: name.clone(), text })?;
    Ok(silences.into_iter().map(|silence| Silence { file: Some(name.clone()), ..silence }).collect())
}

/// The silences of a text in YAML (or JSON, which is YAML too), each with an id.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn parse(text: &str) -> Result<Vec<Silence>, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("longer than {MAX_BYTES} bytes"));
    }
    check_depth(text)?;
    let documents = Yaml::load_from_str(text).map_err(|error| {
        let mark = error.marker();
        format!("line {}, column {}: this is not YAML: {}", mark.line(), mark.col() + 1, error.info())
    })?;
    let root = match documents.as_slice() {
        [] => return Ok(Vec::new()),
        [root] => json(root),
        _ => return Err("a second document; put all silences in one".to_owned()),
    };
    let items = match &root {
        serde_json::Value::Null => return Ok(Vec::new()),
        serde_json::Value::Object(keys) => match (keys.get("silences"), keys.len()) {
            (Some(serde_json::Value::Array(items)), 1) => items,
            (Some(serde_json::Value::Null), 1) => return Ok(Vec::new()),
            _ => return Err("expected the key `silences:` with a list, and nothing beside it".to_owned()),
        },
        _ => return Err("expected the key `silences:` with a list".to_owned()),
    };
    if items.len() > MAX_SILENCES {
        return Err(format!("more than {MAX_SILENCES} silences"));
    }
    let mut silences: Vec<Silence> = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let silence = Silence::deserialize(item).map_err(|error| error.to_string());
        let silence = silence.and_then(|silence| silence.checked().map_err(|error| error.to_string()));
        let silence = silence.map_err(|error| format!("silences[{index}]: {error}"))?;
        if !ids.insert(silence.id.clone()) {
            return Err(format!("silences[{index}]: `{}` stands here twice", silence.id));
        }
        silences.push(silence);
    }
    Ok(silences)
}

/// Silences as such a file.
#[must_use]
pub fn export<'a>(silences: impl IntoIterator<Item = &'a Silence>) -> String {
    let mut out = String::new();
    for silence in silences {
        let fields = serde_json::to_value(silence).unwrap_or_default();
        let mut lead = "  - ";
        for (key, value) in FIELDS.iter().filter_map(|key| Some((key, fields.get(key)?))) {
            out.push_str(&format!("{lead}{key}: {}\n", inline(value)));
            lead = "    ";
        }
    }
    if out.is_empty() { "silences: []\n".to_owned() } else { format!("silences:\n{out}") }
}

/// A value in one line.
fn inline(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => quoted(text),
        serde_json::Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        serde_json::Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| format!("{key}: {}", inline(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// In single quotes, or, where it holds what cannot stand in them, as JSON with nothing but ASCII.
fn quoted(text: &str) -> String {
    let printable = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    if text.chars().all(printable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if printable(c) => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

fn json(node: &Yaml<'_>) -> serde_json::Value {
    use serde_json::Value;
    match node {
        Yaml::Value(Scalar::Boolean(value)) => Value::Bool(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
        Yaml::Value(Scalar::String(text)) => Value::String(text.to_string()),
        Yaml::Representation(text, ..) => Value::String(text.to_string()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(json).collect()),
        Yaml::Mapping(fields) => Value::Object(
            fields.iter().map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), json(value))).collect(),
        ),
        Yaml::Tagged(_, inner) => json(inner),
        Yaml::Value(Scalar::Null) | Yaml::Alias(_) | Yaml::BadValue => Value::Null,
    }
}

/// A line's indentation and its indicators bound how deep blocks are nested in it; what stands in quotes is text, and flow
/// nesting is bounded by the parser.
fn check_depth(text: &str) -> Result<(), String> {
    for (index, line) in text.lines().enumerate() {
        let block = line.split(['\'', '"', '[', '{', '#']).next().unwrap_or_default();
        let indent = block.len() - block.trim_start_matches([' ', '\t']).len();
        let indicators = block.as_bytes().windows(2).filter(|pair| matches!(pair, [b'-' | b'?' | b':', b' ' | b'\t']));
        if indent + indicators.count() > MAX_DEPTH {
            return Err(format!("line {}: nested more than {MAX_DEPTH} levels deep", index + 1));
        }
    }
    Ok(())
}
