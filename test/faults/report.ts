import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { format, resolveConfig } from 'prettier';
import type { FaultRecord } from '../support/fault.ts';
import { FAULTS } from './catalogue.ts';

export const RELIABILITY_PAGE = 'docs/reliability.md';
const MEASURED = 'test/faults/measured.json';
const [BEGIN, END] = ['<!-- faults -->', '<!-- /faults -->'];

/** What the suite measured, the latest run of each test. */
export interface Measured {
  readonly machine: string;
  /** Of the machine's last minute, in the run that had most. */
  readonly highestLoad: number;
  /** By file and name of the test, so that a part of the suite can be measured anew. */
  readonly tests: Readonly<Record<string, readonly FaultRecord[]>>;
}

export function readMeasured(): Measured {
  if (!existsSync(MEASURED)) return { machine: describeMachine(), highestLoad: 0, tests: {} };
  return JSON.parse(readFileSync(MEASURED, 'utf8')) as Measured;
}

/** Adds the tests of a run to those measured before. */
export async function writeMeasured(tests: Measured['tests']): Promise<void> {
  const before = readMeasured();
  const all = { ...before.tests, ...tests };
  const highestLoad = Math.max(before.highestLoad, Math.round(loadavg()[0] ?? 0));
  const sorted = Object.fromEntries(Object.entries(all).toSorted(([a], [b]) => a.localeCompare(b)));
  const text = JSON.stringify({ machine: describeMachine(), highestLoad, tests: sorted });
  writeFileSync(MEASURED, await format(text, { parser: 'json' }));
}

/** The page with its table as the catalogue and the measurements have it. */
export async function reliabilityPage(measured: Measured): Promise<string> {
  const page = readFileSync(RELIABILITY_PAGE, 'utf8');
  const [before, rest = ''] = page.split(BEGIN);
  const [, after] = rest.split(END);
  const text = `${before}${BEGIN}\n\n${faultTable(measured)}\n\n${END}${after}`;
  return format(text, { ...(await resolveConfig(RELIABILITY_PAGE)), parser: 'markdown' });
}

function faultTable({ machine, highestLoad, tests }: Measured): string {
  const records = Object.values(tests).flat();
  const rows = Object.entries(FAULTS).map(([number, name]) => {
    const own = records.filter(({ fault }) => fault === Number(number));
    const injected = [...new Set(own.map((record) => record.injected))].join('; ');
    return `| ${number} | ${name} | ${injected || 'not measured yet'} | ${recovery(own)} |`;
  });
  return [
    '| | fault | what the tests do | right again after |\n| --: | --- | --- | --: |',
    ...rows,
    `\nMeasured with \`npm run test:faults -- --report\` on ${machine}, at a load of up to ${highestLoad}. Lost: nothing.`,
  ].join('\n');
}

function recovery(records: readonly FaultRecord[]): string {
  const known = records.flatMap(({ recoveryMs }) => (recoveryMs === undefined ? [] : [recoveryMs]));
  if (known.length === 0) return '–';
  const [least, most] = [Math.min(...known), Math.max(...known)].map((ms) =>
    (Math.round(ms / 100) / 10).toFixed(1),
  );
  return least === most ? `${least} s` : `${least} to ${most} s`;
}

/** The machine, for below a table. */
export function describeMachine(): string {
  const all = cpus();
  return (
    `${all[0]?.model.trim() ?? 'unknown'}, ${all.length} cores, ${Math.round(totalmem() / 2 ** 30)} GB, ` +
    `Node ${process.versions.node}`
  );
}
