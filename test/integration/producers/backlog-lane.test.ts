import { expect, it, onTestFinished, vi } from 'vitest';
import { BacklogLane } from '../../../producers/backlog-lane.ts';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { createLogger } from '../../../shared/process/logger.ts';
import { openBacklogQueue } from '../../../shared/queue/backlog-queue.ts';
import { refreshOf } from '../../support/executions.ts';
import { createStores } from '../../support/stores.ts';

const { config, database, redis } = await createStores();
const HOUR_MS = 3_600_000;
// Longer than the pause between two offers.
const STEP_MS = 1_500;
const STANDSTILL_TURNS = Math.ceil(5_000 / STEP_MS);

it('an outage is no time in which no worker drained the backlog', async () => {
  let nowMs = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
  onTestFinished(() => clock.mockRestore());
  const lines: string[] = [];
  const log = createLogger(config, 'producer', (line) => lines.push(line));
  const backlogQueue = openBacklogQueue(config, redis);
  const lane = new BacklogLane({ config, database, backlogQueue, redis, log });
  const turns = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) {
      nowMs += STEP_MS;
      await lane.look();
      await lane.offer();
    }
  };
  await recordRefreshes(database, [refreshOf(1)], 'api', -HOUR_MS);
  await redis.lpush(backlogQueue.toKey('active'), 'long');
  await redis.set(backlogQueue.toKey('long:lock'), 'of a worker');
  await turns(1 + STANDSTILL_TURNS);
  expect(lane.freshMs).toBeUndefined();

  nowMs += HOUR_MS;
  lane.forget();
  await redis.del(backlogQueue.toKey('active'), backlogQueue.toKey('long:lock'));
  await turns(STANDSTILL_TURNS - 1);
  expect(lines).toEqual([]);
  await turns(1);
  expect(lines.join('\n')).toContain('no worker drains the backlog');
});
