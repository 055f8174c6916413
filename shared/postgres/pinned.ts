/** Settings of one transaction, by name. Values are ours, never from outside. */
export type Settings = Readonly<Record<string, string | number>>;

// Why each, and why search_path isn't among them: docs/decisions/0008.
const ASSUMED: Settings = {
  lock_timeout: 0,
  row_security: 'off',
  extra_float_digits: 1,
  // The order of day and month stays as it is: a change would be reported to every client of a pooler.
  DateStyle: "'ISO'",
  // A frozen process holds no lock for longer.
  idle_in_transaction_session_timeout: 30_000,
};

/**
 * Begins a transaction in which everything holds that the statements assume, whatever the database, the role or a
 * pooled connection has as its default. It ends with the transaction, so a pooler's next client sees nothing of it.
 * @param statementTimeoutMs how long the server may work on each statement; 0: for ever
 * @param settings more of them, for what a planner's estimate would get wrong
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
