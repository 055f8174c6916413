-- Renews the lease of a duty, and fails if this holder has lost it. Called as the last statement of each transaction of
-- the holder: one that was frozen for longer than its lease can't commit once another has it, and one that freezes
-- in the middle of a transaction doesn't keep others from taking it.
CREATE OR REPLACE FUNCTION tally.hold_lease(a_duty text, a_holder text, duration_ms integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    UPDATE tally.lease l
       SET expires_at = clock_timestamp() + duration_ms * interval '1 millisecond'
     WHERE l.duty = a_duty AND l.holder = a_holder;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another process has taken over the duty: %', a_duty USING ERRCODE = 'TL001';
    END IF;
END
$function$;

REVOKE EXECUTE ON FUNCTION tally.hold_lease(text, text, integer) FROM PUBLIC;
