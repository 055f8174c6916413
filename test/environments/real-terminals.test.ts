import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { nothingLeft } from '../support/left-over.ts';
import { newFolder } from '../support/new-folder.ts';
import { createStores } from '../support/stores.ts';
import { openTerminal } from '../support/terminal.ts';
import { until } from '../support/wait.ts';

const TALLY = `${process.execPath} ${fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))}`;
const folder = newFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('tally start', () => {
  it('keeps its status on one line of 60 columns, without colours under NO_COLOR', async () => {
    const data = join(folder, 'narrow');
    const terminal = await openTerminal(
      `${TALLY} start --workers 1 --executions 300 --data ${data}`,
      { columns: 60, rows: 24 },
      // A log of warnings alone, which the figures of the status line don't come from.
      { NO_COLOR: '1', LOG_LEVEL: 'warn' },
    );
    await terminal.shows(/^to do .* refreshed\/s [1-9]/);
    // It is said above the status line, and coloured where that is allowed.
    execFileSync('pkill', ['-KILL', '-f', '-P', parentIn(data), 'main.js worker']);
    await until('the warning and one more status line', () =>
      terminal.written().split('(SIGKILL) and is restarted')[1]?.includes('to do'),
    );
    expect(terminal.screen().filter((line) => line.startsWith('to do'))).toHaveLength(1);
    terminal.press('C-c');
    expect(await terminal.ended()).toBe(0);
    expect(terminal.screen()).toContain('Stopped; no process is left behind.');
    // The codes of colours are the ones that end so.
    const codes = terminal.written().split('\u001b[').slice(1);
    expect(codes.filter((code) => /^[\d;]*m/.test(code))).toEqual([]);
    // The terminal names the folder, too, until it is closed.
    terminal.close();
    await nothingLeft(data);
  });

  it('writes no escape code to a dumb terminal, and leaves nothing running when it is closed', async () => {
    const data = join(folder, 'dumb');
    const terminal = await openTerminal(
      `${TALLY} start --workers 1 --executions 300 --data ${data}`,
      { columns: 60, rows: 24 },
      { TERM: 'dumb' },
    );
    await terminal.shows(/^to do \d+ \| running/);
    expect(terminal.written()).not.toContain('\u001b');
    terminal.close();
    await nothingLeft(data);
  });
});

it('tally reconcile shows every disagreement on a line of its own, uncut, on a terminal', async () => {
  const { database, environment } = await createStores();
  await database.query(
    `WITH stuck AS (
       INSERT INTO execution (vendor_type, vendor_id, status, trigger, revision)
       SELECT 'SCAN', n, 'Running', 'MANUAL', 0 FROM generate_series(1, 1500) AS n RETURNING id
     )
     INSERT INTO task (execution_id, status, status_code, vendor_type, job_id, start_time, end_time)
     SELECT id, 'Success', 3, 'SCAN', id::text, now(), '2026-01-02T03:04:05Z' FROM stuck`,
  );
  await database.query('ANALYZE execution');
  const terminal = await openTerminal(
    `${TALLY} reconcile --dry-run`,
    { columns: 100, rows: 24 },
    environment,
  );
  expect(await terminal.ended()).toBe(0);
  expect(terminal.written()).toContain('1000 of 1500 executions');
  const shown = terminal.screen();
  expect(shown.slice(0, 1_501)).toEqual([
    ...Array.from(
      { length: 1_500 },
      (_, n) => `${n + 1}:SCAN  stored Running, by its tasks Success since 2026-01-02T03:04:05Z`,
    ),
    '1500 disagreements; nothing was changed',
  ]);
  // No setting of the terminal is changed, which a process that is killed would leave behind.
  for (const code of ['\u001b[?', '\u001b7']) expect(terminal.written()).not.toContain(code);
});

/** The process id of the `tally start` that works in this folder. */
function parentIn(data: string): string {
  return execFileSync('pgrep', ['-f', `^${TALLY} start .*${data}$`], { encoding: 'utf8' }).trim();
}
