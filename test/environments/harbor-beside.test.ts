import { expect, it } from 'vitest';
import { countDisagreements } from '../../shared/postgres/disagreements.ts';
import { outboxRows } from '../support/executions.ts';
import { HarborStatements } from '../support/harbor-statements.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { createStores, openClient } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const DRIVERS = 6;
const SECONDS = Number(process.env['HARBOR_SECONDS'] ?? '15');

// The reconciler is off, so that it can't hide a hole.
const { config, database, queue, environment } = await createStores(
  { RECONCILE_INTERVAL_MS: '0' },
  undefined,
  { capture: true },
);

const random = <T>(of: readonly T[]): T => {
  const one = of[Math.floor(Math.random() * of.length)];
  if (one === undefined) throw new Error('nothing to choose from');
  return one;
};

/** One execution from its beginning to one of Harbor's ends. @returns its id, and the status that was stored by hand last */
async function live(harbor: HarborStatements): Promise<{ id: number; word?: 'Error' }> {
  const id = await harbor.createExecution();
  const tasks = [];
  for (let n = 0; n < 4; n++) tasks.push(await harbor.createTask(id));
  switch (random(['hooks', 'retry', 'stop and mark', 'sweep'])) {
    case 'stop and mark': {
      await harbor.hook(tasks[0] ?? 0, id, 'Running', 1);
      await harbor.hook(tasks[0] ?? 0, id, 'Stopped', 1);
      await harbor.stopPending(id);
      await until('the execution to be final', async () => {
        return ['Stopped', 'Error', 'Success'].includes((await harbor.storedStatus(id)) ?? '');
      });
      await harbor.mark(id, 'Error', 'stopped by the host');
      return { id, word: 'Error' };
    }
    case 'sweep':
      for (const task of tasks) await harbor.hook(task, id, random(['Success', 'Error']), 1);
      await harbor.clean([id]);
      return { id };
    case 'retry':
      for (const task of tasks) await harbor.hook(task, id, 'Error', 1);
      for (const task of tasks) await harbor.hook(task, id, 'Running', 2);
      for (const task of tasks) await harbor.hook(task, id, 'Success', 2);
      return { id };
    default:
      for (const status of ['Scheduled', 'Running', random(['Success', 'Error', 'Stopped'])]) {
        for (const task of tasks) await harbor.hook(task, id, status, 1);
      }
      return { id };
  }
}

it('beside hooks, stops, marks, retries and sweeps of Harbor no status is wrong and nothing deadlocks', async () => {
  await startProducer(environment);
  await Promise.all([startWorker(environment), startWorker(environment)]);
  const endMs = performance.now() + SECONDS * 1_000;
  const drive = async (): Promise<{ id: number; word?: 'Error' }[]> => {
    const harbor = new HarborStatements(await openClient(config.DATABASE_URL ?? ''));
    const lived = [];
    while (performance.now() < endMs) lived.push(await live(harbor));
    return lived;
  };
  const lived = (await Promise.all(Array.from({ length: DRIVERS }, drive))).flat();
  await until('the outbox to be empty', async () => (await outboxRows(database)) === 0, 60_000);
  const marked = lived.filter(({ word }) => word !== undefined).map(({ id }) => id);
  expect(marked.length).toBeGreaterThan(0);
  expect(
    await database.query(
      `SELECT id, status FROM execution WHERE id = ANY ($1) AND status <> 'Error'`,
      [marked],
    ),
  ).toEqual([]);
  // What the host stored by hand is all that may differ from the tasks.
  await database.query(`DELETE FROM task WHERE execution_id = ANY ($1)`, [marked]);
  expect(await countDisagreements(database, 'outOfDate')).toBe(0);
  expect(await queue.getFailedCount()).toBe(0);
  const [row] = await database.query<{ deadlocks: number }>(
    'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
  );
  expect(row?.deadlocks).toBe(0);
}, 300_000);
