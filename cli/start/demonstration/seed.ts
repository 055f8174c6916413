import type { Database } from '../../../shared/postgres/database.ts';

/** The trigger of the demonstration's executions; it never touches any other. */
export const DEMO_TRIGGER = 'DEMO';

const TASKS_PER_EXECUTION = 7;

/**
 * Fills an embedded database with `executions` executions of 7 tasks each and five vendors, every
 * status out of date. Execution 42 is a REPLICATION, as in the documentation. On a database that
 * has them, it makes their statuses out of date again. Capture records these changes as it would
 * those of any program.
 * @throws an error from `pg`
 */
export async function seedDemonstration(database: Database, executions: number): Promise<void> {
  await database.query(
    `UPDATE execution SET status = 'Running', end_time = NULL WHERE trigger = $1`,
    [DEMO_TRIGGER],
  );
  await database.query(
    `UPDATE task t
        SET status = CASE WHEN t.status = 'Running' THEN 'Success' ELSE t.status END, status_code = 3,
            end_time = coalesce(t.end_time, date_trunc('second', now() AT TIME ZONE 'UTC')) + interval '1 second'
       FROM execution e WHERE e.id = t.execution_id AND e.trigger = $1`,
    [DEMO_TRIGGER],
  );
  await database.query(
    `WITH vendors (list) AS (
       VALUES (ARRAY['REPLICATION', 'GARBAGE_COLLECTION', 'IMAGE_SCAN', 'RETENTION', 'P2P_PREHEAT'])
     ), missing (count) AS (
       SELECT greatest($1 - count(*), 0) FROM execution WHERE trigger = $3
     ), created AS (
       INSERT INTO execution (vendor_type, vendor_id, status, trigger, revision, start_time)
       SELECT list[1 + (n + 3) % 5], n, 'Running', $3, 0,
              date_trunc('second', now() AT TIME ZONE 'UTC') - interval '10 minutes'
         FROM missing, vendors, generate_series(1, missing.count::integer) AS n
       RETURNING id, vendor_type
     )
     INSERT INTO task (execution_id, status, status_code, vendor_type, job_id, start_time, end_time)
     SELECT id, drawn.status, 3, vendor_type, md5(id::text || n),
            date_trunc('second', now() AT TIME ZONE 'UTC') - (n + 1) * interval '1 minute',
            date_trunc('second', now() AT TIME ZONE 'UTC') - n * interval '1 minute'
       FROM created, generate_series(1, $2) AS n,
            LATERAL (SELECT CASE WHEN (id * 31 + n * 17) % 43 = 0 THEN 'Error'
                                 WHEN (id * 13 + n * 29) % 97 = 0 THEN 'Stopped'
                                 ELSE 'Success' END AS status) AS drawn`,
    [executions, TASKS_PER_EXECUTION, DEMO_TRIGGER],
  );
  await database.query('ANALYZE');
}
