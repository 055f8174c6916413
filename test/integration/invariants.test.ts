import { expect, it } from 'vitest';
import { createExecutions } from '../support/executions.ts';
import { addFailedJobs } from '../support/failed-jobs.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { createStores } from '../support/stores.ts';

const stores = await createStores({ capture: true });
const { database, queue } = stores;

it('what a fault has broken is named in one error: executions, waiting refreshes and jobs', async () => {
  const [right, wrong] = await createExecutions(database, 2);
  await database.query(
    `UPDATE execution SET status = 'Success', end_time = '2026-01-02 03:04:05' WHERE id = $1`,
    [right],
  );
  await database.query('DELETE FROM tally.outbox WHERE execution_id = $1', [right]);
  await addFailedJobs(stores, 1, () => ({ executionId: 4711, vendor: 'REPLICATION' }));
  const error: unknown = await expectNothingBroken({ database, queue }, 0).catch(
    (reason: unknown) => reason,
  );
  const lines = String(error).split('\n');
  expect(lines).toContain(
    `differs from its tasks: ${JSON.stringify({
      id: wrong,
      status: 'Running',
      end: null,
      revision: 0,
      statusOfTasks: 'Success',
      endOfTasks: '2026-01-02 03:04:05',
    })}`,
  );
  expect(lines.filter((line) => line.startsWith('differs'))).toHaveLength(1);
  expect(String(error)).toMatch(new RegExp(`still in the outbox: \\{"id":${wrong},`));
  expect(String(error)).toMatch(/job is failed: .*"executionId":4711.*quota of project 0/);
});
