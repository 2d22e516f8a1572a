-- What is known of templates and sessions, for each watch.
ALTER TABLE watches ADD COLUMN patterns BYTEA; -- opaque: the engine's, packed as zlib
