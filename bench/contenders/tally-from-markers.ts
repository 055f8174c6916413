import { Redis } from 'ioredis';
import { TallyError } from '../../shared/errors.ts';
import { identityPages } from '../data.ts';
import { startTally } from '../processes.ts';
import type { Contender } from './contender.ts';
import { markInSet, MARKER_SET } from './harbor-loop.ts';
import { tally } from './tally.ts';

const WAITING_SET = 'bench:markers';
const INTAKE_TIMEOUT_MS = 30_000;

/**
 * Tally on markers in Harbor's format, which lie in a Redis of Harbor's own. They are all put into
 * a set under another name first; renaming that to Harbor's starts the clock.
 */
export function tallyFromMarkers(workers: number, harborRedisUrl: string): Contender {
  const outboxWay = tally(workers);
  let harborRedis: Redis | undefined;
  let goMs = 0;
  return {
    ...outboxWay,
    name: `tally-markers-${workers}`,
    title: "Tally, from Harbor's markers",
    prepare: async (arena) => {
      harborRedis = new Redis(harborRedisUrl);
      await harborRedis.flushall('SYNC');
      for await (const page of identityPages(arena.database)) await markInSet(harborRedis, page);
      await harborRedis.rename(MARKER_SET, WAITING_SET);
    },
    start: (arena) =>
      Promise.all([
        // The delay is for changes that aren't committed yet; here all of them are.
        startTally('producer', arena, {
          HARBOR_REDIS_URL: harborRedisUrl,
          HARBOR_MARKER_DELAY_MS: '0',
        }),
        ...Array.from({ length: workers }, () => startTally('worker', arena)),
      ]),
    go: async () => {
      await harborRedis?.rename(WAITING_SET, MARKER_SET);
      goMs = performance.now();
    },
    left: async (arena, processes) => {
      const markers = (await harborRedis?.scard(MARKER_SET)) ?? 0;
      if (markers === arena.executions && performance.now() - goMs > INTAKE_TIMEOUT_MS) {
        harborRedis?.disconnect();
        throw new TallyError('BENCH_MARKERS', 'the producer takes no markers in');
      }
      const left = markers + (await outboxWay.left(arena, processes));
      if (left === 0) harborRedis?.disconnect();
      return left;
    },
  };
}
