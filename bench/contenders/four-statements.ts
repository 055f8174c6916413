import type { Client, Pool } from 'pg';

const FINAL = `('Error', 'Stopped', 'Success')`;
const TRIES = 5;

interface Execution {
  readonly revision: number | null;
}

/**
 * Refreshes one execution as Harbor's core does (`src/pkg/task/dao/execution.go`): read it, count its
 * tasks by status, update it if its revision is still the same, and set its end time. Four
 * round trips, one after the other; again, five times at most, when another one was faster.
 */
export async function refreshWithFourStatements(
  database: Client | Pool,
  id: number,
): Promise<void> {
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    const read = await database.query<Execution>('SELECT * FROM execution WHERE id = $1', [id]);
    const execution = read.rows[0];
    if (execution === undefined) return;
    const counted = await database.query<{ status: string }>(
      'SELECT status, count(*) AS count FROM task WHERE execution_id = $1 GROUP BY status',
      [id],
    );
    const status = statusOf(counted.rows.map((row) => row.status));
    if (status === undefined) return;
    const updated = await database.query(
      `UPDATE execution SET status = $1, revision = revision + 1, update_time = $2
        WHERE id = $3 AND revision = $4`,
      [status, new Date(), id, execution.revision],
    );
    if (updated.rowCount === 0) continue;
    await database.query(
      `UPDATE execution
          SET end_time = CASE WHEN status IN ${FINAL}
                              THEN (SELECT max(end_time) FROM task WHERE execution_id = $1) END
        WHERE id = $1`,
      [id],
    );
    return;
  }
  throw new Error(`execution ${id} was not refreshed in ${TRIES} tries`);
}

function statusOf(statuses: readonly string[]): string | undefined {
  const has = (...some: string[]): boolean => some.some((status) => statuses.includes(status));
  if (has('Pending', 'Running', 'Scheduled')) return 'Running';
  if (has('Error')) return 'Error';
  if (has('Stopped')) return 'Stopped';
  return has('Success') ? 'Success' : undefined;
}
