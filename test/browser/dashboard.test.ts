import { afterAll, expect, it } from 'vitest';
import { enqueueRefreshes } from '../../shared/refresh-queue.ts';
import { openBrowser } from '../support/browser.ts';
import { createExecutions, readExecution } from '../support/executions.ts';
import { startTally, startWorker } from '../support/processes.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const { database, queue, environment } = await createStores({ JOB_ATTEMPTS: '1' });
const browser = await openBrowser();
afterAll(() => browser.close());

it('the board is titled Tally, names jobs by identity, retries safely, and asks no other host for anything', async () => {
  const [bad = 0, waiting = 0] = await createExecutions(database, 2);
  await database.query(
    `CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN RAISE EXCEPTION '<script>alert(1)</script>'; END $$`,
  );
  await database.query(
    `CREATE TRIGGER poison BEFORE UPDATE ON execution FOR EACH ROW EXECUTE FUNCTION poison()`,
  );
  const first = await startWorker(environment);
  await enqueueRefreshes(queue, [{ executionId: bad, vendor: 'REPLICATION' }]);
  await until('it to fail', async () => (await queue.getFailedCount()) === 1);
  first.kill('SIGTERM');
  await first.ended;
  await enqueueRefreshes(queue, [{ executionId: waiting, vendor: 'REPLICATION' }]);

  const dashboard = startTally(['dashboard'], environment);
  const url = /http:\S+?(?=")/.exec(await dashboard.said('dashboard: http'))?.[0] ?? '';
  const page = await browser.newPage();
  const problems: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) problems.push(request.url());
  });
  page.on('dialog', () => problems.push('a script in an error ran'));

  await page.goto(`${url}/queue/refresh?status=waiting`);
  await page.getByText(`${waiting}:REPLICATION`).first().waitFor();
  expect(await page.title()).toContain('Tally');

  await page.goto(`${url}/queue/refresh?status=failed`);
  await page.getByText(`${bad}:REPLICATION`).first().waitFor();
  await database.query('DROP TRIGGER poison ON execution');
  await startWorker(environment);
  await page.getByRole('button', { name: /retry/i }).first().click();
  await page.getByRole('button', { name: /confirm/i }).click();
  await until('the retried one to be refreshed', async () => {
    return (await readExecution(database, bad)).revision === 1;
  });
  await until('no failed job to be left', async () => (await queue.getFailedCount()) === 0);
  expect(problems).toEqual([]);
});
