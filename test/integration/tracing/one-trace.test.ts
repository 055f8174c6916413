import { afterEach, beforeEach, expect, it } from 'vitest';
import { createExecution, createExecutions, refreshesOf } from '../../support/executions.ts';
import { runTally, startProducer, startWorker } from '../../support/processes.ts';
import { askUntilAccepted } from '../../support/refresh-api.ts';
import { closeGate, failRefreshes } from '../../support/sabotage.ts';
import { allSettled } from '../../support/settled.ts';
import { createStores } from '../../support/stores.ts';
import { receiveTraces, type ReceivedSpan } from '../../support/trace-receiver.ts';
import { until } from '../../support/wait.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const OTHER_TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const CALLER = 'b7ad6b7169203331';
const STATEMENT = 'SELECT tally.refresh_executions';

const stores = await createStores({
  settings: {
    RECONCILE_INTERVAL_MS: '0',
    JOB_ATTEMPTS: '1',
    // However busy the machine is, no row of these tests gets old enough for the other lane.
    BACKLOG_AFTER_MS: '60000',
  },
  capture: true,
});
const { database, queue, environment } = stores;

beforeEach(() => database.query('TRUNCATE tally.outbox'));
afterEach(() => queue.obliterate({ force: true }));

/** Executions that nobody has asked to refresh. */
async function createSilently(count: number): Promise<number[]> {
  const ids = await createExecutions(database, count);
  await database.query('TRUNCATE tally.outbox');
  return ids;
}

function post(url: string, ids: readonly number[], traceparent?: string): Promise<Response> {
  const headers = { ...(traceparent && { traceparent }) };
  return askUntilAccepted(url, { refreshes: refreshesOf(ids) }, headers);
}

function jobs(spans: readonly ReceivedSpan[]): ReceivedSpan[] {
  return spans.filter(({ name }) => name === 'process refresh');
}

it("a request is one trace to its statement, and part of the caller's", async () => {
  const traces = await receiveTraces();
  const ids = await createSilently(1);
  await startWorker({ ...environment, ...traces.environment });
  const { url } = await startProducer({ ...environment, ...traces.environment });
  await post(url, ids, `00-${TRACE}-${CALLER}-01`);

  const request = await traces.span(
    'POST /v1/refreshes',
    ({ attributes }) => attributes['http.response.status_code'] === 202,
  );
  await traces.span('send refresh');
  const job = await traces.span('process refresh');
  const batch = await traces.span('refresh batch');
  const statement = await traces.span(STATEMENT);
  expect(traces.pathTo(statement)).toEqual([
    'POST /v1/refreshes',
    'send refresh',
    'process refresh',
    'refresh batch',
    STATEMENT,
  ]);
  expect(traces.pathTo(await traces.span('INSERT tally.outbox'))).toEqual([
    'POST /v1/refreshes',
    'INSERT tally.outbox',
  ]);
  expect(request).toMatchObject({ traceId: TRACE, parentSpanId: CALLER });
  expect(request.resource).toMatchObject({ 'service.name': 'tally-producer' });
  expect(job.attributes).toMatchObject({ 'tally.execution.id': ids[0] });
  expect(batch.attributes).toMatchObject({ 'tally.batch.size': 1 });
  expect(statement).toMatchObject({ traceId: TRACE });
  expect(statement.resource).toMatchObject({ 'service.name': 'tally-worker' });
});

it('a captured change is one trace, which begins when its row was due', async () => {
  const traces = await receiveTraces();
  const [id] = await createSilently(1);
  await database.query('UPDATE task SET end_time = now() WHERE execution_id = $1', [id]);
  const [row] = await database.query<{ dueS: number }>(
    'SELECT extract(epoch FROM due_at)::double precision AS "dueS" FROM tally.outbox',
  );
  await startWorker({ ...environment, ...traces.environment });
  await startProducer({ ...environment, ...traces.environment });
  const statement = await traces.span(STATEMENT);
  await traces.span('process refresh');
  await traces.span('refresh batch');
  const send = await traces.span('send refresh');
  expect(traces.pathTo(statement)).toEqual([
    'send refresh',
    'process refresh',
    'refresh batch',
    STATEMENT,
  ]);
  expect(Number(send.startTimeUnixNano) / 1e9).toBeCloseTo(row?.dueS ?? 0, 2);
});

it('tally enqueue is one trace to the statement', async () => {
  // A command waits a second for its spans to be sent, for which a busy machine may need longer.
  const traces = await until('a command whose spans are sent before it ends', async () => {
    const receiver = await receiveTraces();
    await queue.obliterate({ force: true });
    const [id = 0] = await createSilently(1);
    const all = { ...environment, ...receiver.environment };
    const enqueue = await runTally(['enqueue', `${id}:REPLICATION`], all);
    expect(enqueue).toEqual({ code: 0, output: 'enqueued 1' });
    return receiver.spans.length > 1 ? receiver : undefined;
  });
  expect(traces.spans.map(({ name }) => name).toSorted()).toEqual([
    'send refresh',
    'tally enqueue',
  ]);
  await startWorker({ ...environment, ...traces.environment });
  const statement = await traces.span(STATEMENT);
  await traces.span('process refresh');
  await traces.span('refresh batch');
  expect(traces.pathTo(statement)).toEqual([
    'tally enqueue',
    'send refresh',
    'process refresh',
    'refresh batch',
    STATEMENT,
  ]);
});

it("log lines of a failed job have its request's trace id, and spans have its error without passwords", async () => {
  const traces = await receiveTraces();
  const ids = await createSilently(1);
  const sabotage = await failRefreshes(database, 'refused postgres://tally:hidden-word@db/tally');
  const worker = await startWorker({ ...environment, ...traces.environment });
  const { url } = await startProducer({ ...environment, ...traces.environment });
  await post(url, ids, `00-${TRACE}-${CALLER}-01`);
  const line = JSON.parse(await worker.said('failed for good')) as unknown;
  const job = await traces.span('process refresh');
  expect(line).toMatchObject({ trace_id: TRACE, span_id: job.spanId });
  expect(job).toMatchObject({ traceId: TRACE, status: { code: 2 } });
  expect((await traces.span(STATEMENT)).status.message).toContain('refused');
  expect(JSON.stringify(traces.spans)).not.toContain('hidden-word');
  // No job is behind this one.
  expect(JSON.parse(await worker.said('taking jobs'))).not.toHaveProperty('trace_id');
  await sabotage.end();
});

it('a batch of several traces is part of the first, and the other jobs have links to it', async () => {
  const traces = await receiveTraces();
  const [held = 0, ...others] = await createSilently(9);
  const gate = await closeGate(stores, { ids: [held] });
  await startWorker({ ...environment, ...traces.environment });
  const { url } = await startProducer({ ...environment, ...traces.environment });
  await post(url, [held]);
  await gate.reached();
  // Their batch gathers while the statement of the first one waits. The worker may hear of the last ones too late.
  for (const id of others) await post(url, [id]);
  await until('all to run', async () => (await queue.getActiveCount()) === 9);
  await gate.open();
  await until('all to be refreshed', () => allSettled(stores));
  const { traceId, spanId, parentSpanId, attributes } = await traces.span(
    'refresh batch',
    (batch) => Number(batch.attributes['tally.batch.size']) > 1,
  );
  // A request that was recorded though its answer came too late is made again, for one more job.
  const isOf = (job: ReceivedSpan): unknown => job.attributes['tally.execution.id'];
  await until('the spans of all jobs', () => new Set(jobs(traces.spans).map(isOf)).size === 9);
  const owner = jobs(traces.spans).find((job) => job.spanId === parentSpanId);
  expect(owner).toMatchObject({ traceId, links: [] });
  const linked = jobs(traces.spans).filter(({ links }) =>
    links.some((link) => link.spanId === spanId),
  );
  expect(linked).toHaveLength(Number(attributes['tally.batch.size']) - 1);
  for (const job of linked) {
    expect(job.links).toMatchObject([{ traceId, spanId }]);
    expect(job.traceId).not.toBe(traceId);
  }
});

it('a trace that can not be read, in the outbox or on the queue, costs nothing but itself', async () => {
  const traces = await receiveTraces();
  const [first = 0, second = 0] = await createSilently(2);
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source, traceparent)
     VALUES ($1, 'REPLICATION', 'api', '00-zz')`,
    [first],
  );
  await queue.add(
    'refresh',
    { executionId: second, vendor: 'REPLICATION' },
    { telemetry: { metadata: '{"traceparent":' } },
  );
  await startWorker({ ...environment, ...traces.environment });
  await startProducer({ ...environment, ...traces.environment });
  await until('both to be refreshed', () => allSettled(stores));
  await until('both jobs', () => jobs(traces.spans).length === 2);
});

it('a row whose writer traces continues the trace of its writer', async () => {
  const traces = await receiveTraces();
  const [id] = await createSilently(1);
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source, traceparent)
     VALUES ($1, 'REPLICATION', 'api', $2)`,
    [id, `00-${TRACE}-${CALLER}-01`],
  );
  await startWorker({ ...environment, ...traces.environment });
  await startProducer({ ...environment, ...traces.environment });
  expect(await traces.span('send refresh')).toMatchObject({ traceId: TRACE, parentSpanId: CALLER });
  expect(await traces.span(STATEMENT)).toMatchObject({ traceId: TRACE });
});

it('what the caller does not sample is not sent, and refreshed all the same', async () => {
  const traces = await receiveTraces();
  const [unsampled = 0, sampled = 0] = await createSilently(2);
  const worker = await startWorker({ ...environment, ...traces.environment });
  const { url } = await startProducer({ ...environment, ...traces.environment });
  await post(url, [unsampled], `00-${TRACE}-${CALLER}-00`);
  await until('it to be refreshed', () => allSettled(stores));
  // The same trace however often it has to ask.
  await post(url, [sampled], `00-${OTHER_TRACE}-${CALLER}-01`);
  await traces.span(STATEMENT);
  worker.kill('SIGTERM');
  await worker.ended;
  expect(new Set(traces.spans.map(({ traceId }) => traceId))).toEqual(new Set([OTHER_TRACE]));
});

it('nothing is sent but what refreshes do: no looks at queue and outbox, no renewal of locks', async () => {
  const traces = await receiveTraces();
  const producer = await startProducer({ ...environment, ...traces.environment });
  const worker = await startWorker({
    ...environment,
    ...traces.environment,
    STALLED_INTERVAL_MS: '100',
    LOCK_DURATION_MS: '500',
  });
  await createExecution(database);
  await until('it to be refreshed', () => allSettled(stores));
  // At a stop, spans that aren't sent within a second are lost.
  const names = ['send refresh', 'process refresh', 'refresh batch', STATEMENT];
  for (const name of names) await traces.span(name);
  for (const child of [worker, producer]) {
    child.kill('SIGTERM');
    expect((await child.ended).code).toBe(0);
  }
  expect(new Set(traces.spans.map(({ name }) => name))).toEqual(new Set(names));
});
