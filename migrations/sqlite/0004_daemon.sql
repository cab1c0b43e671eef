-- What the daemon works with: jobs, schedules, leases, the ledger, standings, incidents and
-- deliveries. Moments are microseconds since 1970 and identities are text, here as in
-- PostgreSQL, so that both databases take the same statements.

-- One row that whoever claims takes first: claims happen one after the other, and each has
-- a number. The clusters' turns are told by it.
CREATE TABLE queue_head (
    only_row INTEGER PRIMARY KEY NOT NULL CHECK (only_row = 1),
    claims   INTEGER NOT NULL
) STRICT;
INSERT INTO queue_head (only_row, claims) VALUES (1, 0);

-- When each cluster was served last, as the number of the claim; 0 for never.
CREATE TABLE queue_clusters (
    cluster TEXT PRIMARY KEY NOT NULL,
    served  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX queue_clusters_by_turn ON queue_clusters (served, cluster);

CREATE TABLE jobs (
    id              TEXT PRIMARY KEY NOT NULL,
    key             TEXT NOT NULL UNIQUE,
    kind            TEXT NOT NULL CHECK (kind IN ('verify', 'replicate', 'drill', 'report', 'sweep')),
    schedule        TEXT,
    cluster         TEXT NOT NULL,
    copy            TEXT NOT NULL,
    -- The budget key of what it reads; empty for none.
    bucket          TEXT NOT NULL,
    tier            TEXT,
    due_at          INTEGER NOT NULL,
    run_after       INTEGER NOT NULL,
    deadline        INTEGER,
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
    late            INTEGER NOT NULL CHECK (late IN (0, 1)),
    scratch_bytes   INTEGER NOT NULL CHECK (scratch_bytes >= 0),
    max_attempts    INTEGER NOT NULL CHECK (max_attempts >= 1),
    -- What is to be done, as JSON.
    spec            TEXT NOT NULL CHECK (json_valid(spec) AND length(spec) <= 65536),
    status          TEXT NOT NULL CHECK (status IN
        ('waiting', 'running', 'done', 'failed', 'cancelled', 'missed', 'skipped')),
    attempts        INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- Grows with every claim; whoever writes shows the newest.
    token           INTEGER NOT NULL DEFAULT 0,
    holder          TEXT,
    lease_until     INTEGER,
    progress        TEXT CHECK (json_valid(progress)),
    cancel_asked_at INTEGER,
    error           TEXT,
    run_id          TEXT,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER,
    CHECK (run_after >= due_at),
    CHECK ((status = 'running') = (holder IS NOT NULL)),
    CHECK ((status = 'running') = (lease_until IS NOT NULL)),
    CHECK ((status IN ('waiting', 'running')) = (finished_at IS NULL))
) STRICT;

-- For the claim: the first of a cluster at a priority, without looking at other clusters.
CREATE INDEX jobs_waiting ON jobs (priority, cluster, due_at, id) WHERE status = 'waiting';
CREATE INDEX jobs_ready ON jobs (run_after) WHERE status = 'waiting';
CREATE INDEX jobs_deadline ON jobs (deadline) WHERE status = 'waiting' AND deadline IS NOT NULL;
CREATE INDEX jobs_running ON jobs (cluster, bucket) WHERE status = 'running';
CREATE INDEX jobs_open ON jobs (schedule, cluster, copy) WHERE status IN ('waiting', 'running');
CREATE INDEX jobs_by_due ON jobs (due_at, id);
CREATE INDEX jobs_by_cluster ON jobs (cluster, due_at);
CREATE INDEX jobs_by_kind ON jobs (kind, status);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- Tokens only grow: the database holds that against every writer.
CREATE TRIGGER jobs_tokens_grow BEFORE UPDATE ON jobs
WHEN NEW.token < OLD.token OR (OLD.status <> 'running' AND NEW.status = 'running' AND NEW.token <= OLD.token)
BEGIN
    SELECT RAISE(ABORT, 'a fencing token never goes back');
END;

-- Which runs were attempts at which job.
CREATE TABLE job_runs (
    run_id TEXT PRIMARY KEY NOT NULL,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    token  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX job_runs_by_job ON job_runs (job_id);

CREATE TABLE schedules (
    schedule   TEXT NOT NULL,
    cluster    TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('verify', 'replicate', 'drill', 'report', 'sweep')),
    definition TEXT NOT NULL,
    next_due   INTEGER NOT NULL,
    last_due   INTEGER,
    PRIMARY KEY (schedule, cluster)
) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_due ON schedules (next_due);
CREATE INDEX schedules_by_cluster ON schedules (cluster, next_due);

CREATE TABLE leases (
    name        TEXT PRIMARY KEY NOT NULL,
    token       INTEGER NOT NULL,
    holder      TEXT,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The ledger. Entries are added at its end, numbered without gaps, each with the digest of
-- the one before it; the triggers hold that against every writer, not only against walproof.
CREATE TABLE entries (
    sequence INTEGER PRIMARY KEY NOT NULL,
    previous TEXT NOT NULL CHECK (length(previous) = 64),
    sha256   TEXT NOT NULL CHECK (length(sha256) = 64),
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    cluster  TEXT,
    copy     TEXT,
    run_id   TEXT,
    text     TEXT NOT NULL CHECK (json_valid(text)),
    CHECK (text LIKE '%,"previous":"' || previous || '",%'),
    CHECK (text LIKE '%,"sequence":' || sequence || '}')
) STRICT;
CREATE INDEX entries_by_time ON entries (at, sequence);
CREATE INDEX entries_by_run ON entries (run_id) WHERE run_id IS NOT NULL;

CREATE TRIGGER entries_never_change BEFORE UPDATE ON entries
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only: its entries cannot be changed');
END;

CREATE TRIGGER entries_never_go BEFORE DELETE ON entries
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only: its entries cannot be removed');
END;

-- It comes before INSERT OR REPLACE would remove anything: a number that is taken is not the
-- next.
CREATE TRIGGER entries_are_linked BEFORE INSERT ON entries
BEGIN
    SELECT CASE
        WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM entries)
        THEN RAISE(ABORT, 'the ledger has no gaps: the number is not the next')
        WHEN NEW.previous IS NOT coalesce(
            (SELECT sha256 FROM entries ORDER BY sequence DESC LIMIT 1), printf('%064d', 0))
        THEN RAISE(ABORT, 'the ledger is linked: the digest is not that of the entry before')
    END;
END;

-- One row that whoever appends takes first, and the number of the newest incident event.
CREATE TABLE ledger_head (
    only_row INTEGER PRIMARY KEY NOT NULL CHECK (only_row = 1),
    events   INTEGER NOT NULL
) STRICT;
INSERT INTO ledger_head (only_row, events) VALUES (1, 0);

-- How many entries there are of each kind and outcome.
CREATE TABLE entry_counts (
    kind    TEXT NOT NULL,
    cluster TEXT NOT NULL,
    copy    TEXT NOT NULL,
    outcome TEXT NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (kind, cluster, copy, outcome)
) STRICT, WITHOUT ROWID;

CREATE TABLE standings (
    cluster   TEXT NOT NULL,
    copy      TEXT NOT NULL,
    kind      TEXT NOT NULL,
    location  TEXT NOT NULL,
    at        INTEGER NOT NULL,
    run_id    TEXT NOT NULL,
    exit_code INTEGER NOT NULL,
    verdict   TEXT CHECK (verdict IN ('proven', 'failed', 'unproven')),
    body      TEXT NOT NULL CHECK (json_valid(body) AND length(body) <= 8192),
    PRIMARY KEY (cluster, copy, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE incidents (
    id           TEXT PRIMARY KEY NOT NULL,
    cluster      TEXT NOT NULL,
    copy         TEXT NOT NULL,
    kind         TEXT NOT NULL,
    -- Which of several that look at the same copy, such as a drill's definition; else empty.
    scope        TEXT NOT NULL,
    code         TEXT NOT NULL,
    severity     TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    object       TEXT NOT NULL,
    message      TEXT NOT NULL,
    count        INTEGER NOT NULL,
    -- The least depth at which it was seen: listed 0, sampled 1, read 2.
    depth        INTEGER NOT NULL,
    opened_at    INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    closed_at    INTEGER,
    -- The ledger's entries that opened and closed it.
    opened_by    INTEGER,
    closed_by    INTEGER
) STRICT;
CREATE UNIQUE INDEX incidents_open ON incidents (cluster, copy, scope, code) WHERE closed_at IS NULL;
CREATE INDEX incidents_by_opening ON incidents (opened_at, id);

-- What happened to incidents, numbered in the order in which it became visible.
CREATE TABLE incident_events (
    number      INTEGER PRIMARY KEY NOT NULL,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    change      TEXT NOT NULL CHECK (change IN ('opened', 'worsened', 'closed')),
    at          INTEGER NOT NULL
) STRICT;

-- Who is to be told of what, and who was.
CREATE TABLE deliveries (
    id           TEXT PRIMARY KEY NOT NULL,
    incident_id  TEXT NOT NULL REFERENCES incidents (id),
    receiver     TEXT NOT NULL,
    event        TEXT NOT NULL CHECK (event IN ('firing', 'resolved', 'repeat')),
    -- Which of several of the same event: 0, and further ones for repeats.
    number       INTEGER NOT NULL DEFAULT 0,
    -- How much the incident mattered when this was planned: worse is told again at once.
    severity     TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    created_at   INTEGER NOT NULL,
    next_at      INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    lease_holder TEXT,
    lease_until  INTEGER,
    done_at      INTEGER,
    outcome      TEXT CHECK (outcome IN ('sent', 'given-up', 'superseded')),
    error        TEXT,
    UNIQUE (incident_id, receiver, event, number)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE done_at IS NULL;
