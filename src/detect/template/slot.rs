//! How many different words a slot takes until it is a variable.
//!
//! What comes in: a sequence of atoms. What goes out: the threshold of each slot, by the kind of word in it. The figures
//! were swept on eight systems: 4 to 6 for ordinary words are within 0.001 of one another, 3 and 7 lose. What never happens
//! here: a look at other sequences.

use super::atoms::{V, View, has_alnum, is_word};
use super::byte::{is_cue, is_letter, is_place, strip_end};

/// An ordinary word.
const WORD: u8 = 5;
/// A word that looks like an identifier: `a.b`, `fooBar`, `x-y`.
const IDENTIFIER: u8 = 4;
/// States and enums: `NEW to ASSIGNED`.
const CAPITALS: u8 = 10;
/// After `user`, `host`, `file`: what follows is a name.
const NAME: u8 = 2;
/// Code places tell messages apart, until there are more of them than one message can have.
const PLACE: u8 = 20;
/// No threshold is higher.
pub(super) const MOST: usize = 20;

/// Different values until slot `i` is a variable; 0 for never.
pub(super) fn threshold(seq: View<'_>, i: usize) -> u8 {
    let word = seq.word(i);
    if !seq.atoms.get(i).is_some_and(|atom| is_word(*atom)) || !has_alnum(word) {
        return 0;
    }
    let others =
        (0..seq.atoms.len()).filter(|j| *j != i && seq.word(*j).first().is_some_and(|b| is_letter(*b))).count();
    if others == 0 {
        // Messages of one word are states.
        return if seq.atoms.len() >= 6 { 2 * WORD } else { 0 };
    }
    if is_place(word) {
        return PLACE;
    }
    let before = i.checked_sub(1).map_or(&[][..], |at| seq.word(at));
    let cue = if matches!(before, b"=" | b":") { i.checked_sub(2).map_or(&[][..], |at| seq.word(at)) } else { before };
    let core = strip_end(word, b".,;!?");
    let threshold = if is_capitals(core) {
        CAPITALS
    } else if before != b"=" && is_cue(cue) && others >= 2 {
        return NAME;
    } else if is_identifier(core) {
        IDENTIFIER
    } else {
        WORD
    };
    // Verbs stand first; a name of three parts is none.
    let first = i == 0 && core.iter().filter(|b| **b == b'.').count() < 2;
    if others == 1 || first { 2 * threshold } else { threshold }
}

pub(super) fn is_capitals(word: &[u8]) -> bool {
    word.len() > 1 && word.iter().any(u8::is_ascii_uppercase) && !word.iter().any(u8::is_ascii_lowercase)
}

fn is_identifier(word: &[u8]) -> bool {
    let inner = word.get(1..word.len().max(2) - 1).unwrap_or_default();
    inner.iter().any(|b| matches!(b, b'.' | b'_' | b'-' | b'@' | b'/' | b'$' | b'\\'))
        || word.iter().skip(1).any(u8::is_ascii_uppercase)
}

/// The hash of a sequence's shape: delimiters, variables and the first word as they are, other words as one sign.
pub(super) fn shape(seq: View<'_>, place: u64) -> u64 {
    const WORDS: u64 = 2;
    let first = (0..seq.atoms.len()).find(|i| seq.word(*i).first().is_some_and(|b| is_letter(*b)));
    let sign = |i: usize, atom: u64| if atom == V || !is_word(atom) || first == Some(i) { atom } else { WORDS };
    seq.atoms.iter().enumerate().fold(place, |sum, (i, atom)| sum.wrapping_add(super::byte::mix(sign(i, *atom), i)))
}
