-- What each watch may spend of the budget of false alarms: the same whichever process reads it.
CREATE TABLE shares (
    tenant      TEXT    NOT NULL,
    watch       TEXT    NOT NULL,
    groups      INTEGER NOT NULL, -- it has room for so many
    share       INTEGER NOT NULL, -- billionths of the whole budget; all together at most one
    group_share INTEGER NOT NULL, -- the same of each of its groups
    epoch       INTEGER NOT NULL, -- counts up with each new division; the same in all rows
    claimed_at  INTEGER NOT NULL, -- when it was first asked for
    PRIMARY KEY (tenant, watch)
) STRICT, WITHOUT ROWID;

-- Messages of receivers that have a cap for each calendar day.
CREATE TABLE days (
    tenant   TEXT NOT NULL,
    receiver TEXT NOT NULL,
    day      TEXT NOT NULL, -- 2026-03-29, by the receiver's calendar
    key      TEXT NOT NULL, -- of the delivery
    PRIMARY KEY (tenant, receiver, day, key)
) STRICT, WITHOUT ROWID;
