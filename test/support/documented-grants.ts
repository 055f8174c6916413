import { readFileSync } from 'node:fs';
import type { Database } from '../../shared/postgres/database.ts';

/** Runs the statements that docs/operations.md tells an operator to run for the role of the processes. */
export async function grantAsDocumented(database: Database, role: string): Promise<void> {
  const docs = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
  const statements = docs.match(/^GRANT .* TO tally_run;$/gm) ?? [];
  if (statements.length <= 3) throw new Error('docs/operations.md has no GRANTs for tally_run');
  for (const statement of statements) await database.query(statement.replace('tally_run', role));
}
