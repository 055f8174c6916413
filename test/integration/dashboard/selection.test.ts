import { afterEach, describe, expect, it } from 'vitest';
import {
  login,
  OPERATOR,
  serveDashboard,
  VIEWER,
  WITH_PASSWORDS,
} from '../../support/dashboard.ts';
import { createExecutions } from '../../support/executions.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const stores = await createStores();
const { database, queue } = stores;
const { url, lines } = await serveDashboard(stores, WITH_PASSWORDS);
const path = '/executions/refresh';

afterEach(() => queue.drain());

async function show(address: string, who = OPERATOR): Promise<string> {
  return (await fetch(`${url}${address}`, { headers: login(who) })).text();
}

/** Sends a form as a browser does. */
function press(body: string): Promise<Response> {
  return fetch(`${url}${path}`, {
    method: 'POST',
    redirect: 'manual',
    headers: {
      ...login(OPERATOR),
      accept: 'text/html',
      'content-type': 'application/x-www-form-urlencoded',
      'sec-fetch-site': 'same-origin',
    },
    body,
  });
}

async function waitingIds(): Promise<number[]> {
  return (await queue.getWaiting()).map(({ data }) => data.executionId).toSorted((a, b) => a - b);
}

describe('refreshing a selection of executions', () => {
  it('asks, then puts them on the queue and overrules what the host stored', async () => {
    const ids = await createExecutions(database, 3);
    await database.query(
      `INSERT INTO tally.host_word VALUES ($1, 0, 1, pg_current_xact_id(), pg_current_snapshot())`,
      [ids[0]],
    );
    const chosen = `id=${ids[0]}&id=${ids[1]}`;
    expect(await show(`${path}?${chosen}`)).toContain('Refresh 2 executions?');
    expect(await waitingIds()).toEqual([]);
    const response = await press(chosen);
    expect(response.headers.get('location')).toBe('/executions?asked=2');
    expect(await waitingIds()).toEqual(ids.slice(0, 2));
    expect(await database.query('SELECT FROM tally.host_word')).toEqual([]);
    const subject = `executions ${ids[0]}:REPLICATION, ${ids[1]}:REPLICATION`;
    await until('the audit line', () =>
      lines.some(({ audit, action, job, result }) => {
        return audit === true && action === 'refresh' && job === subject && result === 'done';
      }),
    );
  });

  it('answers a script with JSON', async () => {
    const [id = 0] = await createExecutions(database, 1);
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: {
        ...login(OPERATOR),
        accept: 'application/json',
        'content-type': 'application/json',
      },
      body: JSON.stringify({ id: [id] }),
    });
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({ enqueued: [`${id}:REPLICATION`] });
  });

  it('refuses none, too many, what is no number, and what does not exist', async () => {
    const many = Array.from({ length: 101 }, (_, n) => `id=${n + 1}`).join('&');
    for (const body of ['', many, 'id=1&id=x']) {
      expect((await press(body)).status, body).toBe(400);
    }
    expect((await press('id=999999999')).status).toBe(404);
    expect(await waitingIds()).toEqual([]);
  });

  it("isn't offered to the viewer", async () => {
    const [id = 0] = await createExecutions(database, 1);
    expect(await show('/executions', OPERATOR)).toContain('Refresh selected');
    expect(await show('/executions', VIEWER)).not.toContain('Refresh selected');
    expect(await show(`${path}?id=${id}`, VIEWER)).not.toContain('<form method="post"');
  });
});
