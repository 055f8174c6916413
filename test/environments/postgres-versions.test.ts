import { randomBytes } from 'node:crypto';
import { expect, inject, it, onTestFinished } from 'vitest';
import { openDatabase } from '../../shared/postgres/database.ts';
import { createExecution, createExecutions, readExecution } from '../support/executions.ts';
import { newPostgresOf } from '../support/postgres-majors.ts';
import { runTally, startProducer, startWorker } from '../support/processes.ts';
import { newPostgres } from '../support/servers.ts';
import { silent } from '../support/stores.ts';
import { until } from '../support/wait.ts';

function environmentFor(url: string): Record<string, string> {
  return {
    DATABASE_URL: url,
    REDIS_URL: inject('redisUrl'),
    QUEUE_PREFIX: `test_${randomBytes(5).toString('hex')}`,
    PRODUCER_PORT: '0',
  };
}

it.each([13, 14, 15, 16, 17, 18])(
  'everything from migrate to uninstall works on Postgres %i',
  async (major) => {
    const server = await (major === 18 ? newPostgres() : newPostgresOf(major));
    onTestFinished(() => server.stop());
    const environment = environmentFor(server.url);
    const database = openDatabase(server.url, silent, { connections: 2, name: 'test' });
    onTestFinished(() => database.close());
    const run = async (...args: string[]): Promise<void> => {
      const result = await runTally(args, environment);
      expect(result.code, `${args.join(' ')}: ${result.output}`).toBe(0);
    };
    await run('migrate');
    await run('migrate');
    await run('capture', 'enable');
    await run('capture', 'disable');
    // Stuck, and nobody has recorded it.
    const stuck = await createExecution(database);
    await run('capture', 'enable');
    await run('reconcile');
    const producer = await startProducer({ ...environment, RECONCILE_INTERVAL_MS: '1000' });
    const worker = await startWorker(environment);
    const captured = await createExecutions(database, 3);
    for (const id of [stuck, ...captured]) {
      await until('the refresh', async () => {
        return (await readExecution(database, id)).status === 'Success';
      });
    }
    await run('status');
    for (const child of [producer, worker]) child.kill('SIGKILL');
    await run('migrate', '--uninstall', '--force');
  },
  300_000,
);

it('an older Postgres is refused in one sentence that names the supported versions', async () => {
  const server = await newPostgresOf(12);
  onTestFinished(() => server.stop());
  const { code, output } = await runTally(['migrate'], environmentFor(server.url));
  expect(code).toBe(1);
  expect(output).toMatch(/this server is Postgres 12\S*; Tally needs Postgres 13 or newer/);
  const doctor = await runTally(['doctor'], environmentFor(server.url));
  expect(doctor.output).toMatch(
    /PROBLEM +version +this server is Postgres 12\S*\n +-> Tally needs/,
  );
  expect(doctor.code).toBe(2);
});
