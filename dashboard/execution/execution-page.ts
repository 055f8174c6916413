import { Router, type RequestHandler, type Response } from 'express';
import type { Redis } from 'ioredis';
import type { Database } from '../../shared/postgres/database.ts';
import { describeError } from '../../shared/errors.ts';
import {
  executionIdProblem,
  formatIdentity,
  vendorOf,
  type Identity,
} from '../../shared/execution.ts';
import { readExecutionFacts, type ExecutionFacts } from './execution-facts.ts';
import { findJobs, type ExecutionJobs } from './execution-jobs.ts';
import type { Logger } from '../../shared/process/logger.ts';
import { forgetHostWord } from '../../shared/postgres/outbox.ts';
import { enqueueRefreshes, type RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { visitorOf } from '../auth.ts';
import { stateOf } from './execution-state.ts';
import { executionBody } from './execution-view.ts';
import { html } from '../html.ts';
import { inTime, sendPage, sendProblem } from '../page.ts';
import { siteOf } from '../site.ts';

const LIVE_SECONDS = 5;

interface Stores {
  readonly database: Database;
  readonly redis: Redis;
  readonly queue: RefreshQueue;
  readonly log: Logger;
}

/**
 * Routes below `/executions`: find an execution, show it, refresh it. Each answers with a page, or
 * with JSON if the client prefers it.
 */
export function createExecutionPages(stores: Stores): Router {
  const router = Router();
  router.get('/executions', findExecution);
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

// Puts the refresh straight on the queue: in the outbox it would wait behind a backlog.
async function refresh(stores: Stores, identity: Identity, response: Response): Promise<void> {
  const { executionId, vendor } = identity;
  // A person's request overrides a status that the host stored by hand.
  const overruled = await inTime(forgetHostWord(stores.database, executionId));
  if ('problem' in overruled) {
    const text = 'Postgres does not answer; nothing was asked for, try again.';
    stores.log.warn(
      `${formatIdentity(identity)} was not put on the queue: ${describeError(overruled.problem)}`,
    );
    refuse(response, 503, 'DATABASE_AWAY', text);
    return;
  }
  const added = await inTime(enqueueRefreshes(stores.queue, [{ executionId, vendor }]));
  if ('problem' in added) {
    stores.log.warn(
      `${formatIdentity(identity)} was not put on the queue: ${describeError(added.problem)}`,
    );
    // An error from Redis means that nothing was done. Without an answer, the command may still be
    // carried out later.
    const [code, text] = isAnswer(added.problem)
      ? [
          'REDIS_REFUSED',
          `Redis refused it (${describeError(added.problem)}); nothing was asked for.`,
        ]
      : [
          'REDIS_AWAY',
          'Redis did not answer, so it is not known whether the refresh is on the queue. Asking again is harmless.',
        ];
    refuse(response, 503, code, text);
  } else if (wantsJson(response)) {
    response.status(202).json({ enqueued: formatIdentity(identity) });
  } else {
    response.redirect(303, `${siteOf(response).links.execution(executionId)}?asked`);
  }
}

/** Whether Redis answered with this error, as opposed to not answering. */
function isAnswer(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError';
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
  const facts = await inTime(readExecutionFacts(stores.database, executionId));
  if ('problem' in facts) {
    stores.log.warn(`execution ${executionId} was not read: ${describeError(facts.problem)}`);
    const text = 'Postgres does not answer, so nothing is known of this execution now; try again.';
    refuse(response, 503, 'DATABASE_AWAY', text);
    return undefined;
  }
  if (facts.value === undefined) {
    refuse(response, 404, 'NO_SUCH_EXECUTION', `There is no execution ${executionId}.`);
    return undefined;
  }
  const jobs = await inTime(findJobs(stores.queue, stores.redis, identityOf(facts.value)));
  return { facts: facts.value, jobs: 'value' in jobs ? jobs.value : null };
}

function identityOf({ executionId, vendor }: ExecutionFacts): Identity {
  return { executionId, vendor: vendorOf(vendor) };
}

const findExecution: RequestHandler = (request, response) => {
  const { id } = request.query;
  const asked = typeof id === 'string' ? id.trim() : '';
  if (asked === '') {
    sendPage(response, 200, { title: 'Executions', here: 'executions', body: FIND });
    return;
  }
  // The number alone identifies an execution; the vendor after the colon is for people.
  const executionId = readId(asked.split(':', 1)[0] ?? '');
  if (executionId === undefined) badId(response, asked);
  else response.redirect(303, siteOf(response).links.execution(executionId));
};

const FIND = html`<div class="head"><h1>Find an execution</h1></div>
  <p class="notice">
    Write its number, or its identity such as 42:REPLICATION, into the field above.
  </p>`;

function readId(text: string): number | undefined {
  const id = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return executionIdProblem(id) === undefined ? id : undefined;
}

function badId(response: Response, asked = ''): void {
  const text = 'An execution is found by its number, for example 42, or by 42:REPLICATION.';
  refuse(response, 400, 'BAD_ID', text, asked);
}

function refuse(response: Response, status: number, code: string, text: string, asked = ''): void {
  if (wantsJson(response)) response.status(status).json({ error: { code, message: text } });
  else sendProblem(response, status, titleOf(status), text, asked);
}

function titleOf(status: number): string {
  if (status === 404) return 'Not found';
  return status === 503 ? 'Not now' : 'Not possible';
}

function wantsJson(response: Response): boolean {
  return response.req.accepts(['html', 'json']) === 'json';
}
