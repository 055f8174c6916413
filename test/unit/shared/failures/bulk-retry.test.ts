import { expect, it } from 'vitest';
import { isSelected } from '../../../../shared/failures/bulk-retry.ts';

const failure = {
  jobId: '42:SCAN:x',
  identity: { executionId: 42, vendor: 'SCAN' },
  error: 'quota of tenant 7 is used up',
  failedAtMs: 0,
};

it.each([
  [{}, true],
  [{ executionId: 42 }, true],
  [{ executionId: 4 }, false],
  [{ vendor: 'SCAN' }, true],
  [{ vendor: 'SCA' }, false],
  [{ error: 'tenant 7' }, true],
  [{ error: 'tenant 8' }, false],
  [{ error: 'quota of tenant <n> is used up' }, true],
  [{ executionId: 42, vendor: 'SCAN', error: 'quota' }, true],
  [{ executionId: 42, vendor: 'SCAN', error: 'deadlock' }, false],
  [{ executionId: 42, vendor: 'OTHER', error: 'quota' }, false],
])('%j selects a failed 42:SCAN with "tenant 7": %s', (selection, expected) => {
  expect(isSelected(selection, failure)).toBe(expected);
});

it("a job whose data isn't a refresh is selected by its error and not by an execution or a vendor", () => {
  const odd = { ...failure, identity: undefined };
  expect(isSelected({ error: 'quota' }, odd)).toBe(true);
  expect(isSelected({ executionId: 42 }, odd)).toBe(false);
  expect(isSelected({ vendor: 'SCAN' }, odd)).toBe(false);
});
