//! What is different between two texts of bytes that are much alike.
//!
//! What comes in: an older text and a newer one. What goes out: bytes that make the newer of the older. What never happens here:
//! a panic on bytes that are not ours, or trust in a length they name.

use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;

/// Bytes that are looked up at once: shorter ones that are the same are written again.
const BLOCK: usize = 16;
/// After a change the old text goes on so many bytes earlier or later, at most.
const SHIFT: isize = 4;
/// Bytes that have to be the same for that.
const SURE: usize = 8;
/// No text is longer.
const LONGEST: usize = 1 << 30;

/// What makes `new` of `old`: how many bytes are new and then how many are old from where on, again and again; and behind that
/// the new bytes, all together.
pub(super) fn diff(old: &[u8], new: &[u8]) -> Vec<u8> {
    let blocks = Blocks::of(old);
    let (mut ops, mut fresh) = (Vec::new(), Vec::new());
    // `from`: where the old text goes on when nothing is different; `start`: where new bytes begin.
    let (mut at, mut start, mut from) = (0, 0, 0usize);
    while at < new.len() {
        let Some(found) = resumed(old, new, at, from + (at - start)).or_else(|| blocks.find(new, at)) else {
            at += 1;
            continue;
        };
        let back = same_back(old.get(..found), new.get(start..at));
        let (begin, found) = (at - back, found - back);
        let length = same(old.get(found..), new.get(begin..));
        put(&mut ops, (begin - start) as u64);
        put(&mut ops, length as u64);
        put(&mut ops, zigzag(found as i64 - from as i64));
        fresh.extend_from_slice(new.get(start..begin).unwrap_or_default());
        at = begin + length;
        (start, from) = (at, found + length);
    }
    put(&mut ops, (new.len() - start) as u64);
    put(&mut ops, 0);
    fresh.extend_from_slice(new.get(start..).unwrap_or_default());
    let mut out = Vec::with_capacity(ops.len() + fresh.len() + 8);
    put(&mut out, ops.len() as u64);
    out.extend(ops);
    out.extend(fresh);
    out
}

/// The newer text; `None` when the patch is none, or of another text.
pub(super) fn apply(old: &[u8], patch: &[u8]) -> Option<Vec<u8>> {
    let mut rest = patch;
    let length = usize::try_from(take(&mut rest)?).ok()?;
    let (mut ops, mut fresh) = rest.split_at_checked(length)?;
    let (mut out, mut from) = (Vec::new(), 0i64);
    while !ops.is_empty() {
        let (new, copied) = (usize::try_from(take(&mut ops)?).ok()?, usize::try_from(take(&mut ops)?).ok()?);
        let (head, tail) = fresh.split_at_checked(new)?;
        out.extend_from_slice(head);
        fresh = tail;
        if copied > 0 {
            from = from.checked_add(unzigzag(take(&mut ops)?))?;
            let start = usize::try_from(from).ok()?;
            out.extend_from_slice(old.get(start..start.checked_add(copied)?)?);
            from = from.checked_add(i64::try_from(copied).ok()?)?;
        }
        if out.len() > LONGEST {
            return None;
        }
    }
    if fresh.is_empty() { Some(out) } else { None }
}

/// Where the old text goes on: a number that is in the same place is as long as before, or nearly.
fn resumed(old: &[u8], new: &[u8], at: usize, expected: usize) -> Option<usize> {
    let sure = new.get(at..at + SURE)?;
    let place =
        |shift: isize| expected.checked_add_signed(shift).filter(|place| old.get(*place..*place + SURE) == Some(sure));
    (0..=SHIFT).flat_map(|shift| [shift, -shift]).find_map(place)
}

/// Where the blocks of the old text lie, by their hashes. Of those that share a place only the first is found: what is missed is
/// written again.
struct Blocks<'a> {
    old: &'a [[u8; BLOCK]],
    /// The number of a block, from 1 on; 0 is none.
    table: Vec<u32>,
}

impl<'a> Blocks<'a> {
    fn of(old: &'a [u8]) -> Self {
        let (old, _) = old.as_chunks::<BLOCK>();
        let mut blocks = Self { old, table: vec![0; (2 * old.len()).next_power_of_two()] };
        for (block, number) in old.iter().zip(1..) {
            let place = blocks.place(block);
            if let Some(free) = blocks.table.get_mut(place).filter(|known| **known == 0) {
                *free = number;
            }
        }
        blocks
    }

    fn place(&self, block: &[u8; BLOCK]) -> usize {
        FxBuildHasher.hash_one(u128::from_le_bytes(*block)) as usize & (self.table.len() - 1)
    }

    /// Where the old text has the block that the new one has here.
    fn find(&self, new: &[u8], at: usize) -> Option<usize> {
        let block = new.get(at..)?.first_chunk::<BLOCK>()?;
        let number = (*self.table.get(self.place(block))? as usize).checked_sub(1)?;
        (self.old.get(number)? == block).then_some(number * BLOCK)
    }
}

fn same(old: Option<&[u8]>, new: Option<&[u8]>) -> usize {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    old.iter().zip(new).take_while(|(one, two)| one == two).count()
}

fn same_back(old: Option<&[u8]>, new: Option<&[u8]>) -> usize {
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    old.iter().rev().zip(new.iter().rev()).take_while(|(one, two)| one == two).count()
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_changes_in_place_is_all_that_is_written() {
        let text = |count: u64| -> Vec<u8> {
            (0..2_000u64).flat_map(|n| format!("[{n},{},\"some words of {n}\"],", count + n % 7).into_bytes()).collect()
        };
        let (old, new) = (text(100), text(101));
        let patch = diff(&old, &new);
        assert_eq!(apply(&old, &patch).as_ref(), Some(&new));
        assert!(2 * patch.len() < new.len(), "{} of {}", patch.len(), new.len());
        assert!(diff(&old, &old).len() < 10);
    }

    proptest! {
        #[test]
        fn the_new_text_comes_back(
            old in proptest::collection::vec(0u8..4, 0..600),
            edits in proptest::collection::vec((0usize..600, 0usize..40, proptest::collection::vec(0u8..4, 0..40)), 0..8),
        ) {
            let mut new = old.clone();
            for (at, gone, more) in edits {
                let at = at.min(new.len());
                let end = (at + gone).min(new.len());
                new.splice(at..end, more);
            }
            prop_assert_eq!(apply(&old, &diff(&old, &new)), Some(new));
        }

        #[test]
        fn damaged_bytes_do_no_harm(
            old in proptest::collection::vec(any::<u8>(), 0..100), patch in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = apply(&old, &patch);
        }
    }
}
