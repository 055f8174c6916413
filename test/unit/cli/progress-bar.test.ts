import { expect, it } from 'vitest';
import { barParts } from '../../../cli/progress-bar.ts';

it.each([
  [0, 6_000, 50, ['0 of 6000 executions', '---------- 0 %']],
  [1_500, 6_000, 10_000, ['1500 of 6000 executions', '===------- 25 %', '30 s left']],
  [1_000, 361_000, 5_000, ['1000 of 361000 executions', '---------- 0 %', '30 min left']],
  // The total is an estimate of Postgres: more than all isn't more than 100 %, and none isn't known.
  [7_000, 6_000, 50, ['7000 of 7000 executions', '========== 100 %']],
  [1_000, 0, 50, ['1000 executions']],
])('%i of %i after %i ms is shown as %j', (count, total, elapsedMs, parts) => {
  expect(barParts(count, total, elapsedMs, 'executions')).toEqual(parts);
});
