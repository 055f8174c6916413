import { describe, expect, it } from 'vitest';
import { FailureCauses } from '../../../../shared/queue/failure-causes.ts';

describe('FailureCauses', () => {
  const failure = (executionId: number, vendor: string, error: string, failedAtMs: number) => ({
    jobId: `${executionId}:${vendor}:x`,
    identity: { executionId, vendor },
    error,
    failedAtMs,
  });

  it('groups by cause, with vendors, first and last time and three examples, the most frequent first', () => {
    const causes = new FailureCauses();
    causes.add(failure(1, 'SCAN', 'deadlock detected', 5_000));
    for (let id = 1; id <= 5; id++) {
      causes.add(
        failure(id, id % 2 ? 'SCAN' : 'GARBAGE_COLLECTION', `quota of ${id}`, 10_000 - id),
      );
    }
    causes.add({ jobId: 'odd', identity: undefined, error: 'no refresh', failedAtMs: 0 });
    expect(causes.list()).toEqual([
      {
        error: 'quota of <n>',
        count: 5,
        vendors: ['GARBAGE_COLLECTION', 'SCAN'],
        first: '1970-01-01T00:00:09.995Z',
        last: '1970-01-01T00:00:09.999Z',
        examples: [
          { jobId: '1:SCAN:x', identity: '1:SCAN' },
          { jobId: '2:GARBAGE_COLLECTION:x', identity: '2:GARBAGE_COLLECTION' },
          { jobId: '3:SCAN:x', identity: '3:SCAN' },
        ],
      },
      expect.objectContaining({ error: 'deadlock detected', count: 1, vendors: ['SCAN'] }),
      expect.objectContaining({ vendors: [], examples: [{ jobId: 'odd', identity: null }] }),
    ]);
  });

  it('100,000 different errors are counted, and not all remembered', () => {
    const causes = new FailureCauses();
    const letters = (n: number) =>
      n.toString(26).replaceAll(/\d/g, (d) => 'qrstuvwxyz'[Number(d)] ?? '');
    for (let n = 0; n < 100_000; n++) causes.add(failure(n, 'SCAN', `cause ${letters(n)}x`, n));
    const list = causes.list();
    expect(list.length).toBeLessThanOrEqual(1_001);
    expect(list[0]?.error).toBe('(other errors)');
    expect(list.reduce((sum, { count }) => sum + count, 0)).toBe(100_000);
  });
});
