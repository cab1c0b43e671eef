-- The same tables and columns as SQLite has, with PostgreSQL's types. Keys sort by bytes
-- (COLLATE "C"), as they do in SQLite and in the listings of stores.

-- Who works with this database. A process that has not told for a minute that it lives is
-- taken for dead, by the clock of this server. SQLite has file locks for that instead.
CREATE TABLE processes (
    id         UUID PRIMARY KEY NOT NULL,
    host       TEXT NOT NULL,
    pid        BIGINT NOT NULL,
    version    TEXT NOT NULL,
    started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    beat_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE runs (
    id          UUID PRIMARY KEY NOT NULL,
    kind        TEXT NOT NULL CONSTRAINT runs_kind CHECK (kind IN ('verify', 'drill', 'restore', 'backup')),
    cluster     TEXT NOT NULL,
    copy        TEXT NOT NULL,
    location    TEXT NOT NULL,
    started_at  TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ,
    status      TEXT NOT NULL CHECK (status IN ('running', 'finished', 'interrupted')),
    verdict     TEXT CHECK (verdict IN ('proven', 'failed', 'unproven')),
    exit_code   BIGINT,
    summary     TEXT NOT NULL DEFAULT '',
    version     TEXT NOT NULL,
    -- Whose run it is; NULL once it was given up.
    process_id  UUID,
    CHECK ((status = 'running') = (finished_at IS NULL))
);

CREATE INDEX runs_by_time ON runs (started_at);
CREATE INDEX runs_by_cluster ON runs (cluster, started_at);
CREATE INDEX runs_by_location ON runs (location, started_at);
CREATE INDEX runs_running ON runs (id) WHERE status = 'running';

CREATE TABLE findings (
    run_id   UUID NOT NULL REFERENCES runs (id),
    position BIGINT NOT NULL,
    code     TEXT NOT NULL,
    severity TEXT NOT NULL,
    object   TEXT NOT NULL,
    -- The type keeps the text as it was written.
    body     JSON NOT NULL,
    PRIMARY KEY (run_id, position)
);

CREATE INDEX findings_by_code ON findings (code);

-- The whole report of a run, as `--output json` gives it.
CREATE TABLE reports (
    run_id UUID PRIMARY KEY NOT NULL REFERENCES runs (id),
    schema TEXT NOT NULL,
    body   JSON NOT NULL
);

CREATE TABLE drills (
    run_id              UUID PRIMARY KEY NOT NULL REFERENCES runs (id),
    definition          TEXT NOT NULL,
    target              TEXT NOT NULL,
    backup_id           TEXT,
    time_to_verified_ms BIGINT,
    recovery_point_ms   BIGINT
);

CREATE TABLE phases (
    run_id      UUID NOT NULL REFERENCES drills (run_id),
    position    BIGINT NOT NULL,
    name        TEXT NOT NULL,
    started_at  TIMESTAMPTZ NOT NULL,
    duration_ms BIGINT NOT NULL,
    outcome     TEXT NOT NULL,
    PRIMARY KEY (run_id, position)
);

CREATE TABLE checks (
    run_id      UUID NOT NULL REFERENCES drills (run_id),
    position    BIGINT NOT NULL,
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    verdict     TEXT NOT NULL,
    message     TEXT NOT NULL,
    duration_ms BIGINT NOT NULL,
    PRIMARY KEY (run_id, position)
);

-- Evidence. Rows are added, never changed and never removed; the trigger holds that
-- against every writer, not only against walproof.
CREATE TABLE records (
    sequence   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         UUID NOT NULL UNIQUE,
    run_id     UUID NOT NULL REFERENCES runs (id),
    schema     TEXT NOT NULL,
    cluster    TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    verdict    TEXT NOT NULL CHECK (verdict IN ('proven', 'failed', 'unproven')),
    sha256     TEXT NOT NULL CHECK (length(sha256) = 64),
    body       JSON NOT NULL
);

CREATE INDEX records_by_run ON records (run_id);

CREATE FUNCTION walproof_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'evidence records are append-only: % of % is refused', lower(TG_OP), TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- Of the statement, so that one that meets no row is refused as well, and always, so that
-- session_replication_role does not pass it by. TRUNCATE fires no other kind.
CREATE TRIGGER records_never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON records
    FOR EACH STATEMENT EXECUTE FUNCTION walproof_append_only();
ALTER TABLE records ENABLE ALWAYS TRIGGER records_never_change;
