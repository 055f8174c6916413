import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { tellingLine } from '../../../../cli/embedded/programs.ts';

const SERVER = new URL('../../../../dist/cli/embedded/programs.js', import.meta.url).href;

it("a command that couldn't be started doesn't keep the process alive", async () => {
  // The first file may not be executed, the second one doesn't exist.
  const script = `
    import { run } from '${SERVER}';
    for (const file of ['/etc/hosts', '/no/such/file']) await run(file, []).catch(() => undefined);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const late = setTimeout(() => child.kill('SIGKILL'), 60_000);
  expect(await once(child, 'exit')).toEqual([0, null]);
  clearTimeout(late);
});

it.each([
  [
    'a full disk, and not what it led to',
    `creating system views ... 2026-01-02 FATAL:  could not extend file "base/1/2619": No space left on device
     2026-01-02 HINT:  Check free disk space.
     2026-01-02 PANIC:  cannot abort transaction 1, it was already committed
     child process was terminated by signal 6: Aborted`,
    'creating system views ... 2026-01-02 FATAL:  could not extend file "base/1/2619": No space left on device',
  ],
  [
    'the last problem, where the system gave no cause',
    `LOG:  database files are incompatible
     FATAL:  database files are incompatible with server
     LOG:  database system is shut down`,
    'FATAL:  database files are incompatible with server',
  ],
])("the line shown of a server's output names %s", (_what, output, line) => {
  expect(tellingLine(output)).toBe(line);
});
