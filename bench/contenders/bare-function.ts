import { Client } from 'pg';
import { startContender } from '../processes.ts';
import { signalGo, type ConnectWorker, type Contender } from './contender.ts';

// As many as the backlog lane takes.
const BATCH = 1_000;

/** The limit of the database: the SQL function in a loop over lists of ids that are ready before the clock starts. */
export function contender(workers: number): Contender {
  return {
    name: `function-${workers}`,
    family: 'function',
    title: 'the SQL function alone, over ready lists of ids',
    workers,
    refreshes: true,
    waitsInRedis: false,
    prepare: async () => undefined,
    start: (arena) =>
      Promise.all(
        Array.from({ length: workers }, (_, nth) =>
          startContender(`function:${nth}/${workers}`, arena),
        ),
      ),
    go: signalGo,
    left: async (_arena, processes) => processes.filter(({ done }) => !done).length,
  };
}

/** @param share such as `0/2`: the first of two processes */
export const connectShare =
  (share: string): ConnectWorker =>
  async ({ databaseUrl }) => {
    const [nth = 0, of = 1] = share.split('/').map(Number);
    const client = new Client({ connectionString: databaseUrl });
    await client.connect();
    const { rows } = await client.query<{ id: number }>('SELECT id FROM execution ORDER BY id');
    const lists: number[][] = [];
    for (let first = nth * BATCH; first < rows.length; first += of * BATCH) {
      lists.push(rows.slice(first, first + BATCH).map(({ id }) => id));
    }
    return async () => {
      for (const ids of lists) {
        await client.query({
          name: 'refresh',
          text: 'SELECT outcome FROM tally.refresh_executions($1::bigint[], false)',
          values: [ids],
        });
      }
    };
  };
