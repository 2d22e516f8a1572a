//! Whose fault it is that requests wait.
//!
//! What comes in: hops that take longer than they used to. What goes out: one group for each. Who is slow is waited for by
//! all who call it, and waits for all whom it calls when its network is: the group with the most of these hops is named for
//! all of its own, then the next of what is left (a greedy vertex cover). Of two alike it is the one that is called.

use super::open::Hop;

/// A hop counts for who is called a little more than for who calls.
const CALLEE: u64 = 1_001;
const CALLER: u64 = 1_000;

/// The group that each hop is told of, in the order of the hops.
#[must_use]
pub fn blame(hops: &[Hop]) -> Vec<u32> {
    let mut named: Vec<Option<u32>> = vec![None; hops.len()];
    loop {
        let mut weights: Vec<(u32, u64)> = Vec::new();
        let mut add = |group: u32, weight: u64| match weights.iter_mut().find(|(known, _)| *known == group) {
            Some((_, sum)) => *sum += weight,
            None => weights.push((group, weight)),
        };
        for (hop, _) in hops.iter().zip(&named).filter(|(_, named)| named.is_none()) {
            add(hop.callee, CALLEE);
            if hop.caller != hop.callee {
                add(hop.caller, CALLER);
            }
        }
        let most = weights.into_iter().max_by_key(|(group, weight)| (*weight, std::cmp::Reverse(*group)));
        let Some((group, _)) = most else { break };
        let own = hops.iter().zip(&mut named).filter(|(hop, named)| named.is_none() && hop.has(group));
        own.for_each(|(_, named)| *named = Some(group));
    }
    named.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hops: &[(u32, u32, bool)]) -> Vec<u32> {
        let hops: Vec<Hop> =
            hops.iter().map(|(caller, callee, back)| Hop { caller: *caller, callee: *callee, back: *back }).collect();
        blame(&hops)
    }

    #[test]
    fn the_one_that_all_wait_for_is_named() {
        assert_eq!(told(&[]), Vec::<u32>::new());
        assert_eq!(told(&[(1, 2, false)]), [2], "of two alike the one that is called");
        assert_eq!(told(&[(1, 2, false), (1, 2, true)]), [2, 2]);
        assert_eq!(told(&[(1, 1, false)]), [1]);
        // Both callers of 5 wait for it, and it waits for 6 and 7.
        assert_eq!(told(&[(1, 5, true), (2, 5, true), (5, 6, false), (5, 7, false)]), [5, 5, 5, 5]);
        // Two that are slow at once.
        assert_eq!(told(&[(1, 5, true), (2, 5, true), (3, 8, false), (8, 8, false)]), [5, 5, 8, 8]);
    }
}
