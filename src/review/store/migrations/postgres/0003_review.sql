-- What reviewers need. Times are milliseconds since 1970 (UTC).

-- One flagged exchange a row. `body` is JSON of what was said and what is known of it: `request`, `response`, `call` and
-- `evidence`; `excerpt` begins as the prompt does. Both are sealed with the key that `seal` names, if it names one.
CREATE TABLE cases (
    -- Never given twice: what follows the record relies on it.
    seq      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id       TEXT COLLATE "C" NOT NULL UNIQUE,
    -- How often the exchange's record was written; a later writing takes the place of an earlier one.
    version  BIGINT NOT NULL,
    at       TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    decision TEXT NOT NULL,
    dialect  TEXT NOT NULL,
    model    TEXT NOT NULL,
    stream   BIGINT NOT NULL,
    language TEXT,
    score    DOUBLE PRECISION,
    guard    TEXT NOT NULL,
    policy   TEXT NOT NULL,
    reasons  TEXT NOT NULL,
    tenant   TEXT,
    caller   TEXT,
    subject  TEXT,
    -- What reviewers say of it: `open`, `right`, `wrong` or `disputed`.
    state    TEXT NOT NULL DEFAULT 'open',
    excerpt  BYTEA NOT NULL,
    body     BYTEA NOT NULL,
    seal     TEXT,
    -- Size of `body`.
    bytes    BIGINT NOT NULL,
    -- The texts in lower case, to search in; none where they are sealed or not kept.
    texts    TEXT
);

-- With what charts count, so that they read no case.
CREATE INDEX cases_by_time ON cases (at_ms, id, decision, language, state);
CREATE INDEX cases_by_state ON cases (state, at_ms, id);
CREATE INDEX cases_by_tenant ON cases (tenant, at_ms, id) WHERE tenant IS NOT NULL;
CREATE INDEX cases_by_caller ON cases (caller, at_ms, id) WHERE caller IS NOT NULL;
CREATE INDEX cases_by_subject ON cases (subject, at_ms, id) WHERE subject IS NOT NULL;
CREATE INDEX cases_by_language ON cases (language, at_ms, id) WHERE language IS NOT NULL;
CREATE INDEX cases_by_decision ON cases (decision, at_ms, id);
CREATE INDEX cases_by_score ON cases (score) WHERE score IS NOT NULL;

CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE INDEX cases_by_text ON cases USING gin (texts gin_trgm_ops);

-- The rules that matched, to look for.
CREATE TABLE case_rules (
    case_id   TEXT COLLATE "C" NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    at_ms     BIGINT NOT NULL,
    policy    TEXT NOT NULL,
    rule      TEXT NOT NULL,
    action    TEXT NOT NULL,
    mode      TEXT NOT NULL,
    direction TEXT NOT NULL,
    target    TEXT,
    score     DOUBLE PRECISION
);

CREATE INDEX case_rules_by_case ON case_rules (case_id);
CREATE INDEX case_rules_by_rule ON case_rules (rule, at_ms, case_id);
CREATE INDEX case_rules_by_policy ON case_rules (policy, at_ms, case_id);
CREATE INDEX case_rules_by_direction ON case_rules (direction, at_ms, case_id);

-- What each reviewer says of a case: `right`, the flag was right, or `wrong`.
CREATE TABLE decisions (
    case_id  TEXT COLLATE "C" NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    reviewer TEXT NOT NULL,
    verdict  TEXT NOT NULL,
    note     TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    PRIMARY KEY (case_id, reviewer)
);

-- Who did what; lines are only ever added. `hash` covers the line and the hash before it.
CREATE TABLE audit (
    seq     BIGINT PRIMARY KEY,
    at_ms   BIGINT NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    case_id TEXT,
    detail  TEXT NOT NULL,
    hash    TEXT NOT NULL
);

CREATE INDEX audit_by_case ON audit (case_id) WHERE case_id IS NOT NULL;

-- Texts that a policy lets pass until the end of a day, by their hashes.
CREATE TABLE exceptions (
    id         TEXT PRIMARY KEY,
    hash       TEXT NOT NULL,
    policy     TEXT NOT NULL,
    case_id    TEXT,
    owner      TEXT NOT NULL,
    note       TEXT NOT NULL,
    expires    TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    removed_by TEXT,
    removed_ms BIGINT
);

-- Who is signed in, by the hashes of their cookies.
CREATE TABLE sessions (
    token      TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    -- Of somebody whom another party vouched for; users of the settings have theirs there.
    role       TEXT,
    -- A mark of what they signed in with: a session ends with that.
    proof      TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    seen_ms    BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);

-- What webhooks are still to be told.
CREATE TABLE deliveries (
    id       TEXT PRIMARY KEY,
    hook     TEXT NOT NULL,
    case_id  TEXT COLLATE "C" NOT NULL,
    payload  TEXT NOT NULL,
    tries    BIGINT NOT NULL,
    next_ms  BIGINT NOT NULL,
    -- Until when one node tries it.
    lease_ms BIGINT NOT NULL,
    error    TEXT
);

CREATE INDEX deliveries_by_time ON deliveries (next_ms);
