import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { runTally, startTally } from '../../../support/processes.ts';
import { newFolder } from '../../../support/servers.ts';
import { until } from '../../../support/wait.ts';

const folder = newFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const environment = { DASHBOARD_PORT: '', PRODUCER_PORT: '' };

/** Processes whose command line or working folder tells that they belong to this data folder. */
function leftOver(data: string): string {
  return spawnSync('pgrep', ['-af', data], { encoding: 'utf8' }).stdout;
}

describe('npm start', () => {
  it('-- --once loads the demonstration, drains it and ends with 0 when no disagreement is left', async () => {
    const data = join(folder, 'once');
    const npm = spawn('npm', ['start', '--', '--once', '--executions', '3000', '--data', data], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    npm.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const [code] = (await once(npm, 'close')) as [number];
    expect(output).toMatch(/Refreshed 3000 executions in [\d.]+ s/);
    expect(output).toMatch(/SQL statements: \d+ refreshing/);
    expect(output).toContain('Disagreements left: 0.');
    expect(code).toBe(0);
    expect(leftOver(data)).toBe('');
  });

  it('lends its servers to commands beside it; a second one says why not; a signal ends it all', async () => {
    const data = join(folder, 'beside');
    const start = startTally(['start', '--executions', '500', '--data', data], environment);
    await start.said('Dashboard: http', 30_000);
    await until('the demonstration to be drained', async () => {
      const { output } = await runTally(['status', '--json', '--data', data], {});
      const status = JSON.parse(output) as { outbox: { rows: number }; workers: unknown[] };
      return status.workers.length === 2 && status.outbox.rows < 100;
    });
    const second = await runTally(['start', '--data', data], environment);
    expect(second.code).toBe(1);
    expect(second.output.split('\n').at(-1)).toContain(
      `already runs in ${data} (process ${start.pid}`,
    );

    const beganMs = performance.now();
    start.kill('SIGINT');
    expect(await start.ended).toEqual({ code: 0, signal: null });
    expect(performance.now() - beganMs).toBeLessThan(10_000);
    expect(start.lines.at(-1)).toContain('no process is left behind');
    expect(leftOver(data)).toBe('');
  });

  it('a signal in the middle of its start-up leaves nothing behind either', async () => {
    const data = join(folder, 'early');
    const start = startTally(['start', '--executions', '50000', '--data', data], environment);
    await start.said('Starting an embedded Postgres');
    start.kill('SIGTERM');
    expect(await start.ended).toEqual({ code: 0, signal: null });
    expect(leftOver(data)).toBe('');
  });

  it('killed outright, it leaves servers that the next start takes over, and no data is lost', async () => {
    const data = join(folder, 'killed');
    const first = startTally(['start', '--executions', '200', '--data', data], environment);
    await first.said('taking jobs', 30_000);
    first.kill('SIGKILL');
    await first.ended;
    const again = startTally(['start', '--no-demo', '--data', data], environment);
    await again.said('taking jobs', 30_000);
    await until('what was recorded to be refreshed', async () => {
      const { output } = await runTally(['status', '--json', '--data', data], {});
      const status = JSON.parse(output) as { outbox: { rows: number }; disagreements: number };
      return status.outbox.rows === 0 && status.disagreements === 0;
    });
    again.kill('SIGTERM');
    expect((await again.ended).code).toBe(0);
    expect(leftOver(data)).toBe('');
  });

  it('a process of it that was still loading when it was killed ends by itself', async () => {
    const worker = spawn(process.execPath, ['dist/cli/main.js', 'worker'], {
      env: { DATABASE_URL: inject('postgresUrl'), REDIS_URL: inject('redisUrl') },
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    worker.disconnect();
    const late = setTimeout(() => worker.kill('SIGKILL'), 30_000);
    expect(await once(worker, 'exit')).toEqual([0, null]);
    clearTimeout(late);
  });

  it('--once with a DATABASE_URL is refused: there is no demonstration on a database that is given', async () => {
    const { code, output } = await runTally(['start', '--once'], {
      DATABASE_URL: 'postgres://127.0.0.1:1/production',
    });
    expect(code).toBe(1);
    expect(output).toContain('embedded database only');
  });

  it('a URL that does not answer is an error, never a reason for an embedded server', async () => {
    const { code, output } = await runTally(['start', '--data', join(folder, 'given')], {
      DATABASE_URL: 'postgres://tally:secret@127.0.0.1:1/tally',
      REDIS_URL: inject('redisUrl'),
    });
    expect(code).toBe(1);
    expect(output).toContain('check DATABASE_URL');
    expect(output).not.toContain('embedded');
  });

  it('a REDIS_URL that does not answer ends it, and the Postgres that it had started, too', async () => {
    const data = join(folder, 'redis-given');
    const { code, output } = await runTally(['start', '--data', data], {
      ...environment,
      REDIS_URL: 'redis://127.0.0.1:1',
    });
    expect(code).toBe(1);
    expect(output).toContain('check REDIS_URL');
    expect(leftOver(data)).toBe('');
  });
});
