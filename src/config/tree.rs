//! A tree of settings whose values know where they came from, and how it becomes typed settings.
//!
//! The tree is config's [`Value`]; its origin is a number into [`Origins`]. [`Node`] reads it for serde and gives each
//! field what it asks for: a text field takes `12345` as it was written, a list in the environment may be JSON or comma
//! separated. A [`Fault`] never holds a value.

use std::collections::BTreeMap;
use std::fmt;

use config::{Map, Value, ValueKind};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::mistake::{Path, Step, nearest, shown};

/// Where a value came from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// A file: line and column of the key and of the value, and how a number or boolean was written.
    File { key: Option<(usize, usize)>, value: (usize, usize), raw: Option<String> },
    /// This environment variable.
    Env(String),
}

/// All origins of one load.
#[derive(Debug, Default)]
pub(super) struct Origins {
    all: Vec<Origin>,
    /// Sections of the file by key path: config gives a merged section no origin.
    sections: BTreeMap<String, Origin>,
}

impl Origins {
    /// Keeps an origin; the answer is what [`Value::new`] takes.
    pub(super) fn add(&mut self, origin: Origin) -> String {
        self.all.push(origin);
        (self.all.len() - 1).to_string()
    }

    /// Keeps the origin of a section of the file.
    pub(super) fn add_section(&mut self, path: &Path, origin: Origin) {
        self.sections.insert(path.to_string(), origin);
    }

    /// The origin of the value at a path.
    pub(super) fn at(&self, path: &Path, value: &Value) -> Option<&Origin> {
        let own = if value.origin().is_none() { self.sections.get(&path.to_string()) } else { None };
        own.or_else(|| self.of(value))
    }

    /// The origin of a value, or of the first value below it that has one.
    pub(super) fn of(&self, value: &Value) -> Option<&Origin> {
        let own = value.origin().and_then(|id| id.parse::<usize>().ok()).and_then(|id| self.all.get(id));
        own.or_else(|| match &value.kind {
            ValueKind::Table(table) => {
                let mut keys: Vec<_> = table.iter().collect();
                keys.sort_by_key(|(key, _)| key.as_str());
                keys.into_iter().find_map(|(_, value)| self.of(value))
            }
            ValueKind::Array(items) => items.iter().find_map(|value| self.of(value)),
            _ => None,
        })
    }
}

/// Why the tree is no settings: where, and what was expected.
#[derive(Debug)]
pub(super) struct Fault {
    /// From the place up to the root.
    pub(super) path: Vec<Step>,
    pub(super) text: String,
    /// Set when the last step of the path is no known key: the keys that are known there.
    pub(super) unknown: Option<&'static [&'static str]>,
}

impl Fault {
    fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

impl Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = match text.to_string().as_str() {
            "invalid socket address syntax" => {
                "this is no address with a port; write it like 0.0.0.0:9477 or [::]:9477".to_owned()
            }
            other => other.to_owned(),
        };
        Self { path: Vec::new(), text, unknown: None }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {}, found {}", wanted(&expected.to_string()), kind(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            Unexpected::Float(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        Self::custom(format_args!("expected {}, found {found}", wanted(&expected.to_string())))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        let hint = nearest(word, known.iter().copied());
        let hint = hint.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let word = shown(word);
        Self::custom(format_args!("`{word}` is not one of: {}{hint}", known.join(", ")))
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self { path: Vec::new(), text: "no such key".to_owned(), unknown: Some(known) }
    }
}

/// What serde expects, in the words of somebody who writes YAML.
fn wanted(expected: &str) -> String {
    match expected {
        "a string" | "a borrowed string" => "a text",
        "a boolean" => "true or false",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "keys with values",
        "path string" => "a path",
        "socket address" => "an address with a port, such as 0.0.0.0:9477",
        other if other.starts_with("struct ") => "a section with keys",
        other => other,
    }
    .to_owned()
}

/// What was found, without its value: it could be a secret in the wrong place.
fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Signed(_) | Unexpected::Unsigned(_) | Unexpected::Float(_) => "a number",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "keys with values",
        _ => "a text",
    }
}

/// A value on its way into a typed field.
pub(super) struct Node<'o> {
    pub(super) value: Value,
    pub(super) origins: &'o Origins,
}

impl<'o> Node<'o> {
    fn is_env(&self) -> bool {
        matches!(self.origins.of(&self.value), Some(Origin::Env(_)))
    }

    /// What is left in a list where a mistake was: what comes after it keeps its number.
    fn is_taken_out(&self) -> bool {
        self.value.kind == ValueKind::Nil && self.value.origin().is_none()
    }

    /// A scalar as it was written; `None` for lists, maps and nothing.
    fn text(&self) -> Option<String> {
        match (&self.value.kind, self.origins.of(&self.value)) {
            (ValueKind::String(text), _) => Some(text.clone()),
            (
                ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_),
                Some(Origin::File { raw: Some(raw), .. }),
            ) => Some(raw.clone()),
            (ValueKind::Boolean(value), _) => Some(value.to_string()),
            (ValueKind::I64(value), _) => Some(value.to_string()),
            (ValueKind::Float(value), _) => Some(value.to_string()),
            _ => None,
        }
    }

    /// A text as the number or boolean that it spells, when it does.
    fn scalar(self) -> Self {
        let ValueKind::String(text) = &self.value.kind else { return self };
        let kind = if let Ok(value) = text.parse::<bool>() {
            ValueKind::Boolean(value)
        } else if let Ok(value) = text.parse::<i64>() {
            ValueKind::I64(value)
        } else if let Some(value) = text.parse::<f64>().ok().filter(|value| value.is_finite()) {
            ValueKind::Float(value)
        } else {
            return self;
        };
        let mut value = self.value;
        value.kind = kind;
        Self { value, origins: self.origins }
    }

    /// A text from the environment as the JSON that it spells; anything else as it is.
    fn json(self) -> Self {
        let value = if self.is_env() { json(&self.value).unwrap_or(self.value) } else { self.value };
        Self { value, origins: self.origins }
    }

    fn mismatch<T>(&self, visitor: &impl Expected) -> Result<T, Fault> {
        let found = match &self.value.kind {
            ValueKind::Boolean(value) => Unexpected::Bool(*value),
            ValueKind::Nil => Unexpected::Unit,
            ValueKind::Table(_) => Unexpected::Map,
            ValueKind::Array(_) => Unexpected::Seq,
            ValueKind::String(_) => Unexpected::Str(""),
            _ => Unexpected::Signed(0),
        };
        Err(Fault::invalid_type(found, visitor))
    }

    fn visit_number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let node = self.scalar();
        match node.value.kind {
            ValueKind::I64(value) => visitor.visit_i64(value),
            ValueKind::Float(value) => visitor.visit_f64(value),
            _ => node.mismatch(&visitor),
        }
    }

    fn visit_entries<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let node = self.json();
        match node.value.kind {
            ValueKind::Table(table) => {
                let mut entries: Vec<_> = table.into_iter().collect();
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                visitor.visit_map(Entries { origins: node.origins, entries: entries.into_iter(), value: None })
            }
            // A section whose keys are all commented out.
            ValueKind::Nil => {
                visitor.visit_map(Entries { origins: node.origins, entries: Vec::new().into_iter(), value: None })
            }
            _ => node.mismatch(&visitor),
        }
    }
}

/// The JSON that a text spells, every value of the text's own origin.
pub(super) fn json(value: &Value) -> Option<Value> {
    let ValueKind::String(text) = &value.kind else { return None };
    let parsed: serde_json::Value = serde_json::from_str(text).ok()?;
    let origin = value.origin().map(ToOwned::to_owned);
    matches!(parsed, serde_json::Value::Array(_) | serde_json::Value::Object(_))
        .then(|| planted(parsed, origin.as_ref()))
}

fn planted(json: serde_json::Value, origin: Option<&String>) -> Value {
    let kind = match json {
        serde_json::Value::Null => ValueKind::Nil,
        serde_json::Value::Bool(value) => ValueKind::Boolean(value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => ValueKind::I64(value),
            (None, value) => ValueKind::Float(value.unwrap_or(f64::MAX)),
        },
        serde_json::Value::String(text) => ValueKind::String(text),
        serde_json::Value::Array(items) => {
            ValueKind::Array(items.into_iter().map(|item| planted(item, origin)).collect())
        }
        serde_json::Value::Object(entries) => ValueKind::Table(
            entries.into_iter().map(|(key, value)| (key, planted(value, origin))).collect::<Map<_, _>>(),
        ),
    };
    Value::new(origin, kind)
}

macro_rules! numbers {
    ($($name:ident)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.visit_number(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value.kind {
            ValueKind::Nil => visitor.visit_unit(),
            ValueKind::Boolean(value) => visitor.visit_bool(value),
            ValueKind::String(text) => visitor.visit_string(text),
            ValueKind::Table(_) => self.deserialize_map(visitor),
            ValueKind::Array(_) => self.deserialize_seq(visitor),
            _ => self.visit_number(visitor),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let node = self.scalar();
        match node.value.kind {
            ValueKind::Boolean(value) => visitor.visit_bool(value),
            _ => node.mismatch(&visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text() {
            Some(text) => visitor.visit_string(text),
            None if self.is_taken_out() => visitor.visit_string(String::new()),
            None => self.mismatch(&visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value.kind {
            ValueKind::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let is_env = self.is_env();
        let node = self.json();
        let origin = node.value.origin().map(ToOwned::to_owned);
        let items = match &node.value.kind {
            ValueKind::Array(items) => items.clone(),
            ValueKind::Nil => Vec::new(),
            ValueKind::String(text) if is_env && !text.starts_with(['[', '{']) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::new(origin.as_ref(), item))
                .collect(),
            _ => return node.mismatch(&visitor),
        };
        visitor.visit_seq(Items { origins: node.origins, items: items.into_iter(), next: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit_entries(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.visit_entries(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.text() {
            Some(text) => visitor.visit_enum(Variant(text)),
            None => self.mismatch(&"one of a few words"),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Entries<'o> {
    origins: &'o Origins,
    entries: std::vec::IntoIter<(String, Value)>,
    value: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        let read = seed.deserialize(key.as_str().into_deserializer());
        let read = read.map_err(|fault: Fault| fault.under(Step::Key(key.clone())))?;
        self.value = Some((key, value));
        Ok(Some(read))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((key, value)) = self.value.take() else { return Err(Fault::custom("a value without its key")) };
        seed.deserialize(Node { value, origins: self.origins }).map_err(|fault| fault.under(Step::Key(key)))
    }
}

struct Items<'o> {
    origins: &'o Origins,
    items: std::vec::IntoIter<Value>,
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(value) = self.items.next() else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        let node = Node { value, origins: self.origins };
        seed.deserialize(node).map(Some).map_err(|fault| fault.under(Step::Index(index)))
    }
}

struct Variant(String);

impl<'de> EnumAccess<'de> for Variant {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let value = seed.deserialize(self.0.as_str().into_deserializer())?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Fault> {
        Err(Fault::custom("expected one word"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("expected one word"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("expected one word"))
    }
}
