import { expect, it, onTestFinished } from 'vitest';
import { probeCommit, type Probed } from '../../../../shared/postgres/commit-probe.ts';
import { outboxRows } from '../../../support/executions.ts';
import { createStores, openClient } from '../../../support/stores.ts';
import { until } from '../../../support/wait.ts';

const { config, database } = await createStores();
const url = config.DATABASE_URL;
const name = new URL(url).pathname.slice(1);

async function setForNewSessions(setting: string, value: string): Promise<void> {
  await database.query(`ALTER DATABASE ${name} SET ${setting} = '${value}'`);
  onTestFinished(async () => {
    await database.query(`ALTER DATABASE ${name} RESET ${setting}`);
  });
}

/** Probes until a busy Postgres does it within the limits of a probe. */
async function untilProbed(databaseUrl: string, probed: Probed): Promise<void> {
  await until('a probe that ends in time', async () => {
    try {
      await probeCommit(databaseUrl, probed);
      return true;
    } catch (error) {
      if (/timeout expired|did not finish within|statement timeout/.test(String(error)))
        return false;
      throw error;
    }
  });
}

async function probesConnected(): Promise<number> {
  const rows = await database.query(
    `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tally probe'`,
  );
  return rows.length;
}

it.each(['rows', 'refreshes'] as const)(
  'a probe for %s commits, and leaves no row and no backend behind',
  async (probed) => {
    const [before] = await database.query<{ at: string }>(
      'SELECT pg_current_wal_insert_lsn()::text AS at',
    );
    await untilProbed(url, probed);
    // A backend ends a moment after its client.
    await until('no probe to be connected', async () => (await probesConnected()) === 0);
    expect(await outboxRows(database)).toBe(0);
    const [written] = await database.query<{ bytes: number }>(
      'SELECT (pg_current_wal_insert_lsn() - $1::pg_lsn)::bigint AS bytes',
      [before?.at],
    );
    expect(written?.bytes).toBeGreaterThan(0);
  },
);

it('ten probes at once succeed, whatever isolation the database has', async () => {
  await setForNewSessions('default_transaction_isolation', 'serializable');
  await Promise.all(Array.from({ length: 10 }, () => untilProbed(url, 'refreshes')));
});

it('a probe needs only the rights that operations.md names', async () => {
  for (const statement of [
    `CREATE ROLE ${name} LOGIN PASSWORD 'secret'`,
    `GRANT USAGE ON SCHEMA tally TO ${name}`,
    `GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA tally TO ${name}`,
    `GRANT SELECT, INSERT, UPDATE, DELETE ON tally.outbox, tally.failure, tally.reconciler, tally.failed_janitor, tally.host_word, tally.lease TO ${name}`,
    `GRANT SELECT ON tally.migration, execution, task TO ${name}`,
    `GRANT UPDATE (status, end_time, revision, update_time) ON execution TO ${name}`,
  ]) {
    await database.query(statement);
  }
  onTestFinished(async () => {
    await database.query(`DROP OWNED BY ${name}`);
    await database.query(`DROP ROLE ${name}`);
  });
  const limited = Object.assign(new URL(url), { username: name, password: 'secret' }).href;
  await untilProbed(limited, 'refreshes');
});

it.each<[string, Probed]>([
  ['task IN ACCESS EXCLUSIVE MODE', 'refreshes'],
  ['execution IN SHARE MODE', 'refreshes'],
  ['tally.outbox IN SHARE MODE', 'rows'],
])("a database under LOCK TABLE %s doesn't count as serving %s", async (lock, probed) => {
  const holder = await openClient(url);
  await holder.query(`BEGIN; LOCK TABLE ${lock}`);
  await expect(probeCommit(url, probed)).rejects.toMatchObject({ code: '55P03' });
  await holder.query('ROLLBACK');
  await untilProbed(url, probed);
});

it("a lock on table task doesn't keep a producer from recording rows", async () => {
  const holder = await openClient(url);
  await holder.query('BEGIN; LOCK TABLE task');
  await untilProbed(url, 'rows');
});

it("a read-only database doesn't count as serving", async () => {
  await setForNewSessions('default_transaction_read_only', 'on');
  await expect(probeCommit(url, 'rows')).rejects.toMatchObject({ code: '25006' });
});
