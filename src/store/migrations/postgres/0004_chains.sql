-- What the engine must find again of a watch, in rows: number 0 is a whole text, each next one what changed. Before, the columns
-- `carry` and `patterns` of watches held it whole; what they hold counts until there are rows.
CREATE TABLE chains (
    tenant   TEXT COLLATE "C" NOT NULL,
    watch    TEXT COLLATE "C" NOT NULL,
    document TEXT COLLATE "C" NOT NULL, -- carry, patterns
    number   BIGINT NOT NULL,
    checksum BIGINT NOT NULL, -- of the text with this row
    bytes    BYTEA NOT NULL, -- opaque, packed as zlib
    PRIMARY KEY (tenant, watch, document, number)
);
