import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { readMeasured, RELIABILITY_PAGE, reliabilityPage } from '../../faults/report.ts';

it('docs/reliability.md has every fault as measured; npm run test:faults -- --report writes it', async () => {
  expect(readFileSync(RELIABILITY_PAGE, 'utf8')).toBe(await reliabilityPage(readMeasured()));
});
