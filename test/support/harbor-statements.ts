import type { Client } from 'pg';

/** The statuses that Harbor counts as final, and the code of each status. */
const CODES: Readonly<Record<string, number>> = {
  Pending: 0,
  Scheduled: 1,
  Running: 2,
  Stopped: 3,
  Error: 3,
  Success: 3,
};

/** How long an execution is stored as Running before Harbor's sweep takes it for dangling, in hours. */
const DANGLING_HOURS = 168;

/**
 * The statements that Harbor issues on its two tables, in the form and the transactions in which it issues them, on one
 * connection: what Tally has to work beside. Times are Harbor's: whole seconds in hooks, microseconds in ORM updates.
 */
export class HarborStatements {
  readonly #client: Client;
  readonly #mark: ((executionId: number) => Promise<unknown>) | undefined;

  /** @param mark writes the marker of a hook that doesn't refresh at once; without it there are no markers */
  constructor(client: Client, mark?: (executionId: number) => Promise<unknown>) {
    this.#client = client;
    this.#mark = mark;
  }

  /** A new execution, as Running with revision 0. @returns its id */
  async createExecution(vendor = 'REPLICATION', startedHoursAgo = 0): Promise<number> {
    const { rows } = await this.#client.query<{ id: number }>(
      `INSERT INTO execution (vendor_type, vendor_id, status, status_message, trigger, extra_attrs, start_time, revision, update_time)
       VALUES ($1, 1, 'Running', '', 'MANUAL', '{}', timezone('UTC', now()) - $2 * interval '1 hour', 0, timezone('UTC', now()))
       RETURNING id`,
      [vendor, startedHoursAgo],
    );
    return rows[0]?.id ?? 0;
  }

  /** A new task in a status of one's choice; Harbor begins with Pending. @returns its id */
  async createTask(
    executionId: number,
    status = 'Pending',
    vendor = 'REPLICATION',
  ): Promise<number> {
    const { rows } = await this.#client.query<{ id: number }>(
      `INSERT INTO task (execution_id, job_id, status, status_code, status_revision, status_message, run_count, extra_attrs, creation_time, update_time, vendor_type)
       VALUES ($1, '', $2, $3, 0, '', 1, '{}', timezone('UTC', now()), timezone('UTC', now()), $4) RETURNING id`,
      [executionId, status, CODES[status] ?? 0, vendor],
    );
    return rows[0]?.id ?? 0;
  }

  /**
   * A hook of the job service, in the transaction of its request: the task's new status and, when that is Stopped, a
   * refresh of the execution at once. A status that doesn't advance the task changes nothing.
   * @param revision start of the job's run in seconds; a higher one than before is a retry
   */
  async hook(taskId: number, executionId: number, status: string, revision: number): Promise<void> {
    await this.#transaction(async () => {
      await this.#client.query(
        `UPDATE task SET run_count = run_count + 1, start_time = to_timestamp($2)::timestamp WHERE id = $1 AND status_revision < $2`,
        [taskId, revision],
      );
      // Its zero time, not NULL, stands for the end of a task that isn't final.
      await this.#client.query(
        `UPDATE task SET status = $2, status_code = $3, status_revision = $4, update_time = date_trunc('second', timezone('UTC', clock_timestamp())),
                end_time = CASE WHEN $3 = 3 THEN date_trunc('second', timezone('UTC', clock_timestamp())) ELSE '0001-01-01 00:00:00' END
          WHERE id = $1 AND (status_revision = $4 AND status_code < $3 OR status_revision < $4)`,
        [taskId, status, CODES[status] ?? 0, revision],
      );
      if (status === 'Stopped') await this.refresh(executionId);
      else await this.#mark?.(executionId);
    });
  }

  /** Harbor's own refresh, which tries five times when another writer was faster. */
  async refresh(executionId: number): Promise<void> {
    for (let attempt = 0; attempt < 5; attempt++) {
      const { rows } = await this.#client.query<{ revision: number | null }>(
        'SELECT revision FROM execution WHERE id = $1',
        [executionId],
      );
      const { rows: counts } = await this.#client.query<{ status: string }>(
        'SELECT status, count(*) AS count FROM task WHERE execution_id = $1 GROUP BY status',
        [executionId],
      );
      const has = (...statuses: string[]): boolean =>
        counts.some(({ status }) => statuses.includes(status));
      if (rows[0] === undefined || !has(...Object.keys(CODES))) return;
      const final = has('Error') ? 'Error' : has('Stopped') ? 'Stopped' : 'Success';
      const { rowCount } = await this.#client.query(
        `UPDATE execution SET status = $2, revision = revision + 1, update_time = date_trunc('second', timezone('UTC', clock_timestamp()))
          WHERE id = $1 AND revision = $3`,
        [executionId, has('Pending', 'Scheduled', 'Running') ? 'Running' : final, rows[0].revision],
      );
      if (rowCount === 0) continue;
      await this.#client.query(
        `UPDATE execution SET end_time = CASE WHEN status IN ('Error', 'Stopped', 'Success')
                THEN (SELECT max(end_time) FROM task WHERE execution_id = $1) END WHERE id = $1`,
        [executionId],
      );
      return;
    }
  }

  /** Stops tasks whose jobs haven't begun: their status alone changes. */
  async stopPending(executionId: number): Promise<void> {
    await this.#client.query(
      `UPDATE task SET status = 'Stopped', update_time = timezone('UTC', clock_timestamp())
        WHERE execution_id = $1 AND status = 'Pending'`,
      [executionId],
    );
  }

  async storedStatus(executionId: number): Promise<string | null> {
    const { rows } = await this.#client.query<{ status: string | null }>(
      'SELECT status FROM execution WHERE id = $1',
      [executionId],
    );
    return rows[0]?.status ?? null;
  }

  /** Stores a final status by hand; the revision stays. */
  async mark(executionId: number, status: 'Success' | 'Error', message: string): Promise<void> {
    await this.#client.query(
      `UPDATE execution SET status = $2, status_message = $3, update_time = now.utc, end_time = now.utc
         FROM (SELECT timezone('UTC', clock_timestamp()) AS utc) AS now WHERE id = $1`,
      [executionId, status, message],
    );
  }

  /** The sweep's first step: what has been Running for a week, without a Running task, is stored as final. */
  async fixDangling(): Promise<void> {
    await this.#client.query(
      `UPDATE execution SET status = CASE
                WHEN EXISTS (SELECT 1 FROM task WHERE execution_id = execution.id AND status = 'Error') THEN 'Error'
                WHEN EXISTS (SELECT 1 FROM task WHERE execution_id = execution.id AND status = 'Stopped') THEN 'Stopped'
                ELSE 'Success' END
        WHERE status = 'Running' AND extract(epoch FROM now() - start_time) / 3600 > $1
          AND NOT EXISTS (SELECT 1 FROM task WHERE execution_id = execution.id AND status = 'Running')`,
      [DANGLING_HOURS],
    );
  }

  /** The sweep's second step: the final tasks of these executions go, then those executions that have none left. */
  async clean(executionIds: readonly number[]): Promise<void> {
    const list = executionIds.map((id) => `(${Math.trunc(id)})`).join(', ');
    await this.#client.query(
      `DELETE FROM task WHERE status_code = 3 AND EXISTS (SELECT 1 FROM (VALUES ${list}) AS v(eid) WHERE v.eid = task.execution_id)`,
    );
    await this.#client.query(
      `DELETE FROM execution WHERE EXISTS (SELECT 1 FROM (VALUES ${list}) AS v(eid) WHERE v.eid = execution.id)
          AND NOT EXISTS (SELECT 1 FROM task WHERE task.execution_id = execution.id)`,
    );
  }

  async #transaction(work: () => Promise<void>): Promise<void> {
    await this.#client.query('BEGIN');
    try {
      await work();
      await this.#client.query('COMMIT');
    } catch (error) {
      await this.#client.query('ROLLBACK').catch(() => undefined);
      throw error;
    }
  }
}
