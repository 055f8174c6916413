import { afterAll, beforeEach, expect, inject, it } from 'vitest';
import { countJobs, enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { countByRevision, createExecutions } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { startProducer, startWorker, type TallyProcess } from '../support/processes.ts';
import { createStores } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

const proxy = await openProxy(inject('postgresUrl'));
afterAll(() => proxy.close());
const { database, queue, environment } = await createStores(
  { RECONCILE_INTERVAL_MS: '0' },
  undefined,
  { capture: true },
);
const behindProxy = {
  ...environment,
  DATABASE_URL: proxy.through(environment.DATABASE_URL),
};
const witness = await witnessRefreshes(database);

// What the server says once a statement in autocommit is committed: the message ReadyForQuery, idle.
const READY_FOR_QUERY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

beforeEach(() => database.query('TRUNCATE ledger, tally.outbox'));

/**
 * Resets the connection of the first refresh of exactly these executions; in autocommit its statement is its COMMIT, too.
 * @returns whether that has happened
 */
function resetRefreshOf(ids: readonly number[], when: 'before' | 'after'): () => boolean {
  const list = `{${ids.map((id) => `"${id}"`).join(',')}}`;
  let state: 'armed' | 'seen' | 'done' = 'armed';
  const reset = (): void => {
    state = 'done';
    proxy.reset();
  };
  proxy.watch = (chunk, from) => {
    if (state === 'armed' && from === 'client' && chunk.includes(list)) {
      state = 'seen';
      if (when === 'before') reset();
    } else if (state === 'seen' && from === 'server') {
      if (chunk.includes(READY_FOR_QUERY)) reset();
    }
  };
  return () => state === 'done';
}

it.each([
  ['before', 1],
  ['after', 2],
] as const)(
  'a connection reset %s the server has committed: the executions are refreshed %i times in all, and none uses an attempt',
  async (when, times) => {
    const created = await createExecutions(database, 12);
    await database.query('TRUNCATE tally.outbox');
    const worker = await startWorker(behindProxy);
    const resetInRefreshOf = async (first: number, ids: readonly number[]): Promise<void> => {
      // While the statement of the first one is held on its way, the others gather to one batch.
      proxy.mode = 'hold';
      await enqueueRefreshes(queue, [refreshOf(first)]);
      await until('its statement to be held', () => proxy.held > 0);
      await enqueueRefreshes(queue, ids.map(refreshOf));
      await inHand(1 + ids.length);
      // It has answered twice since Redis gave it the last of them, so it has read that answer.
      for (let answers = 0; answers < 2; answers++) await attemptsUsed(worker);
      const happened = resetRefreshOf(ids, when);
      proxy.mode = 'pass';
      await until('all to be done', async () => {
        const { waiting, active, delayed } = await countJobs(queue);
        return waiting + active + delayed === 0;
      });
      proxy.watch = undefined;
      expect(happened()).toBe(true);
      expect(await queue.getFailedCount()).toBe(0);
      expect(await countByRevision(database, ids)).toEqual({ [times]: ids.length });
    };
    const [first = 0, last = 0, ...batch] = created;
    await resetInRefreshOf(first, batch);
    expect(await attemptsUsed(worker)).toBe(0);
    await resetInRefreshOf(first, [last]);
    expect(await attemptsUsed(worker)).toBe(0);
    expect(worker.lines.filter((line) => line.includes('Postgres is away'))).toEqual([]);
    await startProducer(environment);
    await witness.change(created);
    await witness.verify();
    // A job that is in hand when its worker is killed would be in hand for the next test.
    await until('the queue to be empty', async () => {
      const { waiting, active, delayed } = await countJobs(queue);
      return waiting + active + delayed === 0;
    });
  },
);

function refreshOf(executionId: number) {
  return { executionId, vendor: 'REPLICATION' };
}

async function inHand(count: number): Promise<void> {
  await until(`${count} jobs to be in hand`, async () => (await countJobs(queue)).active === count);
}

async function attemptsUsed(worker: TallyProcess): Promise<number> {
  const address = /http:\S+?(?=")/.exec(await worker.said('health and metrics'))?.[0] ?? '';
  const metrics = await (await fetch(`${address}/metrics`)).text();
  return Number(/outcome="failed"\} (\d+)/.exec(metrics)?.[1] ?? 0);
}
