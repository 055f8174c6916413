import { setTimeout as delay } from 'node:timers/promises';
import {
  context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type Span,
  type SpanOptions,
  type Tracer,
} from '@opentelemetry/api';
import { describeError } from '../errors.ts';

// W3C's `traceparent`. BullMQ's jobs carry it inside of JSON, so it may stand anywhere.
const TRACEPARENT = /\b00-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})\b/;
const QUEUE: Attributes = { 'messaging.system': 'bullmq', 'messaging.destination.name': 'refresh' };

/** A refresh that is put on the queue, and where its trace begins. */
export interface TracedRequest {
  readonly executionId: number;
  /** The span that asked for it, as it stands in the outbox. */
  readonly traceparent?: string | null;
  /** Since when it was due, in seconds since 1970: then it has waited in the outbox. */
  readonly dueS?: number;
}

/** What of a BullMQ job is traced. */
interface TracedJob {
  readonly id?: string | undefined;
  readonly data: unknown;
  readonly opts: { readonly telemetry?: { readonly metadata?: string } };
}

/** Whatever runs statements. */
interface Statements {
  query(sql: string, ...more: never[]): Promise<unknown>;
}

/**
 * The spans of Tally: of a request, a send to the queue, a job, a batch and a statement. Whatever
 * can run without tracing takes `Tracing | undefined` and imports no more than this type, so that
 * nothing of this is loaded, called or allocated while it is off.
 */
export class Tracing {
  readonly #tracer: Tracer;
  readonly #scrub: (text: string) => string;
  readonly #shutdown: () => Promise<void>;
  /** The span of the job that refreshes an execution. */
  readonly #jobs = new Map<unknown, Span>();
  /** Until BullMQ has told that they failed. */
  readonly #failed = new WeakMap<TracedJob, Context>();

  /**
   * @param parts.scrub takes passwords out of the text of an error
   * @param parts.shutdown sends the last spans
   */
  constructor(parts: {
    readonly version: string;
    readonly scrub: (text: string) => string;
    readonly shutdown: () => Promise<void>;
  }) {
    this.#tracer = trace.getTracer('tally', parts.version);
    this.#scrub = parts.scrub;
    this.#shutdown = parts.shutdown;
  }

  /**
   * Sends the last spans.
   * @param withinMs longest wait
   * @returns whether that was enough
   */
  async close(withinMs: number): Promise<boolean> {
    // A collector that refuses them has been logged.
    const sent = this.#shutdown().then(
      () => true,
      () => true,
    );
    return Promise.race([sent, delay(Math.max(0, withinMs), false, { ref: false })]);
  }

  /** The fields by which a log line names the span in which it is written. */
  logFields(): Readonly<Record<string, string>> {
    const now = trace.getActiveSpan()?.spanContext();
    return now !== undefined && isSpanContextValid(now)
      ? { trace_id: now.traceId, span_id: now.spanId }
      : {};
  }

  /** The span that runs now, for the outbox; undefined if there is none. */
  get traceparent(): string | undefined {
    return formatTraceparent(trace.getActiveSpan());
  }

  /** Runs a command as the first span of a trace. @throws what the work throws */
  command<T>(name: string, work: () => Promise<T>): Promise<T> {
    return this.#run(name, {}, ROOT_CONTEXT, work);
  }

  /**
   * Answers a request to the API. If its headers name a trace, it becomes part of that one.
   */
  async request(
    route: string,
    { method, headers }: { readonly method: string; readonly headers: object },
    response: { readonly statusCode: number },
    answer: () => Promise<void>,
  ): Promise<void> {
    const attributes = { 'http.request.method': method, 'http.route': route };
    const parent = propagation.extract(ROOT_CONTEXT, headers);
    const options = { kind: SpanKind.SERVER, attributes };
    await this.#run(`${method} ${route}`, options, parent, async (span) => {
      await answer();
      const { statusCode } = response;
      span.setAttribute('http.response.status_code', statusCode);
      if (statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
    });
  }

  /**
   * Puts jobs on the queue, each in the trace of the span that asked for it. Without one, as of a
   * change that a trigger recorded, the send begins a trace.
   * @param jobs in the order of the requests; each gets the trace that its run continues
   * @throws what `add` throws
   */
  async send<T>(
    requests: readonly TracedRequest[],
    jobs: readonly { readonly opts: { telemetry?: { metadata?: string } } }[],
    add: () => Promise<T>,
  ): Promise<T> {
    const spans = requests.map((request, n) => {
      const span = this.#startSend(request);
      const job = jobs[n];
      // As bullmq-otel writes it, for programs of others that work on the queue.
      const traceparent = formatTraceparent(span);
      if (job && traceparent) job.opts.telemetry = { metadata: JSON.stringify({ traceparent }) };
      return span;
    });
    try {
      return await add();
    } catch (error) {
      for (const span of spans) this.#fail(span, error);
      throw error;
    } finally {
      for (const span of spans) span.end();
    }
  }

  #startSend({ executionId, traceparent, dueS }: TracedRequest): Span {
    const options: SpanOptions = {
      kind: SpanKind.PRODUCER,
      attributes: {
        ...QUEUE,
        'messaging.operation.name': 'send',
        'tally.execution.id': executionId,
      },
    };
    // The database's clock may be ahead.
    if (dueS !== undefined) options.startTime = Math.min(dueS * 1_000, Date.now());
    return this.#tracer.startSpan(
      'send refresh',
      options,
      contextOf(traceparent) ?? context.active(),
    );
  }

  /** Runs a job in the trace that it carries. @throws what the work throws */
  async job<T>(job: TracedJob, work: () => Promise<T>): Promise<T> {
    const executionId = executionIdOf(job.data);
    const attributes: Attributes = { ...QUEUE, 'messaging.operation.name': 'process' };
    if (job.id !== undefined) attributes['messaging.message.id'] = job.id;
    if (executionId !== undefined) attributes['tally.execution.id'] = executionId;
    const parent = contextOf(job.opts.telemetry?.metadata) ?? ROOT_CONTEXT;
    const options = { kind: SpanKind.CONSUMER, attributes };
    return this.#run('process refresh', options, parent, async (span) => {
      this.#jobs.set(executionId, span);
      try {
        return await work();
      } catch (error) {
        this.#failed.set(job, context.active());
        throw error;
      } finally {
        if (this.#jobs.get(executionId) === span) this.#jobs.delete(executionId);
      }
    });
  }

  /** Runs what BullMQ's event `failed` of a job calls, as part of the run that failed. */
  afterFailure(job: TracedJob, work: () => void): void {
    context.with(this.#failed.get(job) ?? ROOT_CONTEXT, work);
  }

  /**
   * Runs the refresh of a batch. One statement does the work of many traces: it is part of the
   * first one, and the job's span of each other one has a link to it.
   */
  batch<T>(executionIds: readonly number[], work: () => Promise<T>): Promise<T> {
    const jobs = executionIds
      .map((id) => this.#jobs.get(id))
      .filter((span) => span?.isRecording() === true);
    const [first, ...others] = jobs;
    // Not in the context of the caller, which is that of whichever job began to gather batches.
    if (first === undefined) return context.with(ROOT_CONTEXT, work);
    const attributes = { 'tally.batch.size': executionIds.length };
    return this.#run(
      'refresh batch',
      { attributes },
      trace.setSpan(ROOT_CONTEXT, first),
      (batch) => {
        for (const job of others) job?.addLink({ context: batch.spanContext() });
        return work();
      },
    );
  }

  /**
   * A database whose statements are spans of whatever runs. Outside of a trace nothing is recorded:
   * an idle producer looks at the outbox many times a second.
   */
  statementsOf<D extends Statements>(database: D): D {
    const query: Statements['query'] = (sql, ...more) => {
      const run = (): Promise<unknown> => database.query(sql, ...more);
      if (trace.getActiveSpan()?.isRecording() !== true) return run();
      const summary = summaryOf(sql);
      const attributes = {
        'db.system.name': 'postgresql',
        'db.query.summary': summary,
        // Without values, which are its parameters.
        'db.query.text': sql,
      };
      return this.#run(summary, { kind: SpanKind.CLIENT, attributes }, context.active(), run);
    };
    return { ...database, query };
  }

  async #run<T>(
    name: string,
    options: SpanOptions,
    parent: Context,
    work: (span: Span) => Promise<T>,
  ): Promise<T> {
    const span = this.#tracer.startSpan(name, options, parent);
    try {
      return await context.with(trace.setSpan(parent, span), () => work(span));
    } catch (error) {
      this.#fail(span, error);
      throw error;
    } finally {
      span.end();
    }
  }

  #fail(span: Span, error: unknown): void {
    const message = this.#scrub(describeError(error));
    span.recordException({ name: error instanceof Error ? error.name : 'Error', message });
    span.setStatus({ code: SpanStatusCode.ERROR, message });
  }
}

function formatTraceparent(span: Span | undefined): string | undefined {
  const now = span?.spanContext();
  if (now === undefined || !isSpanContextValid(now)) return undefined;
  return `00-${now.traceId}-${now.spanId}-${now.traceFlags.toString(16).padStart(2, '0')}`;
}

/**
 * The context that a text names; undefined if it names none. It may be anything: others write to
 * the outbox and to Redis, too.
 */
function contextOf(text: unknown): Context | undefined {
  if (typeof text !== 'string') return undefined;
  const [, traceId = '', spanId = '', flags = ''] = TRACEPARENT.exec(text) ?? [];
  const span = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  return isSpanContextValid(span) ? trace.setSpanContext(ROOT_CONTEXT, span) : undefined;
}

function executionIdOf(data: unknown): number | undefined {
  if (typeof data !== 'object' || data === null || !('executionId' in data)) return undefined;
  return typeof data.executionId === 'number' ? data.executionId : undefined;
}

/** What a statement does, and to what: `SELECT tally.refresh_executions`. */
function summaryOf(sql: string): string {
  const [action = 'SQL'] = /\b(?:SELECT|INSERT|UPDATE|DELETE)\b/.exec(sql) ?? [];
  const [target = ''] = /\btally\.\w+/.exec(sql) ?? [];
  return `${action} ${target}`.trimEnd();
}
