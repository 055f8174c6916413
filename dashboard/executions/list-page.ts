import type { RequestHandler } from 'express';
import { describeError } from '../../shared/errors.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { countFailures } from '../../shared/postgres/failures.ts';
import type { Logger } from '../../shared/process/logger.ts';
import { visitorOf } from '../auth.ts';
import { refuse, wantsJson } from '../execution/execution-answers.ts';
import { inTime, sendPage } from '../page.ts';
import { siteOf } from '../site.ts';
import { estimateExecutions, readExecutionPage } from './execution-list.ts';
import { readFilter } from './list-filter.ts';
import { listBody } from './list-view.ts';

const LIVE_SECONDS = 10;

/** Handler of `GET /executions`: a page of the list, as HTML or, if the client prefers it, JSON. */
export function executionList(stores: {
  readonly database: Database;
  readonly log: Logger;
}): RequestHandler {
  return async (request, response) => {
    const filter = readFilter(request.query);
    if ('problem' in filter) {
      const text = `The list can't be limited like this: ${filter.problem}.`;
      refuse(response, { status: 400, code: 'BAD_FILTER', text });
      return;
    }
    const [page, total, failed] = await Promise.all([
      inTime(readExecutionPage(stores.database, filter)),
      inTime(estimateExecutions(stores.database)),
      inTime(countFailures(stores.database)),
    ]);
    if ('problem' in page) {
      stores.log.warn(`the executions were not listed: ${describeError(page.problem)}`);
      const text = 'Postgres did not answer in time, so nothing can be listed now; try again.';
      refuse(response, { status: 503, code: 'DATABASE_AWAY', text });
      return;
    }
    if (wantsJson(response)) {
      const { rows, examined, next = null } = page.value;
      response.json({ executions: rows, examined, next });
      return;
    }
    const asked = Number(request.query['asked']);
    sendPage(response, 200, {
      title: 'Executions',
      here: 'executions',
      liveSeconds: LIVE_SECONDS,
      body: listBody({
        filter,
        page: page.value,
        total: 'value' in total ? total.value : null,
        failed: 'value' in failed ? failed.value : null,
        mayRefresh: visitorOf(response).role === 'operator',
        asked: Number.isSafeInteger(asked) && asked > 0 ? asked : 0,
        nowMs: Date.now(),
        links: siteOf(response).links,
      }),
    });
  };
}
