import { setTimeout as delay } from 'node:timers/promises';
import { identitiesTwice } from '../support/active-jobs.ts';
import type { World } from './world.ts';

const LOOK_EVERY_MS = 50;

/**
 * Looks at the jobs of the express lane until it is stopped, and reports each identity that runs or waits twice.
 * @returns stops it
 */
export function watchOverlap(world: World): () => Promise<void> {
  const stopped = new AbortController();
  const look = async (list: string, state: string): Promise<void> => {
    const jobIds = (await world.ask('LRANGE', `chaos:refresh:${list}`, '0', '-1')) as string[];
    for (const identity of identitiesTwice(jobIds)) {
      world.problems.push(`${identity} has two jobs that ${state} at once`);
    }
  };
  const watch = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      try {
        await look('active', 'run');
        await look('wait', 'wait');
      } catch {
        // A fault has struck Redis.
      }
      await delay(LOOK_EVERY_MS);
    }
  };
  const watching = watch();
  return async () => {
    stopped.abort();
    await watching;
  };
}
