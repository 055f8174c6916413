import type { Redis } from 'ioredis';
import type { RefreshQueue } from './refresh-queue.ts';

/** A worker that is connected to the queue. */
export interface ConnectedWorker {
  /** The worker's name: host, instance and process, never used twice. */
  readonly name: string;
  readonly connectedSeconds: number;
}

/**
 * The workers connected to this queue. Redis lists the connections of all its databases; an
 * installation in another database number has the same prefix and queue name, and its workers are
 * left out.
 * @throws an error from `ioredis`, also if the user may not list clients
 */
export async function connectedWorkers(
  queue: RefreshQueue,
  redis: Redis,
): Promise<ConnectedWorker[]> {
  const clients = await queue.getWorkers();
  const own = String(redis.options.db ?? 0);
  return clients.flatMap(({ rawname, age, db }) =>
    db === undefined || db === own
      ? // BullMQ's name for a worker's connection: "<prefix>:<queue in base64>:w:<worker's name>".
        {
          name: rawname?.replace(/^.*?:w:/, '') ?? 'unknown',
          connectedSeconds: Number(age ?? 0),
        }
      : [],
  );
}
