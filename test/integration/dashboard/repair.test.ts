import { describe, expect, it } from 'vitest';
import { causeId } from '../../../dashboard/repair/cause-id.ts';
import { Repairs } from '../../../dashboard/repair/repairs.ts';
import { recordFailure } from '../../../shared/postgres/failures.ts';
import {
  login,
  OPERATOR,
  serveDashboard,
  VIEWER,
  WITH_PASSWORDS,
} from '../../support/dashboard.ts';
import { createExecution, createExecutions, refreshOf } from '../../support/executions.ts';
import { createFailedJobs } from '../../support/failed-jobs.ts';
import { createStores, openClient, silent } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const stores = await createStores();
const { database, queue, environment } = stores;
const { url, lines } = await serveDashboard(stores, WITH_PASSWORDS);

const QUOTA = 'the quota of project <n> is used up';
const CHECK = 'violates check constraint "check_12" (SQLSTATE 23514)';

/** Executions that failed for good, as a worker leaves them in both stores. */
async function failFor(
  error: (id: number) => string,
  count: number,
  sqlState?: string,
): Promise<number[]> {
  const ids = await createExecutions(database, count);
  for (const id of ids) {
    const failure = { jobId: `${id}:REPLICATION:test`, error: error(id) };
    await recordFailure(database, {
      ...refreshOf(id),
      ...failure,
      sqlState,
      attempts: 5,
      attemptMs: 0,
    });
    await createFailedJobs(stores, [{ ...failure, data: refreshOf(id) }]);
  }
  return ids;
}

function press(path: string, headers: Record<string, string>): Promise<Response> {
  return fetch(`${url}${path}`, { method: 'POST', redirect: 'manual', headers });
}

async function page(path: string, who = OPERATOR): Promise<{ status: number; text: string }> {
  const response = await fetch(`${url}${path}`, { headers: login(who) });
  return { status: response.status, text: (await response.text()).replaceAll(/\s+/g, ' ') };
}

const ended = (path: string): Promise<string> =>
  until('the repair to end', async () => {
    const { text } = await page(path);
    return text.includes('<strong>Done.</strong>') ? text : undefined;
  });

const audited = (part: string): Promise<Record<string, unknown>> =>
  until(`an audit line with ${part}`, () =>
    lines.find(({ audit, msg }) => audit === true && String(msg).includes(part)),
  );

describe('the failures of one cause', () => {
  const path = `/failures/${causeId(QUOTA)}`;

  it('are retried together, and those of another cause stay', async () => {
    const quota = await failFor((id) => `the quota of project ${id} is used up`, 3);
    const check = await failFor(
      () => 'new row for relation "execution" violates check constraint "check_12"',
      2,
      '23514',
    );
    const overview = await page('/');
    expect(overview.text).toContain(`<a href="${path}">Show and retry these 3</a>`);
    expect(overview.text).toContain(
      `<a href="/failures/${causeId(CHECK)}">Show and retry these 2</a>`,
    );
    const before = await page(path);
    for (const id of quota) expect(before.text).toContain(`href="/executions/${id}"`);
    for (const id of check) expect(before.text).not.toContain(`href="/executions/${id}"`);
    expect(before.text).toContain('Retry these 3');

    const response = await press(`${path}/retry`, login(OPERATOR));
    expect(response.status).toBe(303);
    expect(response.headers.get('location')).toBe(path);
    expect(await ended(path)).toContain('Asked for 3 refreshes');
    const waiting = (await queue.getWaiting()).map(({ data }) => data.executionId);
    expect(waiting.toSorted((a, b) => a - b)).toEqual(quota);
    expect(
      (await queue.getFailed()).map(({ data }) => data.executionId).toSorted((a, b) => a - b),
    ).toEqual(check);
    expect(
      await audited(`asked for 3 refreshes of all failures with the cause “${QUOTA}”`),
    ).toMatchObject({
      user: 'admin',
      done: 3,
      problem: null,
    });
    expect(await audited(`retry all failures with the cause “${QUOTA}”: done`)).toMatchObject({
      user: 'admin',
      action: 'retry',
      status: 303,
    });
    await queue.drain();
  });

  it('that nothing failed for are not found', async () => {
    expect((await page('/failures/0123456789abcdef')).status).toBe(404);
    expect((await press('/failures/0123456789abcdef/retry', login(OPERATOR))).status).toBe(404);
  });
});

describe('all failures', () => {
  const retryOnBoard = (): Promise<Response> =>
    fetch(`${url}/board/api/queues/refresh/retry/failed`, {
      method: 'PUT',
      headers: login(OPERATOR),
    });

  it('are retried together, whatever they failed for', async () => {
    await failFor((id) => `the quota of project ${id} is used up`, 2);
    await failFor((id) => `project ${id} is locked`, 2);
    const standing = (await queue.getFailed()).map(({ data }) => data.executionId);
    for (const path of ['/', '/executions?state=failed']) {
      expect((await page(path)).text, path).toMatch(/href="\/failures"\s*>Retry all failures…<\//);
    }
    expect((await page('/failures')).text).toMatch(/\d+ executions<\/a> failed for good/);
    const response = await press('/failures/retry', login(OPERATOR));
    expect(response.status).toBe(303);
    expect(response.headers.get('location')).toBe('/failures');
    expect(await ended('/failures')).toMatch(/Asked for \d+ refreshes/);
    const waiting = (await queue.getWaiting()).map(({ data }) => data.executionId);
    expect(waiting).toEqual(expect.arrayContaining(standing));
    expect(await queue.getFailedCount()).toBe(0);
    expect(await audited('retry all failures: done')).toMatchObject({ user: 'admin', status: 303 });
    expect(await audited('refreshes of all failures')).toMatchObject({ problem: null });
    await queue.drain();
  });

  it('are retried by the board in the background, which says how far it is and refuses a second', async () => {
    await database.query('TRUNCATE tally.failure');
    const ids = await failFor((id) => `project ${id} is locked`, 3);
    const gate = await openClient(environment.DATABASE_URL);
    await gate.query('BEGIN; LOCK TABLE tally.failure');
    const begun = await retryOnBoard();
    expect(begun.status).toBe(202);
    expect(await begun.json()).toEqual({ retried: 0, skipped: 0 });
    const second = await retryOnBoard();
    expect(second.status).toBe(409);
    expect(await second.json()).toMatchObject({
      message: expect.stringContaining('still at work on all failures'),
    });
    expect((await press('/failures/retry', login(OPERATOR))).status).toBe(409);
    await gate.query('COMMIT');
    expect(await ended('/failures')).toContain('Asked for 3 refreshes');
    const waiting = (await queue.getWaiting()).map(({ data }) => data.executionId);
    expect(waiting.toSorted((a, b) => a - b)).toEqual(ids);
    expect(await audited('retry failed all failures: done')).toMatchObject({ status: 202 });
    await queue.drain();
  });

  it('are retried by the board within its answer if they are few', async () => {
    await failFor((id) => `project ${id} is locked`, 1);
    // A machine that is busy for 400 ms makes it 202.
    const { status } = await until('a quick answer', async () => {
      const response = await retryOnBoard();
      return response.status === 200 ? response : undefined;
    });
    expect(status).toBe(200);
    expect(await queue.getFailedCount()).toBe(0);
    await queue.drain();
  });
});

describe('what is stuck', () => {
  it('gets a refresh recorded, all of it, while another repair has to wait', async () => {
    const stuck = await createExecution(database, ['Success', 'Success']);
    await failFor((id) => `the quota of project ${id} is used up`, 1);
    await database.query('DELETE FROM tally.outbox');
    const gate = await openClient(environment.DATABASE_URL);
    await gate.query('BEGIN; LOCK TABLE tally.reconciler');
    const response = await press('/stuck/refresh', login(OPERATOR));
    expect(response.status).toBe(303);
    expect(response.headers.get('location')).toBe('/stuck');
    expect((await page('/stuck')).text).toContain('At work');
    const other = await press(`/failures/${causeId(QUOTA)}/retry`, login(OPERATOR));
    expect(other.status).toBe(409);
    expect(await other.text()).toContain('still at work on all stuck executions');
    expect((await page(`/failures/${causeId(QUOTA)}`)).text).toContain(
      'at work on all stuck executions',
    );
    await gate.query('COMMIT');
    await ended('/stuck');
    const recorded = await database.query<{ id: number }>(
      'SELECT execution_id AS id FROM tally.outbox',
    );
    expect(recorded).toContainEqual({ id: stuck });
    expect(await audited('refreshes of all stuck executions')).toMatchObject({ problem: null });
  });
});

describe('a repair', () => {
  const changes = ['/failures/retry', `/failures/${causeId(QUOTA)}/retry`, '/stuck/refresh'];

  it.each(changes)('by POST %s is refused to a viewer, another site and nobody', async (path) => {
    const before = await queue.getJobCounts();
    expect((await press(path, login(VIEWER))).status).toBe(403);
    const elsewhere = { ...login(OPERATOR), 'sec-fetch-site': 'cross-site' };
    expect((await press(path, elsewhere)).status).toBe(403);
    const form = { ...login(OPERATOR), 'content-type': 'application/x-www-form-urlencoded' };
    expect((await press(path, form)).status).toBe(403);
    expect((await press(path, {})).status).toBe(401);
    expect(await queue.getJobCounts()).toEqual(before);
  });

  it.each(['/failures', `/failures/${causeId(QUOTA)}`, '/stuck'])(
    "isn't offered to the viewer on %s",
    async (path) => {
      expect((await page(path)).text).toContain('<form method="post"');
      expect((await page(path, VIEWER)).text).not.toContain('<form method="post"');
    },
  );

  it('stops with the dashboard after the page in hand, and says so', async () => {
    const repairs = new Repairs(silent);
    const begun = repairs.begin('stuck', 'admin', async (report, signal) => {
      report({ done: 7, left: 0, seen: 500, total: 1_000 });
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
    });
    expect(begun).toBeDefined();
    expect(repairs.begin('failures', 'admin', async () => undefined)).toBeUndefined();
    await repairs.close();
    expect(repairs.newest).toMatchObject({
      subject: 'stuck',
      progress: { done: 7 },
      problem: 'the dashboard was stopped',
    });
    expect(await begun).toBe(repairs.newest);
    expect(repairs.begin('stuck', 'admin', async () => undefined)).toBeUndefined();
  });
});
