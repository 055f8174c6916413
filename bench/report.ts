import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeError, UsageError } from '../shared/errors.ts';
import type { Machine } from './machine.ts';
import { machineLine } from './machine.ts';

const RESULTS = fileURLToPath(new URL('results/', import.meta.url));

/** What a command prints, and what it leaves as JSON. */
export interface Report {
  /** The command line that repeats it. */
  readonly command: string;
  readonly machine: Machine;
  /** Markdown: tables, with the conditions below them. */
  readonly text: string;
  readonly data: unknown;
}

/**
 * Where the JSON goes: to `file`, else below bench/results.
 * @throws UsageError when nothing can be written there
 */
export function reserveFile(name: string, file: string | undefined): string {
  const path = file === undefined ? `${RESULTS}${name}.json` : resolve(file);
  try {
    mkdirSync(RESULTS, { recursive: true });
    appendFileSync(path, '');
  } catch (error) {
    throw new UsageError(`--json: ${describeError(error)}; name a file that can be written`);
  }
  return path;
}

/** Prints the tables and writes the JSON beside them. */
export function publish(path: string, report: Report): void {
  const { command, machine, data } = report;
  writeFileSync(path, `${JSON.stringify({ command, machine, data }, null, 2)}\n`);
  console.log(`\n${report.text}\n\nMeasured with \`${command}\` on ${machineLine(machine)}`);
  console.log(`As JSON: ${relative(process.cwd(), path)}`);
}

/** Tells how far it is: on standard error, so that standard output holds the tables alone. */
export function progress(line: string): void {
  console.error(`bench: ${line}`);
}
