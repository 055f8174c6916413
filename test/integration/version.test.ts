import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { healthAddress } from '../support/health.ts';
import { runTally, startProducer, startTally, startWorker } from '../support/processes.ts';
import { createStores } from '../support/stores.ts';

const { environment } = await createStores();

it('every process tells the same version, on its health page, in its metrics and on its pages', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  const gauge = `tally_build_info{version="${version}"} 1`;
  const dashboard = startTally(['dashboard'], { ...environment, DASHBOARD_PORT: '0' });
  const text = async (path: string) =>
    (await fetch(`${await healthAddress(dashboard)}${path}`)).text();
  expect(await text('/')).toContain(`Tally ${version}`);
  expect(await text('/metrics')).toContain(gauge);
  for (const process of [await startWorker(environment), await startProducer(environment)]) {
    const address = await healthAddress(process);
    expect(await (await fetch(`${address}/readyz`)).json()).toMatchObject({ version });
    expect(await (await fetch(`${address}/metrics`)).text()).toContain(gauge);
  }
  expect(await runTally(['--version'], {})).toEqual({ code: 0, output: version });
});
