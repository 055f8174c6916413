import { afterAll, expect, it } from 'vitest';
import { enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { openBrowser, openPage, OTHER_HOST } from '../support/browser.ts';
import { OPERATOR, serveDashboard, VIEWER, WITH_PASSWORDS } from '../support/dashboard.ts';
import { createExecution, createExecutions, readExecution } from '../support/executions.ts';
import { addFailedJobs } from '../support/failed-jobs.ts';
import { openWorker } from '../support/in-process.ts';
import { startWorker } from '../support/processes.ts';
import { failRefreshes, lockExecutions } from '../support/sabotage.ts';
import { settled } from '../support/settled.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const stores = await createStores({ settings: { JOB_ATTEMPTS: '1', WORKER_CONCURRENCY: '1' } });
const { database, queue, environment } = stores;
const served = await serveDashboard(stores, WITH_PASSWORDS);
// Not localhost: browsers tell less to a page without TLS, and that must be enough to refresh something.
const url = served.url.replace('127.0.0.1', OTHER_HOST);
const browser = await openBrowser(OPERATOR);
afterAll(() => browser.close());
const { page, problems } = await openPage(browser, url);

const vendor = 'REPLICATION';
// The board's buttons of one job have an icon, and a name only for the pointer.
const JOB_BUTTONS = '[class^="trigger-"] > button:not([aria-label])';

it('a visitor without the password sees nothing', async () => {
  const strangers = await openBrowser();
  const stranger = await openPage(strangers, url);
  await expect(stranger.page.goto(`${url}/`)).rejects.toThrow('INVALID_AUTH_CREDENTIALS');
  await strangers.close();
});

it('a visitor with the password sees waiting, running, delayed and failed jobs', async () => {
  const [failed = 0, running = 0, waiting = 0, delayed = 0] = await createExecutions(database, 4);
  const failure = await failRefreshes(database, '<script>alert("error")</script>');
  const worker = await startWorker({ ...environment, LOCK_DURATION_MS: '600000' });
  await enqueueRefreshes(queue, [{ executionId: failed, vendor }]);
  await until('it to fail', async () => (await queue.getFailedCount()) === 1);
  await failure.end();
  const unlock = await lockExecutions(environment.DATABASE_URL, [running]);
  await enqueueRefreshes(queue, [{ executionId: running, vendor }]);
  await until('it to run', async () => (await queue.getActiveCount()) === 1);
  // Awake it would give up the locked execution, perhaps before the pages have been looked at.
  worker.kill('SIGSTOP');
  await enqueueRefreshes(queue, [{ executionId: waiting, vendor }]);
  await queue.add('refresh', { executionId: delayed, vendor }, { delay: 60_000, jobId: 'a:b:c' });

  for (const [state, id] of Object.entries({ active: running, waiting, delayed, failed })) {
    await page.goto(`${url}/board/queue/refresh?status=${state}`);
    await page.getByText(`${id}:${vendor}`).first().waitFor();
  }
  expect(await page.title()).toContain('Tally');
  await page.getByText('<script>alert("error")</script>').first().waitFor();
  await page
    .getByRole('link', { name: `Execution ${failed}` })
    .first()
    .waitFor();

  await page.goto(url);
  await page.getByText('<script>alert(<value>)</script>').waitFor();
  // A count that Redis gives too late is missing until the next reading.
  await until('one job in each state', async () => {
    await page.reload();
    const tiles = await page.locator('.tile').allInnerTexts();
    return ['Waiting', 'Running', 'Delayed', 'Failed'].every((name) =>
      tiles.some((tile) => new RegExp(`^${name}\\s+1`).test(tile)),
    );
  });
  await page.getByText(`${running}:${vendor}`).waitFor();
  await unlock();
  worker.kill('SIGCONT');
  await queue.remove('a:b:c');
  await until('both to be done', () => settled(queue));
  expect(await queue.getFailedCount()).toBe(1);
  expect(problems).toEqual([]);
});

it('a failed job retried on the board is done', async () => {
  const [failed] = await queue.getFailed();
  const id = failed?.data.executionId ?? 0;
  await openWorker(environment);
  await page.goto(`${url}/board/queue/refresh?status=failed`);
  const retry = page.locator(JOB_BUTTONS).first();
  await retry.hover();
  await page.getByText('Retry', { exact: true }).waitFor();
  await retry.click();
  await page.getByRole('button', { name: /confirm/i }).click();
  await until('it to be refreshed', async () => (await readExecution(database, id)).revision === 1);
  await until('no failed job to be left', async () => (await queue.getFailedCount()) === 0);
  expect(problems).toEqual([]);
});

it('"Retry all" of five failures of one execution causes one run', async () => {
  const id = await createExecution(database);
  await addFailedJobs(stores, 5, () => ({ executionId: id, vendor }));
  await openWorker(environment);
  await page.goto(`${url}/board/queue/refresh?status=failed`);
  await page.getByRole('button', { name: /retry all/i }).click();
  await page.getByRole('button', { name: /confirm/i }).click();
  await until('no failed job to be left', async () => (await queue.getFailedCount()) === 0);
  await until('the run to end', async () => {
    const { waiting, active } = await queue.getJobCounts('waiting', 'active');
    return waiting === 0 && active === 0;
  });
  expect(await readExecution(database, id)).toMatchObject({ status: 'Success', revision: 1 });
  expect(problems).toEqual([]);
});

it('an execution is found by its number, refreshed with a button, and shown as done', async () => {
  const id = await createExecution(database);
  await page.goto(url);
  await page.getByLabel('Execution').fill(`${id}:${vendor}`);
  await page.getByRole('button', { name: 'Find' }).click();
  await page.getByRole('heading', { name: `Execution ${id}` }).waitFor();
  await page.getByText('nobody has asked for a refresh').waitFor();
  await page.getByRole('button', { name: 'Refresh now' }).click();
  await page.getByText('The refresh was put on the queue.').waitFor();
  await openWorker(environment);
  // The page asks again by itself.
  await page.getByText('What is stored is what its tasks say.').waitFor();
  expect(problems).toEqual([]);
});

it('script in a vendor is shown as text', async () => {
  const id = await createExecution(database);
  const script = '<img src=x onerror=alert("vendor")>';
  await database.query('UPDATE execution SET vendor_type = $2 WHERE id = $1', [id, script]);
  await page.goto(`${url}/executions/${id}`);
  await page.getByText(script).waitFor();
  expect(problems).toEqual([]);
});

it('the pages fit a phone', async () => {
  const id = await createExecution(database);
  await addFailedJobs(stores, 1, () => ({ executionId: id, vendor: 'V'.repeat(64) }));
  await page.setViewportSize({ width: 375, height: 700 });
  for (const path of ['/', `/executions/${id}`, '/executions']) {
    await page.goto(`${url}${path}`);
    expect(await page.evaluate('document.documentElement.scrollWidth'), path).toBe(375);
  }
  expect(problems).toEqual([]);
});

it('the viewer sees a board without buttons that change anything', async () => {
  const viewers = await openBrowser(VIEWER);
  const viewer = await openPage(viewers, url);
  await viewer.page.goto(`${url}/board/queue/refresh?status=failed`);
  await viewer.page.getByText('V'.repeat(64)).first().waitFor();
  expect(await viewer.page.getByRole('button', { name: /retry|clean|pause|add/i }).count()).toBe(0);
  expect(await viewer.page.locator(JOB_BUTTONS).count()).toBe(0);
  expect(viewer.problems).toEqual([]);
  await viewers.close();
});
