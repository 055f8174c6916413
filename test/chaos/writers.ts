import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { HarborStatements } from '../support/harbor-statements.ts';
import type { Population } from './ledger.ts';
import { Random } from './random.ts';
import type { World } from './world.ts';

export const WRITERS = 3;

// What a change makes of a task follows from its place in the ledger, so no two changes store the same end, and
// each is a change indeed: a host's statement that stores what is there already asks for no refresh.
const NEW_STATE = `
  status = (ARRAY['Pending', 'Running', 'Success', 'Error', 'Stopped'])[1 + entry.sequence % 5],
  status_code = (ARRAY[0, 2, 3, 3, 3])[1 + entry.sequence % 5],
  end_time = CASE WHEN entry.sequence % 5 > 1 THEN timestamp '2030-01-01' ELSE '2000-01-01' END
             + entry.sequence * interval '1 second'`;
const CHANGE = `
  WITH noted AS (
    INSERT INTO ledger (execution_id) SELECT id FROM unnest($1::int[]) AS id ORDER BY id RETURNING execution_id, sequence
  ), entry AS MATERIALIZED (
    SELECT DISTINCT ON (t.execution_id) t.id AS task_id, noted.sequence
      FROM noted JOIN task t ON t.execution_id = noted.execution_id ORDER BY t.execution_id, random())
  UPDATE task SET ${NEW_STATE} FROM entry WHERE task.id = entry.task_id`;

/** Those who change tasks as a host does, until they are stopped. */
export interface Writers {
  /** Changes that were committed so far. */
  readonly changes: number;
  stop(): Promise<void>;
}

/** @param pauseMs milliseconds that each rests after a transaction, at least and at most */
export function startWriters(
  world: World,
  population: Population,
  random: Random,
  pauseMs: readonly [number, number] = [2, 40],
): Writers {
  const stopped = new AbortController();
  const writers = { changes: 0 };
  const write = async (own: Random): Promise<void> => {
    let client: Client | undefined;
    while (!stopped.signal.aborted) {
      try {
        client ??= await connect(world.postgres.url);
        writers.changes += await change(client, population, own);
      } catch {
        // Whatever it was: the ledger is part of the transaction, so it knows whether the change was committed.
        await client?.end().catch(() => undefined);
        client = undefined;
        await delay(200);
      }
      await delay(own.whole(...pauseMs));
    }
    await client?.end().catch(() => undefined);
  };
  const running = Array.from({ length: WRITERS }, () => write(new Random(random.seed())));
  return Object.assign(writers, {
    stop: async () => {
      stopped.abort();
      await Promise.all(running);
    },
  });
}

/** Changes a task of every execution, in a statement for each kind. */
export async function changeAll(world: World, population: Population): Promise<void> {
  for (const ids of Object.values(population)) await world.sql(CHANGE, [ids]);
}

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url, query_timeout: 120_000 });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** One transaction of a host. @returns how many executions it changed */
async function change(client: Client, population: Population, random: Random): Promise<number> {
  const { FREE, SWEPT, MARKED, BULK } = population;
  const some = (ids: readonly number[], most: number): number[] =>
    Array.from({ length: random.whole(1, most) }, () => random.pick(ids));
  const dice = random.whole(1, 100);
  if (dice <= 45) return await changed(client, some(FREE, 1));
  if (dice <= 55) return await changed(client, some(FREE, 150));
  if (dice <= 60) return await rolledBack(client, some(FREE, 20));
  if (dice <= 66) return await inserted(client, random.pick(FREE));
  if (dice <= 72) {
    await new HarborStatements(client).refresh(random.pick(FREE));
    return 0;
  }
  if (dice <= 80) return await changed(client, some(SWEPT, 10));
  if (dice <= 85) return await swept(client, some(SWEPT, 5));
  if (dice <= 98) return await inTurn(client, random.pick(MARKED), random.chance(40));
  return random.chance(20) ? await changed(client, BULK) : await changed(client, some(BULK, 500));
}

async function changed(client: Client, ids: readonly number[]): Promise<number> {
  return (await client.query(CHANGE, [[...new Set(ids)]])).rowCount ?? 0;
}

async function rolledBack(client: Client, ids: readonly number[]): Promise<number> {
  await client.query('BEGIN');
  await changed(client, ids);
  await client.query('ROLLBACK');
  return 0;
}

async function inserted(client: Client, id: number): Promise<number> {
  await client.query(
    `WITH entry AS (INSERT INTO ledger (execution_id) VALUES ($1) RETURNING execution_id)
     INSERT INTO task (execution_id, status, status_code, vendor_type) SELECT execution_id, 'Pending', 0, 'FREE' FROM entry`,
    [id],
  );
  return 1;
}

/** Deletes finished tasks, as Harbor's sweep does, but for the last task of each execution. */
async function swept(client: Client, ids: readonly number[]): Promise<number> {
  await client.query(
    `DELETE FROM task t WHERE execution_id = ANY ($1) AND status IN ('Success', 'Error', 'Stopped')
        AND id > (SELECT min(id) FROM task WHERE execution_id = t.execution_id)`,
    [ids],
  );
  return ids.length;
}

/** Changes an execution of which the ledger knows what came last: a task, or a status that the host stored by hand. */
async function inTurn(client: Client, id: number, byHost: boolean): Promise<number> {
  await client.query('BEGIN');
  await client.query('SELECT pg_advisory_xact_lock($1)', [id]);
  if (byHost) {
    await client.query('INSERT INTO ledger (execution_id, by_host) VALUES ($1, true)', [id]);
    await new HarborStatements(client).mark(id, 'Error', 'stored by hand');
  } else {
    await changed(client, [id]);
  }
  await client.query('COMMIT');
  return 1;
}
