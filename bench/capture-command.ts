import { vacuum } from './data.ts';
import { Client } from 'pg';
import { setCapture } from './processes.ts';
import { describeMachine } from './machine.ts';
import { progress, type Report } from './report.ts';
import type { Arena, Servers } from './servers.ts';
import { markdownTable, number, ratio, spread, withSpread } from './table.ts';

const TASKS = 10;
const BULK_ROWS = 10_000;

export interface CaptureOptions {
  readonly rounds: number;
  readonly singles: number;
}

/** What is timed: how many rows a statement changes, how many statements, and what a commit waits for. */
interface Way {
  readonly title: string;
  readonly rows: number;
  readonly statements: number;
  readonly durable: boolean;
}

interface Measured {
  readonly way: Way;
  /** Microseconds for each changed row, a round each. */
  readonly off: readonly number[];
  readonly on: readonly number[];
}

/** What the triggers of capture cost the one who changes tasks: off and on by turns. */
export async function captureReport(
  servers: Servers,
  options: CaptureOptions,
  command: string,
): Promise<Report> {
  const machine = await describeMachine(servers);
  const { rounds, singles } = options;
  const ways: Way[] = [
    { title: 'one row, durable commit', rows: 1, statements: singles, durable: true },
    { title: 'one row, commit without waiting', rows: 1, statements: singles, durable: false },
    { title: `${BULK_ROWS} rows at once`, rows: BULK_ROWS, statements: 5, durable: true },
  ];
  const size = { executions: (2 * BULK_ROWS) / TASKS, tasks: TASKS };
  const measured = await servers.withArena(size, async (arena) => {
    const all: Measured[] = [];
    for (const way of ways) {
      progress(way.title);
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
      all.push({ way, off, on });
    }
    return all;
  });
  const rows = measured.map(({ way, off, on }) => [
    way.title,
    withSpread(spread(off)),
    withSpread(spread(on)),
    withSpread(ratio(on, off), '×'),
  ]);
  const text =
    markdownTable(['update of task', 'µs a row, off', 'µs a row, on', 'on / off'], rows) +
    `\n\n${number(size.executions)} executions of ${TASKS} tasks, one connection, ${rounds} rounds, ` +
    `${number(singles)} single updates each; medians, in parentheses the smallest and the largest.`;
  return { command, machine, text, data: measured };
}

/** @returns microseconds for each row */
async function time(arena: Arena, way: Way, captured: boolean): Promise<number> {
  await setCapture(arena, captured);
  await arena.database.query('TRUNCATE tally.outbox');
  await vacuum(arena.observerUrl, 'task');
  const client = new Client({ connectionString: arena.databaseUrl });
  await client.connect();
  try {
    await client.query(`SET synchronous_commit = ${way.durable ? 'on' : 'off'}`);
    const [range] = await arena.database.query<{ first: number; count: number }>(
      'SELECT min(id)::bigint AS first, count(*) AS count FROM task',
    );
    const { first, count } = range ?? { first: 0, count: 0 };
    const beginMs = performance.now();
    for (let nth = 0; nth < way.statements; nth++) {
      const from = first + ((nth * way.rows) % (count - way.rows));
      await client.query({
        name: 'update',
        text: `UPDATE task SET status_revision = coalesce(status_revision, 0) + 1
                WHERE id >= $1 AND id < $2`,
        values: [from, from + way.rows],
      });
    }
    return ((performance.now() - beginMs) * 1000) / (way.statements * way.rows);
  } finally {
    await client.end();
  }
}
