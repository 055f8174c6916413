import { beforeEach, describe, expect, it } from 'vitest';
import { refreshExecutions } from '../../../workers/refresh-executions.ts';
import {
  createExecution,
  createExecutions,
  outboxRows,
  readExecution,
} from '../../support/executions.ts';
import { HarborStatements } from '../../support/harbor-statements.ts';
import { createStores, openClient } from '../../support/stores.ts';
import { injectFault } from '../../support/fault.ts';

const { config, database } = await createStores({ capture: true });
const databaseUrl = config.DATABASE_URL;

beforeEach(async () => {
  await database.query('TRUNCATE execution, task, tally.outbox, tally.host_word');
});

describe("deleting tasks, as Harbor's sweep does,", () => {
  let harbor: HarborStatements;
  beforeEach(async () => {
    harbor = new HarborStatements(await openClient(databaseUrl));
  });

  it('leaves no outbox row, whether it removes all or some tasks of an execution', async () => {
    const swept = await createExecutions(database, 100, ['Success', 'Error']);
    const thinned = await createExecutions(database, 1, ['Error', 'Pending']);
    await database.query(
      `UPDATE task SET status_code = 0 WHERE status = 'Pending'; UPDATE execution SET start_time = '2026-01-01'`,
    );
    await database.query('DELETE FROM tally.outbox');
    await harbor.fixDangling();
    await harbor.clean([...swept, ...thinned]);
    expect(await outboxRows(database)).toBe(0);
    expect(await database.query('SELECT id::bigint AS id FROM execution')).toEqual([
      { id: thinned[0] },
    ]);
  });

  it('never turns a failed execution into one that runs or has succeeded', async () => {
    injectFault(40, 'deletion of tasks under a final execution');
    const id = await createExecution(database, ['Error', 'Pending']);
    const rest = `SELECT t.id::bigint AS id FROM task t WHERE t.status = 'Pending'`;
    await database.query(
      `UPDATE task SET status_code = 0 WHERE status = 'Pending'; UPDATE execution SET start_time = '2026-01-01'`,
    );
    // The refreshes of what came before are still waiting.
    await harbor.fixDangling();
    await harbor.clean([id]);
    await refreshExecutions(database, [id], false);
    expect(await readExecution(database, id)).toMatchObject({ status: 'Error' });
    expect(await database.query(rest)).toHaveLength(1);
    await database.query('DELETE FROM task');
    await refreshExecutions(database, [id], false);
    expect(await readExecution(database, id)).toMatchObject({ status: 'Error' });
  });

  it.each([
    ['Success', ['Error', 'Running'], 'Running'],
    ['Error', ['Success', 'Pending'], 'Pending'],
  ])(
    'leaves a stored %s as it is when it takes an unfinished task',
    async (status, tasks, deleted) => {
      const id = await createExecution(database, tasks);
      await database.query('DELETE FROM tally.outbox');
      await database.query(
        `UPDATE execution SET status = $1, revision = revision + 1, end_time = now()`,
        [status],
      );
      await database.query('DELETE FROM task WHERE status = $1', [deleted]);
      await refreshExecutions(database, [id], false);
      expect(await readExecution(database, id)).toMatchObject({ status, revision: 1 });
      expect(await outboxRows(database)).toBe(0);
    },
  );

  it("isn't missed when a refresh stores Running before it commits", async () => {
    const id = await createExecution(database, ['Success', 'Running']);
    await database.query('DELETE FROM tally.outbox');
    await database.query(`UPDATE execution SET status = 'Success', revision = 1`);
    const client = await openClient(databaseUrl);
    await client.query('BEGIN');
    await client.query(`DELETE FROM task WHERE status = 'Running'`);
    await database.query(`UPDATE task SET end_time = now() WHERE status = 'Success'`);
    await refreshExecutions(database, [id], false);
    expect(await readExecution(database, id)).toMatchObject({ status: 'Running' });
    await client.query('COMMIT');
    await refreshExecutions(database, [id], false);
    expect(await readExecution(database, id)).toMatchObject({ status: 'Success' });
  });
});
