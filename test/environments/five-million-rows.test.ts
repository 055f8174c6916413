import { afterAll, expect, it } from 'vitest';
import { serveDashboard } from '../support/dashboard.ts';
import { createExecutions } from '../support/executions.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { errorsOf, runTally, startProducer, startWorker } from '../support/processes.ts';
import { newPostgres, newRedis } from '../support/servers.ts';
import { costOf, peakMegabytes, watchOutboxStatements } from '../support/statement-cost.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const ROWS = 5_000_000;
const EXECUTIONS = 250_000;
// Every other row is about one of these: 5,000 rows each, and ten for each of all others.
const HOT = 500;
const PAGE = 250_000;

/** What one call may look at. The table and its indexes have over 130,000 pages. */
const PAGES = 20_000;
/** Rows that one statement may change, in which time it holds the locks of its executions. */
const STATEMENT_ROWS = 20_000;
/** What a relay or a worker may take, in megabytes. */
const MEMORY_MB = 250;

const servers = await Promise.all([newPostgres(), newRedis()]);
afterAll(() => Promise.all(servers.map((server) => server.stop())));
const stores = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  postgresUrl: servers[0].url,
  redisUrl: servers[1].url,
});
const { database, environment } = stores;

it('five million rows are drained in small statements and little memory, and every figure is there meanwhile', async () => {
  const ids = await createExecutions(database, EXECUTIONS);
  const [first = 0] = ids;
  for (let from = 0; from < ROWS; from += PAGE) {
    await database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source, due_at)
       SELECT $1::bigint + CASE n % 2 WHEN 0 THEN n / 2 % $2 ELSE $2 + n / 2 % ($3 - $2) END,
              'REPLICATION', 'capture', clock_timestamp() - interval '1 hour'
         FROM generate_series($4::bigint, $5::bigint) AS n`,
      [first, HOT, EXECUTIONS, from, from + PAGE - 1],
    );
  }
  // An autovacuum in the middle of an insert counts its pages and not yet its rows, so that estimates are too low.
  await database.query('ANALYZE tally.outbox');
  const most = await watchOutboxStatements(database);
  const { url } = await serveDashboard(stores);

  const { result: status, cost: ofStatus } = await costOf(database, readStatus);
  expect(status.outbox).toMatchObject({ estimated: true });
  expect(status.outbox.rows).toBeGreaterThan(0.8 * ROWS);
  expect(status.backlog).toBeGreaterThan(0.8 * ROWS);
  expect(ofStatus.widest.pages, ofStatus.widest.query).toBeLessThan(PAGES);
  const { result: doctor, cost: ofDoctor } = await costOf(database, () =>
    runTally(['doctor'], environment),
  );
  expect(doctor.output).toMatch(/outbox.*\b[45]\d{6} rows/);
  expect(ofDoctor.widest.pages, ofDoctor.widest.query).toBeLessThan(PAGES);
  for (const [path, text] of [
    ['/', /\b[45],\d{3},\d{3}\b/],
    [`/executions/${first}`, /A refresh is on its way/],
    ['/executions', /Executions/],
    ['/executions?state=waiting', /executions\/\d+/],
    ['/executions?state=stuck', /Executions/],
    ['/executions?state=failed', /Executions/],
    ['/metrics', /tally/],
  ] as const) {
    const { result, cost } = await costOf(database, () => get(`${url}${path}`));
    expect(result).toMatch(text);
    expect(cost.widest.pages, `${path}: ${cost.widest.query}`).toBeLessThan(PAGES);
  }

  // In this order: a producer rightly warns of a backlog that no worker drains.
  const workers = [await startWorker(environment), await startWorker(environment)];
  const producer = await startProducer(environment);
  for (const left of [0.8, 0.6, 0.4, 0.2, 0]) {
    await until(
      `at most ${left * 100} % of the rows to be left`,
      async () => (await rowsLeft()) <= left * ROWS,
      600_000,
    );
    // Beside the rows that are gone and not vacuumed yet.
    expect((await readStatus()).outbox.rows).toBeGreaterThanOrEqual(0);
    // A busy machine may take longer for it than the dashboard waits for Postgres.
    const overview = await until('the overview', async () => {
      const answer = await fetch(url);
      return answer.status === 200 ? await answer.text() : undefined;
    });
    expect(overview).toContain('Overview');
  }
  for (const { pid, lines } of [producer, ...workers]) {
    expect(peakMegabytes(pid)).toBeLessThan(MEMORY_MB);
    expect(errorsOf(lines)).toEqual([]);
  }
  // Though rows that a batch must leave stay the oldest for long.
  expect(producer.lines.join('\n')).not.toContain('no worker drains the backlog');
  const { deleted, updated } = await most();
  expect(Math.max(deleted, updated)).toBeLessThanOrEqual(STATEMENT_ROWS);
  await expectNothingBroken(stores);
  expect((await readStatus()).failures).toBe(0);
}, 1_800_000);

interface Status {
  readonly outbox: { readonly rows: number; readonly estimated?: true };
  readonly backlog: number;
  readonly failures: number;
}

async function readStatus(): Promise<Status> {
  const { code, output } = await runTally(['status', '--json'], environment);
  expect({ code, output }).toMatchObject({ code: 0 });
  return JSON.parse(output) as Status;
}

async function get(url: string): Promise<string> {
  const response = await fetch(url);
  expect(response.status).toBe(200);
  return await response.text();
}

/** Not counted, which would read all of the table again and again: what was deleted. */
async function rowsLeft(): Promise<number> {
  const [row] = await database.query<{ gone: number }>(
    `SELECT coalesce(sum(rows), 0)::bigint AS gone FROM public.outbox_statement WHERE kind = 'DELETE'`,
  );
  return ROWS - (row?.gone ?? 0);
}
