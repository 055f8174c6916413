import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { disableCapture, enableCapture } from '../../../shared/postgres/capture.ts';
import { withClient } from '../../../shared/postgres/database.ts';
import { recordRefreshes } from '../../../shared/postgres/outbox.ts';
import {
  createExecution,
  createExecutions,
  outboxRows,
  readExecution,
  refreshOf,
  untilOutboxIsEmpty,
} from '../../support/executions.ts';
import { openProducer, openWorker } from '../../support/in-process.ts';
import { startProducer } from '../../support/processes.ts';
import { sabotage } from '../../support/sabotage.ts';
import { createStores, openClient } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const INTERVAL_MS = 300;
const { config, database, queue, environment } = await createStores({
  settings: {
    RECONCILE_INTERVAL_MS: String(INTERVAL_MS),
  },
});
const databaseUrl = config.DATABASE_URL;
const WITHOUT_REDIS = { ...environment, REDIS_URL: 'redis://127.0.0.1:1' };
const ENDED = '2026-01-02 03:04:05';
const HOUR_MS = 3_600_000;

beforeEach(async () => {
  await queue.obliterate({ force: true });
  await database.query('TRUNCATE execution, task, tally.outbox, tally.failure RESTART IDENTITY');
  await database.query(
    `UPDATE tally.reconciler SET active_at = '-infinity', last_pass_at = NULL, found_total = 0`,
  );
  await database.query('DELETE FROM tally.lease');
});

/** An execution that is stored like this, with tasks like those. */
async function createStored(
  status: string | null,
  taskStatuses: readonly string[],
  endTime: string | null = null,
): Promise<number> {
  const id = await createExecution(database, taskStatuses);
  await database.query('UPDATE execution SET status = $2, end_time = $3 WHERE id = $1', [
    id,
    status,
    endTime,
  ]);
  return id;
}

interface Turns {
  readonly found: number;
  readonly lastPass: string | null;
}

async function readTurns(): Promise<Turns> {
  const [turns] = await database.query<Turns & Record<string, unknown>>(
    'SELECT found_total AS found, last_pass_at::text AS "lastPass" FROM tally.reconciler',
  );
  return turns ?? { found: 0, lastPass: null };
}

/** Resolves once a pass has ended that began after this was called: two ends, as one may be under way. */
async function wholePass(): Promise<void> {
  for (let ends = 0; ends < 2; ends++) {
    const { lastPass } = await readTurns();
    await until('a pass to end', async () => (await readTurns()).lastPass !== lastPass);
  }
}

describe('an execution that is stuck behind its tasks, with nothing recorded', () => {
  it('is refreshed, whatever is stored, and counted once', async () => {
    const stuck = [
      await createStored('Running', ['Success', 'Error']),
      await createStored(null, ['Success', 'Stopped']),
      await createStored('', ['Success']),
      await createStored('Pending', ['Success', 'Weird']),
      await createStored('Success', ['Success']),
    ];
    const producer = await openProducer(environment);
    await openWorker(environment);
    await until('all to be refreshed', async () => {
      const behind = await database.query('SELECT FROM execution WHERE revision = 0');
      return behind.length === 0;
    });
    await wholePass();
    expect(await Promise.all(stuck.map((id) => readExecution(database, id)))).toEqual(
      ['Error', 'Stopped', 'Success', 'Success', 'Success'].map((status) => ({
        status,
        endTime: ENDED,
        revision: 1,
      })),
    );
    expect((await readTurns()).found).toBe(5);
    expect(await (await fetch(`${producer.url}/metrics`)).text()).toMatch(
      /^tally_disagreements_repaired_total 5$/m,
    );
    await producer.said('5 executions were stuck behind their tasks');
  });

  it('is recorded while Redis is unavailable', async () => {
    await createStored('Running', ['Success']);
    await openProducer(WITHOUT_REDIS);
    await until('it to be recorded', async () => (await outboxRows(database)) === 1);
  });

  it('is found by the next producer when one is killed in the middle of its pass', async () => {
    await createStored('Running', ['Success']);
    const keeper = await openClient(databaseUrl);
    await keeper.query('BEGIN; LOCK TABLE tally.outbox IN SHARE MODE');
    const victim = await startProducer(WITHOUT_REDIS);
    const page = await until('a page to be under way', async () => {
      const [waiting] = await database.query<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity WHERE datname = current_database()
            AND wait_event_type = 'Lock' AND query LIKE 'WITH page AS%'`,
      );
      return waiting;
    });
    victim.kill('SIGKILL');
    await victim.ended;
    await database.query('SELECT pg_terminate_backend($1)', [page.pid]);
    await until('its statement to be gone', async () => {
      const left = await database.query('SELECT FROM pg_stat_activity WHERE pid = $1', [page.pid]);
      return left.length === 0;
    });
    await keeper.query('ROLLBACK');
    expect(await outboxRows(database)).toBe(0);
    expect((await readTurns()).lastPass).toBeNull();
    await openProducer(WITHOUT_REDIS);
    await until('it to be recorded', async () => (await outboxRows(database)) === 1);
  });
});

describe('the reconciler leaves alone', () => {
  it('what a person set by hand, until a task changes', async () => {
    const byHand = [
      await createStored('Error', ['Success', 'Success'], ENDED),
      await createStored('Error', ['Success', 'Running'], ENDED),
      await createStored('Success', ['Running']),
      await createStored('Stopped', ['Success']),
      await createStored('Error', ['Success']),
    ];
    await openProducer(environment);
    await openWorker(environment);
    await wholePass();
    expect((await readTurns()).found).toBe(0);
    expect(await outboxRows(database)).toBe(0);
    expect(await database.query('SELECT FROM execution WHERE revision = 0')).toHaveLength(5);

    await withClient(databaseUrl, 'test', enableCapture);
    try {
      await database.query(
        `UPDATE task SET end_time = end_time + interval '1 day' WHERE status <> 'Running'`,
      );
      await database.query(`UPDATE task SET status = 'Scheduled' WHERE status = 'Running'`);
      await until('their tasks to overrule it', async () => {
        const stored = await Promise.all(byHand.map((id) => readExecution(database, id)));
        const statuses = stored.map(({ status }) => status).join();
        return statuses === 'Success,Running,Running,Success,Success' || undefined;
      });
    } finally {
      await withClient(databaseUrl, 'test', disableCapture);
    }
  });

  it('executions that run, or have no task of a known status', async () => {
    await createStored('Running', ['Success', 'Running']);
    await createStored(null, ['Pending']);
    await createStored('Running', []);
    await createStored('Running', ['Weird']);
    await openProducer(WITHOUT_REDIS);
    await wholePass();
    expect((await readTurns()).found).toBe(0);
    expect(await outboxRows(database)).toBe(0);
  });

  it('executions with an outbox row, due or not, or with a failed job', async () => {
    const [due = 0, later = 0, failed = 0, refreshed = 0] = await createExecutions(database, 4);
    const identity = (executionId: number) => ({ executionId, vendor: 'REPLICATION' });
    await recordRefreshes(database, [identity(due)], 'api');
    await recordRefreshes(database, [identity(later)], 'api', HOUR_MS);
    await database.query(
      `INSERT INTO tally.failure (job_id, execution_id, vendor, refreshed)
       VALUES ('a', $1, 'REPLICATION', false), ('b', $2, 'REPLICATION', true)`,
      [failed, refreshed],
    );
    await openProducer(WITHOUT_REDIS);
    await wholePass();
    const rows = await database.query(
      'SELECT execution_id AS id, source FROM tally.outbox ORDER BY execution_id',
    );
    expect(rows).toEqual([
      { id: due, source: 'api' },
      { id: later, source: 'api' },
      { id: refreshed, source: 'reconciler' },
    ]);
  });

  it('everything when RECONCILE_INTERVAL_MS is 0', async () => {
    await createStored('Running', ['Success']);
    const producer = await openProducer({ ...environment, RECONCILE_INTERVAL_MS: '0' });
    await openWorker(environment);
    // It starts with the relay, so when that has had a refresh done a pass would have begun, too.
    const asked = await createStored('Success', ['Success'], ENDED);
    await recordRefreshes(database, [refreshOf(asked)], 'api');
    await untilOutboxIsEmpty(database);
    expect(await database.query('SELECT FROM tally.reconciler WHERE isfinite(active_at)')).toEqual(
      [],
    );
    expect(await database.query("SELECT FROM tally.lease WHERE duty = 'reconciler'")).toEqual([]);
    expect(await (await fetch(`${producer.url}/metrics`)).text()).toMatch(
      /^tally_disagreements_repaired_total 0$/m,
    );
  });
});

describe('among several', () => {
  it('two producers make one pass an interval between them, also when a page takes long', async () => {
    // So long that no page, with its rest, takes longer on a busy machine: then it would be anybody's turn.
    const intervalMs = 5_000;
    await createExecutions(database, 1_500);
    // A rest of nine times a page would be longer than the interval.
    await database.query(`
      CREATE TABLE public.turn_log (n serial, at timestamptz, producer text, ended boolean);
      CREATE FUNCTION public.log_turn() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.turn_log (at, producer, ended) VALUES (clock_timestamp(),
          current_setting('application_name'), NEW.last_pass_at IS DISTINCT FROM OLD.last_pass_at);
        RETURN NULL; END $$;
      CREATE TRIGGER log_turn AFTER UPDATE ON tally.reconciler FOR EACH ROW EXECUTE FUNCTION public.log_turn()`);
    await sabotage(
      database,
      'IF EXISTS (SELECT FROM inserted) THEN PERFORM pg_sleep(0.6); END IF',
      {
        event: 'AFTER INSERT ON tally.outbox REFERENCING NEW TABLE AS inserted',
        each: 'STATEMENT',
      },
    );
    onTestFinished(async () => {
      await database.query(`
        DROP FUNCTION public.log_turn() CASCADE;
        DROP TABLE public.turn_log`);
    });
    const start = (name: string) =>
      openProducer({
        ...WITHOUT_REDIS,
        RECONCILE_INTERVAL_MS: String(intervalMs),
        DATABASE_URL: `${databaseUrl}?application_name=${name}`,
      });
    await Promise.all([start('one'), start('two')]);
    const log = await until('three passes', async () => {
      const rows = await database.query<{ atMs: number; producer: string; ended: boolean }>(
        `SELECT extract(epoch FROM at)::double precision * 1000 AS "atMs", producer, ended
           FROM public.turn_log ORDER BY n`,
      );
      return rows.filter(({ ended }) => ended).length >= 3 ? rows : undefined;
    });
    for (const [at, { atMs, producer }] of log.entries()) {
      const before = log[at - 1];
      if (before === undefined) continue;
      // A pass is its turn, its pages, its end; the interval counts from its last page.
      if (!before.ended) expect(producer).toBe(before.producer);
      else expect(atMs - (log[at - 2]?.atMs ?? 0)).toBeGreaterThanOrEqual(intervalMs - 5);
    }
    expect(await outboxRows(database)).toBe(1_500);
    expect((await readTurns()).found).toBe(1_500);
  });
});
