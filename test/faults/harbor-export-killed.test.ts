import { expect, it } from 'vitest';
import { exportRefreshes } from '../../shared/harbor/export.ts';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import { enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { refreshesOf } from '../support/executions.ts';
import { killAt } from '../support/killing.ts';
import { markedIds, memberOf, newHarborRedis, range } from '../support/markers.ts';
import { createStores } from '../support/stores.ts';

const { database, queue } = await createStores();
const { redis: harbor } = await newHarborRedis();
const TAKEN = 'tally:taken:execution:status_outdate';

async function recorded(): Promise<number[]> {
  const rows = await database.query<{ id: number }>(
    'SELECT DISTINCT execution_id AS id FROM tally.outbox',
  );
  return rows.map(({ id }) => id);
}

it.each([
  ['set', 'before'],
  ['set', 'after'],
  ['keys', 'before'],
  ['keys', 'after'],
] as const)(
  'an export (%s) killed %s any of its steps loses nothing, and the next one completes it',
  async (format, when) => {
    const bar = { total: () => undefined, at: () => undefined };
    let killed = 0;
    for (let step = 1; ; step++) {
      await harbor.flushdb();
      await queue.drain();
      await database.query('TRUNCATE tally.outbox');
      await recordRefreshes(database, refreshesOf(range(1, 1_200)), 'capture');
      await enqueueRefreshes(queue, refreshesOf(range(1_201, 30)));
      await harbor.sadd(TAKEN, range(1_231, 5).map(memberOf));
      const kill = killAt(step, when);
      const victim = exportRefreshes({
        session: kill.wrap(database),
        harbor: kill.wrap(harbor),
        queue: kill.wrap(queue),
        format,
        bar,
      });
      const end = await Promise.race([kill.happened, victim.then(() => 'completed' as const)]);
      const kept = new Set([
        ...(await markedIds(harbor)),
        ...(await recorded()),
        ...(await queue.getWaiting()).map((job) => job.data.executionId),
        ...(await harbor.smembers(TAKEN)).map((member) => Number.parseInt(member, 10)),
      ]);
      expect(
        range(1, 1_235).filter((id) => !kept.has(id)),
        `lost at step ${step}`,
      ).toEqual([]);
      await exportRefreshes({ session: database, harbor, queue, format, bar });
      expect(await markedIds(harbor), `after step ${step}`).toEqual(range(1, 1_235));
      if (end === 'completed') break;
      killed = step;
    }
    expect(killed).toBeGreaterThan(15);
  },
);
