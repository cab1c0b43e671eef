-- Times are RFC 3339 text in UTC with six digits, so that they sort as text.

CREATE TABLE runs (
    id          TEXT PRIMARY KEY NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('verify', 'drill', 'restore', 'backup')),
    cluster     TEXT NOT NULL,
    copy        TEXT NOT NULL,
    location    TEXT NOT NULL,
    started_at  TEXT NOT NULL,
    finished_at TEXT,
    status      TEXT NOT NULL CHECK (status IN ('running', 'finished', 'interrupted')),
    verdict     TEXT CHECK (verdict IN ('proven', 'failed', 'unproven')),
    exit_code   INTEGER,
    summary     TEXT NOT NULL DEFAULT '',
    version     TEXT NOT NULL,
    CHECK ((status = 'running') = (finished_at IS NULL))
) STRICT;

CREATE INDEX runs_by_time ON runs (started_at);
CREATE INDEX runs_by_cluster ON runs (cluster, started_at);
CREATE INDEX runs_by_location ON runs (location, started_at);
CREATE INDEX runs_running ON runs (id) WHERE status = 'running';

CREATE TABLE findings (
    run_id   TEXT NOT NULL REFERENCES runs (id),
    position INTEGER NOT NULL,
    code     TEXT NOT NULL,
    severity TEXT NOT NULL,
    object   TEXT NOT NULL,
    body     TEXT NOT NULL CHECK (json_valid(body)),
    PRIMARY KEY (run_id, position)
) STRICT;

CREATE INDEX findings_by_code ON findings (code);

-- The whole report of a run, as `--output json` gives it.
CREATE TABLE reports (
    run_id TEXT PRIMARY KEY NOT NULL REFERENCES runs (id),
    schema TEXT NOT NULL,
    body   TEXT NOT NULL CHECK (json_valid(body))
) STRICT;

CREATE TABLE drills (
    run_id              TEXT PRIMARY KEY NOT NULL REFERENCES runs (id),
    definition          TEXT NOT NULL,
    target              TEXT NOT NULL,
    backup_id           TEXT,
    time_to_verified_ms INTEGER,
    recovery_point_ms   INTEGER
) STRICT;

CREATE TABLE phases (
    run_id      TEXT NOT NULL REFERENCES drills (run_id),
    position    INTEGER NOT NULL,
    name        TEXT NOT NULL,
    started_at  TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    PRIMARY KEY (run_id, position)
) STRICT;

CREATE TABLE checks (
    run_id      TEXT NOT NULL REFERENCES drills (run_id),
    position    INTEGER NOT NULL,
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    verdict     TEXT NOT NULL,
    message     TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    PRIMARY KEY (run_id, position)
) STRICT;

-- Evidence. Rows are added, never changed and never removed; the triggers hold that
-- against every writer, not only against walproof.
CREATE TABLE records (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    run_id     TEXT NOT NULL REFERENCES runs (id),
    schema     TEXT NOT NULL,
    cluster    TEXT NOT NULL,
    created_at TEXT NOT NULL,
    verdict    TEXT NOT NULL CHECK (verdict IN ('proven', 'failed', 'unproven')),
    sha256     TEXT NOT NULL CHECK (length(sha256) = 64),
    body       TEXT NOT NULL CHECK (json_valid(body))
) STRICT;

CREATE INDEX records_by_run ON records (run_id);

CREATE TRIGGER records_never_change BEFORE UPDATE ON records
BEGIN
    SELECT RAISE(ABORT, 'evidence records are append-only: they cannot be changed');
END;

CREATE TRIGGER records_never_go BEFORE DELETE ON records
BEGIN
    SELECT RAISE(ABORT, 'evidence records are append-only: they cannot be removed');
END;

-- INSERT OR REPLACE would remove a row without firing the trigger above
-- (recursive_triggers is off by default), so a known id is refused here.
CREATE TRIGGER records_never_replaced BEFORE INSERT ON records
WHEN EXISTS (SELECT 1 FROM records WHERE id = NEW.id OR sequence = NEW.sequence)
BEGIN
    SELECT RAISE(ABORT, 'evidence records are append-only: they cannot be replaced');
END;
