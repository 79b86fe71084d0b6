-- Version 3. Groups of a range that are claimed first have ordinals of their own.
ALTER TABLE ranges ADD COLUMN next_first INTEGER NOT NULL DEFAULT 0;
