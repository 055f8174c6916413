import { expect, it } from 'vitest';
import { instanceName } from '../../../cli/instance-name.ts';

it('two workers of the same host and process number have different names', () => {
  const names = Array.from({ length: 1_000 }, instanceName);
  expect(new Set(names).size).toBe(1_000);
  for (const name of names) expect(name.endsWith(`:${process.pid}`), name).toBe(true);
});
