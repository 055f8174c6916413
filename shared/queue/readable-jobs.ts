import type { RedisQueueBackend } from 'bullmq';
import { bullmq } from './packages.ts';

// Scripts that return a job's fields: a worker's fetch, and its fetch after a finished job.
const GIVES_A_JOB = new Set(['moveToActive', 'moveToFinished']);
// Characters shown of data that isn't JSON.
const SHOWN = 1_000;

/**
 * Creates BullMQ's backend for queues and workers, able to read every job. BullMQ itself throws if
 * a job's data or options aren't JSON: its worker would hold such a job until it stalls, again and
 * again, and every list that contains it would fail. Here the data reads as {@link NotJson}, which
 * is no refresh, so the job fails at once and alone. Unreadable options count as none.
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
    const flat = Object.entries(fields).flat();
    makeReadable(flat);
    const [job] = bullmq.raw2NextJobData([flat, jobId]) as [
      Awaited<ReturnType<RedisQueueBackend['getJobData']>>,
    ];
    return job;
  };
  return backend;
};

/** Stands for data that isn't JSON: the text or its beginning. */
interface NotJson {
  readonly notJson: string;
}

/** Whether a job's data wasn't JSON. */
export function isNotJson(data: unknown): data is NotJson {
  return typeof data === 'object' && data !== null && 'notJson' in data;
}

/**
 * @param answer of a script: a job's fields and values alternately, its id and two delays; or a
 *   number
 */
function withReadableJob(answer: unknown): unknown {
  if (Array.isArray(answer) && Array.isArray(answer[0])) makeReadable(answer[0] as string[]);
  return answer;
}

/** @param flat a job's fields and values alternately; changed in place, as it is done with every job */
function makeReadable(flat: string[]): void {
  for (let at = 0; at + 1 < flat.length; at += 2) {
    const field = flat[at] ?? '';
    const value = flat[at + 1] ?? '';
    switch (field) {
      case 'data':
        if (parsed(value) === undefined) {
          const notJson: NotJson = { notJson: value.slice(0, SHOWN) };
          flat[at + 1] = JSON.stringify(notJson);
        }
        break;
      case 'opts':
        if (!isObject(parsed(value))) flat[at + 1] = '{}';
        break;
      case 'progress':
        if (parsed(value) === undefined) flat[at + 1] = '0';
        break;
      // Tally uses neither parent jobs nor schedulers; fields of these, written by hand, would block
      // the job.
      case 'parent':
      case 'parentKey':
      case 'rjk':
        flat.splice(at, 2);
        at -= 2;
    }
  }
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
