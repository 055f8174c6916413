import type { Redis } from 'ioredis';
import type { Database } from '../postgres/database.ts';
import { TallyError } from '../errors.ts';
import type { Identity } from '../execution.ts';
import { parseMarkerMember, TAKEN_SET, writeMarkers, type MarkerFormat } from './markers.ts';
import { dropFailures, failureRecordPages } from '../postgres/failures.ts';
import { summarizeOutbox } from '../postgres/outbox.ts';
import { readPayload, type RefreshJob, type RefreshQueue } from '../queue/refresh-queue.ts';

const PAGE = 1_000;
// Jobs of a paused queue count as waiting. No worker has any of these in hand.
const MOVED_STATES = ['waiting', 'prioritized', 'delayed', 'failed'] as const;

interface Parts {
  readonly session: Database;
  readonly harbor: Redis;
  readonly queue: RefreshQueue;
  readonly format: MarkerFormat;
  readonly bar: { total(count: number): void; at(count: number): void };
}

/** How many refreshes became markers, by where they came from, and how many were left. */
export interface Exported {
  readonly outbox: number;
  readonly queue: number;
  /** Failed refreshes whose jobs Redis no longer has. */
  readonly failures: number;
  /** Members of Harbor's set that an intake had taken over but not finished. */
  readonly taken: number;
  /** Jobs that a worker has in hand: a marker was written, and the job was left. */
  readonly active: number;
  /** Jobs that were left because their data is no refresh or a worker took them meanwhile. */
  readonly left: number;
  /** Rows that were added to the outbox meanwhile. */
  readonly newRows: number;
}

/**
 * Refuses to go on while a producer is connected to the database; it would keep processing what is
 * being exported.
 * @throws TallyError PRODUCER_RUNS
 * @throws an error from `pg`
 */
export async function refuseRunningProducers(session: Database): Promise<void> {
  const rows = await session.query(
    `SELECT FROM pg_stat_activity
      WHERE datname = current_database() AND application_name = 'tally producer' LIMIT 1`,
  );
  if (rows.length > 0) {
    throw new TallyError(
      'PRODUCER_RUNS',
      'a producer is connected to the database; stop all producers and run this again (or add --force if only a connection pool still uses that name)',
    );
  }
}

/**
 * Turns every pending refresh into a marker: outbox rows, waiting and failed jobs, failures whose
 * jobs are gone, and what an intake left behind. At least once: for each page the markers are
 * written before the refreshes are removed, so after a crash each is in one place at least. It
 * doesn't wait for refreshes that arrive meanwhile.
 * @throws an error from `pg` or `ioredis`; it is safe to run again
 */
export async function exportRefreshes(parts: Parts): Promise<Exported> {
  const { session, queue, harbor, bar } = parts;
  const total = async (): Promise<number> => {
    const jobs = await queue.getJobCounts(...MOVED_STATES);
    const waiting = Object.values(jobs).reduce((sum, count) => sum + count, 0);
    return (await summarizeOutbox(session)).rows + waiting + (await harbor.scard(TAKEN_SET));
  };
  bar.total(await total());
  let done = 0;
  const step = (count: number): void => bar.at((done += count));
  const outbox = await exportOutbox(parts, step);
  const jobs = await exportJobs(parts, step);
  const failures = await exportFailures(parts);
  const taken = await exportTakenSet(parts, step);
  const active = await markActive(parts);
  return {
    outbox,
    ...jobs,
    failures,
    taken,
    active,
    newRows: (await summarizeOutbox(session)).rows,
  };
}

/** A summary for people: one line, and another for each kind of thing that was left. */
export function describeExport(exported: Exported, format: MarkerFormat): string {
  const { outbox, queue, failures, taken, active, left, newRows } = exported;
  const lines = [
    `exported ${outbox + queue + failures + taken} refreshes as markers (format ${format}): ${outbox} from the outbox, ${queue} from the queue, ${taken} that an intake had left`,
  ];
  if (failures > 0) lines.push(`${failures} of them had failed, and their jobs were gone`);
  if (active > 0)
    lines.push(
      `markers were also written for ${active} jobs that workers have in hand; the jobs were left`,
    );
  if (left > 0)
    lines.push(`${left} jobs were left: their data is no refresh, or a worker took them`);
  if (newRows > 0) {
    lines.push(
      `${newRows} rows were added to the outbox meanwhile; stop what writes them (tally capture disable) and run this again`,
    );
  }
  return `${lines.join('\n')}\n`;
}

async function exportOutbox(
  { session, harbor, format }: Parts,
  step: (count: number) => void,
): Promise<number> {
  const [end] = await session.query<{ id: number | null }>(
    'SELECT max(id) AS id FROM tally.outbox',
  );
  let exported = 0;
  for (let after = 0; ;) {
    // Marked as sent, so that the backlog lane doesn't refresh them as well. FOR UPDATE waits for
    // those that it has in hand.
    const rows: ({ id: number } & Identity)[] = await session.query(
      `UPDATE tally.outbox SET sent_at = clock_timestamp()
        WHERE id = ANY (ARRAY(
              SELECT id FROM tally.outbox WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3 FOR UPDATE))
       RETURNING id, execution_id AS "executionId", vendor`,
      [after, end?.id ?? 0, PAGE],
    );
    if (rows.length === 0) return exported;
    await writeMarkers(harbor, format, rows);
    await session.query('DELETE FROM tally.outbox WHERE id = ANY ($1)', [rows.map(({ id }) => id)]);
    after = Math.max(...rows.map(({ id }) => id));
    exported += rows.length;
    step(rows.length);
  }
}

async function exportJobs(
  parts: Parts,
  step: (count: number) => void,
): Promise<{ queue: number; left: number }> {
  let exported = 0;
  let left = 0;
  for (const state of MOVED_STATES) {
    for (let skip = 0; ;) {
      const there =
        Math.min((await parts.queue.getJobCounts(state))[state] ?? 0, skip + PAGE) - skip;
      if (there <= 0) {
        left += skip;
        break;
      }
      const jobs = await parts.queue.getJobs([state], skip, skip + PAGE - 1, true);
      const moved = await moveJobs(parts, jobs);
      exported += moved;
      // Jobs that were left precede the next page.
      skip += Math.max(there - moved, 0);
      step(there);
    }
  }
  return { queue: exported, left };
}

/** @returns how many became markers and are gone from the queue, with their deduplication keys */
async function moveJobs(
  { session, harbor, format }: Parts,
  jobs: readonly RefreshJob[],
): Promise<number> {
  const refreshes = jobs.flatMap((job) => {
    const identity = identityOf(job);
    return identity === undefined ? [] : [{ job, identity }];
  });
  await writeMarkers(
    harbor,
    format,
    refreshes.map(({ identity }) => identity),
  );
  // A job that a worker took meanwhile can't be removed; the worker does it.
  const results = await Promise.allSettled(refreshes.map(({ job }) => job.remove()));
  const removed = refreshes.filter((_, index) => results[index]?.status === 'fulfilled');
  await session.query('DELETE FROM tally.failure WHERE job_id = ANY ($1)', [
    removed.map(({ job }) => job.id),
  ]);
  return removed.length;
}

/** Only failures without a job: the others were exported with their jobs. */
async function exportFailures({ session, harbor, format }: Parts): Promise<number> {
  let exported = 0;
  for await (const page of failureRecordPages(session)) {
    await writeMarkers(harbor, format, page);
    await dropFailures(
      session,
      page.map(({ jobId }) => jobId),
    );
    exported += page.length;
  }
  return exported;
}

async function exportTakenSet(
  { harbor, format }: Parts,
  step: (count: number) => void,
): Promise<number> {
  let exported = 0;
  let cursor = '0';
  do {
    const [next, members] = await harbor.sscanBuffer(TAKEN_SET, cursor, 'COUNT', PAGE);
    for (let from = 0; from < members.length; from += PAGE) {
      const page = members.slice(from, from + PAGE);
      const identities = page.flatMap((member) => parseMarkerMember(member.toString()) ?? []);
      await writeMarkers(harbor, format, identities);
      await harbor.srem(TAKEN_SET, ...page);
      exported += identities.length;
      step(page.length);
    }
    cursor = next.toString();
  } while (cursor !== '0');
  return exported;
}

async function markActive({ harbor, queue, format }: Parts): Promise<number> {
  const identities = (await queue.getJobs(['active'])).flatMap((job) => identityOf(job) ?? []);
  for (let from = 0; from < identities.length; from += PAGE) {
    await writeMarkers(harbor, format, identities.slice(from, from + PAGE));
  }
  return identities.length;
}

function identityOf(job: RefreshJob): Identity | undefined {
  try {
    return readPayload(job.data);
  } catch {
    return undefined;
  }
}
