-- What is remembered of the objects in repositories. There may be millions of them, so
-- moments are microseconds since 1970 here, and digests are bytes, as in SQLite.

CREATE TABLE repositories (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The URL, and behind a space the endpoint where one was named: the same bucket's name
    -- at another endpoint is another bucket.
    location   TEXT NOT NULL UNIQUE,
    -- How fast it could last be read, to know what fits into a given time.
    read_bytes BIGINT NOT NULL DEFAULT 0,
    read_ms    BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE objects (
    repository_id BIGINT NOT NULL REFERENCES repositories (id),
    key           TEXT COLLATE "C" NOT NULL,
    -- What the store said of it when it was last listed or read.
    size          BIGINT NOT NULL,
    etag          TEXT,
    version       TEXT,
    modified      BIGINT NOT NULL,
    -- The digest of the bytes that count: those that were read first.
    sha256        BYTEA CHECK (length(sha256) = 32),
    first_seen    BIGINT NOT NULL,
    first_read    BIGINT,
    -- When its content was last judged, not only digested.
    last_read     BIGINT,
    -- What was wrong with it then, as a JSON array of findings.
    findings      JSON,
    -- In what it is no longer what it was; `bytes` once its digest has shown it.
    change        TEXT CHECK (change IN ('time', 'tag', 'size', 'bytes')),
    changed_at    BIGINT,
    size_before   BIGINT,
    etag_before   TEXT,
    sha256_after  BYTEA CHECK (length(sha256_after) = 32),
    -- Since when listings do not show it any more.
    absent_since  BIGINT,
    PRIMARY KEY (repository_id, key),
    CHECK ((change IS NULL) = (changed_at IS NULL)),
    CHECK ((sha256 IS NULL) = (first_read IS NULL))
);

CREATE INDEX objects_changed ON objects (repository_id, key) WHERE change IS NOT NULL;
CREATE INDEX objects_damaged ON objects (repository_id, key) WHERE findings IS NOT NULL;
CREATE INDEX objects_absent ON objects (repository_id, absent_since) WHERE absent_since IS NOT NULL;
