import { createRequire } from 'node:module';
import { diag, DiagLogLevel } from '@opentelemetry/api';
import type * as Sdk from '@opentelemetry/sdk-node';
import { describeError } from '../errors.ts';
import type { Config } from '../process/config.ts';
import { readVersion } from '../process/installation.ts';
import { scrubSecrets, secretsOf } from '../process/logger.ts';
import { Tracing } from './tracing.ts';

const SDK_PACKAGE = '@opentelemetry/sdk-node';

/**
 * Starts OpenTelemetry's SDK, which reads its other `OTEL_*` variables itself. Never throws, since
 * refreshes need no traces: what is wrong is logged.
 * @param role the kind of process; its service is called `tally-<role>` unless OTEL_SERVICE_NAME is
 *   set
 * @param warn gets each problem, once
 * @returns undefined if nothing can be traced
 */
export function startTracing(
  config: Config,
  role: string,
  warn: (line: string) => void,
): Tracing | undefined {
  const secrets = secretsOf(config);
  const scrub = (text: string): string => scrubSecrets(text, secrets);
  try {
    // Required for the reason that packages.ts of the queue gives.
    const sdk = createRequire(import.meta.url)(SDK_PACKAGE) as typeof Sdk;
    const shutdown = startSdk(sdk, role, once(warn));
    return new Tracing({ version: readVersion(), scrub, shutdown });
  } catch (error) {
    const isMissing =
      error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND';
    warn(
      isMissing
        ? `nothing is traced: OTEL_EXPORTER_OTLP_ENDPOINT is set and the package ${SDK_PACKAGE} is not installed; install Tally's dependencies again, or unset the variable`
        : `nothing is traced: ${describeError(error)}`,
    );
    return undefined;
  }
}

/** @returns sends the last spans and ends the SDK */
function startSdk(
  sdk: typeof Sdk,
  role: string,
  warn: (line: string) => void,
): () => Promise<void> {
  const ignore = (): void => undefined;
  const tell = (message: string): void => warn(`tracing: ${message}`);
  diag.setLogger(
    { error: tell, warn: tell, info: ignore, debug: ignore, verbose: ignore },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  );
  sdk.core.setGlobalErrorHandler((error) =>
    warn(`traces could not be sent and are lost; refreshes go on: ${causeOf(error)}`),
  );
  const node = new sdk.NodeSDK({
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before these.
    resource: sdk.resources.defaultResource().merge(
      sdk.resources.resourceFromAttributes({
        'service.name': `tally-${role}`,
        'service.version': readVersion(),
      }),
    ),
    // Traces only: Tally has metrics and a log of its own.
    metricReaders: [],
    logRecordProcessors: [],
  });
  node.start();
  return () => node.shutdown();
}

/** Of a collector that refuses spans, with the status of its answer. */
function causeOf(error: unknown): string {
  const status = error instanceof Error && 'code' in error ? error.code : undefined;
  return describeError(error) + (typeof status === 'number' ? ` (HTTP status ${status})` : '');
}

/** Passes each line on once, whatever its figures: a collector may be unavailable for days. */
function once(warn: (line: string) => void): (line: string) => void {
  const said = new Set<string>();
  return (line) => {
    const text = line.replaceAll(/\d+/g, '#');
    if (said.has(text)) return;
    said.add(text);
    warn(line);
  };
}
