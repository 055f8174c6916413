import { Client } from 'pg';
import { HarborStatements } from '../test/support/harbor-statements.ts';
import { vacuum, type Size } from './data.ts';
import { setCapture } from './processes.ts';
import { describeMachine } from './machine.ts';
import { progress, type Report } from './report.ts';
import type { Arena, Servers } from './servers.ts';
import { markdownTable, number, ratio, spread, withSpread } from './table.ts';

const UPDATED: Size = { executions: 2_000, tasks: 10 };
const BULK_ROWS = 10_000;
const BULKS = 5;
// The most that Harbor deletes at once, which is the most parameters that a statement can have.
const SWEPT: Size = { executions: 65_535, tasks: 2 };

export interface CaptureOptions {
  readonly rounds: number;
  readonly singles: number;
}

/** What is timed. */
interface Way {
  readonly title: string;
  readonly size: Size;
  /** Tasks that one call changes. */
  readonly rows: number;
  readonly calls: number;
  /** Whether a commit waits for the disk. */
  readonly durable: boolean;
  readonly call: (client: Client, nth: number) => Promise<void>;
}

interface Measured {
  readonly title: string;
  /** Microseconds for each changed row, a round each. */
  readonly off: readonly number[];
  readonly on: readonly number[];
}

/** What the triggers of capture cost the one who changes or deletes tasks: off and on by turns. */
export async function captureReport(
  servers: Servers,
  { rounds, singles }: CaptureOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const ways: Way[] = [
    updates('one row updated, durable commit', 1, singles, true),
    updates('one row updated, commit without waiting', 1, singles, false),
    updates(`${number(BULK_ROWS)} rows updated at once`, BULK_ROWS, BULKS, true),
    sweep(`a sweep of ${number(SWEPT.executions)} executions`),
  ];
  const measured: Measured[] = [];
  for (const way of ways) {
    progress(way.title);
    measured.push(
      await servers.withArena(way.size, async (arena) => {
        const [off, on]: [number[], number[]] = [[], []];
        // The first round of each only warms up.
        for (let round = 0; round <= rounds; round++) {
          // By turns, and each first as often as the other.
          const order = round % 2 === 0 ? [false, true] : [true, false];
          for (const captured of order) {
            const micros = await time(arena, way, captured);
            if (round > 0) (captured ? on : off).push(micros);
          }
        }
        return { title: way.title, off, on };
      }),
    );
  }
  const rows = measured.map(({ title, off, on }) => [
    title,
    withSpread(spread(off)),
    withSpread(spread(on)),
    withSpread(ratio(on, off), '×'),
  ]);
  const text =
    markdownTable(['change of task', 'µs a row, off', 'µs a row, on', 'on / off'], rows) +
    `\n\n${number(UPDATED.executions)} executions of ${UPDATED.tasks} tasks, those swept of ${SWEPT.tasks}; one connection, ` +
    `${rounds} rounds, ${number(singles)} single updates each; medians, in parentheses the smallest and the largest.`;
  return { command, machine, text, data: measured };
}

function updates(title: string, rows: number, calls: number, durable: boolean): Way {
  const all = UPDATED.executions * UPDATED.tasks;
  const call = async (client: Client, nth: number): Promise<void> => {
    const from = 1 + ((nth * rows) % (all - rows));
    await client.query({
      name: 'update',
      text: `UPDATE task SET status_revision = coalesce(status_revision, 0) + 1
              WHERE id >= $1 AND id < $2`,
      values: [from, from + rows],
    });
  };
  return { title, size: UPDATED, rows, calls, durable, call };
}

/** Harbor's own statements, rolled back, so that there is something to sweep again. */
function sweep(title: string): Way {
  const ids = Array.from({ length: SWEPT.executions }, (_none, index) => index + 1);
  const call = async (client: Client): Promise<void> => {
    await client.query('BEGIN');
    await new HarborStatements(client).clean(ids);
    await client.query('ROLLBACK');
  };
  const rows = SWEPT.executions * SWEPT.tasks;
  return { title, size: SWEPT, rows, calls: 1, durable: true, call };
}

/** @returns microseconds for each row */
async function time(arena: Arena, way: Way, captured: boolean): Promise<number> {
  await setCapture(arena, captured);
  await arena.database.query('TRUNCATE tally.outbox');
  for (const table of ['task', 'execution']) await vacuum(arena.observerUrl, table);
  const client = new Client({ connectionString: arena.databaseUrl });
  await client.connect();
  try {
    await client.query(`SET synchronous_commit = ${way.durable ? 'on' : 'off'}`);
    const beginMs = performance.now();
    for (let nth = 0; nth < way.calls; nth++) await way.call(client, nth);
    return ((performance.now() - beginMs) * 1000) / (way.calls * way.rows);
  } finally {
    await client.end();
  }
}
