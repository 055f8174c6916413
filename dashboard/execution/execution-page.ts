import { Router, type RequestHandler, type Response } from 'express';
import type { Redis } from 'ioredis';
import type { Database } from '../../shared/postgres/database.ts';
import { failedJobsOf } from '../../shared/postgres/failures.ts';
import { describeError } from '../../shared/errors.ts';
import { formatIdentity, vendorOf, type Identity } from '../../shared/execution.ts';
import { readExecutionFacts, type ExecutionFacts } from './execution-facts.ts';
import { FAILED_READ, findJobs, type ExecutionJobs } from './execution-jobs.ts';
import type { Logger } from '../../shared/process/logger.ts';
import type { RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { visitorOf } from '../auth.ts';
import { stateOf } from './execution-state.ts';
import { executionBody } from './execution-view.ts';
import { executionList } from '../executions/list-page.ts';
import { refreshNow } from './refresh-now.ts';
import { inTime, sendPage } from '../page.ts';
import { badId, readId, refuse, wantsJson } from './execution-answers.ts';
import { siteOf } from '../site.ts';

const LIVE_SECONDS = 5;

interface Stores {
  readonly database: Database;
  readonly redis: Redis;
  readonly queue: RefreshQueue;
  readonly log: Logger;
}

/**
 * Routes below `/executions`: list them, find one, show it, refresh it. Each answers with a page, or
 * with JSON if the client prefers it.
 */
export function createExecutionPages(stores: Stores): Router {
  const router = Router();
  router.get('/executions', findExecution, executionList(stores));
  router.get('/executions/:id', async (request, response) => {
    const executionId = readId(request.params.id);
    if (executionId === undefined) return badId(response);
    const found = await ask(stores, executionId, response);
    if (found === undefined) return;
    const { facts, jobs } = found;
    const state = stateOf(facts, jobs);
    // Without Redis, half of the answer is missing: 503, but what is known is shown.
    const status = jobs === null ? 503 : 200;
    if (wantsJson(response)) {
      response.status(status).json({ ...facts, state, queue: jobs });
      return;
    }
    sendPage(response, status, {
      title: `Execution ${formatIdentity(identityOf(facts))}`,
      here: 'executions',
      search: String(executionId),
      liveSeconds: LIVE_SECONDS,
      body: executionBody({
        facts,
        jobs,
        state,
        mayRefresh: visitorOf(response).role === 'operator',
        justAsked: request.query['asked'] !== undefined,
        nowMs: Date.now(),
        links: siteOf(response).links,
      }),
    });
  });
  router.post('/executions/:id/refresh', async (request, response) => {
    const executionId = readId(request.params.id);
    if (executionId === undefined) return badId(response);
    const found = await ask(stores, executionId, response);
    if (found === undefined) return;
    await refresh(stores, identityOf(found.facts), response);
  });
  return router;
}

async function refresh(stores: Stores, identity: Identity, response: Response): Promise<void> {
  const problem = await refreshNow(stores, [identity]);
  if (problem !== undefined) refuse(response, { status: 503, ...problem });
  else if (wantsJson(response)) response.status(202).json({ enqueued: formatIdentity(identity) });
  else response.redirect(303, `${siteOf(response).links.execution(identity.executionId)}?asked`);
}

/**
 * What both stores know about an execution. Undefined if that can't be told or it doesn't exist;
 * the response has been sent then.
 */
async function ask(
  stores: Stores,
  executionId: number,
  response: Response,
): Promise<{ facts: ExecutionFacts; jobs: ExecutionJobs | null } | undefined> {
  const { database, log } = stores;
  const read = await inTime(
    Promise.all([
      readExecutionFacts(database, executionId),
      failedJobsOf(database, executionId, FAILED_READ),
    ]),
  );
  if ('problem' in read) {
    log.warn(`execution ${executionId} was not read: ${describeError(read.problem)}`);
    const text = 'Postgres does not answer, so nothing is known of this execution now; try again.';
    refuse(response, { status: 503, code: 'DATABASE_AWAY', text });
    return undefined;
  }
  const [facts, failed] = read.value;
  if (facts === undefined) {
    const text = `There is no execution ${executionId}.`;
    refuse(response, { status: 404, code: 'NO_SUCH_EXECUTION', text });
    return undefined;
  }
  const jobs = await inTime(findJobs(stores, identityOf(facts), failed));
  return { facts, jobs: 'value' in jobs ? jobs.value : null };
}

function identityOf({ executionId, vendor }: ExecutionFacts): Identity {
  return { executionId, vendor: vendorOf(vendor) };
}

// Without something to find, the list follows.
const findExecution: RequestHandler = (request, response, next) => {
  const { id } = request.query;
  const asked = typeof id === 'string' ? id.trim() : '';
  if (asked === '') {
    next();
    return;
  }
  // The number alone identifies an execution; the vendor after the colon is for people.
  const executionId = readId(asked.split(':', 1)[0] ?? '');
  if (executionId === undefined) badId(response, asked);
  else response.redirect(303, siteOf(response).links.execution(executionId));
};
