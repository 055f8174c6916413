import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { format, resolveConfig } from 'prettier';
import type { FaultRecord } from '../support/fault.ts';
import { FAULTS } from './catalogue.ts';

export const RELIABILITY_PAGE = 'docs/reliability.md';
const MEASURED = 'test/faults/measured.json';
const [BEGIN, END] = ['<!-- faults -->', '<!-- /faults -->'];

/** The latest run of one test. */
export interface MeasuredTest {
  readonly passed: boolean;
  /** Of the machine, over the last minute of the test; missing where an older version measured. */
  readonly load?: number;
  readonly faults: readonly FaultRecord[];
}

/** What the suite measured. */
export interface Measured {
  readonly machine: string;
  /** By file and name of the test, so that a part of the suite can be measured anew. */
  readonly tests: Readonly<Record<string, MeasuredTest>>;
}

export function readMeasured(): Measured {
  if (!existsSync(MEASURED)) return { machine: describeMachine(), tests: {} };
  return JSON.parse(readFileSync(MEASURED, 'utf8')) as Measured;
}

/** Adds the tests of a run to those measured before, and drops those whose file is gone. */
export async function writeMeasured(tests: Measured['tests']): Promise<void> {
  const all = Object.entries({ ...readMeasured().tests, ...tests });
  const sorted = all
    .filter(([name]) => existsSync(fileOf(name)))
    .toSorted(([a], [b]) => a.localeCompare(b));
  const text = JSON.stringify({ machine: describeMachine(), tests: Object.fromEntries(sorted) });
  writeFileSync(
    MEASURED,
    await format(text, { ...(await resolveConfig(MEASURED)), parser: 'json' }),
  );
}

/** What measurements call a test: its file and its full name. */
export function nameOfTest(file: string, fullName: string): string {
  return `${file} > ${fullName}`;
}

function fileOf(name: string): string {
  return name.slice(0, name.indexOf(' > '));
}

/** The page with its table as the catalogue and the measurements have it. */
export async function reliabilityPage(measured: Measured): Promise<string> {
  const page = readFileSync(RELIABILITY_PAGE, 'utf8');
  const [before, rest = ''] = page.split(BEGIN);
  const [, after] = rest.split(END);
  const text = `${before}${BEGIN}\n\n${faultTable(measured)}\n\n${END}${after}`;
  return format(text, { ...(await resolveConfig(RELIABILITY_PAGE)), parser: 'markdown' });
}

/** A row for each fault of the catalogue, and whether anything failed. */
export function faultTable({ machine, tests }: Measured): string {
  const rows = Object.entries(FAULTS).map(([number, name]) => {
    const own = Object.values(tests).flatMap((test) => {
      const faults = test.faults.filter(({ fault }) => fault === Number(number));
      return faults.length > 0 ? [{ ...test, faults }] : [];
    });
    const injected = [...new Set(own.flatMap(({ faults }) => faults).map((one) => one.injected))];
    const cells = [number, name, injected.join('; '), recovery(own), highestLoad(own)];
    return `| ${cells.join(' | ')} |`;
  });
  const failed = Object.entries(tests)
    .filter(([, { passed }]) => !passed)
    .map(([name]) => `\n- ${name}`);
  return [
    '| | fault | what the tests do | right again after | load |\n| --: | --- | --- | --: | --: |',
    ...rows,
    `\nMeasured with \`npm run test:faults -- --report\` on ${machine}. ` +
      (failed.length === 0
        ? 'Lost: nothing.'
        : `These tests failed when they were last run, so what they would show isn't so:\n${failed.join('')}`),
  ].join('\n');
}

function recovery(tests: readonly MeasuredTest[]): string {
  if (tests.length === 0) return 'not measured';
  if (tests.some(({ passed }) => !passed)) return '**failed when last measured**';
  const known = tests
    .flatMap(({ faults }) => faults)
    .flatMap(({ recoveryMs }) => (recoveryMs === undefined ? [] : [recoveryMs]));
  if (known.length === 0) return '–';
  const [least, most] = [Math.min(...known), Math.max(...known)].map((ms) =>
    (Math.round(ms / 100) / 10).toFixed(1),
  );
  return least === most ? `${least} s` : `${least} to ${most} s`;
}

function highestLoad(tests: readonly MeasuredTest[]): string {
  const known = tests.flatMap(({ load }) => (load === undefined ? [] : [load]));
  return known.length === 0 ? '' : `${Math.round(Math.max(...known))}`;
}

/** The machine, for below a table. */
export function describeMachine(): string {
  const all = cpus();
  return (
    `${all[0]?.model.trim() ?? 'unknown'}, ${all.length} cores, ${Math.round(totalmem() / 2 ** 30)} GB, ` +
    `Node ${process.versions.node}`
  );
}
