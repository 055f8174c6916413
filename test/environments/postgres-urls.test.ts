import { chownSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { openDatabase, withClient } from '../../shared/postgres/database.ts';
import { newAuthority } from '../support/authority.ts';
import { createExecutions, readExecution } from '../support/executions.ts';
import { startPgbouncer } from '../support/pgbouncer.ts';
import { healthAddress } from '../support/health.ts';
import { runTally, startProducer, startTally } from '../support/processes.ts';
import { controlledPostgres, follow, standbyOf } from '../support/server-control.ts';
import { createStores, silent } from '../support/stores.ts';
import { openProxy } from '../support/tcp-proxy.ts';
import { until } from '../support/wait.ts';

const PASSWORD = 'p#a?s@s%/w:rd';
// As people write it: only what has to be is escaped.
const WRITTEN = 'p#a?s@s%25%2Fw:rd';
const own = newAuthority();
const foreign = newAuthority();
const first = await controlledPostgres();
afterAll(async () => {
  await first.remove();
  for (const { folder } of [own, foreign]) rmSync(folder, { recursive: true, force: true });
});
const { database, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0', WORKER_PORT: '0' },
  postgresUrl: first.url,
  capture: true,
});
const direct = new URL(environment.DATABASE_URL);
const login = `postgres://url_role:${WRITTEN}`;
const name = direct.pathname.slice(1);
const server = direct.host;

// The server has TLS, and the database admits this role over nothing else.
const data = join(first.folder, 'cluster');
const owner = statSync(data);
for (const file of [own.certificate, own.key]) chownSync(file, owner.uid, owner.gid);
const rules = readFileSync(join(data, 'pg_hba.conf'), 'utf8');
const tlsOnly = ['hostssl all url_role all scram-sha-256', 'hostnossl all url_role all reject'];
writeFileSync(join(data, 'pg_hba.conf'), [...tlsOnly, rules].join('\n'));
await withClient(first.url, 'test', async (client) => {
  for (const statement of [
    `CREATE ROLE url_role SUPERUSER LOGIN PASSWORD '${PASSWORD}'`,
    `ALTER SYSTEM SET ssl_cert_file = '${own.certificate}'`,
    `ALTER SYSTEM SET ssl_key_file = '${own.key}'`,
    `ALTER SYSTEM SET ssl = on`,
    `SELECT pg_reload_conf()`,
  ]) {
    await client.query(statement);
  }
});
const pooled = await startPgbouncer(
  first.url,
  (folder) => [
    `unix_socket_dir = ${folder}`,
    'client_tls_sslmode = require',
    `client_tls_key_file = ${own.key}`,
    `client_tls_cert_file = ${own.certificate}`,
  ],
  '?sslmode=require',
);
const poolPort = new URL(pooled.url).port;

const GOOD = {
  'TLS without a check': `${login}@${server}/${name}?sslmode=require`,
  'TLS and a check of certificate and host': `${login}@${server}/${name}?sslmode=verify-full&sslrootcert=${own.ca}`,
  'TLS and a check of the certificate only': `${login}@localhost:${direct.port}/${name}?sslmode=verify-ca&sslrootcert=${own.ca}`,
  'TLS where the server has it': `${login}@${server}/${name}?sslmode=prefer`,
  'TLS to a pooler': `${login}@127.0.0.1:${poolPort}/${name}?sslmode=require`,
  'a unix socket': `postgres:///${name}?host=${pooled.folder}&port=${poolPort}&user=anybody`,
};

const BAD: Record<string, [url: string, says: RegExp]> = {
  'TLS, where the server has none': [
    `${inject('postgresUrl')}?sslmode=require`,
    /does not support SSL.*take sslmode out of DATABASE_URL/,
  ],
  'no TLS, where the server wants it': [
    `${login}@${server}/${name}`,
    /rejects connection.*no encryption.*add sslmode=require/,
  ],
  'a certificate that another authority has signed': [
    `${login}@${server}/${name}?sslmode=verify-full&sslrootcert=${foreign.ca}`,
    /certificate.*name the CA with sslrootcert=<file>/,
  ],
  'a certificate of another name': [
    `${login}@localhost:${direct.port}/${name}?sslmode=verify-full&sslrootcert=${own.ca}`,
    /localhost.*does not match|altnames.*and a host it vouches for/,
  ],
  'a file of the authority that is not there': [
    `${login}@${server}/${name}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem`,
    /sslrootcert can't be read: ENOENT.*nowhere.*; check the path and that this user may read it/,
  ],
  'a unix socket that is not there': [
    `postgres:///${name}?host=${pooled.folder}&port=1`,
    /\.s\.PGSQL\.1 can't be used.*ENOENT.*check host and port in DATABASE_URL/,
  ],
};

describe.each(Object.entries(GOOD))('a URL with %s', (_what, url) => {
  it('leads to the database for commands', async () => {
    const status = await runTally(['status', '--json'], { ...environment, DATABASE_URL: url });
    expect(status).toMatchObject({
      code: 0,
      output: expect.stringContaining('"rows":0') as string,
    });
  });

  it('also cancels a statement whose answer Tally stopped waiting for', async () => {
    const pool = openDatabase(url, silent, {
      connections: 1,
      name: 'url',
      statementTimeoutMs: 500,
    });
    onTestFinished(() => pool.close());
    const endless = pool.query('SELECT pg_advisory_xact_lock(79), pg_sleep(3600)', [], {
      statement_timeout: 0,
    });
    await expect(endless).rejects.toThrow('Query read timeout');
    await until('it not to run any more', async () => {
      const held = await database.query(
        `SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 79`,
      );
      return held.length === 0;
    });
  });
});

it.each(Object.entries(BAD))(
  'a URL with %s ends a command with what to change, and without the password',
  async (_what, [url, says]) => {
    const { code, output } = await runTally(['migrate'], { ...environment, DATABASE_URL: url });
    expect(output).toMatch(says);
    expect(output).not.toMatch(/p#a|s%25%2Fw|s%\/w/);
    expect(output.split('\n')).toHaveLength(1);
    expect(code).toBe(1);
  },
);

describe('a URL with several servers', () => {
  it('leads past a first server that never answers, and the processes are ready', async () => {
    const dead = await openProxy(direct.href);
    onTestFinished(() => dead.close());
    dead.mode = 'swallow';
    const hosts = `${new URL(dead.through(direct.href)).host},${server}`;
    const { username, password } = direct;
    const url = `postgres://${username}:${password}@${hosts}/${name}`;
    const worker = startTally(['worker'], { ...environment, DATABASE_URL: url });
    const address = await healthAddress(worker);
    await worker.said('taking jobs');
    await until('it to be ready', async () => (await fetch(`${address}/readyz`)).status === 200);
  });

  it('leads to the one that accepts writes, also after they have swapped roles', async () => {
    const second = await standbyOf(first);
    onTestFinished(() => second.remove());
    const { username, password } = direct;
    const hosts = `${server},${new URL(second.url).host}`;
    const url = `postgres://${username}:${password}@${hosts}/${name}?target_session_attrs=read-write`;
    const all = { ...environment, DATABASE_URL: url };
    const worker = startTally(['worker'], { ...all, JOB_ATTEMPTS: '1' });
    const address = await healthAddress(worker);
    await startProducer(all);
    await worker.said('taking jobs');
    const both = openDatabase(url, silent, { connections: 2, name: 'test' });
    onTestFinished(() => both.close());
    const refreshed = async (): Promise<void> => {
      const [id = 0] = await until('a server that writes', () =>
        createExecutions(both, 1).catch(() => undefined),
      );
      await until(
        () => `it to be refreshed; ${worker.lines.slice(-3).join('\n')}`,
        async () => (await readExecution(both, id)).status === 'Success',
      );
    };
    await refreshed();

    // The old primary stays up and answers, but only reads.
    await first.stop();
    const promoted = openDatabase(second.url, silent, { connections: 1, name: 'test' });
    onTestFinished(() => promoted.close());
    await promoted.query('SELECT pg_promote()');
    follow(first.folder, second);
    await first.start();
    await refreshed();
    await until('it to be ready', async () => (await fetch(`${address}/readyz`)).status === 200);
    expect(worker.lines.filter((line) => line.includes('failed for good'))).toEqual([]);
  });
});
