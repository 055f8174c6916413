import { expect, it } from 'vitest';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { createExecution, refreshOf } from '../../support/executions.ts';
import { createStores } from '../../support/stores.ts';

// With capture, which records what the host stores by hand.
const stores = await createStores({ capture: true });
const { database } = stores;
const { url } = await serveDashboard(stores);

async function ask<Answer>(path: string): Promise<Answer> {
  const response = await fetch(`${url}${path}`, { headers: { accept: 'application/json' } });
  return (await response.json()) as Answer;
}

/** An execution with these tasks, of which the host then stores a final status. No refresh is on its way. */
async function storedByHand(
  tasks: readonly string[],
  stored: string,
  endTime = 'now()',
): Promise<number> {
  const id = await createExecution(database, tasks);
  await database.query(`UPDATE execution SET status = $2, end_time = ${endTime} WHERE id = $1`, [
    id,
    stored,
  ]);
  await database.query('DELETE FROM tally.outbox');
  return id;
}

const TASKS_END = `'2026-01-02 03:04:05'`;

it.each([
  ['contradicts its tasks', 'set by hand', true, () => storedByHand(['Success'], 'Error')],
  [
    'is final while a task runs',
    'set by hand',
    true,
    () => storedByHand(['Success', 'Running'], 'Stopped'),
  ],
  ['has no known task', 'set by hand', true, () => storedByHand(['Weird'], 'Success')],
  [
    'is as its tasks say',
    'up to date',
    false,
    () => storedByHand(['Success'], 'Success', TASKS_END),
  ],
  [
    'gets a refresh again',
    'on its way',
    true,
    async () => {
      const id = await storedByHand(['Success'], 'Error');
      await recordRefreshes(database, [refreshOf(id)], 'api');
      return id;
    },
  ],
  [
    'was refreshed since',
    'up to date',
    false,
    async () => {
      const id = await storedByHand(['Success'], 'Error');
      await database.query(
        `UPDATE execution SET status = 'Success', end_time = ${TASKS_END}, revision = revision + 1 WHERE id = $1`,
        [id],
      );
      return id;
    },
  ],
  [
    'is final, and nothing records who stored it',
    'left as it is',
    false,
    async () => {
      const id = await storedByHand(['Success'], 'Error');
      await database.query('DELETE FROM tally.host_word WHERE execution_id = $1', [id]);
      return id;
    },
  ],
] as const)(
  'an execution that %s: its page and the list agree on whether it is set by hand',
  async (_what, state, setByHand, make) => {
    const id = await make();
    expect(await ask(`/executions/${id}`)).toMatchObject({ state, setByHand });
    const { executions } = await ask<{ executions: { executionId: number }[] }>(
      '/executions?state=by-hand',
    );
    expect(executions.some(({ executionId }) => executionId === id)).toBe(setByHand);
    const page = await fetch(`${url}/executions/${id}`, { headers: { accept: 'text/html' } });
    expect(/set by hand/i.test(await page.text())).toBe(setByHand);
  },
);

it('the list says what the tasks of each say', async () => {
  const id = await storedByHand(['Success', 'Error'], 'Stopped');
  const { executions } = await ask<{ executions: readonly unknown[] }>('/executions?state=by-hand');
  expect(executions[0]).toMatchObject({ executionId: id, status: 'Stopped', computed: 'Error' });
});
