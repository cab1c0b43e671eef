-- What shards of one verification read, until another process concludes from it. Rows go with
-- the conclusion, at the latest a day later. Moments are microseconds since 1970.
CREATE TABLE shard_readings (
    -- The verification that is divided.
    campaign TEXT NOT NULL,
    -- The object or base backup.
    name     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    -- What came of it, packed.
    body     TEXT NOT NULL,
    -- What only the readers of base backups need of it, packed.
    aside    TEXT,
    PRIMARY KEY (campaign, name)
);
CREATE INDEX shard_readings_by_time ON shard_readings (at);
