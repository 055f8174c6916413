import { beforeEach, describe, expect, it } from 'vitest';
import { createExecution, createExecutions, outboxRows } from '../../../support/executions.ts';
import { runTally } from '../../../support/processes.ts';
import { createEmptyDatabase, createStores, openClient } from '../../../support/stores.ts';

const { config, database, environment } = await createStores();
const databaseUrl = config.DATABASE_URL;

/** The environment of a command that has a database and nothing else. */
const only = (url: string) => ({ DATABASE_URL: url });
const NO_SERVER = 'postgres://tally:secret@127.0.0.1:1/tally';

function emptyDatabase(name: string): Promise<string> {
  return createEmptyDatabase(databaseUrl, `${name}_${environment['QUEUE_PREFIX']}`);
}

/** Five executions: one fine, one running, one set by hand, two stuck. @returns the ids of the stuck ones */
async function createFive(): Promise<readonly [number, number]> {
  const [fine = 0, one = 0, other = 0, byHand = 0] = await createExecutions(database, 4);
  await createExecutions(database, 1, ['Running']);
  await database.query(
    `UPDATE execution SET status = CASE id WHEN $1 THEN 'Success' WHEN $2 THEN 'Error' ELSE NULL END,
            end_time = CASE id WHEN $3 THEN NULL ELSE '2026-01-02 03:04:05'::timestamp END
      WHERE id = ANY ($4)`,
    [fine, byHand, other, [fine, byHand, other]],
  );
  return [one, other];
}

const found = ([one, other]: readonly [number, number]) => [
  {
    executionId: one,
    vendor: 'REPLICATION',
    stored: 'Running',
    computed: 'Success',
    since: '2026-01-02T03:04:05Z',
  },
  {
    executionId: other,
    vendor: 'REPLICATION',
    stored: null,
    computed: 'Success',
    since: '2026-01-02T03:04:05Z',
  },
];

beforeEach(async () => {
  await database.query('TRUNCATE execution, task, tally.outbox, tally.failure RESTART IDENTITY');
});

describe('tally reconcile --dry-run', () => {
  it('lists disagreements for a read-only role on a database without schema tally', async () => {
    const ids = await createFive();
    // A database of the host alone, whose two tables are all that the role knows.
    const name = new URL(databaseUrl).pathname.slice(1);
    const reader = `reader_${name}`;
    await database.query(`CREATE ROLE ${reader} LOGIN PASSWORD 'reads'`);
    const url = await emptyDatabase('host');
    const host = await openClient(url);
    try {
      await host.query(`CREATE TABLE execution (id bigint PRIMARY KEY, vendor_type varchar(64), status varchar(16), end_time timestamp);
        CREATE TABLE task (id bigint PRIMARY KEY, execution_id bigint, status varchar(16), end_time timestamp);
        CREATE INDEX ON task (execution_id);
        GRANT SELECT ON execution, task TO ${reader}`);
      for (const [table, columns] of [
        ['execution', 'id, vendor_type, status, end_time'],
        ['task', 'id, execution_id, status, end_time'],
      ]) {
        const rows = await database.query<{ row: string }>(
          `SELECT json_agg(r)::text AS row FROM (SELECT ${columns} FROM ${table}) r`,
        );
        await host.query(
          `INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1)`,
          [rows[0]?.row],
        );
      }
      const rowVersions = async () =>
        (
          await host.query(
            'SELECT id, xmin::text, xmax::text FROM execution UNION ALL SELECT id, xmin::text, xmax::text FROM task ORDER BY 1, 2',
          )
        ).rows as unknown[];
      const before = await rowVersions();
      const asReader = only(
        Object.assign(new URL(url), { username: reader, password: 'reads' }).href,
      );

      const json = await runTally(['reconcile', '--dry-run', '--json'], asReader);
      expect({ ...json, output: JSON.parse(json.output) as unknown }).toEqual({
        code: 0,
        output: { disagreements: found(ids), enqueued: 0 },
      });

      const text = await runTally(['reconcile', '--dry-run'], asReader);
      expect(text.code).toBe(0);
      expect(text.output.split('\n').toSorted()).toEqual(
        [
          '2 disagreements; nothing was changed',
          `${ids[0]}:REPLICATION  stored Running, by its tasks Success since 2026-01-02T03:04:05Z`,
          `${ids[1]}:REPLICATION  stored nothing, by its tasks Success since 2026-01-02T03:04:05Z`,
        ].toSorted(),
      );
      expect(await rowVersions()).toEqual(before);
      const left = await host.query(`SELECT to_regnamespace('tally') AS schema`);
      expect(left.rows).toEqual([{ schema: null }]);

      const refused = await runTally(['reconcile'], asReader);
      expect(refused).toEqual({
        code: 1,
        output: 'tally: schema tally is not installed; run: tally migrate',
      });
    } finally {
      await host.query(`DROP OWNED BY ${reader}`);
      await database.query(`DROP ROLE ${reader}`);
    }
  });

  it('leaves out executions whose refresh is on its way or has failed, and records nothing', async () => {
    const [one, other] = await createFive();
    await database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source) VALUES (${one}, 'REPLICATION', 'api');
       INSERT INTO tally.failure (job_id, execution_id, vendor) VALUES ('x', ${other}, 'REPLICATION')`,
    );
    const { output } = await runTally(['reconcile', '--dry-run', '--json'], only(databaseUrl));
    expect(output).toBe('{"disagreements":[],"enqueued":0}');
    expect(await outboxRows(database)).toBe(1);
  });

  it('--json keeps a vendor unchanged, without any character that changes the writing direction', async () => {
    await createFive();
    await database.query(`UPDATE execution SET vendor_type = U&'SC\\202EAN'`);
    const { output } = await runTally(['reconcile', '--dry-run', '--json'], only(databaseUrl));
    expect(output).not.toContain('\u202e');
    expect(JSON.parse(output)).toMatchObject({
      disagreements: [{ vendor: 'SC\u202eAN' }, { vendor: 'SC\u202eAN' }],
    });
  });
});

describe('tally reconcile', () => {
  it('records a refresh of each, says how many, and records none the second time', async () => {
    const ids = await createFive();
    const first = await runTally(['reconcile', '--json'], only(databaseUrl));
    expect({ ...first, output: JSON.parse(first.output) as unknown }).toEqual({
      code: 0,
      output: { disagreements: found(ids), enqueued: 2 },
    });
    const rows = await database.query(
      'SELECT execution_id AS id, vendor, source FROM tally.outbox ORDER BY execution_id',
    );
    expect(rows).toEqual(ids.map((id) => ({ id, vendor: 'REPLICATION', source: 'reconciler' })));
    const second = await runTally(['reconcile'], only(databaseUrl));
    expect(second).toEqual({ code: 0, output: '0 disagreements; a refresh of each is recorded' });
    expect(await outboxRows(database)).toBe(2);
  });

  it('goes through all pages', async () => {
    await createExecutions(database, 2_500);
    const { output } = await runTally(['reconcile', '--json'], only(databaseUrl));
    expect(JSON.parse(output)).toMatchObject({ enqueued: 2_500 });
    expect(await outboxRows(database)).toBe(2_500);
  });

  it('says in one line what is wrong with the database, and exits with 1', async () => {
    const away = await runTally(['reconcile', '--dry-run', '--json'], only(NO_SERVER));
    expect(away.code).toBe(1);
    expect(away.output).toMatch(
      /^tally: Postgres can't be asked: .*; check host and port in DATABASE_URL and that the server runs$/,
    );
    expect(away.output).not.toContain('secret');
    const odd = await emptyDatabase('odd');
    const client = await openClient(odd);
    await client.query('CREATE TABLE execution (id int); CREATE TABLE task (id int)');
    const refused = await runTally(['reconcile', '--dry-run', '--json'], only(odd));
    expect(refused).toEqual({ code: 1, output: 'tally: column e.status does not exist' });
    const empty = await runTally(['reconcile', '--dry-run'], only(await emptyDatabase('empty')));
    expect(empty).toEqual({
      code: 1,
      output: 'tally: the database has no tables execution and task; check DATABASE_URL',
    });
  });
});

describe('tally capture', () => {
  it('enables, reports and disables capture, and says when it was switched off elsewhere', async () => {
    const run = (word: string) => runTally(['capture', word], only(databaseUrl));
    expect(await run('status')).toEqual({ code: 0, output: 'disabled' });
    expect((await run('enable')).output).toMatch(/^capture is enabled; .* tally reconcile$/);
    expect(await run('status')).toEqual({ code: 0, output: 'enabled' });
    await createExecutions(database, 1);
    expect(await outboxRows(database)).toBe(1);
    await database.query('ALTER TABLE task DISABLE TRIGGER tally_capture_delete');
    expect((await run('status')).output).toMatch(/^incomplete: .* tally capture enable$/);
    expect((await run('disable')).code).toBe(0);
    expect(await run('status')).toEqual({ code: 0, output: 'disabled' });
    await createExecutions(database, 1);
    expect(await outboxRows(database)).toBe(1);
  });

  it('without schema tally is refused with the command to run', async () => {
    const url = await emptyDatabase('bare');
    const client = await openClient(url);
    await client.query('CREATE TABLE execution (id int); CREATE TABLE task (id int)');
    expect(await runTally(['capture', 'enable'], only(url))).toEqual({
      code: 1,
      output: 'tally: schema tally is not up to date; run: tally migrate',
    });
  });
});

describe('tally migrate', () => {
  it('enables capture on tables that it creates, and not on those of a host', async () => {
    const created = await emptyDatabase('created');
    await runTally(['migrate'], only(created));
    expect((await runTally(['capture', 'status'], only(created))).output).toBe('enabled');
    // The host's now: they were there before.
    await runTally(['migrate', '--uninstall'], only(created));
    await runTally(['migrate'], only(created));
    expect((await runTally(['capture', 'status'], only(created))).output).toBe('disabled');
  });
});

it('tally reconcile --dry-run --all shows what no refresh can repair, and why', async () => {
  const none = await createExecution(database, []);
  const unknown = await createExecution(database, ['Weird']);
  const [lost = 0, busy = 0] = await createExecutions(database, 2, ['Success', 'Running']);
  await database.query(
    `UPDATE task SET creation_time = now() - interval '8 days', end_time = NULL WHERE execution_id = $1`,
    [lost],
  );
  await database.query(`UPDATE task SET end_time = NULL WHERE execution_id = $1`, [busy]);
  const all = await runTally(['reconcile', '--dry-run', '--all', '--json'], environment);
  expect(JSON.parse(all.output.split('\n')[0] ?? '')).toMatchObject({
    irreparable: [
      { executionId: none, reason: 'no tasks' },
      { executionId: unknown, reason: 'only unknown statuses' },
      { executionId: lost, reason: 'unfinished tasks unchanged for a week' },
    ],
  });
  const alone = await runTally(['reconcile', '--all'], environment);
  expect(alone).toMatchObject({ code: 2, output: expect.stringContaining('add --dry-run') });
});
