-- What was copied from one repository to another, and what the two stores said of it then.
-- Moments are microseconds since 1970, as in `objects`.

CREATE TABLE copy_pairs (
    id     INTEGER PRIMARY KEY NOT NULL,
    -- Named as in `repositories`.
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    -- When both were last compared as a whole with nothing left undone, and as JSON where
    -- new objects will appear.
    compared_at INTEGER,
    front       TEXT CHECK (json_valid(front)),
    UNIQUE (source, target)
) STRICT;

CREATE TABLE copies (
    pair_id         INTEGER NOT NULL REFERENCES copy_pairs (id),
    key             TEXT NOT NULL,
    size            INTEGER NOT NULL,
    -- The digest of what was sent; NULL for what lay at the target already and was never
    -- read.
    sha256          BLOB CHECK (length(sha256) = 32),
    source_etag     TEXT,
    source_version  TEXT,
    source_modified INTEGER NOT NULL,
    target_etag     TEXT,
    target_version  TEXT,
    -- Short digests of what listings say of both, so that a comparison reads few bytes.
    source_mark     INTEGER NOT NULL,
    target_mark     INTEGER NOT NULL,
    copied_at       INTEGER,
    read_back_at    INTEGER,
    -- Since when it was removed from the target by policy; it is not copied again.
    expired_at      INTEGER,
    -- What is wrong with it, as JSON.
    alarm           TEXT CHECK (json_valid(alarm)),
    PRIMARY KEY (pair_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX copies_alarmed ON copies (pair_id, key) WHERE alarm IS NOT NULL;

-- New kinds of runs. A CHECK constraint can only be changed in the schema's own text, which
-- is safe because every row that was allowed is allowed still (SQLite manual, "ALTER TABLE",
-- 7).
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql,
    '''verify'', ''drill'', ''restore'', ''backup''',
    '''verify'', ''drill'', ''restore'', ''backup'', ''replicate'', ''compare'', ''expire''')
WHERE type = 'table' AND name = 'runs';
PRAGMA writable_schema = RESET;
