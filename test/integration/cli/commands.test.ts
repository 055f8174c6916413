import { describe, expect, it } from 'vitest';
import { createExecutions } from '../../support/executions.ts';
import { readyStatus } from '../../support/health.ts';
import { runTally, startProducer, startTally, startWorker } from '../../support/processes.ts';
import { createEmptyDatabase, createStores, openClient } from '../../support/stores.ts';
import { statusOf } from '../../support/tally-status.ts';
import { until } from '../../support/wait.ts';
import { injectFault } from '../../support/fault.ts';

const { database, queue, environment } = await createStores();

describe('tally', () => {
  it.each([
    [['--help'], 0],
    [['worker', '--help'], 0],
    [['nonsense'], 2],
    [['worker', '--nonsense'], 2],
    [['enqueue'], 2],
    [['enqueue', '42'], 2],
    [['start', '--workers', 'many'], 2],
  ])('%j exits with %i', async (args, code) => {
    expect((await runTally(args, environment)).code).toBe(code);
  });

  it('a bad setting stops every process before it connects, with one line', async () => {
    const { code, output } = await runTally(['worker'], { ...environment, JOB_ATTEMPTS: 'lots' });
    expect(code).toBe(2);
    expect(output).toMatch(/^tally: JOB_ATTEMPTS must be .* for example JOB_ATTEMPTS=5$/);
  });

  it('without URLs and without a running tally start, a worker says what to set', async () => {
    const { code, output } = await runTally(['worker', '--data', '/nowhere'], {});
    expect(code).toBe(2);
    expect(output).toContain('DATABASE_URL is not set; for example DATABASE_URL=postgres://');
  });

  it('a process that can reach nothing it needs prints no password', async () => {
    injectFault(30, 'URLs with a password to stores that nothing serves');
    const worker = startTally(['worker'], {
      DATABASE_URL: 'postgres://tally:hunter2secret@127.0.0.1:1/tally',
      REDIS_URL: 'redis://:hunter2secret@127.0.0.1:1',
    });
    await worker.said('Redis is unavailable');
    await worker.said('waiting for Postgres');
    expect(worker.lines.join('\n')).not.toContain('hunter2secret');
  });
});

describe('tally enqueue', () => {
  it('reads identities from standard input, one a line', async () => {
    const { code, output } = await runTally(
      ['enqueue', '-'],
      environment,
      '7:SCAN\n\n8:SCAN\n7:SCAN\n',
    );
    expect({ code, output }).toEqual({ code: 0, output: 'enqueued 3' });
    expect(
      (await queue.getWaiting()).map((job) => String(job.opts.deduplication?.id)).toSorted(),
    ).toEqual(['7:SCAN', '8:SCAN']);
    await queue.drain();
  });

  it.each(['', '\n \n'])(
    'says that standard input has nothing (%j), and exits with 1',
    async (input) => {
      const { code, output } = await runTally(['enqueue', '-'], environment, input);
      expect(code).toBe(1);
      expect(output).toMatch(/^tally: standard input was empty, so nothing was enqueued/);
    },
  );

  it('with one bad identity among many, names it and enqueues nothing', async () => {
    const { code, output } = await runTally(['enqueue', '7:SCAN', '0:SCAN'], environment);
    expect(code).toBe(2);
    expect(output).toContain('number 2: "0:SCAN" is not an identity');
    expect(await queue.getWaitingCount()).toBe(0);
  });
});

describe('tally migrate', () => {
  it('runs twice without effect', async () => {
    const dump = () =>
      database.query(
        `SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
          WHERE table_schema IN ('tally', 'public') ORDER BY 1, 2, 3`,
      );
    const before = await dump();
    const { code, output } = await runTally(['migrate'], environment);
    expect(code).toBe(0);
    expect(output).toContain('up to date');
    expect(await dump()).toEqual(before);
  });

  it('succeeds ten times at once on an empty database', async () => {
    const url = await emptyDatabase('empty_ten');
    const all = await Promise.all(
      Array.from({ length: 10 }, () => runTally(['migrate'], { DATABASE_URL: url })),
    );
    expect(all.map(({ code }) => code)).toEqual(Array.from({ length: 10 }, () => 0));
  });

  it('refuses a database with only one of the host tables, and leaves it as it was', async () => {
    const url = await emptyDatabase('half_a_host');
    const client = await openClient(url);
    await client.query('CREATE TABLE execution (id integer PRIMARY KEY)');
    const { code, output } = await runTally(['migrate'], { DATABASE_URL: url });
    expect(code).toBe(1);
    expect(output).toContain('has a table execution but no task');
    const { rows } = await client.query(`SELECT to_regnamespace('tally') AS schema`);
    expect(rows).toEqual([{ schema: null }]);
  });

  it('is named by a process that finds no schema, which waits, not ready', async () => {
    const url = await emptyDatabase('not_migrated');
    const worker = startTally(['worker'], { ...environment, DATABASE_URL: url });
    await worker.said('run: tally migrate');
    expect(await readyStatus(worker)).toBe(503);
    await runTally(['migrate'], { DATABASE_URL: url });
    await worker.said('taking jobs');
    await until('it to be ready', async () => (await readyStatus(worker)) === 200);
  });
});

describe('tally status', () => {
  it('gives one JSON document of the documented form', async () => {
    const worker = await startWorker(environment);
    expect(await statusOf(environment)).toEqual({
      outbox: { rows: 0, unsent: 0, oldestSeconds: null },
      backlog: 0,
      backlogPaused: false,
      queue: { waiting: 0, active: 0, delayed: 0, failed: 0, paused: false },
      workers: [{ name: expect.stringMatching(`:${worker.pid}$`) as string, active: 0 }],
      oldestWaitingSeconds: null,
      failures: 0,
      disagreements: 0,
    });
  });

  it('counts an execution that is stuck behind its tasks', async () => {
    await createExecutions(database, 3);
    expect(await statusOf(environment)).toMatchObject({ disagreements: 3 });
  });

  it('shows null for the numbers of an unavailable store', async () => {
    const { code, output } = await runTally(['status', '--json'], {
      ...environment,
      REDIS_URL: 'redis://127.0.0.1:1',
    });
    expect(code).toBe(0);
    expect(output).toContain("Redis can't be asked");
    const json = output.split('\n').find((line) => line.startsWith('{')) ?? '';
    expect(JSON.parse(json)).toMatchObject({ queue: null, workers: null, outbox: { rows: 0 } });
  });
});

describe('the servers', () => {
  it('without API_TOKEN, the API beyond this machine is off, while health and metrics answer any host', async () => {
    const producer = await startProducer({
      ...environment,
      HTTP_HOST: '0.0.0.0',
      // It would put what another test left stuck on the queue.
      RECONCILE_INTERVAL_MS: '0',
    });
    const url = producer.url.replace('0.0.0.0', '127.0.0.1');
    const answer = await fetch(`${url}/v1/refreshes`, { method: 'POST', body: '{}' });
    expect(answer.status).toBe(403);
    expect(await answer.text()).toContain('API_TOKEN');
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect(await (await fetch(`${url}/metrics`)).text()).toContain(
      'tally_queue_jobs{state="waiting"}',
    );
  });

  it("the dashboard doesn't start beyond this machine without a password", async () => {
    const { code, output } = await runTally(['dashboard'], {
      ...environment,
      HTTP_HOST: '0.0.0.0',
    });
    expect(code).toBe(2);
    expect(output).toContain('set DASHBOARD_PASSWORD');
  });

  it('a job added on the board is a refresh like any other, and another site can add none', async () => {
    const dashboard = startTally(['dashboard'], environment);
    const url = /http:\S+?(?=")/.exec(await dashboard.said('dashboard: http'))?.[0] ?? '';
    const add = (headers: Record<string, string>, data: unknown) =>
      fetch(`${url}/api/queues/refresh/add`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: JSON.stringify({ name: 'refresh', data, options: {} }),
      });
    const refresh = { executionId: 7, vendor: 'SCAN' };
    expect((await add({ Origin: 'https://elsewhere.example' }, refresh)).status).toBe(403);
    expect(await queue.getWaitingCount()).toBe(0);
    expect((await add({}, refresh)).status).toBe(200);
    expect((await add({}, refresh)).status).toBe(200);
    expect((await add({}, { executionId: 0 })).status).toBeGreaterThanOrEqual(400);
    expect(await queue.getWaitingCount()).toBe(1);
    await queue.drain();
  });

  it('the dashboard asks for its password everywhere except on its health paths', async () => {
    const password = 'correct horse';
    const dashboard = startTally(['dashboard'], { ...environment, DASHBOARD_PASSWORD: password });
    const url = /http:\S+?(?=")/.exec(await dashboard.said('dashboard: http'))?.[0] ?? '';
    for (const path of ['/', '/api/queues', '/metrics', '/static/js/main.js']) {
      expect((await fetch(url + path)).status).toBe(401);
    }
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    const ready = await until('it to be ready', async () => {
      const answer = await fetch(`${url}/readyz`);
      return answer.status === 200 ? answer : undefined;
    });
    expect(await ready.json()).toEqual({ status: 'ready' });
    const headers = { Authorization: `Basic ${btoa(`admin:${password}`)}` };
    const page = await fetch(url, { headers });
    expect(page.status).toBe(200);
    expect(await page.text()).toContain('<title>Overview');
  });
});

function emptyDatabase(name: string): Promise<string> {
  return createEmptyDatabase(environment.DATABASE_URL, name);
}
