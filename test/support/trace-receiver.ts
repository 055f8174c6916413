import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { z } from 'zod';
import { until } from './wait.ts';

const Attributes = z
  .array(z.object({ key: z.string(), value: z.record(z.string(), z.unknown()) }))
  .transform((list) =>
    Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]])),
  );

const Span = z.object({
  name: z.string(),
  traceId: z.string(),
  spanId: z.string(),
  parentSpanId: z.string().optional(),
  startTimeUnixNano: z.string(),
  endTimeUnixNano: z.string(),
  attributes: Attributes,
  links: z.array(z.object({ traceId: z.string(), spanId: z.string() })).default([]),
  status: z.object({ code: z.number().optional(), message: z.string().optional() }),
});

// OTLP as JSON: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
const TracesRequest = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: Attributes }),
      scopeSpans: z.array(z.object({ spans: z.array(Span) })),
    }),
  ),
});

export type ReceivedSpan = z.infer<typeof Span> & {
  readonly resource: Readonly<Record<string, unknown>>;
};

export interface TraceReceiver {
  /** The environment of a process that sends its spans here, soon after they end. */
  readonly environment: Readonly<Record<string, string>>;
  /** Spans that came so far. */
  readonly spans: readonly ReceivedSpan[];
  /** The type and the body of each request that wasn't JSON. */
  readonly others: readonly { readonly type: string | undefined; readonly body: Buffer }[];
  /** Requests that came so far. */
  readonly requests: number;
  /** Waits until a span of this name has come. */
  span(name: string, like?: (span: ReceivedSpan) => boolean): Promise<ReceivedSpan>;
  /** The names of a span and of all above it in its trace, from the top. */
  pathTo(span: ReceivedSpan): string[];
}

/**
 * A collector that takes OTLP over HTTP; closed after the test.
 * @param options.answers `false`: it takes connections and never answers
 */
export async function receiveTraces({ answers = true } = {}): Promise<TraceReceiver> {
  const spans: ReceivedSpan[] = [];
  const others: { type: string | undefined; body: Buffer }[] = [];
  let requests = 0;
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await bodyOf(request);
    if (body === undefined) {
      response.destroy();
      return;
    }
    const type = request.headers['content-type'];
    if (request.url !== '/v1/traces') {
      response.writeHead(404).end();
      return;
    }
    if (type === 'application/json') spans.push(...spansOf(JSON.parse(body.toString())));
    else others.push({ type, body });
    response.writeHead(200, { 'content-type': type ?? '' }).end(type?.endsWith('json') ? '{}' : '');
  };
  const server = createServer((request, response) => {
    requests++;
    if (answers) void take(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const pathTo = (span: ReceivedSpan): string[] => {
    const above = spans.find(
      ({ traceId, spanId }) => traceId === span.traceId && spanId === span.parentSpanId,
    );
    return [...(above === undefined ? [] : pathTo(above)), span.name];
  };
  return {
    environment: {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_BSP_SCHEDULE_DELAY: '50',
    },
    spans,
    others,
    get requests() {
      return requests;
    },
    span: (name, like = () => true) =>
      until(
        () => `the span ${name}; there came\n${spans.map((span) => span.name).join('\n')}`,
        () => spans.find((span) => span.name === name && like(span)),
      ),
    pathTo,
  };
}

/** Undefined if the process that sends it was killed meanwhile. */
async function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  try {
    return Buffer.concat(await request.toArray());
  } catch {
    return undefined;
  }
}

function spansOf(body: unknown): ReceivedSpan[] {
  return TracesRequest.parse(body).resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap((scope) =>
      scope.spans.map((span) => ({ ...span, resource: resource.attributes })),
    ),
  );
}
