import type pg from 'pg';

/**
 * Whether a pooler such as PgBouncer is between this client and the server. A server tells a client at its login the
 * process id by which a statement is cancelled, which is that of its backend; a pooler, which lends the backend to many,
 * makes up another one.
 */
export async function isPooled(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  // The types of pg don't know that it keeps the id.
  return (client as { processID?: number | null }).processID !== rows[0]?.pid;
}
