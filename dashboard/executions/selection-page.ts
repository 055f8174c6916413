import { json, Router, urlencoded, type Response } from 'express';
import { describeError } from '../../shared/errors.ts';
import { formatIdentity, vendorOf, type Identity } from '../../shared/execution.ts';
import type { Database } from '../../shared/postgres/database.ts';
import { ORDERED_BY_INDEX } from '../../shared/postgres/pinned.ts';
import type { Logger } from '../../shared/process/logger.ts';
import type { RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { visitorOf } from '../auth.ts';
import { nameSubject } from '../audit.ts';
import { readId, refuse, wantsJson } from '../execution/execution-answers.ts';
import { refreshNow } from '../execution/refresh-now.ts';
import { counted } from '../format.ts';
import { html } from '../html.ts';
import { inTime, sendPage } from '../page.ts';
import { siteOf } from '../site.ts';

// Twice what a page of the list has.
const SELECTED_MAX = 100;

interface Stores {
  readonly database: Database;
  readonly queue: RefreshQueue;
  readonly log: Logger;
}

/** Routes that refresh a selection of executions: one that asks, one that does it. */
export function createSelectionPages(stores: Stores): Router {
  const router = Router();
  const path = '/executions/refresh';
  router.get(path, async (request, response) => {
    const selected = await readSelection(stores, request.query['id'], response);
    if (selected === undefined) return;
    const { links } = siteOf(response);
    const what = counted(selected.length, 'execution');
    sendPage(response, 200, {
      title: `Refresh ${what}`,
      here: 'executions',
      body: html`<div class="head"><h1>Refresh ${what}?</h1></div>
        <section class="card">
          <p>
            A refresh of each is put on the queue. It stores what the execution’s tasks say, also
            where a person or the host has set a final status.
          </p>
          <ul class="selected">
            ${selected.map((identity) => html`<li><a class="mono" href="${links.execution(identity.executionId)}">${formatIdentity(identity)}</a></li>`)}
          </ul>
          ${visitorOf(response).role === 'operator' && html`<form method="post" action="${links.refreshSelected}" class="actions">${selected.map(({ executionId }) => html`<input type="hidden" name="id" value="${executionId}" />`)}<button class="main">Refresh ${what}</button> <a href="${links.executions}">Cancel</a></form>`}
        </section>`,
    });
  });
  const body = [urlencoded({ extended: false, limit: '20kb' }), json({ limit: '20kb' })];
  router.post(path, ...body, async (request, response) => {
    const given = request.body as { readonly id?: unknown } | undefined;
    const selected = await readSelection(stores, given?.id, response);
    if (selected === undefined) return;
    nameSubject(response, `executions ${selected.map(formatIdentity).join(', ')}`);
    const problem = await refreshNow(stores, selected);
    if (problem !== undefined) refuse(response, { status: 503, ...problem });
    else if (wantsJson(response))
      response.status(202).json({ enqueued: selected.map(formatIdentity) });
    else response.redirect(303, `${siteOf(response).links.executions}?asked=${selected.length}`);
  });
  return router;
}

/** The selected executions that exist. Undefined if there are none; the answer has been sent then. */
async function readSelection(
  { database, log }: Stores,
  given: unknown,
  response: Response,
): Promise<readonly Identity[] | undefined> {
  const ids = [given].flat().map((id) => readId(String(id)));
  const known = ids.filter((id) => id !== undefined);
  if (known.length === 0 || known.length < ids.length || known.length > SELECTED_MAX) {
    const text = `Select from 1 to ${SELECTED_MAX} executions by their numbers.`;
    refuse(response, { status: 400, code: 'BAD_SELECTION', text });
    return undefined;
  }
  const found = await inTime(
    database.query<{ id: number; vendor: string }>(
      `SELECT id::bigint AS id, vendor_type AS vendor FROM execution
        WHERE id = ANY ($1::bigint[]) ORDER BY id`,
      [known],
      ORDERED_BY_INDEX,
    ),
  );
  if ('problem' in found) {
    log.warn(`a selection of executions was not read: ${describeError(found.problem)}`);
    const text = 'Postgres does not answer; nothing was asked for.';
    refuse(response, { status: 503, code: 'DATABASE_AWAY', text });
    return undefined;
  }
  if (found.value.length === 0) {
    const text = 'None of these executions exists.';
    refuse(response, { status: 404, code: 'NO_SUCH_EXECUTION', text });
    return undefined;
  }
  return found.value.map(({ id, vendor }) => ({ executionId: id, vendor: vendorOf(vendor) }));
}
