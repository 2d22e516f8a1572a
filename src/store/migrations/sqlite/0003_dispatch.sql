-- Between the engine and people: what is to be dispatched, who leads whom, what people were told, silences and leases.

-- What the dispatcher made of an incident. The engine writes `document` and never these. Once `handling` is set, `title`,
-- `state`, `severity` and `resolved_at` are the dispatcher's too: a lead is over when its last member is.
ALTER TABLE incidents ADD COLUMN handling TEXT;  -- JSON object; NULL: nobody made anything of it yet
ALTER TABLE incidents ADD COLUMN lead TEXT;      -- the incident that it became a member of; NULL: it is its own lead
ALTER TABLE incidents ADD COLUMN open INTEGER NOT NULL DEFAULT 0; -- the engine's word: pending or firing
UPDATE incidents SET open = 1 WHERE state <> 'resolved';

DROP INDEX incidents_state;
-- Lists show leads; retention looks at all, by their start.
CREATE INDEX incidents_leads ON incidents (tenant, started_at, id) WHERE lead IS NULL;
CREATE INDEX incidents_state ON incidents (tenant, state, started_at, id) WHERE lead IS NULL;
CREATE INDEX incidents_lead ON incidents (tenant, lead, started_at, id) WHERE lead IS NOT NULL;
CREATE INDEX incidents_open ON incidents (tenant, watch, id) WHERE open = 1;

-- The words of titles (of a lead: also of its members), to find incidents by. The start is here for the order of pages.
CREATE TABLE words (
    tenant     TEXT    NOT NULL,
    word       TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    incident   TEXT    NOT NULL,
    PRIMARY KEY (tenant, word, started_at, incident),
    FOREIGN KEY (tenant, incident) REFERENCES incidents (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX words_incident ON words (tenant, incident);

-- Transitions that the dispatcher has not taken yet, in the order of writing.
CREATE TABLE queue (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   TEXT    NOT NULL,
    incident TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    FOREIGN KEY (tenant, incident, number) REFERENCES transitions (tenant, incident, number) ON DELETE CASCADE
) STRICT;

CREATE UNIQUE INDEX queue_transition ON queue (tenant, incident, number);
CREATE INDEX queue_order ON queue (tenant, seq);

-- What people are told of a lead, once for each number. Before, deliveries referred to transitions: those are copied.
CREATE TABLE notices (
    tenant   TEXT    NOT NULL,
    incident TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    document TEXT    NOT NULL, -- a transition whose incident says who its members are
    PRIMARY KEY (tenant, incident, number),
    FOREIGN KEY (tenant, incident) REFERENCES incidents (tenant, id) ON DELETE CASCADE
) STRICT;

INSERT INTO notices (tenant, incident, number, kind, at, document)
SELECT tenant, incident, number, kind, at, document FROM transitions t
WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.tenant = t.tenant AND d.incident = t.incident AND d.number = t.number);

CREATE TABLE deliveries_of_notices (
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
    FOREIGN KEY (tenant, incident, number) REFERENCES notices (tenant, incident, number) ON DELETE CASCADE
) STRICT;

-- An id is never used twice, also not one whose row is gone.
INSERT INTO sqlite_sequence (name, seq) SELECT 'deliveries_of_notices', seq FROM sqlite_sequence WHERE name = 'deliveries';
INSERT INTO deliveries_of_notices SELECT * FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_of_notices RENAME TO deliveries;

CREATE UNIQUE INDEX deliveries_key ON deliveries (tenant, key);
CREATE INDEX deliveries_incident ON deliveries (tenant, incident, number);
CREATE INDEX deliveries_order ON deliveries (tenant, receiver, incident, id, state);
CREATE INDEX deliveries_state ON deliveries (tenant, state, receiver, id);

-- What the dispatcher must find again; keys and documents are opaque.
CREATE TABLE dispatch (
    tenant   TEXT NOT NULL,
    key      TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE silences (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    ends_at    INTEGER, -- NULL: a window that comes again
    expired_at INTEGER, -- when it was ended by hand
    PRIMARY KEY (tenant, id)
) STRICT;

-- Who works on what. The token counts up with each new holder; whoever writes with an older one is refused.
CREATE TABLE leases (
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    holder     TEXT    NOT NULL,
    token      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT;
