import {
  countJobs,
  oldestWaitingSeconds,
  type QueueCounts,
  type RefreshQueue,
} from '../shared/queue/refresh-queue.ts';

/** The queue as an operator asks about it. */
export interface QueueStatus {
  readonly queue: QueueCounts & { readonly paused: boolean };
  /** Workers that are connected, and how many jobs each has in hand. */
  readonly workers: readonly { readonly name: string; readonly active: number }[];
  readonly oldestWaitingSeconds: number | null;
}

/** Asks Redis for all of it. Reads the active jobs, a few hundred per worker at most. */
export async function describeQueue(queue: RefreshQueue): Promise<QueueStatus> {
  const [counts, paused, oldest, workers, active] = await Promise.all([
    countJobs(queue),
    queue.isPaused(),
    oldestWaitingSeconds(queue),
    queue.getWorkers(),
    queue.getActive(),
  ]);
  const inHand = new Map<string, number>();
  for (const job of active) {
    const name = job?.processedBy ?? 'unknown';
    inHand.set(name, (inHand.get(name) ?? 0) + 1);
  }
  // BullMQ names the connection of a worker "<prefix>:<queue in base64>:w:<name of the worker>".
  const names = workers.map(({ rawname }) => rawname?.replace(/^.*?:w:/, '') ?? 'unknown');
  return {
    queue: { ...counts, paused },
    workers: names.toSorted().map((name) => ({ name, active: inHand.get(name) ?? 0 })),
    oldestWaitingSeconds: oldest,
  };
}
