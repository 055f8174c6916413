import { execFileSync } from 'node:child_process';
import { cpSync, rmSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, expect, it } from 'vitest';
import { createExecutions, outboxRows, untilOutboxIsEmpty } from '../support/executions.ts';
import { expectNothingBroken } from '../support/invariants.ts';
import { newFolder } from '../support/new-folder.ts';
import { createStores } from '../support/stores.ts';
import { spawnTally, type SpawnedTally } from '../support/tally-process.ts';
import { until } from '../support/wait.ts';

/** The last version without a backlog lane, which needs the same packages. */
const OLD_COMMIT = 'a256198^';
const EXECUTIONS = 10_000;

const { database, queue, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
});
const oldFolder = newFolder();
afterAll(() => rmSync(oldFolder, { recursive: true }));
const oldMain = buildOldVersion();
const running: SpawnedTally[] = [];
afterEach(async () => {
  for (const child of running) child.kill('SIGKILL');
  await Promise.all(running.map(({ ended }) => ended));
});

it.each([
  ['worker', 'producer'],
  ['producer', 'worker'],
] as const)(
  'a rolling upgrade under load, %s first, refreshes everything',
  async (first, second) => {
    const old = {
      worker: await start('worker', oldMain),
      producer: await start('producer', oldMain),
    };
    await recordBacklog();
    await until('some to be refreshed', async () => (await outboxRows(database)) < EXECUTIONS);
    for (const role of [first, second]) {
      await start(role);
      await recordBacklog();
      old[role].kill('SIGTERM');
      expect(await old[role].ended).toEqual({ code: 0, signal: null });
      // The one that is still of the old version works with the new one.
      await untilOutboxIsEmpty(database);
    }
    await recordBacklog();
    await expectNothingBroken({ database, queue });
  },
);

function buildOldVersion(): string {
  const archive = execFileSync('git', ['archive', OLD_COMMIT], { maxBuffer: 2 ** 28 });
  execFileSync('tar', ['-x', '-C', oldFolder], { input: archive });
  const modules = resolve('node_modules');
  symlinkSync(modules, join(oldFolder, 'node_modules'));
  const compiler = join(modules, '.bin', 'tsc');
  execFileSync(compiler, ['-p', 'tsconfig.build.json'], { cwd: oldFolder });
  for (const kind of ['sql', 'migrations']) {
    const folder = `shared/postgres/${kind}`;
    cpSync(join(oldFolder, folder), join(oldFolder, 'dist', folder), { recursive: true });
  }
  return join(oldFolder, 'dist/cli/main.js');
}

async function start(role: 'worker' | 'producer', main?: string): Promise<SpawnedTally> {
  const child = spawnTally([role], environment, undefined, main);
  running.push(child);
  const ready = role === 'worker' ? 'taking jobs' : 'refreshes are accepted on';
  await until(
    () => `the ${role} to be ready; it said\n${child.lines.join('\n')}`,
    () => child.lines.some((line) => line.includes(ready)),
  );
  return child;
}

/** Creates executions that are out of date, each with a request that is an hour old. */
async function recordBacklog(): Promise<void> {
  const ids = await createExecutions(database, EXECUTIONS);
  await database.query(
    `INSERT INTO tally.outbox (execution_id, vendor, source, due_at)
     SELECT id, 'REPLICATION', 'api', clock_timestamp() - interval '1 hour' FROM unnest($1::bigint[]) AS id`,
    [ids],
  );
}
