// Takes the pictures of the documents in a real browser: npm run screenshots. What they show is the round of
// test/browser/repair.test.ts, in a running demonstration.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ChartData } from '../../dashboard/browser/chart-data.ts';
import { readRunFile } from '../../cli/start/run-file.ts';
import { openDatabase } from '../../shared/postgres/database.ts';
import { silentLogger } from '../../shared/process/logger.ts';
import { openBrowser } from '../support/browser.ts';
import { newFolder } from '../support/new-folder.ts';
import { repairOneOfTwoCauses } from '../support/two-causes.ts';
import { until } from '../support/wait.ts';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const IMAGES = fileURLToPath(new URL('../../docs/images/', import.meta.url));

const FAILING = 200;

const data = newFolder();
// Large enough to be still at work when the browser has started.
const start = spawn(process.execPath, [MAIN, 'start', '--executions', '200000', '--data', data], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: { ...process.env, JOB_ATTEMPTS: '1' },
});
const url = await new Promise<string>((resolve) => {
  createInterface({ input: start.stdout }).on('line', (line) => {
    const address = /^Dashboard: (\S+)/.exec(line)?.[1];
    if (address !== undefined) resolve(address);
  });
});
const browser = await openBrowser();
const run = readRunFile(data);
const database = openDatabase(run?.databaseUrl ?? '', silentLogger(), {
  connections: 1,
  name: 'screenshots',
});
try {
  mkdirSync(IMAGES, { recursive: true });
  const page = await browser.newPage();
  const take = async (name: string, fullPage = true): Promise<void> => {
    await page.screenshot({ path: join(IMAGES, `${name}.png`), fullPage });
  };
  await until('the dashboard to answer', () =>
    fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  const shown = async (text: RegExp): Promise<boolean> => {
    await page.goto(`${url}/`);
    return text.test(await page.locator('.tile').first().innerText());
  };
  await until('the queue to be short', () => shown(/^Waiting\s+\d{1,2}\b/), 180_000);
  await until(
    'a minute and a half to be seen',
    async () => {
      await page.goto(`${url}/`);
      const json = await page.locator('.chart').first().getAttribute('data-chart');
      const { series } = JSON.parse(json ?? '') as ChartData;
      const ends = series[0]?.values.map((_, at) =>
        series.some(({ values }) => (values[at] ?? 0) > 0),
      );
      return (ends ?? []).filter(Boolean).length >= 9;
    },
    180_000,
  );
  // Of every vendor; the simulated job service leaves those alone that it did not start.
  const rows = await database.query<{ id: number }>(
    `UPDATE execution SET status = 'Running', end_time = NULL, trigger = 'MANUAL'
      WHERE id IN (SELECT id FROM execution ORDER BY id LIMIT ${FAILING}) RETURNING id::bigint AS id`,
  );
  const ids = rows.map(({ id }) => id).toSorted((one, other) => one - other);
  await repairOneOfTwoCauses({
    page,
    database,
    ids,
    request: async () => {
      await database.query(
        `INSERT INTO tally.outbox (execution_id, vendor, source)
         SELECT id, vendor_type, 'api' FROM execution WHERE id IN (${ids.join(',')})`,
      );
    },
    look: async (step) => {
      if (step === 'failed') await take('overview');
      if (step === 'cause') await take('cause', false);
    },
  });
  await page.goto(`${url}/executions?state=failed`);
  await take('executions', false);
  await page.goto(`${url}/executions/${ids.at(-1)}`);
  await take('execution');
} finally {
  await browser.close();
  await database.close();
  start.kill('SIGTERM');
  await once(start, 'close');
  rmSync(data, { recursive: true, force: true });
}
