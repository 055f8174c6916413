import axe from 'axe-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import { openBrowser, openPage } from '../support/browser.ts';
import { OPERATOR, serveDashboard, WITH_PASSWORDS } from '../support/dashboard.ts';
import { createExecutions } from '../support/executions.ts';
import { openWorker } from '../support/in-process.ts';
import { createStores } from '../support/stores.ts';
import { recordWorstFailures } from '../support/worst-failures.ts';

const stores = await createStores();
const { database, environment } = stores;
const { url } = await serveDashboard(stores, {
  ...WITH_PASSWORDS,
  DASHBOARD_ENVIRONMENT: 'production',
});
const browser = await openBrowser(OPERATOR);
afterAll(() => browser.close());
const { page } = await openPage(browser, url);

let ids: readonly number[] = [];
beforeAll(async () => {
  ids = await createExecutions(database, 9);
  await recordWorstFailures(database, ids.slice(0, 7));
  await recordRefreshes(database, [{ executionId: ids[8] ?? 0, vendor: 'REPLICATION' }], 'api');
});

// The list of executions with its filters in use, after a request, and as the question before one.
const LISTS = [
  '',
  '?state=failed&vendor=REPLICATION',
  '?state=waiting',
  '?state=stuck&age=over-1h',
  '?vendor=REPLICATION&asked=2',
  '/refresh?id=1&id=2',
].map((rest) => `/executions${rest}`);
const LISTS_OF_NOTHING = [
  '/executions?state=by-hand&vendor=none',
  '/executions?state=Stopped&age=over-7d',
];
const WRONG = ['/executions?state=faild', '/executions?vendor=%00', '/executions?age=old'];

/** What axe finds serious or critical on the page that is open, with where. */
async function findings(): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<axe.AxeResults>('axe.run()');
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
}

describe.each(['light', 'dark'] as const)('%s', (colorScheme) => {
  it.each([390, 1280])('axe finds nothing serious at %i px', async (width) => {
    await openWorker(environment);
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    const executions = [ids[0], ids[2], ids[7], ids[8], 0].map((id) => `/executions/${id}`);
    await page.goto(url);
    const links = await page.locator('a[href^="/failures/"]').all();
    const causes = await Promise.all(
      links.slice(0, 2).map(async (link) => String(await link.getAttribute('href'))),
    );
    const pages = [
      '/',
      '/?range=24h',
      '/failures',
      '/stuck',
      ...LISTS,
      ...LISTS_OF_NOTHING,
      ...WRONG,
    ];
    for (const path of [...pages, ...causes, ...executions]) {
      await page.goto(`${url}${path}`);
      if (LISTS_OF_NOTHING.includes(path)) await page.locator('.empty').waitFor();
      if (WRONG.includes(path)) await page.getByText("can't be limited like this").waitFor();
      for (const details of await page.locator('details > summary').all()) await details.click();
      expect(await findings(), path).toEqual([]);
    }
  });
});

it('an unnamed button and a pale text would be found', async () => {
  await page.emulateMedia({ colorScheme: 'light' });
  await page.goto(`${url}/executions`);
  await page.evaluate(`document.querySelector('main').innerHTML = '<button></button><p>pale</p>'`);
  await page.evaluate(`document.querySelector('main p').style.color = '#ddd'`);
  expect((await findings()).map((text) => text.split(':', 1)[0])).toEqual(
    expect.arrayContaining(['button-name', 'color-contrast']),
  );
});
