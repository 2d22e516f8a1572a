//! How many bytes of memory things take, told from how many there are.
//!
//! What comes in: numbers of things. What goes out: bytes as the containers of the standard library ask for them. What never
//! happens here: a look at a capacity, which depends on what was there before: two equal states weigh the same, so what is
//! dropped for want of memory is the same after a restart and in a replay.

/// A list that grew one by one: it doubles.
#[must_use]
pub const fn list<T>(len: usize) -> usize {
    let room = match len {
        0 => 0,
        1..=4 => 4,
        _ => len.next_power_of_two(),
    };
    room * size_of::<T>()
}

/// A hash map: eight slots of seven are used at most, then it doubles.
#[must_use]
pub const fn map<K, V>(len: usize) -> usize {
    let slots = match len {
        0 => return 0,
        1..=3 => 4,
        4..=7 => 8,
        _ => (len * 8 / 7).next_power_of_two(),
    };
    slots * (size_of::<(K, V)>() + 1) + 16
}

/// A tree map: nodes of eleven, two thirds full.
#[must_use]
pub const fn tree<K, V>(len: usize) -> usize {
    len * size_of::<(K, V)>() * 3 / 2 + len * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_asked_for() {
        for (held, asked) in [
            (list::<u64>(0), 0),
            (list::<u64>(3), 32),
            (list::<u64>(1_000), 8_192),
            (map::<u64, u32>(0), 0),
            (map::<u64, u64>(7), 8 * 17 + 16),
            (map::<u64, u64>(1_000), 2_048 * 17 + 16),
        ] {
            assert_eq!(held, asked);
        }
    }
}
