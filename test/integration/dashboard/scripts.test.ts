import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { serveDashboard } from '../../support/dashboard.ts';
import { createStores } from '../../support/stores.ts';

const { url } = await serveDashboard(await createStores());

it('every script that a page of ours loads or imports is served', async () => {
  const page = await (await fetch(url)).text();
  const asked = new Set([...page.matchAll(/<script[^>]* src="([^"]+)"/g)].map(([, src]) => src));
  expect([...asked]).toContain('/scripts/uplot.js');
  for (const path of asked) {
    const response = await fetch(`${url}${path}`);
    expect(response.status, path).toBe(200);
    expect(response.headers.get('content-type'), path).toContain('javascript');
    const text = await response.text();
    for (const [, file] of text.matchAll(/\bfrom ['"]\.\/([^'"]+)['"]/g))
      asked.add(`/scripts/${file}`);
  }
  const built = readdirSync('dist/dashboard/browser').filter((file) => file.endsWith('.js'));
  for (const file of built) expect([...asked]).toContain(`/scripts/${file}`);
});

it('uPlot is a dependency of the package, pinned, and served with its licence', async () => {
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    dependencies: Record<string, string>;
  };
  expect(dependencies['uplot']).toMatch(/^\d+\.\d+\.\d+$/);
  const text = await (await fetch(`${url}/scripts/uplot.js`)).text();
  expect(text).toContain(`(v${dependencies['uplot']})`);
  expect(text).toContain('Copyright (c)');
  expect(text).toContain('permission notice shall be included');
});
