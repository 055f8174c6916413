import { expect, it, onTestFinished } from 'vitest';
import { openDatabase, type DatabaseOptions } from '../../../../shared/postgres/database.ts';
import { NotConnectedError } from '../../../../shared/postgres/error-kinds.ts';
import { createStores, openClient, silent } from '../../../support/stores.ts';
import { until } from '../../../support/wait.ts';

const { config, database } = await createStores();
const url = config.DATABASE_URL;
const name = new URL(url).pathname.slice(1);

function open(options: Partial<DatabaseOptions>) {
  const opened = openDatabase(url, silent, { connections: 1, name: 'pool', ...options });
  onTestFinished(() => opened.close());
  return opened;
}

it('no pooled connection, idle ones included, stays read-only once the database is writable again', async () => {
  await database.query('CREATE TABLE public.written (n integer)');
  const writer = await openClient(url);
  await writer.query(`ALTER DATABASE ${name} SET default_transaction_read_only = on`);
  const pool = open({ connections: 3 });
  const backends = () =>
    Promise.all([1, 2, 3].map(() => pool.query('SELECT pg_backend_pid() AS pid, pg_sleep(0.2)')));
  await backends();
  await expect(pool.query('INSERT INTO written VALUES (0)')).rejects.toMatchObject({
    code: '25006',
  });
  await writer.query(`ALTER DATABASE ${name} RESET default_transaction_read_only`);
  await Promise.all(
    [1, 2, 3].map((n) =>
      pool.query(
        'WITH slow AS MATERIALIZED (SELECT pg_sleep(0.2)) INSERT INTO written SELECT $1 FROM slow',
        [n],
      ),
    ),
  );
  expect(await database.query('SELECT n FROM written ORDER BY n')).toEqual([
    { n: 1 },
    { n: 2 },
    { n: 3 },
  ]);
});

it('a statement that Tally gave up on is cancelled in the server and frees its locks', async () => {
  const pool = open({ statementTimeoutMs: 500 });
  // As in a commit that waits for a standby, no limit of the server's ends this one.
  const endless = pool.query('SELECT pg_advisory_lock(77), pg_sleep(3600)', [], {
    statement_timeout: 0,
  });
  await expect(endless).rejects.toThrow('Query read timeout');
  await until('its backend to be gone', async () => {
    const rows = await database.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tally pool'`,
    );
    return rows.length === 0;
  });
});

it("a pool without a free connection says that the statement wasn't sent", async () => {
  const pool = open({ connectTimeoutMs: 2_000 });
  await until('a connection', () => pool.query('SELECT 1').catch(() => undefined));
  const holder = await openClient(url);
  await holder.query('SELECT pg_advisory_lock(78)');
  const busy = pool.query('SELECT pg_advisory_lock(78)');
  await expect(pool.query('SELECT 1')).rejects.toBeInstanceOf(NotConnectedError);
  await holder.query('SELECT pg_advisory_unlock(78)');
  await busy;
});
