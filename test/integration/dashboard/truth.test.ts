import { expect, it } from 'vitest';
import { countDisagreements } from '../../../shared/postgres/disagreements.ts';
import { recordFailure } from '../../../shared/postgres/failures.ts';
import { FINE } from '../../../shared/queue/activity.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { createExecutions } from '../../support/executions.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const stores = await createStores();
const { database, redis, config } = stores;
const { url } = await serveDashboard(stores);

async function pageOf(path: string): Promise<string> {
  return (await fetch(`${url}${path}`, { headers: { accept: 'text/html' } })).text();
}

it('the rate beside a chart is that of the last ten seconds, not of the last minute', async () => {
  const [seconds] = await redis.time();
  const now = Math.floor(Number(seconds) / FINE.seconds);
  for (let bucket = now - 7; bucket <= now + 1; bucket++) {
    const key = `${config.QUEUE_PREFIX}:refresh-activity:${bucket}`;
    await redis.hset(key, 'refreshed', bucket % 2 === 0 ? 70 : 90);
  }
  const text = (await pageOf('/')).replaceAll(/\s+/g, ' ');
  // The average of the minute is 8/s.
  expect(text).toMatch(/Express lane <span class="value" data-owned>[79]\/s</);
  expect(text).toContain('last 10 s');
});

it('an execution that is right again shows no failure beside it that would need a person', async () => {
  const [id = 0] = await createExecutions(database, 1);
  const failure = { error: 'it failed once', sqlState: undefined, attempts: 1, attemptMs: 0 };
  await recordFailure(database, {
    ...failure,
    executionId: id,
    vendor: 'REPLICATION',
    jobId: `${id}:REPLICATION:x`,
  });
  expect(await pageOf(`/executions/${id}`)).toContain('Failed for good');
  // The host stores what the tasks say, for example with a loop of its own.
  await database.query(
    `UPDATE execution e SET status = r.status, end_time = r.end_time
       FROM tally.rollup(ARRAY[$1::bigint]) r WHERE e.id = r.execution_id`,
    [id],
  );
  const text = await pageOf(`/executions/${id}`);
  expect(text).toContain('What is stored is what its tasks say.');
  expect(text).not.toContain('Failed for good');
  expect(text).toMatch(/<details>\s*<summary>The execution is right again[^]*it failed once/);
});

const disagree = (page: string): string | undefined =>
  /<dt>Disagree<\/dt>\s*<dd>(?:<a[^>]*>)?([^<\s]+)/.exec(page)?.[1];

it('a tile counts the executions that are stuck behind their tasks now, and says when it counted', async () => {
  // A dashboard of its own: another one has counted already.
  const own = await serveDashboard(stores);
  const expected = await countDisagreements(database, 'stuck');
  const [id = 0] = await createExecutions(database, 3);
  const page = async (): Promise<string> => (await fetch(own.url)).text();
  const text = await until('a count', async () => {
    const shown = await page();
    return disagree(shown) === '…' ? undefined : shown;
  });
  expect(disagree(text)).toBe(String(expected + 3));
  expect(text).toMatch(/counted \d+ ms ago|counted \d\.\d s ago/);
  // Looking again doesn't count again at once.
  await database.query('SELECT tally.refresh_executions(ARRAY[$1::bigint])', [id]);
  expect(disagree(await page())).toBe(String(expected + 3));
  expect(own.lines.filter(({ level }) => Number(level) >= 40)).toEqual([]);
});
