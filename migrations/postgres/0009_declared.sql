-- What custom resources add to the configuration, as the controller compiled it last: for
-- commands beside the daemon. One row; secrets are references. Moments are microseconds since 1970.
CREATE TABLE declared (
    id   BIGINT PRIMARY KEY CHECK (id = 1),
    at   BIGINT NOT NULL,
    -- JSON.
    body TEXT NOT NULL
);
