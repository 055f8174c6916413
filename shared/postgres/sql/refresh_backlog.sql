-- Refreshes the executions of the oldest outbox rows that nobody has sent, for the backlog lane: what
-- tally.refresh_executions does, with the executions chosen here, so that a backlog costs no job each.
--
-- The rows are locked first, which is how several callers share them: each takes the oldest that are free. An
-- execution that another transaction holds is reported busy and its rows stay; the caller has to move them out
-- of the way (claimExecutions in shared/postgres/backlog.ts), or they would be the oldest again.
--
-- max_rows:     rows to look at.
-- older_ms:     only rows that have been due for this many milliseconds.
-- from_due:     only rows that have been due since then; where the last call ended, so that the dead rows of
--               what is done need not be stepped over each time.
-- Gives for each vendor, outcome and source how many executions, their ids, and the age in milliseconds of the
-- oldest outbox row of each; in last_due, the same in every row, the due time of the last row looked at.
-- No row: there was nothing to do.
CREATE OR REPLACE FUNCTION tally.refresh_backlog(max_rows integer, older_ms double precision, from_due timestamptz)
RETURNS TABLE (vendor text, outcome text, source text, execution_ids bigint[], lags_ms double precision[], last_due timestamptz)
LANGUAGE plpgsql
VOLATILE
-- The statistics may be older than a sudden backlog: without these the planner may read and sort all of it.
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $function$
#variable_conflict use_column
DECLARE
    ids     bigint[];
    vendors text[];
    latest  timestamptz;
    -- A variable, so that the index is read no further than to here; what follows isn't due yet.
    until   timestamptz := clock_timestamp() - older_ms * interval '1 millisecond';
BEGIN
    SELECT array_agg(p.execution_id), array_agg(p.vendor), max(p.latest)
      INTO ids, vendors, latest
      FROM (SELECT o.execution_id, min(o.vendor) AS vendor, max(o.due_at) AS latest
              FROM (SELECT execution_id, vendor, due_at
                      FROM tally.outbox
                     WHERE sent_at IS NULL
                       AND due_at <= until
                       AND due_at >= from_due
                     ORDER BY sent_at, due_at
                     LIMIT max_rows
                       FOR UPDATE SKIP LOCKED) o
             GROUP BY o.execution_id) p;
    IF ids IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT v.vendor, r.outcome, r.source, array_agg(r.execution_id), array_agg(r.lag_ms), latest
      FROM tally.refresh_executions(ids, false) r
      JOIN unnest(ids, vendors) AS v (id, vendor) ON v.id = r.execution_id
     GROUP BY v.vendor, r.outcome, r.source;
END
$function$;

REVOKE EXECUTE ON FUNCTION tally.refresh_backlog(integer, double precision, timestamptz) FROM PUBLIC;
