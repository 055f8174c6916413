-- A host's transaction may hold the outbox for long, and all others would wait behind whoever waits for it.
DO $$
DECLARE
    usual text := current_setting('lock_timeout');
BEGIN
    FOR attempt IN 1..60 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '300ms', true);
            LOCK TABLE tally.outbox IN ACCESS EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF attempt = 60 THEN
                RAISE EXCEPTION 'other transactions hold tally.outbox; nothing was changed. End the long ones (pg_stat_activity shows them) or run tally migrate again when it is quieter';
            END IF;
        END;
        PERFORM pg_sleep(0.3);
    END LOOP;
    PERFORM set_config('lock_timeout', usual, true);
END
$$;

ALTER TABLE tally.outbox
    -- The transaction that asks; of a captured change, the one that made it. NULL: not known.
    ADD COLUMN changed_in xid8,
    -- The refresh may end an execution, and leaves one that is stored as final as it is.
    ADD COLUMN only_finishes boolean NOT NULL DEFAULT false;

-- A statement of its own, so that rows of before have none.
ALTER TABLE tally.outbox ALTER COLUMN changed_in SET DEFAULT pg_current_xact_id();

-- The final statuses that the host stored by hand, and which changes came before them. That takes no clock: a
-- transaction that is visible in the snapshot was committed before.
CREATE TABLE tally.host_word (
    execution_id bigint PRIMARY KEY,
    -- Of the execution, which the next refresh raises: the word is void then.
    revision     bigint,
    -- From the sequence of the outbox: rows with a higher id are of later statements. It tells old from new also
    -- after a restore into another server, whose transactions are numbered anew.
    outbox_id    bigint NOT NULL,
    stored_in    xid8 NOT NULL,
    snapshot     pg_snapshot NOT NULL
);
