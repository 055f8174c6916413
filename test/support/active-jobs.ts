import type { RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { keepDoing } from './keep-doing.ts';

// Runs that are to be seen take several times as long.
const LOOK_EVERY_MS = 2;

/** What a watch has seen so far. */
export interface SeenJobs {
  /** Each identity of which two jobs ran or waited at once, and which of the two they did. */
  readonly twice: readonly string[];
  /** How often jobs were seen running. */
  readonly busyLooks: number;
}

/**
 * Looks at the lists of active and of waiting jobs until the running test is over. A list is read at one moment; a
 * run must take long enough for a look to meet it.
 * @returns tells what was seen
 */
export function watchActiveJobs(queue: RefreshQueue, everyMs = LOOK_EVERY_MS): () => SeenJobs {
  const twice = new Set<string>();
  let busyLooks = 0;
  const look = async (): Promise<void> => {
    const [active, waiting] = await Promise.all([
      queue.getRanges(['active'], 0, -1),
      queue.getRanges(['wait'], 0, -1),
    ]);
    if (active.length > 0) busyLooks++;
    for (const identity of identitiesTwice(active)) twice.add(`${identity} runs`);
    for (const identity of identitiesTwice(waiting)) twice.add(`${identity} waits`);
  };
  // A fault may keep a look from Redis.
  keepDoing(everyMs, () => look().catch(() => undefined));
  return () => ({ twice: [...twice], busyLooks });
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
