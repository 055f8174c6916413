import { expect, it } from 'vitest';
import { isSelected } from '../../../../shared/failures/bulk-retry.ts';
import { causeOf } from '../../../../shared/queue/fold-error.ts';

it('what tally failed shows of a violated constraint selects all its failures and no others', () => {
  const failure = (error: string) => ({
    jobId: '1:SCAN:x',
    identity: { executionId: 1, vendor: 'SCAN' },
    failedAtMs: 0,
    error,
    sqlState: '23514',
  });
  const [one, other, third] = [
    failure('new row for relation "events_2024" violates check constraint "a_1"'),
    failure('new row for relation "events_2025" violates check constraint "a_1"'),
    failure('new row for relation "events_2025" violates check constraint "a_2"'),
  ];
  const shown = causeOf(one);
  expect([one, other, third].map((each) => isSelected({ error: shown }, each))).toEqual([
    true,
    true,
    false,
  ]);
  expect(isSelected({ error: one.error }, one)).toBe(true);
  expect(isSelected({ error: one.error }, other)).toBe(false);
});
