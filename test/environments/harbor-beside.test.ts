import { expect, it } from 'vitest';
import { untilOutboxIsEmpty } from '../support/executions.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { liveOneExecution, type Life } from '../support/harbor-life.ts';
import { HarborStatements } from '../support/harbor-statements.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { createStores, openClient } from '../support/stores.ts';
import { injectFault } from '../support/fault.ts';

const DRIVERS = 6;
const SECONDS = Number(process.env['HARBOR_SECONDS'] ?? '15');

// The reconciler is off, so that it can't hide a hole.
const { config, database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  capture: true,
});

it('no status is wrong and nothing deadlocks while Harbor stops, retries and sweeps executions', async () => {
  injectFault(40, 'sweeps, stops and retries by the statements of Harbor');
  await startProducer(environment);
  await Promise.all([startWorker(environment), startWorker(environment)]);
  const endMs = performance.now() + SECONDS * 1_000;
  const drive = async (): Promise<Life[]> => {
    const harbor = new HarborStatements(await openClient(config.DATABASE_URL));
    const lived: Life[] = [];
    while (performance.now() < endMs) lived.push(await liveOneExecution(harbor));
    return lived;
  };
  const lived = (await Promise.all(Array.from({ length: DRIVERS }, drive))).flat();
  await untilOutboxIsEmpty(database, 60_000);
  const marked = lived.filter(({ marked }) => marked).map(({ id }) => id);
  expect(marked.length).toBeGreaterThan(0);
  expect(
    await database.query(
      `SELECT id, status FROM execution WHERE id = ANY ($1) AND status <> 'Error'`,
      [marked],
    ),
  ).toEqual([]);
  // What the host stored by hand is all that may differ from the tasks.
  await database.query(`DELETE FROM task WHERE execution_id = ANY ($1)`, [marked]);
  await expectNothingBroken({ database, queue });
  const [row] = await database.query<{ deadlocks: number }>(
    'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
  );
  expect(row?.deadlocks).toBe(0);
}, 300_000);
