import { expect, it } from 'vitest';
import { startSimulatedJobService } from '../../../../cli/start/demonstration/job-service.ts';
import { seedDemonstration } from '../../../../cli/start/demonstration/seed.ts';
import { createStores, silent } from '../../../support/stores.ts';
import { until } from '../../../support/wait.ts';

const { database } = await createStores();
const AGAINST_TIME = `
  SELECT count(*) AS count FROM task t JOIN execution e ON e.id = t.execution_id
   WHERE t.end_time < t.start_time OR t.start_time < e.start_time`;

it('nothing in the demonstration ends before it starts, even when loaded twice or changed since', async () => {
  await seedDemonstration(database, 100);
  expect(await database.query(AGAINST_TIME)).toEqual([{ count: 0 }]);
  const service = startSimulatedJobService(database, 2_000, silent);
  await until('a task to run again', async () => {
    const [running] = await database.query<{ count: number }>(
      `SELECT count(*) AS count FROM task WHERE status = 'Running'`,
    );
    return (running?.count ?? 0) > 0;
  });
  await service.close();
  expect(await database.query(AGAINST_TIME)).toEqual([{ count: 0 }]);
  await seedDemonstration(database, 100);
  expect(await database.query(AGAINST_TIME)).toEqual([{ count: 0 }]);
});

it('execution 42 of the demonstration is the REPLICATION of the documentation', async () => {
  expect(await database.query('SELECT vendor_type FROM execution WHERE id = 42')).toEqual([
    { vendor_type: 'REPLICATION' },
  ]);
});
