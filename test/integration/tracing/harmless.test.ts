import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { createExecutions, readExecution } from '../../support/executions.ts';
import {
  runTally,
  startProducer,
  startWorker,
  type TallyProcess,
} from '../../support/processes.ts';
import { createStores } from '../../support/stores.ts';
import { receiveTraces } from '../../support/trace-receiver.ts';
import { until } from '../../support/wait.ts';

const LOST = 'traces could not be sent and are lost; refreshes go on';

const stores = await createStores({
  settings: {
    RECONCILE_INTERVAL_MS: '0',
    // However busy the machine is, no row gets old enough for the lane that isn't traced.
    BACKLOG_AFTER_MS: '60000',
  },
  capture: true,
});
const { database, environment } = stores;

/** Changes a task and waits until its execution says so. */
async function refreshOne(): Promise<void> {
  const [id = 0] = await createExecutions(database, 1);
  await until(
    'the execution to be refreshed',
    async () => (await readExecution(database, id)).status === 'Success',
  );
}

async function portOfNobody(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function stop(child: TallyProcess): Promise<number | null> {
  child.kill('SIGTERM');
  return (await child.ended).code;
}

function linesWith(child: TallyProcess, text: string): string[] {
  return child.lines.filter((line) => line.includes(text));
}

/** A module for `node --import`. */
function moduleOf(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

/** Has a process say at its end what it has loaded of OpenTelemetry, and of Tally's own tracing. */
const LIST_MODULES = moduleOf(`
  import { createRequire } from 'node:module';
  import inspector from 'node:inspector';
  const session = new inspector.Session();
  session.connect();
  const own = new Set();
  session.on('Debugger.scriptParsed', ({ params }) => {
    if (params.url.includes('/shared/tracing/')) own.add('tracing');
  });
  session.post('Debugger.enable');
  process.on('exit', () => {
    const files = Object.keys(createRequire('/').cache);
    const found = files.map((file) => /@opentelemetry\\/[\\w-]+/.exec(file)?.[0]).filter(Boolean);
    process.stdout.write('loaded: ' + [...new Set([...found, ...own])].join(' ') + '.\\n');
  });
`);

it.each(['worker', 'producer', 'enqueue'] as const)(
  'tally %s without OTEL_EXPORTER_OTLP_ENDPOINT loads nothing for tracing',
  async (role) => {
    const listing = { ...environment, NODE_OPTIONS: `--import ${LIST_MODULES}` };
    const run = async (more: Readonly<Record<string, string>>): Promise<string> => {
      const all = { ...listing, ...more };
      if (role === 'enqueue') return (await runTally(['enqueue', '1:REPLICATION'], all)).output;
      const child = await (role === 'worker' ? startWorker(all) : startProducer(all));
      expect(await stop(child)).toBe(0);
      return child.lines.join('\n');
    };
    const off = /loaded: .*/.exec(await run({}))?.[0];
    // The API is prom-client's, which every process of the two has.
    expect(off).toBe(role === 'enqueue' ? 'loaded: .' : 'loaded: @opentelemetry/api.');
    const on = /loaded: .*/.exec(await run((await receiveTraces()).environment))?.[0];
    expect(on).toContain('@opentelemetry/sdk-node');
    expect(on).toContain('tracing');
  },
);

it('a collector that is unavailable is named once, and neither refreshes nor a stop wait for it', async () => {
  const nowhere = {
    ...environment,
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await portOfNobody()}`,
    OTEL_EXPORTER_OTLP_TIMEOUT: '200',
    OTEL_BSP_SCHEDULE_DELAY: '20',
  };
  const worker = await startWorker(nowhere);
  const producer = await startProducer(nowhere);
  await refreshOne();
  await worker.said(LOST);
  await producer.said(LOST);
  for (let n = 0; n < 5; n++) await refreshOne();
  expect(await stop(worker)).toBe(0);
  expect(await stop(producer)).toBe(0);
  expect(linesWith(worker, 'ECONNREFUSED')).toHaveLength(1);
  expect(linesWith(producer, 'ECONNREFUSED')).toHaveLength(1);
  expect(linesWith(worker, 'tracing:')).toEqual([]);
});

it('an endpoint that is no collector is named with its answer', async () => {
  const { environment: tracing } = await receiveTraces();
  const elsewhere = `${tracing['OTEL_EXPORTER_OTLP_ENDPOINT']}/elsewhere`;
  const wrong = { ...environment, ...tracing, OTEL_EXPORTER_OTLP_ENDPOINT: elsewhere };
  const worker = await startWorker(wrong);
  await startProducer(environment);
  await refreshOne();
  await worker.said(/traces could not be sent.*HTTP status 404/);
});

it('a collector that never answers delays neither refreshes nor a stop beyond its deadline', async () => {
  const traces = await receiveTraces({ answers: false });
  // One that waited for the collector would need longer than it may for its stop, and end with 1.
  const hanging = {
    ...environment,
    ...traces.environment,
    OTEL_EXPORTER_OTLP_TIMEOUT: '600000',
  };
  const worker = await startWorker(hanging);
  const producer = await startProducer(hanging);
  for (let n = 0; n < 3; n++) await refreshOne();
  await until('both to have asked it', () => traces.requests >= 2);
  expect(await stop(worker)).toBe(0);
  expect(await stop(producer)).toBe(0);
});

it('tally enqueue does not wait for a collector that never answers', async () => {
  const traces = await receiveTraces({ answers: false });
  const beginMs = performance.now();
  const { code, output } = await runTally(['enqueue', '1:REPLICATION'], {
    ...environment,
    ...traces.environment,
    OTEL_EXPORTER_OTLP_TIMEOUT: '60000',
  });
  expect({ code, output }).toEqual({ code: 0, output: 'enqueued 1' });
  expect(performance.now() - beginMs).toBeLessThan(30_000);
});

it('the last spans are sent when a process stops', async () => {
  // It waits a second for that, for which a busy machine may need longer.
  const bothSent = async (): Promise<boolean> => {
    const traces = await receiveTraces();
    const lazy = { ...environment, ...traces.environment, OTEL_BSP_SCHEDULE_DELAY: '600000' };
    const worker = await startWorker(lazy);
    const producer = await startProducer(lazy);
    await refreshOne();
    expect(traces.spans).toEqual([]);
    expect(await stop(worker)).toBe(0);
    expect(await stop(producer)).toBe(0);
    const services = new Set(traces.spans.map(({ resource }) => resource['service.name']));
    return services.has('tally-worker') && services.has('tally-producer');
  };
  await until('the spans of both processes', bothSent, 150_000);
});

it('variables of OpenTelemetry that Tally does not know apply: protocol, name, sampler', async () => {
  const traces = await receiveTraces();
  const { OTEL_EXPORTER_OTLP_PROTOCOL: _json, ...binary } = traces.environment;
  await startWorker({ ...environment, ...binary, OTEL_SERVICE_NAME: 'the-name-of-the-service' });
  await startProducer({ ...environment, ...traces.environment, OTEL_TRACES_SAMPLER: 'always_off' });
  await refreshOne();
  await refreshOne();
  expect(traces.spans).toEqual([]);
  // What the producer didn't sample, the worker doesn't either; this one no producer has seen.
  const enqueue = await runTally(['enqueue', '1:REPLICATION'], environment);
  expect(enqueue.code).toBe(0);
  const body = await until('spans of the worker', () => traces.others.at(0)?.body);
  expect(body.includes('the-name-of-the-service')).toBe(true);
  expect(new Set(traces.others.map(({ type }) => type))).toEqual(
    new Set(['application/x-protobuf']),
  );
});

it('an endpoint that is no URL is refused before anything starts', async () => {
  const wrong = { ...environment, OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317' };
  expect(await runTally(['worker'], wrong)).toEqual({
    code: 2,
    output:
      'tally: OTEL_EXPORTER_OTLP_ENDPOINT must be a URL that begins with http:// or https://; for example OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318',
  });
});

it('a variable that the SDK refuses is said, and refreshes go on', async () => {
  const traces = await receiveTraces();
  const wrong = { ...environment, ...traces.environment, OTEL_TRACES_SAMPLER: 'sometimes' };
  const worker = await startWorker(wrong);
  await worker.said(/tracing: .*OTEL_TRACES_SAMPLER/);
  await startProducer(environment);
  await refreshOne();
  expect(await stop(worker)).toBe(0);
});

it('OTEL_SDK_DISABLED turns it off where the platform sets the endpoint', async () => {
  const traces = await receiveTraces();
  const disabled = { ...environment, ...traces.environment, OTEL_SDK_DISABLED: 'true' };
  const worker = await startWorker(disabled);
  const producer = await startProducer(disabled);
  await refreshOne();
  expect(await stop(worker)).toBe(0);
  expect(await stop(producer)).toBe(0);
  expect(traces.requests).toBe(0);
});

/** As if its folder had been removed. */
const WITHOUT_SDK = moduleOf(`
  import Module from 'node:module';
  const find = Module._resolveFilename;
  Module._resolveFilename = (name, ...more) =>
    find(name === '@opentelemetry/sdk-node' ? name + '-that-is-not-there' : name, ...more);
`);

it('a process without the SDK says what to do, once, and works', async () => {
  const without = {
    ...environment,
    ...(await receiveTraces()).environment,
    NODE_OPTIONS: `--import ${WITHOUT_SDK}`,
  };
  const worker = await startWorker(without);
  expect(linesWith(worker, 'nothing is traced')).toEqual([
    expect.stringContaining('the package @opentelemetry/sdk-node is not installed'),
  ]);
  await startProducer(without);
  await refreshOne();
  expect(await stop(worker)).toBe(0);
});
