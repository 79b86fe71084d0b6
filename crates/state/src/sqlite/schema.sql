-- Version 1. Counts, records, slices, strangers and results are JSON, so that added fields need no
-- migration. Nothing is stored per object.
CREATE TABLE transfers (
    id TEXT PRIMARY KEY,
    spec TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status TEXT NOT NULL,
    phase TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    error TEXT,
    revision INTEGER NOT NULL
) WITHOUT ROWID;

-- What is raised by nearly every transaction, apart from the specification, which may be long.
CREATE TABLE totals (
    transfer TEXT PRIMARY KEY REFERENCES transfers (id) ON DELETE CASCADE,
    next_range INTEGER NOT NULL,
    next_sequence INTEGER NOT NULL,
    next_retry INTEGER NOT NULL,
    groups_done INTEGER NOT NULL,
    chunks_done INTEGER NOT NULL,
    done TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE ranges (
    transfer TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    after TEXT,
    upto TEXT,
    cursor TEXT,
    next_group INTEGER NOT NULL,
    counts TEXT NOT NULL,
    done INTEGER NOT NULL,
    holder TEXT,                -- NULL: free; the fence stays
    fence INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    parent INTEGER,             -- range and fence that it was split from
    parent_fence INTEGER,
    published TEXT,             -- digest of the last publication, to know its repetition
    PRIMARY KEY (transfer, id)
) WITHOUT ROWID;

CREATE TABLE segments (
    transfer TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    pointer TEXT NOT NULL,
    PRIMARY KEY (transfer, kind, number)
) WITHOUT ROWID;

CREATE TABLE groups (
    transfer TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    range INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    segment TEXT NOT NULL,
    status TEXT NOT NULL,
    holder TEXT,                -- NULL: never leased
    fence INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    done INTEGER NOT NULL,      -- bitmap
    counts TEXT NOT NULL,
    records TEXT NOT NULL,
    PRIMARY KEY (transfer, sequence)
) WITHOUT ROWID;
CREATE UNIQUE INDEX groups_by_id ON groups (transfer, range, ordinal);
CREATE INDEX groups_by_status ON groups (transfer, status, sequence);

CREATE TABLE uploads (
    transfer TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    destination INTEGER NOT NULL,
    key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    status TEXT NOT NULL,
    intended TEXT NOT NULL,
    strangers TEXT NOT NULL,
    token TEXT,
    parts_total INTEGER NOT NULL,
    slices TEXT NOT NULL,
    task TEXT NOT NULL,
    result TEXT,
    PRIMARY KEY (transfer, destination, key, attempt)
) WITHOUT ROWID;
CREATE INDEX uploads_by_status ON uploads (transfer, status, destination, key, attempt);
