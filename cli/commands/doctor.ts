import type { Command } from 'commander';
import { describeError } from '../../shared/errors.ts';
import { harborChecks } from '../../shared/harbor/checks.ts';
import { connectHarborRedis } from '../../shared/harbor/redis.ts';
import { explainDatabaseError } from '../../shared/postgres/advice.ts';
import { probeCommit } from '../../shared/postgres/commit-probe.ts';
import { readCaptureState, type CaptureState } from '../../shared/postgres/capture.ts';
import { hostChecks } from '../../shared/postgres/checks/host.ts';
import { serverChecks } from '../../shared/postgres/checks/server.ts';
import {
  openDatabase,
  withClient,
  type TransactionDatabase,
} from '../../shared/postgres/database.ts';
import { isPooled } from '../../shared/postgres/pooler.ts';
import { schemaProblem } from '../../shared/postgres/schema.ts';
import type { StoresConfig } from '../../shared/process/config.ts';
import {
  ok,
  problem,
  problemOf,
  runChecks,
  warning,
  worstLevel,
  type Finding,
  type Verdict,
} from '../../shared/process/finding.ts';
import { silentLogger } from '../../shared/process/logger.ts';
import { redisChecks } from '../../shared/queue/checks.ts';
import { connectRedis } from '../../shared/queue/redis.ts';
import { waitForRedis } from '../../shared/queue/wait-for-redis.ts';
import { openRefreshQueue } from '../../shared/queue/refresh-queue.ts';
import { commandConfig, dataOption } from '../command-config.ts';
import { outboxChecks, queueChecks } from '../doctor-checks.ts';
import { jsonText } from '../output.ts';
import { printable } from '../../shared/process/printable.ts';

const CONNECT_TIMEOUT_MS = 3_000;
const CONNECTION = 'connection';
/** Like monitoring plugins: 0 all is well, 1 a warning, 2 a problem. */
const EXIT_CODES = { ok: 0, warning: 1, problem: 2 } as const;

interface Section {
  readonly area: 'Redis' | 'Postgres' | 'Harbor';
  readonly findings: readonly Finding[];
}

/** Adds `tally doctor`, which examines Redis, Postgres and Harbor without changing them. */
export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('check Redis, Postgres and Harbor, and say what to change; changes nothing')
    .option('--json', 'print one JSON document')
    .addOption(dataOption())
    .addHelpText('after', '\nExit code: 0 all is well, 1 there are warnings, 2 there are problems.')
    .action(async (options: { json?: true; data: string }) => {
      const config = commandConfig(['DATABASE_URL', 'REDIS_URL'], options.data);
      const sections = await examine(config);
      const level = worstLevel(sections.flatMap(({ findings }) => findings));
      process.stdout.write(
        options.json
          ? `${jsonText({ level, findings: sections.flatMap(flatten) })}\n`
          : asText(sections),
      );
      process.exitCode = EXIT_CODES[level];
    });
}

function flatten({ area, findings }: Section): object[] {
  return findings.map((finding) => ({ area, ...finding }));
}

/** Each store is examined even if the others are unreachable. */
async function examine(config: StoresConfig): Promise<Section[]> {
  const database = openDatabase(config.DATABASE_URL, silentLogger(), {
    connections: 1,
    name: 'doctor',
    statementTimeoutMs: 5_000,
  });
  try {
    const [redis, postgres] = await Promise.all([
      examineRedis(config),
      examinePostgres(config, database),
    ]);
    const answers = !postgres.some(({ check }) => check === CONNECTION);
    const harbor = await examineHarbor(config, answers ? database : undefined);
    return [
      { area: 'Redis', findings: redis },
      { area: 'Postgres', findings: postgres },
      ...(harbor.length > 0 ? [{ area: 'Harbor', findings: harbor } as const] : []),
    ];
  } finally {
    await database.close();
  }
}

async function examineRedis(config: StoresConfig): Promise<Finding[]> {
  const redis = connectRedis(config, 'failFast', silentLogger());
  try {
    await waitForRedis(redis, CONNECT_TIMEOUT_MS);
    const queue = openRefreshQueue(config, redis, { readOnly: true });
    const findings = await runChecks([
      ...redisChecks(config, queue, redis),
      ...queueChecks(queue, redis, config),
    ]);
    await queue.close();
    return findings;
  } catch (error) {
    return [unreachable('REDIS_URL', error)];
  } finally {
    redis.disconnect();
  }
}

async function examinePostgres(
  config: StoresConfig,
  database: TransactionDatabase,
): Promise<Finding[]> {
  try {
    // One message: the answer to several gets lost if a pooler closes the connection after the
    // first.
    await withClient(config.DATABASE_URL, 'doctor', (client) => client.query('BEGIN'));
  } catch (error) {
    const explained = new Error(explainDatabaseError(error), { cause: error });
    return [unreachable('DATABASE_URL', explained)];
  }
  const found = await runChecks([
    ...serverChecks(database),
    ...hostChecks(database),
    { name: 'pooler', look: () => checkPooler(config) },
    { name: 'commits', look: () => checkCommits(config) },
    { name: 'schema tally', look: () => checkSchema(database) },
    { name: 'capture', look: () => checkCapture(config) },
  ]);
  const installed = found.some(({ check, level }) => check === 'schema tally' && level === 'ok');
  return installed ? [...found, ...(await runChecks(outboxChecks(database)))] : found;
}

function unreachable(variable: string, error: unknown): Finding {
  const fix = `start the server, or correct ${variable}`;
  return { check: CONNECTION, ...problemOf(describeError(error), fix) };
}

async function checkPooler(config: StoresConfig): Promise<Verdict> {
  const pooled = await withClient(config.DATABASE_URL, 'doctor', isPooled);
  return ok(pooled ? 'one is in between; Tally needs no session' : 'none is in between');
}

/** Commits a refresh of nothing, as a worker does before it says that it is ready. */
async function checkCommits(config: StoresConfig): Promise<Verdict> {
  try {
    await probeCommit(config.DATABASE_URL, 'refreshes');
  } catch (error) {
    return problem(
      `no refresh could be committed: ${describeError(error)}`,
      'remove that cause; the other lines may name it',
    );
  }
  return ok('a commit finishes');
}

async function checkSchema(database: TransactionDatabase): Promise<Verdict> {
  const found = await schemaProblem(database);
  return found === undefined ? ok('installed, in the version of this program') : problemOf(found);
}

function captureState(config: StoresConfig): Promise<CaptureState> {
  return withClient(config.DATABASE_URL, 'doctor', readCaptureState);
}

async function checkCapture(config: StoresConfig): Promise<Verdict> {
  switch (await captureState(config)) {
    case 'enabled':
      return ok('on: changes of tasks are recorded in their own transaction');
    case 'incomplete':
      return problem(
        'a trigger is missing or disabled, so some changes are missed',
        'run: tally capture enable',
      );
    case 'disabled':
      return config.HARBOR_REDIS_URL === undefined
        ? warning(
            'off: a change is noticed only when a refresh is requested, or by the reconciler',
            'run: tally capture enable, or request refreshes (docs/recording-changes.md)',
          )
        : ok('off; markers are taken in instead');
  }
}

/**
 * Examines Harbor, if the database is Harbor's.
 * @param database undefined if it can't be asked; then only Harbor's Redis is examined
 */
async function examineHarbor(
  config: StoresConfig,
  database: TransactionDatabase | undefined,
): Promise<Finding[]> {
  const url = config.HARBOR_REDIS_URL;
  const redis = url === undefined ? undefined : connectHarborRedis(url, silentLogger());
  try {
    if (redis !== undefined) {
      const problem = await waitForRedis(redis, CONNECT_TIMEOUT_MS, 'HARBOR_REDIS_URL').then(
        () => undefined,
        (error: unknown) => unreachable('HARBOR_REDIS_URL', error),
      );
      if (problem !== undefined) return [problem];
    }
    if (database === undefined) return [];
    const captures = (await captureState(config)) === 'enabled';
    return await runChecks(await harborChecks(database, redis, captures));
  } catch (error) {
    return [unreachable('DATABASE_URL', error)];
  } finally {
    redis?.disconnect();
  }
}

const MARKS = { ok: 'ok     ', warning: 'warning', problem: 'PROBLEM' } as const;
const CHECK_WIDTH = 18;

function asText(sections: readonly Section[]): string {
  const lines = sections.flatMap(({ area, findings }) => [
    area,
    ...findings.flatMap((finding) => {
      const { level, check, text } = finding;
      const line = `  ${MARKS[level]}  ${check.padEnd(CHECK_WIDTH)} ${printable(text)}`;
      return level === 'ok'
        ? [line]
        : [line, `${' '.repeat(12 + CHECK_WIDTH)}-> ${printable(finding.fix)}`];
    }),
    '',
  ]);
  return lines.join('\n');
}
