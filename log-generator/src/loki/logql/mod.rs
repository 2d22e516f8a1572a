//! The part of LogQL that the stand-in speaks. Text comes in, a [`Query`] goes out, or [`Error::Syntax`] with Loki's
//! text, or [`Error::Unsupported`] for what real Loki knows and the stand-in does not. Never panics, whatever comes in.

mod parser;

use parser::Parser;
use regex::Regex;
use thiserror::Error;

/// Why a query was not taken.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// Not LogQL; the text is the one Loki answers with status 400.
    #[error("{0}")]
    Syntax(String),
    /// LogQL that the stand-in does not speak: status 501.
    #[error("not in the stand-in: {0}")]
    Unsupported(String),
}

/// A parsed query.
#[derive(Debug, Clone)]
pub(crate) enum Query {
    Log(Log),
    Metric(Metric),
}

/// A selector and what follows it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) stages: Vec<Stage>,
}

/// `app=~"a|b"`.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    pub(crate) name: String,
    pub(crate) test: Test,
}

/// One comparison of a label's value.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Is(String),
    IsNot(String),
    Like(Regex),
    Unlike(Regex),
}

/// One step after the selector.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// `|= "a" or "b"`, `!= "a"`: the line holds one of (`keep`), or none of the texts.
    Holds { keep: bool, texts: Vec<String> },
    /// `|~ "a" or "b"`, `!~ "a"`.
    Fits { keep: bool, patterns: Vec<Regex> },
    /// `| a="x" and b!="y" or c=~"z"`: any of the groups, of each group all.
    Labels(Vec<Vec<Matcher>>),
    /// `| drop a, b`.
    Drop(Vec<String>),
}

/// `sum by (a) (count_over_time({...}[1m]))` and its simpler forms.
#[derive(Debug, Clone)]
pub(crate) struct Metric {
    pub(crate) log: Log,
    pub(crate) count: Count,
    /// The window in ns.
    pub(crate) range: i64,
    /// `None`: one series per set of labels. `Some(names)`: summed by these.
    pub(crate) sum_by: Option<Vec<String>>,
    /// `or vector(0)` after a sum without labels.
    pub(crate) or_vector: Option<f64>,
}

/// What a window is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Lines,
    LinesPerSecond,
    Bytes,
}

impl Test {
    pub(crate) fn holds(&self, value: &str) -> bool {
        match self {
            Self::Is(text) => value == text,
            Self::IsNot(text) => value != text,
            Self::Like(regex) => regex.is_match(value),
            Self::Unlike(regex) => !regex.is_match(value),
        }
    }
}

impl Matcher {
    /// Whether these labels fit; a label that is not there is empty.
    pub(crate) fn fits<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.test.holds(value(&self.name).unwrap_or_default())
    }
}

/// Reads a whole query.
///
/// # Errors
/// Syntax errors with Loki's words where they are simple, and what the stand-in does not speak.
pub(crate) fn parse(text: &str) -> Result<Query, Error> {
    Parser::new(text).query()
}

/// Reads a bare selector, as `match[]` and the label calls take it; pipeline stages are refused.
pub(crate) fn parse_selector(text: &str) -> Result<Vec<Matcher>, Error> {
    match parse(text)? {
        Query::Log(log) if log.stages.is_empty() => Ok(log.matchers),
        _ => Err(Error::Syntax("only label matchers are supported".to_owned())),
    }
}

/// Reads the labels of a stream as a push in protobuf carries them: `{a="b", c="d"}`. The error text is the one of
/// Prometheus' label parser.
pub(crate) fn parse_labels(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut parser = Parser::new(text);
    parser.labels().ok_or_else(|| parser.label_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn what_is_read() {
        for text in [
            r#"{a="b"}"#,
            r#"{ a = "b" , c!="d", e=~"f.*", g!~`h\d`, } |= "x" != "y" |~ "z" !~ `w`"#,
            r#"{a="b"} | detected_level="error" and x!="y" or z=~"1|2""#,
            r#"{a="b"} | drop detected_level, pod |= "x""#,
            r#"{a="\"\\\n\u00e9\x41"}"#,
            r#"sum(count_over_time({a="b"}[5m]))"#,
            r#"sum by (a, b) (count_over_time({a="b"} |= "x" [1h30m]))"#,
            r#"sum(count_over_time({a="b"}[5m] |= "x")) by (a)"#,
            r#"count_over_time({a="b"}[999999999ns])"#,
            r#"rate({a="b"}[1m])"#,
            r#"sum(count_over_time({a="b"}[1m])) or vector(0)"#,
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
        }
    }

    #[test]
    fn what_is_left_to_a_real_loki() {
        for text in [
            r#"{a="b"} | json"#,
            r#"{a="b"} | logfmt | level="error""#,
            r#"{a="b"} | size > 5"#,
            r#"{a="b"} | size == 5"#,
            r#"{a="b"} |> "<_>""#,
            r#"topk(1, rate({a="b"}[1m]))"#,
            r#"sum(sum(count_over_time({a="b"}[1m])))"#,
            r#"sum without (a) (count_over_time({a="b"}[1m]))"#,
            r#"sum(count_over_time({a="b"}[1m] offset 5m))"#,
            r#"sum(count_over_time({a="b"}[1m])) / 2"#,
            "1+1",
        ] {
            assert!(matches!(parse(text), Err(Error::Unsupported(_))), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn what_is_wrong_and_where() {
        assert_eq!(error(r#"{a="b"#), "parse error at line 1, col 4: literal not terminated");
        assert_eq!(error("{a="), "parse error at line 1, col 4: syntax error: unexpected $end, expecting STRING");
        assert_eq!(error("{a=\"b\"}\n}"), "parse error at line 2, col 1: syntax error: unexpected }");
        assert!(error(r#"{a=""}"#).starts_with("parse error : queries require at least one"));
        assert!(
            error(r#"{a="b"} |~ "a{2,1}""#).contains("error parsing regexp"),
            "{}",
            error(r#"{a="b"} |~ "a{2,1}""#)
        );
        assert!(error("sum(count_over_time({a=\"b\"}[x]))").contains("expecting DURATION"));
    }

    #[test]
    fn labels_of_a_push() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(parse_labels(r#"{b="x", a="\"y\"",}"#), Ok(vec![pair("a", "\"y\""), pair("b", "x")]));
        assert_eq!(parse_labels("{}"), Ok(Vec::new()));
        assert!(parse_labels(r#"{a="x"} more"#).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_panic(text in ".{0,60}") {
            let _ = (parse(&text), parse_labels(&text), parse_selector(&text));
        }

        #[test]
        fn pieces_in_any_order_are_answered_without_panic(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "a", "=", "=~", "!=", "\"x\"", "`y`", "\"", "\\", "|", "|=", "|~", "or", "and", ",", "sum",
                "by", "(", ")", "count_over_time", "[", "]", "5m", "offset", "vector", "0", " ", "ü", "\n", "drop", "(?P<",
            ]), 0..25)
        ) {
            let text = pieces.concat();
            let _ = (parse(&text), parse_labels(&text));
        }

        /// What is quoted is read back as it was.
        #[test]
        fn strings_go_there_and_back(value in "[^\\x00-\\x1f\\x7f]{1,20}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("{{a=\"{quoted}\"}}");
            let labels = parse_labels(&text);
            prop_assert_eq!(labels, Ok(vec![("a".to_owned(), value)]));
        }
    }
}
