import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openBrowser, openPage } from '../support/browser.ts';
import { serveDashboard } from '../support/dashboard.ts';
import { createExecutions } from '../support/executions.ts';
import { createStores } from '../support/stores.ts';
import { LONG_VENDOR, recordWorstFailures } from '../support/worst-failures.ts';
import { until } from '../support/wait.ts';

const WIDTHS = [390, 768, 1280, 1920];
const SAME_CAUSE = 200;

const stores = await createStores();
const { url } = await serveDashboard(stores, { DASHBOARD_ENVIRONMENT: 'production' });
const browser = await openBrowser();
afterAll(() => browser.close());
const { page, problems } = await openPage(browser, url);

let ids: readonly number[] = [];
beforeAll(async () => {
  ids = await createExecutions(stores.database, SAME_CAUSE + 5);
  await recordWorstFailures(stores.database, ids);
  await stores.database.query('UPDATE execution SET vendor_type = $2 WHERE id = $1', [
    ids[0],
    LONG_VENDOR,
  ]);
});

describe.each(WIDTHS)('%i px wide', (width) => {
  it('no page scrolls sideways, and long errors stay folded', async () => {
    await page.setViewportSize({ width, height: 900 });
    for (const path of ['/', '/executions', ...ids.slice(0, 3).map((id) => `/executions/${id}`)]) {
      await page.goto(`${url}${path}`);
      expect(await page.evaluate('document.documentElement.scrollWidth'), path).toBe(width);
      const height = await page.evaluate<number>('document.documentElement.scrollHeight');
      // A row of the list is a block of its own on a phone.
      const rows = path === '/executions' ? await page.locator('main tbody tr').count() : 0;
      expect(height, path).toBeLessThan(3_500 + 200 * rows);
    }
    expect(problems).toEqual([]);
  });

  it('a count stands on one line', async () => {
    await page.setViewportSize({ width, height: 900 });
    await page.goto(url);
    const count = page.locator('.causes strong', { hasText: `${SAME_CAUSE}` });
    const { height = 0 } = (await count.boundingBox()) ?? {};
    expect(height).toBeGreaterThan(0);
    expect(height).toBeLessThan(25);
  });
});

it('characters that change the direction of writing or control a terminal are shown as escapes', async () => {
  for (const path of ['/', `/executions/${ids[0]}`]) {
    await page.goto(`${url}${path}`);
    const text = await page.locator('main').innerText();
    expect(text, path).toContain('\\u{202e}evil\\u{202c}\\u{7}');
    for (const raw of ['\u202e', '\u0007', '\u001b']) expect(text, path).not.toContain(raw);
  }
});

it('a folded error opens and scrolls with the keyboard alone', async () => {
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.goto(`${url}/executions/${ids[1]}`);
  const last = page.getByText('line 50 of the stack');
  expect(await last.isVisible()).toBe(false);
  await page.locator('main button').focus();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await last.waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('End');
  // Asked from here: to ask again from the page, Playwright would need the eval that its policy forbids.
  await until('it to scroll', () => page.evaluate('document.activeElement.scrollTop > 0'));
});
