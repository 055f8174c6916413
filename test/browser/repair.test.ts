import { afterAll, expect, it } from 'vitest';
import { enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { openBrowser, openPage } from '../support/browser.ts';
import { serveDashboard } from '../support/dashboard.ts';
import { countByRevision, createExecutions, refreshesOf } from '../support/executions.ts';
import { openWorker } from '../support/in-process.ts';
import { failRefreshes } from '../support/sabotage.ts';
import { createStores } from '../support/stores.ts';

const stores = await createStores({ settings: { JOB_ATTEMPTS: '1' } });
const { database, queue, environment } = stores;
const { url } = await serveDashboard(stores);
const browser = await openBrowser();
afterAll(() => browser.close());

it('an operator sees 200 failures of two causes, removes one cause, and retries exactly those', async () => {
  const ids = await createExecutions(database, 200);
  const [full, locked] = [ids.slice(0, 150), ids.slice(150)];
  const quota = await failRefreshes(database, 'the quota of project <id> is used up', {
    ids: full,
    each: 'ROW',
  });
  await failRefreshes(database, 'project <id> is locked', { ids: locked, each: 'ROW' });
  const { page, problems } = await openPage(browser, url);
  await page.goto(url);
  await page.evaluate('globalThis.isFirstLoad = true');

  await openWorker(environment);
  await enqueueRefreshes(queue, refreshesOf(ids));
  const failed = page.locator('.tile', { hasText: 'Failed' }).locator('a');
  await failed.getByText('200', { exact: true }).waitFor();
  const causes = page.locator('.causes tbody tr');
  expect(await causes.locator('strong').allInnerTexts()).toEqual(['150', '50']);
  expect(await page.evaluate('globalThis.isFirstLoad')).toBe(true);

  await quota.end();
  await page.getByRole('link', { name: 'Show and retry these 150' }).click();
  expect(await page.locator('main').innerText()).toContain('the quota of project <n> is used up');
  // By keyboard alone.
  await page.getByRole('button', { name: 'Retry these 150' }).focus();
  await page.keyboard.press('Enter');
  await page.getByText('Asked for 150 refreshes').waitFor();
  await page.getByText('None of the newest failures has this cause any more.').waitFor();

  await page.getByRole('link', { name: 'Overview' }).click();
  await failed.getByText('50', { exact: true }).waitFor();
  expect(await causes.locator('strong').allInnerTexts()).toEqual(['50']);
  expect(await countByRevision(database, full)).toEqual({ 1: 150 });
  expect(await countByRevision(database, locked)).toEqual({ 0: 50 });
  expect(problems).toEqual([]);
});
