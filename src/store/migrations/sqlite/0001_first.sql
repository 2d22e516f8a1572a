-- The first shape of sigyn.db. Never edit a migration that was released: add the next one.
--
-- Words: times are nanoseconds since the Unix epoch; `grp` is a group's fingerprint (its 64 bits as a signed integer);
-- `document` columns are JSON as the Rust types write it, with the columns beside it only for finding rows.
-- Every table has `tenant` (always 'default' for now) first in its keys, so that no query can see two tenants.

-- Where each watch stands; the row with the empty name belongs to steps of commands.
CREATE TABLE watches (
    tenant       TEXT    NOT NULL,
    watch        TEXT    NOT NULL,
    done_until   INTEGER NOT NULL, -- all windows before it are closed and in `windows`; reading resumes here
    source_state TEXT,             -- opaque: the source's
    carry        TEXT,             -- opaque: the engine's
    PRIMARY KEY (tenant, watch)
) STRICT;

-- Labels of groups, once and not in each of their thousands of windows.
CREATE TABLE groups (
    tenant TEXT    NOT NULL,
    watch  TEXT    NOT NULL,
    grp    INTEGER NOT NULL,
    labels TEXT    NOT NULL, -- JSON object
    PRIMARY KEY (tenant, watch, grp)
) STRICT, WITHOUT ROWID;

-- Summaries of closed windows, without log text. The key has the end before the start because both readers (fold into a
-- model, delete what is old) go by the end. The features are REAL columns and not JSON: a model is folded from them after
-- a restart and must come out the same bit for bit.
CREATE TABLE windows (
    tenant          TEXT    NOT NULL,
    watch           TEXT    NOT NULL,
    grp             INTEGER NOT NULL,
    range_end       INTEGER NOT NULL,
    range_start     INTEGER NOT NULL,
    revision        INTEGER NOT NULL, -- 0 when first closed, counts up when it grew
    lines           INTEGER NOT NULL,
    line_length     REAL,
    error_count     REAL,
    warn_count      REAL,
    unique_messages REAL,
    rate            REAL,
    known           TEXT    NOT NULL, -- coverage: how it is known
    seen            INTEGER NOT NULL, -- coverage: lines read
    missing         INTEGER NOT NULL, -- coverage: lines known and not read
    score           REAL,
    threshold       REAL,
    anomalous       TEXT,             -- JSON evidence by feature; NULL when the window is not anomalous
    learnt          INTEGER NOT NULL,
    late            INTEGER NOT NULL,
    PRIMARY KEY (tenant, watch, grp, range_end, range_start, revision)
) STRICT, WITHOUT ROWID;

-- The newest model of each group; windows after `until` are folded in at a restart.
CREATE TABLE models (
    tenant TEXT    NOT NULL,
    watch  TEXT    NOT NULL,
    grp    INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    model  TEXT    NOT NULL, -- opaque: the detector's, some tens of kB
    PRIMARY KEY (tenant, watch, grp)
) STRICT;

CREATE TABLE incidents (
    tenant      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    watch       TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    resolved_at INTEGER,
    document    TEXT    NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;

-- Lists are newest first; the id decides between equal times, so that a page never skips or repeats a row.
CREATE INDEX incidents_newest ON incidents (tenant, started_at, id);
CREATE INDEX incidents_state ON incidents (tenant, state, started_at, id);

-- What was told of an incident, once for each number, with the incident as it stood then.
CREATE TABLE transitions (
    tenant   TEXT    NOT NULL,
    incident TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    document TEXT    NOT NULL,
    PRIMARY KEY (tenant, incident, number),
    FOREIGN KEY (tenant, incident) REFERENCES incidents (tenant, id) ON DELETE CASCADE
) STRICT;

-- The outbox: one row for each transition and receiver, written with the transition. What is sent is rebuilt from the
-- transition and the links. AUTOINCREMENT: an id is never used twice, so ids are the order of writing for ever.
CREATE TABLE deliveries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     TEXT    NOT NULL,
    key        TEXT    NOT NULL, -- the same in every retry; a second row with it is ignored
    receiver   TEXT    NOT NULL,
    incident   TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    links      TEXT    NOT NULL, -- JSON object
    state      TEXT    NOT NULL, -- pending, sent, dead
    attempts   INTEGER NOT NULL DEFAULT 0,
    first_try  INTEGER,          -- when it was first tried; giving up counts from here
    next_at    INTEGER NOT NULL, -- not to be tried before
    changed_at INTEGER NOT NULL, -- when the row last changed
    error      TEXT,             -- why the last attempt failed
    receipt    TEXT,             -- JSON object, when sent
    FOREIGN KEY (tenant, incident, number) REFERENCES transitions (tenant, incident, number) ON DELETE CASCADE
) STRICT;

CREATE UNIQUE INDEX deliveries_key ON deliveries (tenant, key);
-- Of one incident, also for one receiver: the receipt of its first message, and whether an older one still waits.
CREATE INDEX deliveries_incident ON deliveries (tenant, incident, number);
CREATE INDEX deliveries_order ON deliveries (tenant, receiver, incident, id, state);
-- What waits for a receiver, in the order of writing; and how many there are in each state.
CREATE INDEX deliveries_state ON deliveries (tenant, state, receiver, id);

-- What people and parts of sigyn want of the engine; a row stays until a step has carried it out.
CREATE TABLE commands (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    subject  TEXT,             -- 'problem/on' of internal problems, to find the newest word about one
    document TEXT    NOT NULL,
    done     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX commands_waiting ON commands (tenant, id) WHERE done = 0;
CREATE INDEX commands_subject ON commands (tenant, subject, id) WHERE subject IS NOT NULL;
CREATE INDEX commands_old ON commands (tenant, at) WHERE done = 1;

-- Ranges of the log that were left out on purpose.
CREATE TABLE gaps (
    tenant      TEXT    NOT NULL,
    watch       TEXT    NOT NULL,
    range_start INTEGER NOT NULL,
    range_end   INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    lines       INTEGER, -- NULL when even counting failed
    PRIMARY KEY (tenant, watch, range_start, range_end, reason)
) STRICT, WITHOUT ROWID;
