import type pg from 'pg';

export interface Statement {
  readonly sql: string;
  /** One for each `$n`; arrays become Postgres arrays. */
  readonly values?: readonly unknown[];
}

/**
 * Sends a whole transaction before the first answer is read, and gives the rows of each statement.
 * @param timeoutMs for all answers together
 * @throws the first error in it, or one that says that no answer came in time; what was sent is still in hand then
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
  // What follows the first error fails for being in a failed transaction, and COMMIT rolls it back.
  for (const answer of [begun, ...answers]) if (answer?.status === 'rejected') throw answer.reason;
  return answers
    .slice(0, statements.length)
    .map((answer) => (answer.status === 'fulfilled' ? answer.value.rows : []));
}

/** Waits so long and no longer. `pg` would end the connection at its own `query_timeout`, too early for a cancel. */
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
