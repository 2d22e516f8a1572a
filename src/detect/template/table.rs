//! A table that forgets.
//!
//! What comes in: keys (hashes) with what is known of them. What goes out: the same, as long as there is room; then a clock
//! hand takes the first row that was not used since it came by. What never happens here: growth beyond the capacity, or an
//! order that depends on anything but what was put in.

use rustc_hash::FxHashMap;

use super::snapshot::{Bytes, Stored};
use crate::detect::held;

/// At most `capacity` rows.
#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    index: FxHashMap<u64, u32>,
    rows: Vec<Row<T>>,
    hand: usize,
    capacity: usize,
    evicted: u64,
}

#[derive(Clone, Debug)]
struct Row<T> {
    key: u64,
    used: bool,
    value: T,
}

impl<T: Default> Table<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { index: FxHashMap::default(), rows: Vec::new(), hand: 0, capacity: capacity.max(1), evicted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn get(&mut self, key: u64) -> Option<&mut T> {
        let row = self.rows.get_mut(*self.index.get(&key)? as usize)?;
        row.used = true;
        Some(&mut row.value)
    }

    /// The row of a key, made when there is none; another may be forgotten for it, and is given back.
    pub(super) fn entry(&mut self, key: u64) -> (&mut T, Option<T>) {
        let known = self.index.get(&key).copied();
        let (at, gone) = match known {
            Some(at) => (at as usize, None),
            None => self.insert(key),
        };
        let row = &mut self.rows[at];
        row.used = true;
        (&mut row.value, gone)
    }

    /// Takes a row away that was not used for a while.
    pub(super) fn forget_one(&mut self) -> Option<T> {
        let at = self.victim()?;
        self.evicted += 1;
        let row = self.rows.get_mut(at)?;
        Some(std::mem::take(&mut row.value))
    }

    /// Bytes that it holds, with those that each value holds elsewhere.
    pub(super) fn held(&self, value: impl Fn(&T) -> usize) -> usize {
        let own = held::list::<Row<T>>(self.rows.len()) + held::map::<u64, u32>(self.rows.len());
        own + self.rows.iter().map(|row| value(&row.value)).sum::<usize>()
    }

    /// Gives up all rows that were not used since this was last called, or the hand came by.
    pub(super) fn shed(&mut self) {
        let before = self.rows.len();
        self.rows.retain_mut(|row| std::mem::take(&mut row.used));
        self.evicted += (before - self.rows.len()) as u64;
        self.rows.shrink_to_fit();
        self.index = self.rows.iter().zip(0..).map(|(row, at)| (row.key, at)).collect();
        self.hand = 0;
    }

    /// All values.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().map(|row| &row.value)
    }

    fn insert(&mut self, key: u64) -> (usize, Option<T>) {
        if self.rows.len() < self.capacity {
            self.index.insert(key, self.rows.len() as u32);
            self.rows.push(Row { key, used: true, value: T::default() });
            return (self.rows.len() - 1, None);
        }
        let at = self.victim().unwrap_or(0);
        let row = &mut self.rows[at];
        self.index.remove(&row.key);
        self.index.insert(key, at as u32);
        row.key = key;
        self.evicted += 1;
        (at, Some(std::mem::take(&mut row.value)))
    }

    fn victim(&mut self) -> Option<usize> {
        // Twice round at most: the first time all rows may have been used.
        for _ in 0..2 * self.rows.len() {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.rows.len();
            let row = self.rows.get_mut(at)?;
            if !std::mem::take(&mut row.used) {
                return Some(at);
            }
        }
        None
    }
}

impl<T: Stored + Default> Stored for Table<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.capacity.put(out);
        self.hand.put(out);
        self.evicted.put(out);
        self.rows.len().put(out);
        for row in &self.rows {
            row.key.put(out);
            row.used.put(out);
            row.value.put(out);
        }
    }

    fn take(from: &mut Bytes<'_>) -> Option<Self> {
        let mut table = Self::new(usize::take(from)?);
        (table.hand, table.evicted) = (usize::take(from)?, u64::take(from)?);
        let length = usize::take(from)?.min(table.capacity);
        for at in 0..length {
            let row = Row { key: u64::take(from)?, used: bool::take(from)?, value: T::take(from)? };
            table.index.insert(row.key, at as u32);
            table.rows.push(row);
        }
        if table.hand >= length {
            table.hand = 0;
        }
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unused_are_forgotten_first() {
        let mut table: Table<u32> = Table::new(3);
        for key in 0..3 {
            *table.entry(key).0 = key as u32;
        }
        *table.entry(3).0 = 3;
        assert_eq!((table.len(), table.get(0)), (3, None));
        // 1 is used, 2 is not.
        assert_eq!(table.get(1), Some(&mut 1));
        *table.entry(4).0 = 4;
        assert_eq!((table.get(2).copied(), table.get(1).copied()), (None, Some(1)));
        assert_eq!(table.evicted(), 2);
    }
}
