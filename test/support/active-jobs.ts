import type { QueueAccess } from '../../shared/queue/failed-jobs.ts';
import { keepDoing } from './keep-doing.ts';

// Runs that are to be seen take several times as long.
const LOOK_EVERY_MS = 2;

/** Watches that at most one job of an identity runs and at most one waits. */
export interface ActiveJobsWatch {
  /** Ends the watch. @returns each identity that was seen twice in one state, and how often jobs were seen running */
  stop(): Promise<{
    readonly twice: readonly string[];
    readonly busyLooks: number;
  }>;
}

/**
 * Looks again and again at the lists of active and of waiting jobs. Both come from one transaction of Redis, so
 * what is seen was so at one moment; a run must take long enough for a look to meet it.
 */
export function watchActiveJobs({ queue, redis }: QueueAccess): ActiveJobsWatch {
  const twice = new Set<string>();
  let busyLooks = 0;
  const end = keepDoing(LOOK_EVERY_MS, async () => {
    const answers = await redis
      .multi()
      .lrange(queue.toKey('active'), 0, -1)
      .lrange(queue.toKey('wait'), 0, -1)
      .exec();
    for (const [index, state] of (['running', 'waiting'] as const).entries()) {
      const jobIds = (answers?.[index]?.[1] ?? []) as string[];
      if (state === 'running' && jobIds.length > 0) busyLooks++;
      for (const identity of identitiesTwice(jobIds)) twice.add(`${state}: ${identity}`);
    }
  });
  return {
    stop: async () => {
      await end();
      return { twice: [...twice], busyLooks };
    },
  };
}

/** The identities of which there is more than one job. */
export function identitiesTwice(jobIds: readonly string[]): string[] {
  const seen = new Set<string>();
  const twice: string[] = [];
  for (const jobId of jobIds) {
    const identity = jobId.split(':').slice(0, 2).join(':');
    if (seen.has(identity)) twice.push(identity);
    seen.add(identity);
  }
  return twice;
}
