import { expect, it } from 'vitest';
import { recordFailure } from '../../../../shared/postgres/failures.ts';
import { recordRefreshes } from '../../../../shared/postgres/outbox.ts';
import { refreshOf } from '../../../support/executions.ts';
import { createStores, openClient } from '../../../support/stores.ts';

const { config, database } = await createStores();
const identity = refreshOf(42);

const fail = (jobId: string): Promise<void> =>
  recordFailure(database, {
    ...identity,
    jobId,
    error: 'no',
    sqlState: undefined,
    attempts: 1,
    attemptMs: 0,
  });

it('a failure is recorded while a refresh of the same execution has its rows, without a deadlock', async () => {
  await fail('first');
  await recordRefreshes(database, [identity], 'api');
  await database.query(`UPDATE tally.outbox SET sent_at = clock_timestamp() - interval '1 minute'`);
  const refresh = await openClient(config.DATABASE_URL);
  await refresh.query('BEGIN');
  await refresh.query('DELETE FROM tally.outbox WHERE execution_id = 42');
  await fail('second');
  expect(await database.query("SELECT times FROM tally.failure WHERE job_id = 'second'")).toEqual([
    { times: 2 },
  ]);
  // What a refresh does next; it waited for the record, and the record for its rows.
  await refresh.query('UPDATE tally.failure SET refreshed = true WHERE execution_id = 42');
  await refresh.query('COMMIT');
  expect(await database.query('SELECT FROM tally.outbox')).toEqual([]);
});
