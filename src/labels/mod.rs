//! Labels of streams, groups and incidents, and the fingerprint made of them.
//!
//! What comes in: name/value pairs from Loki or the settings. What goes out: an ordered set with a hash that is the
//! same on every machine and in every version. What people ask of labels is in [`matcher`].

pub mod matcher;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use matcher::{Matcher, Matchers};

/// An ordered set of label names and values, as Loki and Prometheus know them. Cheap to clone: each window bears it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(Arc<BTreeMap<String, String>>);

impl From<BTreeMap<String, String>> for Labels {
    fn from(pairs: BTreeMap<String, String>) -> Self {
        Self(Arc::new(pairs))
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        Arc::unwrap_or_clone(labels.0)
    }
}

impl Labels {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`, if it is there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Sets `name` to `value`; an older value is replaced.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) {
        Arc::make_mut(&mut self.0).insert(name.into(), value.into());
    }

    /// Names and values in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A hash of names and values that is the same on every machine and in every version (FNV-1a, 64 bits).
    #[must_use]
    pub fn stable_hash(&self) -> u64 {
        self.stable_hash_without(&[])
    }

    /// The same without these names.
    #[must_use]
    pub fn stable_hash_without(&self, names: &[&str]) -> u64 {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        kept.fold(FNV_OFFSET, |hash, (name, value)| {
            let hash = fnv1a(fnv1a(hash, name.as_bytes()), &[0xff]);
            fnv1a(fnv1a(hash, value.as_bytes()), &[0xfe])
        })
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(Arc::new(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }
}

/// As a LogQL selector writes them: `{app="cart", env="prod"}`, values quoted and escaped.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={}", quote(value))?;
        }
        f.write_str("}")
    }
}

/// A LogQL string literal: double quotes, with quotes, backslashes and control characters escaped.
#[must_use]
pub fn quote(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Identity of one problem place: the same tenant, watch and group give the same fingerprint after every restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Fingerprint of a group of one watch in one tenant's account space.
    #[must_use]
    pub fn of(tenant: &str, watch: &str, group: &Labels) -> Self {
        let hash = fnv1a(fnv1a(FNV_OFFSET, tenant.as_bytes()), &[0xff]);
        let hash = fnv1a(fnv1a(hash, watch.as_bytes()), &[0xff]);
        Self(fnv1a(hash, &group.stable_hash().to_le_bytes()))
    }
}

/// `v1:` and 16 hex digits; the prefix names the way it was made.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1:{:016x}", self.0)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let hex = text.strip_prefix("v1:").ok_or_else(|| format!("a fingerprint starts with `v1:`, not `{text}`"))?;
        u64::from_str_radix(hex, 16).map(Self).map_err(|error| format!("`{text}` is no fingerprint: {error}"))
    }
}

/// Start value of [`fnv1a`].
pub const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a over `bytes`, continuing from `hash` (Fowler, Noll, Vo; draft-eastlake-fnv). Stable for ever: stored
/// fingerprints and incident ids depend on it.
#[must_use]
pub fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_a_selector_with_escapes() {
        let labels: Labels = [("app", "a\"b\\c\n"), ("env", "prod")].into_iter().collect();
        assert_eq!(labels.to_string(), r#"{app="a\"b\\c\n", env="prod"}"#);
    }

    #[test]
    fn fingerprint_is_stable_and_survives_text() {
        let group: Labels = [("service_name", "cart")].into_iter().collect();
        let fingerprint = Fingerprint::of("default", "all", &group);
        assert_eq!(Fingerprint::try_from(fingerprint.to_string()), Ok(fingerprint));
        assert_ne!(fingerprint, Fingerprint::of("default", "al", &group));
        assert!(Fingerprint::try_from("v2:00".to_owned()).is_err());
    }

    #[test]
    fn hash_tells_apart_shifted_borders() {
        let one: Labels = [("ab", "c")].into_iter().collect();
        let two: Labels = [("a", "bc")].into_iter().collect();
        assert_ne!(one.stable_hash(), two.stable_hash());
    }
}
