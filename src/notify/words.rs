//! Numbers, counts, lengths of time and rows of bars as people read them.
//!
//! What comes in: figures. What goes out: plain text of ours, which needs no escaping.

use crate::time::{Nanos, SECOND};

/// Numbers as people read them: about three figures, thousands apart, no zeros at the end.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    let whole = match thousands(whole) {
        zero if zero == "-0" && part.is_empty() => "0".to_owned(),
        whole => whole,
    };
    if part.is_empty() { whole } else { format!("{whole}.{part}") }
}

/// `1234567` as `1,234,567`.
fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut out = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its word: `1 window`, `3,412 lines`.
#[must_use]
pub fn count(n: u64, word: &str) -> String {
    format!("{} {word}{}", thousands(&n.to_string()), if n == 1 { "" } else { "s" })
}

/// A length of time in words, its two largest units: `1 hour 20 minutes`.
#[must_use]
pub fn duration(length: Nanos) -> String {
    let seconds = u64::try_from(length.max(0) / SECOND).unwrap_or(0);
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let Some(first) = units.iter().position(|(size, _)| seconds >= *size) else {
        return "less than a second".to_owned();
    };
    let (size, word) = units[first];
    let big = count(seconds / size, word);
    match units.get(first + 1).map(|(small, word)| (seconds % size / small, word)) {
        Some((rest, word)) if rest > 0 => format!("{big} {}", count(rest, word)),
        _ => big,
    }
}

/// A row of bars, scaled from zero to the highest; `None` when there is nothing to compare.
#[must_use]
pub fn sparkline(rates: &[f64]) -> Option<String> {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let top = rates.iter().copied().filter(|rate| rate.is_finite()).fold(0.0, f64::max);
    if rates.len() < 2 || top <= 0.0 {
        return None;
    }
    let bar = |rate: &f64| {
        let height = if rate.is_finite() { (rate / top).clamp(0.0, 1.0) } else { 0.0 };
        BARS[((height * 7.0).round() as usize).min(7)]
    };
    Some(rates.iter().map(bar).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (3.0, "3"),
            (9.25, "9.25"),
            (20.066, "20.1"),
            (214.4, "214"),
            (1_234_567.0, "1,234,567"),
            (-1234.4, "-1,234"),
            (999.9, "1,000"),
            (-0.0001, "0"),
            (0.0333, "0.033"),
            (f64::NAN, "unknown"),
            (f64::INFINITY, "unknown"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn lengths_of_time_are_words() {
        for (seconds, text) in [
            (0, "less than a second"),
            (-5, "less than a second"),
            (1, "1 second"),
            (60, "1 minute"),
            (80, "1 minute 20 seconds"),
            (4_800, "1 hour 20 minutes"),
            (3_605, "1 hour"),
            (183_600, "2 days 3 hours"),
        ] {
            assert_eq!(duration(seconds * SECOND), text);
        }
    }

    #[test]
    fn bars_start_at_zero() {
        assert_eq!(sparkline(&[0.0, 1.0, 7.0, f64::NAN]).as_deref(), Some("▁▂█▁"));
        assert_eq!(sparkline(&[2.0, 2.0]).as_deref(), Some("██"));
        for nothing in [&[][..], &[1.0], &[0.0, 0.0]] {
            assert_eq!(sparkline(nothing), None);
        }
    }
}
