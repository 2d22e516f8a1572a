//! What the templates of each group are worth.
//!
//! What comes in: the streams of the groups, and the ends of windows. What goes out: whether templates say anything about
//! a group. Where they do not, it is judged by levels, rates and lengths alone.

use crate::detect::held;
use crate::detect::template::{Miner, Quality, StreamSlot};

use serde::{Deserialize, Serialize};

use super::GroupNumber;

/// Streams of a group that are looked at.
const MAX_STREAMS: usize = 1_000;

/// The quality of the templates of each group; one group is looked at in a window, so the cost does not grow with them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Worth {
    groups: Vec<(Vec<StreamSlot>, Quality)>,
    turn: usize,
}

impl Worth {
    /// Lines of this stream belong to the group.
    pub(super) fn add(&mut self, group: u32, stream: StreamSlot) {
        let at = group as usize;
        if self.groups.len() <= at {
            self.groups.resize_with(at + 1, Default::default);
        }
        let Some((streams, _)) = self.groups.get_mut(at) else { return };
        if let Err(place) = streams.binary_search(&stream)
            && streams.len() < MAX_STREAMS
        {
            streams.insert(place, stream);
        }
    }

    /// Forgets a group, whose number another may get.
    pub(super) fn forget(&mut self, group: u32) {
        if let Some(known) = self.groups.get_mut(group as usize) {
            *known = Default::default();
        }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        let streams = |(streams, _): &(Vec<StreamSlot>, Quality)| held::list::<StreamSlot>(streams.len());
        held::list::<(Vec<StreamSlot>, Quality)>(self.groups.len()) + self.groups.iter().map(streams).sum::<usize>()
    }

    /// Ends a window: looks at the next group.
    pub(super) fn close(&mut self, miner: &Miner) {
        if self.groups.is_empty() {
            return;
        }
        self.turn = (self.turn + 1) % self.groups.len();
        if let Some((streams, quality)) = self.groups.get_mut(self.turn) {
            *quality = miner.quality(streams);
        }
    }

    /// Whether templates say nothing about the group: nearly each line has its own. Where all lines have the same one, or
    /// old ones have gone, a new one still says much.
    pub(super) fn is_poor(&self, group: GroupNumber) -> bool {
        self.groups.get(group.0 as usize).is_some_and(|(_, quality)| *quality == Quality::Singletons)
    }

    /// Groups about which templates say nothing.
    pub(super) fn poor(&self) -> u32 {
        let count = self.groups.iter().filter(|(_, quality)| *quality == Quality::Singletons).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Level;
    use crate::detect::template::Limits;

    #[test]
    fn lines_that_never_come_again_make_templates_worthless() {
        let mut miner = Miner::new(Limits::default());
        let (good, bad) = (miner.stream(1), miner.stream(2));
        let mut worth = Worth::default();
        worth.add(0, good);
        worth.add(1, bad);
        for n in 0..4_000u64 {
            miner.mine(good, n as i64, Level::Info, &format!("order {n} stored in {} ms", n % 7));
            let letters = |k: u64| -> String {
                let mut hash = (n * 8 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                std::iter::repeat_with(|| {
                    hash = hash.rotate_left(7).wrapping_mul(31);
                    char::from(b'g' + (hash >> 40) as u8 % 19)
                })
                .take(7)
                .collect()
            };
            let noise: Vec<String> = (0..3 + n % 12).map(letters).collect();
            miner.mine(bad, n as i64, Level::Info, &noise.join(" "));
        }
        worth.close(&miner);
        worth.close(&miner);
        assert!(!worth.is_poor(GroupNumber(0)));
        assert!(worth.is_poor(GroupNumber(1)), "{worth:?}");
        assert_eq!(worth.poor(), 1);
    }
}
