//! Who may spend how much of the budget of false alarms: one division for all processes, which outlives each of them.
//!
//! What comes in: the watches that a process has in its settings ([`Claim`]). What goes out: the division that all agree on
//! ([`Shares`]). A watch has a place in it while somebody has it in the settings or reads it, so the processes of a rolling
//! update agree too. The parts never sum up to more than the budget: they are whole billionths of it, rounded down. What
//! never happens here: a part that depends on who reads the watch.

use std::collections::{BTreeMap, BTreeSet};

use super::dispatch::holds;
use super::lease::LEASES;
use super::link::{Link, Row, Sql, Statement};
use super::{Fence, Store, StoreError};
use crate::time::{MINUTE, Nanos};

const DOING: &str = "divide the budget in";

/// Parts of the budget are counted in these.
pub(super) const WHOLE: i64 = 1_000_000_000;
/// Room for groups grows in steps, so that not each new group changes what is needed of all the others.
const ROOM: u32 = 5;
/// With fewer groups in all, each gets one of so many parts all the same: see [`crate::detect::calibrate::GROUPS`].
const LEAST: i64 = 20;
/// Who claims a watch may not have its lease yet.
const GRACE: Nanos = MINUTE;
/// Begins the names of the leases of watches.
const WATCH: &str = "watch/";

pub(super) const SHARES: &str =
    "SELECT watch, groups, share, group_share, epoch, claimed_at FROM shares WHERE tenant = $1 ORDER BY watch";
pub(super) const DROP: &str = "DELETE FROM shares WHERE tenant = $1 AND watch = $2";
pub(super) const SET: &str = "
    INSERT INTO shares (tenant, watch, groups, share, group_share, epoch, claimed_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (tenant, watch) DO UPDATE SET groups = excluded.groups, share = excluded.share,
        group_share = excluded.group_share, epoch = excluded.epoch";
/// Two that divide at once would each leave out what the other has added. A file has one writer.
const LOCK: Sql = Sql { sqlite: "SELECT 1", postgres: "LOCK TABLE shares IN SHARE ROW EXCLUSIVE MODE" };

/// A watch that is in the settings of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub watch: String,
    /// Groups that are known of it.
    pub groups: u32,
}

/// The part of one watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its name.
    pub watch: String,
    /// It has room for so many groups; more, and the budget is divided anew.
    pub groups: u32,
    /// Its part of the budget, in billionths.
    pub share: i64,
    /// The part of each of its groups, in billionths.
    pub group_share: i64,
}

/// How the budget is divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Counts up with each new division.
    pub epoch: i64,
    /// By name.
    pub all: Vec<Share>,
}

/// What a division is made of: room for groups and when it was first claimed, by watch.
type Rooms = BTreeMap<String, (u32, Nanos)>;

impl Share {
    /// The watch's part of `budget`, and that of each of its groups.
    #[must_use]
    pub fn of(&self, budget: f64) -> (f64, f64) {
        let part = |billionths: i64| budget * billionths as f64 / WHOLE as f64;
        (part(self.share), part(self.group_share))
    }
}

impl Store {
    /// How the budget is divided now.
    ///
    /// # Errors
    /// When the store could not be read.
    pub async fn shares(&self) -> Result<Shares, StoreError> {
        let mut link = self.reader(DOING).await?;
        read(&mut link).await.map(|(shares, _)| shares).map_err(|error| self.failed(DOING, error))
    }

    /// Divides the budget anew where these claims ask for it, and says how it is divided now. Of a watch that is neither
    /// claimed nor read by anybody the part goes back.
    ///
    /// # Errors
    /// When somebody else holds the lease now ([`StoreError::Fenced`]), or the store could not be written.
    pub async fn claim_shares(
        &self,
        claims: &[Claim],
        now: Nanos,
        fence: Option<&Fence>,
    ) -> Result<Shares, StoreError> {
        let told = |error| self.failed(DOING, error);
        {
            // Nearly always there is nothing to do, and nobody needs to wait for it.
            let mut link = self.reader(DOING).await?;
            let (shares, rooms) = read(&mut link).await.map_err(told)?;
            let kept = self.kept(&mut link, &rooms, now).await.map_err(told)?;
            if agree(&rooms, claims, &kept, now) == rooms {
                return Ok(shares);
            }
        }
        let mut writer = self.writer(DOING).await?;
        let mut divided = Shares::default();
        let work = async {
            writer.begin().await?;
            if !holds(&mut writer, fence).await? {
                return Ok(false);
            }
            writer.run(Statement::plain(LOCK)).await?;
            let (shares, rooms) = read(&mut writer).await?;
            let kept = self.kept(&mut writer, &rooms, now).await?;
            let agreed = agree(&rooms, claims, &kept, now);
            divided = shares;
            if agreed != rooms {
                divided = Shares { epoch: divided.epoch + 1, all: divide(&agreed) };
                write(&mut writer, &rooms, &agreed, &divided).await?;
            }
            writer.commit().await?;
            Ok(true)
        };
        let written = work.await;
        self.settle(&mut writer, written, fence, DOING).await?;
        Ok(divided)
    }

    /// Watches that stay without being claimed: others read them, or are about to. A file has one process.
    async fn kept(&self, link: &mut Link, rooms: &Rooms, now: Nanos) -> Result<BTreeSet<String>, sqlx::Error> {
        if !self.is_shared() {
            return Ok(BTreeSet::new());
        }
        let mut kept: BTreeSet<String> = rooms
            .iter()
            .filter(|(_, (_, claimed_at))| now.saturating_sub(*claimed_at) < GRACE)
            .map(|(watch, _)| watch.clone())
            .collect();
        for row in link.all(Statement::of(LEASES)).await? {
            let name: String = row.get("name")?;
            if let Some(watch) = name.strip_prefix(WATCH).filter(|_| row.get("live").unwrap_or(false)) {
                kept.insert(watch.to_owned());
            }
        }
        Ok(kept)
    }
}

async fn read(link: &mut Link) -> Result<(Shares, Rooms), sqlx::Error> {
    let (mut shares, mut rooms) = (Shares::default(), Rooms::new());
    for row in link.all(Statement::of(SHARES)).await? {
        let share = share(&row)?;
        shares.epoch = row.get("epoch")?;
        rooms.insert(share.watch.clone(), (share.groups, row.get("claimed_at")?));
        shares.all.push(share);
    }
    Ok((shares, rooms))
}

fn share(row: &Row) -> Result<Share, sqlx::Error> {
    let groups = u32::try_from(row.get::<i64>("groups")?).unwrap_or(u32::MAX);
    Ok(Share { watch: row.get("watch")?, groups, share: row.get("share")?, group_share: row.get("group_share")? })
}

async fn write(link: &mut Link, before: &Rooms, rooms: &Rooms, shares: &Shares) -> Result<(), sqlx::Error> {
    for watch in before.keys().filter(|watch| !rooms.contains_key(*watch)) {
        link.run(Statement::of(DROP).bind(watch)).await?;
    }
    for share in &shares.all {
        let claimed_at = rooms.get(&share.watch).map_or(0, |(_, claimed_at)| *claimed_at);
        let row = Statement::of(SET).bind(&share.watch).bind(share.groups).bind(share.share).bind(share.group_share);
        link.run(row.bind(shares.epoch).bind(claimed_at)).await?;
    }
    Ok(())
}

/// Who has a place, and for how many groups. Room never shrinks while a watch is there: what is needed of its groups
/// must not swing.
fn agree(rooms: &Rooms, claims: &[Claim], kept: &BTreeSet<String>, now: Nanos) -> Rooms {
    let claimed = |watch: &String| claims.iter().any(|claim| claim.watch == *watch);
    let mut agreed: Rooms = rooms.clone();
    agreed.retain(|watch, _| kept.contains(watch) || claimed(watch));
    for claim in claims {
        let (room, _) = agreed.entry(claim.watch.clone()).or_insert((ROOM, now));
        while *room < claim.groups {
            // A row that somebody wrote by hand may have no room at all.
            *room = (*room).max(1).saturating_mul(2);
        }
    }
    agreed
}

/// Every group gets the same.
fn divide(rooms: &Rooms) -> Vec<Share> {
    let all: i64 = rooms.values().map(|(room, _)| i64::from(*room)).sum();
    let share = |(watch, (groups, _)): (&String, &(u32, Nanos))| Share {
        watch: watch.clone(),
        groups: *groups,
        share: WHOLE * i64::from(*groups) / all.max(1),
        group_share: WHOLE / all.max(LEAST),
    };
    rooms.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever claims what, whatever is kept: never more than the budget, nor more for its groups than for a watch.
        #[test]
        fn the_parts_are_never_more_than_the_whole(
            claims in prop::collection::vec(prop::collection::vec((0..12u8, 0..3000u32), 0..12), 1..8),
            kept in prop::collection::btree_set(0..12u8, 0..12),
        ) {
            let kept: BTreeSet<String> = kept.into_iter().map(|n| format!("w{n}")).collect();
            let mut rooms = Rooms::new();
            for claims in claims {
                let claims: Vec<Claim> =
                    claims.into_iter().map(|(n, groups)| Claim { watch: format!("w{n}"), groups }).collect();
                let before = rooms.clone();
                rooms = agree(&rooms, &claims, &kept, 0);
                prop_assert_eq!(&agree(&rooms, &claims, &kept, 9), &rooms, "agreed is agreed");
                for claim in &claims {
                    prop_assert!(rooms[&claim.watch].0 >= claim.groups);
                }
                let grown = |(watch, (room, _)): (&String, &(u32, Nanos))| {
                    rooms.get(watch).is_none_or(|(now, _)| now >= room)
                };
                prop_assert!(before.iter().all(grown));
                let shares = divide(&rooms);
                prop_assert!(shares.iter().map(|one| one.share).sum::<i64>() <= WHOLE);
                for one in &shares {
                    prop_assert!(one.share > 0 && one.group_share > 0, "{one:?}");
                    prop_assert!(i64::from(one.groups) * one.group_share <= one.share, "{one:?}");
                }
            }
        }
    }

    #[test]
    fn one_watch_of_few_groups_has_what_it_had_without_shares() {
        let rooms = agree(&Rooms::new(), &[Claim { watch: "all".to_owned(), groups: 3 }], &BTreeSet::new(), 0);
        assert_eq!(divide(&rooms)[0].of(2.0), (2.0, 0.1));
    }

    #[test]
    fn a_row_without_room_is_given_some() {
        let by_hand = Rooms::from([("all".to_owned(), (0, 0))]);
        let claims = [Claim { watch: "all".to_owned(), groups: 3 }];
        assert_eq!(agree(&by_hand, &claims, &BTreeSet::new(), 0)["all"].0, 4);
    }
}
