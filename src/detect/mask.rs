//! Lines made comparable, and lines made safe.
//!
//! What comes in: a line as a stranger wrote it. What goes out: a hash that is the same for lines that differ in numbers
//! and ids only, or a line without secrets and personal data, cut to
//! length. What never happens here: storing an unmasked line.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::personal::mask_personal;
use super::{Level, Sample};
use crate::time::Nanos;

/// Longest [`Sample::line`] in bytes.
pub const SAMPLE_BYTES: usize = 512;
/// Of a long line only this much is searched for secrets; the rest is never kept.
const SEARCH_BYTES: usize = 4096;
pub(super) const MASK: &str = "[masked]";
const CUT: &str = "…";

/// The hash of a line in which numbers, hexadecimal ids and UUIDs count alike. One pass, no allocation; not stable over
/// versions.
#[must_use]
pub fn message_hash(line: &str) -> u64 {
    let line = line.as_bytes();
    let mut hash = Mixer::default();
    let (mut done, mut word, mut at) = (0, 0, 0);
    while let Some(&byte) = line.get(at) {
        match CLASS[byte as usize] {
            OTHER => {
                at += 1;
                word = at;
            }
            DIGIT => {
                hash.add(line.get(done..word).unwrap_or_default());
                let end = at
                    + line.get(at..).map_or(0, |rest| rest.iter().take_while(|b| CLASS[**b as usize] != OTHER).count());
                let id = uuid_end(line, word, end);
                match id {
                    Some(_) => hash.add(b"#"),
                    None => mask_word(&mut hash, line.get(word..end).unwrap_or_default()),
                }
                let end = id.unwrap_or(end);
                (done, word, at) = (end, end, end);
            }
            _ => at += 1,
        }
    }
    hash.add(line.get(done..).unwrap_or_default());
    hash.0
}

const OTHER: u8 = 0;
const LETTER: u8 = 1;
const HEX_LETTER: u8 = 2;
const DIGIT: u8 = 3;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => HEX_LETTER,
            b'g'..=b'z' | b'G'..=b'Z' | b'_' | 0x80.. => LETTER,
            _ => OTHER,
        };
        byte += 1;
    }
    table
}

/// A word with a digit: ids count as one sign, in other words (`web12`) only the digits do.
fn mask_word(hash: &mut Mixer, word: &[u8]) {
    let mut runs = 0;
    let mut hex = true;
    let mut last = OTHER;
    for byte in word {
        let class = CLASS[*byte as usize];
        runs += usize::from(class == DIGIT && last != DIGIT);
        hex &= class >= HEX_LETTER;
        last = class;
    }
    if runs > 1 || (hex && word.len() >= 6) || (runs == 1 && word.iter().all(u8::is_ascii_digit)) {
        hash.add(b"#");
        return;
    }
    let start = word.iter().position(u8::is_ascii_digit).unwrap_or(word.len());
    let end = word.iter().rposition(u8::is_ascii_digit).map_or(word.len(), |at| at + 1);
    hash.add(word.get(..start).unwrap_or_default());
    hash.add(b"#");
    hash.add(word.get(end..).unwrap_or_default());
}

/// The end of the UUID that starts at `start`, when its first part ends at `end` and there is one.
fn uuid_end(line: &[u8], start: usize, end: usize) -> Option<usize> {
    if end - start != 8 || line.get(end) != Some(&b'-') {
        return None;
    }
    let text = line.get(start..start + 36)?;
    let fits = text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => CLASS[*byte as usize] >= HEX_LETTER,
    });
    if fits { Some(start + 36) } else { None }
}

/// A fast hash of pieces, eight bytes at a time; the multiplier is that of splitmix64.
#[derive(Default)]
struct Mixer(u64);

impl Mixer {
    fn add(&mut self, piece: &[u8]) {
        let (chunks, rest) = piece.as_chunks::<8>();
        for chunk in chunks {
            self.word(u64::from_le_bytes(*chunk));
        }
        let mut last = [0u8; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.word(u64::from_le_bytes(last) ^ ((piece.len() as u64) << 56));
    }

    fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.0 = mixed ^ (mixed >> 29);
    }
}

/// The line with keys, tokens, passwords and the like replaced by `[masked]`; borrowed when there are none.
#[must_use]
pub fn mask_secrets(line: &str) -> Cow<'_, str> {
    let Some(secrets) = SECRETS.as_ref() else {
        return Cow::Borrowed(MASK);
    };
    if !secrets.hint.is_match(line) {
        return Cow::Borrowed(line);
    }
    let mut masked = Cow::Borrowed(line);
    for (pattern, replacement) in &secrets.patterns {
        if let Cow::Owned(changed) = pattern.replace_all(&masked, *replacement) {
            masked = Cow::Owned(changed);
        }
    }
    masked
}

/// The line without secrets and without personal data, as it may be stored and shown; borrowed when it has none.
#[must_use]
pub fn masked(line: &str) -> Cow<'_, str> {
    mask_personal(mask_secrets(line))
}

/// The line as evidence: masked, then cut to [`SAMPLE_BYTES`].
#[must_use]
pub fn sample(ts: Nanos, level: Level, line: &str) -> Sample {
    let masked = masked(searched(line));
    let line = if masked.len() <= SAMPLE_BYTES {
        masked.into_owned()
    } else {
        format!("{}{CUT}", head(&masked, SAMPLE_BYTES - CUT.len()))
    };
    Sample { ts, level, line, variables: Vec::new() }
}

/// The first bytes of a text, at most so many, in whole characters.
pub(super) fn head(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// The part of a line that is searched, all that need be kept of it; a word that the cut has broken, perhaps a secret, is left out.
#[must_use]
pub fn searched(line: &str) -> &str {
    if line.len() <= SEARCH_BYTES {
        return line;
    }
    let cut = head(line, SEARCH_BYTES);
    let end =
        cut.rfind(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '&')).filter(|end| *end > 0);
    end.and_then(|end| cut.get(..end)).unwrap_or(cut)
}

struct Secrets {
    /// Matches every line that any pattern matches, quickly.
    hint: Regex,
    patterns: Vec<(Regex, &'static str)>,
}

/// `None` only if a pattern were wrong, which a test excludes; then every line is masked whole.
static SECRETS: LazyLock<Option<Secrets>> = LazyLock::new(|| {
    let hint = Regex::new(HINT).ok()?;
    let patterns = PATTERNS.iter().map(|(pattern, with)| Some((Regex::new(pattern).ok()?, *with)));
    Some(Secrets { hint, patterns: patterns.collect::<Option<_>>()? })
});

const HINT: &str = concat!(
    r"(?i-u)pass|pwd|secret|token|key|auth|bearer|basic |cookie|credential|session|signature|sig=|jsessionid",
    r"|AKIA|ASIA|AROA|AIDA|eyJ|-----BEGIN|hooks|://|gh[pousr]_|github_pat|glpat|glsa_|glc_|xox|xapp|sk-|[rs]k_|AIza",
    r"|npm_|SG\.|hvs\.|bot[0-9]|ya29|dop_v1"
);

/// What is masked, and with what; `$1` keeps what tells the reader what it was. Shapes are those the issuers document.
const PATTERNS: [(&str, &str); 10] = [
    (r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)", MASK),
    // Header and URL first, so that the key-value rule finds nothing left of them.
    (
        r#"(?i)(authorization\\*["']?\s*[:=]\s*\\*["']?(?:(?:bearer|basic|digest|token|negotiate|apikey)\s+)?)[^\s"',;\\]+"#,
        "${1}[masked]",
    ),
    (r"(?i)\b((?:bearer|basic)\s+)[a-z0-9._~+/-]{12,}=*", "${1}[masked]"),
    (r#"(://[^\s/:@"']*:)[^\s/@"']+@"#, "${1}[masked]@"),
    (r#"(://)[^\s/:@"']{16,}@"#, "${1}[masked]@"),
    (
        r#"(?i)(hooks\.slack\.com/|discord(?:app)?\.com/api/webhooks/|webhook\.office\.com/|office\.com/webhook/|/hooks/|api\.telegram\.org/bot)[^\s"'<>\\]{8,}"#,
        "${1}[masked]",
    ),
    (r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?", MASK),
    (
        r"\b(?:(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|gls?a?c?_[A-Za-z0-9_]{20,}|xox[a-z]-[A-Za-z0-9_-]{8,}|xapp-[A-Za-z0-9_-]{8,}|sk-[A-Za-z0-9_-]{16,}|[rs]k_(?:live|test)_[A-Za-z0-9_]{10,}|AIza[A-Za-z0-9_-]{30,}|npm_[A-Za-z0-9_]{30,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|hvs\.[A-Za-z0-9_]{20,}|ya29\.[A-Za-z0-9_-]{16,}|dop_v1_[A-Za-z0-9_]{20,}|\d{6,}:AA[A-Za-z0-9_-]{30,})",
        MASK,
    ),
    (
        r#"(?i)((?:pass(?:word|wd|phrase)|pwd|secret|token|api[-_.]?key|access[-_.]?key(?:[-_.]?id)?|secret[-_.]?key|private[-_.]?key|signing[-_.]?key|account[-_.]?key|credentials?|session[-_]?id|jsessionid|cookie|signature|auth)(?:\\*["'])?\s*[:=]\s*)(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\"(?:[^"\\]|\\[^"])*\\"|[^\s,;&"'}\])]+)"#,
        "${1}[masked]",
    ),
    (r#"(?i)([?&](?:key|sig|pass|code|access_token)=|\bpass=)[^\s&"'<>]+"#, "${1}[masked]"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_compile() {
        for (pattern, _) in PATTERNS {
            assert!(Regex::new(pattern).is_ok(), "{pattern}");
        }
        assert!(SECRETS.is_some());
    }

    #[test]
    fn numbers_and_ids_count_alike() {
        for (one, two) in [
            ("took 12 ms", "took 3456 ms"),
            ("user 5 from 10.0.0.1:80", "user 77 from 192.168.1.20:8080"),
            ("id 3f2504e0-4f89-11d3-9a0c-0305e82c3301 x", "id aaaabbb0-cccc-dddd-eeee-ffffffffff01 x"),
            ("id 12345678-aaaa-bbbb-cccc-dddddddddddd", "id 3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
            ("trace 9139f686ac553a14719f6e376f51fe6c", "trace 60ff2a982a9ce1607eb62dcd74c7625a"),
            ("web1 up", "web23 up"),
            ("at 0x7ffe12", "at 0x55aa0"),
            ("2026-11-20T22:00:00.123Z a", "2026-11-21T03:10:59.001Z a"),
        ] {
            assert_eq!(message_hash(one), message_hash(two), "{one} | {two}");
        }
        for (one, two) in [
            ("took 12 ms", "took 12 s"),
            ("web1 up", "db1 up"),
            ("a", "b"),
            ("", " "),
            ("abcdefgh", "abcdefgi"),
            ("user added", "user deleted"),
            ("x1", "1x"),
        ] {
            assert_ne!(message_hash(one), message_hash(two), "{one} | {two}");
        }
    }

    #[test]
    fn secrets_are_masked_and_their_names_kept() {
        let check = |line: &str, expected: &str| assert_eq!(mask_secrets(line), expected, "{line}");
        check("login password=hunter2 ok", "login password=[masked] ok");
        check(r#"{"user":"a","password":"hun\"ter2","x":1}"#, r#"{"user":"a","password":[masked],"x":1}"#);
        check(r#"{"log":"{\"api_key\":\"abc\"}"}"#, r#"{"log":"{\"api_key\":[masked]}"}"#);
        check("DB_PASSWORD: 's3 cret' next", "DB_PASSWORD: [masked] next");
        check("Authorization: Bearer abc.def-ghi end", "Authorization: Bearer [masked] end");
        check("authorization=\"Basic dXNlcjpwYXNz\"", "authorization=\"Basic [masked]\"");
        check("sent bearer abcdefghijklmnop=", "sent bearer [masked]");
        check("postgres://shop:pa55@db:5432/x", "postgres://shop:[masked]@db:5432/x");
        check("cloning https://0123456789abcdef0123@git.local/x", "cloning https://[masked]@git.local/x");
        check("key AKIAIOSFODNN7EXAMPLE used", "key [masked] used");
        check("jwt eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM ok", "jwt [masked] ok");
        check("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- x", "[masked] x");
        check("-----BEGIN PRIVATE KEY----- MIIE", "[masked]");
        check("POST https://hooks.slack.com/services/T0/B0/XyZ done", "POST https://hooks.slack.com/[masked] done");
        check("with ghp_0123456789abcdefghij0123 now", "with [masked] now");
        check("GET /a?x=1&token=abc&y=2", "GET /a?x=1&token=[masked]&y=2");
        check("GET /a?key=abc HTTP/1.1", "GET /a?key=[masked] HTTP/1.1");
        check("Cookie: sid=abc; theme=dark", "Cookie: [masked]; theme=dark");
    }

    #[test]
    fn harmless_lines_are_borrowed() {
        for line in [
            "tokens=15 passed",
            "the key is under the mat",
            "https://a.b/c?x=1",
            "pass: 5, fail: 0",
            "max_tokens: 3",
            "äöü",
        ] {
            assert!(matches!(mask_secrets(line), Cow::Borrowed(_)), "{line}");
            assert_eq!(mask_secrets(line), line);
        }
    }

    #[test]
    fn samples_are_cut_after_masking_at_a_char() {
        let kept = sample(1, Level::Info, &format!("{} password=hunter2", "ä".repeat(300)));
        assert!(kept.line.len() <= SAMPLE_BYTES && kept.line.ends_with(CUT));
        let kept = sample(1, Level::Info, &format!("{}password=hunter2", "x ".repeat(2045)));
        assert!(!kept.line.contains("hunter"));
        assert_eq!(sample(1, Level::Info, &"x".repeat(10_000)).line.len(), SAMPLE_BYTES);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(line in "(?s).{0,300}") {
            let _ = message_hash(&line);
            assert!(sample(0, Level::Info, &line).line.len() <= SAMPLE_BYTES);
        }
    }
}
