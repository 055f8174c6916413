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

-- The span that requests the refresh, in W3C's form, so that whichever relay sends the row continues its trace. NULL: not
-- traced.
ALTER TABLE tally.outbox ADD COLUMN traceparent text;
