import { setTimeout as delay } from 'node:timers/promises';
import { Counter, Registry } from 'prom-client';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { startReconciler } from '../../../producers/reconciler.ts';
import type { Database } from '../../../shared/postgres/database.ts';
import { countDisagreements, recordDisagreements } from '../../../shared/postgres/disagreements.ts';
import { createExecutions, outboxRows } from '../../support/executions.ts';
import { costOf } from '../../support/statement-cost.ts';
import { createStores, silent } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const { config, database } = await createStores({ settings: { RECONCILE_INTERVAL_MS: '200' } });

/** The rests between pages are long where each page takes long. */
const PASS_MS = 120_000;

interface State {
  readonly found: number;
  readonly lastPass: string | null;
}

async function readState(): Promise<State> {
  const [state] = await database.query<State & Record<string, unknown>>(
    `SELECT found_total AS found, last_pass_at::text AS "lastPass" FROM tally.reconciler`,
  );
  if (state === undefined) throw new Error('tally.reconciler is empty');
  return state;
}

/** Waits until a pass that began after this call has ended. */
async function nextPass(): Promise<void> {
  for (let passes = 0; passes < 2; passes++) {
    const { lastPass } = await readState();
    await until('a pass to end', async () => (await readState()).lastPass !== lastPass);
  }
}

function reconcile(intervalMs = 200, through = database): { readonly repaired: Counter } {
  const repaired = new Counter({ name: 'repaired', help: 'x', registers: [new Registry()] });
  const reconciler = startReconciler({
    config: { ...config, RECONCILE_INTERVAL_MS: intervalMs },
    database: through,
    log: silent,
    repaired,
  });
  onTestFinished(() => reconciler.close());
  return { repaired };
}

async function store(id: number | undefined, set: string): Promise<void> {
  await database.query(`UPDATE execution SET ${set} WHERE id = $1`, [id]);
}

const counted = async (counter: Counter): Promise<number> =>
  (await counter.get()).values[0]?.value ?? 0;

beforeEach(async () => {
  await database.query('TRUNCATE execution, task, tally.outbox, tally.failure');
  await database.query(`UPDATE tally.reconciler SET last_pass_at = NULL, found_total = 0`);
  await database.query('DELETE FROM tally.lease');
});

describe('the reconciler, page by page,', () => {
  it.each([
    ['Error', 'all its tasks succeeded', ['Success'], `'2026-05-05 05:05:05'`],
    ['Error', 'all its tasks succeeded', ['Success'], 'NULL'],
    ['Error', 'some of them still run', ['Success', 'Running'], 'NULL'],
    ['Success', 'one of them failed', ['Success', 'Error'], `'2026-05-05 05:05:05'`],
  ])('leaves a status %s that was set by hand although %s', async (status, _why, tasks, end) => {
    const [id] = await createExecutions(database, 1, tasks);
    await store(id, `status = '${status}', end_time = ${end}`);
    reconcile();
    await nextPass();
    expect(await outboxRows(database)).toBe(0);
  });

  it('skips executions with a refresh on its way, however far in the future, or a failed job', async () => {
    const ids = await createExecutions(database, 2_000);
    await database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source, due_at)
       SELECT id, 'REPLICATION', 'marker', now() + interval '1 hour' FROM unnest($1::bigint[]) AS id`,
      [ids.slice(1)],
    );
    await database.query(
      `INSERT INTO tally.failure (job_id, execution_id, vendor) VALUES ('42:REPLICATION:x', $1, 'REPLICATION')`,
      [ids[0]],
    );
    reconcile();
    await nextPass();
    expect(await outboxRows(database)).toBe(1_999);
    await database.query('UPDATE tally.failure SET refreshed = true');
    await until('it to care for the one whose failure is over', async () => {
      return (await outboxRows(database)) === 2_000;
    });
  });

  it('finds, counts and records each disagreement of many pages once among several producers', async () => {
    await createExecutions(database, 3_500);
    // So long that no page takes longer: then another one would take its turn.
    const reconcilers = [1, 2, 3].map(() => reconcile(10_000));
    const passAfter = async (last: string | null): Promise<void> => {
      const ended = async (): Promise<boolean> => (await readState()).lastPass !== last;
      await until('a pass to end', ended, PASS_MS);
    };
    await passAfter(null);
    expect(await outboxRows(database)).toBe(3_500);
    // The next one needn't wait for the interval to be over.
    const { lastPass } = await readState();
    await database.query('DELETE FROM tally.lease');
    await passAfter(lastPass);
    expect(await outboxRows(database)).toBe(3_500);
    expect((await readState()).found).toBe(3_500);
    const counts = await Promise.all(reconcilers.map(({ repaired }) => counted(repaired)));
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(3_500);
    expect(await countDisagreements(database, 'stuck')).toBe(0);
  });

  it('gets smaller where Postgres works long on a page, and not where the way to it is long', async () => {
    await createExecutions(database, 5_000);
    const sizesIfPagesTake = async (workMs: number, wayMs: number): Promise<number[]> => {
      const sizes: number[] = [];
      const slow: Database = {
        ...database,
        query: async <Row extends Record<string, unknown>>(
          sql: string,
          values: readonly unknown[] = [],
          settings = {},
        ) => {
          const rows = await database.query<Row>(sql, values, settings);
          if (!sql.includes('WITH page')) return rows;
          sizes.push(Number(values[1]));
          await delay(wayMs);
          return rows.map((row) => ({ ...row, workMs }));
        },
      };
      await database.query('DELETE FROM tally.lease');
      reconcile(200, slow);
      await until('five pages', () => sizes.length >= 5);
      return sizes.slice(0, 5);
    };
    expect(await sizesIfPagesTake(1, 100)).toEqual([1_000, 1_000, 1_000, 1_000, 1_000]);
    expect(await sizesIfPagesTake(100, 0)).toEqual([1_000, 500, 250, 125, 62]);
  });

  it('reads no more than the executions of a page where their table has no statistics', async () => {
    await database.query('ALTER TABLE execution SET (autovacuum_enabled = off)');
    await database.query(
      `INSERT INTO execution (vendor_type, vendor_id, status, trigger, revision, end_time)
       SELECT 'REPLICATION', n, 'Success', 'MANUAL', 0, now() FROM generate_series(1, 40000) AS n`,
    );
    const { cost } = await costOf(database, () => recordDisagreements(database, 0, 1_000));
    expect(cost.widest.pages, cost.widest.query).toBeLessThan(300);
  });

  it('makes one pass an interval among several producers, not one each', async () => {
    let asked = 0;
    let passes = 0;
    const watched: Database = {
      ...database,
      query: (sql, values) => {
        if (sql.includes('RETURNING 1')) asked++;
        // There are no executions, so a pass is one page.
        if (sql.includes('WITH page')) passes++;
        return database.query(sql, values);
      },
    };
    const begin = performance.now();
    for (let n = 0; n < 4; n++) reconcile(800, watched);
    await until('each to ask several times', () => asked >= 24);
    const seconds = (performance.now() - begin) / 1_000;
    expect(passes).toBeGreaterThanOrEqual(1);
    expect(passes).toBeLessThanOrEqual(1 + seconds / 0.8);
  });
});
