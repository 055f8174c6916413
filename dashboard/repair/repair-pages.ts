import { Router, type Response } from 'express';
import type { Logger } from '../../shared/process/logger.ts';
import { countFailures } from '../../shared/postgres/failures.ts';
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
import { refreshOfStuck, retryOf } from './repair-work.ts';
import { allFailuresBody, causeBody, stuckBody, type RepairView } from './repair-view.ts';
import { nameOf, whyNotNow, type RepairSubject, type Repairs, type RepairWork } from './repairs.ts';

const LIVE_SECONDS = 5;

interface Parts extends FailureStores {
  readonly disagreements: DisagreementCounter;
  readonly repairs: Repairs;
  readonly log: Logger;
}

/**
 * Routes that repair many executions at once: all that failed, those that failed for one cause, and
 * all that are stuck.
 * A page says what will happen and has the button; the button begins it and leads back to the page,
 * which shows how far it is.
 */
export function createRepairPages(parts: Parts): Router {
  const { repairs, disagreements } = parts;
  const router = Router();
  router.get('/failures', async (_request, response) => {
    const count = await inTime(countFailures(parts.database));
    sendPage(response, 'value' in count ? 200 : 503, {
      title: 'All failures',
      here: 'overview',
      liveSeconds: LIVE_SECONDS,
      body: allFailuresBody({
        count: 'value' in count ? count.value : null,
        ...viewOf(repairs, 'failures', response),
      }),
    });
  });
  router.post('/failures/retry', (_request, response) => {
    begin(parts, response, {
      subject: 'failures',
      page: siteOf(response).links.allFailures,
      work: retryOf(parts),
    });
  });
  router.get('/failures/:id', async (request, response) => {
    const { id } = request.params;
    const found = await findCause(parts, id, response);
    if (found === undefined) return;
    const { cause, failures, more } = found;
    sendPage(response, 200, {
      title: 'Failures of one cause',
      here: 'overview',
      liveSeconds: LIVE_SECONDS,
      body: causeBody({
        id,
        cause,
        failures,
        more,
        ...viewOf(repairs, { cause }, response),
      }),
    });
  });
  router.post('/failures/:id/retry', async (request, response) => {
    const { id } = request.params;
    const found = await findCause(parts, id, response);
    if (found === undefined) return;
    begin(parts, response, {
      subject: { cause: found.cause },
      page: siteOf(response).links.failures(id),
      work: retryOf(parts, found.cause),
    });
  });
  router.get('/stuck', (_request, response) => {
    sendPage(response, 200, {
      title: 'Stuck executions',
      here: 'overview',
      liveSeconds: LIVE_SECONDS,
      body: stuckBody({
        count: disagreements.read(),
        ...viewOf(repairs, 'stuck', response),
      }),
    });
  });
  router.post('/stuck/refresh', (_request, response) => {
    begin(parts, response, {
      subject: 'stuck',
      page: siteOf(response).links.stuck,
      work: refreshOfStuck(parts.database),
    });
  });
  return router;
}

/** What the page about a subject shows of repairs. */
function viewOf(repairs: Repairs, subject: RepairSubject, response: Response): RepairView {
  const { newest } = repairs;
  const repair = repairs.about(subject);
  return {
    repair,
    other: newest !== repair && newest?.endedMs === undefined ? newest : undefined,
    mayRepair: visitorOf(response).role === 'operator',
    links: siteOf(response).links,
    nowMs: Date.now(),
  };
}

function begin(
  { repairs }: Parts,
  response: Response,
  { subject, page, work }: { subject: RepairSubject; page: string; work: RepairWork },
): void {
  nameSubject(response, nameOf(subject));
  if (repairs.begin(subject, visitorOf(response).user, work) !== undefined) {
    response.redirect(303, page);
    return;
  }
  sendProblem(response, { status: 409, title: 'Not now', text: whyNotNow(repairs) });
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
  if (typeof newest?.subject !== 'object') return undefined;
  const { cause } = newest.subject;
  return causeId(cause) === id ? cause : undefined;
}
