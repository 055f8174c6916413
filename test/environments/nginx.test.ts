import { afterAll, expect, it } from 'vitest';
import { openBrowser, openPage, OTHER_HOST } from '../support/browser.ts';
import { OPERATOR, serveDashboard, WITH_PASSWORDS } from '../support/dashboard.ts';
import { createExecutions, readExecution } from '../support/executions.ts';
import { openWorker } from '../support/in-process.ts';
import { startNginx } from '../support/nginx.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const BASE = '/ops/tally';
const vendor = 'REPLICATION';

const stores = await createStores();
const { database, queue, environment } = stores;
const served = await serveDashboard(stores, {
  ...WITH_PASSWORDS,
  BASE_PATH: BASE,
  TRUST_PROXY: 'loopback',
});
const FORWARD = `proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;`;
// What follows the address in proxy_pass replaces the location's path: with a slash nginx removes it.
const passesOn = await startNginx([
  `location ${BASE}/ { proxy_pass ${served.url}; ${FORWARD} }`,
  `location / { return 404; }`,
]);
const removes = await startNginx([
  `location ${BASE}/ { proxy_pass ${served.url}/; ${FORWARD} }`,
  `location / { return 404; }`,
]);
const browser = await openBrowser(OPERATOR);
afterAll(() => browser.close());

it.each([
  ['passes BASE_PATH on', passesOn],
  ['removes BASE_PATH', removes],
])('behind an nginx that %s, everything on the dashboard works', async (_what, port) => {
  const url = `http://${OTHER_HOST}:${port}${BASE}/`;
  // Every request must stay below BASE_PATH.
  const { page, problems } = await openPage(browser, url);
  const [id = 0] = await createExecutions(database, 1);

  await page.goto(url);
  await page.getByLabel('Execution').fill(`${id}`);
  await page.getByRole('button', { name: 'Find' }).click();
  await page.getByRole('heading', { name: `Execution ${id}` }).waitFor();
  await page.getByRole('button', { name: 'Refresh now' }).click();
  await page.getByText('The refresh was put on the queue.').waitFor();

  await page.getByRole('link', { name: 'Jobs' }).click();
  await page
    .getByRole('link', { name: /waiting/i })
    .first()
    .click();
  await page.getByText(`${id}:${vendor}`).first().waitFor();
  await page
    .getByRole('link', { name: `Execution ${id}` })
    .first()
    .waitFor();
  expect(new URL(page.url()).pathname).toBe(`${BASE}/board/queue/refresh`);
  // A former address.
  await page.goto(`${url}queue/refresh?status=waiting`);
  await page.getByText(`${id}:${vendor}`).first().waitFor();
  expect(new URL(page.url()).pathname).toBe(`${BASE}/board/queue/refresh`);

  await openWorker(environment);
  await until('it to be refreshed', async () => (await readExecution(database, id)).revision === 1);
  expect(problems).toEqual([]);
  await page.close();
});

it('the audit log has the address of the client and the path below BASE_PATH', async () => {
  const answer = await fetch(`http://127.0.0.1:${passesOn}${BASE}/board/api/queues/pause`, {
    method: 'PUT',
    headers: { authorization: `Basic ${btoa(`${OPERATOR.user}:${OPERATOR.password}`)}` },
  });
  expect(answer.status).toBe(200);
  await queue.resume();
  const line = await until('the audit line', () =>
    served.lines.find(({ action }) => action === 'pause'),
  );
  expect(line).toMatchObject({ from: '127.0.0.1', path: '/board/api/queues/pause' });
});
