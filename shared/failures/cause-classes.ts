import type { FailureCount } from '../postgres/failures.ts';

// Each is a series that Prometheus keeps; nobody reads more of them side by side.
const CLASSES_MAX = 20;
// Stands for every class beyond the most that are told apart.
const OTHER_CLASSES = 'other';
// Stands for what Postgres gave no SQLSTATE: a lost connection, or the record of an older version.
const NO_SQLSTATE = 'none';

const SQLSTATE = /^[0-9A-Z]{5}$/;
// A trigger may word its message as a violated constraint, and name anything.
const NAME = /^[\p{L}_][\p{L}\p{N}_$]{0,62}$/u;

/**
 * Counts failures by class of cause, for the label of a metric: the SQLSTATE and, if a constraint was
 * violated, its name, for example `23514 status_ok`. No text of a message becomes a label, and there
 * are at most 21 of them: the most frequent 20, and `other` for the rest.
 */
export function countByClass(counts: readonly FailureCount[]): ReadonlyMap<string, number> {
  const byClass = new Map<string, number>();
  const add = (name: string, count: number): void =>
    void byClass.set(name, (byClass.get(name) ?? 0) + count);
  for (const { sqlState, constraint, count } of counts) add(classOf(sqlState, constraint), count);
  const frequent = [...byClass].toSorted(([a, m], [b, n]) => n - m || a.localeCompare(b));
  byClass.clear();
  for (const [index, [name, count]] of frequent.entries()) {
    add(index < CLASSES_MAX ? name : OTHER_CLASSES, count);
  }
  return byClass;
}

function classOf(sqlState: string | null, constraint: string | null): string {
  if (sqlState === null || !SQLSTATE.test(sqlState)) return NO_SQLSTATE;
  return constraint !== null && NAME.test(constraint) ? `${sqlState} ${constraint}` : sqlState;
}
