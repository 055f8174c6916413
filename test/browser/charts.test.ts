import type { Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { COARSE, FINE } from '../../shared/queue/activity.ts';
import { openBrowser, openPage } from '../support/browser.ts';
import { serveDashboard } from '../support/dashboard.ts';
import { writeHistory } from '../support/history.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const stores = await createStores();
const { url } = await serveDashboard(stores);
const browser = await openBrowser();
afterAll(() => browser.close());

beforeAll(async () => {
  // One refresh a second less in every interval; the backlog lane does 7 more.
  await writeHistory(stores, FINE, 400, (ago) => ({
    refreshed: 10 * (ago + 30) + 70,
    'backlog:refreshed': 70,
    'lag:4': 10 * (ago + 30),
    'backlog:lag:12': 70,
  }));
  await writeHistory(stores, COARSE, 300, (ago) => ({ refreshed: 300_000 + 300 * ago }));
});

interface Opened {
  readonly page: Page;
  readonly problems: readonly string[];
  readonly rates: Locator;
  readonly lags: Locator;
  /** Time and values of the first chart, as they are shown. */
  readonly shown: () => Promise<{ at: string; express: number; backlog: number }>;
}

async function open(path = '/'): Promise<Opened> {
  const { page, problems } = await openPage(browser, url);
  onTestFinished(() => page.close());
  await page.goto(`${url}${path}`);
  const [rates, lags] = [page.locator('.chart').first(), page.locator('.chart').nth(1)];
  return {
    page,
    problems,
    rates,
    lags,
    shown: async () => {
      const [express, backlog] = await rates.locator('.value').allInnerTexts();
      const figure = (text = ''): number => Number(text.replace(/[,/s]/g, ''));
      return {
        at: await rates.locator('.at').innerText(),
        express: figure(express),
        backlog: figure(backlog),
      };
    },
  };
}

it('a mouse reads both charts at its time, and the newest values when it has left', async () => {
  const { page, problems, rates, lags, shown } = await open();
  const newest = await shown();
  expect(newest).toMatchObject({ at: 'last 10 s', backlog: 7 });
  const over = rates.locator('.u-over');
  const { width = 0 } = (await over.boundingBox()) ?? {};
  await over.hover({ position: { x: width / 2, y: 20 } });
  const middle = await shown();
  expect(middle.at).toMatch(/^\d\d:\d\d(:\d0)? UTC$/);
  expect(middle.express).toBeGreaterThan(newest.express + 40);
  expect(middle.express).toBeLessThan(newest.express + 50);
  expect(await lags.locator('.at').innerText()).toBe(middle.at);
  expect(await lags.locator('.value').allInnerTexts()).toEqual(['50 ms', '50 ms', '5.0 s']);
  await page.mouse.move(0, 0);
  expect((await shown()).at).toBe('last 10 s');
  expect(problems).toEqual([]);
});

it('the keyboard alone reads a chart, which says the values as a slider does', async () => {
  const { page, rates, shown } = await open();
  const slider = page.getByRole('slider', { name: 'Refreshes a second' });
  // An update between two keys could move the chart on.
  await page.route('**/*', (route) => route.abort());
  // From the choice of the range before it.
  await page.getByRole('link', { name: '24 h' }).focus();
  await page.keyboard.press('Tab');
  expect(await slider.evaluate((element) => element.matches(':focus-visible'))).toBe(true);
  const newest = await shown();
  await page.keyboard.press('Home');
  const oldest = await shown();
  expect(oldest.express).toBe(newest.express + 89);
  expect(await slider.getAttribute('aria-valuenow')).toBe('0');
  await page.keyboard.press('ArrowRight');
  expect((await shown()).express).toBe(oldest.express - 1);
  await page.keyboard.press('PageUp');
  const read = await shown();
  expect(read.express).toBe(oldest.express - 11);
  expect(await slider.getAttribute('aria-valuetext')).toBe(
    `${read.at}: Express lane ${read.express}/s, Backlog lane 7/s, Failed tries 0/s`,
  );
  await page.keyboard.press('Escape');
  expect(await rates.locator('.at').innerText()).toBe('last 10 s');
});

it('a finger reads a chart, and what it has read stays until another place is touched', async () => {
  const { page, rates, shown } = await open();
  await page.setViewportSize({ width: 390, height: 800 });
  const over = rates.locator('.u-over');
  await over.scrollIntoViewIfNeeded();
  const box = (await over.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 };
  const touch = await page.context().newCDPSession(page);
  const finger = (type: 'touchStart' | 'touchMove' | 'touchEnd', part = 0): Promise<unknown> =>
    touch.send('Input.dispatchTouchEvent', {
      type,
      touchPoints: type === 'touchEnd' ? [] : [{ x: box.x + part * box.width, y: box.y + 20 }],
    });
  await finger('touchStart', 0.8);
  const { express, at } = await shown();
  expect(at).toMatch(/UTC$/);
  for (const part of [0.7, 0.5, 0.3]) await finger('touchMove', part);
  await until('the finger to be followed', async () => (await shown()).express > express + 30);
  await finger('touchEnd');
  expect((await shown()).at).toMatch(/UTC$/);
  await page.locator('h2').first().click();
  expect((await shown()).at).toBe('last 10 s');
});

it('another range comes without a reload, and updates keep it, the time that is read and the focus', async () => {
  const { page, problems, rates, shown } = await open();
  await page.evaluate('globalThis.isFirstLoad = true');
  await page.getByRole('link', { name: '24 h' }).focus();
  await page.keyboard.press('Enter');
  await until('the other range', async () => (await shown()).express > 900);
  expect(new URL(page.url()).search).toBe('?range=24h');
  await page.keyboard.press('Tab');
  await page.keyboard.press('ArrowLeft');
  const first = await shown();
  // One off if another interval has begun since the history was written, or if nothing is told of the newest yet.
  expect(Math.abs(first.express - 1_001)).toBeLessThanOrEqual(1);
  for (let n = 0; n < 29; n++) await page.keyboard.press('ArrowLeft');
  const read = await shown();
  expect(read.express).toBe(first.express + 29);
  const json = await rates.getAttribute('data-chart');
  await writeHistory(stores, COARSE, 1, () => ({ refreshed: 9_000_000 }));
  // An update that came from the server.
  await expect.poll(() => rates.getAttribute('data-chart'), { timeout: 30_000 }).not.toBe(json);
  expect(await shown()).toEqual(read);
  expect(await page.locator('.ranges [aria-current]').innerText()).toBe('24 h');
  expect(await page.evaluate('document.activeElement.getAttribute("role")')).toBe('slider');
  expect(await page.evaluate('globalThis.isFirstLoad')).toBe(true);
  expect(problems).toEqual([]);
});

it('without scripts there are a drawing, a table and ranges', async () => {
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  await page.route('**/scripts/**', (route) => route.abort());
  await page.goto(url);
  const drawing = page.getByRole('img', { name: 'Refreshes a second' });
  expect(await drawing.isVisible()).toBe(true);
  await page.getByText('As a table').first().click();
  const rows = page.locator('.chart').first().locator('tbody tr');
  expect(await rows.count()).toBe(30);
  // The average of half a minute.
  const newest = Number.parseInt(await page.locator('.value').first().innerText(), 10);
  const values = [`${newest + 1}/s`, '7/s', '0/s'];
  expect(await rows.first().locator('td').allInnerTexts()).toEqual(values);
  await page.getByRole('link', { name: '24 h' }).click();
  expect(await page.locator('.value').first().innerText()).toMatch(/^[\d,]+\/s$/);
  expect(await page.locator('.ranges [aria-current]').innerText()).toBe('24 h');
});

it('the charts follow the colours of the system while they are open', async () => {
  const { page } = await open('/?range=1h');
  const ink = (): Promise<unknown> => page.evaluate(`document.querySelector('canvas').toDataURL()`);
  await page.emulateMedia({ colorScheme: 'light' });
  const light = await ink();
  await page.emulateMedia({ colorScheme: 'dark' });
  await until('other colours', async () => (await ink()) !== light);
});
