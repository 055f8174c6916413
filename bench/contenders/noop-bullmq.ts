import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { REFRESH_QUEUE } from '../../shared/queue/queue-names.ts';
import { QUEUE_PREFIX, startContender } from '../processes.ts';
import { signalGo, type ConnectWorker, type Contender } from './contender.ts';
import { fillQueue, jobsLeft, withQueue } from './tally.ts';

const CONCURRENCY = 200;

/** The ceiling: BullMQ's worker doing nothing with the very jobs that Tally puts on its queue. */
export function contender(workers: number): Contender {
  return {
    name: `noop-${workers}`,
    family: 'noop',
    title: 'BullMQ, jobs that do nothing',
    workers,
    refreshes: false,
    waitsInRedis: true,
    prepare: (arena) => withQueue(arena, (queue) => fillQueue(arena, queue)),
    start: (arena) =>
      Promise.all(Array.from({ length: workers }, () => startContender('noop', arena))),
    go: signalGo,
    left: jobsLeft,
  };
}

export const connect: ConnectWorker = async ({ redisUrl }) => {
  const worker = new Worker(REFRESH_QUEUE, async () => undefined, {
    connection: new Redis(redisUrl, { maxRetriesPerRequest: null }),
    prefix: QUEUE_PREFIX,
    autorun: false,
    concurrency: CONCURRENCY,
    removeOnComplete: { count: 0 },
  });
  await worker.waitUntilReady();
  return () => worker.run();
};
