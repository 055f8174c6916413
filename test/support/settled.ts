import { countJobs, type RefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { outboxRows } from './executions.ts';
import type { Stores } from './stores.ts';

/** Whether no job waits, runs or is delayed; failed ones may stay. */
export async function settled(queue: RefreshQueue): Promise<boolean> {
  const { waiting, active, delayed } = await countJobs(queue);
  return waiting + active + delayed === 0;
}

/** Whether, besides, no refresh waits in the outbox. */
export async function allSettled({
  queue,
  database,
}: Pick<Stores, 'queue' | 'database'>): Promise<boolean> {
  return (await outboxRows(database)) === 0 && (await settled(queue));
}
