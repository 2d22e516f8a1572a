//! A watch's LogQL, taken apart just enough: the stream selector, and the line filters after it.
//!
//! What comes in: the text of the settings. What goes out: the same query, for fewer streams, or without sigyn's own
//! traces. What never happens here: understanding LogQL beyond quotes and braces; Loki judges the rest.

use crate::labels::{Labels, quote};

/// What sigyn's requests carry as a query tag; Loki writes it into its query log in lower case.
const TAG: &str = "source=sigyn";
/// The same in the request line of a gateway's access log.
const TAG_IN_URL: &str = "source%3Dsigyn";
/// Labels that may name the service that wrote a line.
const NAMES: [&str; 3] = ["service_name", "job", "app"];

/// A selector and its filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// `{...}`, without sigyn's own streams when they are left out.
    selector: String,
    /// All after it.
    filters: String,
}

impl Query {
    /// Takes the query apart. With `without_own`, what sigyn and Loki log about sigyn's own queries is left out: streams
    /// named `sigyn`, unless the query asks for them; and lines that hold the tag of our queries. Those filters are part
    /// of the queries themselves, so a log line that quotes one of our queries holds the tag, too.
    ///
    /// # Errors
    /// When it does not start with a selector in braces; says what is wrong.
    pub fn new(text: &str, without_own: bool) -> Result<Self, String> {
        let text = text.trim();
        let wrong =
            |why: &str| format!("`{text}` is no log query: {why}; write it like {{app=\"cart\"}} != \"healthz\"");
        if !text.starts_with('{') {
            return Err(wrong("it must start with a stream selector in braces"));
        }
        let end = closing_brace(text).ok_or_else(|| wrong("the closing brace of the selector is missing"))?;
        let (selector, filters) = text.split_at(end + 1);
        let mut query = Self { selector: selector.to_owned(), filters: filters.trim().to_owned() };
        if without_own {
            query.leave_out_own();
        }
        Ok(query)
    }

    /// The selector with its braces.
    #[must_use]
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// The whole query.
    #[must_use]
    pub fn text(&self) -> String {
        with_filters(&self.selector, &self.filters)
    }

    /// The query for exactly one stream: all labels of `stream`, and none of the other `names` that its siblings have
    /// (a selector also matches streams with more labels).
    #[must_use]
    pub fn only(&self, stream: &Labels, names: &[String]) -> String {
        let own = stream.iter().map(|(name, value)| format!("{name}={}", quote(value)));
        let absent = names.iter().filter(|name| stream.get(name).is_none()).map(|name| format!("{name}=\"\""));
        let matchers: Vec<String> = own.chain(absent).collect();
        with_filters(&format!("{{{}}}", matchers.join(",")), &self.filters)
    }

    fn leave_out_own(&mut self) {
        if !self.selector.contains("sigyn") {
            let inner = self.selector.trim_start_matches('{').trim_end_matches('}').trim().trim_end_matches(',');
            let own = NAMES.map(|name| format!("{name}!=\"sigyn\"")).join(",");
            self.selector = format!("{{{inner},{own}}}");
        }
        let filters = format!("!= \"{TAG}\" != \"{TAG_IN_URL}\" {}", self.filters);
        filters.trim_end().clone_into(&mut self.filters);
    }
}

fn with_filters(selector: &str, filters: &str) -> String {
    if filters.is_empty() { selector.to_owned() } else { format!("{selector} {filters}") }
}

/// Where the selector ends: the first closing brace outside of quotes.
fn closing_brace(text: &str) -> Option<usize> {
    let mut quoted = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quoted, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quoted = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quoted = Some(c),
            (None, '}') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, selector: &str, whole: &str) {
        let query = Query::new(text, false).unwrap();
        assert_eq!((query.selector(), query.text().as_str()), (selector, whole));
    }

    #[test]
    fn the_selector_ends_at_the_first_brace_outside_of_quotes() {
        check("{a=\"b\"}", "{a=\"b\"}", "{a=\"b\"}");
        check(" {a=\"}\\\"}\", c=`}\"`}|= \"x}\" ", "{a=\"}\\\"}\", c=`}\"`}", "{a=\"}\\\"}\", c=`}\"`} |= \"x}\"");
        for text in ["", "sum(rate({a=\"b\"}[1m]))", "{a=\"b\""] {
            assert!(Query::new(text, true).unwrap_err().contains("is no log query"), "{text}");
        }
    }

    #[test]
    fn own_traces_are_left_out_unless_asked_for() {
        let text = |text: &str| Query::new(text, true).unwrap().text();
        insta::assert_snapshot!(text("{a=\"b\",} |= \"x\""), @r#"{a="b",service_name!="sigyn",job!="sigyn",app!="sigyn"} != "source=sigyn" != "source%3Dsigyn" |= "x""#);
        insta::assert_snapshot!(text("{app=\"sigyn\"}"), @r#"{app="sigyn"} != "source=sigyn" != "source%3Dsigyn""#);
    }

    #[test]
    fn one_stream_excludes_its_siblings_with_more_labels() {
        let query = Query::new("{a=~\".+\"} |= \"x\"", false).unwrap();
        let stream: Labels = [("a", "q\"")].into_iter().collect();
        let names = ["a".to_owned(), "c".to_owned()];
        assert_eq!(query.only(&stream, &names), "{a=\"q\\\"\",c=\"\"} |= \"x\"");
    }
}
