import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { freePort } from '../../cli/embedded/ports.ts';
import { nothingLeft } from '../support/left-over.ts';
import { runTally, startTally } from '../support/processes.ts';
import { newFolder } from '../support/new-folder.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { injectFault } from '../support/fault.ts';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = newFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const stores = await createStores();

const running = new Set<ChildProcess>();
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
});

/** `tally <args> | head -1`: reads one line, then closes its end. */
async function readOneLine(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<{ code: number | null; line: string; errors: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const ended = once(child, 'exit') as Promise<[number | null]>;
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
  child.stdout.destroy();
  const [code] = await ended;
  return { code, line: chunk.toString().split('\n')[0] ?? '', errors };
}

describe('a reader that goes away', () => {
  it("doesn't end a reconciliation: all 6,000 are recorded, without a stack trace", async () => {
    injectFault(41, 'a pipe whose reader has gone');
    const { database } = stores;
    await database.query(
      `WITH stuck AS (
         INSERT INTO execution (vendor_type, vendor_id, status, trigger, revision)
         SELECT 'SCAN', n, 'Running', 'MANUAL', 0 FROM generate_series(1, 6000) AS n RETURNING id
       )
       INSERT INTO task (execution_id, status, status_code, vendor_type, job_id, start_time, end_time)
       SELECT id, 'Success', 3, 'SCAN', id::text, now(), now() - interval '1 hour' FROM stuck`,
    );
    const { code, line, errors } = await readOneLine(['reconcile'], stores.environment);
    expect(line).toContain(':SCAN  stored Running, by its tasks Success');
    expect(errors).toBe('6000 disagreements; a refresh of each is recorded\n');
    expect(code).toBe(0);
    const [outbox] = await database.query<{ rows: number }>(
      'SELECT count(*) AS rows FROM tally.outbox',
    );
    expect(outbox).toEqual({ rows: 6_000 });
  });

  it("doesn't end a worker: it goes on refreshing until SIGTERM", async () => {
    const worker = spawn(process.execPath, [MAIN, 'worker'], {
      env: { ...stores.environment, LOG_LEVEL: 'info' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    running.add(worker);
    const ended = once(worker, 'exit');
    await once(worker.stdout, 'data');
    worker.stdout.destroy();
    const producer = startTally(['producer'], stores.environment);
    await until('the outbox to be empty', async () => {
      const [outbox] = await stores.database.query<{ rows: number }>(
        'SELECT count(*) AS rows FROM tally.outbox',
      );
      return outbox?.rows === 0;
    });
    worker.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    producer.kill('SIGTERM');
    await producer.ended;
  });

  it('ends tally start in order, with its processes and servers', async () => {
    injectFault(41, 'a reader or terminal that goes away under tally start');
    const data = join(folder, 'pipe');
    const args = ['start', '--executions', '200', '--data', data];
    const ports = { DASHBOARD_PORT: '', PRODUCER_PORT: '' };
    const { code, errors } = await readOneLine(args, ports);
    expect({ code, errors }).toEqual({ code: 0, errors: '' });
    await nothingLeft(data);
  });
});

describe('npm start', () => {
  it('| head -3 ends, and leaves nothing running', async () => {
    const data = join(folder, 'npm');
    const line = `npm start -- --executions 200 --data ${data} | head -3`;
    const shell = spawn('/bin/sh', ['-c', line], { stdio: ['ignore', 'pipe', 'inherit'] });
    running.add(shell);
    let output = '';
    shell.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await once(shell, 'close');
    expect(output.split('\n')).toHaveLength(4);
    // npm has ended when nobody read what it says of itself, perhaps before what it started has said anything.
    await nothingLeft(data);
  });

  it('twice in two folders: both work, each with its own dashboard', async () => {
    const starts = ['one', 'two'].map((name) => {
      const data = join(folder, name);
      const start = startTally(['start', '--executions', '200', '--data', data], {});
      return { data, start };
    });
    const addresses: string[] = [];
    for (const { data, start } of starts) {
      const said = await start.said('Dashboard: http', 90_000);
      const { dashboardUrl } = JSON.parse(readFileSync(join(data, 'run.json'), 'utf8')) as {
        dashboardUrl: string;
      };
      expect(said).toBe(`Dashboard: ${dashboardUrl}`);
      expect((await fetch(`${dashboardUrl}/healthz`)).status).toBe(200);
      addresses.push(dashboardUrl);
    }
    expect(new Set(addresses).size).toBe(2);
    for (const { data, start } of starts) {
      start.kill('SIGTERM');
      expect((await start.ended).code).toBe(0);
      // Twice at most for each of the two ports that another one took in the moment before its process listened.
      const again = start.lines.filter((line) => line.includes('is restarted'));
      expect(again.length, again.join('\n')).toBeLessThanOrEqual(4);
      await nothingLeft(data);
    }
  });

  it('twice on the same port: the second says so in one sentence and leaves nothing running', async () => {
    const port = String(await freePort(undefined));
    const args = (name: string) => ['start', '--executions', '200', '--data', join(folder, name)];
    const first = startTally(args('first'), { DASHBOARD_PORT: port });
    await first.said('Loading the demonstration', 90_000);
    const loser = await runTally(args('loser'), { DASHBOARD_PORT: port });
    expect(loser.code).toBe(1);
    expect(loser.output.split('\n').at(-1)).toBe(
      `tally: port ${port} on 127.0.0.1 is in use; set DASHBOARD_PORT to another one`,
    );
    await nothingLeft(join(folder, 'loser'));
    await first.said(`Dashboard: http://127.0.0.1:${port}`, 90_000);
    first.kill('SIGTERM');
    expect((await first.ended).code).toBe(0);
  });
});

describe('a terminal that is closed', () => {
  it('ends tally start in order, with its processes and servers', async () => {
    const data = join(folder, 'closed');
    const start = startTally(['start', '--executions', '200', '--data', data], {});
    await start.said('taking jobs', 60_000);
    start.kill('SIGHUP');
    start.kill('SIGHUP');
    expect(await start.ended).toEqual({ code: 0, signal: null });
    await nothingLeft(data);
  });

  it('stops a worker in order: it finishes what it has in hand', async () => {
    const worker = startTally(['worker'], stores.environment);
    await worker.said('taking jobs', 60_000);
    worker.kill('SIGHUP');
    expect(await worker.ended).toEqual({ code: 0, signal: null });
    await worker.said('stopping (SIGHUP)');
  });
});

it("a command whose output can't be written for another reason fails and says why", async () => {
  const child = spawn(
    '/bin/sh',
    ['-c', `"$0" "$1" failed --json > /dev/full`, process.execPath, MAIN],
    {
      env: stores.environment,
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  expect(errors).toContain('tally: the output is incomplete: ENOSPC');
  expect(code).toBe(1);
});
