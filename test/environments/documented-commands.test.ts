import { execFile } from 'node:child_process';
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, inject, it } from 'vitest';
import { openDatabase } from '../../shared/postgres/database.ts';
import { createExecutions } from '../support/executions.ts';
import { markByKeys, newHarborRedis } from '../support/markers.ts';
import { newFolder } from '../support/new-folder.ts';
import { startProducer, startTally, startWorker } from '../support/processes.ts';
import { askRedis } from '../support/redis-servers.ts';
import { failRefreshes } from '../support/sabotage.ts';
import { newRedis } from '../support/servers.ts';
import { createEmptyDatabase, createStores, openClient, silent } from '../support/stores.ts';
import { until } from '../support/wait.ts';

// Harbor's database: its two tables, as an owner who isn't Tally has them.
const { database: model } = await createStores();
const url = await createEmptyDatabase(inject('postgresUrl'), 'registry_of_documents');
const database = openDatabase(url, silent, { connections: 2, name: 'test' });
const ownRedis = await newRedis();
const { url: harborUrl, redis: harbor } = await newHarborRedis();
const folder = newFolder();
afterAll(async () => {
  await database.close();
  await ownRedis.stop();
  rmSync(folder, { recursive: true });
});
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
writeFileSync(join(folder, 'tally'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
chmodSync(join(folder, 'tally'), 0o755);

const documents = ['harbor', 'operations']
  .map((name) => readFileSync(new URL(`../../docs/${name}.md`, import.meta.url), 'utf8'))
  .join('\n');

const environment = {
  DATABASE_URL: url,
  // As docs/operations.md says `redis-cli` takes it.
  REDIS_URL: Object.assign(new URL(ownRedis.url), { username: 'default' }).href,
  PRODUCER_PORT: '0',
  DASHBOARD_PORT: '0',
  JOB_ATTEMPTS: '1',
};

/** Runs a command that stands in the documents, as it stands there, in a shell. */
async function run(
  command: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<string> {
  expect(documents).toContain(command);
  const env = { PATH: `${folder}${delimiter}${process.env['PATH']}`, ...environment, ...settings };
  const { stdout, stderr } = await promisify(execFile)('sh', ['-c', command], { env }).catch(
    (error: Error & { code: number; stdout: string; stderr: string }) => {
      // Its warnings are about a busy machine here.
      if (command === 'tally doctor' && error.code === 1) return error;
      throw new Error(`${error.message}\n${error.stdout}`);
    },
  );
  return stdout + stderr;
}

/** The statements of the documents that begin so, up to a semicolon at the end of a line. */
function statements(begin: string): string[] {
  const lines = documents.split('\n').filter((line) => line.startsWith(begin));
  expect(lines).not.toEqual([]);
  return lines;
}

async function stored(ids: readonly number[]): Promise<string[]> {
  const rows = await database.query<{ status: string }>(
    'SELECT DISTINCT status FROM execution WHERE id = ANY ($1)',
    [ids],
  );
  return rows.map(({ status }) => status);
}

it('the documented commands inspect a Harbor, take over, give back and leave nothing behind', async () => {
  const owner = await openClient(url);
  for (const table of ['execution', 'task']) {
    await owner.query(await definitionOf(table));
  }
  const stuck = await createExecutions(database, 3);

  await owner.query((statements('CREATE ROLE tally_look')[0] ?? '').replace('…', 'word'));
  await owner.query(statements('GRANT SELECT ON execution, task TO tally_look')[0] ?? '');
  const looking = Object.assign(new URL(url), { username: 'tally_look', password: 'word' }).href;
  const look = await run('tally reconcile --dry-run', { DATABASE_URL: looking });
  expect(look).toMatch(/REPLICATION {2}stored Running, by its tasks Success since \d{4}-/);
  expect(look).toContain('3 disagreements; nothing was changed');

  await run('tally migrate');
  expect(await run('tally migrate')).toContain('schema tally is up to date');
  expect(await run('tally capture status')).toContain('disabled');
  await run('tally capture enable');
  expect(await run('tally capture status')).toContain('enabled');
  const triggers = await database.query<{ table: string; count: number }>(
    `SELECT tgrelid::regclass::text AS table, count(*) AS count FROM pg_trigger
      WHERE NOT tgisinternal GROUP BY 1 ORDER BY 1`,
  );
  expect(triggers).toEqual([
    { table: 'execution', count: 1 },
    { table: 'task', count: 3 },
  ]);

  const role = 'CREATE ROLE tally_run LOGIN';
  await owner.query(role);
  for (const statement of statements('GRANT ').filter((line) => line.includes('tally_run'))) {
    await owner.query(statement);
  }
  const processes = [await startProducer(environment), await startWorker(environment)];
  const dashboard = startTally(['dashboard'], environment);
  await dashboard.said('dashboard: http');
  await run('tally reconcile');
  await until('what was stuck to be refreshed', async () =>
    (await stored(stuck)).every((status) => status === 'Success'),
  );
  expect(await run('tally status')).toMatch(/^disagreements +0$/m);
  expect(await run('tally reconcile --dry-run')).toContain('0 disagreements; nothing was changed');
  expect(await run('tally reconcile --dry-run --all')).toContain('0 disagreements');
  expect(await run('tally doctor')).toContain('capture');
  expect(await run('redis-cli -u "$REDIS_URL" ping')).toContain('PONG');

  await failAndRetry(owner);

  await markByKeys(harbor, stuck);
  const inHarbor = { HARBOR_REDIS_URL: harborUrl };
  expect(await run('tally harbor import', inHarbor)).toContain(
    'imported 3 markers, 0 malformed dropped',
  );
  for (const child of [...processes, dashboard]) child.kill('SIGTERM');
  for (const child of [...processes, dashboard]) await child.ended;

  await run('tally capture disable');
  expect(await run('tally capture status')).toContain('disabled');
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source) SELECT id, 'REPLICATION', 'api' FROM execution WHERE id = ANY ($1)`,
    [stuck],
  );
  for (const format of ['keys', 'set']) {
    const output = await run(`tally harbor export --format ${format}`, inHarbor);
    expect(output).toMatch(/^exported \d+ refreshes as markers \(format /m);
  }
  expect(await harbor.dbsize()).toBeGreaterThan(0);
  expect(await run('tally status')).toMatch(/^outbox +0 rows/m);
  expect(await run('tally migrate --uninstall')).toContain('is removed');
  for (const lane of ['refresh', 'backlog']) {
    const [line = ''] = statements(`redis-cli -u "$REDIS_URL" --scan --pattern 'tally:${lane}*'`);
    expect(await run(line)).not.toContain('ERR');
    // Nothing is left to be removed now; that is no error either.
    expect(await run(line)).not.toContain('ERR');
  }
  const { port, password } = new URL(ownRedis.url);
  expect(await askRedis(Number(port), ['KEYS', '*'], password)).toEqual([]);
  const left = await database.query(`SELECT FROM pg_trigger WHERE NOT tgisinternal`);
  expect(left).toEqual([]);
}, 300_000);

async function failAndRetry(owner: Awaited<ReturnType<typeof openClient>>): Promise<void> {
  const failure = await failRefreshes(owner, 'quota of tenant <id> is used up');
  const ids = await createExecutions(database, 3);
  const failed = () =>
    database.query<{ count: number }>('SELECT count(*) AS count FROM tally.failure');
  await until('all to fail', async () => (await failed())[0]?.count === 3, 90_000);
  expect(await run('tally failed')).toContain('quota of tenant <n> is used up');
  expect(await run("tally retry --error 'quota of tenant <n>' --dry-run")).toContain('3');
  await failure.end();
  await run("tally retry --error 'quota of tenant <n>'");
  await run('tally retry --vendor REPLICATION');
  await run('tally retry --execution 42');
  await run('tally retry --all');
  await until('all to be refreshed', async () =>
    (await stored(ids)).every((status) => status === 'Success'),
  );
}

/** How to make a table of the host's with the same columns. */
async function definitionOf(table: string): Promise<string> {
  const columns = await model.query<{ text: string }>(
    `SELECT attname || ' ' || CASE WHEN attname = 'id' THEN 'serial PRIMARY KEY'
              ELSE format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END END AS text
       FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
    [table],
  );
  const index = table === 'task' ? '; CREATE INDEX ON task (execution_id)' : '';
  return `CREATE TABLE ${table} (${columns.map(({ text }) => text).join(', ')})${index}`;
}
