import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';

const SERVER = new URL('../../../../dist/cli/embedded/server.js', import.meta.url).href;

it('a command that could not be started does not keep the process that wanted to run it', async () => {
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
