-- What the engine must find again of a watch, in rows: number 0 is a whole text, each next one what changed. Before, the columns
-- `carry` and `patterns` of watches held it whole; what they hold counts until there are rows.
CREATE TABLE chains (
    tenant   TEXT    NOT NULL,
    watch    TEXT    NOT NULL,
    document TEXT    NOT NULL, -- carry, patterns
    number   INTEGER NOT NULL,
    checksum INTEGER NOT NULL, -- of the text with this row
    bytes    BLOB    NOT NULL, -- opaque, packed as zlib
    PRIMARY KEY (tenant, watch, document, number)
) STRICT, WITHOUT ROWID;
