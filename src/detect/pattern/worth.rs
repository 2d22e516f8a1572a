//! What the templates of each group are worth.
//!
//! What comes in: the streams of the groups, and the ends of windows. What goes out: whether templates say anything about
//! a group. Where they do not, it is judged by levels, rates and lengths alone.

use crate::detect::Check;
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

    /// Looks at a group again, of which a new line would not be told otherwise.
    pub(super) fn look(&mut self, group: GroupNumber, miner: &Miner) {
        if let Some((streams, quality)) = self.groups.get_mut(group.0 as usize)
            && *quality == Quality::Wordless
        {
            *quality = miner.quality(streams);
        }
    }

    /// Why templates say nothing about the group; `None` where they do. Where all lines have the same one, which has words,
    /// or old ones have gone, a new one still says much.
    pub(super) fn poor(&self, group: GroupNumber) -> Option<Check> {
        self.groups.get(group.0 as usize).and_then(|(_, quality)| poor(*quality))
    }

    /// Groups about which templates say nothing.
    pub(super) fn count(&self) -> u32 {
        let count = self.groups.iter().filter(|(_, quality)| poor(*quality).is_some()).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// What such templates lack.
fn poor(quality: Quality) -> Option<Check> {
    match quality {
        Quality::Unknown | Quality::Good | Quality::OneTemplate | Quality::Dead => None,
        Quality::Singletons => Some(Check::Templates),
        Quality::Wordless => Some(Check::Words),
        Quality::Unsettled => Some(Check::Settles),
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
        assert_eq!(worth.poor(GroupNumber(0)), None);
        assert_eq!(worth.poor(GroupNumber(1)), Some(Check::Templates), "{worth:?}");
        assert_eq!(worth.count(), 1);
    }

    #[test]
    fn a_new_line_where_there_was_but_a_number_is_told() {
        let mut miner = Miner::new(Limits::default());
        let (stream, group) = (miner.stream(1), GroupNumber(0));
        let mut worth = Worth::default();
        worth.add(0, stream);
        for n in 0..2_000 {
            miner.mine(stream, n, Level::Info, &n.to_string());
        }
        worth.close(&miner);
        assert_eq!(worth.poor(group), Some(Check::Words));
        miner.mine(stream, 2_000, Level::Error, "cannot read the meter");
        assert_eq!(worth.poor(group), Some(Check::Words));
        worth.look(group, &miner);
        assert_eq!(worth.poor(group), None);
    }
}
