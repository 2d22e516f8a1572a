//! Bytes and words.
//!
//! What comes in: bytes of a line. What goes out: their class, their hash, and whether a word is one of a known kind (level,
//! month, unit, top-level domain ...). What never happens here: an allocation, or the name of a system.

/// Ends a word: a blank or a delimiter.
pub(super) const STOP: u8 = 1;
pub(super) const DIGIT: u8 = 2;
/// Neither a digit nor `a` to `f`.
pub(super) const NOT_HEX: u8 = 4;
/// `/` or `\`.
pub(super) const SLASH: u8 = 8;
pub(super) const DOT: u8 = 16;
/// `@`, `#`.
pub(super) const AT: u8 = 32;
/// Bytes from 128 count as letters.
pub(super) const LETTER: u8 = 64;
pub(super) const BLANK: u8 = 128;

pub(super) static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => STOP | BLANK,
            b'=' | b':' | b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b'"' | b'\'' | b'|'
            | b'`' => STOP,
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => LETTER,
            b'g'..=b'z' | b'G'..=b'Z' | 0x80.. => LETTER | NOT_HEX,
            b'/' | b'\\' => SLASH | NOT_HEX,
            b'.' => DOT | NOT_HEX,
            b'@' | b'#' => AT | NOT_HEX,
            _ => NOT_HEX,
        };
        byte += 1;
    }
    table
}

#[inline]
pub(super) fn class(byte: u8) -> u8 {
    CLASS[byte as usize]
}

#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    class(byte) & BLANK != 0
}

/// A blank or one of ``= : , ; ( ) [ ] { } < > " ' | ` ``.
#[inline]
pub(super) fn is_stop(byte: u8) -> bool {
    class(byte) & STOP != 0
}

#[inline]
pub(super) fn is_letter(byte: u8) -> bool {
    class(byte) & LETTER != 0
}

#[inline]
pub(super) fn is_alnum(byte: u8) -> bool {
    class(byte) & (LETTER | DIGIT) != 0
}

#[inline]
pub(super) fn all_digits(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

/// The constants are those of wyhash.
const K: [u64; 3] = [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db, 0x8ebc_6af0_9c88_c6e3];

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

#[inline]
fn read8(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[inline]
fn read4(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, |b| u64::from(u32::from_le_bytes(b)))
}

/// The hash of a word; the highest bit is always set, so that it never is one of the reserved small values.
#[inline]
pub(super) fn word_hash(word: &[u8]) -> u64 {
    let n = word.len();
    let (a, b) = match n {
        0 => (0, 0),
        1..=3 => (u64::from(word[0]) << 16 | u64::from(word[n / 2]) << 8 | u64::from(word[n - 1]), 0),
        4..=7 => (read4(word, 0), read4(word, n - 4)),
        8..=16 => (read8(word, 0), read8(word, n - 8)),
        _ => {
            let mut state = n as u64;
            let (chunks, _) = word.as_chunks::<8>();
            for chunk in chunks {
                state = fold(u64::from_le_bytes(*chunk) ^ state, K[2]);
            }
            (state, read8(word, n - 8))
        }
    };
    fold(a ^ K[0], b ^ K[1] ^ n as u64) | 1 << 63
}

/// One term of the sum that is a sequence's hash: what stands at place `i`.
#[inline]
pub(super) fn mix(atom: u64, i: usize) -> u64 {
    fold(atom.wrapping_add((i as u64 + 1).wrapping_mul(K[2])) ^ K[1], K[0])
}

/// Without these bytes, none of them a letter or a digit, at both ends.
#[inline]
pub(super) fn strip<'a>(word: &'a [u8], bytes: &[u8]) -> &'a [u8] {
    match word {
        [one] if is_alnum(*one) => word,
        [first, .., last] if is_alnum(*first) && is_alnum(*last) => word,
        _ => strip_marks(word, bytes),
    }
}

fn strip_marks<'a>(word: &'a [u8], bytes: &[u8]) -> &'a [u8] {
    let Some(start) = word.iter().position(|b| !bytes.contains(b)) else { return &[] };
    let end = word.iter().rposition(|b| !bytes.contains(b)).map_or(start, |at| at + 1);
    word.get(start..end).unwrap_or_default()
}

/// Without these bytes at the end.
pub(super) fn strip_end<'a>(word: &'a [u8], bytes: &[u8]) -> &'a [u8] {
    let end = word.iter().rposition(|b| !bytes.contains(b)).map_or(0, |at| at + 1);
    word.get(..end).unwrap_or_default()
}

/// Calls `test` with the word in lower case; false for words longer than any that is looked for.
fn lower<const N: usize>(word: &[u8], test: impl Fn(&[u8]) -> bool) -> bool {
    let mut copy = [0u8; N];
    let Some(copy) = copy.get_mut(..word.len()) else { return false };
    copy.copy_from_slice(word);
    copy.make_ascii_lowercase();
    test(copy)
}

/// A level, with whatever brackets around it.
pub(super) fn is_level(token: &[u8]) -> bool {
    lower::<13>(strip(token, b"[]()<>:,|"), |word| {
        matches!(
            word,
            b"trace"
                | b"debug"
                | b"info"
                | b"notice"
                | b"warn"
                | b"warning"
                | b"error"
                | b"err"
                | b"fatal"
                | b"critical"
                | b"crit"
                | b"alert"
                | b"emerg"
                | b"emergency"
                | b"panic"
                | b"severe"
                | b"fine"
                | b"finer"
                | b"finest"
                | b"config"
                | b"verbose"
                | b"information"
                | b"informational"
                | b"dpanic"
                | b"trc"
                | b"dbg"
                | b"inf"
                | b"wrn"
                | b"ftl"
        )
    })
}

/// A level of one letter.
pub(super) fn is_level_letter(token: &[u8]) -> bool {
    matches!(strip(token, b"[](),:|"), [b'V' | b'D' | b'I' | b'W' | b'E' | b'F' | b'T' | b'C'])
}

pub(super) fn is_month(word: &[u8]) -> bool {
    matches!(
        word,
        b"Jan" | b"Feb" | b"Mar" | b"Apr" | b"May" | b"Jun" | b"Jul" | b"Aug" | b"Sep" | b"Oct" | b"Nov" | b"Dec"
    )
}

pub(super) fn is_day(word: &[u8]) -> bool {
    matches!(word, b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun")
}

/// Names of time zones that stand behind a time.
pub(super) fn is_zone(word: &[u8]) -> bool {
    matches!(
        word,
        b"UTC"
            | b"GMT"
            | b"CET"
            | b"CEST"
            | b"EST"
            | b"EDT"
            | b"CST"
            | b"CDT"
            | b"PST"
            | b"PDT"
            | b"MST"
            | b"MDT"
            | b"BST"
            | b"IST"
            | b"JST"
            | b"AM"
            | b"PM"
    )
}

/// What a unit behind a number measures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes.
    Size,
    Time,
    /// A rate, a share, or a letter that may be anything.
    Other,
}

/// What a word measures that is a unit. A bare `M`, `T` or `G` is none.
pub(super) fn unit_of(word: &[u8]) -> Option<Unit> {
    if matches!(word, b"M" | b"T" | b"G") {
        return None;
    }
    let mut copy = [0u8; 12];
    let word = {
        let copy = copy.get_mut(..word.len())?;
        copy.copy_from_slice(word);
        copy.make_ascii_lowercase();
        &*copy
    };
    Some(match word {
        b"b" | b"kb" | b"mb" | b"gb" | b"tb" | b"kib" | b"mib" | b"gib" | b"tib" | b"bytes" | b"byte" => Unit::Size,
        b"ns" | b"us" | b"\xc2\xb5s" | b"ms" | b"s" | b"sec" | b"secs" | b"msec" | b"msecs" | b"usec" | b"second"
        | b"seconds" | b"millis" | b"milliseconds" | b"microseconds" | b"nanoseconds" | b"min" | b"mins"
        | b"minute" | b"minutes" | b"h" | b"hr" | b"hrs" | b"hour" | b"hours" | b"day" | b"days" => Unit::Time,
        b"k" | b"m" | b"g" | b"t" | b"%" | b"percent" | b"b/s" | b"kb/s" | b"mb/s" | b"gb/s" | b"kib/s" | b"mib/s"
        | b"bytes/s" | b"bytes/sec" | b"kbps" | b"mbps" | b"hz" | b"khz" | b"mhz" | b"ghz" => Unit::Other,
        _ => return None,
    })
}

/// The values that stand for yes, no and nothing.
pub(super) fn is_truth(word: &[u8]) -> bool {
    lower::<9>(word, |word| matches!(word, b"true" | b"false" | b"null" | b"none" | b"nil" | b"undefined" | b"nan"))
}

/// What follows such a word is a name.
pub(super) fn is_cue(word: &[u8]) -> bool {
    lower::<9>(word, |word| {
        matches!(
            word,
            b"user"
                | b"username"
                | b"account"
                | b"host"
                | b"hostname"
                | b"node"
                | b"file"
                | b"filename"
                | b"dir"
                | b"directory"
                | b"path"
        )
    })
}

pub(super) fn is_source_ending(word: &[u8]) -> bool {
    matches!(
        word,
        b"java"
            | b"py"
            | b"go"
            | b"rs"
            | b"c"
            | b"cc"
            | b"cpp"
            | b"cxx"
            | b"h"
            | b"hpp"
            | b"js"
            | b"ts"
            | b"rb"
            | b"php"
            | b"cs"
            | b"kt"
            | b"scala"
            | b"m"
            | b"mm"
            | b"swift"
            | b"pl"
            | b"erl"
            | b"ex"
    )
}

pub(super) fn is_method(word: &[u8]) -> bool {
    matches!(word, b"GET" | b"POST" | b"PUT" | b"DELETE" | b"HEAD" | b"PATCH" | b"OPTIONS" | b"CONNECT" | b"TRACE")
}

/// Top-level domains that are not words or code too.
pub(super) fn is_top_level_domain(word: &[u8]) -> bool {
    lower::<11>(word, |word| {
        matches!(
            word,
            b"com"
                | b"org"
                | b"net"
                | b"edu"
                | b"gov"
                | b"mil"
                | b"int"
                | b"io"
                | b"dev"
                | b"app"
                | b"cloud"
                | b"local"
                | b"internal"
                | b"lan"
                | b"localdomain"
                | b"svc"
                | b"arpa"
                | b"info"
                | b"biz"
                | b"us"
                | b"uk"
                | b"de"
                | b"fr"
                | b"nl"
                | b"es"
                | b"se"
                | b"fi"
                | b"dk"
                | b"cz"
                | b"ch"
                | b"pt"
                | b"gr"
                | b"ru"
                | b"ua"
                | b"tr"
                | b"cn"
                | b"hk"
                | b"tw"
                | b"jp"
                | b"kr"
                | b"sg"
                | b"th"
                | b"vn"
                | b"au"
                | b"nz"
                | b"ca"
                | b"mx"
                | b"br"
                | b"ar"
                | b"cl"
                | b"co"
                | b"za"
                | b"eu"
                | b"tv"
        )
    })
}

/// Where in the code a line was written: `Name#12`, `Name@12`, `file.ext:12` with a source extension.
pub(super) fn is_place(word: &[u8]) -> bool {
    let digits = word.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=5).contains(&digits) {
        return false;
    }
    let Some((sep, name)) = word.get(..word.len() - digits).and_then(<[u8]>::split_last) else { return false };
    let Some(first) = name.first() else { return false };
    match sep {
        b'#' | b'@' => {
            !first.is_ascii_digit() && (first.is_ascii_uppercase() || name.iter().any(|b| matches!(b, b'.' | b'$')))
        }
        b':' => {
            let ending = name.rsplit(|b| *b == b'.').next().unwrap_or_default();
            ending.len() < name.len() && is_source_ending(ending) && !name.contains(&b'/')
        }
        _ => false,
    }
}

/// The code place at the end of a header's column: `thread:Class@12`, `x.y.Class#12`, `file.cc:12]`.
pub(super) fn place_in(token: &[u8]) -> Option<&[u8]> {
    let token = strip(token, b"[](),:");
    let digits = token.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let before = token.len().checked_sub(digits + 1)?;
    let inside: fn(&u8) -> bool = match (digits, token.get(before)?) {
        (1..=5, b'#' | b'@') => |b| is_alnum(*b) || matches!(b, b'_' | b'$' | b'.'),
        (1..=5, b':') => |b| is_alnum(*b) || matches!(b, b'_' | b'$' | b'.' | b'-'),
        _ => return None,
    };
    let start = token.get(..before)?.iter().rposition(|b| !inside(b)).map_or(0, |at| at + 1);
    let place = token.get(start..)?;
    if is_place(place) { Some(place) } else { None }
}

/// A dotted name with a known last label (and not a package name, which begins with one), or one with `:port` behind it.
pub(super) fn is_host(word: &[u8], port_follows: bool) -> bool {
    let Some(dot) = word.iter().rposition(|b| *b == b'.') else { return false };
    let last = word.get(dot + 1..).unwrap_or_default();
    let with_port = port_follows && !is_source_ending(last);
    if !(with_port || is_top_level_domain(last))
        || !word.iter().all(|b| is_alnum(*b) || matches!(b, b'.' | b'-' | b'_'))
    {
        return false;
    }
    if with_port {
        return true;
    }
    let labels = word.iter().filter(|b| **b == b'.').count() + 1;
    let first = word.split(|b| *b == b'.').next().unwrap_or_default();
    labels >= if last.len() > 2 { 2 } else { 3 }
        && !is_top_level_domain(first)
        && word.split(|b| *b == b'.').all(|label| !label.is_empty())
}
