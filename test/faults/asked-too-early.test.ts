import { expect, it } from 'vitest';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import {
  createExecution,
  readExecution,
  refreshOf,
  untilOutboxIsEmpty,
} from '../support/executions.ts';
import { injectFault } from '../support/fault.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { createStores, openClient, type Stores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const captured = await createStores({
  capture: true,
  settings: { RECONCILE_INTERVAL_MS: '0' },
});
const reconciled = await createStores({ settings: { RECONCILE_INTERVAL_MS: '200' } });

it.each([
  ['capture records the change', captured],
  ['only the reconciler sees it', reconciled],
])(
  'a change that commits after its refresh was done is refreshed, where %s',
  async (how, stores) => {
    const fault = injectFault(24, `a refresh by the API before the change commits, where ${how}`);
    const { database } = stores;
    const id = await createExecution(database, ['Running']);
    await Promise.all([startProducer(stores.environment), startWorker(stores.environment)]);
    const writer = await openClient(stores.environment.DATABASE_URL);
    await writer.query('BEGIN');
    await writer.query(
      `UPDATE task SET status = 'Success', end_time = now() WHERE execution_id = $1`,
      [id],
    );
    await askAndWait(stores, id);
    expect((await readExecution(database, id)).status).toBe('Running');
    await writer.query('COMMIT');
    fault.over();
    await until(
      'the change to be stored',
      async () => (await readExecution(database, id)).status === 'Success',
    );
    fault.recovered();
    await expectNothingBroken(stores);
  },
);

/** Asks for a refresh as the API does, and waits until it is done. */
async function askAndWait({ database }: Stores, id: number): Promise<void> {
  const { revision } = await readExecution(database, id);
  await recordRefreshes(database, [refreshOf(id)], 'api');
  await untilOutboxIsEmpty(database);
  await until(
    'the refresh to be done',
    async () => ((await readExecution(database, id)).revision ?? 0) > (revision ?? 0),
  );
}
