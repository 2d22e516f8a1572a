//! What a miner may hold and holds, and what goes first.
//!
//! What comes in: bytes. What goes out: limits that fit into them, and templates and tables given up. What never happens here: a
//! decision that depends on anything but what the miner knows, so that a restart changes none.

use super::header::{Header, Headers, Learner};
use super::stream::Stream;
use super::{Limits, Miner};
use crate::detect::held;

/// A watch with so much memory has the default limits; one with less has fewer of all in proportion.
const WHOLE: u64 = 128 << 20;

impl Limits {
    /// The limits of a miner in a watch that may hold so many bytes.
    #[must_use]
    pub fn within(bytes: u64) -> Self {
        let all = Self::default();
        let part = |most: usize| ((most as u64).saturating_mul(bytes.min(WHOLE)) / WHOLE) as usize;
        Self {
            templates: part(all.templates).max(256),
            streams: part(all.streams).max(128),
            families: part(all.families).max(2_048),
            buckets: part(all.buckets).max(256),
            ..all
        }
    }
}

impl Miner {
    /// Bytes that it holds, but for what reading a line needs.
    #[must_use]
    pub fn held(&self) -> usize {
        let form = |(_, form): &([u8; 2], Header)| size_of::<([u8; 2], Header)>() + form.kinds.len();
        let headers = |one: &Headers| one.all.kinds.len() + one.forms.iter().map(form).sum::<usize>();
        let learner = |one: &Learner| size_of::<Learner>() + one.held();
        let stream = |one: &Stream| -> usize {
            headers(&one.headers) + one.learner.as_deref().map_or(0, learner) + one.trace.held()
        };
        self.store.held()
            + self.groups.held()
            + held::list::<Stream>(self.streams.len())
            + self.streams.iter().map(stream).sum::<usize>()
            + held::map::<u64, u32>(self.index.len())
    }

    /// Gives up the quarter of the templates that was seen longest ago, and of what others are found by what was not used of
    /// late. Ids come back with their templates. Says how many templates went.
    pub fn shed(&mut self) -> usize {
        self.groups.shed();
        self.store.shed()
    }
}
