import { afterAll, expect, it } from 'vitest';
import { enqueueRefreshes } from '../../shared/queue/refresh-queue.ts';
import { openBrowser, openPage } from '../support/browser.ts';
import { serveDashboard } from '../support/dashboard.ts';
import { countByRevision, createExecutions, refreshesOf } from '../support/executions.ts';
import { openWorker } from '../support/in-process.ts';
import { createStores } from '../support/stores.ts';
import { REPAIRED, repairOneOfTwoCauses } from '../support/two-causes.ts';
import { until } from '../support/wait.ts';

const stores = await createStores({ settings: { JOB_ATTEMPTS: '1' } });
const { database, queue, environment } = stores;
const { url } = await serveDashboard(stores);
const browser = await openBrowser();
afterAll(() => browser.close());

// npm run screenshots goes the same round.
it('an operator sees 200 failures of two causes, removes one cause, and retries exactly those', async () => {
  const ids = await createExecutions(database, 200);
  const { page, problems } = await openPage(browser, url);
  await page.goto(url);
  await page.evaluate('globalThis.isFirstLoad = true');
  const causes = page.locator('.causes tbody tr strong');
  // They come from another statement than the count that the round waits for, so perhaps an update later.
  const untilCausesAre = (counts: string): Promise<boolean> =>
    until(`causes of ${counts}`, async () => (await causes.allInnerTexts()).join() === counts);
  const seen: string[] = [];
  await repairOneOfTwoCauses({
    page,
    database,
    ids,
    request: async () => {
      await openWorker(environment);
      await enqueueRefreshes(queue, refreshesOf(ids));
    },
    look: async (step) => {
      seen.push(step);
      if (step === 'failed') {
        await untilCausesAre('150,50');
        expect(await page.evaluate('globalThis.isFirstLoad')).toBe(true);
      } else if (step === 'cause') {
        expect(await page.locator('main').innerText()).toContain(
          'the quota of project <n> is used up',
        );
      } else if (step === 'repaired') {
        await untilCausesAre('50');
      }
    },
  });
  expect(seen).toEqual(['failed', 'cause', 'retried', 'repaired']);
  expect(await countByRevision(database, ids.slice(0, REPAIRED))).toEqual({ 1: 150 });
  expect(await countByRevision(database, ids.slice(REPAIRED))).toEqual({ 0: 50 });
  expect(problems).toEqual([]);
});
