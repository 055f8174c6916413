import { Router, type Response } from 'express';
import type { Logger } from '../../shared/process/logger.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { recordDisagreements } from '../../shared/postgres/disagreements.ts';
import { countFailures } from '../../shared/postgres/failures.ts';
import { retryInBulk } from '../../shared/failures/bulk-retry.ts';
import type { Failure } from '../../shared/queue/failure-causes.ts';
import {
  newestStandingFailures,
  type FailureStores,
} from '../../shared/failures/standing-failures.ts';
import { causeOf } from '../../shared/queue/fold-error.ts';
import { describeError } from '../../shared/errors.ts';
import { nameSubject } from '../audit.ts';
import { visitorOf } from '../auth.ts';
import type { DisagreementCounter } from '../overview/disagreement-count.ts';
import { FAILURES_READ } from '../overview/overview.ts';
import { inTime, sendPage, sendProblem } from '../page.ts';
import { siteOf } from '../site.ts';
import { causeId } from './cause-id.ts';
import { causeBody, stuckBody } from './repair-view.ts';
import { subjectOf, type Repairs, type RepairWork } from './repairs.ts';

// Executions per statement, which must end within the dashboard's own time limit.
const PAGE = 500;
const LIVE_SECONDS = 5;

interface Parts extends FailureStores {
  readonly disagreements: DisagreementCounter;
  readonly repairs: Repairs;
  readonly log: Logger;
}

/**
 * Routes that repair many executions at once: all that failed for one cause, and all that are stuck.
 * A page says what will happen and has the button; the button begins it and leads back to the page,
 * which shows how far it is.
 */
export function createRepairPages(parts: Parts): Router {
  const { repairs, disagreements } = parts;
  const router = Router();
  router.get('/failures/:id', async (request, response) => {
    const { id } = request.params;
    const found = await findCause(parts, id, response);
    if (found === undefined) return;
    const { cause, failures, more } = found;
    const repair = repairs.newest?.cause === cause ? repairs.newest : undefined;
    sendPage(response, 200, {
      title: 'Failures of one cause',
      here: 'overview',
      liveSeconds: LIVE_SECONDS,
      body: causeBody({
        id,
        cause,
        failures,
        more,
        repair,
        other: otherThan(repair, repairs),
        mayRepair: visitorOf(response).role === 'operator',
        links: siteOf(response).links,
        nowMs: Date.now(),
      }),
    });
  });
  router.post('/failures/:id/retry', async (request, response) => {
    const { id } = request.params;
    const found = await findCause(parts, id, response);
    if (found === undefined) return;
    begin(parts, response, {
      cause: found.cause,
      page: siteOf(response).links.failures(id),
      work: retryOf(parts, found.cause),
    });
  });
  router.get('/stuck', (_request, response) => {
    const repair = repairs.newest?.cause === null ? repairs.newest : undefined;
    sendPage(response, 200, {
      title: 'Stuck executions',
      here: 'overview',
      liveSeconds: LIVE_SECONDS,
      body: stuckBody({
        count: disagreements.read(),
        repair,
        other: otherThan(repair, repairs),
        mayRepair: visitorOf(response).role === 'operator',
        links: siteOf(response).links,
        nowMs: Date.now(),
      }),
    });
  });
  router.post('/stuck/refresh', (_request, response) => {
    begin(parts, response, {
      cause: null,
      page: siteOf(response).links.stuck,
      work: refreshOfStuck(parts.database),
    });
  });
  return router;
}

function otherThan(repair: Repairs['newest'], { newest }: Repairs): Repairs['newest'] {
  return newest !== repair && newest?.endedMs === undefined ? newest : undefined;
}

function begin(
  { repairs }: Parts,
  response: Response,
  { cause, page, work }: { cause: string | null; page: string; work: RepairWork },
): void {
  nameSubject(response, subjectOf(cause));
  if (repairs.begin(cause, visitorOf(response).user, work)) {
    response.redirect(303, page);
    return;
  }
  const running = subjectOf(repairs.newest?.cause ?? null);
  const text = `This dashboard is still at work on ${running}. Try again when that has ended.`;
  sendProblem(response, { status: 409, title: 'Not now', text });
}

/** The same as `tally retry`, for one cause. */
function retryOf(stores: FailureStores, cause: string): RepairWork {
  return async (report, signal) => {
    const total = (await countFailures(stores.database)) + (await stores.queue.getFailedCount());
    await retryInBulk(
      stores,
      { cause },
      { signal, onPage: ({ retried, seen }) => report({ done: retried, seen, total }) },
    );
  };
}

/** The same as `tally reconcile`. */
function refreshOfStuck(database: Database): RepairWork {
  return async (report, signal) => {
    const [table] = await database.query<{ estimate: number }>(
      `SELECT greatest(reltuples, 0)::bigint AS estimate FROM pg_class WHERE oid = to_regclass('execution')`,
    );
    let [done, seen] = [0, 0];
    for (let after: number | undefined = 0; after !== undefined && !signal.aborted;) {
      const page: Awaited<ReturnType<typeof recordDisagreements>> = await recordDisagreements(
        database,
        after,
        PAGE,
      );
      done += page.disagreements.length;
      seen += PAGE;
      report({ done, seen, total: table?.estimate ?? 0 });
      after = page.last;
    }
  };
}

interface Found {
  readonly cause: string;
  /** Newest first. */
  readonly failures: readonly Failure[];
  /** There are older failures, which weren't read. */
  readonly more: boolean;
}

/**
 * The cause with this id and its failures among the newest. Undefined if it can't be told or there
 * is none; the response has been sent then.
 */
async function findCause(parts: Parts, id: string, response: Response): Promise<Found | undefined> {
  const read = await inTime(newestStandingFailures(parts, FAILURES_READ));
  if ('problem' in read) {
    parts.log.warn(`the failures were not read: ${describeError(read.problem)}`);
    const text = 'Postgres or Redis does not answer, so the failures are not known now; try again.';
    sendProblem(response, { status: 503, title: 'Not now', text });
    return undefined;
  }
  const { recorded, unrecorded } = read.value;
  const failures = [...recorded, ...unrecorded]
    .filter((failure) => causeId(causeOf(failure)) === id)
    .toSorted((a, b) => b.failedAtMs - a.failedAtMs);
  const [first] = failures;
  // While and after it is retried, its page stays, although nothing may be left.
  const cause = first === undefined ? retriedCause(parts.repairs, id) : causeOf(first);
  if (cause === undefined) {
    const text = `None of the newest ${FAILURES_READ.toLocaleString('en')} failures has this cause, or has it any more.`;
    sendProblem(response, { status: 404, title: 'Nothing failed for this cause', text });
    return undefined;
  }
  const more = recorded.length === FAILURES_READ || unrecorded.length === FAILURES_READ;
  return { cause, failures, more };
}

function retriedCause({ newest }: Repairs, id: string): string | undefined {
  const cause = newest?.cause ?? undefined;
  return cause !== undefined && causeId(cause) === id ? cause : undefined;
}
