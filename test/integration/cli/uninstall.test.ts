import { expect, it } from 'vitest';
import { createExecutions, outboxRows } from '../../support/executions.ts';
import { runTally, startTally } from '../../support/processes.ts';
import { createStores, openClient } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const { config, database } = await createStores({ capture: true });
const environment = { DATABASE_URL: config.DATABASE_URL };
const run = (...args: string[]) => runTally(['migrate', ...args], environment);

/** Everything that a dump would hold of schema public and of what lies beside it, rows too, as text. */
async function dump(): Promise<string[]> {
  const rows = await database.query<{ line: string }>(`
    WITH ours AS (
      SELECT c.* FROM pg_class c
       WHERE c.relnamespace = 'public'::regnamespace)
    SELECT 'relation ' || relname || ' ' || relkind::text || ' ' || coalesce(relacl::text, '-') || ' ' || relowner::regrole
           || ' ' || coalesce(reloptions::text, '-') || ' ' || relreplident::text || relrowsecurity AS line FROM ours
    UNION ALL
    SELECT 'column ' || c.relname || '.' || attname || ' ' || attnum || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull
           || ' ' || coalesce(pg_get_expr(adbin, adrelid), '-') || ' ' || coalesce(attacl::text, '-') || ' ' || coalesce(attstattarget, -1)
      FROM ours c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(o.oid) FROM pg_constraint o JOIN ours c ON c.oid = o.conrelid
    UNION ALL
    SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN ours c ON c.oid = i.indrelid
    UNION ALL
    SELECT 'trigger ' || pg_get_triggerdef(t.oid) || tgenabled::text FROM pg_trigger t JOIN ours c ON c.oid = t.tgrelid WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure FROM pg_proc p
      JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname !~ '^(pg_|information_schema)'
    UNION ALL
    SELECT 'comment ' || objoid::text || ' ' || description FROM pg_description d JOIN ours c ON c.oid = d.objoid
    UNION ALL
    SELECT 'sequence ' || sequencename || ' ' || coalesce(last_value::text, '-') || ' ' || data_type FROM pg_sequences WHERE schemaname = 'public'
    UNION ALL
    SELECT 'schema ' || nspname || coalesce(nspacl::text, '-') FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)'
    UNION ALL
    SELECT 'default acl ' || d::text FROM pg_default_acl d
    UNION ALL
    SELECT 'extension ' || extname FROM pg_extension
    UNION ALL
    SELECT 'execution ' || e::text FROM execution e
    UNION ALL
    SELECT 'task ' || t::text FROM task t`);
  return rows.map(({ line }) => line).toSorted();
}

it('tally migrate --uninstall leaves a database as it was before tally migrate', async () => {
  expect((await run('--uninstall', '--force')).code).toBe(0);
  const client = await openClient(environment.DATABASE_URL);
  await client.query(`
    CREATE FUNCTION public.hosts_own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER hosts_own BEFORE UPDATE ON task FOR EACH ROW EXECUTE FUNCTION public.hosts_own();
    ALTER TABLE task DISABLE TRIGGER hosts_own;
    COMMENT ON TABLE task IS 'of the host'; COMMENT ON COLUMN execution.status IS 'of the host, too';
    GRANT SELECT ON execution TO PUBLIC`);
  await createExecutions(database, 20, ['Success', 'Running']);
  const before = await dump();
  expect(before.filter((line) => /^(execution|task) \(/.test(line))).toHaveLength(60);

  expect((await run()).code).toBe(0);
  expect((await runTally(['capture', 'enable'], environment)).code).toBe(0);
  expect(await dump()).not.toEqual(before);

  const { code, output } = await run('--uninstall');
  expect(code).toBe(0);
  expect(output).toContain('schema tally is removed, and the triggers on task');
  expect(await dump()).toEqual(before);

  const again = await run('--uninstall');
  expect(again).toEqual({ code: 0, output: 'there is no schema tally; nothing to remove' });
});

it('--uninstall with refreshes in the outbox is refused; --force removes them and says how many', async () => {
  await run();
  await runTally(['capture', 'enable'], environment);
  await createExecutions(database, 3);
  const before = await dump();
  const refused = await run('--uninstall');
  expect(refused.code).toBe(1);
  expect(refused.output).toMatch(/^tally: 3 refreshes are not done yet .*--force$/);
  expect(await dump()).toEqual(before);
  expect(await outboxRows(database)).toBe(3);
  await createExecutions(database, 1);
  expect(await outboxRows(database)).toBe(4);
  const forced = await run('--uninstall', '--force');
  expect(forced.code).toBe(0);
  expect(forced.output).toContain('4 refreshes were not done and are lost');
  const left = (await dump()).filter((line) => /^schema tally|tally_capture|tally\./.test(line));
  expect(left).toEqual([]);
});

it("the host's tables are never created in schema tally, nor removed with it", async () => {
  // The role is named tally, so its own schema comes first, where somebody has made that already.
  await run('--uninstall', '--force');
  const client = await openClient(environment.DATABASE_URL);
  await client.query('CREATE SCHEMA tally; ALTER TABLE task SET SCHEMA tally');
  const refused = await run('--uninstall', '--force');
  expect(refused.code).toBe(1);
  expect(refused.output).toMatch(/^tally: execution or task lies in schema tally .* Move it first/);
  await client.query('DROP TABLE execution CASCADE; DROP TABLE tally.task');
  await run();
  const { rows } = await client.query(
    `SELECT schemaname AS schema FROM pg_tables WHERE tablename IN ('execution', 'task')`,
  );
  expect(rows).toEqual([{ schema: 'public' }, { schema: 'public' }]);
});

it('--force alone is a usage error, and migrates nothing', async () => {
  const before = await dump();
  const { code, output } = await run('--force');
  expect({ code, output }).toEqual({
    code: 2,
    output: 'tally: --force goes with --uninstall only',
  });
  expect(await dump()).toEqual(before);
});

it.each([
  ['a task', `UPDATE task SET status = 'Error' WHERE id = (SELECT min(id) FROM task)`],
  [
    'the outbox',
    `INSERT INTO tally.outbox (execution_id, vendor, source) VALUES (1, 'REPLICATION', 'api')`,
  ],
])(
  'a change of %s that commits while it waits is not thrown away with the schema',
  async (_name, change) => {
    await run('--uninstall', '--force');
    await createExecutions(database, 1);
    await run();
    await runTally(['capture', 'enable'], environment);
    const writer = await openClient(environment.DATABASE_URL);
    await writer.query('BEGIN');
    await writer.query(change);
    const uninstall = startTally(['migrate', '--uninstall'], environment);
    await until('it to wait for the writer', async () => {
      const waiting = await database.query(
        `SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
          WHERE NOT l.granted AND a.application_name = 'tally uninstall'`,
      );
      return waiting.length > 0;
    });
    await writer.query('COMMIT');
    expect((await uninstall.ended).code).toBe(1);
    expect(uninstall.lines.join('\n')).toContain('1 refreshes are not done yet');
    expect(await outboxRows(database)).toBe(1);
  },
);
