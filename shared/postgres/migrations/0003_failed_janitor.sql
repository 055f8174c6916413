-- One row, by which any number of workers take turns in clearing up failed jobs.
CREATE TABLE tally.failed_janitor (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The last sign of life of the pass that is under way, or of the last one.
    active_at  timestamptz NOT NULL DEFAULT '-infinity',
    -- The job id up to which notes were compared with the queue; the next pass goes on there.
    checked_to text NOT NULL DEFAULT ''
);

INSERT INTO tally.failed_janitor DEFAULT VALUES;
