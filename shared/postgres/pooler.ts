import type pg from 'pg';

/**
 * Whether a pooler such as PgBouncer sits between this client and the server. At login, a server
 * tells the client the process id of its backend, by which statements are cancelled. A pooler lends
 * its backends to many clients, so it invents an id.
 * @throws an error from `pg`
 */
export async function isPooled(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  // The types of `pg` lack this property.
  return (client as { processID?: number | null }).processID !== rows[0]?.pid;
}
