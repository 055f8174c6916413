import { afterEach, expect, inject, it } from 'vitest';
import { writeMarkers } from '../../shared/harbor/markers.ts';
import { serveDashboard } from '../support/dashboard.ts';
import { createExecutions, readExecution } from '../support/executions.ts';
import { openProducer, openWorker } from '../support/in-process.ts';
import { runTally } from '../support/processes.ts';
import { askUntilAccepted } from '../support/refresh-api.ts';
import { failRefreshes } from '../support/sabotage.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

// What Harbor's tables and its set accept, though none of Harbor's own vendors looks like it.
const VENDORS = [
  'scan-all',
  'replication',
  'a:b:c',
  ' with spaces ',
  'Überprüfung 検査 😀',
  '*?[x]',
  '~3A%3A',
  'new\nline\u0001',
  '<script>alert(1)</script>',
];

const stores = await createStores({
  settings: { JOB_ATTEMPTS: '1', RECONCILE_INTERVAL_MS: '0' },
  capture: true,
});
const { database, queue, redis, environment } = stores;
const { url } = await serveDashboard(stores);

afterEach(async () => {
  await queue.obliterate({ force: true });
  await database.query('DROP TRIGGER IF EXISTS poison ON execution');
  await database.query('TRUNCATE execution, task, tally.outbox, tally.failure');
});

/** One execution of each vendor, out of date, whose tasks capture has recorded or not. */
async function createOfEach(): Promise<number[]> {
  const ids = await createExecutions(database, VENDORS.length);
  await database.query(
    `UPDATE execution SET vendor_type = v.name FROM unnest($1::bigint[], $2::text[]) AS v (id, name) WHERE execution.id = v.id`,
    [ids, VENDORS],
  );
  await database.query(
    `UPDATE task SET vendor_type = v.name FROM unnest($1::bigint[], $2::text[]) AS v (id, name) WHERE execution_id = v.id`,
    [ids, VENDORS],
  );
  await database.query('TRUNCATE tally.outbox');
  return ids;
}

async function untilRefreshed(ids: readonly number[]): Promise<void> {
  await until('all to be refreshed', async () => {
    const stored = await Promise.all(ids.map((id) => readExecution(database, id)));
    return stored.every(({ status }) => status === 'Success');
  });
}

interface Page {
  readonly state: string;
  readonly queue: { readonly failed: readonly { readonly jobId: string }[] };
}

async function pageOf(id: number): Promise<Page> {
  const response = await fetch(`${url}/executions/${id}`, {
    headers: { accept: 'application/json' },
  });
  return (await response.json()) as Page;
}

it('a failed refresh of any vendor is found on its page and retried from there', async () => {
  const ids = await createOfEach();
  const failure = await failRefreshes(database);
  await database.query(`UPDATE task SET end_time = end_time + interval '1 second'`);
  await openProducer(environment);
  await openWorker(environment);
  await until('all to fail', async () => (await queue.getFailedCount()) === ids.length);
  for (const id of ids) {
    const page = await pageOf(id);
    expect(page.state).toBe('failed');
    expect(page.queue.failed.map(({ jobId }) => jobId.split(':')[0])).toEqual([String(id)]);
    const job = await fetch(
      `${url}/api/queues/refresh/${encodeURIComponent(page.queue.failed[0]?.jobId ?? '')}`,
    );
    expect(job.status).toBe(200);
  }
  await failure.end();
  for (const id of ids) {
    const asked = await fetch(`${url}/executions/${id}/refresh`, { method: 'POST' });
    expect(asked.ok).toBe(true);
  }
  await untilRefreshed(ids);
});

it('API, command line and outbox take any vendor', async () => {
  const ids = await createOfEach();
  const producer = await openProducer(environment);
  await openWorker(environment);
  const refreshes = ids.map((executionId, n) => ({ executionId, vendor: VENDORS[n] }));
  await askUntilAccepted(producer.url, { refreshes });
  await untilRefreshed(ids);

  const others = await createOfEach();
  const identities = others.map((id, n) => `${id}:${VENDORS[n]}`);
  expect(await runTally(['enqueue', ...identities], environment)).toEqual({
    code: 0,
    output: `enqueued ${identities.length}`,
  });
  await untilRefreshed(others);
});

it("markers of any vendor in Harbor's set are taken in, and none is dropped", async () => {
  const ids = await createOfEach();
  const harborUrl = Object.assign(new URL(inject('redisUrl')), { pathname: '/7' }).href;
  const harbor = redis.duplicate({ db: 7 });
  await writeMarkers(
    harbor,
    'set',
    ids.map((executionId, n) => ({ executionId, vendor: VENDORS[n] ?? '' })),
  );
  harbor.disconnect();
  const { output } = await runTally(['harbor', 'import'], {
    ...environment,
    HARBOR_REDIS_URL: harborUrl,
  });
  expect(output).toContain(`imported ${ids.length} markers, 0 malformed dropped`);
  const rows = await database.query<{ vendor: string }>(
    'SELECT vendor FROM tally.outbox ORDER BY execution_id',
  );
  expect(rows.map(({ vendor }) => vendor)).toEqual(VENDORS);
});
