import { onTestFinished } from 'vitest';
import { runProducer } from '../../producers/run.ts';
import { loadConfig, type StoresConfig } from '../../shared/process/config.ts';
import { Lifecycle } from '../../shared/process/lifecycle.ts';
import { createLogger, type Logger } from '../../shared/process/logger.ts';
import { runWorker } from '../../workers/run.ts';
import { until } from './wait.ts';

/** What `tally worker` or `tally producer` runs, in this process: a tenth of the time until it is at work. */
export interface Running {
  /** Lines of its log so far. */
  readonly lines: readonly string[];
  /** Waits until a line of its log has this text. */
  said(text: string | RegExp): Promise<string>;
  /** Stops it as SIGTERM does; done by itself after the test. */
  stop(): Promise<void>;
}

let opened = 0;

/** Opens a worker, which takes jobs when this resolves. For a test that kills it, or that has it wait for a store: `startWorker`. */
export function openWorker(environment: Readonly<Record<string, string>>): Promise<Running> {
  const name = `test:${process.pid}-${++opened}`;
  return open('worker', environment, (config, lifecycle, log) =>
    runWorker(config, lifecycle, log, { name }),
  );
}

/** Opens a producer. @returns also the address of its API */
export async function openProducer(
  environment: Readonly<Record<string, string>>,
): Promise<Running & { readonly url: string }> {
  const producer = await open('producer', environment, runProducer);
  const line = await producer.said(/refreshes are accepted on|health and metrics on/);
  return { ...producer, url: /http:\S+?:\d+/.exec(line)?.[0] ?? '' };
}

async function open(
  role: string,
  environment: Readonly<Record<string, string>>,
  run: (config: StoresConfig, lifecycle: Lifecycle, log: Logger) => Promise<void>,
): Promise<Running> {
  const config = loadConfig(['DATABASE_URL', 'REDIS_URL'], environment);
  const lines: string[] = [];
  const log = createLogger(config, role, (line) => void lines.push(line.trimEnd()));
  const lifecycle = new Lifecycle(log);
  onTestFinished(() => lifecycle.stop());
  await run(config, lifecycle, log);
  return {
    lines,
    said: (text) =>
      until(
        () => `the ${role} to say ${String(text)}; it said\n${lines.slice(-20).join('\n')}`,
        () =>
          lines.find((line) => (typeof text === 'string' ? line.includes(text) : text.test(line))),
      ),
    stop: () => lifecycle.stop(),
  };
}
