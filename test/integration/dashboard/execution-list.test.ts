import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import {
  readExecutionPage,
  ROWS,
  type ListedExecution,
} from '../../../dashboard/executions/execution-list.ts';
import {
  filterQuery,
  readFilter,
  STATES,
  type ListFilter,
} from '../../../dashboard/executions/list-filter.ts';
import { openDatabase, type Database } from '../../../shared/postgres/database.ts';
import { recordFailure } from '../../../shared/postgres/failures.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { createExecutions } from '../../support/executions.ts';
import { createStores, openClient, silent } from '../../support/stores.ts';
import { BUSY_MACHINE_MS, until } from '../../support/wait.ts';

const MANY = 20_000;
const EXAMINED_MAX = 5_000;

const stores = await createStores();
const { database, environment } = stores;
const { url } = await serveDashboard(stores);

const filterOf = (query: Record<string, string>): ListFilter => {
  const filter = readFilter(query);
  if ('problem' in filter) throw new Error(filter.problem);
  return filter;
};
const idsOf = (rows: readonly ListedExecution[]): number[] => rows.map((row) => row.executionId);

let stuck: number[] = [];
let failed: number[] = [];
let byHand: number[] = [];
let agreed: number[] = [];
let waiting: number[] = [];
let running: number[] = [];

beforeAll(async () => {
  // Final ones lie between and on both sides of all others.
  const final = (): Promise<unknown> =>
    database.query(
      `WITH made AS (
         INSERT INTO execution (vendor_type, status, trigger, end_time, start_time)
         SELECT 'SCAN', 'Success', 'MANUAL', now(), now() - interval '2 days' FROM generate_series(1, $1) RETURNING id)
       INSERT INTO task (execution_id, status, status_code, vendor_type, end_time)
       SELECT id, 'Success', 3, 'SCAN', now() FROM made`,
      [MANY / 2],
    );
  await final();
  stuck = await createExecutions(database, 3);
  running = await createExecutions(database, 60, ['Running']);
  failed = await createExecutions(database, 120);
  byHand = await createExecutions(database, 2);
  agreed = await createExecutions(database, 2);
  waiting = await createExecutions(database, 2);
  for (const executionId of failed) {
    const jobId = `${executionId}:REPLICATION:~made`;
    const failure = { error: 'no <b>quota</b>', sqlState: undefined, attempts: 5, attemptMs: 0 };
    await recordFailure(database, { executionId, vendor: 'REPLICATION', jobId, ...failure });
  }
  await database.query(`UPDATE execution SET status = 'Error' WHERE id = ANY ($1)`, [byHand]);
  // What the host stored by hand is also what the tasks say.
  await database.query(
    `UPDATE execution SET status = 'Success', end_time = '2026-01-02 03:04:05' WHERE id = ANY ($1)`,
    [agreed],
  );
  await database.query(
    `INSERT INTO tally.host_word
     SELECT id, 0, 1, pg_current_xact_id(), pg_current_snapshot() FROM unnest($1::bigint[]) AS id`,
    [[...byHand, ...agreed]],
  );
  // Far more rows of one execution than a page may read.
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source)
     SELECT CASE n WHEN 1 THEN $1::bigint ELSE $2::bigint END, 'REPLICATION', 'api' FROM generate_series(1, $3) AS n`,
    [...waiting, MANY],
  );
  await final();
});

/** Every row of a list, page by page, and how many pages that took. */
async function all(query: Record<string, string>): Promise<ListedExecution[]> {
  const rows: ListedExecution[] = [];
  for (let from: string | undefined = ''; from !== undefined;) {
    const page = await readExecutionPage(database, filterOf({ ...query, from }));
    expect(page.rows.length).toBeLessThanOrEqual(ROWS);
    rows.push(...page.rows);
    from = page.next;
  }
  return rows;
}

describe('the list of executions', () => {
  it('has each of a state exactly once over its pages', async () => {
    expect(idsOf(await all({ state: 'stuck' }))).toEqual(stuck);
    expect(idsOf(await all({ state: 'failed' }))).toEqual(failed.toReversed());
    expect(idsOf(await all({ state: 'waiting' }))).toEqual(waiting.toReversed());
    expect(idsOf(await all({ state: 'Error' }))).toEqual(byHand.toReversed());
    expect(await all({ state: 'Stopped' })).toEqual([]);
    expect(idsOf(await all({ state: 'by-hand' }))).toEqual(byHand.toReversed());
    expect(idsOf(await all({ state: 'running' }))).toEqual(
      [...failed, ...running, ...stuck, ...waiting].toSorted((a, b) => b - a),
    );
    expect(await all({ state: 'final' })).toHaveLength(MANY + byHand.length + agreed.length);
  });

  it('is limited to a vendor and an age', async () => {
    expect(await all({ state: 'running', vendor: 'SCAN' })).toEqual([]);
    expect(await all({ vendor: 'REPLICATION' })).toHaveLength(189);
    expect(await all({ vendor: 'REPLICATION', age: 'over-1d' })).toEqual([]);
    expect(await all({ state: 'final', age: 'over-1d' })).toHaveLength(MANY);
  });

  it('leads to the executions, to the next page, and says what failed as text', async () => {
    const text = await (await fetch(`${url}/executions?state=failed`)).text();
    const last = failed.at(-1) ?? 0;
    expect(text).toContain(`href="/executions/${last}"`);
    expect(text).not.toContain('<b>quota</b>');
    const next = /href="(\/executions\?[^"]*)" rel="next"/.exec(text)?.[1] ?? '';
    const second = await fetch(`${url}${next.replaceAll('&#38;', '&')}`);
    expect(await second.text()).toContain(`href="/executions/${last - ROWS}"`);
  });
});

interface Plan {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly Plans?: readonly Plan[];
}

/** A database that also explains each statement, and what its plans read. */
function explained(): { readonly database: Database; readonly scans: Plan[] } {
  const scans: Plan[] = [];
  const collect = (plan: Plan): void => {
    if (plan['Relation Name'] !== undefined) scans.push(plan);
    plan.Plans?.forEach(collect);
  };
  const query: Database['query'] = async (sql, values, settings) => {
    const [row] = await database.query<{ 'QUERY PLAN': [{ Plan: Plan }] }>(
      `EXPLAIN (ANALYZE, FORMAT JSON) ${sql}`,
      values,
      settings,
    );
    if (row !== undefined) collect(row['QUERY PLAN'][0].Plan);
    return database.query(sql, values, settings);
  };
  return { database: { ...database, query }, scans };
}

describe.each(['without statistics', 'with statistics'])('%s, the list', (which) => {
  it.each(STATES)('of state %s reads a bounded number of rows, by index', async (state) => {
    if (which === 'with statistics') await database.query('ANALYZE execution, task, tally.outbox');
    const { database: watched, scans } = explained();
    await readExecutionPage(watched, filterOf({ state, vendor: 'REPLICATION' }));
    const host = scans.filter(({ 'Relation Name': name }) =>
      ['execution', 'task', 'failure', 'host_word', 'outbox'].includes(name ?? ''),
    );
    expect(host.length).toBeGreaterThan(0);
    expect(host.filter((scan) => scan['Node Type'] === 'Seq Scan')).toEqual([]);
    for (const scan of host) {
      expect(scan['Actual Rows'] * scan['Actual Loops'], JSON.stringify(scan)).toBeLessThanOrEqual(
        EXAMINED_MAX,
      );
    }
  });
});

it('while somebody has locked the table of executions, every list says so in time, as page and as JSON', async () => {
  // With the limits that `tally dashboard` has.
  const limited = openDatabase(environment.DATABASE_URL, silent, {
    connections: 4,
    name: 'dashboard',
    statementTimeoutMs: 2_000,
  });
  onTestFinished(() => limited.close());
  const served = await serveDashboard({ ...stores, database: limited });
  const holder = await openClient(environment.DATABASE_URL);
  await holder.query('BEGIN; LOCK TABLE execution IN ACCESS EXCLUSIVE MODE');
  const ask = async (state: string, accept: string): Promise<{ status: number; text: string }> => {
    const response = await fetch(`${served.url}/executions?state=${state}`, {
      headers: { accept },
      signal: AbortSignal.timeout(2_500 + BUSY_MACHINE_MS),
    });
    return { status: response.status, text: await response.text() };
  };
  const [pages, answers] = await Promise.all(
    ['text/html', 'application/json'].map((accept) =>
      Promise.all(STATES.map((state) => ask(state, accept))),
    ),
  );
  for (const { status, text } of pages ?? []) {
    expect(status).toBe(503);
    expect(text.match(/class="notice bad">[^<]*/g)).toEqual([
      expect.stringContaining('Postgres did not answer in time'),
    ]);
  }
  for (const { status, text } of answers ?? []) {
    expect(status).toBe(503);
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'DATABASE_AWAY' } });
  }
  await holder.query('ROLLBACK');
  await until('the list to be there again', async () => {
    return (await ask('all', 'text/html')).status === 200;
  });
});

it('an address says the filter again', () => {
  const filter = { state: 'failed', vendor: 'A&B', age: 'over-1d', from: '17~4:A~B:x' } as const;
  const query = Object.fromEntries(new URLSearchParams(filterQuery(filter, { from: filter.from })));
  expect(readFilter(query)).toEqual(filter);
  expect(filterQuery(filter, { state: 'all', vendor: '', age: '' })).toBe('');
});

it.each(['state=faild', 'age=__proto__', 'vendor=%00', 'from=1~%00', 'state=final&state=all'])(
  '?%s is refused with what is possible, rather than ignored',
  async (query) => {
    const headers = { accept: 'application/json' };
    const response = await fetch(`${url}/executions?${query}`, { headers });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: 'BAD_FILTER' } });
  },
);
