-- One flagged exchange a row. `request`, `response` and `reasons` are JSON; the texts in them have what detectors found masked.
CREATE TABLE cases (
    id       TEXT PRIMARY KEY,
    at       TEXT NOT NULL,
    decision TEXT NOT NULL,
    dialect  TEXT NOT NULL,
    model    TEXT NOT NULL,
    stream   INTEGER NOT NULL,
    language TEXT,
    score    REAL,
    guard    TEXT NOT NULL,
    policy   TEXT NOT NULL,
    reasons  TEXT NOT NULL,
    request  TEXT NOT NULL,
    response TEXT NOT NULL
) STRICT;

CREATE INDEX cases_by_time ON cases (at);
