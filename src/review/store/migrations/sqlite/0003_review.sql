-- What reviewers need. Times are milliseconds since 1970 (UTC).

ALTER TABLE cases RENAME TO cases_2;
DROP INDEX cases_by_time;

-- One flagged exchange a row. `body` is JSON of what was said and what is known of it: `request`, `response`, `call` and
-- `evidence`; `excerpt` begins as the prompt does. Both are sealed with the key that `seal` names, if it names one.
CREATE TABLE cases (
    -- Never given twice: the search index and what follows the record rely on it.
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    -- How often the exchange's record was written; a later writing takes the place of an earlier one.
    version  INTEGER NOT NULL,
    at       TEXT NOT NULL,
    at_ms    INTEGER NOT NULL,
    decision TEXT NOT NULL,
    dialect  TEXT NOT NULL,
    model    TEXT NOT NULL,
    stream   INTEGER NOT NULL,
    language TEXT,
    score    REAL,
    guard    TEXT NOT NULL,
    policy   TEXT NOT NULL,
    reasons  TEXT NOT NULL,
    tenant   TEXT,
    caller   TEXT,
    subject  TEXT,
    -- What reviewers say of it: `open`, `right`, `wrong` or `disputed`.
    state    TEXT NOT NULL DEFAULT 'open',
    -- The texts in lower case, to search in; none where they are sealed or not kept. Before what is large, which lies on pages
    -- of its own.
    texts    TEXT,
    excerpt  BLOB NOT NULL,
    body     BLOB NOT NULL,
    seal     TEXT,
    -- Size of `body`.
    bytes    INTEGER NOT NULL
) STRICT;

INSERT INTO cases (id, version, at, at_ms, decision, dialect, model, stream, language, score, guard, policy, reasons, tenant,
                   caller, subject, texts, excerpt, body, bytes)
SELECT id, 1, at, CAST(round((julianday(at) - 2440587.5) * 86400000) AS INTEGER), decision, dialect, model, stream, language,
       score, guard, policy, reasons, call ->> 'tenant', call ->> 'key', call ->> 'subject',
       (SELECT lower(group_concat(value ->> 'text', char(10))) FROM (
            SELECT value FROM json_each(request) UNION ALL SELECT value FROM json_each(response))),
       CAST(coalesce((SELECT substr(value ->> 'text', 1, 200) FROM json_each(request) WHERE value ->> 'target' = 'prompt'
                      ORDER BY key DESC LIMIT 1), '') AS BLOB),
       CAST(json_object('request', json(request), 'response', json(response), 'call', json(call), 'evidence', json(evidence))
            AS BLOB),
       length(request) + length(response)
FROM cases_2 ORDER BY at, id;

-- With what charts count, so that they read no case.
CREATE INDEX cases_by_time ON cases (at_ms, id, decision, language, state);
CREATE INDEX cases_by_state ON cases (state, at_ms, id);
CREATE INDEX cases_by_tenant ON cases (tenant, at_ms, id) WHERE tenant IS NOT NULL;
CREATE INDEX cases_by_caller ON cases (caller, at_ms, id) WHERE caller IS NOT NULL;
CREATE INDEX cases_by_subject ON cases (subject, at_ms, id) WHERE subject IS NOT NULL;
CREATE INDEX cases_by_language ON cases (language, at_ms, id) WHERE language IS NOT NULL;
CREATE INDEX cases_by_decision ON cases (decision, at_ms, id);
CREATE INDEX cases_by_score ON cases (score) WHERE score IS NOT NULL;

-- The rules that matched, to look for.
CREATE TABLE case_rules (
    case_id   TEXT NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    at_ms     INTEGER NOT NULL,
    policy    TEXT NOT NULL,
    rule      TEXT NOT NULL,
    action    TEXT NOT NULL,
    mode      TEXT NOT NULL,
    direction TEXT NOT NULL,
    target    TEXT,
    score     REAL
) STRICT;

INSERT INTO case_rules
SELECT cases.id, cases.at_ms, coalesce(value ->> 'policy', ''), coalesce(value ->> 'rule', ''),
       coalesce(value ->> 'action', ''), coalesce(value ->> 'mode', ''), coalesce(value ->> 'direction', ''),
       value ->> 'target', value ->> 'score'
FROM cases, json_each(cases.reasons);

CREATE INDEX case_rules_by_case ON case_rules (case_id);
CREATE INDEX case_rules_by_rule ON case_rules (rule, at_ms, case_id);
CREATE INDEX case_rules_by_policy ON case_rules (policy, at_ms, case_id);
CREATE INDEX case_rules_by_direction ON case_rules (direction, at_ms, case_id);

-- Which texts have which stretches of three characters; where, and whether in a row, only `texts` tells.
CREATE VIRTUAL TABLE case_texts USING
fts5 (text, content = '', contentless_delete = 1, detail = 'none', tokenize = 'trigram case_sensitive 1');
-- Bytes of the index that one transaction gathers before they are written out.
INSERT INTO case_texts (case_texts, rank) VALUES ('hashsize', 16777216);
-- Parts of the index that are merged at once: more cost searches little, and those who write less.
INSERT INTO case_texts (case_texts, rank) VALUES ('automerge', 8);

-- The last case that is in the index. The writer adds those after it when it has time.
CREATE TABLE indexed (seq INTEGER NOT NULL) STRICT;
INSERT INTO indexed VALUES (0);

DROP TABLE cases_2;

-- What each reviewer says of a case: `right`, the flag was right, or `wrong`.
CREATE TABLE decisions (
    case_id  TEXT NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    reviewer TEXT NOT NULL,
    verdict  TEXT NOT NULL,
    note     TEXT NOT NULL,
    at_ms    INTEGER NOT NULL,
    PRIMARY KEY (case_id, reviewer)
) STRICT;

-- Who did what; lines are only ever added. `hash` covers the line and the hash before it.
CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    case_id TEXT,
    detail  TEXT NOT NULL,
    hash    TEXT NOT NULL
) STRICT;

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
    created_ms INTEGER NOT NULL,
    removed_by TEXT,
    removed_ms INTEGER
) STRICT;

-- Who is signed in, by the hashes of their cookies.
CREATE TABLE sessions (
    token      TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    -- Of somebody whom another party vouched for; users of the settings have theirs there.
    role       TEXT,
    -- A mark of what they signed in with: a session ends with that.
    proof      TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    seen_ms    INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

-- What webhooks are still to be told.
CREATE TABLE deliveries (
    id       TEXT PRIMARY KEY,
    hook     TEXT NOT NULL,
    case_id  TEXT NOT NULL,
    payload  TEXT NOT NULL,
    tries    INTEGER NOT NULL,
    next_ms  INTEGER NOT NULL,
    -- Until when one node tries it.
    lease_ms INTEGER NOT NULL,
    error    TEXT
) STRICT;

CREATE INDEX deliveries_by_time ON deliveries (next_ms);
