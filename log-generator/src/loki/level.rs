//! The level that Loki writes to `detected_level` when it takes a line in, with Loki's own mistakes ("no error" is an
//! error). Order: a level label, a level in the metadata, a level field of a JSON or logfmt line, a bare level word.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// `log_level_fields` of Loki's default settings.
const FIELDS: [&str; 14] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

/// `log_level_from_json_max_depth` of Loki's default settings.
const JSON_DEPTH: usize = 2;

/// The detected level of a line with these stream labels and metadata.
pub(crate) fn detect(labels: &[(String, String)], metadata: &[(String, String)], line: &str) -> String {
    let given = |pairs: &[(String, String)]| {
        FIELDS.iter().find_map(|f| pairs.iter().find(|(name, _)| name == f).map(|(_, value)| value.clone()))
    };
    if let Some(level) = given(labels).or_else(|| given(metadata)) {
        return known(&level).map_or(level, str::to_owned);
    }
    let field = if is_json(line) {
        json_field(line)
    } else if line.contains('=') {
        logfmt_field(line).map(Cow::Borrowed)
    } else {
        None
    };
    field.as_deref().and_then(known).or_else(|| word(line)).unwrap_or("unknown").to_owned()
}

/// The level's own spelling, or `None` when it is not a level.
pub(crate) fn known(text: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 14] = [
        ("trace", "trace"),
        ("trc", "trace"),
        ("debug", "debug"),
        ("dbg", "debug"),
        ("info", "info"),
        ("inf", "info"),
        ("information", "info"),
        ("warn", "warn"),
        ("wrn", "warn"),
        ("warning", "warn"),
        ("error", "error"),
        ("err", "error"),
        ("critical", "critical"),
        ("fatal", "fatal"),
    ];
    NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|&(_, level)| level)
}

fn is_json(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('{') && line.ends_with('}')
}

/// The first word of the line that is a level: bounded by blanks, brackets or a colon, in any case.
fn word(line: &str) -> Option<&'static str> {
    let edges = |c: char| c.is_whitespace() || "[](){}<>|:,;\"'".contains(c);
    line.split(edges).filter(|w| (3..=11).contains(&w.len())).find_map(|w| match w.len() {
        3 if !w.eq_ignore_ascii_case("err") => None,
        _ => known(w),
    })
}

/// The value of the best level key of a logfmt line: earlier in `FIELDS` wins.
fn logfmt_field(line: &str) -> Option<&str> {
    let mut best: Option<(usize, &str)> = None;
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix('=') else {
            rest = after.trim_start();
            continue;
        };
        let (value, after) = logfmt_value(after);
        if let Some(rank) = FIELDS.iter().position(|f| f.eq_ignore_ascii_case(key)) {
            if rank == 0 {
                return Some(value);
            }
            if best.is_none_or(|(so_far, _)| rank < so_far) {
                best = Some((rank, value));
            }
        }
        rest = after.trim_start();
    }
    best.map(|(_, value)| value)
}

fn logfmt_value(text: &str) -> (&str, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut escaped = false;
        for (at, b) in quoted.bytes().enumerate() {
            match b {
                b'"' if !escaped => return (&quoted[..at], &quoted[at + 1..]),
                b'\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        return (quoted, "");
    }
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

fn json_field(line: &str) -> Option<Cow<'_, str>> {
    let mut found = None;
    let mut json = serde_json::Deserializer::from_str(line);
    // A line that breaks off still counts as far as it was read.
    let _ = Seek { depth: 0, wanted: true, found: &mut found }.deserialize(&mut json);
    found.map(Cow::Owned)
}

/// Walks one JSON value; keeps the first string under a level key.
struct Seek<'a> {
    depth: usize,
    wanted: bool,
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.wanted && self.depth > 0 && self.found.is_none() {
            *self.found = Some(text.to_owned());
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            if self.found.is_some() || self.depth >= JSON_DEPTH {
                fields.next_value::<IgnoredAny>()?;
                continue;
            }
            let wanted = FIELDS.contains(&key.as_ref());
            fields.next_value_seed(Seek { depth: self.depth + 1, wanted, found: self.found })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_as_loki_finds_them() {
        for (line, wanted) in [
            ("no error", "error"),
            ("finished without error in 3s", "error"),
            ("Warning: none", "warn"),
            ("0 errors, 0 warnings", "unknown"),
            ("GET /error-page 200 in 3ms", "unknown"),
            ("level=info msg=\"error budget report\"", "info"),
            (r#"{"level":"info","message":"retry after error succeeded"}"#, "info"),
            ("E0102 10:00:00.000000 1 klog.go:12] cannot sync", "unknown"),
            ("panic: runtime error", "error"),
            ("INFO errors=0", "info"),
            ("Failed to connect", "unknown"),
            ("CRITICAL disk failure", "critical"),
            (r#"{"severity":"WARNING","msg":"json"}"#, "warn"),
            (r#"{"lvl":"ERR"}"#, "error"),
            (r#"{"n":[1,{"level":"error"}],"log":{"level":"warn"}}"#, "warn"),
            ("[warning] bracketed", "warn"),
            ("level=err short", "error"),
            ("msg=\"a \\\" level=error\" lvl=debug", "debug"),
            ("", "unknown"),
        ] {
            assert_eq!(detect(&[], &[], line), wanted, "{line}");
        }
    }

    #[test]
    fn a_label_goes_before_the_line() {
        let labels = [("level".to_owned(), "WARN".to_owned())];
        assert_eq!(detect(&labels, &[], "level=error"), "warn");
        let odd = [("level".to_owned(), "notice".to_owned())];
        assert_eq!(detect(&[], &odd, "level=error"), "notice");
    }
}
