-- What metrics and alarms need that the newest row alone forgets.

-- The newest run of each kind that gave an answer, beside the newest of all: one that could
-- not check proves nothing, and what was known before it still holds.
ALTER TABLE standings ADD COLUMN answered_at BIGINT;
ALTER TABLE standings ADD COLUMN answered_verdict TEXT
    CHECK (answered_verdict IN ('proven', 'failed'));
UPDATE standings SET answered_at = at, answered_verdict = verdict
    WHERE exit_code <= 1 AND (verdict IS NULL OR verdict <> 'unproven');

-- How many due moments the entries stand for; what did not happen as planned is counted by
-- its reason.
ALTER TABLE entry_counts ADD COLUMN moments BIGINT NOT NULL DEFAULT 0;
UPDATE entry_counts SET moments = entries;
DELETE FROM entry_counts WHERE kind IN ('missed', 'late', 'skipped');
INSERT INTO entry_counts (kind, cluster, copy, outcome, entries, moments)
    SELECT kind, coalesce(cluster, ''), coalesce(copy, ''),
        coalesce(text::json -> 'body' ->> 'reason', ''), count(*),
        sum(CASE kind
            WHEN 'late' THEN 1 + coalesce((text::json -> 'body' ->> 'passed_over')::bigint, 0)
            ELSE coalesce((text::json -> 'body' ->> 'moments')::bigint, 1) END)
    FROM entries WHERE kind IN ('missed', 'late', 'skipped') GROUP BY 1, 2, 3, 4;

-- How many deliveries ever came to what. Their rows go in time, these numbers only grow.
CREATE TABLE delivery_outcomes (
    receiver   TEXT COLLATE "C" NOT NULL,
    outcome    TEXT COLLATE "C" NOT NULL CHECK (outcome IN ('sent', 'given-up', 'superseded')),
    deliveries BIGINT NOT NULL,
    PRIMARY KEY (receiver, outcome)
);
INSERT INTO delivery_outcomes (receiver, outcome, deliveries)
    SELECT receiver, outcome, count(*) FROM deliveries WHERE outcome IS NOT NULL GROUP BY 1, 2;

-- When the ledger was last followed from its first entry to its last.
ALTER TABLE ledger_head ADD COLUMN followed_at BIGINT;
