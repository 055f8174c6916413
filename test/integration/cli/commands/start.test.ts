import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { injectFault } from '../../../support/fault.ts';
import { nothingLeft } from '../../../support/left-over.ts';
import { runTally, startTally } from '../../../support/processes.ts';
import { newFolder } from '../../../support/new-folder.ts';
import { statusOf } from '../../../support/tally-status.ts';
import { until } from '../../../support/wait.ts';

const folder = newFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const environment = { DASHBOARD_PORT: '', PRODUCER_PORT: '' };
// What a killed worker had in hand would wait for up to a minute: for the end of its locks, and for a second look.
const quickToRecover = {
  ...environment,
  LOCK_DURATION_MS: '1000',
  STALLED_INTERVAL_MS: '1000',
};
// Creating the database and starting all processes, on a busy machine.
const STARTED_MS = 100_000;

async function allIsRefreshed(data: string): Promise<void> {
  await until('what was recorded to be refreshed', async () => {
    const { outbox, disagreements } = await statusOf({}, '--data', data);
    return outbox.rows === 0 && disagreements === 0;
  });
}

/** The shells of a server's guard: the children of `tally start`, and theirs, that are called so. */
function guardsOf(pid: number): number[] {
  const { stdout } = spawnSync('pgrep', ['-f', '-P', `${pid}`, 'tally-guard'], {
    encoding: 'utf8',
  });
  const guards = stdout.split('\n').filter(Boolean).map(Number);
  return guards.flatMap((guard) => [...guardsOf(guard), guard]);
}

describe('npm start', () => {
  it('-- --once loads the demonstration, drains it and exits with 0', async () => {
    const data = join(folder, 'once');
    const npm = spawn('npm', ['start', '--', '--once', '--executions', '3000', '--data', data], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    npm.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const [code] = (await once(npm, 'close')) as [number];
    expect(output).toMatch(/Refreshed 3000 executions in [\d.]+ s/);
    expect(output).toMatch(/SQL statements: [1-9]\d* refreshing/);
    expect(output).toContain('Disagreements left: 0.');
    expect(output).toContain('Out of date, for whatever reason: 0.');
    expect(code).toBe(0);
    await nothingLeft(data);
  });

  it('lends its servers to other commands, refuses a second start, and ends all on a signal', async () => {
    const data = join(folder, 'beside');
    // So few changes that only a standstill leaves a hundred of them undone.
    const start = startTally(
      ['start', '--executions', '500', '--rate', '5', '--data', data],
      environment,
    );
    await start.said('Dashboard: http', STARTED_MS);
    await until('the demonstration to be drained', async () => {
      const { workers, outbox } = await statusOf({}, '--data', data);
      return workers.length === 2 && outbox.rows < 100;
    });
    const second = await runTally(['start', '--data', data], environment);
    expect(second.code).toBe(1);
    expect(second.output.split('\n').at(-1)).toContain(
      `already runs in ${data} (process ${start.pid}`,
    );

    start.kill('SIGINT');
    // Code 0 says that nothing had to be forced when its time was over.
    expect(await start.ended).toEqual({ code: 0, signal: null });
    expect(start.lines.at(-1)).toContain('no process is left behind');
    await nothingLeft(data);
  });

  it('leaves nothing behind when a signal interrupts its start-up', async () => {
    const data = join(folder, 'early');
    const start = startTally(['start', '--executions', '50000', '--data', data], environment);
    await start.said('Starting an embedded Postgres');
    start.kill('SIGTERM');
    // It may still be creating the database: until it has ended, no other start may work there.
    await start.said('Stopping');
    expect(existsSync(join(data, 'run.json'))).toBe(true);
    const ended = await start.ended;
    expect(existsSync(join(data, 'run.json'))).toBe(false);
    expect(start.lines).not.toContainEqual(expect.stringContaining('Starting an embedded Redis'));
    expect(ended).toEqual({ code: 0, signal: null });
    await nothingLeft(data);
  });

  it('leaves nothing running after kill -9, and the next start has all that was recorded', async () => {
    injectFault(41, 'SIGKILL of tally start');
    const data = join(folder, 'killed');
    const first = startTally(['start', '--executions', '200', '--data', data], quickToRecover);
    await first.said('taking jobs', STARTED_MS);
    first.kill('SIGKILL');
    await first.ended;
    await nothingLeft(data);
    const again = startTally(['start', '--no-demo', '--data', data], quickToRecover);
    await again.said('taking jobs', STARTED_MS);
    await allIsRefreshed(data);
    again.kill('SIGTERM');
    expect((await again.ended).code).toBe(0);
    await nothingLeft(data);
  });

  it('says that capture is off, when somebody has turned it off in its data folder', async () => {
    const data = join(folder, 'off');
    const first = startTally(
      ['start', '--executions', '200', '--rate', '0', '--data', data],
      environment,
    );
    await first.said('Dashboard: http', STARTED_MS);
    // What is left undone would be done by the second start, which finds its own executions in it.
    await allIsRefreshed(data);
    expect(await runTally(['capture', 'disable', '--data', data], {})).toMatchObject({ code: 0 });
    first.kill('SIGTERM');
    await first.ended;
    const once = await runTally(
      ['start', '--once', '--executions', '200', '--data', data],
      environment,
    );
    expect(once.output).toContain(
      'Capture is off, so nobody records what the demonstration changes; run: tally capture enable',
    );
    expect(once.code).toBe(1);
  });

  it('stops servers that a killed start left behind, without losing data', async () => {
    const data = join(folder, 'unguarded');
    const first = startTally(['start', '--executions', '200', '--data', data], quickToRecover);
    await first.said('taking jobs', STARTED_MS);
    for (const pid of guardsOf(first.pid)) process.kill(pid, 'SIGKILL');
    first.kill('SIGKILL');
    await first.ended;
    const again = startTally(['start', '--no-demo', '--data', data], quickToRecover);
    await again.said('stopping the Postgres that an earlier run left behind');
    await again.said('stopping the Redis that an earlier run left behind');
    await again.said('taking jobs', STARTED_MS);
    await allIsRefreshed(data);
    again.kill('SIGTERM');
    expect((await again.ended).code).toBe(0);
    await nothingLeft(data);
  });

  it('ends a process that was still loading when its parent was killed', async () => {
    const worker = spawn(process.execPath, ['dist/cli/main.js', 'worker'], {
      env: { DATABASE_URL: inject('postgresUrl'), REDIS_URL: inject('redisUrl') },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    worker.disconnect();
    const late = setTimeout(() => worker.kill('SIGKILL'), 30_000);
    expect(await once(worker, 'exit')).toEqual([0, null]);
    clearTimeout(late);
  });

  it('is refused beyond this machine without a password, before it creates anything', async () => {
    const data = join(folder, 'open');
    const { code, output } = await runTally(['start', '--data', data], { HTTP_HOST: '0.0.0.0' });
    expect({ code, made: existsSync(data) }).toEqual({ code: 2, made: false });
    expect(output).toContain('set DASHBOARD_PASSWORD');
  });

  it('ends at once where nobody can create the data folder, and says why', async () => {
    const { code, output } = await runTally(['start', '--data', '/proc/tally'], environment);
    expect(code).toBe(1);
    expect(output).toBe(
      "tally: /proc/tally can't be used as the data folder (ENOENT: no such file or directory); give one with free space that this user may create and write: npm start -- --data <dir>",
    );
  });

  it('--once with a DATABASE_URL is refused: the demonstration needs an embedded database', async () => {
    const { code, output } = await runTally(['start', '--once'], {
      DATABASE_URL: 'postgres://127.0.0.1:1/production',
    });
    expect(code).toBe(1);
    expect(output).toContain('embedded database only');
  });

  it("never replaces a given server that doesn't answer by an embedded one", async () => {
    const { code, output } = await runTally(['start', '--data', join(folder, 'given')], {
      DATABASE_URL: 'postgres://tally:secret@127.0.0.1:1/tally',
      REDIS_URL: inject('redisUrl'),
    });
    expect(code).toBe(1);
    expect(output).toContain('check host and port in DATABASE_URL');
    expect(output).not.toContain('embedded');
  });

  it("ends with the Postgres that it started when REDIS_URL doesn't answer", async () => {
    const data = join(folder, 'redis-given');
    const { code, output } = await runTally(['start', '--data', data], {
      ...environment,
      REDIS_URL: 'redis://127.0.0.1:1',
    });
    expect(code).toBe(1);
    expect(output).toContain('check REDIS_URL');
    await nothingLeft(data);
  });
});
