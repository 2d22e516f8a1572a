//! From the text of a settings file to a tree of values that know their line and column.
//!
//! Bounded: the size of the file, the depth of its nesting, and what its aliases expand to. No I/O here.

use config::{Map, Value, ValueKind};
use saphyr::{LoadableYamlNode, MarkedYaml, Marker, Scalar, YamlData};

use super::mistake::Path;
use super::tree::{Origin, Origins};

/// A settings file is at most this long; 500 watches with long queries are a tenth of it.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Nesting that no settings file needs; the parser recurses, so deeper input could overflow its stack.
const MAX_DEPTH: usize = 200;

/// Why a text is no settings file, and where.
pub(super) struct Refused {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
}

/// The top-level keys of the text with their values. An empty text has none.
pub(super) fn read(text: &str, origins: &mut Origins) -> Result<Map<String, Value>, Refused> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_depth(text)?;
    let documents = MarkedYaml::load_from_str(text).map_err(|error| {
        let mark = error.marker();
        refused(mark, format!("this is not YAML: {}", error.info()))
    })?;
    let mut reader = Reader { text, starts: text.char_indices().map(|(byte, _)| byte).collect(), origins };
    match documents.as_slice() {
        [] => Ok(Map::new()),
        [root] => match untagged(root) {
            YamlData::Mapping(_) => match reader.value(root, None, &Path::default()).kind {
                ValueKind::Table(table) => Ok(table),
                _ => Ok(Map::new()),
            },
            YamlData::BadValue | YamlData::Value(Scalar::Null) => Ok(Map::new()),
            _ => Err(refused(&root.span.start, "expected keys such as `loki:` at the top of the file".to_owned())),
        },
        [_, second, ..] => Err(refused(&second.span.start, "a second document; put all settings in one".to_owned())),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Byte offset of each character, as marks count characters.
    starts: Vec<usize>,
    origins: &'a mut Origins,
}

impl Reader<'_> {
    fn value(&mut self, node: &MarkedYaml<'_>, key: Option<Marker>, path: &Path) -> Value {
        let at = |mark: Marker| (mark.line(), mark.col() + 1);
        let data = untagged(node);
        let raw = matches!(data, YamlData::Value(Scalar::Integer(_) | Scalar::FloatingPoint(_) | Scalar::Boolean(_)))
            .then(|| self.slice(node.span.start, node.span.end));
        let origin = Origin::File { key: key.map(at), value: at(node.span.start), raw };
        if matches!(data, YamlData::Mapping(_)) {
            self.origins.add_section(path, origin.clone());
        }
        let id = self.origins.add(origin);
        let kind = match data {
            YamlData::Value(Scalar::Boolean(value)) => ValueKind::Boolean(*value),
            YamlData::Value(Scalar::Integer(value)) => ValueKind::I64(*value),
            YamlData::Value(Scalar::FloatingPoint(value)) => ValueKind::Float(value.into_inner()),
            YamlData::Value(Scalar::String(value)) => ValueKind::String(value.to_string()),
            YamlData::Representation(value, ..) => ValueKind::String(value.to_string()),
            YamlData::Sequence(items) => {
                let items = items.iter().enumerate();
                ValueKind::Array(items.map(|(index, item)| self.value(item, None, &path.index(index))).collect())
            }
            YamlData::Mapping(entries) => {
                let mut table = Map::new();
                for (key, value) in entries {
                    let name = self.key(key);
                    let value = self.value(value, Some(key.span.start), &path.key(&name));
                    table.insert(name, value);
                }
                ValueKind::Table(table)
            }
            YamlData::Value(Scalar::Null) | YamlData::Tagged(..) | YamlData::Alias(_) | YamlData::BadValue => {
                ValueKind::Nil
            }
        };
        Value::new(Some(&id), kind)
    }

    /// A key as text; what is no plain word becomes one that nobody knows, so that it is reported.
    fn key(&self, node: &MarkedYaml<'_>) -> String {
        match untagged(node) {
            YamlData::Value(Scalar::String(text)) => text.to_string(),
            YamlData::Value(_) => self.slice(node.span.start, node.span.end),
            _ => String::new(),
        }
    }

    fn slice(&self, start: Marker, end: Marker) -> String {
        let byte = |mark: Marker| self.starts.get(mark.index()).copied().unwrap_or(self.text.len());
        self.text.get(byte(start)..byte(end)).unwrap_or_default().trim().to_owned()
    }
}

fn untagged<'a, 'b>(node: &'a MarkedYaml<'b>) -> &'a YamlData<'b, MarkedYaml<'b>> {
    match &node.data {
        YamlData::Tagged(_, inner) => untagged(inner),
        data => data,
    }
}

/// Each level of block nesting starts further right than the one around it or stands behind an indicator on the same
/// line, so indentation and indicators of a line bound its depth. Flow nesting is bounded by the parser (255).
fn check_depth(text: &str) -> Result<(), Refused> {
    for (index, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        let depth = indent + line.as_bytes().windows(2).filter(|pair| is_indicator(pair)).count();
        let prose = line.trim_start().starts_with('#');
        if depth > MAX_DEPTH && !prose {
            let text = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(Refused { line: index + 1, column: 1, text });
        }
    }
    Ok(())
}

fn is_indicator(pair: &[u8]) -> bool {
    matches!(pair, [b'-' | b'?' | b':', b' ' | b'\t'])
}

fn refused(mark: &Marker, text: String) -> Refused {
    Refused { line: mark.line(), column: mark.col() + 1, text }
}
