/** Settings of one transaction, by name. Values come from the code, never from outside. */
export type Settings = Readonly<Record<string, string | number>>;

/**
 * For pages read in the order of an index. A table without statistics, for example right after many
 * rows came, would be read and sorted whole for each page: minutes for 1,000,000 rows.
 */
export const ORDERED_BY_INDEX: Settings = {
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  enable_sort: 'off',
  // Whatever else the statement has to read or sort looks so expensive then that Postgres before 18
  // would compile it, which takes longer than to run it.
  jit: 'off',
};

// The reason for each, and why search_path isn't among them: docs/decisions/0008.
const ASSUMED: Settings = {
  lock_timeout: 0,
  row_security: 'off',
  extra_float_digits: 1,
  // The order of day and month stays as it is: changing it would be reported to every client of a
  // pooler.
  DateStyle: "'ISO'",
  // The longest time that a frozen process can hold a lock.
  idle_in_transaction_session_timeout: 30_000,
};

/**
 * The statements that begin a transaction in which everything holds that the code assumes, whatever
 * the defaults of the database, the role or a pooled connection are. They end with the transaction,
 * so the pooler's next client is unaffected.
 * @param statementTimeoutMs longest time for each statement, in milliseconds; 0: no limit
 * @param settings additional ones, where the planner's estimates would be wrong
 */
export function beginPinned(statementTimeoutMs: number, settings: Settings = {}): string {
  const all = {
    statement_timeout: statementTimeoutMs,
    ...ASSUMED,
    ...settings,
  };
  const lines = Object.entries(all).map(([name, value]) => `SET LOCAL ${name} = ${value}`);
  return ['BEGIN ISOLATION LEVEL READ COMMITTED', ...lines].join('; ');
}
