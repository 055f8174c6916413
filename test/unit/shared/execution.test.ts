import { describe, expect, it } from 'vitest';
import { TallyError } from '../../../shared/errors.ts';
import {
  executionIdProblem,
  formatIdentity,
  parseIdentity,
  vendorOf,
  vendorProblem,
} from '../../../shared/execution.ts';

function refusal(text: string): TallyError {
  try {
    parseIdentity(text);
  } catch (error) {
    if (error instanceof TallyError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(text)} was accepted`);
}

describe('parseIdentity', () => {
  it.each([
    ['42:REPLICATION', 42, 'REPLICATION'],
    ['1:GC', 1, 'GC'],
    ['7:P2P_PREHEAT', 7, 'P2P_PREHEAT'],
    ['42:scan-all', 42, 'scan-all'],
    ['42:GC:7', 42, 'GC:7'],
    ['42: Äpfel\t', 42, ' Äpfel\t'],
    [`9007199254740991:${'V'.repeat(255)}`, 9_007_199_254_740_991, 'V'.repeat(255)],
  ])('reads %s, and formatting gives the same text back', (text, executionId, vendor) => {
    const identity = parseIdentity(text);
    expect(identity).toEqual({ executionId, vendor });
    expect(formatIdentity(identity)).toBe(text);
  });

  it.each([
    ['x:GC', 'execution id must be a whole number from 1'],
    ['0:GC', 'execution id must be a whole number from 1'],
    ['-1:GC', 'execution id must be a whole number from 1'],
    ['1.5:GC', 'execution id must be a whole number from 1'],
    ['1e3:GC', 'execution id must be a whole number from 1'],
    [' 42:GC', 'execution id must be a whole number from 1'],
    [':GC', 'execution id must be a whole number from 1'],
    ['9007199254740992:GC', 'beyond 2^53 - 1'],
    ['9007199254740993:GC', 'beyond 2^53 - 1'],
    ['42:', 'vendor must be a text of 1 to 255 characters'],
    ['42:G\u0000C', 'vendor must be'],
    [`42:${'V'.repeat(256)}`, 'vendor must be'],
    ['42', 'there is no colon'],
    ['', 'there is no colon'],
  ])('refuses %j and says what is wrong, with an example', (text, problem) => {
    const { code, message } = refusal(text);
    expect(code).toBe('BAD_IDENTITY');
    expect(message).toContain(problem);
    expect(message).toContain('42:REPLICATION');
  });

  it('repeats the refused text, but of a very long one only the beginning', () => {
    expect(refusal('4 2:GC').message).toContain('"4 2:GC"');
    expect(refusal('x'.repeat(100_000)).message.length).toBeLessThan(300);
  });
});

it.each([1, 42, Number.MAX_SAFE_INTEGER])('%d is an execution id', (value) => {
  expect(executionIdProblem(value)).toBeUndefined();
});

it.each([0, -1, 1.5, Number.NaN, Infinity, 2 ** 53, '42', 42n, null, undefined, [42], {}])(
  '%s is no execution id',
  (value) => {
    expect(executionIdProblem(value)).toMatch(/execution id/);
  },
);

it.each(['A', 'GARBAGE_COLLECTION', 'scan-all', ' ', '\u0001', 'é'.repeat(255), '😀'.repeat(255)])(
  '%j is a vendor',
  (value) => {
    expect(vendorProblem(value)).toBeUndefined();
    expect(vendorOf(value)).toBe(value);
  },
);

it.each(['', '\u0000', '\ud800', 'V'.repeat(256), '😀'.repeat(256), 7, null, undefined, ['GC']])(
  '%j is no vendor',
  (value) => {
    expect(vendorProblem(value)).toMatch(/vendor/);
  },
);
