-- Jobs that failed for good, so that two things can be told without Redis: which executions wait for a
-- person (the reconciler leaves those alone), and which of those were refreshed since (the failed job goes).
CREATE TABLE tally.failure (
    job_id       text PRIMARY KEY,
    execution_id bigint NOT NULL,
    vendor       text NOT NULL,
    failed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    refreshed    boolean NOT NULL DEFAULT false
);

CREATE INDEX failure_execution ON tally.failure (execution_id);
-- Read in pages along the key.
CREATE INDEX failure_refreshed ON tally.failure (job_id) WHERE refreshed;

-- One row, by which any number of producers take turns in looking for disagreements.
CREATE TABLE tally.reconciler (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The last sign of life of the pass that is under way, or of the last one.
    active_at    timestamptz NOT NULL DEFAULT '-infinity',
    -- When the last complete pass ended.
    last_pass_at timestamptz,
    found_total  bigint NOT NULL DEFAULT 0
);

INSERT INTO tally.reconciler DEFAULT VALUES;
