import { UsageError } from '../shared/errors.ts';
import type { ConnectWorker, Urls } from './contenders/contender.ts';

/** Each loads only what it runs, so that its memory is its own. Some have an argument: `harbor-every:30000`. */
const WORKERS: Readonly<Record<string, (argument: string) => Promise<ConnectWorker>>> = {
  noop: async () => (await import('./contenders/noop-bullmq.ts')).connect,
  bullmq: async () => (await import('./contenders/plain-bullmq.ts')).connect,
  'harbor-main': async () => (await import('./contenders/harbor-loop.ts')).connectOnMain,
  'harbor-released': async () => (await import('./contenders/harbor-loop.ts')).connectAsReleased,
  'harbor-every': async (ms) =>
    (await import('./contenders/harbor-loop.ts')).connectPeriodic(Number(ms)),
  'graphile-worker': async () => (await import('./contenders/graphile-worker.ts')).connect,
  function: async (share) => (await import('./contenders/bare-function.ts')).connectShare(share),
  'pg-boss': async () => (await import('./contenders/pg-boss.ts')).connect,
};

/** Connects the worker of that name. @returns its work, to be begun by calling it */
export async function connectWorker(name: string, urls: Urls): Promise<() => Promise<void>> {
  const [kind = '', argument = ''] = name.split(':');
  const load = WORKERS[kind];
  if (load === undefined) throw new UsageError(`there is no worker ${name}`);
  const connect = await load(argument);
  return await connect(urls);
}
