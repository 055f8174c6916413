// Takes the pictures of the documents from a running demonstration, in a real browser: npm run screenshots
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { openBrowser } from '../support/browser.ts';
import { newFolder } from '../support/servers.ts';
import { until } from '../support/wait.ts';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const IMAGES = fileURLToPath(new URL('../../docs/images/', import.meta.url));

const data = newFolder();
// Large enough to be still at work when the browser has started.
const start = spawn(process.execPath, [MAIN, 'start', '--executions', '200000', '--data', data], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const url = await new Promise<string>((resolve) => {
  createInterface({ input: start.stdout }).on('line', (line) => {
    const address = /^Dashboard: (\S+)/.exec(line)?.[1];
    if (address !== undefined) resolve(address);
  });
});
const browser = await openBrowser();
try {
  mkdirSync(IMAGES, { recursive: true });
  const page = await browser.newPage();
  await until('the dashboard to answer', () =>
    fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  await page.goto(`${url}/queue/refresh?status=active`);
  await page
    .getByText(/\d+:[A-Z_]+/)
    .first()
    .waitFor();
  await page.screenshot({ path: join(IMAGES, 'dashboard.png') });
} finally {
  await browser.close();
  start.kill('SIGTERM');
  await once(start, 'close');
  rmSync(data, { recursive: true, force: true });
}
