import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { openBacklogQueue } from '../../../../shared/queue/backlog-queue.ts';
import { createExecutions } from '../../../support/executions.ts';
import { runTally, startProducer, startWorker } from '../../../support/processes.ts';
import { newRedis } from '../../../support/servers.ts';
import { createStores, openClient } from '../../../support/stores.ts';
import { until } from '../../../support/wait.ts';

const server = await newRedis();
afterAll(() => server.stop());
const { config, environment, database, redis, queue } = await createStores({
  redisUrl: server.url,
  capture: true,
});

interface Report {
  readonly level: string;
  readonly findings: readonly {
    readonly area: string;
    readonly check: string;
    readonly level: string;
    readonly text: string;
    readonly fix?: string;
  }[];
}

async function doctor(
  settings: Readonly<Record<string, string>> = {},
): Promise<Report & { code: number | null; of(check: string): Report['findings'][number] }> {
  const { code, output } = await runTally(['doctor', '--json'], { ...environment, ...settings });
  const report = JSON.parse(output) as Report;
  const of = (check: string): Report['findings'][number] => {
    const found = report.findings.find((finding) => finding.check === check);
    if (found === undefined) throw new Error(`no check ${check} in ${output}`);
    return found;
  };
  return { ...report, code, of };
}

/** Whether it tells that a commit took too long. On a busy machine a store really is slow, and doctor is right to say so. */
function isLateCommit({ check, text }: Report['findings'][number]): boolean {
  return check === 'commits' && text.includes('did not finish within');
}

/** Changes the database for one test. */
async function withChange(change: string, undo: string): Promise<void> {
  await database.query(change);
  onTestFinished(async () => void (await database.query(undo)));
}

describe('tally doctor', () => {
  it('finds nothing where all is well, and exits with 0', async () => {
    await startProducer(environment);
    await startWorker(environment);
    const report = await doctor();
    const found = report.findings.filter(({ level }) => level !== 'ok');
    const busy = found.filter((finding) => finding.check === 'latency' || isLateCommit(finding));
    expect(found).toEqual(busy);
    if (busy.some(isLateCommit)) expect(report).toMatchObject({ level: 'problem', code: 2 });
    else if (busy.length > 0) expect(report).toMatchObject({ level: 'warning', code: 1 });
    else expect(report).toMatchObject({ level: 'ok', code: 0 });
  });

  it('prints each finding in a line, with its fix below', async () => {
    await queue.pause();
    onTestFinished(() => queue.resume());
    const { output } = await runTally(['doctor'], environment);
    expect(output).toMatch(/^ {2}ok {7}eviction policy {4}noeviction$/m);
    expect(output).toMatch(/^ {2}warning {2}queue +the queue is paused\n +-> resume it on the/m);
  });

  it('and tally status report a paused queue of the backlog lane', async () => {
    const backlog = openBacklogQueue(config, redis);
    await backlog.pause();
    onTestFinished(() => backlog.resume());
    const { output } = await runTally(['doctor'], environment);
    expect(output).toMatch(/^ {2}warning {2}queue +the queue "backlog" is paused$/m);
    expect((await runTally(['status'], environment)).output).toContain(
      'backlog        0 rows, PAUSED',
    );
  });

  it('changes nothing in either store', async () => {
    await createExecutions(database, 3);
    const tables = await database.query<{ name: string }>(
      `SELECT oid::regclass::text AS name FROM pg_class
        WHERE relkind = 'r' AND relnamespace IN ('public'::regnamespace, 'tally'::regnamespace)`,
    );
    const seen = async (): Promise<unknown> => ({
      keys: (await redis.keys('*')).toSorted(),
      // With the transaction that wrote each row: writing the same again would be a change, too.
      rows: await Promise.all(
        tables.map(({ name }) => database.query(`SELECT xmin::text, * FROM ${name} ORDER BY 2`)),
      ),
    });
    // What processes of other tests have left, and what would expire meanwhile.
    for (const key of await redis.keys('*')) if ((await redis.pttl(key)) > 0) await redis.del(key);
    const before = await seen();
    await doctor();
    expect(await seen()).toEqual(before);
    await database.query('DELETE FROM tally.outbox');
  });

  it('examines one store when the other can’t be reached, and says why it can’t', async () => {
    const withoutRedis = await doctor({ REDIS_URL: 'redis://:geheim123@127.0.0.1:1' });
    expect(withoutRedis).toMatchObject({ level: 'problem', code: 2 });
    expect(withoutRedis.of('connection').area).toBe('Redis');
    expect(withoutRedis.of('rights')).toMatchObject({ area: 'Postgres', level: 'ok' });
    expect(JSON.stringify(withoutRedis)).not.toContain('geheim123');
    const withoutPostgres = await doctor({ DATABASE_URL: 'postgres://a:geheim123@127.0.0.1:1/b' });
    expect(withoutPostgres.of('connection')).toMatchObject({ area: 'Postgres', level: 'problem' });
    expect(withoutPostgres.of('eviction policy').level).toBe('ok');
    expect(withoutPostgres.findings.filter(({ area }) => area === 'Harbor')).toEqual([]);
    expect(JSON.stringify(withoutPostgres)).not.toContain('geheim123');
  });
});

describe('of Redis, it finds', () => {
  it.each([
    [
      'CONFIG SET maxmemory-policy allkeys-lru',
      'CONFIG SET maxmemory-policy noeviction',
      'eviction policy',
      'problem',
    ],
    ['CONFIG SET appendonly no', 'CONFIG SET appendonly yes', 'persistence', 'warning'],
    ['CONFIG SET maxmemory 1', 'CONFIG SET maxmemory 0', 'rights', 'problem'],
    ['REPLICAOF 127.0.0.1 1', 'REPLICAOF NO ONE', 'role', 'problem'],
  ])('%s', async (change, undo, check, level) => {
    const run = (line: string): Promise<unknown> => {
      const [command = '', ...args] = line.split(' ');
      return redis.call(command, ...args);
    };
    await run(change);
    onTestFinished(async () => void (await run(undo)));
    const found = (await doctor()).of(check);
    expect(found).toMatchObject({ area: 'Redis', level });
    expect(found.fix).toBeTruthy();
  });

  it('a clock that is wrong, in either store', async () => {
    const preload = fileURLToPath(new URL('../../../support/clock-shift.mjs', import.meta.url));
    const shifted = { NODE_OPTIONS: `--import=${preload}`, CLOCK_SHIFT_MS: '-60000' };
    const clocks = (await doctor(shifted)).findings.filter(({ check }) => check === 'clock');
    expect(clocks.map(({ area, level }) => [area, level])).toEqual([
      ['Redis', 'warning'],
      ['Postgres', 'warning'],
    ]);
    for (const { text } of clocks) {
      const behindS = Number(/^this machine is (\d+) s behind /.exec(text)?.[1]);
      // Less by as long as the store's answer was on its way.
      expect(behindS).toBeGreaterThanOrEqual(50);
      expect(behindS).toBeLessThanOrEqual(60);
    }
  });

  it('a user who may not use the queue’s keys, with the rule that would allow it', async () => {
    await redis.call('ACL', 'SETUSER', 'limited', 'on', '>pass-word', '~other:*', '&*', '+@all');
    onTestFinished(async () => void (await redis.call('ACL', 'DELUSER', 'limited')));
    const url = Object.assign(new URL(server.url), { username: 'limited', password: 'pass-word' });
    const rights = (await doctor({ REDIS_URL: url.href })).findings.find(
      ({ area, check }) => area === 'Redis' && check === 'rights',
    );
    expect(rights).toMatchObject({ level: 'problem' });
    expect(rights?.text).toMatch(/NOPERM|no permissions/i);
    expect(rights?.fix).toContain(`~${config.QUEUE_PREFIX}:*`);
  });
});

describe('of Postgres, it finds', () => {
  it.each([
    [
      'task without an index on its execution',
      'DROP INDEX idx_task_execution_id',
      'CREATE INDEX idx_task_execution_id ON task (execution_id)',
      'indexes',
      'CREATE INDEX CONCURRENTLY ON task (execution_id)',
    ],
    [
      'capture half on',
      'ALTER TABLE task DISABLE TRIGGER tally_capture_update',
      'ALTER TABLE task ENABLE TRIGGER tally_capture_update',
      'capture',
      'tally capture enable',
    ],
    [
      'a schema that is too old',
      `UPDATE tally.migration SET name = 'x' || name WHERE id = 1`,
      `UPDATE tally.migration SET name = substr(name, 2) WHERE id = 1`,
      'schema tally',
      'tally migrate',
    ],
  ])('%s', async (_title, change, undo, check, fix) => {
    await withChange(change, undo);
    const found = (await doctor()).of(check);
    expect(found).toMatchObject({ area: 'Postgres', level: 'problem' });
    expect(found.fix).toContain(fix);
  });

  it('a trigger of the host’s that each refresh runs', async () => {
    await database.query(
      `CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
       CREATE TRIGGER watch BEFORE UPDATE ON execution FOR EACH ROW EXECUTE FUNCTION watch()`,
    );
    onTestFinished(async () => void (await database.query('DROP FUNCTION watch CASCADE')));
    expect((await doctor()).of('foreign triggers').text).toContain('watch on execution');
  });

  it('tasks with a status that the rule doesn’t know, and executions that are stuck', async () => {
    await database.query('ALTER TABLE task DISABLE TRIGGER tally_capture_insert');
    await createExecutions(database, 2, ['Success', 'Weird']);
    await database.query('ALTER TABLE task ENABLE TRIGGER tally_capture_insert');
    const report = await doctor();
    expect(report.of('task statuses')).toMatchObject({
      level: 'warning',
      text: expect.stringMatching(/Weird \(2 of REPLICATION, in execution \d+ for example\)/),
    });
    expect(report.of('disagreements')).toMatchObject({
      level: 'warning',
      text: expect.stringMatching(
        /^\d+ executions are stuck behind their tasks, and nobody has asked/,
      ),
    });
  });

  it('what a role lacks, and the grants that give it', async () => {
    const name = `limited_${config.QUEUE_PREFIX}`;
    await withChange(
      `CREATE ROLE ${name} LOGIN PASSWORD 'pass-word'; GRANT SELECT ON execution TO ${name}`,
      `DROP OWNED BY ${name}; DROP ROLE ${name}`,
    );
    const url = Object.assign(new URL(config.DATABASE_URL), {
      username: name,
      password: 'pass-word',
    });
    const look = () =>
      until('a look while commits are quick', async () => {
        const { findings } = await doctor({ DATABASE_URL: url.href });
        if (findings.some(isLateCommit)) return undefined;
        return findings.filter(({ area, level }) => area === 'Postgres' && level === 'problem');
      });
    const found = await look();
    const rights = found.find(({ check }) => check === 'rights');
    expect(rights).toMatchObject({ level: 'problem' });
    expect(found.find(({ check }) => check === 'commits')?.text).toContain('permission denied');
    expect(rights?.fix).not.toContain('SELECT ON execution');
    for (const statement of rights?.fix?.split('; ') ?? []) await database.query(statement);
    expect(await look()).toEqual([]);
  });

  it('who waits for a lock on the host’s tables, and behind whom', async () => {
    const holder = await openClient(config.DATABASE_URL);
    await holder.query('BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE');
    const [own] = (await holder.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows;
    const waiting = await openClient(config.DATABASE_URL);
    const answer = waiting.query('SELECT count(*) FROM task');
    const found = (await doctor()).of('lock waits');
    await holder.query('ROLLBACK');
    await answer;
    expect(found.text).toContain(`1 sessions wait for a lock on them, held by ${own?.pid}`);
  });
});

describe('of Harbor, it finds', () => {
  const harbor = { HARBOR_REDIS_URL: Object.assign(new URL(server.url), { pathname: '/3' }).href };

  it('nothing where the database isn’t Harbor’s', async () => {
    expect((await doctor()).findings.filter(({ area }) => area === 'Harbor')).toEqual([]);
  });

  it('its version, markers that nobody drains, and those that it no longer reads', async () => {
    await withChange(
      `CREATE TABLE schema_migrations (version bigint, dirty boolean);
       INSERT INTO schema_migrations VALUES (180, false);
       ALTER TABLE task DISABLE TRIGGER tally_capture_update`,
      'DROP TABLE schema_migrations; ALTER TABLE task ENABLE TRIGGER tally_capture_update',
    );
    const markers = redis.duplicate({ db: 3 });
    onTestFinished(() => markers.disconnect());
    const key = 'cache:execution:id:42:vendor:REPLICATION:status_outdate';
    await markers.set('x', 'x');
    const value = await markers.dumpBuffer('x');
    await markers.del('x');
    await markers.restore(key, 0, value ?? '', 'IDLETIME', 500);
    const undrained = (await doctor(harbor)).findings.filter(({ area }) => area === 'Harbor');
    expect(undrained.map(({ check, level }) => [check, level])).toEqual([
      ['version', 'ok'],
      ['markers', 'problem'],
    ]);
    expect(undrained[0]?.text).toContain('Harbor 2.15');
    expect(undrained[1]?.text).toMatch(/1 marker keys, which nobody has drained for \d+ s/);
    await database.query('UPDATE schema_migrations SET version = 190');
    const stale = (await doctor(harbor)).of('markers');
    expect(stale.text).toContain('Harbor 2.16 never reads them');
    expect(stale.fix).toContain('tally harbor import');
  });
});
