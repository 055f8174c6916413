import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import type { QueueAdapterOptions } from '@bull-board/api/typings/app';
import type { Job } from 'bullmq';
import { Router, type RequestHandler } from 'express';
import { formatIdentity } from '../shared/execution.ts';
import {
  enqueueRefreshes,
  readPayload,
  retryFailedRefresh,
  type RefreshQueue,
} from '../shared/refresh-queue.ts';

const POLL_SECONDS = 5;

/** Bull Board over the refresh queue. */
export function createBoard(queue: RefreshQueue): Router {
  const server = new ExpressAdapter();
  const adapter = new RefreshQueueAdapter(queue, {
    displayName: 'Refreshes',
    description: 'One job refreshes the status of one execution.',
  });
  adapter.setFormatter('name', nameOf);
  createBullBoard({
    queues: [adapter],
    serverAdapter: server,
    options: {
      uiConfig: {
        boardTitle: 'Tally',
        // Each open tab costs about 35 Redis commands a poll.
        pollingInterval: { showSetting: true, forceInterval: POLL_SECONDS },
        hideDocsLink: true,
      },
    },
  });
  const router = Router();
  router.use(withoutOutsideFonts);
  router.use(server.getRouter() as RequestHandler);
  return router;
}

// The page asks a font service of the internet for its fonts; an operator's browser must not, and
// on a closed network it would wait for them. The system's fonts are used instead.
const withoutOutsideFonts: RequestHandler = (_request, response, next) => {
  const send = response.send.bind(response);
  response.send = (body: unknown) =>
    send(typeof body === 'string' ? body.replace(/<link href="https:[^>]*>/, '') : body);
  next();
};

/**
 * Makes every retry of the board ours: enqueue again, then remove. BullMQ's own leaves the deduplication key with
 * a newer job, so that the retried one could run beside it.
 */
class RefreshQueueAdapter extends BullMQAdapter {
  readonly #queue: RefreshQueue;

  constructor(queue: RefreshQueue, options: Partial<QueueAdapterOptions>) {
    super(queue, options);
    this.#queue = queue;
  }

  override async getJob(id: string): Promise<Job | undefined> {
    const job = await super.getJob(id);
    return job && this.#withOurRetry(job);
  }

  override async getJobs(...range: Parameters<BullMQAdapter['getJobs']>): Promise<Job[]> {
    const jobs = await super.getJobs(...range);
    return jobs.map((job) => this.#withOurRetry(job));
  }

  /** "Add job" and "Duplicate": a refresh like any other, so neither can run beside its twin. */
  override async addJob(_name: string, data: unknown): Promise<Job> {
    const identity = readPayload(data);
    await enqueueRefreshes(this.#queue, [identity]);
    const id = await this.#queue.getDeduplicationJobId(formatIdentity(identity));
    const job = id === null ? undefined : await super.getJob(id);
    if (job === undefined) throw new Error('it was added, and a worker has done it already');
    return job;
  }

  #withOurRetry(job: Job): Job {
    job.retry = () => retryFailedRefresh(this.#queue, job);
    return job;
  }
}

/** Jobs are named by what they are about, for example 42:REPLICATION. */
function nameOf(job: { readonly id?: unknown; readonly data?: unknown }): string {
  try {
    return formatIdentity(readPayload(job.data));
  } catch {
    return `not a refresh (${String(job.id)})`;
  }
}
