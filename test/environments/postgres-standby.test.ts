import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { openDatabase } from '../../shared/postgres/database.ts';
import { createExecutions, readExecution } from '../support/executions.ts';
import { healthAddress } from '../support/health.ts';
import { watchProcess } from '../support/process-watch.ts';
import { runTally, startTally } from '../support/processes.ts';
import { controlledPostgres, standbyOf } from '../support/server-control.ts';
import { createStores, silent } from '../support/stores.ts';
import { WORKS_AGAIN_MS, until } from '../support/wait.ts';

const EXECUTIONS = 3;

const primary = await controlledPostgres();
afterAll(() => primary.remove());
const { database, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0', WORKER_PORT: '0' },
  postgresUrl: primary.url,
  capture: true,
});
// Each with a row in the outbox.
await createExecutions(database, EXECUTIONS);
const server = await standbyOf(primary);
afterAll(() => server.remove());
const { pathname } = new URL(environment.DATABASE_URL);
const url = Object.assign(new URL(server.url), { pathname }).href;
const onStandby = { ...environment, DATABASE_URL: url };
const standby = openDatabase(url, silent, { connections: 1, name: 'test' });
afterAll(() => standby.close());
await until('the standby to follow', async () => {
  const [row] = await standby.query<{ streams: boolean }>(
    `SELECT count(*) = 1 AS streams FROM pg_stat_wal_receiver WHERE status = 'streaming'`,
  );
  return row?.streams === true;
});
const primaryPlace = `127.0.0.1:${new URL(primary.url).port}`;

// As nobody can by ALTER SYSTEM on a standby.
async function setSynchronousStandbys(names: string): Promise<void> {
  const file = join(server.folder, 'cluster', 'postgresql.auto.conf');
  appendFileSync(file, `\nsynchronous_standby_names = '${names}'\n`);
  await standby.query('SELECT pg_reload_conf()');
  await until('the setting', async () => {
    const [row] = await standby.query<{ names: string }>(
      `SELECT current_setting('synchronous_standby_names') AS names`,
    );
    return row?.names === names;
  });
}

interface Finding {
  readonly check: string;
  readonly level: string;
  readonly text: string;
  readonly fix?: string;
}

async function postgresFindings(databaseUrl: string): Promise<Finding[]> {
  const { code, output } = await runTally(['doctor', '--json'], {
    ...environment,
    DATABASE_URL: databaseUrl,
  });
  expect(code).toBe(2);
  const { findings } = JSON.parse(output) as { findings: (Finding & { area: string })[] };
  return findings.filter(({ area }) => area === 'Postgres');
}

describe('on a streaming standby', () => {
  it('tally doctor names it with the primary it follows, and makes every other check', async () => {
    // A standby that is to take the primary's place has its settings; no commit of its own waits.
    await setSynchronousStandbys('nobody');
    onTestFinished(() => setSynchronousStandbys(''));
    const findings = await postgresFindings(url);
    const problems = findings.filter(({ level }) => level === 'problem');
    expect(problems.map(({ check }) => check)).toEqual(['writes', 'commits']);
    expect(problems[0]).toMatchObject({
      text: 'the server is a standby, which only reads',
      fix: expect.stringContaining(
        `point DATABASE_URL at the primary (it receives from ${primaryPlace})`,
      ),
    });
    expect(problems[1]?.text).toContain('read-only transaction');
    expect(findings.filter(({ text }) => text.includes('could not be checked'))).toEqual([]);
    expect(findings.find(({ check }) => check === 'outbox')?.text).toBe(
      `${EXECUTIONS} rows, ${EXECUTIONS} of them unsent`,
    );
  });

  it('tally status shows its figures and says what it is', async () => {
    const { code, output } = await runTally(['status'], onStandby);
    expect(output).toMatch(/^tally: Postgres is a standby, which only reads: .*primary$/m);
    expect(output).toMatch(new RegExp(`^outbox +${EXECUTIONS} rows, ${EXECUTIONS} unsent`, 'm'));
    expect(output).toMatch(/^disagreements +0$/m);
    expect(code).toBe(0);
  });

  it('commands that only read answer, and those that write say where to go', async () => {
    for (const args of [['failed'], ['reconcile', '--dry-run'], ['capture', 'status']]) {
      expect(await runTally(args, onStandby)).toMatchObject({ code: 0 });
    }
    for (const args of [['migrate'], ['reconcile'], ['capture', 'disable']]) {
      const { code, output } = await runTally(args, onStandby);
      expect(output).toMatch(/read-only transaction[^]*point DATABASE_URL at the primary/i);
      expect(code).toBe(1);
    }
  });

  it('a URL in which no server accepts writes says which it needs', async () => {
    const { username, password, host } = new URL(url);
    const several = `postgres://${username}:${password}@127.0.0.1:1,${host}${pathname}`;
    const [connection] = await postgresFindings(several);
    expect(connection).toMatchObject({
      text: expect.stringMatching(
        /^Postgres at 127\.0\.0\.1:1 can't be used \(connect ECONNREFUSED .*\), Postgres at \S+ can't be used \(it is a standby\)$/,
      ),
      fix: expect.stringMatching(/^name the server that accepts writes in DATABASE_URL/),
    });
  });
});

it('processes that start on a standby say so, are calm and not ready, and work once it is the primary', async () => {
  const worker = startTally(['worker'], onStandby);
  const producer = startTally(['producer'], onStandby);
  const watches = await Promise.all(
    [worker, producer].map(async (child) => watchProcess(child, await healthAddress(child))),
  );
  for (const child of [worker, producer]) {
    await child.said(/not ready: .*read-only transaction; point DATABASE_URL at the primary/);
  }
  for (const seen of await Promise.all(watches.map((watch) => watch.look(8)))) {
    expect(seen).toMatchObject({ ready: 0, unanswered: 0 });
    expect(seen.cpuShare).toBeLessThan(0.2);
  }
  for (const watch of watches) watch.declare('unsettled');
  await standby.query('SELECT pg_promote()');
  const promoted = openDatabase(url, silent, { connections: 1, name: 'test' });
  onTestFinished(() => promoted.close());
  const [id = 0] = await createExecutions(promoted, 1);
  await until(
    'the refresh',
    async () => (await readExecution(promoted, id)).status === 'Success',
    WORKS_AGAIN_MS,
  );
  await until(
    'both to be ready',
    () => watches.every(({ lastAnswer }) => lastAnswer.includes('"status":"ready"')),
    WORKS_AGAIN_MS,
  );
  expect(watches.flatMap(({ lies }) => lies)).toEqual([]);
}, 300_000);

it('a standby that answers no queries is called one by tally doctor and tally status', async () => {
  const closed = await standbyOf(primary);
  onTestFinished(() => closed.remove());
  await closed.stop();
  const cluster = join(closed.folder, 'cluster');
  appendFileSync(join(cluster, 'postgresql.auto.conf'), '\nhot_standby = off\n');
  // It waits in vain for an answer, until the server is ended below.
  const starting = closed.start().catch(() => 'ended');
  const databaseUrl = Object.assign(new URL(closed.url), { pathname }).href;
  const inVain =
    /not accepting connections\); the server is a standby that answers no queries .*: point DATABASE_URL at the primary/;
  await until('tally status to say so', async () => {
    const { output } = await runTally(['status'], { ...environment, DATABASE_URL: databaseUrl });
    return inVain.test(output);
  });
  const [connection] = await postgresFindings(databaseUrl);
  expect(connection).toMatchObject({
    check: 'connection',
    fix: 'the server is a standby that answers no queries (its hot_standby is off): point DATABASE_URL at the primary',
  });
  const postmaster = Number.parseInt(readFileSync(join(cluster, 'postmaster.pid'), 'utf8'), 10);
  process.kill(postmaster, 'SIGQUIT');
  expect(await starting).toBe('ended');
}, 300_000);
