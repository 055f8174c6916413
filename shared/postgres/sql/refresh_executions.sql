-- Whether what an outbox row asks for overrules a final status of its execution.
-- row_id, changed_in, only_finishes: of the row.
-- word_row_id, stored_in, seen: outbox_id, stored_in and snapshot of the host's word (tally.host_word); NULL: there is none.
-- The word stands against changes that were committed before it, or made earlier in its own transaction. A row
-- of an unknown transaction overrules it: it may be about anything.
CREATE OR REPLACE FUNCTION tally.overrules(
    row_id bigint, changed_in xid8, only_finishes boolean, word_row_id bigint, stored_in xid8, seen pg_snapshot
) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $function$
    SELECT NOT only_finishes AND NOT coalesce(
        row_id < word_row_id AND (changed_in = stored_in OR pg_visible_in_snapshot(changed_in, seen)), false)
$function$;

REVOKE EXECUTE ON FUNCTION tally.overrules(bigint, xid8, boolean, bigint, xid8, pg_snapshot) FROM PUBLIC;

-- Refreshes executions: stores what their tasks say and deletes the outbox rows whose change was seen.
--
-- Statement by statement, each with a snapshot of its own under READ COMMITTED, in one round trip; call
-- it in autocommit.
--   1. Lock the executions. Two refreshers of one execution run one after the other, so the later
--      one aggregates later: an older status can't overwrite a newer one. NO KEY UPDATE doesn't
--      block the inserts of tasks that refer to the execution.
--   2. Delete the due outbox rows, 20,000 at most, which is a fraction of a second: an execution may have millions,
--      and a statement that can't finish in time never gets on. The rows that are left ask for one more refresh.
--      A row and its change commit together, so every change whose row is deleted here is visible to the aggregate
--      that follows. The other order loses changes. For the same reason, note here which jobs that failed for good
--      are overtaken. The deleted rows also tell which final statuses must stay: nothing that asks for the refresh
--      may overrule them.
--   3. Aggregate and update.
--   4. Report.
--
-- ids:  distinct execution ids.
-- wait: false skips executions that another transaction holds and reports them busy;
--       true waits for them, 10 s at most (then SQLSTATE 55P03).
-- Gives for each id its outcome (changed, unchanged, no_tasks, missing, busy), and the source and age in
-- whole milliseconds of the oldest outbox row that was deleted for it (NULL: there was none).
CREATE OR REPLACE FUNCTION tally.refresh_executions(ids bigint[], wait boolean DEFAULT false)
RETURNS TABLE (execution_id bigint, outcome text, source text, lag_ms double precision)
LANGUAGE plpgsql
VOLATILE
-- One plan for each statement, whatever the batch: planning anew takes three times as long as refreshing a few executions.
SET plan_cache_mode = force_generic_plan
-- Such a plan is made for ten executions, perhaps while the outbox is empty: joins that are quadratic in the batch
-- and scans of whole tables would stay when batches and backlog have grown.
SET enable_nestloop = off
SET enable_seqscan = off
AS $function$
#variable_conflict use_column
DECLARE
    locked       bigint[];
    -- Of those locked: stored as final, and those of them whose status stays.
    final        bigint[];
    kept         bigint[];
    busy         bigint[] := '{}';
    most         CONSTANT integer := 20000;
    due_rows     bigint[];
    row_ids      bigint[];
    row_sources  text[];
    row_created  timestamptz[];
    updated_ids  bigint[];
    updated_diff boolean[];
BEGIN
    IF wait THEN
        PERFORM set_config('lock_timeout', '10s', true);
        SELECT array_agg(l.id), array_agg(l.id) FILTER (WHERE l.status IN ('Success', 'Error', 'Stopped'))
          INTO locked, final
          FROM (SELECT e.id::bigint, e.status FROM execution e WHERE e.id = ANY (ids)
                 ORDER BY e.id FOR NO KEY UPDATE) l;
    ELSE
        SELECT array_agg(l.id), array_agg(l.id) FILTER (WHERE l.status IN ('Success', 'Error', 'Stopped'))
          INTO locked, final
          FROM (SELECT e.id::bigint, e.status FROM execution e WHERE e.id = ANY (ids)
                 ORDER BY e.id FOR NO KEY UPDATE SKIP LOCKED) l;
    END IF;
    locked := coalesce(locked, '{}');
    final := coalesce(final, '{}');
    IF cardinality(locked) < cardinality(ids) THEN
        SELECT coalesce(array_agg(e.id), '{}') INTO busy
          FROM execution e WHERE e.id = ANY (ids) AND e.id <> ALL (locked);
    END IF;

    due_rows := ARRAY(
        SELECT due.id FROM tally.outbox due
         WHERE due.execution_id = ANY (ids)
           AND due.execution_id <> ALL (busy)
           AND due.due_at <= clock_timestamp()
         LIMIT most + 1
           FOR UPDATE SKIP LOCKED);
    IF cardinality(due_rows) > most THEN
        -- An equal share for each, so that each gets on, and none is judged by no row at all.
        due_rows := ARRAY(
            SELECT own.id
              FROM unnest(ids) AS i (id)
             CROSS JOIN LATERAL (
                   SELECT due.id FROM tally.outbox due
                    WHERE due.execution_id = i.id AND due.due_at <= clock_timestamp()
                    LIMIT greatest(1, most / cardinality(ids))
                      FOR UPDATE SKIP LOCKED) own
             WHERE i.id <> ALL (busy));
    END IF;

    WITH deleted AS (
        DELETE FROM tally.outbox o WHERE o.id = ANY (due_rows)
        RETURNING o.id, o.execution_id, o.source, o.created_at, o.changed_in, o.only_finishes
    ), oldest AS (
        SELECT DISTINCT ON (d.execution_id) d.execution_id, d.source, d.created_at
          FROM deleted d ORDER BY d.execution_id, d.created_at
    ), word AS (
        -- Whoever refreshes raises the revision, which makes an older word of the host void.
        SELECT w.*
          FROM tally.host_word w
          JOIN execution e ON e.id = w.execution_id AND e.revision IS NOT DISTINCT FROM w.revision
         WHERE w.execution_id = ANY (final) AND e.id = ANY (final)
    ), asked AS (
        SELECT d.execution_id,
               bool_or(tally.overrules(d.id, d.changed_in, d.only_finishes, w.outbox_id, w.stored_in, w.snapshot))
               AS overrules
          FROM deleted d
          LEFT JOIN word w ON w.execution_id = d.execution_id
         WHERE d.execution_id = ANY (final)
         GROUP BY d.execution_id
    ), staying AS (
        -- With no row at all it is a refresh that another one has overtaken, or one by hand.
        SELECT f.id
          FROM unnest(final) AS f (id)
          LEFT JOIN asked a ON a.execution_id = f.id
          LEFT JOIN word w ON w.execution_id = f.id
         WHERE NOT coalesce(a.overrules, w.execution_id IS NULL)
    )
    SELECT array_agg(o.execution_id), array_agg(o.source), array_agg(o.created_at),
           (SELECT coalesce(array_agg(s.id), '{}') FROM staying s)
      INTO row_ids, row_sources, row_created, kept
      FROM oldest o;

    UPDATE tally.failure f SET refreshed = true
     WHERE f.execution_id = ANY (ids) AND f.execution_id <> ALL (busy) AND NOT f.refreshed;

    -- "e.id = ANY (locked)" looks redundant; without it the planner scans the table at batches of 100.
    WITH updated AS (
        UPDATE execution e
           SET status      = r.status,
               end_time    = r.end_time,
               revision    = coalesce(e.revision, 0) + 1,
               update_time = date_trunc('second', timezone('UTC', clock_timestamp()))
          FROM tally.rollup(locked) r
          JOIN execution before ON before.id = r.execution_id
         WHERE e.id = r.execution_id
           AND e.id = ANY (locked)
           AND before.id = ANY (locked)
           -- A status that stays may still lack its end.
           AND (e.id <> ALL (kept) OR (r.status = e.status AND e.end_time IS NULL AND r.end_time IS NOT NULL))
        RETURNING e.id,
                  (before.status, before.end_time) IS DISTINCT FROM (e.status, e.end_time) AS differs
    )
    SELECT array_agg(u.id), array_agg(u.differs) INTO updated_ids, updated_diff FROM updated u;

    RETURN QUERY
    SELECT i.id,
           CASE
               WHEN u.differs THEN 'changed'
               WHEN NOT u.differs OR i.id = ANY (kept) THEN 'unchanged'
               WHEN i.id = ANY (locked) THEN 'no_tasks'
               WHEN i.id = ANY (busy) THEN 'busy'
               ELSE 'missing'
           END,
           o.source,
           round(extract(epoch FROM clock_timestamp() - o.created_at)::double precision * 1000)
      FROM unnest(ids) AS i (id)
      LEFT JOIN unnest(updated_ids, updated_diff) AS u (id, differs) ON u.id = i.id
      LEFT JOIN unnest(row_ids, row_sources, row_created) AS o (id, source, created_at) ON o.id = i.id;
END
$function$;

REVOKE EXECUTE ON FUNCTION tally.refresh_executions(bigint[], boolean) FROM PUBLIC;
