-- Version 2. What gateways tell of themselves is JSON, so that added fields need no migration.
CREATE TABLE gateways (
    transfer TEXT NOT NULL REFERENCES transfers (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (transfer, name)
) WITHOUT ROWID;
