import { afterAll, beforeEach, expect, inject, it } from 'vitest';
import { countJobs, enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { countByRevision, createExecutions } from '../support/executions.ts';
import { attemptsUsed } from '../support/health.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { errorsOf, startProducer, startWorker } from '../support/processes.ts';
import { settled } from '../support/settled.ts';
import { createStores } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const proxy = await openProxy(inject('postgresUrl'));
afterAll(() => proxy.close());
const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  capture: true,
});
const behindProxy = {
  ...environment,
  DATABASE_URL: proxy.through(environment.DATABASE_URL),
};
const witness = await witnessRefreshes({ database, queue });

// What the server says once a statement in autocommit is committed: the message ReadyForQuery, idle.
const READY_FOR_QUERY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

beforeEach(() => database.query('TRUNCATE ledger, tally.outbox'));

/** The executions that a statement is about, as their ids stand in its parameter. */
function refreshedBy(statement: Buffer): number[] {
  const [list = ''] = /\{"\d+"(?:,"\d+")*\}/.exec(statement.toString('latin1')) ?? [];
  return [...list.matchAll(/\d+/g)].map(([id]) => Number(id));
}

/**
 * Resets the connection of the first refresh of any of these executions; in autocommit its statement is its COMMIT, too.
 * @returns whose refresh that was: all of them, unless a busy machine has made two batches of them; none before it happened
 */
function resetRefreshOf(ids: readonly number[], when: 'before' | 'after'): () => number[] {
  let batch: number[] = [];
  let state: 'armed' | 'seen' | 'done' = 'armed';
  const reset = (): void => {
    state = 'done';
    proxy.reset();
  };
  proxy.watch = (chunk, from) => {
    if (state === 'armed' && from === 'client') {
      batch = refreshedBy(chunk).filter((id) => ids.includes(id));
      if (batch.length === 0) return;
      state = 'seen';
      if (when === 'before') reset();
    } else if (state === 'seen' && from === 'server') {
      if (chunk.includes(READY_FOR_QUERY)) reset();
    }
  };
  return () => (state === 'done' ? batch : []);
}

it.each([
  ['before', 1],
  ['after', 2],
] as const)(
  'a connection reset %s the commit: refreshed %i times in all, without using an attempt',
  async (when, times) => {
    const created = await createExecutions(database, 12);
    await witness.change(created);
    const worker = await startWorker(behindProxy);
    const resetInRefreshOf = async (first: number, ids: readonly number[]): Promise<void> => {
      // While the statement of the first one is held on its way, the others gather to one batch.
      proxy.mode = 'hold';
      await enqueueRefreshes(queue, [refreshOf(first)]);
      await until('its statement to be held', () => proxy.held > 0);
      await enqueueRefreshes(queue, ids.map(refreshOf));
      await inHand(1 + ids.length);
      const fault = injectFault(
        14,
        `a proxy that resets the connection ${when} the server has the commit`,
      );
      const wasReset = resetRefreshOf(ids, when);
      proxy.mode = 'pass';
      await until('all to be done', () => settled(queue));
      fault.recovered();
      proxy.watch = undefined;
      expect(wasReset().length).toBeGreaterThan(0);
      expect(await queue.getFailedCount()).toBe(0);
      expect(await countByRevision(database, wasReset())).toEqual({ [times]: wasReset().length });
      const others = ids.filter((id) => !wasReset().includes(id));
      expect(await countByRevision(database, others)).toEqual(
        others.length > 0 ? { 1: others.length } : {},
      );
    };
    const [first = 0, last = 0, ...batch] = created;
    await resetInRefreshOf(first, batch);
    expect(await attemptsUsed(worker)).toBe(0);
    await resetInRefreshOf(first, [last]);
    expect(await attemptsUsed(worker)).toBe(0);
    expect(errorsOf(worker.lines).join('\n')).not.toContain('Postgres is unavailable');
    await startProducer(environment);
    await witness.verify();
  },
);

function refreshOf(executionId: number) {
  return { executionId, vendor: 'REPLICATION' };
}

async function inHand(count: number): Promise<void> {
  await until(`${count} jobs to be in hand`, async () => (await countJobs(queue)).active === count);
}
