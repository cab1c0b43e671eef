-- What the daemon works with: jobs, schedules, leases, the ledger, standings, incidents and
-- deliveries. Moments are microseconds since 1970 and identities are text, here as in
-- SQLite, so that both databases take the same statements. To read a moment:
-- `to_timestamp(due_at / 1e6)`.

-- One row that whoever claims takes first: claims happen one after the other, and each has
-- a number. The clusters' turns are told by it.
CREATE TABLE queue_head (
    only_row BIGINT PRIMARY KEY NOT NULL CHECK (only_row = 1),
    claims   BIGINT NOT NULL
);
INSERT INTO queue_head (only_row, claims) VALUES (1, 0);

-- When each cluster was served last, as the number of the claim; 0 for never.
CREATE TABLE queue_clusters (
    cluster TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    served  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX queue_clusters_by_turn ON queue_clusters (served, cluster);

CREATE TABLE jobs (
    id              TEXT PRIMARY KEY NOT NULL,
    key             TEXT NOT NULL UNIQUE,
    kind            TEXT COLLATE "C" NOT NULL CHECK (kind IN ('verify', 'replicate', 'drill', 'report', 'sweep')),
    schedule        TEXT COLLATE "C",
    cluster         TEXT COLLATE "C" NOT NULL,
    copy            TEXT COLLATE "C" NOT NULL,
    -- The budget key of what it reads; empty for none.
    bucket          TEXT NOT NULL,
    tier            TEXT,
    due_at          BIGINT NOT NULL,
    run_after       BIGINT NOT NULL,
    deadline        BIGINT,
    priority        BIGINT NOT NULL CHECK (priority BETWEEN 0 AND 9),
    late            BIGINT NOT NULL CHECK (late IN (0, 1)),
    scratch_bytes   BIGINT NOT NULL CHECK (scratch_bytes >= 0),
    max_attempts    BIGINT NOT NULL CHECK (max_attempts >= 1),
    -- What is to be done, as JSON.
    spec            TEXT NOT NULL CHECK (spec::json IS NOT NULL AND length(spec) <= 65536),
    status          TEXT NOT NULL CHECK (status IN
        ('waiting', 'running', 'done', 'failed', 'cancelled', 'missed', 'skipped')),
    attempts        BIGINT NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- Grows with every claim; whoever writes shows the newest.
    token           BIGINT NOT NULL DEFAULT 0,
    holder          TEXT,
    lease_until     BIGINT,
    progress        TEXT CHECK (progress IS NULL OR progress::json IS NOT NULL),
    cancel_asked_at BIGINT,
    error           TEXT,
    run_id          TEXT,
    created_at      BIGINT NOT NULL,
    started_at      BIGINT,
    finished_at     BIGINT,
    CHECK (run_after >= due_at),
    CHECK ((status = 'running') = (holder IS NOT NULL)),
    CHECK ((status = 'running') = (lease_until IS NOT NULL)),
    CHECK ((status IN ('waiting', 'running')) = (finished_at IS NULL))
);

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
CREATE FUNCTION walproof_tokens_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.token < OLD.token
        OR OLD.status <> 'running' AND NEW.status = 'running' AND NEW.token <= OLD.token THEN
        RAISE EXCEPTION 'a fencing token never goes back'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER jobs_tokens_grow BEFORE UPDATE ON jobs
    FOR EACH ROW EXECUTE FUNCTION walproof_tokens_grow();
ALTER TABLE jobs ENABLE ALWAYS TRIGGER jobs_tokens_grow;

-- Which runs were attempts at which job.
CREATE TABLE job_runs (
    run_id TEXT PRIMARY KEY NOT NULL,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    token  BIGINT NOT NULL
);
CREATE INDEX job_runs_by_job ON job_runs (job_id);

CREATE TABLE schedules (
    schedule   TEXT COLLATE "C" NOT NULL,
    cluster    TEXT COLLATE "C" NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL CHECK (kind IN ('verify', 'replicate', 'drill', 'report', 'sweep')),
    definition TEXT NOT NULL,
    next_due   BIGINT NOT NULL,
    last_due   BIGINT,
    PRIMARY KEY (schedule, cluster)
);
CREATE INDEX schedules_due ON schedules (next_due);
CREATE INDEX schedules_by_cluster ON schedules (cluster, next_due);

CREATE TABLE leases (
    name        TEXT PRIMARY KEY NOT NULL,
    token       BIGINT NOT NULL,
    holder      TEXT,
    lease_until BIGINT NOT NULL
);

-- The ledger. Entries are added at its end, numbered without gaps, each with the digest of
-- the one before it; the triggers hold that against every writer, not only against walproof.
CREATE TABLE entries (
    sequence BIGINT PRIMARY KEY NOT NULL,
    previous TEXT NOT NULL CHECK (length(previous) = 64),
    sha256   TEXT NOT NULL CHECK (length(sha256) = 64),
    at       BIGINT NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL,
    cluster  TEXT COLLATE "C",
    copy     TEXT,
    run_id   TEXT,
    text     TEXT NOT NULL,
    CHECK (text LIKE '%,"previous":"' || previous || '",%'),
    CHECK (text LIKE '%,"sequence":' || sequence || '}'),
    CHECK (sha256 = encode(pg_catalog.sha256(convert_to(text, 'UTF8')), 'hex'))
);
CREATE INDEX entries_by_time ON entries (at, sequence);
CREATE INDEX entries_by_run ON entries (run_id) WHERE run_id IS NOT NULL;

CREATE TRIGGER entries_never_change BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION walproof_append_only();
ALTER TABLE entries ENABLE ALWAYS TRIGGER entries_never_change;

CREATE FUNCTION walproof_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest RECORD;
BEGIN
    SELECT sequence, sha256 INTO newest FROM entries ORDER BY sequence DESC LIMIT 1;
    IF NEW.sequence IS DISTINCT FROM coalesce(newest.sequence, 0) + 1 THEN
        RAISE EXCEPTION 'the ledger has no gaps: the number % is not the next', NEW.sequence
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.previous IS DISTINCT FROM coalesce(newest.sha256, repeat('0', 64)) THEN
        RAISE EXCEPTION 'the ledger is linked: the digest is not that of the entry before'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- Two that insert at once both take the same number, and the primary key refuses one.
CREATE TRIGGER entries_are_linked BEFORE INSERT ON entries
    FOR EACH ROW EXECUTE FUNCTION walproof_ledger();
ALTER TABLE entries ENABLE ALWAYS TRIGGER entries_are_linked;

-- One row that whoever appends takes first, and the number of the newest incident event.
CREATE TABLE ledger_head (
    only_row BIGINT PRIMARY KEY NOT NULL CHECK (only_row = 1),
    events   BIGINT NOT NULL
);
INSERT INTO ledger_head (only_row, events) VALUES (1, 0);

-- How many entries there are of each kind and outcome.
CREATE TABLE entry_counts (
    kind    TEXT COLLATE "C" NOT NULL,
    cluster TEXT COLLATE "C" NOT NULL,
    copy    TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    entries BIGINT NOT NULL,
    PRIMARY KEY (kind, cluster, copy, outcome)
);

CREATE TABLE standings (
    cluster   TEXT COLLATE "C" NOT NULL,
    copy      TEXT COLLATE "C" NOT NULL,
    kind      TEXT COLLATE "C" NOT NULL,
    location  TEXT NOT NULL,
    at        BIGINT NOT NULL,
    run_id    TEXT NOT NULL,
    exit_code BIGINT NOT NULL,
    verdict   TEXT CHECK (verdict IN ('proven', 'failed', 'unproven')),
    body      TEXT NOT NULL CHECK (body::json IS NOT NULL AND length(body) <= 8192),
    PRIMARY KEY (cluster, copy, kind)
);

CREATE TABLE incidents (
    id           TEXT PRIMARY KEY NOT NULL,
    cluster      TEXT COLLATE "C" NOT NULL,
    copy         TEXT COLLATE "C" NOT NULL,
    kind         TEXT COLLATE "C" NOT NULL,
    -- Which of several that look at the same copy, such as a drill's definition; else empty.
    scope        TEXT NOT NULL,
    code         TEXT NOT NULL,
    severity     TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    object       TEXT NOT NULL,
    message      TEXT NOT NULL,
    count        BIGINT NOT NULL,
    -- The least depth at which it was seen: listed 0, sampled 1, read 2.
    depth        BIGINT NOT NULL,
    opened_at    BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    closed_at    BIGINT,
    -- The ledger's entries that opened and closed it.
    opened_by    BIGINT,
    closed_by    BIGINT
);
CREATE UNIQUE INDEX incidents_open ON incidents (cluster, copy, scope, code) WHERE closed_at IS NULL;
CREATE INDEX incidents_by_opening ON incidents (opened_at, id);

-- What happened to incidents, numbered in the order in which it became visible.
CREATE TABLE incident_events (
    number      BIGINT PRIMARY KEY NOT NULL,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    change      TEXT NOT NULL CHECK (change IN ('opened', 'worsened', 'closed')),
    at          BIGINT NOT NULL
);

-- Who is to be told of what, and who was.
CREATE TABLE deliveries (
    id           TEXT PRIMARY KEY NOT NULL,
    incident_id  TEXT NOT NULL REFERENCES incidents (id),
    receiver     TEXT NOT NULL,
    event        TEXT NOT NULL CHECK (event IN ('firing', 'resolved', 'repeat')),
    -- Which of several of the same event: 0, and further ones for repeats.
    number       BIGINT NOT NULL DEFAULT 0,
    -- How much the incident mattered when this was planned: worse is told again at once.
    severity     TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    created_at   BIGINT NOT NULL,
    next_at      BIGINT NOT NULL,
    attempts     BIGINT NOT NULL DEFAULT 0,
    lease_holder TEXT,
    lease_until  BIGINT,
    done_at      BIGINT,
    outcome      TEXT CHECK (outcome IN ('sent', 'given-up', 'superseded')),
    error        TEXT,
    UNIQUE (incident_id, receiver, event, number)
);
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE done_at IS NULL;
