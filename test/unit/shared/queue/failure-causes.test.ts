import { describe, expect, it } from 'vitest';
import { FailureCauses, foldError } from '../../../../shared/queue/failure-causes.ts';

describe('foldError', () => {
  it.each([
    ['quota of tenant 7 is used up', 'quota of tenant 1234 is used up'],
    ['took 1.5 s', 'took 12 s'],
    ['row 42:REPLICATION:aB_c-9 is held', 'row 7:GARBAGE_COLLECTION:zz is held'],
    ['no 0b7c9b1e-33f5-4f6e-9c61-4a86a5d0f001', 'no 11111111-2222-3333-4444-555555555555'],
    [`no blob sha256:${'a1'.repeat(32)}`, `no blob sha256:${'0f'.repeat(32)}`],
    ['connect ECONNREFUSED 10.0.0.1:5432', 'connect ECONNREFUSED 192.168.17.200:6432'],
    ['connect ECONNREFUSED ::1:5432', 'connect ECONNREFUSED fe80:0:0:1:2:3:4:5:5432'],
    ['no answer of https://a.example/x?y=1', 'no answer of http://b.example:8080/'],
    ['no answer of db-1.internal:5432', 'no answer of other.example:6432'],
    ['at 2026-01-02T03:04:05.678Z', 'at 2027-12-31 23:59:59+00'],
    ['invalid input syntax for type integer: "abc"', 'invalid input syntax for type integer: ""'],
    [`unknown value 'x y'`, `unknown value 'it'`],
    ['Key (id, name)=(4, two words) exists.', 'Key (id, name)=(17, three) exists.'],
    ['too\n  long: 4', 'too long: 17'],
  ])('%j and %j are one cause', (one, other) => {
    expect(foldError(one)).toBe(foldError(other));
    expect(foldError(one)).toMatch(/<\w+>/);
  });

  it.each([
    ['violates check constraint "status_ok"', 'violates check constraint "end_after_start"'],
    ['relation "task" does not exist', 'relation "execution" does not exist'],
    [`can't reach it, doesn't answer`, `can't reach it, isn't there`],
    ['deadlock detected', 'canceling statement due to lock timeout'],
    ['type int4 is wrong', 'type int8 is wrong'],
  ])('%j and %j are two causes', (one, other) => {
    expect(foldError(one)).not.toBe(foldError(other));
  });

  it('folded once more a text stays as it is', () => {
    const folded = foldError(`key 4 of "x" at 10.0.0.1:80 on 2026-01-02 03:04:05 for 7:SCAN`);
    expect(foldError(folded)).toBe(folded);
  });

  // A pattern that backtracks would take longer than any test may.
  it('a message of a megabyte, made to be slow, is folded', () => {
    for (const piece of ['"', `'`, 'a.', '1', '1:', 'f0:', 'ab12', '(=(', ' ']) {
      expect(foldError(piece.repeat(1_000_000 / piece.length))).not.toBe('');
    }
  });

  it('a job without a message has a cause all the same', () => {
    expect(foldError(' \n')).toBe('(no message)');
  });
});

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
