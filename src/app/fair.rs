//! Who of several processes should read which watch: none more than `ceil(n / m)`, none fewer than `floor(n / m)`.
//!
//! What comes in: who lives and who has what, as the store says. What goes out: what this process takes and gives back.
//! Pure, and the same rule in all processes. What is even stays as it is, so nothing moves without need; what moves is free
//! for a moment, and the lease decides between two that want it. What never happens here: asking the store.

use std::collections::{BTreeMap, BTreeSet};

/// A watch that was free so often, one look after the other, is wanted by nobody who is entitled to it (it is not in their
/// settings, or they read once and end): anybody takes it.
const LEFT: u32 = 3;

/// What the store says of all processes.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// This process.
    pub me: String,
    /// All that live.
    pub living: BTreeSet<String>,
    /// Holders by watch.
    pub held: BTreeMap<String, String>,
}

/// What to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// Watches to give back, after their step.
    pub give: Vec<String>,
    /// Watches to ask for.
    pub take: Vec<String>,
}

/// Decides for one process, look after look.
#[derive(Clone, Debug, Default)]
pub(super) struct Fair {
    /// How often a watch was free, by its name.
    free: BTreeMap<String, u32>,
    /// What others left to this process. It would come back if it were given.
    left: BTreeSet<String>,
    living: BTreeSet<String>,
}

impl Fair {
    /// What this process should do, of all watches in its settings.
    pub(super) fn look(&mut self, watches: &[String], view: &View) -> Moves {
        if self.living != view.living {
            // Who has come may want what nobody wanted.
            self.living.clone_from(&view.living);
            self.left.clear();
        }
        let free: Vec<&String> = watches.iter().filter(|watch| !view.held.contains_key(*watch)).collect();
        self.free = free.iter().map(|watch| ((*watch).clone(), self.free.get(*watch).map_or(1, |n| n + 1))).collect();
        let count = Count::new(watches, view);
        let mut take = self.entitled(&free, &count);
        let orphans = self.free.iter().filter(|(watch, looks)| **looks > LEFT && !take.contains(*watch));
        let orphans: Vec<String> = orphans.map(|(watch, _)| watch.clone()).collect();
        self.left.extend(orphans.iter().cloned());
        take.extend(orphans);
        let mine = watches.iter().filter(|watch| view.held.get(*watch) == Some(&view.me));
        let mine: Vec<&String> = mine.filter(|watch| !self.left.contains(*watch)).collect();
        let give = mine.into_iter().rev().take(count.too_many(free.len())).cloned().collect();
        Moves { give, take }
    }

    /// Up to the lower number; one more where enough is left for those that have fewer.
    fn entitled(&self, free: &[&String], count: &Count) -> Vec<String> {
        let wanted = count.low.saturating_sub(count.mine);
        let spare = free.len() > count.wanted() && count.mine + wanted < count.high;
        let many = wanted + usize::from(spare);
        // Each begins elsewhere, so that they seldom want the same.
        let from = count.rank * many.max(1) % free.len().max(1);
        free.iter().cycle().skip(from).take(free.len().min(many)).map(|watch| (*watch).clone()).collect()
    }
}

/// How much everybody has.
struct Count {
    mine: usize,
    /// Place of this process among all.
    rank: usize,
    low: usize,
    high: usize,
    /// What each has, this process too; by name.
    all: Vec<usize>,
}

impl Count {
    fn new(watches: &[String], view: &View) -> Self {
        let mut all: BTreeMap<&String, usize> = view.living.iter().chain([&view.me]).map(|one| (one, 0)).collect();
        for holder in watches.iter().filter_map(|watch| view.held.get(watch)) {
            *all.entry(holder).or_default() += 1;
        }
        let (low, high) = (watches.len() / all.len(), watches.len().div_ceil(all.len()));
        let mine = all.get(&view.me).copied().unwrap_or_default();
        let rank = all.keys().position(|one| **one == view.me).unwrap_or_default();
        Self { mine, rank, low, high, all: all.into_values().collect() }
    }

    /// What those have too few that have fewer than the lower number.
    fn wanted(&self) -> usize {
        self.all.iter().map(|have| self.low.saturating_sub(*have)).sum()
    }

    /// What this process has too many: all above the higher number, and one of those between when others have too few.
    fn too_many(&self, free: usize) -> usize {
        let above = |have: usize| have.saturating_sub(self.high);
        let coming: usize = free + self.all.iter().map(|have| above(*have)).sum::<usize>();
        let missing = self.wanted().saturating_sub(coming);
        let before = self.all.iter().take(self.rank).filter(|have| **have > self.low).count();
        above(self.mine) + usize::from(self.mine > self.low && before < missing)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::btree_map::Entry;

    use proptest::prelude::*;

    use super::*;

    /// Processes with their watches, as the store knows them, and what has moved.
    #[derive(Default)]
    struct World {
        watches: Vec<String>,
        held: BTreeMap<String, String>,
        processes: BTreeMap<String, Fair>,
        moves: usize,
    }

    impl World {
        fn new(watches: usize) -> Self {
            Self { watches: (0..watches).map(|n| format!("w{n:02}")).collect(), ..Self::default() }
        }

        fn join(&mut self, name: &str) {
            self.processes.entry(name.to_owned()).or_default();
        }

        fn leave(&mut self, name: &str) {
            self.processes.remove(name);
            self.held.retain(|_, holder| holder != name);
        }

        fn view(&self, me: &str) -> View {
            let living = self.processes.keys().cloned().collect();
            View { me: me.to_owned(), living, held: self.held.clone() }
        }

        /// Each looks and acts. `stale`: all look before the first acts, as when they do it at the same moment.
        fn beat(&mut self, order: &[String], stale: bool) {
            let before: Vec<View> = order.iter().map(|me| self.view(me)).collect();
            for (me, old) in order.iter().zip(before) {
                let view = if stale { old } else { self.view(me) };
                let watches = self.watches.clone();
                let Some(fair) = self.processes.get_mut(me) else { continue };
                let moves = fair.look(&watches, &view);
                for watch in moves.give {
                    assert_eq!(self.held.remove(&watch).as_ref(), Some(me));
                    self.moves += 1;
                }
                for watch in moves.take {
                    // The lease is given to the first who asks.
                    if let Entry::Vacant(free) = self.held.entry(watch) {
                        free.insert(me.clone());
                        self.moves += 1;
                    }
                }
            }
        }

        fn counts(&self) -> Vec<usize> {
            let count = |me: &String| self.held.values().filter(|holder| *holder == me).count();
            self.processes.keys().map(count).collect()
        }

        fn is_even(&self) -> bool {
            let (n, m) = (self.watches.len(), self.processes.len().max(1));
            let counts = self.counts();
            counts.iter().all(|have| (n / m..=n.div_ceil(m)).contains(have))
                && (self.processes.is_empty() || counts.iter().sum::<usize>() == n)
        }
    }

    #[derive(Clone, Debug)]
    enum Event {
        Join(u8),
        Leave(u8),
        Beat(bool, usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            2 => (0..7u8).prop_map(Event::Join),
            2 => (0..7u8).prop_map(Event::Leave),
            3 => (any::<bool>(), 0..7usize).prop_map(|(stale, from)| Event::Beat(stale, from)),
        ];
        prop::collection::vec(event, 1..40)
    }

    proptest! {
        /// Whoever comes and goes, and however they look: soon after the last change it is even, and stays so.
        #[test]
        fn shares_become_even_and_stay(watches in 0..40usize, events in events(), stale in any::<bool>()) {
            let mut world = World::new(watches);
            world.join("p0");
            let order = |world: &World, from: usize| {
                let mut names: Vec<String> = world.processes.keys().cloned().collect();
                let len = names.len().max(1);
                names.rotate_left(from % len);
                names
            };
            for event in events {
                match event {
                    Event::Join(n) => world.join(&format!("p{n}")),
                    Event::Leave(n) => world.leave(&format!("p{n}")),
                    Event::Beat(stale, from) => world.beat(&order(&world, from), stale),
                }
            }
            if world.processes.is_empty() {
                world.join("p0");
            }
            let mut beats = 0;
            while !world.is_even() {
                let order = order(&world, beats);
                world.beat(&order, stale);
                beats += 1;
                prop_assert!(beats <= 12, "{:?}", world.counts());
            }
            world.moves = 0;
            for from in 0..10 {
                let order = order(&world, from);
                world.beat(&order, stale);
            }
            prop_assert_eq!(world.moves, 0, "what is even stays as it is");
        }
    }

    #[test]
    fn four_watches_of_three_processes_are_never_two_two_none() {
        let mut world = World::new(4);
        for name in ["a", "b"] {
            world.join(name);
        }
        for _ in 0..3 {
            world.beat(&["a".to_owned(), "b".to_owned()], true);
        }
        assert_eq!(world.counts(), [2, 2]);
        world.join("c");
        world.moves = 0;
        for _ in 0..3 {
            world.beat(&["a".to_owned(), "b".to_owned(), "c".to_owned()], true);
        }
        assert_eq!((world.counts(), world.moves), (vec![1, 2, 1], 2), "one is given and taken, nothing else");
    }

    #[test]
    fn what_those_who_are_entitled_do_not_take_is_not_left_alone_and_does_not_swing() {
        let mut world = World::new(4);
        world.join("a");
        world.beat(&["a".to_owned()], false);
        while world.counts() != [4] {
            world.beat(&["a".to_owned()], false);
        }
        // It lives, and takes nothing.
        world.join("idle");
        for _ in 0..20 {
            world.beat(&["a".to_owned()], false);
        }
        world.moves = 0;
        for _ in 0..20 {
            world.beat(&["a".to_owned()], false);
        }
        assert_eq!((world.counts(), world.moves), (vec![4, 0], 0));
    }
}
