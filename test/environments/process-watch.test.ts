import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect, it, onTestFinished } from 'vitest';
import { watchProcess } from '../support/process-watch.ts';

/** A process that is always ready and is busy for `busyMs` of every 100 ms. */
async function startServer(
  busyMs: number,
): Promise<{ pid: number; ended: Promise<never>; url: string }> {
  const script = `
    const server = require('node:http').createServer((_, response) => response.end('ready'));
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));
    setInterval(() => { for (const end = Date.now() + ${busyMs}; Date.now() < end;); }, 100);`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [port] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return {
    pid: child.pid ?? 0,
    ended: new Promise<never>(() => undefined),
    url: `http://127.0.0.1:${port}`,
  };
}

it('a process that is busy most of the time is told from one that waits', async () => {
  const [busy, calm] = [await startServer(90), await startServer(0)];
  // Side by side, since how much a busy one gets depends on what else runs on the machine.
  const [seenBusy, seenCalm] = await Promise.all([
    watchProcess(busy, busy.url).look(8),
    watchProcess(calm, calm.url).look(8),
  ]);
  expect(seenBusy.cpuShare).toBeGreaterThan(seenCalm.cpuShare * 3);
  expect(seenCalm.cpuShare).toBeLessThan(0.2);
});

it("a process that says ready while it can't work is caught, and not once it can", async () => {
  const server = await startServer(0);
  const watch = watchProcess(server, server.url);
  await watch.look(2);
  expect(watch.lies[0]).toBe('/readyz said ready while the process was unable to work');
  watch.declare('able');
  const before = watch.lies.length;
  await watch.look(4);
  expect(watch.lies.length).toBeLessThanOrEqual(before + 1);
});
