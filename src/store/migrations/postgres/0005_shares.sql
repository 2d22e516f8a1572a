-- What each watch may spend of the budget of false alarms: the same whichever process reads it.
CREATE TABLE shares (
    tenant      TEXT COLLATE "C" NOT NULL,
    watch       TEXT COLLATE "C" NOT NULL,
    groups      BIGINT NOT NULL, -- it has room for so many
    share       BIGINT NOT NULL, -- billionths of the whole budget; all together at most one
    group_share BIGINT NOT NULL, -- the same of each of its groups
    epoch       BIGINT NOT NULL, -- counts up with each new division; the same in all rows
    claimed_at  BIGINT NOT NULL, -- when it was first asked for
    PRIMARY KEY (tenant, watch)
);

-- Messages of receivers that have a cap for each calendar day.
CREATE TABLE days (
    tenant   TEXT COLLATE "C" NOT NULL,
    receiver TEXT COLLATE "C" NOT NULL,
    day      TEXT COLLATE "C" NOT NULL, -- 2026-03-29, by the receiver's calendar
    key      TEXT COLLATE "C" NOT NULL, -- of the delivery
    PRIMARY KEY (tenant, receiver, day, key)
);
