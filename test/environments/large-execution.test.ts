import { afterAll, beforeAll, expect, it } from 'vitest';
import { serveDashboard } from '../support/dashboard.ts';
import { createExecutions, outboxRows, readExecution } from '../support/executions.ts';
import { HarborStatements } from '../support/harbor-statements.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { startProducer, startWorker } from '../support/processes.ts';
import { newPostgres, newRedis } from '../support/servers.ts';
import { costOf, peakMegabytes, watchOutboxStatements } from '../support/statement-cost.ts';
import { createStores, openClient } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const TASKS = 100_000;
const OTHERS = 199;
const HOOKS = 20_000;
const CONNECTIONS = 4;
const REFRESH_INTERVAL_MS = 250;

/** What one statement may look at. The tasks and their index have some 2,000 pages, and some statements read them twice. */
const PAGES = 15_000;
/** Rows that one statement may change, in which time it holds the lock of the execution. */
const STATEMENT_ROWS = 20_000;
/** What a relay or a worker may take, in megabytes. */
const MEMORY_MB = 250;

const servers = await Promise.all([newPostgres(), newRedis()]);
afterAll(() => Promise.all(servers.map((server) => server.stop())));
const stores = await createStores({
  capture: true,
  settings: { RECONCILE_INTERVAL_MS: '0', REFRESH_INTERVAL_MS: String(REFRESH_INTERVAL_MS) },
  postgresUrl: servers[0].url,
  redisUrl: servers[1].url,
});
const { database, environment } = stores;
let large = 0;
let others: number[] = [];
let most: Awaited<ReturnType<typeof watchOutboxStatements>>;

beforeAll(async () => {
  others = await createExecutions(database, OTHERS);
  [large = 0] = await createExecutions(database, 1, []);
  await database.query(
    `INSERT INTO task (execution_id, status, status_code, status_revision, vendor_type)
     SELECT $1::bigint, 'Pending', 0, 0, 'REPLICATION' FROM generate_series(1, $2)`,
    [large, TASKS],
  );
  await database.query('DELETE FROM tally.outbox');
  await database.query('ANALYZE');
  most = await watchOutboxStatements(database);
}, 120_000);

it('an execution of 100,000 tasks is refreshed in a batch with others, which reads its tasks once and spills nothing', async () => {
  const ids = [...others, large];
  const { result, cost } = await costOf(database, () =>
    database.query(
      'SELECT execution_id AS id, outcome FROM tally.refresh_executions($1::bigint[])',
      [ids],
    ),
  );
  expect(result).toHaveLength(ids.length);
  expect(result).toContainEqual({ id: large, outcome: 'unchanged' });
  expect(cost.widest.pages, cost.widest.query).toBeLessThan(PAGES);
  expect(cost.spilledPages).toBe(0);
});

it('the pages of the dashboard show it, and read its tasks twice at most', async () => {
  const { url } = await serveDashboard(stores);
  for (const [path, text] of [
    [`/executions/${large}`, /100,000/],
    ['/executions', new RegExp(`executions/${large}\\b`)],
    ['/executions?state=running', new RegExp(`executions/${large}\\b`)],
    ['/executions?state=stuck', /Executions/],
    ['/metrics', /tally/],
    ['/', /Overview/],
  ] as const) {
    const { result, cost } = await costOf(database, async () => {
      const response = await fetch(`${url}${path}`);
      return { status: response.status, text: await response.text() };
    });
    expect(result.status).toBe(200);
    expect(result.text).toMatch(text);
    expect(cost.widest.pages, cost.widest.query).toBeLessThan(PAGES);
    expect(cost.spilledPages, path).toBe(0);
  }
});

it('a storm of hooks on it costs few refreshes, and those of others come meanwhile', async () => {
  const producer = await startProducer(environment);
  const worker = await startWorker(environment);
  const tasks = await database.query<{ id: number }>(
    'SELECT id::bigint AS id FROM task WHERE execution_id = $1 ORDER BY id LIMIT $2',
    [large, HOOKS],
  );
  const before = await readExecution(database, large);
  const beginMs = performance.now();
  let next = 0;
  const drive = async (): Promise<void> => {
    const harbor = new HarborStatements(await openClient(environment.DATABASE_URL));
    for (let task = tasks[next++]; task !== undefined; task = tasks[next++]) {
      await harbor.hook(task.id, large, 'Running', 1);
    }
  };
  const storm = Promise.all(Array.from({ length: CONNECTIONS }, drive));
  const [other = 0] = others;
  for (let n = 1; next < tasks.length; n++) {
    await database.query(
      `UPDATE task SET end_time = timestamp '2030-01-01' + $2 * interval '1 second' WHERE execution_id = $1`,
      [other, n],
    );
    const end = new Date(Date.UTC(2030, 0, 1, 0, 0, n))
      .toISOString()
      .slice(0, 19)
      .replace('T', ' ');
    await until('the change of another execution to be refreshed', async () => {
      return (await readExecution(database, other)).endTime === end;
    });
  }
  await storm;
  await expectNothingBroken(stores);
  const intervals = (performance.now() - beginMs) / REFRESH_INTERVAL_MS;
  const refreshes = ((await readExecution(database, large)).revision ?? 0) - (before.revision ?? 0);
  expect(refreshes).toBeGreaterThan(0);
  // One in each, and some by the backlog lane where this machine was too busy.
  expect(refreshes).toBeLessThan(1.5 * intervals + 10);
  expect((await most()).deleted).toBeLessThanOrEqual(STATEMENT_ROWS);
  for (const { pid } of [producer, worker]) expect(peakMegabytes(pid)).toBeLessThan(MEMORY_MB);
}, 600_000);

it.each(['a backlog', 'sent rows'])(
  'what a storm of hooks leaves as %s while no worker runs is removed in small statements, and others need not wait for it',
  async (kind) => {
    const producer = kind === 'sent rows' ? await startProducer(environment) : undefined;
    for (let from = 0; from < TASKS; from += TASKS / 10) await changeEach(from, TASKS / 10);
    await database.query(`UPDATE task SET end_time = $2::timestamp WHERE execution_id = ANY ($1)`, [
      others,
      kind === 'sent rows' ? '2031-01-01' : '2032-01-01',
    ]);
    if (producer !== undefined) {
      await until('all rows to be sent', async () => {
        const [row] = await database.query<{ unsent: number }>(
          'SELECT count(*) AS unsent FROM tally.outbox WHERE sent_at IS NULL',
        );
        return row?.unsent === 0;
      });
    }
    expect(await outboxRows(database)).toBeGreaterThan(TASKS);
    const started = producer ?? (await startProducer(environment));
    const worker = await startWorker(environment);
    await expectNothingBroken(stores, 300_000);
    const { deleted, updated } = await most();
    expect(Math.max(deleted, updated)).toBeLessThanOrEqual(STATEMENT_ROWS);
    for (const { pid } of [started, worker]) expect(peakMegabytes(pid)).toBeLessThan(MEMORY_MB);
  },
  600_000,
);

/** Changes so many tasks of the large execution, each by a statement of its own. */
async function changeEach(from: number, count: number): Promise<void> {
  await database.query(
    `DO $$
     DECLARE one bigint;
     BEGIN
       FOR one IN SELECT t.id FROM task t WHERE t.execution_id = ${large} ORDER BY t.id OFFSET ${from} LIMIT ${count} LOOP
         UPDATE task t SET status = CASE t.status WHEN 'Success' THEN 'Error' ELSE 'Success' END WHERE t.id = one;
       END LOOP;
     END $$`,
  );
}
