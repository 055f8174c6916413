import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { ExpressAdapter } from '@bull-board/express';
import type { QueueAdapterOptions } from '@bull-board/api/typings/app';
import type { Job } from 'bullmq';
import { Router, type Express, type RequestHandler } from 'express';
import { TallyError } from '../shared/errors.ts';
import { formatIdentity } from '../shared/execution.ts';
import { printableText } from '../shared/process/printable.ts';
import { shortened } from '../shared/errors.ts';
import type { Database } from '../shared/postgres/database.ts';
import { dropFailures } from '../shared/postgres/failures.ts';
import type { BacklogQueue } from '../shared/queue/backlog-queue.ts';
import type { FailureStores } from '../shared/failures/standing-failures.ts';
import {
  enqueueRefreshes,
  queueIdentity,
  readPayload,
  retryFailedRefresh,
  type RefreshQueue,
} from '../shared/queue/refresh-queue.ts';
import { visitorOf } from './auth.ts';
import { boardLook } from './board-look.ts';
import { boardPolicy } from './board-policy.ts';
import { retryAllFailed } from './board-retry.ts';
import type { Links } from './links.ts';
import type { Repairs } from './repair/repairs.ts';
import type { Site } from './site.ts';

// Longest text of a job, for example its error, in characters. Unbounded errors would make the page
// unreadable.
const TEXT_MAX = 20_000;
// Tally's workers write no log lines, but whoever can reach Redis can add any number to a job.
const LOG_LINES_MAX = 1_000;
// Jobs removed per script. BullMQ's own limit is 10,000, during which Redis answers nobody else.
const CLEAN_CHUNK = 500;

interface BoardParts extends FailureStores {
  readonly backlogQueue: BacklogQueue;
  readonly repairs: Repairs;
}

/** Bull Board over both queues: complete for operators, without its buttons for viewers. */
export function createBoard(parts: BoardParts, site: Site): Router {
  const router = Router();
  router.use(withoutOutsideFonts);
  // Replaces Bull Board's route, which gives up if none of the first hundred jobs is a refresh.
  router.put(`/api/queues/${parts.queue.name}/retry/failed`, retryAllFailed(parts));
  const whole = boardFor(parts, site, { readOnly: false });
  const readOnly = boardFor(parts, site, { readOnly: true });
  router.use((request, response, next) => {
    const board = visitorOf(response).role === 'viewer' ? readOnly : whole;
    void board(request, response, next);
  });
  return router;
}

function boardFor(
  { database, queue, backlogQueue }: BoardParts,
  site: Site,
  { readOnly }: { readonly readOnly: boolean },
): RequestHandler {
  const server = new ExpressAdapter().setBasePath(site.links.board);
  const adapter = new RefreshQueueAdapter(queue, database, {
    displayName: 'Refreshes',
    description:
      'One job refreshes the status of one execution. Emptying and editing are refused: a refresh would be lost, or come back from the outbox.',
    readOnlyMode: readOnly,
    externalJobUrl: (job) => pageOf(site.links, job),
  });
  adapter.setFormatter('name', nameOf);
  const backlog = new BullMQAdapter(backlogQueue, {
    displayName: 'Backlog',
    description:
      'One job refreshes many executions, those that have waited longest first. The relay asks for these jobs while there is a backlog.',
    readOnlyMode: readOnly,
    allowRetries: false,
  });
  createBullBoard({
    queues: [adapter, backlog],
    serverAdapter: server,
    options: {
      handlerHooks: { before: boardPolicy(queue, backlogQueue) },
      uiConfig: boardLook(site),
    },
  });
  const app = server.getRouter() as Express;
  app.disable('x-powered-by');
  app.set('json replacer', (_key: string, value: unknown) =>
    typeof value === 'string' ? printableText(shortened(value, TEXT_MAX)) : value,
  );
  return app;
}

// Bull Board's page loads fonts from a service on the internet. An operator's browser must not call
// it, and on a closed network the page would wait for it. System fonts are used instead.
const withoutOutsideFonts: RequestHandler = (_request, response, next) => {
  const send = response.send.bind(response);
  response.send = (body: unknown) =>
    send(typeof body === 'string' ? body.replace(/<link href="https:[^>]*>/, '') : body);
  next();
};

/**
 * Makes every retry on the board enqueue again and then remove the failed job. BullMQ's own retry
 * leaves the deduplication key with a newer job, and the retried one could run beside it.
 *
 * Removing a failed job also removes its record in Postgres. The job goes first: after a crash in
 * between, the failure is still recorded.
 */
class RefreshQueueAdapter extends BullMQAdapter {
  readonly #queue: RefreshQueue;
  readonly #database: Database;

  constructor(queue: RefreshQueue, database: Database, options: Partial<QueueAdapterOptions>) {
    super(queue, options);
    this.#queue = queue;
    this.#database = database;
  }

  override async getJob(id: string): Promise<Job | undefined> {
    const job = await super.getJob(id);
    return job && this.#withOurActions(job);
  }

  override async getJobs(...range: Parameters<BullMQAdapter['getJobs']>): Promise<Job[]> {
    const jobs = await super.getJobs(...range);
    return jobs.map((job) => this.#withOurActions(job));
  }

  override async getJobLogs(id: string): Promise<string[]> {
    const { logs } = await this.#queue.getJobLogs(id, 0, LOG_LINES_MAX - 1);
    return logs;
  }

  /**
   * "Add job" and "Duplicate" enqueue a deduplicated refresh, so the new job can't run beside its
   * twin.
   */
  override async addJob(_name: string, data: unknown): Promise<Job> {
    const identity = payloadOf(data);
    await enqueueRefreshes(this.#queue, [identity]);
    const id = await this.#queue.getDeduplicationJobId(queueIdentity(identity));
    const job = id === null ? undefined : await super.getJob(id);
    if (job === undefined) throw new Error('it was added, and a worker has done it already');
    return job;
  }

  override async clean(...[state, graceMs]: Parameters<BullMQAdapter['clean']>): Promise<void> {
    for (;;) {
      const removed = await this.#queue.clean(graceMs, CLEAN_CHUNK, state);
      if (state === 'failed') await dropFailures(this.#database, removed);
      if (removed.length < CLEAN_CHUNK) return;
    }
  }

  #withOurActions(job: Job): Job {
    const remove = job.remove.bind(job);
    job.retry = () => {
      payloadOf(job.data);
      return retryFailedRefresh(this.#queue, { data: job.data, remove });
    };
    job.remove = async (options) => {
      await remove(options);
      await dropFailures(this.#database, [job.id ?? '']);
    };
    return job;
  }
}

/** Link to the page of the execution that a job refreshes. */
function pageOf(
  links: Links,
  { data }: { readonly data?: unknown },
): { displayText: string; href: string } {
  try {
    const { executionId } = readPayload(data);
    return { displayText: `Execution ${executionId}`, href: links.execution(executionId) };
  } catch {
    return { displayText: 'Find an execution', href: links.executions };
  }
}

/**
 * @throws TallyError with `statusCode` 400, which the board answers with, if `data` is no payload
 */
function payloadOf(data: unknown): ReturnType<typeof readPayload> {
  try {
    return readPayload(data);
  } catch (error) {
    throw error instanceof TallyError ? Object.assign(error, { statusCode: 400 }) : error;
  }
}

/** The identity as a job's display name, for example 42:REPLICATION. */
function nameOf(job: { readonly id?: unknown; readonly data?: unknown }): string {
  try {
    return formatIdentity(readPayload(job.data));
  } catch {
    return `not a refresh (${String(job.id)})`;
  }
}
