import { expect, it } from 'vitest';
import { countByClass } from '../../../../shared/failures/cause-classes.ts';

const count = (sqlState: string | null, constraint: string | null = null, times = 1) => ({
  sqlState,
  constraint,
  count: times,
});

it('a class is the SQLSTATE, with the constraint if one was violated', () => {
  const counts = [count('57014', null, 3), count('23514', 'status_ok', 2), count('23514')];
  expect([...countByClass(counts)]).toEqual([
    ['57014', 3],
    ['23514 status_ok', 2],
    ['23514', 1],
  ]);
});

it('what has no SQLSTATE is counted together', () => {
  expect([...countByClass([count(null, null, 2), count('no SQLSTATE at all')])]).toEqual([
    ['none', 3],
  ]);
});

it('nothing but a name becomes a label, however a trigger words its message', () => {
  const names = ['disk quota of tenant 7', '42:SCAN', 'line\nbreak', '7', 'x'.repeat(64), ''];
  const counts = names.map((name) => count('23514', name));
  expect([...countByClass([...counts, count('23514', 'größe_ok')])]).toEqual([
    ['23514', 6],
    ['23514 größe_ok', 1],
  ]);
});

it('beyond the most frequent 20, classes are counted together, and none is lost', () => {
  const counts = Array.from({ length: 300 }, (_, n) => count('23514', `partition_${n}`, n + 1));
  const classes = countByClass(counts);
  expect(classes.size).toBe(21);
  expect([...classes][0]).toEqual(['23514 partition_299', 300]);
  expect(classes.get('other')).toBe((280 * 281) / 2);
  expect([...classes.values()].reduce((sum, n) => sum + n)).toBe((300 * 301) / 2);
});
