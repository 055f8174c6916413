import { readFileSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { createStores } from '../support/stores.ts';

const { database } = await createStores();

/** What `pg_dump` does with each table and sequence of schema tally, as a role. */
async function readAll(role: string): Promise<void> {
  const objects = await database.query<{ name: string; kind: string }>(
    `SELECT format('%I.%I', nspname, relname) AS name, relkind::text AS kind
       FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
      WHERE nspname = 'tally' AND relkind IN ('r', 'p', 'S')`,
  );
  expect(objects.length).toBeGreaterThan(5);
  for (const { name, kind } of objects) {
    const lock = kind === 'S' ? [] : [`LOCK TABLE ${name} IN ACCESS SHARE MODE`];
    const statements = [`SET LOCAL ROLE ${role}`, ...lock, `SELECT * FROM ${name} LIMIT 1`];
    await database.query(`DO $$ BEGIN ${statements.map(quiet).join(' ')} END $$`);
  }
}

function quiet(statement: string): string {
  return `${statement.replace(/^SELECT/, 'PERFORM')};`;
}

it('a role with the documented rights can back up schema tally, and one without cannot', async () => {
  const role = `backup_${process.pid}`;
  await database.query(`CREATE ROLE ${role}`);
  onTestFinished(async () => {
    await database.query(`DROP OWNED BY ${role}`);
    await database.query(`DROP ROLE ${role}`);
  });
  await expect(readAll(role)).rejects.toThrow('permission denied for schema tally');
  const grants = readFileSync('docs/deploy.md', 'utf8').match(/^GRANT .* TO backup;$/gm) ?? [];
  for (const grant of grants) await database.query(grant.replace('TO backup', `TO ${role}`));
  await readAll(role);
});
