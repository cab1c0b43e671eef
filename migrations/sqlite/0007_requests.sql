-- What persons asked to have back beside production, until when they have it, and what became
-- of it. Moments are microseconds since 1970, lengths of time whole seconds.
CREATE TABLE requests (
    id            TEXT PRIMARY KEY NOT NULL,
    -- What makes it one of its kind; the same key again does nothing.
    key           TEXT NOT NULL UNIQUE,
    cluster       TEXT NOT NULL,
    copy          TEXT NOT NULL,
    asked_by      TEXT NOT NULL,
    asked_at      INTEGER NOT NULL,
    -- What is asked for, as JSON.
    spec          TEXT NOT NULL CHECK (json_valid(spec) AND length(spec) <= 65536),
    status        TEXT NOT NULL CHECK (status IN ('queued', 'restoring', 'ready', 'refused',
        'failed', 'unproven', 'ending', 'ended')),
    lease_seconds INTEGER NOT NULL CHECK (lease_seconds > 0),
    most_seconds  INTEGER NOT NULL CHECK (most_seconds >= lease_seconds),
    job_id        TEXT,
    run_id        TEXT,
    -- The scratch namespace of that run.
    namespace     TEXT,
    verdict       TEXT CHECK (verdict IN ('proven', 'failed', 'unproven')),
    -- In one line how it stands.
    message       TEXT NOT NULL DEFAULT '',
    -- What came of it, as JSON; never a secret.
    result        TEXT CHECK (json_valid(result) AND length(result) <= 65536),
    -- What was made outside of the scratch namespace and is to be removed with it, as JSON.
    traces        TEXT CHECK (json_valid(traces)),
    ready_at      INTEGER,
    expires_at    INTEGER,
    end_asked_at  INTEGER,
    end_reason    TEXT,
    -- Since when nothing of it is left.
    gone_at       INTEGER,
    changed_at    INTEGER NOT NULL,
    CHECK ((ready_at IS NULL) = (expires_at IS NULL)),
    CHECK (status <> 'ready' OR ready_at IS NOT NULL),
    CHECK ((end_asked_at IS NULL) = (end_reason IS NULL))
) STRICT;
CREATE INDEX requests_open ON requests (status, expires_at) WHERE gone_at IS NULL;
CREATE INDEX requests_by_time ON requests (asked_at, id);
CREATE INDEX requests_by_cluster ON requests (cluster, asked_at);
