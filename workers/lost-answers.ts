import type { RedisQueueBackend } from 'bullmq';
import type { Redis } from 'ioredis';
import { describeError } from '../shared/errors.ts';
import type { Logger } from '../shared/process/logger.ts';
import { limitJobWait } from '../shared/queue/job-wait.ts';
import { createReadableBackend } from '../shared/queue/readable-jobs.ts';
import type { StoreWatches } from './store-watches.ts';

/** What `LostAnswers` needs of a BullMQ worker. */
interface LockHolder {
  /** Prefix of its lock tokens. */
  readonly id: string;
  getBackend(): RedisQueueBackend;
}

/**
 * Finds jobs that Redis gave to a worker but that never arrived, because the answer was lost with
 * the connection. Nobody works on them, and until their locks expire nobody else may. Each
 * completion fetches the next job, so a connection that is lost under load leaves up to
 * `WORKER_CONCURRENCY` of them.
 */
export class LostAnswers {
  readonly #redis: Redis;
  readonly #log: Logger;
  readonly #inHand = new Set<string>();

  /** @param redis the connection over which the worker fetches and completes jobs */
  constructor(redis: Redis, log: Logger) {
    this.#redis = redis;
    this.#log = log;
  }

  /** Creates BullMQ's backend for the worker. Jobs that arrive over it count as in hand. */
  readonly createBackend = (
    ...parts: Parameters<typeof createReadableBackend>
  ): RedisQueueBackend => {
    const backend = createReadableBackend(...parts);
    limitJobWait(backend);
    const execute = backend.execCommand.bind(backend);
    backend.execCommand = (client, command, values): unknown => {
      const answered: unknown = execute(client, command, values);
      if (!(answered instanceof Promise)) return answered;
      return answered.then((answer: unknown) => {
        this.#noteJob(answer);
        return answer;
      });
    };
    return backend;
  };

  /** Notes that the worker is done with a job. */
  release(jobId: string | undefined): void {
    this.#inHand.delete(jobId ?? '');
  }

  /**
   * From now on, puts such jobs back on the queue each time a new connection replaces a lost one,
   * and each time Redis serves the queue again after it refused to. A script that was refused a
   * command in its middle may have taken a job already.
   */
  watch(worker: LockHolder, stores: Pick<StoreWatches, 'onRedisServesAgain'>): void {
    const putBack = (reason: string): void => {
      this.#putBack(worker, reason).catch((error: unknown) => {
        // The connection was lost again or Redis refuses; both are logged elsewhere. BullMQ's
        // stalled recovery remains.
        this.#log.debug(`jobs with lost answers were not looked for: ${describeError(error)}`);
      });
    };
    this.#redis.on('ready', () => putBack('with the connection to Redis'));
    stores.onRedisServesAgain.add(() => putBack('when Redis refused a command'));
  }

  async #putBack(worker: LockHolder, reason: string): Promise<void> {
    const backend = worker.getBackend();
    // Commands that the lost connection left unanswered are sent again before this one, and a job
    // that ended meanwhile was in hand at the beginning.
    const before = new Set(this.#inHand);
    const ids = await this.#redis.lrange(backend.toKey('active'), 0, -1);
    const unknown = ids.filter((id) => !before.has(id) && !this.#inHand.has(id));
    if (unknown.length === 0) return;
    const tokens = await this.#redis.mget(unknown.map((id) => `${backend.toKey(id)}:lock`));
    // Settled one by one: a job may be gone, and this connection, too, may be lost before the last
    // answer.
    const moves = await Promise.allSettled(
      unknown.flatMap((id, at) => {
        const token = tokens[at];
        return token?.startsWith(`${worker.id}:`) && !this.#inHand.has(id)
          ? backend.moveJobFromActiveToWait(id, token)
          : [];
      }),
    );
    const count = moves.filter(({ status }) => status === 'fulfilled').length;
    if (count === 0) return;
    this.#log.info(`put ${count} jobs back on the queue whose answers were lost ${reason}`);
  }

  /** @param answer of a script; one that returns a job has its fields first and then its id */
  #noteJob(answer: unknown): void {
    if (!Array.isArray(answer)) return;
    const [fields, id] = answer as unknown[];
    if (Array.isArray(fields) && typeof id === 'string') this.#inHand.add(id);
  }
}
