//! Personal data in lines: mail addresses, card numbers, and what the settings name.
//!
//! What comes in: a line whose secrets are masked already. What goes out: the line without personal data. What is looked
//! for is decided once for the process, when its settings are read; before that it is what the defaults say.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::mask::MASK;

/// Patterns of one's own that are taken.
pub const MAX_PATTERNS: usize = 100;
/// Bytes that one of them may take when it is compiled.
const MAX_COMPILED: usize = 1 << 20;

/// `mask:` what is hidden of lines, besides secrets, before anything is stored or sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskConfig {
    /// Mail addresses.
    pub emails: bool,
    /// Numbers of payment cards: 13 to 19 digits, also in groups, whose check digit is right.
    pub cards: bool,
    /// Regular expressions; whatever matches is hidden.
    pub patterns: Vec<String>,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self { emails: true, cards: true, patterns: Vec::new() }
    }
}

/// Digits of a card number.
const LEAST_DIGITS: usize = 13;
const MOST_DIGITS: usize = 19;

/// What is looked for.
#[derive(Debug)]
struct Personal {
    emails: bool,
    cards: bool,
    patterns: Vec<Regex>,
}

static PERSONAL: LazyLock<RwLock<Arc<Personal>>> =
    LazyLock::new(|| RwLock::new(Arc::new(Personal { emails: true, cards: true, patterns: Vec::new() })));

/// `None` only if the pattern were wrong, which a test excludes; then a line with an `@` is masked whole.
static EMAIL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(EMAIL_PATTERN).ok());
const EMAIL_PATTERN: &str =
    r"[\p{L}\p{N}._+'-](?:[\p{L}\p{N}._+'-]|%2B){0,63}(?:@|%40)(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,62})\.)+\p{L}{2,24}";

/// From now on this is hidden. Patterns that cannot be read are left out: the settings were looked at before.
pub fn install(config: &MaskConfig) {
    let patterns = config.patterns.iter().filter_map(|pattern| compile(pattern).ok()).collect();
    let personal = Arc::new(Personal { emails: config.emails, cards: config.cards, patterns });
    *PERSONAL.write().unwrap_or_else(PoisonError::into_inner) = personal;
}

/// A pattern of the settings.
///
/// # Errors
/// What is wrong with it, and at which character.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build();
    let regex = built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "is too big a regular expression; make its repetitions smaller".to_owned(),
        other => format!("is no regular expression: {}", in_words(&other.to_string(), pattern)),
    })?;
    if regex.is_match("") {
        return Err("matches the empty text, so it would hide everything; name at least one character".to_owned());
    }
    Ok(regex)
}

/// The parser's drawing of a mistake in one line.
fn in_words(drawn: &str, pattern: &str) -> String {
    let what = drawn.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or("it cannot be read");
    // The pattern stands indented by four, with a caret below.
    let caret = drawn.lines().find(|line| line.trim_start().starts_with('^')).and_then(|line| line.find('^'));
    match caret {
        Some(at) if !pattern.contains('\n') => format!("{what}, at character {}", at.saturating_sub(4) + 1),
        _ => what.to_owned(),
    }
}

/// The line without personal data.
pub(super) fn mask_personal(line: Cow<'_, str>) -> Cow<'_, str> {
    let personal = Arc::clone(&PERSONAL.read().unwrap_or_else(PoisonError::into_inner));
    mask_by(&personal, line)
}

/// Whether this is the number of a payment card, as far as one can see.
#[must_use]
pub fn is_card(number: &str) -> bool {
    let mut room = [0; MOST_DIGITS];
    let mut count = 0;
    for digit in number.bytes().filter(u8::is_ascii_digit) {
        let Some(place) = room.get_mut(count) else { return false };
        *place = digit;
        count += 1;
    }
    let digits = room.get(..count).unwrap_or_default();
    // Numbers begin with 2 to 6 whoever the issuer is; times since 1970 begin with 1.
    count >= LEAST_DIGITS && matches!(digits.first(), Some(b'2'..=b'6')) && luhn(digits)
}

fn mask_by<'a>(personal: &Personal, line: Cow<'a, str>) -> Cow<'a, str> {
    let mut line = line;
    if personal.emails && (line.contains('@') || line.contains("%40")) {
        let Some(email) = EMAIL.as_ref() else { return Cow::Borrowed(MASK) };
        line = replaced(line, email);
    }
    if personal.cards {
        line = without_cards(line);
    }
    for pattern in &personal.patterns {
        line = replaced(line, pattern);
    }
    line
}

fn replaced<'a>(line: Cow<'a, str>, pattern: &Regex) -> Cow<'a, str> {
    match pattern.replace_all(&line, regex::NoExpand(MASK)) {
        Cow::Owned(changed) => Cow::Owned(changed),
        Cow::Borrowed(_) => line,
    }
}

fn without_cards(line: Cow<'_, str>) -> Cow<'_, str> {
    let found = cards(&line);
    if found.is_empty() {
        return line;
    }
    let (mut out, mut done) = (String::with_capacity(line.len()), 0);
    for place in found {
        out.push_str(line.get(done..place.start).unwrap_or_default());
        out.push_str(MASK);
        done = place.end;
    }
    out.push_str(line.get(done..).unwrap_or_default());
    Cow::Owned(out)
}

/// Where card numbers stand.
fn cards(line: &str) -> Vec<Range<usize>> {
    let bytes = line.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if !bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
            continue;
        }
        let (end, digits) = extent(bytes, at);
        if digits < LEAST_DIGITS {
            at = end;
            continue;
        }
        let groups = run(bytes, at);
        let mut first = 0;
        while first < groups.len() {
            match card_from(line, &groups, first) {
                Some(last) => {
                    let place = groups.get(first).zip(groups.get(last)).map(|(from, to)| from.start..to.end);
                    found.extend(place);
                    first = last + 1;
                }
                None => first += 1,
            }
        }
        at = end;
    }
    found
}

/// Where the groups of digits from here on end, and how many digits there are.
fn extent(bytes: &[u8], from: usize) -> (usize, usize) {
    let (mut at, mut end, mut digits) = (from, from, 0);
    while let Some(byte) = bytes.get(at) {
        if byte.is_ascii_digit() {
            digits += 1;
            end = at + 1;
        } else if at != end || !matches!(byte, b' ' | b'-') {
            break;
        }
        at += 1;
    }
    (end, digits)
}

/// The groups of digits from here on, with one blank or dash between them.
fn run(bytes: &[u8], from: usize) -> Vec<Range<usize>> {
    let (mut groups, mut at) = (Vec::new(), from);
    loop {
        let digits = bytes.get(at..).into_iter().flatten().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return groups;
        }
        groups.push(at..at + digits);
        at += digits;
        if !matches!(bytes.get(at), Some(b' ' | b'-')) {
            return groups;
        }
        at += 1;
    }
}

/// The last group of the card number that begins with this one: as issuers print them, four digits first, then groups of
/// three to six with the same sign between, or all in one.
fn card_from(line: &str, groups: &[Range<usize>], first: usize) -> Option<usize> {
    let bytes = line.as_bytes();
    let start = groups.get(first)?.start;
    let before = start.checked_sub(1).and_then(|at| bytes.get(at));
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.') {
        return None;
    }
    let sign = bytes.get(groups.get(first)?.end);
    let mut best = None;
    for last in first..groups.len().min(first + 6) {
        let group = groups.get(last)?;
        let (is_first, alone) = (last == first, first == last);
        let fits = if is_first { group.len() == 4 || alone } else { (3..=6).contains(&group.len()) };
        let same = is_first || bytes.get(group.start - 1) == sign;
        if !fits || !same || (!is_first && groups.get(first)?.len() != 4) {
            break;
        }
        let after = bytes.get(group.end);
        let ends = !after.is_some_and(u8::is_ascii_alphanumeric);
        if ends && line.get(start..group.end).is_some_and(is_card) {
            best = Some(last);
        }
    }
    best
}

/// The check digit of ISO/IEC 7812.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, byte)| {
            let digit = u32::from(byte - b'0') << (index % 2);
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &str) -> String {
        mask_by(&Personal { emails: true, cards: true, patterns: Vec::new() }, Cow::Borrowed(line)).into_owned()
    }

    #[test]
    fn mail_addresses_are_masked() {
        assert!(EMAIL.is_some());
        let check = |line: &str, expected: &str| assert_eq!(masked(line), expected, "{line}");
        check("mail to ann.lee+shop@mail.example.com failed", "mail to [masked] failed");
        check(r#"{"user":"a_b@x.de","n":1}"#, r#"{"user":"[masked]","n":1}"#);
        check("from=<jörg@müller.example>,", "from=<[masked]>,");
        check("GET /u?mail=ann%40example.com&x=1", "GET /u?mail=[masked]&x=1");
        check("a@b.co, c@d.org", "[masked], [masked]");
        for line in ["Bar@1a2b3c", "lodash@4.17.21", "user@localhost", "@Override", "a @ b.com", "%40"] {
            assert_eq!(masked(line), line);
        }
    }

    #[test]
    fn card_numbers_are_masked() {
        let check = |line: &str, expected: &str| assert_eq!(masked(line), expected, "{line}");
        check("card 4111111111111111 declined", "card [masked] declined");
        check("card 4111 1111 1111 1111, 12/27", "card [masked], 12/27");
        check("card=5500-0000-0000-0004", "card=[masked]");
        check("amex 3782 822463 10005", "amex [masked]");
        check("code 200 4111 1111 1111 1111 ok", "code 200 [masked] ok");
        check(r#""pan":"6011000990139424""#, r#""pan":"[masked]""#);
        check("4222222222222", "[masked]");
        for line in [
            // The check digit is wrong, or it is part of something else, or a time.
            "4111111111111112",
            "a4111111111111111",
            "0.4111111111111111",
            "4111-1111 1111 1111",
            "at 1700000000000000000 ns, 1700000000000 ms",
            "2026-11-21 22 00 01 123456",
            "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
            "41111111111111111111111",
        ] {
            assert_eq!(masked(line), line);
        }
    }

    #[test]
    fn what_is_switched_off_stays() {
        let off = Personal { emails: false, cards: false, patterns: vec![compile("customer-[0-9]+").unwrap()] };
        let line = "a@b.com 4111111111111111 customer-17 $1";
        assert_eq!(mask_by(&off, Cow::Borrowed(line)), "a@b.com 4111111111111111 [masked] $1");
    }

    #[test]
    fn a_mistake_in_a_pattern_has_a_place() {
        let check = |pattern: &str, expected: &str| assert_eq!(compile(pattern).unwrap_err(), expected);
        check("id-(", "is no regular expression: unclosed group, at character 4");
        check(
            "ab[z-a]",
            "is no regular expression: invalid character class range, the start must be <= the end, at character 4",
        );
        check("x*", "matches the empty text, so it would hide everything; name at least one character");
        check("(?:a{1000}){1000}", "is too big a regular expression; make its repetitions smaller");
    }

    proptest::proptest! {
        #[test]
        fn a_card_among_anything_is_found(before in "[a-z =:\"]{0,9}[ =:\"]", after in "[ ,\"][a-z ,]{0,9}", dash: bool) {
            let card = if dash { "4111-1111-1111-1111" } else { "4111111111111111" };
            let line = format!("{before}{card}{after}");
            proptest::prop_assert_eq!(masked(&line), format!("{before}[masked]{after}"));
        }

        #[test]
        fn never_panics_and_is_done_once(line in "(?s)[0-9 @.a-cä-]{0,80}") {
            let once = masked(&line);
            proptest::prop_assert_eq!(masked(&once), once);
        }
    }
}
