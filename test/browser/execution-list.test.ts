import { afterAll, beforeAll, expect, it } from 'vitest';
import { openBrowser, openPage } from '../support/browser.ts';
import { serveDashboard } from '../support/dashboard.ts';
import { createExecutions } from '../support/executions.ts';
import { createStores } from '../support/stores.ts';
import { recordWorstFailures } from '../support/worst-failures.ts';

const stores = await createStores();
const { url } = await serveDashboard(stores);
const browser = await openBrowser();
afterAll(() => browser.close());
const { page, problems } = await openPage(browser, url);

let ids: readonly number[] = [];
beforeAll(async () => {
  ids = await createExecutions(stores.database, 70);
  await recordWorstFailures(stores.database, ids.slice(0, 3));
});

it('the keyboard alone filters the list and opens an execution', async () => {
  await page.goto(`${url}/executions`);
  await page.getByRole('link', { name: /^Failed/ }).focus();
  await page.keyboard.press('Enter');
  await page.waitForURL('**/executions?state=failed');
  await page.getByLabel('Vendor').focus();
  await page.keyboard.type('REPLICATION');
  await page.keyboard.press('Enter');
  await page.waitForURL('**/executions?state=failed&vendor=REPLICATION&age=');
  const link = page.locator('table.executions tbody a').first();
  const id = String(await link.textContent());
  expect(ids.slice(0, 3).map(String)).toContain(id);
  await link.focus();
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/executions/${id}`);
  expect(problems).toEqual([]);
});

it('a narrow page leads to the next one and never scrolls sideways', async () => {
  await page.setViewportSize({ width: 390, height: 900 });
  await page.goto(`${url}/executions`);
  await page.getByRole('link', { name: 'Next page' }).click();
  await page.waitForURL(`**/executions?from=${ids[20]}`);
  expect(await page.locator('table.executions tbody tr').count()).toBe(20);
  for (const query of ['', '?state=failed', '?state=waiting', '?state=stuck']) {
    await page.goto(`${url}/executions${query}`);
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
  }
  expect(problems).toEqual([]);
});
