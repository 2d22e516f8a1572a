//! The parser: one pass over the text by recursive descent. A position is a byte offset on a character's border.

use super::super::clock::parse_duration;
use super::{Count, Error, Log, Matcher, Metric, Query, Stage, Test};
use regex::Regex;

/// Words of LogQL that the stand-in knows only to refuse them with 501 and not with a syntax error.
const FOREIGN: [&str; 40] = [
    "absent_over_time",
    "approx_topk",
    "avg",
    "avg_over_time",
    "bottomk",
    "bytes_rate",
    "count",
    "first_over_time",
    "label_join",
    "label_replace",
    "last_over_time",
    "max",
    "max_over_time",
    "min",
    "min_over_time",
    "quantile_over_time",
    "rate_counter",
    "sort",
    "sort_desc",
    "stddev",
    "stddev_over_time",
    "stdvar",
    "stdvar_over_time",
    "sum_over_time",
    "topk",
    "variants",
    "vector",
    "without",
    "json",
    "logfmt",
    "pattern",
    "regexp",
    "unpack",
    "unwrap",
    "decolorize",
    "distinct",
    "keep",
    "label_format",
    "line_format",
    "ip",
];

/// One pass over the text; `at` is a byte offset on a character border.
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// A whole query and nothing after it.
    pub(super) fn query(mut self) -> Result<Query, Error> {
        self.blanks();
        if self.done() {
            return Err(Error::Syntax("parse error : syntax error: unexpected $end".to_owned()));
        }
        let query = if self.peek() == Some('{') { Query::Log(self.log()?) } else { Query::Metric(self.metric()?) };
        self.blanks();
        if self.done() { Ok(query) } else { Err(self.foreign_or_unexpected()) }
    }

    /// The labels of a stream and nothing after them, sorted; `None` where the text goes wrong.
    pub(super) fn labels(&mut self) -> Option<Vec<(String, String)>> {
        let mut labels = Vec::new();
        self.blanks();
        if !self.take("{") {
            return None;
        }
        loop {
            self.blanks();
            if self.take("}") {
                break;
            }
            let name = self.word();
            self.blanks();
            if name.is_empty() || !self.take("=") {
                return None;
            }
            self.blanks();
            labels.push((name.to_owned(), self.string().ok()?));
            self.blanks();
            if !self.take(",") && self.peek() != Some('}') {
                return None;
            }
        }
        self.blanks();
        labels.sort();
        self.done().then_some(labels)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn done(&self) -> bool {
        self.at >= self.text.len()
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

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|&(i, c)| !(c.is_ascii_alphabetic() || c == '_' || (i > 0 && c.is_ascii_digit())))
            .map_or(rest.len(), |(i, _)| i);
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn keyword(&mut self, word: &str) -> bool {
        let before = self.at;
        self.blanks();
        if self.word() == word {
            return true;
        }
        self.at = before;
        false
    }

    fn expect(&mut self, token: &str) -> Result<(), Error> {
        self.blanks();
        if self.take(token) { Ok(()) } else { Err(self.unexpected(&format!(", expecting {token}"))) }
    }

    /// A quoted text: double quotes with escapes, or back quotes without.
    fn string(&mut self) -> Result<String, Error> {
        if self.take("`") {
            let rest = self.rest();
            let Some(end) = rest.find('`') else { return Err(self.syntax("literal not terminated")) };
            self.at += end + 1;
            return Ok(rest.get(..end).unwrap_or_default().to_owned());
        }
        if self.peek() != Some('"') {
            return Err(self.unexpected(", expecting STRING"));
        }
        let rest = self.rest();
        let mut out = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(out);
                }
                '\\' => match chars.next().and_then(|(i, c)| escape(c, rest.get(i + 1..)?)) {
                    Some((c, skip)) => {
                        out.push(c);
                        for _ in 0..skip {
                            chars.next();
                        }
                    }
                    None => return Err(self.syntax("invalid char escape")),
                },
                '\n' => break,
                c => out.push(c),
            }
        }
        Err(self.syntax("literal not terminated"))
    }

    fn log(&mut self) -> Result<Log, Error> {
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        while let Some(stage) = self.stage()? {
            stages.push(stage);
        }
        Ok(Log { matchers, stages })
    }

    fn selector(&mut self) -> Result<Vec<Matcher>, Error> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        self.blanks();
        while !self.take("}") {
            matchers.push(self.matcher()?);
            self.blanks();
            if !self.take(",") && self.peek() != Some('}') {
                return Err(self.unexpected(", expecting } or ,"));
            }
            self.blanks();
        }
        if matchers.iter().all(|m| m.test.holds("")) {
            return Err(Error::Syntax(
                "parse error : queries require at least one regexp or equality matcher that does not have an \
                 empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will"
                    .to_owned(),
            ));
        }
        Ok(matchers)
    }

    fn matcher(&mut self) -> Result<Matcher, Error> {
        let name = self.word();
        if name.is_empty() {
            return Err(self.unexpected(""));
        }
        self.blanks();
        let Some(op) = ["=~", "!~", "!=", "="].into_iter().find(|op| self.take(op)) else {
            return Err(match self.peek() {
                Some('>' | '<') => self.foreign(),
                _ => self.unexpected(""),
            });
        };
        self.blanks();
        if op == "=" && self.peek().is_some_and(|c| c == '=' || c.is_ascii_digit()) {
            return Err(self.foreign());
        }
        let text = self.string()?;
        let test = match op {
            "=" => Test::Is(text),
            "!=" => Test::IsNot(text),
            _ => {
                // Loki anchors the patterns of label matchers, and there a dot also fits a line break.
                let regex = self.regex(&format!("^(?s:{text})$"), &text, "")?;
                if op == "=~" { Test::Like(regex) } else { Test::Unlike(regex) }
            }
        };
        Ok(Matcher { name: name.to_owned(), test })
    }

    fn stage(&mut self) -> Result<Option<Stage>, Error> {
        self.blanks();
        let Some(op) = ["|=", "|~", "|>", "!=", "!~", "!>", "|"].into_iter().find(|op| self.take(op)) else {
            return Ok(None);
        };
        match op {
            "|" => self.pipe().map(Some),
            "|>" | "!>" => Err(self.foreign()),
            _ => self.line_filter(op).map(Some),
        }
    }

    fn line_filter(&mut self, op: &str) -> Result<Stage, Error> {
        let mut texts = Vec::new();
        loop {
            self.blanks();
            if self.rest().starts_with("ip(") {
                return Err(self.foreign());
            }
            texts.push(self.string()?);
            if !self.keyword("or") {
                break;
            }
        }
        let keep = op.starts_with('|');
        if op.ends_with('=') {
            return Ok(Stage::Holds { keep, texts });
        }
        let stage = |text: &str| format!("stage '{op} {text:?}' : ");
        let patterns = texts.iter().map(|t| self.regex(t, t, &stage(t))).collect::<Result<_, _>>()?;
        Ok(Stage::Fits { keep, patterns })
    }

    fn pipe(&mut self) -> Result<Stage, Error> {
        self.blanks();
        let start = self.at;
        let word = self.word();
        if word == "drop" {
            return self.drop_names();
        }
        if FOREIGN.contains(&word) {
            self.at = start;
            return Err(self.foreign());
        }
        self.at = start;
        let mut groups = vec![vec![self.matcher()?]];
        loop {
            self.blanks();
            let and = self.take(",") || self.keyword("and");
            if !and && !self.keyword("or") {
                return Ok(Stage::Labels(groups));
            }
            self.blanks();
            let matcher = self.matcher()?;
            match groups.last_mut() {
                Some(group) if and => group.push(matcher),
                _ => groups.push(vec![matcher]),
            }
        }
    }

    fn drop_names(&mut self) -> Result<Stage, Error> {
        let mut names = Vec::new();
        loop {
            self.blanks();
            let name = self.word();
            if name.is_empty() {
                return Err(self.unexpected(", expecting IDENTIFIER"));
            }
            names.push(name.to_owned());
            self.blanks();
            if matches!(self.peek(), Some('=' | '!')) && !self.rest().starts_with("!= ") {
                return Err(self.foreign());
            }
            if !self.take(",") {
                return Ok(Stage::Drop(names));
            }
        }
    }

    fn metric(&mut self) -> Result<Metric, Error> {
        let start = self.at;
        let mut metric = match self.word() {
            "sum" => self.sum()?,
            name => self.range(name, start)?,
        };
        if self.keyword("or") {
            metric.or_vector = Some(self.vector()?);
            if metric.sum_by.as_ref().is_none_or(|names| !names.is_empty()) {
                return Err(Error::Unsupported("or vector() after more than a plain sum".to_owned()));
            }
        }
        Ok(metric)
    }

    fn sum(&mut self) -> Result<Metric, Error> {
        let mut by = self.by()?;
        self.expect("(")?;
        self.blanks();
        let start = self.at;
        let name = self.word();
        if name == "sum" {
            self.at = start;
            return Err(self.foreign());
        }
        let mut metric = self.range(name, start)?;
        self.expect(")")?;
        if by.is_none() {
            by = self.by()?;
        }
        metric.sum_by = Some(by.unwrap_or_default());
        Ok(metric)
    }

    fn by(&mut self) -> Result<Option<Vec<String>>, Error> {
        if !self.keyword("by") {
            return if self.keyword("without") { Err(self.foreign()) } else { Ok(None) };
        }
        self.expect("(")?;
        let mut names = Vec::new();
        self.blanks();
        while !self.take(")") {
            let name = self.word();
            if name.is_empty() {
                return Err(self.unexpected(", expecting IDENTIFIER"));
            }
            names.push(name.to_owned());
            self.blanks();
            if !self.take(",") && self.peek() != Some(')') {
                return Err(self.unexpected(", expecting , or )"));
            }
            self.blanks();
        }
        Ok(Some(names))
    }

    fn range(&mut self, name: &str, start: usize) -> Result<Metric, Error> {
        let count = match name {
            "count_over_time" => Count::Lines,
            "rate" => Count::LinesPerSecond,
            "bytes_over_time" => Count::Bytes,
            _ => {
                self.at = start;
                return Err(self.foreign_or_unexpected());
            }
        };
        self.expect("(")?;
        self.blanks();
        let matchers = self.selector()?;
        let mut log = Log { matchers, stages: Vec::new() };
        let mut range = self.window()?;
        while range.is_none() {
            match self.stage()? {
                Some(stage) => log.stages.push(stage),
                None => return Err(self.unexpected("")),
            }
            range = self.window()?;
        }
        // The window may also stand between selector and filters.
        while let Some(stage) = self.stage()? {
            log.stages.push(stage);
        }
        if self.keyword("offset") {
            return Err(self.foreign());
        }
        self.expect(")")?;
        Ok(Metric { log, count, range: range.unwrap_or_default(), sum_by: None, or_vector: None })
    }

    fn window(&mut self) -> Result<Option<i64>, Error> {
        self.blanks();
        if !self.take("[") {
            return Ok(None);
        }
        let rest = self.rest();
        let end = rest.find(']').unwrap_or(rest.len());
        let Some(range) = rest.get(..end).and_then(|t| parse_duration(t.trim())).filter(|r| *r > 0) else {
            return Err(self.unexpected(", expecting DURATION"));
        };
        self.at += end;
        self.expect("]")?;
        Ok(Some(range))
    }

    fn vector(&mut self) -> Result<f64, Error> {
        if !self.keyword("vector") {
            return Err(self.foreign());
        }
        self.expect("(")?;
        self.blanks();
        let rest = self.rest();
        let end = rest.find(')').unwrap_or(rest.len());
        let Some(value) = rest.get(..end).and_then(|t| t.trim().parse().ok()) else {
            return Err(self.unexpected(", expecting NUMBER"));
        };
        self.at += end;
        self.expect(")")?;
        Ok(value)
    }

    fn regex(&self, pattern: &str, shown: &str, stage: &str) -> Result<Regex, Error> {
        Regex::new(pattern).map_err(|_| {
            let why = if missing_paren(shown) { "missing closing )" } else { "invalid regexp" };
            Error::Syntax(format!("parse error : {stage}error parsing regexp: {why}: `{shown}`"))
        })
    }

    fn syntax(&self, what: &str) -> Error {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let col = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Error::Syntax(format!("parse error at line {line}, col {col}: {what}"))
    }

    fn unexpected(&self, expecting: &str) -> Error {
        let token = match self.peek() {
            None => "$end".to_owned(),
            Some('"' | '`') => "STRING".to_owned(),
            Some(c) if c.is_ascii_digit() => "NUMBER".to_owned(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => "IDENTIFIER".to_owned(),
            Some(c) => c.to_string(),
        };
        self.syntax(&format!("syntax error: unexpected {token}{expecting}"))
    }

    fn foreign(&self) -> Error {
        Error::Unsupported(self.text.chars().take(500).collect())
    }

    /// For text that follows, or stands in place of, a whole expression.
    fn foreign_or_unexpected(&mut self) -> Error {
        self.blanks();
        let start = self.at;
        let word = self.word();
        let operator = self.peek().is_some_and(|c| "+-*/%^<>=!(".contains(c) || c.is_ascii_digit());
        let foreign = FOREIGN.contains(&word) || word == "sum" || (word.is_empty() && operator);
        let logic = ["and", "or", "unless", "offset", "bool"].contains(&word);
        self.at = start;
        if foreign || logic { self.foreign() } else { self.unexpected("") }
    }

    /// The error text of Prometheus' label parser.
    pub(super) fn label_error(&self) -> String {
        let col = self.text.get(..self.at).unwrap_or_default().chars().count() + 1;
        match self.peek() {
            None => format!("1:{col}: parse error: unexpected end of input inside braces"),
            Some(c) => format!("1:{col}: parse error: unexpected character inside braces: '{c}'"),
        }
    }
}

/// The character that an escape stands for, and how many characters after its letter belong to it.
fn escape(letter: char, rest: &str) -> Option<(char, usize)> {
    let hex = |n: usize| Some((char::from_u32(u32::from_str_radix(rest.get(..n)?, 16).ok()?)?, n));
    match letter {
        'n' => Some(('\n', 0)),
        't' => Some(('\t', 0)),
        'r' => Some(('\r', 0)),
        'a' => Some(('\x07', 0)),
        'b' => Some(('\x08', 0)),
        'f' => Some(('\x0c', 0)),
        'v' => Some(('\x0b', 0)),
        '\\' | '"' | '\'' => Some((letter, 0)),
        'x' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        _ => None,
    }
}

fn missing_paren(pattern: &str) -> bool {
    let mut depth = 0_i32;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    depth > 0
}
