import type pg from 'pg';

/** One statement and its parameters. */
export interface Statement {
  readonly sql: string;
  /** One value per `$n`; arrays become Postgres arrays. */
  readonly values?: readonly unknown[];
}

/**
 * Sends a whole transaction before it reads the first answer, and returns the rows of each
 * statement.
 * @param timeoutMs for all answers together
 * @throws the first error in it, or one that says that no answer came in time; the server may then
 *   still be at work
 */
export async function pipeline(
  client: pg.PoolClient,
  begin: string,
  statements: readonly Statement[],
  timeoutMs: number,
): Promise<pg.QueryResultRow[][]> {
  const sent = Promise.allSettled([
    client.query(begin),
    ...statements.map(({ sql, values }) =>
      client.query<pg.QueryResultRow>(sql, [...(values ?? [])]),
    ),
    client.query('COMMIT'),
  ]);
  const [begun, ...answers] = await within(timeoutMs, sent);
  // Statements after the first error fail because the transaction has, and COMMIT rolls it back.
  for (const answer of [begun, ...answers]) if (answer?.status === 'rejected') throw answer.reason;
  return answers
    .slice(0, statements.length)
    .map((answer) => (answer.status === 'fulfilled' ? answer.value.rows : []));
}

/**
 * Limits the wait. `pg`'s own `query_timeout` would close the connection, too early for a cancel
 * request.
 */
async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('Query read timeout')), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
