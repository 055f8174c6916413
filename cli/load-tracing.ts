import type { Lifecycle } from '../shared/process/lifecycle.ts';
import type { Config } from '../shared/process/config.ts';
import type { Tracing } from '../shared/tracing/tracing.ts';

/** Longest time that a process waits at its end for its last spans to be sent. */
export const FLUSH_MS = 1_000;
/** What is left of the deadline of a stop for the exit itself. */
const EXIT_MS = 250;

/**
 * Starts tracing if OTEL_EXPORTER_OTLP_ENDPOINT is set. Otherwise none of its code is loaded.
 * @param warn gets each problem, once
 */
export async function loadTracing(
  config: Config,
  role: string,
  warn: (line: string) => void,
): Promise<Tracing | undefined> {
  if (config.OTEL_EXPORTER_OTLP_ENDPOINT === undefined) return undefined;
  const { startTracing } = await import('../shared/tracing/start.ts');
  return startTracing(config, role, warn);
}

/**
 * Has the lifecycle send the last spans when everything that is opened later is closed, within what
 * is then left of the stop's deadline.
 */
export function flushAtStop(tracing: Tracing, lifecycle: Lifecycle, graceMs: number): void {
  let deadlineMs = Number.POSITIVE_INFINITY;
  const begin = (): void => void (deadlineMs = performance.now() + graceMs - EXIT_MS);
  lifecycle.signal.addEventListener('abort', begin, { once: true });
  lifecycle.onStop('tracing', () =>
    tracing.close(Math.min(FLUSH_MS, deadlineMs - performance.now())),
  );
}
