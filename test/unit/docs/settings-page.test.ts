import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { SETTINGS_PAGE, settingsPage } from './settings-page.ts';

it('docs/settings.md is what the schema and .env.example say; npm run docs:settings writes it', async () => {
  expect(readFileSync(SETTINGS_PAGE, 'utf8')).toBe(await settingsPage());
});
