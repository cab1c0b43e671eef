-- What was copied from one repository to another, and what the two stores said of it then.
-- Moments are microseconds since 1970, as in `objects`.

CREATE TABLE copy_pairs (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Named as in `repositories`.
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    -- When both were last compared as a whole with nothing left undone, and as JSON where
    -- new objects will appear.
    compared_at BIGINT,
    front       JSON,
    UNIQUE (source, target)
);

-- Who copies a pair at the moment; as long as that process lives, nobody else does. SQLite
-- has file locks for that instead.
CREATE TABLE pair_holders (
    pair_id    BIGINT PRIMARY KEY NOT NULL REFERENCES copy_pairs (id),
    hold_id    UUID NOT NULL,
    process_id UUID NOT NULL
);

CREATE TABLE copies (
    pair_id         BIGINT NOT NULL REFERENCES copy_pairs (id),
    key             TEXT COLLATE "C" NOT NULL,
    size            BIGINT NOT NULL,
    -- The digest of what was sent; NULL for what lay at the target already and was never
    -- read.
    sha256          BYTEA CHECK (length(sha256) = 32),
    source_etag     TEXT,
    source_version  TEXT,
    source_modified BIGINT NOT NULL,
    target_etag     TEXT,
    target_version  TEXT,
    -- Short digests of what listings say of both, so that a comparison reads few bytes.
    source_mark     BIGINT NOT NULL,
    target_mark     BIGINT NOT NULL,
    copied_at       BIGINT,
    read_back_at    BIGINT,
    -- Since when it was removed from the target by policy; it is not copied again.
    expired_at      BIGINT,
    -- What is wrong with it, as JSON.
    alarm           JSON,
    PRIMARY KEY (pair_id, key)
);

CREATE INDEX copies_alarmed ON copies (pair_id, key) WHERE alarm IS NOT NULL;

-- New kinds of runs.
ALTER TABLE runs
    DROP CONSTRAINT runs_kind,
    ADD CONSTRAINT runs_kind CHECK (kind IN
        ('verify', 'drill', 'restore', 'backup', 'replicate', 'compare', 'expire'));
