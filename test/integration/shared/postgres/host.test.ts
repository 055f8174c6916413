import { afterAll, expect, inject, it } from 'vitest';
import { openDatabase } from '../../../../shared/postgres/database.ts';
import { migrate } from '../../../../shared/postgres/migrate.ts';
import { schemaProblem } from '../../../../shared/postgres/schema.ts';
import { createExecutions } from '../../../support/executions.ts';
import { createStores, openClient, silent } from '../../../support/stores.ts';

const { config, database } = await createStores();
const url = config.DATABASE_URL;
// Roles belong to the server, so each name is this file's.
const role = `${config.QUEUE_PREFIX}_role`;
const asRole = Object.assign(new URL(url), { username: role, password: 'word' });
await database.query(`CREATE ROLE ${role} LOGIN PASSWORD 'word'`);
afterAll(async () => {
  await database.query(`DROP OWNED BY ${role}`);
  await database.query(`DROP ROLE ${role}`);
});

/** What a process that connects so would say of the database. */
async function problemOf(address: URL | string): Promise<string | undefined> {
  const other = openDatabase(String(address), silent, { connections: 1, name: 'other' });
  try {
    return await schemaProblem(other);
  } finally {
    await other.close();
  }
}

it('row level security that hides tasks is named with role, policy and the command to run', async () => {
  await database.query(`GRANT USAGE ON SCHEMA tally TO ${role}`);
  await database.query(`GRANT SELECT ON tally.migration, execution, task TO ${role}`);
  expect(await problemOf(asRole)).toBeUndefined();
  await database.query('CREATE POLICY few ON task USING (id % 2 = 0)');
  await database.query('ALTER TABLE task ENABLE ROW LEVEL SECURITY');
  expect(await problemOf(asRole)).toMatch(
    new RegExp(`hides rows of public.task from role ${role} \\(policies: few\\).*BYPASSRLS`),
  );
  // Its owner sees every row.
  expect(await problemOf(url)).toBeUndefined();
  await database.query('ALTER TABLE task DISABLE ROW LEVEL SECURITY');
  await database.query('DROP POLICY few ON task');
});

it('a role that may not create schemas is told what to grant, and nothing is left behind', async () => {
  const client = await openClient(url);
  const empty = `${config.QUEUE_PREFIX}_empty`;
  await client.query(`CREATE DATABASE ${empty}`);
  try {
    const address = Object.assign(new URL(asRole), { pathname: `/${empty}` }).href;
    await expect(migrate(address, silent)).rejects.toThrow(
      `GRANT CREATE ON DATABASE ${empty} TO ${role}`,
    );
    const owner = await openClient(Object.assign(new URL(url), { pathname: `/${empty}` }).href);
    const { rows } = await owner.query(
      `SELECT to_regnamespace('tally') AS schema, to_regclass('task') AS task`,
    );
    expect(rows).toEqual([{ schema: null, task: null }]);
    await owner.end();
  } finally {
    await client.query(`DROP DATABASE ${empty} WITH (FORCE)`);
  }
});

it("tables outside the role's search path are named with what to set, and stay untouched", async () => {
  const client = await openClient(url);
  const other = `${config.QUEUE_PREFIX}_other`;
  await client.query(`CREATE DATABASE ${other}`);
  try {
    const address = Object.assign(new URL(inject('postgresUrl')), { pathname: `/${other}` }).href;
    const owner = await openClient(address);
    await owner.query(
      'CREATE SCHEMA registry; CREATE TABLE registry.execution (id bigint); CREATE TABLE registry.task (execution_id bigint)',
    );
    await expect(migrate(address, silent)).rejects.toThrow(
      /lie in schema registry.*search_path%3Dregistry/,
    );
    const { rows } = await owner.query(`SELECT to_regnamespace('tally') AS schema`);
    expect(rows).toEqual([{ schema: null }]);
    await owner.end();
  } finally {
    await client.query(`DROP DATABASE ${other} WITH (FORCE)`);
  }
});

it('statements run in READ COMMITTED although the database is serializable by default', async () => {
  const serializable = `${url}?options=-c%20default_transaction_isolation=serializable`;
  const other = openDatabase(serializable, silent, { connections: 1, name: 'other' });
  try {
    await createExecutions(other, 1);
    expect(
      await other.query(
        `SELECT current_setting('transaction_isolation') AS is, current_setting('default_transaction_isolation') AS by`,
      ),
    ).toEqual([{ is: 'read committed', by: 'serializable' }]);
  } finally {
    await other.close();
  }
});

it('tally migrate on a read-only database says so and changes nothing', async () => {
  const reading = `${url}?options=-c%20default_transaction_read_only=on`;
  await expect(migrate(reading, silent)).rejects.toThrow(
    /read-only transaction; nothing was changed.*default_transaction_read_only/,
  );
});
