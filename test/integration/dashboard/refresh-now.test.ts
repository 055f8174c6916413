import { describe, expect, it } from 'vitest';
import {
  login,
  OPERATOR,
  serveDashboard,
  VIEWER,
  WITH_PASSWORDS,
} from '../../support/dashboard.ts';
import { createExecution, readExecution } from '../../support/executions.ts';
import { openWorker } from '../../support/in-process.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const stores = await createStores();
const { database, queue, environment } = stores;
const { url, lines } = await serveDashboard(stores, WITH_PASSWORDS);

async function newExecution(): Promise<number> {
  const id = await createExecution(database);
  return id;
}

describe('"Refresh now"', () => {
  async function press(id: number, headers: Record<string, string>): Promise<Response> {
    return fetch(`${url}/executions/${id}/refresh`, {
      method: 'POST',
      redirect: 'manual',
      headers: { accept: 'text/html', ...headers },
    });
  }

  it('enqueues the execution, leads back to its page, and is in the audit log', async () => {
    const id = await newExecution();
    const response = await press(id, login(OPERATOR));
    expect(response.status).toBe(303);
    expect(response.headers.get('location')).toBe(`/executions/${id}?asked`);
    expect((await queue.getWaiting()).map(({ data }) => data.executionId)).toEqual([id]);
    await until('the audit line', () =>
      lines.some(({ user, action, job, result }) => {
        return (
          `${String(user)} ${String(action)} ${String(job)} ${String(result)}` ===
          `admin refresh execution ${id} done`
        );
      }),
    );
    await openWorker(environment);
    await until(
      'it to be refreshed',
      async () => (await readExecution(database, id)).revision === 1,
    );
  });

  it('overrules a status that the host stored by hand', async () => {
    const id = await newExecution();
    await database.query(
      `INSERT INTO tally.host_word VALUES ($1, 0, 1, pg_current_xact_id(), pg_current_snapshot())`,
      [id],
    );
    await press(id, login(OPERATOR));
    expect(await database.query('SELECT FROM tally.host_word')).toEqual([]);
    await queue.drain();
  });

  it.each([
    ['the viewer', login(VIEWER)],
    ['a page of another site', { ...login(OPERATOR), 'sec-fetch-site': 'cross-site' }],
    ['a form of another site', { ...login(OPERATOR), 'content-type': 'text/plain' }],
  ])('is refused to %s, and no job is made', async (_who, headers) => {
    const id = await newExecution();
    expect((await press(id, headers)).status).toBe(403);
    expect(await queue.getWaitingCount()).toBe(0);
  });

  it("isn't offered to the viewer", async () => {
    const id = await newExecution();
    const seen = async (who: typeof VIEWER): Promise<string> =>
      (await fetch(`${url}/executions/${id}`, { headers: login(who) })).text();
    expect(await seen(OPERATOR)).toContain('Refresh now');
    expect(await seen(VIEWER)).not.toContain('Refresh now');
  });

  it('answers a script with JSON', async () => {
    const id = await newExecution();
    const response = await press(id, { ...login(OPERATOR), accept: 'application/json' });
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({ enqueued: `${id}:REPLICATION` });
  });
});
