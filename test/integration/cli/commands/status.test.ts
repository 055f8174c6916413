import { afterAll, expect, it, onTestFinished } from 'vitest';
import { runTally, startWorker } from '../../../support/processes.ts';
import { newRedis } from '../../../support/servers.ts';
import { createStores } from '../../../support/stores.ts';
import { statusOf } from '../../../support/tally-status.ts';

// Its users, its databases by number and all of its keys are this file's.
const ownRedis = await newRedis();
afterAll(() => ownRedis.stop());
const { database, environment, redis, config } = await createStores({
  redisUrl: ownRedis.url,
  capture: true,
});

function inDatabase(number: number): Record<string, string> {
  return {
    ...environment,
    REDIS_URL: Object.assign(new URL(ownRedis.url), { pathname: `/${number}` }).href,
  };
}

it.each([['status'], ['failed'], ['retry', '--all', '--dry-run']])(
  'tally %s writes nothing to Redis',
  async (...args) => {
    const elsewhere = inDatabase(5);
    expect((await runTally(args, elsewhere)).code).toBe(0);
    const keyspace = await redis.info('keyspace');
    expect(keyspace).not.toContain('db5');
  },
);

it("a worker on another database number of the same Redis isn't counted", async () => {
  const [own, other] = [await startWorker(environment), await startWorker(inDatabase(3))];
  const workersOf = async (where: Record<string, string>): Promise<string[]> =>
    (await statusOf(where)).workers.map(({ name }) => name);
  expect(await workersOf({ ...environment })).toEqual([
    expect.stringMatching(new RegExp(`:${own.pid}$`)),
  ]);
  expect(await workersOf(inDatabase(3))).toEqual([
    expect.stringMatching(new RegExp(`:${other.pid}$`)),
  ]);
});

it('a Redis user who may not list clients costs tally status only the workers', async () => {
  await redis.acl(
    'SETUSER',
    'watcher',
    'on',
    '>watching',
    `~${config.QUEUE_PREFIX}:*`,
    '+@all',
    '-@dangerous',
    '+info',
  );
  const asWatcher = Object.assign(new URL(ownRedis.url), {
    username: 'watcher',
    password: 'watching',
  });
  const watcher = { ...environment, REDIS_URL: asWatcher.href };
  const { code, output } = await runTally(['status'], watcher);
  expect(code).toBe(0);
  expect(output).toMatch(/^queue +0 waiting/m);
  expect(output).toMatch(/^workers +\?$/m);
  expect(output).toMatch(/^tally: Redis can't be asked: NOPERM/m);
});

it("what tally status can't know is a question mark, not a zero or a dash", async () => {
  const { output } = await runTally(['status'], {
    ...environment,
    REDIS_URL: 'redis://127.0.0.1:1',
  });
  expect(output).toMatch(/^oldest waiting \?$/m);
  expect(output).toMatch(/^workers +\?$/m);
  const without = Object.assign(new URL(environment.DATABASE_URL), { port: '1' }).href;
  const { output: noPostgres } = await runTally(['status'], {
    ...environment,
    DATABASE_URL: without,
  });
  expect(noPostgres).toMatch(/^outbox +\? rows, \? unsent, oldest \?$/m);
});

it('tally status on a database without schema tally says which command installs it, and fails', async () => {
  const url = Object.assign(new URL(environment.DATABASE_URL), { pathname: '/postgres' });
  const { code, output } = await runTally(['status'], { ...environment, DATABASE_URL: url.href });
  expect(output).toContain('schema tally is not installed; run: tally migrate');
  expect(output).toMatch(/^queue +0 waiting/m);
  expect(code).toBe(1);
});

it('tally capture disable where there is nothing to disable says so, and fails', async () => {
  const url = Object.assign(new URL(environment.DATABASE_URL), { pathname: '/postgres' });
  const { code, output } = await runTally(['capture', 'disable'], {
    ...environment,
    DATABASE_URL: url.href,
  });
  expect(output).toContain('there is no table task, so nothing to disable; check DATABASE_URL');
  expect(code).toBe(1);
});

it('a command that the role has no right for names the missing right, and fails', async () => {
  const role = `blind_${config.QUEUE_PREFIX}`;
  await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'blind'`);
  onTestFinished(async () => void (await database.query(`DROP ROLE ${role}`)));
  const url = Object.assign(new URL(environment.DATABASE_URL), {
    username: role,
    password: 'blind',
  });
  for (const args of [['status'], ['reconcile'], ['failed'], ['retry', '--all']]) {
    const { code, output } = await runTally(args, { ...environment, DATABASE_URL: url.href });
    expect(output).toMatch(
      /^tally: Postgres can't be asked: permission denied for schema tally; tally doctor names/m,
    );
    expect(code).toBe(1);
  }
  const enable = await runTally(['capture', 'disable'], { ...environment, DATABASE_URL: url.href });
  expect(enable).toMatchObject({ code: 1 });
  expect(enable.output).toMatch(/must be owner of .*; connect as that owner/);
});
