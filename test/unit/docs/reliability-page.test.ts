import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  faultTable,
  readMeasured,
  RELIABILITY_PAGE,
  reliabilityPage,
  type MeasuredTest,
} from '../../faults/report.ts';

it('docs/reliability.md has every fault as measured; npm run test:faults -- --report writes it', async () => {
  expect(readFileSync(RELIABILITY_PAGE, 'utf8')).toBe(await reliabilityPage(readMeasured()));
});

describe('the table of faults', () => {
  const passed: MeasuredTest = {
    passed: true,
    load: 2.6,
    faults: [
      { fault: 1, injected: 'SIGKILL', recoveryMs: 1_500 },
      { fault: 2, injected: 'SIGSTOP' },
    ],
  };
  const failed: MeasuredTest = {
    passed: false,
    load: 9.2,
    faults: [{ fault: 1, injected: 'SIGKILL twice', recoveryMs: 100 }],
  };
  const rowsOf = (tests: Readonly<Record<string, MeasuredTest>>) => {
    const table = faultTable({ machine: 'a machine', tests });
    const cells = table.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
    const row = (fault: number) =>
      cells.find(([, number]) => number === String(fault))?.slice(3, 6);
    return { table, row };
  };

  it('has what each test measured, at its load', () => {
    const { table, row } = rowsOf({ 'test/a.test.ts > works': passed });
    expect(row(1)).toEqual(['SIGKILL', '1.5 s', '3']);
    expect(row(2)).toEqual(['SIGSTOP', '–', '3']);
    expect(table).toContain('Lost: nothing.');
  });

  it('tells a fault whose test failed from one that nobody has measured', () => {
    const { table, row } = rowsOf({
      'test/a.test.ts > works': passed,
      'test/b.test.ts > does not': failed,
    });
    expect(row(1)).toEqual(['SIGKILL; SIGKILL twice', '**failed when last measured**', '9']);
    expect(row(3)).toEqual(['', 'not measured', '']);
    expect(table).not.toContain('Lost: nothing');
    expect(table).toContain('- test/b.test.ts > does not');
  });
});
