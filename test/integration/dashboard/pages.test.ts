import { describe, expect, it } from 'vitest';
import { openDatabase } from '../../../shared/postgres/database.ts';
import { recordFailure } from '../../../shared/postgres/failures.ts';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import { connectRedis } from '../../../shared/queue/redis.ts';
import { enqueueRefreshes, openRefreshQueue } from '../../../shared/queue/refresh-queue.ts';
import { serveDashboard } from '../../support/dashboard.ts';
import { createExecution } from '../../support/executions.ts';
import { addFailedJobs } from '../../support/failed-jobs.ts';
import { openWorker } from '../../support/in-process.ts';
import { startWorker } from '../../support/processes.ts';
import { failRefreshes, lockExecutions } from '../../support/sabotage.ts';
import { createStores, openClient, silent } from '../../support/stores.ts';
import { statusOf } from '../../support/tally-status.ts';
import { until } from '../../support/wait.ts';
import { injectFault } from '../../support/fault.ts';

// Any but those that pages of ours load.
const FOREIGN_SCRIPT =
  /<script(?! (?:type="module"|defer) src="\/scripts\/[a-z]+\.js"><\/script>)/i;
const stores = await createStores({ settings: { JOB_ATTEMPTS: '2' } });
const { database, queue, config, environment } = stores;
const { url } = await serveDashboard(stores);
const END = '2026-01-02T03:04:05.000Z';

interface Answer {
  readonly state: string;
  readonly stored: { readonly revision: number | null };
  readonly queue: {
    readonly current: Record<string, unknown> | null;
    readonly nextRunStored: boolean;
    readonly failed: Record<string, unknown>[];
  } | null;
  readonly [field: string]: unknown;
}

async function asked(id: number, from = url): Promise<Answer> {
  const response = await fetch(`${from}/executions/${id}`, {
    headers: { accept: 'application/json' },
  });
  return (await response.json()) as Answer;
}

async function pageOf(path: string, from = url): Promise<{ status: number; text: string }> {
  const response = await fetch(`${from}${path}`, { headers: { accept: 'text/html' } });
  return { status: response.status, text: await response.text() };
}

async function newExecution(statuses?: readonly string[]): Promise<number> {
  const id = await createExecution(database, statuses);
  return id;
}

const identity = (executionId: number): { executionId: number; vendor: string } => ({
  executionId,
  vendor: 'REPLICATION',
});

describe('/executions/:id', () => {
  it('shows what is stored and what the tasks say', async () => {
    const id = await newExecution(['Success', 'Success', 'Weird']);
    expect(await asked(id)).toEqual({
      executionId: id,
      vendor: 'REPLICATION',
      trigger: 'MANUAL',
      startTime: expect.stringMatching(/^\d{4}-.*Z$/),
      stored: { status: 'Running', endTime: null, revision: 0, updateTime: null },
      computed: { status: 'Success', endTime: END },
      setByHand: false,
      tasks: [
        { status: 'Success', count: 2, known: true },
        { status: 'Weird', count: 1, known: false },
      ],
      outbox: { rows: 0, unsent: 0, oldest: null, due: null, sources: [] },
      state: 'behind',
      queue: { current: null, nextRunStored: false, failed: [] },
      failure: null,
    });
    const { status, text } = await pageOf(`/executions/${id}`);
    expect(status).toBe(200);
    expect(text).toContain('nobody has asked for a refresh');
    expect(text).toContain('unknown to the rule');
  });

  it('shows the outbox rows of the execution and no others', async () => {
    const [id, other] = [await newExecution(), await newExecution()];
    await recordRefreshes(database, [identity(id), identity(id), identity(other)], 'marker');
    const answer = await asked(id);
    expect(answer).toMatchObject({
      state: 'on its way',
      outbox: { rows: 2, unsent: 2, sources: ['marker'] },
    });
    await database.query('DELETE FROM tally.outbox');
  });

  it('follows a job from waiting to done, with its worker and the next run stored behind it', async () => {
    const id = await newExecution();
    await enqueueRefreshes(queue, [identity(id)]);
    expect((await asked(id)).queue?.current).toMatchObject({ state: 'waiting', worker: null });

    const unlock = await lockExecutions(environment.DATABASE_URL, [id]);
    const worker = await startWorker(environment);
    const running = await until('the job to run', async () => {
      const { queue: jobs } = await asked(id);
      return jobs?.current?.['state'] === 'running' ? jobs : undefined;
    });
    expect(running.current).toMatchObject({
      worker: expect.stringMatching(new RegExp(`:${worker.pid}$`)),
      startedAt: expect.stringMatching(/Z$/),
    });
    expect(running.nextRunStored).toBe(false);
    await enqueueRefreshes(queue, [identity(id)]);
    expect((await asked(id)).queue?.nextRunStored).toBe(true);
    await unlock();
    const done = await until('both runs to end', async () => {
      const answer = await asked(id);
      return answer.state === 'up to date' && answer.stored.revision === 2 ? answer : undefined;
    });
    expect(done.stored).toMatchObject({ status: 'Success', endTime: END });
  });

  it('shows a delayed job with its error and its next try, then the failed one', async () => {
    injectFault(29, 'script in an error');
    const id = await newExecution();
    await failRefreshes(database, '<script>alert(1)</script>');
    const unlock = await lockExecutions(environment.DATABASE_URL, [id]);
    const worker = await openWorker(environment);
    await enqueueRefreshes(queue, [identity(id)]);
    await until('the first attempt', async () => {
      const { queue: jobs } = await asked(id);
      return jobs?.current?.['state'] === 'running';
    });
    // It stops after this attempt, so that nobody begins the next one while the page is looked at.
    const stopped = worker.stop();
    const beforeMs = Date.now();
    await unlock();
    await stopped;
    const delayed = (await asked(id)).queue?.current;
    expect(delayed).toMatchObject({
      state: 'delayed',
      attempts: 1,
      error: '<script>alert(1)</script>',
    });
    expect(Date.parse(String(delayed?.['nextTryAt']))).toBeGreaterThan(beforeMs);
    await openWorker(environment);
    const failed = await until('the job to fail', async () => {
      // The record in Postgres comes first, its copy on the queue a moment later.
      const answer = await asked(id);
      return answer.state === 'failed' && answer.queue?.failed.length === 1 ? answer : undefined;
    });
    expect(failed.queue?.failed).toMatchObject([
      { attempts: 2, error: '<script>alert(1)</script>' },
    ]);
    expect((await asked(await newExecution())).queue?.failed).toEqual([]);

    const { text } = await pageOf(`/executions/${id}`);
    expect(text).toContain('&#60;script&#62;alert(1)');
    expect(text).not.toMatch(FOREIGN_SCRIPT);
    const overview = await pageOf('/');
    expect(overview.text).toContain('&#60;script&#62;alert(&#60;n&#62;)');
    expect(overview.text).toContain(`href="/executions/${id}"`);
    expect(overview.text).not.toMatch(FOREIGN_SCRIPT);
  });

  it('shows script in a vendor as text, and refreshes its execution like any other', async () => {
    injectFault(29, 'script in a vendor');
    const id = await newExecution();
    const vendor = '<script>alert(1)</script>*';
    await database.query('UPDATE execution SET vendor_type = $2 WHERE id = $1', [id, vendor]);
    const { status, text } = await pageOf(`/executions/${id}`);
    expect(status).toBe(200);
    expect(text).toContain('&#60;script&#62;alert(1)');
    expect(text).not.toMatch(FOREIGN_SCRIPT);
    const response = await fetch(`${url}/executions/${id}/refresh`, {
      method: 'POST',
      headers: { accept: 'application/json' },
    });
    expect(await response.json()).toEqual({ enqueued: `${id}:${vendor}` });
    const current = await pageOf(`/executions/${id}`);
    expect(current.text).toContain(`${id}:~3Cscript~3Ealert~281~29~3C~2Fscript~3E~2A:`);
    expect(current.text).not.toMatch(FOREIGN_SCRIPT);
  });

  it.each(['0', '-1', 'abc', '1.5', '9007199254740993', '42:REPLICATION', '%3Cscript%3E'])(
    'answers 400 to the id %s',
    async (id) => {
      const { status, text } = await pageOf(`/executions/${id}`);
      expect(status).toBe(400);
      expect(text).toContain('for example 42');
      expect(text).not.toMatch(FOREIGN_SCRIPT);
      const response = await fetch(`${url}/executions/${id}`, {
        headers: { accept: 'application/json' },
      });
      expect(await response.json()).toMatchObject({ error: { code: 'BAD_ID' } });
    },
  );

  it('answers 404 for an unknown execution, as page and as JSON', async () => {
    expect((await pageOf('/executions/99999999999')).status).toBe(404);
    const response = await fetch(`${url}/executions/99999`, {
      headers: { accept: 'application/json' },
    });
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ error: { code: 'NO_SUCH_EXECUTION' } });
  });
});

describe('the search', () => {
  it.each(['42', ' 42 ', '42:REPLICATION'])('for "%s" leads to its page', async (id) => {
    const response = await fetch(`${url}/executions?id=${encodeURIComponent(id)}`, {
      redirect: 'manual',
    });
    expect(response.status).toBe(303);
    expect(response.headers.get('location')).toBe('/executions/42');
  });

  it('for anything else says what can be found, and keeps what was typed', async () => {
    const { status, text } = await pageOf(`/executions?id=${encodeURIComponent('"><b>')}`);
    expect(status).toBe(400);
    expect(text).toContain('&#34;&#62;&#60;b&#62;');
    expect((await pageOf('/executions?id[]=1')).status).toBe(200);
  });
});

const failedTile = (page: string): string | undefined =>
  /<dt>Failed<\/dt>\s*<dd><a[^>]*>(.*?)<\/a>/.exec(page)?.[1];

const failedInStatus = async (): Promise<number> => (await statusOf(environment)).failures;

it('the overview and tally status count the same failures, whether Redis has their jobs or not', async () => {
  const before = await failedInStatus();
  const id = await newExecution();
  const failure = { ...identity(id), error: 'no', sqlState: undefined, attempts: 1, attemptMs: 0 };
  await recordFailure(database, { ...failure, jobId: `${id}:REPLICATION:lost` });
  await addFailedJobs(stores, 3, () => ({ nothing: true }));
  const { text } = await pageOf('/');
  expect(failedTile(text)).toBe(String(before + 1));
  expect(await failedInStatus()).toBe(before + 1);
  // What is no refresh of an execution is not hidden.
  expect(text).toMatch(/quota of project/);
});

describe('while a store is unavailable', () => {
  it('without Redis the pages show what Postgres knows, and "Refresh now" says that it can\'t', async () => {
    const id = await newExecution();
    const redis = connectRedis({ ...config, REDIS_URL: 'redis://127.0.0.1:1' }, 'failFast', silent);
    const lonely = await serveDashboard({
      ...stores,
      redis,
      queue: openRefreshQueue(config, redis),
    });
    const { status, text } = await pageOf(`/executions/${id}`, lonely.url);
    expect(status).toBe(503);
    expect(text).toContain('Redis does not answer');
    expect(text).toContain('Its tasks say');
    expect(await asked(id, lonely.url)).toMatchObject({ state: 'behind', queue: null });
    const pressed = await fetch(`${lonely.url}/executions/${id}/refresh`, { method: 'POST' });
    expect(pressed.status).toBe(503);
    const overview = await pageOf('/', lonely.url);
    expect(overview.status).toBe(503);
    expect(overview.text).toContain('Redis does not answer');
    expect(failedTile(overview.text)).toBe(String(await failedInStatus()));
    redis.disconnect();
  });

  it('without Postgres the pages say so and show what Redis knows', async () => {
    const away = openDatabase('postgres://nobody@127.0.0.1:1/x', silent, {
      connections: 1,
      name: 'test',
    });
    const lonely = await serveDashboard({ ...stores, database: away });
    const { status, text } = await pageOf('/executions/1', lonely.url);
    expect(status).toBe(503);
    expect(text).toContain('Postgres does not answer');
    const overview = await pageOf('/', lonely.url);
    expect(overview.status).toBe(503);
    expect(overview.text).toContain('Postgres does not answer');
    expect(overview.text).toContain('Waiting');
    await away.close();
  });

  it("an outbox that can't be counted in time has a question mark, and Postgres counts as answering", async () => {
    const holder = await openClient(environment.DATABASE_URL);
    await holder.query('BEGIN; LOCK TABLE tally.outbox');
    const overview = await pageOf('/');
    await holder.query('ROLLBACK');
    expect(overview.text).not.toContain('Postgres does not answer');
    expect(overview.text).toMatch(/Outbox<\/dt>\s*<dd>\?/);
    expect(overview.status).toBe(200);
  });
});
