import type { RedisQueueBackend } from 'bullmq';
import { bullmq } from './packages.ts';

// What a script answers with the fields of a job that was taken. (A worker's fetch, and its fetch behind a finished job.)
const GIVES_A_JOB = new Set(['moveToActive', 'moveToFinished']);
// So much of what is no JSON is shown.
const SHOWN = 1_000;

/**
 * BullMQ's access to Redis, for queues and workers, which reads every job that stands there. BullMQ itself throws
 * where data or options of a job are no JSON: its worker would leave such a job in hand until it is stalled, again
 * and again, and every list that contains it would fail. Here its data reads as {@link NotJson}, which is no refresh,
 * so that it fails at once and alone; options that can't be read are none.
 */
export const createReadableBackend = (
  ...parts: Parameters<typeof bullmq.createRedisBackend>
): RedisQueueBackend => {
  const backend = bullmq.createRedisBackend(...parts);
  const execute = backend.execCommand.bind(backend);
  backend.execCommand = (client, command, values): unknown => {
    const answered: unknown = execute(client, command, values);
    return GIVES_A_JOB.has(command) && answered instanceof Promise
      ? answered.then(withReadableJob)
      : answered;
  };
  backend.getJobData = async (jobId) => {
    const client = await backend.client;
    const fields = await client.hgetall(backend.toKey(jobId));
    if (Object.keys(fields).length === 0) return undefined;
    const [job] = bullmq.raw2NextJobData([Object.entries(readable(fields)).flat(), jobId]) as [
      Awaited<ReturnType<RedisQueueBackend['getJobData']>>,
    ];
    return job;
  };
  return backend;
};

/** The data of a job whose data is no JSON: the text itself, or its beginning. */
interface NotJson {
  readonly notJson: string;
}

/** Whether a job's data was no JSON. */
export function isNotJson(data: unknown): data is NotJson {
  return typeof data === 'object' && data !== null && 'notJson' in data;
}

/** @param answer of a script: the fields and values of a job by turns, its id and two delays; or a number */
function withReadableJob(answer: unknown): unknown {
  if (!Array.isArray(answer) || !Array.isArray(answer[0])) return answer;
  const [flat, ...rest] = answer as [string[], ...unknown[]];
  const fields: Record<string, string> = {};
  for (let at = 0; at + 1 < flat.length; at += 2) fields[flat[at] ?? ''] = flat[at + 1] ?? '';
  return [Object.entries(readable(fields)).flat(), ...rest];
}

function readable(fields: Readonly<Record<string, string>>): Record<string, string> {
  // Tally has neither parents of jobs nor schedulers; whoever writes these by hand would stop the job.
  const { parent: _parent, parentKey: _parentKey, rjk: _scheduler, ...job } = fields;
  const { data = '{}', opts = '{}', progress = '0' } = job;
  const notJson: NotJson = { notJson: data.slice(0, SHOWN) };
  return {
    ...job,
    data: parsed(data) === undefined ? JSON.stringify(notJson) : data,
    opts: isObject(parsed(opts)) ? opts : '{}',
    progress: parsed(progress) === undefined ? '0' : progress,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}
