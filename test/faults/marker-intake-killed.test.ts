import { beforeEach, describe, expect, it } from 'vitest';
import { MarkerTransfer } from '../../shared/harbor/transfer.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { killAt } from '../support/killing.ts';
import {
  inPipelines,
  markByKeys,
  markedIds,
  markInSet,
  memberOf,
  newHarborRedis,
  range,
} from '../support/markers.ts';
import { createStores } from '../support/stores.ts';

const { database } = await createStores();
const { redis: harbor } = await newHarborRedis();
const TAKEN = 'tally:taken:execution:status_outdate';
const MARKERS = range(1, 2_500);
const DELAY_MS = 35_000;
const ALIVE = new AbortController().signal;

beforeEach(async () => {
  await harbor.flushdb();
  await database.query('TRUNCATE tally.outbox');
});

async function recordedIds(): Promise<number[]> {
  const rows = await database.query<{ id: number }>(
    `SELECT DISTINCT execution_id AS id FROM tally.outbox WHERE vendor = 'REPLICATION' ORDER BY id`,
  );
  return rows.map(({ id }) => id);
}

/** Those that are in neither place. */
async function lostIds(): Promise<number[]> {
  const kept = new Set([...(await recordedIds()), ...(await markedIds(harbor))]);
  for (const member of await harbor.smembers(TAKEN)) kept.add(Number.parseInt(member, 10));
  return MARKERS.filter((id) => !kept.has(id));
}

const passes = {
  set: (transfer: MarkerTransfer, session: Database) => transfer.takeSet(session, ALIVE),
  keys: (transfer: MarkerTransfer, session: Database) => transfer.takeKeys(session, ALIVE),
};

describe.each(['set', 'keys'] as const)('an intake of the format %s', (format) => {
  it.each(['before', 'after'] as const)(
    'killed %s any of its steps loses no marker, and the next one finds the rest',
    async (when) => {
      let killed = 0;
      for (let step = 1; ; step++) {
        await harbor.flushdb();
        await database.query('TRUNCATE tally.outbox');
        await inPipelines(harbor, range(1, 300), (pipeline, n) => {
          pipeline.set(`session:${n}`, 'foreign');
        });
        await (format === 'set' ? markInSet : markByKeys)(harbor, MARKERS);
        const kill = killAt(step, when);
        const victim = new MarkerTransfer(kill.wrap(harbor), DELAY_MS, () => undefined);
        const end = await Promise.race([
          kill.happened,
          passes[format](victim, kill.wrap(database)).then(() => 'completed' as const),
        ]);
        expect(await lostIds(), `killed ${when} step ${step}`).toEqual([]);
        const next = new MarkerTransfer(harbor, DELAY_MS, () => undefined);
        await passes[format](next, database);
        expect(await recordedIds(), `after step ${step}`).toEqual(MARKERS);
        expect(await harbor.dbsize(), `left after step ${step}`).toBe(300);
        if (end === 'completed') break;
        killed = step;
      }
      // At the least: look, take, and three pages of read, commit, remove.
      expect(killed).toBeGreaterThan(8);
    },
  );
});

describe('a marker that Harbor sets again', () => {
  it('between the commit of its page and its removal stays in the set', async () => {
    await markInSet(harbor, MARKERS);
    // Harbor adds to its own set while ours is under way.
    const transfer = new MarkerTransfer(
      beforeCall(harbor, 'srem', () => markInSet(harbor, [1])),
      DELAY_MS,
      () => undefined,
    );
    await transfer.takeSet(database, ALIVE);
    expect(await harbor.smembers('execution:status_outdate')).toEqual([memberOf(1)]);
    await transfer.takeSet(database, ALIVE);
    // Three if a removal took more than a second, which is covered by another row.
    expect(await rowsOf(1)).toBeGreaterThanOrEqual(2);
  });

  it('while its key still exists, which Harbor skips, is covered by a row due a full delay later', async () => {
    await markByKeys(harbor, [1]);
    let skipped = 0;
    const transfer = new MarkerTransfer(
      beforeCall(harbor, 'unlink', async () => {
        if (
          (await harbor.setnx('cache:execution:id:1:vendor:REPLICATION:status_outdate', 'x')) === 0
        )
          skipped++;
      }),
      DELAY_MS,
      () => undefined,
    );
    await transfer.takeKeys(database, ALIVE);
    expect(skipped).toBe(1);
    expect(await earliestDueMs()).toBeGreaterThan(DELAY_MS - 1_000);
  });

  it.each(['set', 'keys'] as const)(
    'during a removal (%s) of more than a second is covered by a row written after it',
    async (format) => {
      await (format === 'set' ? markInSet : markByKeys)(harbor, [1]);
      const transfer = new MarkerTransfer(
        beforeCall(harbor, format === 'set' ? 'srem' : 'unlink', slowly),
        DELAY_MS,
        () => undefined,
      );
      await passes[format](transfer, database);
      expect(await rowsOf(1)).toBe(2);
    },
  );

  it('while the outcome of the removal is unknown is covered by a row once Redis answers', async () => {
    await markByKeys(harbor, [1]);
    let removals = 0;
    const transfer = new MarkerTransfer(
      beforeCall(harbor, 'unlink', async () => {
        removals++;
        await harbor.flushdb();
        throw new Error('Command timed out');
      }),
      DELAY_MS,
      () => undefined,
    );
    await expect(transfer.takeKeys(database, ALIVE)).rejects.toThrow('timed out');
    expect(await rowsOf(1)).toBe(1);
    await transfer.settleDoubts(database);
    await transfer.settleDoubts(database);
    expect({ removals, rows: await rowsOf(1) }).toEqual({ removals: 1, rows: 2 });
  });
});

async function slowly(): Promise<void> {
  const beginMs = performance.now();
  while (performance.now() - beginMs < 1_100) await harbor.ping();
}

async function rowsOf(id: number): Promise<number> {
  const rows = await database.query('SELECT FROM tally.outbox WHERE execution_id = $1', [id]);
  return rows.length;
}

async function earliestDueMs(): Promise<number> {
  const [row] = await database.query<{ ms: number }>(
    `SELECT extract(epoch FROM min(due_at) - clock_timestamp())::double precision * 1000 AS ms FROM tally.outbox`,
  );
  return row?.ms ?? 0;
}

/** The same connection, on which something happens before each call of one command. */
function beforeCall<T extends object>(target: T, command: keyof T, hook: () => Promise<void>): T {
  return new Proxy(target, {
    get(object, name) {
      const value: unknown = Reflect.get(object, name);
      if (typeof value !== 'function') return value;
      if (name !== command) return value.bind(object) as unknown;
      return async (...args: unknown[]) => {
        await hook();
        return Reflect.apply(value, object, args) as unknown;
      };
    },
  });
}
