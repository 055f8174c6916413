import { expect, it, onTestFinished } from 'vitest';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import { createExecution, readExecution, refreshOf } from '../support/executions.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { startTally, type TallyProcess } from '../support/processes.ts';
import { healthAddress } from '../support/health.ts';
import { lastingPort } from '../support/lasting-port.ts';
import { watchProcess, type ProcessWatch } from '../support/process-watch.ts';
import { startRawRedis } from '../support/raw-redis.ts';
import { createStores } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const SMALLEST = ['~tally:*', '&tally:*', '+@all', '-@dangerous', '+info', '+client|list'];

const port = await lastingPort();
const { database, environment } = await createStores({
  settings: {
    RECONCILE_INTERVAL_MS: '0',
    QUEUE_PREFIX: 'tally',
    REDIS_URL: `redis://tally:secret-word@127.0.0.1:${port}`,
  },
  redisUrl: `redis://127.0.0.1:${port}`,
});

/** Starts a Redis in which the user has these rights. @returns gives it others */
async function userWith(rights: readonly string[]) {
  const server = await startRawRedis(port);
  const { admin } = server;
  onTestFinished(() => server.stop());
  const allow = (rules: readonly string[]) =>
    admin.call('ACL', 'SETUSER', 'tally', 'reset', 'on', '>secret-word', ...rules);
  await allow(rights);
  return { admin, allow };
}

/** Records a refresh. @returns waits until it is done */
async function recordOne(worker: TallyProcess): Promise<(timeoutMs?: number) => Promise<boolean>> {
  const id = await createExecution(database);
  await recordRefreshes(database, [refreshOf(id)], 'api');
  return (timeoutMs) =>
    until(
      () => `it to be refreshed; ${worker.lines.slice(-4).join('\n')}`,
      // Twice, if a worker had it in hand when the rights went and couldn't say that it is done.
      async () => ((await readExecution(database, id)).revision ?? 0) >= 1,
      timeoutMs,
    );
}

async function expectRefreshed(worker: TallyProcess): Promise<void> {
  const refreshed = await recordOne(worker);
  await refreshed();
}

async function expectEnd(processes: readonly TallyProcess[]): Promise<void> {
  for (const child of processes) child.kill('SIGTERM');
  for (const child of processes) expect(await child.ended).toEqual({ code: 0, signal: null });
}

it('the documented user is enough; without INFO and CLIENT LIST only figures are missing', async () => {
  const { allow } = await userWith(SMALLEST);
  const worker = startTally(['worker'], environment);
  const producer = startTally(['producer'], environment);
  await expectRefreshed(worker);
  await allow(SMALLEST.slice(0, 4));
  const second = startTally(['worker'], environment);
  await second.said("whether Redis may evict jobs can't be checked: NOPERM");
  await second.said('ACL SETUSER tally +info');
  await second.said('taking jobs');
  await expectRefreshed(second);
  await expectEnd([worker, producer, second]);
  // ioredis writes to the console that it may not ask.
  await second.said('a library says: Skipping the ready check because INFO command fails');
  expect(second.lines.filter((line) => !line.startsWith('{"level":'))).toEqual([]);
});

it.each([
  ['without ZADD', [...SMALLEST, '-zadd'], 'ACL SETUSER tally +zadd', 'nobody works'],
  ['without EVAL', [...SMALLEST, '-eval'], 'ACL SETUSER tally +eval', 'a relay works'],
  ['without EVALSHA', [...SMALLEST, '-evalsha'], 'ACL SETUSER tally +evalsha', 'nobody works'],
  ['without BZPOPMIN', [...SMALLEST, '-bzpopmin'], 'ACL SETUSER tally +bzpopmin', 'a relay works'],
  [
    'for other keys',
    ['~other:*', ...SMALLEST.slice(1)],
    'ACL SETUSER tally ~tally:*',
    'nobody works',
  ],
] as const)(
  'a user %s is named once, before or after the start; the process is idle until it has them',
  async (name, rights, rule, effect) => {
    const fault = injectFault(33, `a Redis user ${name}`);
    const { admin, allow } = await userWith(SMALLEST);
    const worker = startTally(['worker'], environment);
    const producer = startTally(['producer'], environment);
    const watch = watchProcess(worker, await healthAddress(worker), 'unsettled');
    await expectRefreshed(worker);
    await allow(rights);
    watch.declare('unable');
    const early = startTally(['worker'], environment);
    const stopped = startTally(['worker'], environment);
    const waiting = watchProcess(early, await healthAddress(early));
    for (const child of [worker, early]) await child.said(rule);
    const refreshed = await recordOne(worker);
    if (effect === 'nobody works') await producer.said(rule);
    await stopped.said(rule);
    await expectEnd([stopped]);
    await watch.look(4);
    const before = await callsOf(admin);
    const seen = await Promise.all([watch.look(16), waiting.look(16)]);
    const perSecond = ((await callsOf(admin)) - before) / (seen[0]?.seconds ?? 1);
    // Two workers, each asked for its health four times a second, besides what the processes do by themselves.
    expect(perSecond).toBeLessThan(100);
    for (const { cpuShare, unanswered } of seen) {
      expect(cpuShare).toBeLessThan(0.2);
      expect(unanswered).toBe(0);
    }
    expect([...watch.lies, ...waiting.lies]).toEqual([]);
    expect(worker.lines.filter((line) => line.includes(rule))).toHaveLength(1);
    watch.declare('unsettled');
    waiting.declare('unsettled');
    fault.over();
    await allow(SMALLEST);
    await refreshed(WORKS_AGAIN_MS);
    fault.recovered();
    await expectRefreshed(worker);
    await early.said('taking jobs');
    await expectReady(watch, waiting);
    await expectNothingBroken({ database });
    await allow(rights);
    await until('it to be refused again', () => !isReady(watch));
    await expectEnd([worker, early, producer]);
  },
);

it.each([
  [
    'is a replica',
    () => injectFault(7, 'REPLICAOF a host that does not exist'),
    ['REPLICAOF', '127.0.0.1', '1'],
    ['REPLICAOF', 'NO', 'ONE'],
    'it is a replica; point REDIS_URL at the primary',
  ],
  [
    'has no memory left',
    () => injectFault(6, 'CONFIG SET maxmemory 1 beside an idle worker'),
    ['CONFIG', 'SET', 'maxmemory', '1'],
    ['CONFIG', 'SET', 'maxmemory', '0'],
    'free memory or raise maxmemory',
  ],
] as const)(
  "an idle worker whose Redis %s says so once, isn't ready or busy, and works again afterwards",
  async (_name, inject, breaks, mends, advice) => {
    const fault = inject();
    const { admin } = await userWith(SMALLEST);
    const worker = startTally(['worker'], environment);
    const producer = startTally(['producer'], environment);
    const watch = watchProcess(worker, await healthAddress(worker), 'unsettled');
    await expectRefreshed(worker);
    const [name, ...args] = breaks;
    await admin.call(name, ...args);
    watch.declare('unable');
    const stopped = startTally(['worker'], environment);
    await worker.said(advice);
    await watch.look(4);
    const { cpuShare, unanswered } = await watch.look(16);
    expect(cpuShare).toBeLessThan(0.2);
    expect(unanswered).toBe(0);
    expect(watch.lies).toEqual([]);
    expect(worker.lines.filter((line) => line.includes(advice))).toHaveLength(1);
    await stopped.said(advice);
    await expectEnd([stopped]);
    const refreshed = await recordOne(worker);
    watch.declare('unsettled');
    const [again, ...rest] = mends;
    await admin.call(again, ...rest);
    fault.over();
    await refreshed(WORKS_AGAIN_MS);
    fault.recovered();
    await expectReady(watch);
    await expectNothingBroken({ database });
    await expectEnd([worker, producer]);
  },
);

function isReady(watch: ProcessWatch): boolean {
  return watch.lastAnswer.includes('"status":"ready"');
}

async function expectReady(...watches: readonly ProcessWatch[]): Promise<void> {
  await until('all to be ready', () => watches.every(isReady), WORKS_AGAIN_MS);
}

/** Scripts and waits for jobs that clients have asked for so far; the commands within a script count for nothing. */
async function callsOf(admin: { info(section: string): Promise<string> }): Promise<number> {
  const calls = (await admin.info('commandstats')).matchAll(
    /^cmdstat_(?:eval|evalsha|bzpopmin):calls=(\d+),.*rejected_calls=(\d+)/gm,
  );
  return [...calls].reduce((sum, [, done, refused]) => sum + Number(done) + Number(refused), 0);
}
