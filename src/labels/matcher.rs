//! What people ask of labels: `service_name="cart"`, `env!="dev"`, `team=~"shop|search"`, `pod!~"canary-.*"`.
//!
//! What comes in: text in Alertmanager's grammar, with or without braces. What goes out: [`Matchers`], or where and why
//! the text is none. Everything is bounded: the text, the number of matchers, and what a regular expression may cost.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::Labels;

/// Longest text that is read, in bytes.
pub const MAX_TEXT: usize = 16 * 1024;
/// Most matchers in one set.
pub const MAX_MATCHERS: usize = 64;
/// Most memory that one compiled regular expression may take. The default of the crate is 40 times as much, and there
/// may be 10,000 silences.
const MAX_REGEX: usize = 256 * 1024;
/// Deepest nesting of a regular expression; its parser recurses.
const MAX_NEST: u32 = 50;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`: the whole value matches.
    Match,
    /// `!~`
    NotMatch,
}

impl Op {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Match => "=~",
            Self::NotMatch => "!~",
        }
    }
}

/// One condition on one label. A label that is not there has the value `""`.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    op: Op,
    value: String,
    test: Test,
}

/// How the value is looked for.
#[derive(Clone, Debug)]
enum Test {
    Same,
    /// A regular expression that only lists words, as most do: no automaton to build and keep, which takes 14 kB.
    OneOf(Vec<String>),
    /// One that is a text with `.*` or `.+` before or behind it, as most others are.
    Around(Around),
    Regex(Regex),
}

/// A text in the midst of any characters but line breaks.
#[derive(Clone, Debug)]
struct Around {
    before: Option<Any>,
    text: String,
    behind: Option<Any>,
}

/// `.*` or `.+`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Any {
    Some,
    One,
}

/// Conditions that must all hold; none hold for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matchers(Vec<Matcher>);

/// Where and why a text is no matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {text}")]
pub struct ParseError {
    /// Position in characters, from 1.
    pub column: usize,
    /// What was expected, what was found.
    pub text: String,
}

impl Matcher {
    /// A condition.
    ///
    /// # Errors
    /// When the regular expression is none, or costs too much; the text says why.
    pub fn new(name: impl Into<String>, op: Op, value: impl Into<String>) -> Result<Self, String> {
        let (name, value) = (name.into(), value.into());
        let test = match op {
            Op::Equal | Op::NotEqual => Test::Same,
            Op::Match | Op::NotMatch => test(&value)?,
        };
        Ok(Self { name, op, value, test })
    }

    /// `name="value"`.
    #[must_use]
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: Op::Equal, value: value.into(), test: Test::Same }
    }

    /// The label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is compared.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    /// With what it is compared.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether it keeps an automaton, which takes 14 kB and more: regular expressions that are neither a list of words nor a
    /// text with `.*` or `.+` around it.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        matches!(self.test, Test::Regex(_))
    }

    /// Whether a value of the label fulfils it.
    #[must_use]
    pub fn holds(&self, value: &str) -> bool {
        let found = match &self.test {
            Test::Same => self.value == value,
            Test::OneOf(words) => words.iter().any(|word| word == value),
            Test::Around(around) => around.holds(value),
            Test::Regex(regex) => regex.is_match(value),
        };
        found == matches!(self.op, Op::Equal | Op::Match)
    }
}

impl Matchers {
    /// Whether all of them hold.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.holds(labels.get(&matcher.name).unwrap_or_default()))
    }

    /// Whether they would hold for everything that bears none of their labels.
    #[must_use]
    pub fn match_nothing_set(&self) -> bool {
        self.matches(&Labels::default())
    }

    /// One by one, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &Matcher> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Matcher> for Matchers {
    fn from_iter<I: IntoIterator<Item = Matcher>>(matchers: I) -> Self {
        Self(matchers.into_iter().collect())
    }
}

/// Reads matchers, with commas between them and with or without braces around them: `{foo="bar", baz=~"x|y"}`.
///
/// A name or value without quotes ends at a blank or one of ``{}!=~,\"'` ``. In double quotes everything may stand;
/// `\"`, `\\` and `\n` are the only escapes, any other backslash stands for itself, so `=~"\d+"` is what it looks like.
///
/// # Errors
/// At the first place that is not as it has to be.
pub fn parse(text: &str) -> Result<Matchers, ParseError> {
    Parser { text, at: 0 }.all()
}

impl FromStr for Matchers {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse(text)
    }
}

/// A regular expression is anchored at both ends; `.` is any character but a line break, as RE2 has it.
fn test(pattern: &str) -> Result<Test, String> {
    let plain = |c: char| !c.is_control() && !r"\.+*?()[]{}^$".contains(c);
    if pattern.chars().all(plain) {
        return Ok(Test::OneOf(pattern.split('|').map(ToOwned::to_owned).collect()));
    }
    let around = Around::read(pattern);
    if !around.text.contains('|') && around.text.chars().all(plain) {
        return Ok(Test::Around(around));
    }
    // Alone first: what is no expression by itself could undo the brackets around it.
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$")).map(Test::Regex)
}

impl Around {
    fn read(pattern: &str) -> Self {
        let (before, text) = match (pattern.strip_prefix(".*"), pattern.strip_prefix(".+")) {
            (Some(text), _) => (Some(Any::Some), text),
            (_, Some(text)) => (Some(Any::One), text),
            _ => (None, pattern),
        };
        let (behind, text) = match (text.strip_suffix(".*"), text.strip_suffix(".+")) {
            (Some(text), _) => (Some(Any::Some), text),
            (_, Some(text)) => (Some(Any::One), text),
            _ => (None, text),
        };
        Self { before, text: text.to_owned(), behind }
    }

    fn holds(&self, value: &str) -> bool {
        let mut rest = value.chars();
        let first = self.before != Some(Any::One) || rest.next().is_some();
        let last = self.behind != Some(Any::One) || rest.next_back().is_some();
        let rest = rest.as_str();
        let found = match (self.before, self.behind) {
            (None, None) => rest == self.text,
            (Some(_), None) => rest.ends_with(&self.text),
            (None, Some(_)) => rest.starts_with(&self.text),
            (Some(_), Some(_)) => rest.contains(&self.text),
        };
        first && last && found && !value.contains('\n')
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_REGEX).dfa_size_limit(MAX_REGEX).nest_limit(MAX_NEST).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the regular expression is too large; make it simpler".to_owned(),
        other => {
            // The last line says what is wrong, those before draw where.
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("no regular expression: {last}")
        }
    })
}

struct Parser<'a> {
    text: &'a str,
    /// Byte offset on a character's border.
    at: usize,
}

impl<'a> Parser<'a> {
    fn all(mut self) -> Result<Matchers, ParseError> {
        if self.text.len() > MAX_TEXT {
            return Err(ParseError { column: 1, text: format!("longer than {MAX_TEXT} bytes") });
        }
        self.blanks();
        let braces = self.take("{");
        let mut matchers = Vec::new();
        loop {
            self.blanks();
            if self.rest().is_empty() || self.rest().starts_with('}') {
                break;
            }
            if matchers.len() == MAX_MATCHERS {
                return Err(self.wrong(&format!("at most {MAX_MATCHERS} matchers")));
            }
            matchers.push(self.matcher()?);
            self.blanks();
            if !self.take(",") {
                break;
            }
        }
        if braces && !self.take("}") {
            return Err(self.expected("a comma or `}`"));
        }
        self.blanks();
        match self.rest().is_empty() {
            true => Ok(Matchers(matchers)),
            false if braces => Err(self.expected("the end after `}`")),
            false => Err(self.expected("a comma or the end")),
        }
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let start = self.at;
        let name = self.word("the name of a label")?;
        if name.is_empty() {
            return Err(self.at(start).wrong("the name of a label is empty"));
        }
        self.blanks();
        let ops = [Op::Match, Op::NotMatch, Op::NotEqual, Op::Equal];
        let Some(op) = ops.into_iter().find(|op| self.take(op.as_str())) else {
            return Err(self.expected("`=`, `!=`, `=~` or `!~`"));
        };
        self.blanks();
        let start = self.at;
        let value = self.word("a value")?;
        Matcher::new(name, op, value).map_err(|why| self.at(start).wrong(&why))
    }

    /// A name or value, in double quotes or without.
    fn word(&mut self, what: &str) -> Result<String, ParseError> {
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        let reserved = |c: char| c.is_whitespace() || "{}!=~,\\\"'`".contains(c);
        let end = self.rest().find(reserved).unwrap_or(self.rest().len());
        let word = self.rest()[..end].to_owned();
        if word.is_empty() {
            return Err(self.expected(what));
        }
        self.at += end;
        Ok(word)
    }

    fn quoted(&mut self) -> Result<String, ParseError> {
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += offset + 1;
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => out.push(c),
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, c)) => out.extend(['\\', c]),
                    None => break,
                },
                c => out.push(c),
            }
        }
        Err(self.wrong("the quote is not closed"))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn at(&self, at: usize) -> Self {
        Self { text: self.text, at }
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expected(&self, what: &str) -> ParseError {
        let found = match self.rest().chars().next() {
            None => "nothing".to_owned(),
            Some(c) if c.is_control() => format!("`{}`", c.escape_default()),
            Some(c) => format!("`{c}`"),
        };
        self.wrong(&format!("expected {what}, found {found}"))
    }

    fn wrong(&self, text: &str) -> ParseError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        ParseError { column: before.chars().count() + 1, text: text.to_owned() }
    }
}

/// Reads back as the same: values in quotes, names too where they hold what ends a name.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = !self.name.is_empty() && self.name.chars().all(|c| c.is_alphanumeric() || "_.-:/".contains(c));
        let name = if plain { self.name.clone() } else { in_quotes(&self.name) };
        write!(f, "{name}{}{}", self.op.as_str(), in_quotes(&self.value))
    }
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// In braces: `{foo="bar", baz=~"x|y"}`.
impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, matcher) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{matcher}")?;
        }
        f.write_str("}")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Matcher {}

impl PartialOrd for Matcher {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Matcher {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.name, self.op, &self.value).cmp(&(&other.name, other.op, &other.value))
    }
}

/// A list of texts, one a matcher.
impl Serialize for Matchers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

/// A list of texts, each of one or several matchers, or one such text.
impl<'de> Deserialize<'de> for Matchers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Texts)
    }
}

struct Texts;

/// One text of the list; a type of its own, so that a mistake in it has its place in the list.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Text(Matchers);

impl TryFrom<String> for Text {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        parse(&text).map(Self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Matchers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of matchers such as [team=\"shop\"]")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Matchers, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Matchers, E> {
        Ok(Matchers::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Matchers, A::Error> {
        let mut all = Vec::new();
        while let Some(Text(matchers)) = seq.next_element()? {
            all.extend(matchers.0);
            if all.len() > MAX_MATCHERS {
                return Err(A::Error::custom(format_args!("at most {MAX_MATCHERS} matchers")));
            }
        }
        Ok(Matchers(all))
    }
}

#[cfg(test)]
mod tests;
