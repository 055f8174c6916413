import type { Redis } from 'ioredis';
import type { RefreshQueue } from './refresh-queue.ts';

/** A worker that is connected to the queue. */
export interface ConnectedWorker {
  /** What the worker calls itself: host, instance and process, unique among all that ever ran. */
  readonly name: string;
  readonly connectedSeconds: number;
}

/**
 * The workers of this queue. Redis lists the connections of all its databases, and an installation on another
 * database number has the same prefix and queue: those are left out.
 * @throws the error of ioredis, also when the user may not list clients
 */
export async function connectedWorkers(
  queue: RefreshQueue,
  redis: Redis,
): Promise<ConnectedWorker[]> {
  const clients = await queue.getWorkers();
  const own = String(redis.options.db ?? 0);
  return clients.flatMap(({ rawname, age, db }) =>
    db === undefined || db === own
      ? // BullMQ names the connection of a worker "<prefix>:<queue in base64>:w:<name of the worker>".
        {
          name: rawname?.replace(/^.*?:w:/, '') ?? 'unknown',
          connectedSeconds: Number(age ?? 0),
        }
      : [],
  );
}
