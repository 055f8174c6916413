-- Both tables are locked for the moment that the changes take. A host's transaction may hold the outbox for
-- as long as it likes, and whoever waits for it makes every other transaction of the host wait behind; so
-- wait only briefly, and try again. In the order in which a refresh takes them.
DO $$
DECLARE
    usual text := current_setting('lock_timeout');
BEGIN
    FOR attempt IN 1..60 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '300ms', true);
            LOCK TABLE tally.outbox, tally.failure, tally.failed_janitor IN ACCESS EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF attempt = 60 THEN
                RAISE EXCEPTION 'other transactions hold tally.outbox or tally.failure; nothing was changed. End the long ones (pg_stat_activity shows them) or run tally migrate again when it is quieter';
            END IF;
        END;
        PERFORM pg_sleep(0.3);
    END LOOP;
    PERFORM set_config('lock_timeout', usual, true);
END
$$;

-- As in shared/execution.ts. Rows that are there have passed a stricter one, so they needn't be read.
ALTER TABLE tally.outbox
    DROP CONSTRAINT outbox_vendor_check,
    ADD CONSTRAINT outbox_vendor_check CHECK (char_length(vendor) BETWEEN 1 AND 255) NOT VALID;

-- Every failure that needs a person has a row, whatever becomes of its job in Redis. Of an execution that failed
-- again, the newest one stands, with how often and since when; the others only wait for their jobs to go.
ALTER TABLE tally.failure
    ADD COLUMN error           text,
    ADD COLUMN sqlstate        text,
    ADD COLUMN attempts        integer,
    ADD COLUMN times           bigint NOT NULL DEFAULT 1,
    -- NULL, of a row of an older version: failed_at.
    ADD COLUMN first_failed_at timestamptz,
    ADD COLUMN superseded      boolean NOT NULL DEFAULT false;

DROP INDEX tally.failure_refreshed;
CREATE INDEX failure_overtaken ON tally.failure (job_id) WHERE refreshed OR superseded;
CREATE INDEX failure_standing ON tally.failure (job_id) WHERE NOT refreshed AND NOT superseded;
CREATE INDEX failure_newest ON tally.failure (failed_at) WHERE NOT refreshed AND NOT superseded;

ALTER TABLE tally.failed_janitor
    -- The job id up to which records were compared with the executions; the next pass goes on there.
    ADD COLUMN compared_to text NOT NULL DEFAULT '';
