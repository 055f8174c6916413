import { expect, it } from 'vitest';
import { loadConfig } from '../../../../shared/process/config.ts';
import { TallyError } from '../../../../shared/errors.ts';
import {
  queueIdentity,
  readPayload,
  relayMarkerKey,
} from '../../../../shared/queue/refresh-queue.ts';

function refusal(data: unknown): TallyError {
  try {
    readPayload(data);
  } catch (error) {
    if (error instanceof TallyError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(data)} was accepted`);
}

it('a payload is an identity', () => {
  const data = { executionId: 42, vendor: 'REPLICATION' };
  expect(readPayload(data)).toEqual(data);
});

it('what else stands in a payload is left out', () => {
  const data = { executionId: 42, vendor: 'GC', status: 'Success', __proto__: { x: 1 } };
  expect(readPayload(data)).toStrictEqual({ executionId: 42, vendor: 'GC' });
});

it.each([
  [undefined, 'execution id'],
  [null, 'execution id'],
  ['42:GC', 'execution id'],
  [42, 'execution id'],
  [[], 'execution id'],
  [{}, 'execution id'],
  [{ vendor: 'GC' }, 'execution id'],
  [{ executionId: '42', vendor: 'GC' }, 'execution id'],
  [{ executionId: 0, vendor: 'GC' }, 'execution id'],
  [{ executionId: 1.5, vendor: 'GC' }, 'execution id'],
  [{ executionId: 2 ** 53, vendor: 'GC' }, 'beyond 2^53 - 1'],
  [{ executionId: 42 }, 'vendor'],
  [{ executionId: 42, vendor: '' }, 'vendor'],
  [{ executionId: 42, vendor: 7 }, 'vendor'],
  [{ executionId: 42, vendor: 'V'.repeat(256) }, 'vendor'],
])('the payload %j is refused with what is wrong and an example', (data, problem) => {
  const { code, message } = refusal(data);
  expect(code).toBe('BAD_PAYLOAD');
  expect(message).toContain(problem);
  expect(message).toContain('{"executionId":42,"vendor":"REPLICATION"}');
  expect(message).not.toContain('undefined');
});

it.each([
  ['REPLICATION', '42:REPLICATION'],
  ['scan-all.2', '42:scan-all.2'],
  ['a:b', '42:a~3Ab'],
  ['a~3Ab', '42:a~7E3Ab'],
  ['*?[é😀] \n', '42:~2A~3F~5B~C3~A9~F0~9F~98~80~5D~20~0A'],
])('the vendor %j stands in job ids as %s', (vendor, expected) => {
  expect(queueIdentity({ executionId: 42, vendor })).toBe(expected);
});

it("two Tallys in one Redis don't share the relay's marker, and it is no key of BullMQ's", () => {
  const keys = ['a', 'b'].map((prefix) => relayMarkerKey(loadConfig([], { QUEUE_PREFIX: prefix })));
  expect(new Set(keys).size).toBe(2);
  for (const key of keys) expect(key).not.toMatch(/^[^:]+:refresh:/);
});
