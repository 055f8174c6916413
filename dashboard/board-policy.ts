import type { BeforeHook } from '@bull-board/api/typings/app';
import type { BacklogQueue } from '../shared/queue/backlog-queue.ts';
import type { RefreshQueue } from '../shared/queue/refresh-queue.ts';

const BACK_FROM_OUTBOX =
  'it would drop refreshes that were put straight on the queue, and the others come back from the outbox anyway';
const NOT_USED = 'Tally has no use for it';

// Every route of Bull Board that changes something. Anything else is refused, so a route that a
// later version adds stays refused until someone has thought about it.
const RULES: Readonly<Record<string, 'allowed' | 'finished jobs' | { readonly refused: string }>> =
  {
    'put /api/queues/pause': 'allowed',
    'put /api/queues/resume': 'allowed',
    'put /api/queues/:queueName/pause': 'allowed',
    'put /api/queues/:queueName/resume': 'allowed',
    'post /api/queues/:queueName/add': 'allowed',
    'put /api/queues/:queueName/retry/:queueStatus': 'allowed',
    'put /api/queues/:queueName/:jobId/retry': 'allowed',
    // Promoting ends a backoff early and leaves the deduplication key in place.
    'put /api/queues/:queueName/promote': 'allowed',
    'put /api/queues/:queueName/:jobId/promote': 'allowed',
    'put /api/queues/:queueName/rate-limit/release': 'allowed',
    'put /api/queues/:queueName/:jobId/clean': 'finished jobs',
    'put /api/queues/:queueName/clean/:queueStatus': 'finished jobs',
    'put /api/queues/:queueName/empty': { refused: BACK_FROM_OUTBOX },
    'put /api/queues/:queueName/obliterate': { refused: BACK_FROM_OUTBOX },
    'patch /api/queues/:queueName/:jobId/update-data': {
      refused:
        'the queue knows a job by the execution it was added for; use "Add job" for another one',
    },
    'put /api/queues/:queueName/concurrency': {
      refused: 'it would slow down all workers until someone remembers it; set WORKER_CONCURRENCY',
    },
    'put /api/queues/:queueName/rate-limit': {
      refused: 'it would slow down all workers until someone remembers it; use "Pause" for a while',
    },
    'patch /api/queues/:queueName/:jobId/delay': {
      refused: 'the backoff decides that; "Promote" tries a delayed job at once',
    },
    'patch /api/queues/:queueName/:jobId/priority': { refused: NOT_USED },
    'put /api/queues/:queueName/:jobId/remove-unprocessed-children': { refused: NOT_USED },
    'put /api/queues/:queueName/job-schedulers/:schedulerId/remove': { refused: NOT_USED },
    'patch /api/queues/:queueName/job-schedulers/:schedulerId': { refused: NOT_USED },
    'put /api/queues/:queueName/job-schedulers/:schedulerId/run': { refused: NOT_USED },
  };

// A backlog job carries no data: whatever happens to one, the relay asks for the next.
const BACKLOG_ALLOWED = [
  'put /api/queues/:queueName/pause',
  'put /api/queues/:queueName/resume',
  'put /api/queues/:queueName/:jobId/clean',
  'put /api/queues/:queueName/clean/:queueStatus',
];

// Most jobs that one request may read. Bull Board sets no limit: 300,000 jobs per page are one
// script that blocks Redis for minutes. Its own UI asks for 50 at most.
const JOBS_PER_PAGE_MAX = 100;
const PAGE_MAX = 9_999_999;

/**
 * Bull Board's hook before each call: what the board may do to the queues. Reads are allowed one
 * page at a time. Changes are allowed if they can neither lose a refresh nor let two jobs of an
 * identity run at once.
 *
 * Only finished jobs may be removed: removing a running one drops the next run stored behind it,
 * and removing a waiting one drops its refresh.
 */
export function boardPolicy(queue: RefreshQueue, backlog: BacklogQueue): BeforeHook {
  return async ({ method, route, request }) => {
    if (method === 'get') return mayRead(request?.query);
    const call = `${method} ${route}`;
    const rule = RULES[call] ?? { refused: NOT_USED };
    if (typeof rule === 'object') return refused(rule.refused);
    const { queueName, queueStatus, jobId } = (request?.params ?? {}) as Record<
      string,
      string | undefined
    >;
    if (queueName === backlog.name && !BACKLOG_ALLOWED.includes(call)) {
      return refused('the relay asks for the jobs of the backlog lane');
    }
    if (rule === 'allowed') return { allow: true };
    const finished =
      jobId === undefined
        ? queueStatus === 'failed' || queueStatus === 'completed'
        : await isFinished(queueName === backlog.name ? backlog : queue, jobId);
    return finished
      ? { allow: true }
      : refused(
          'only failed jobs can be removed: this would drop refreshes that are still to be done',
        );
  };
}

// These are the raw query values, before Bull Board parses them: arrays and anything else that
// isn't a number are refused too.
function mayRead(query: unknown): Awaited<ReturnType<BeforeHook>> {
  const { page = '1', jobsPerPage = '1' } = (query ?? {}) as Record<string, unknown>;
  if (isFrom1To(JOBS_PER_PAGE_MAX, jobsPerPage) && isFrom1To(PAGE_MAX, page))
    return { allow: true };
  return {
    allow: false,
    status: 400,
    message: `Tally refuses this: jobsPerPage must be a whole number from 1 to ${JOBS_PER_PAGE_MAX}, page one from 1 to ${PAGE_MAX}.`,
  };
}

function isFrom1To(max: number, value: unknown): boolean {
  return typeof value === 'string' && /^[1-9]\d{0,6}$/.test(value) && Number(value) <= max;
}

function refused(reason: string): {
  readonly allow: false;
  readonly status: 403;
  readonly message: string;
} {
  return { allow: false, status: 403, message: `Tally refuses this: ${reason}.` };
}

async function isFinished(queue: RefreshQueue | BacklogQueue, jobId: string): Promise<boolean> {
  const job = await queue.getJob(jobId);
  // A missing job is allowed through, so that the board answers with its own 404.
  return job === undefined || (await job.isFailed()) || (await job.isCompleted());
}
