import { afterAll, expect, it, onTestFinished } from 'vitest';
import { recordRefreshes } from '../../shared/postgres/outbox.ts';
import { openBrowser, openPage } from '../support/browser.ts';
import { serveDashboard } from '../support/dashboard.ts';
import { createExecutions } from '../support/executions.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { MANY_LINES, recordWorstFailures } from '../support/worst-failures.ts';

const stores = await createStores();
const { database, queue } = stores;
const { url } = await serveDashboard(stores);
const browser = await openBrowser();
afterAll(() => browser.close());

const vendor = 'REPLICATION';
type Opened = Awaited<ReturnType<typeof openPage>>;

async function open(path: string): Promise<Opened> {
  const opened = await openPage(browser, url);
  onTestFinished(() => opened.page.close());
  await opened.page.goto(`${url}${path}`);
  // Gone after a reload.
  await opened.page.evaluate('globalThis.isFirstLoad = true');
  return opened;
}

async function isFirstLoad({ page }: Opened): Promise<unknown> {
  return page.evaluate('globalThis.isFirstLoad');
}

it('the overview shows a new failure without reloading, and keeps text, focus and open details', async () => {
  const ids = await createExecutions(database, 10);
  await recordWorstFailures(database, ids.slice(0, 2));
  const opened = await open('/');
  const { page, problems } = opened;
  const tile = page.locator('.tile', { hasText: 'Failed' }).locator('a');
  await until('the count', async () => (await tile.innerText()) === '2');
  await page.getByLabel('Execution').fill('12');
  const details = page.locator('tr', { hasText: MANY_LINES.slice(0, 4) }).locator('details');
  await details.locator('summary').focus();
  await page.keyboard.press('Enter');

  // More of another cause: its row goes above the one with the focus.
  await recordWorstFailures(database, ids);
  await page.locator('.causes strong', { hasText: '5' }).waitFor();
  // The count and the causes come from two statements, so one of them may come an update later.
  await until('the count, too', async () => (await tile.innerText()) === '10');
  expect(await page.getByLabel('Execution').inputValue()).toBe('12');
  expect(await details.getAttribute('open')).toBe('');
  expect(await page.evaluate('document.activeElement.closest("tr").innerText')).toContain('line');
  expect(await isFirstLoad(opened)).toBe(true);
  expect(problems).toEqual([]);
});

it("an execution's page follows it, and says once what was asked for", async () => {
  const [id = 0] = await createExecutions(database, 1);
  const opened = await open(`/executions/${id}?asked`);
  const { page, problems } = opened;
  await page.getByText('The refresh was put on the queue.').waitFor();
  await recordRefreshes(database, [{ executionId: id, vendor }], 'api');
  await page.getByText('A refresh is on its way').waitFor();
  expect(await page.getByText('The refresh was put on the queue.').count()).toBe(0);
  await database.query('SELECT tally.refresh_executions(ARRAY[$1::bigint])', [id]);
  await page.getByText('What is stored is what its tasks say.').waitFor();
  expect(await isFirstLoad(opened)).toBe(true);
  expect(problems).toEqual([]);
});

it('a hidden tab asks for nothing, and updates as soon as it is looked at', async () => {
  const opened = await open('/');
  const { page } = opened;
  const show = (hidden: boolean): Promise<unknown> =>
    page.evaluate(`
      Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'))`);
  let asked = 0;
  await show(true);
  page.on('request', () => asked++);
  // As long as two updates of a tab that is looked at.
  const seen = await open('/');
  let updates = 0;
  seen.page.on('requestfinished', () => updates++);
  await until('two updates of the other tab', () => updates >= 2);
  expect(asked).toBe(0);
  await show(false);
  await until('an update', () => asked > 0);
  expect(await isFirstLoad(opened)).toBe(true);
});

it('a lost connection is said, and no longer once it is back', async () => {
  const opened = await open('/');
  const { page } = opened;
  await browser.setOffline(true);
  onTestFinished(() => browser.setOffline(false));
  await page.getByText('Connection to Tally lost at').waitFor();
  // What was known stays.
  await page.getByText('Waiting').first().waitFor();
  await browser.setOffline(false);
  await page.getByText('Connection to Tally lost at').waitFor({ state: 'detached' });
  expect(await isFirstLoad(opened)).toBe(true);
});

it('with scripts off the pages work by reload', async () => {
  const [id = 0] = await createExecutions(database, 1);
  const { page, problems } = await openPage(browser, url);
  onTestFinished(() => page.close());
  const devtools = await browser.newCDPSession(page);
  await devtools.send('Emulation.setScriptExecutionDisabled', { value: true });
  await page.goto(`${url}/executions/${id}`);
  await page.getByRole('button', { name: 'Refresh now' }).click();
  await page.getByText('The refresh was put on the queue.').waitFor();
  expect(await queue.getWaitingCount()).toBe(1);
  await page.goto(url);
  const waiting = page.locator('.tile', { hasText: 'Waiting' }).locator('a');
  // Whoever asks right after a reading gets that one, so the first reload may show what was before.
  const untilReloadShows = (count: string): Promise<boolean> =>
    until(`a reload with ${count} jobs`, async () => {
      await page.reload();
      return (await waiting.innerText()) === count;
    });
  await untilReloadShows('1');
  await queue.drain();
  await untilReloadShows('0');
  expect(problems).toEqual([]);
});
