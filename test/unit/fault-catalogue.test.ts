import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { FAULTS } from '../faults/catalogue.ts';

it('every fault of the catalogue is injected by a test that names it, and no other number is', () => {
  const named = new Map<number, string[]>();
  for (const name of readdirSync('test', { recursive: true, encoding: 'utf8' })) {
    const file = `test/${name}`;
    if (!file.endsWith('.test.ts')) continue;
    for (const [, fault] of readFileSync(file, 'utf8').matchAll(/\binjectFault\(\s*(\d+),/g)) {
      named.set(Number(fault), [...(named.get(Number(fault)) ?? []), file]);
    }
  }
  expect([...named.keys()].toSorted((a, b) => a - b)).toEqual(Object.keys(FAULTS).map(Number));
});
