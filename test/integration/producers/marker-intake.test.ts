import { afterAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Redis } from 'ioredis';
import { MarkerIntake } from '../../../producers/marker-intake.ts';
import { openDatabase } from '../../../shared/postgres/database.ts';
import { connectHarborRedis } from '../../../shared/harbor/redis.ts';
import { createLogger } from '../../../shared/process/logger.ts';
import { createMalformedMarkersMetric, createRegistry } from '../../../shared/process/metrics.ts';
import { createExecution, outboxRows, readExecution } from '../../support/executions.ts';
import { openProducer, openWorker } from '../../support/in-process.ts';
import {
  inPipelines,
  keyOf,
  markByKeys,
  markedIds,
  markInSet,
  memberOf,
  newHarborRedis,
  range,
} from '../../support/markers.ts';
import { injectFault } from '../../support/fault.ts';
import { slowRecording } from '../../support/sabotage.ts';
import { controlledRedis } from '../../support/server-control.ts';
import { newRedis } from '../../support/servers.ts';
import { slowCommands } from '../../support/slow-log.ts';
import { createStores, openClient, silent } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const { url: harborUrl, redis: harbor } = await newHarborRedis();
const { database, config, environment } = await createStores({
  settings: {
    HARBOR_REDIS_URL: harborUrl,
  },
});

const intakeDatabase = openDatabase(config.DATABASE_URL, silent, {
  connections: 2,
  name: 'marker intake',
});
afterAll(() => intakeDatabase.close());

beforeEach(async () => {
  await harbor.flushdb();
  await database.query('TRUNCATE tally.outbox');
});

/** An intake in this process, closed after the test. */
function startIntake(redis: Redis = harbor, delayMs = 35_000) {
  const lines: string[] = [];
  const malformed = createMalformedMarkersMetric(createRegistry());
  const intake = new MarkerIntake({
    redis,
    database: intakeDatabase,
    delayMs,
    log: createLogger(config, 'producer', (line) => {
      lines.push((JSON.parse(line) as { msg: string }).msg);
    }),
    malformed,
  });
  onTestFinished(() => intake.close());
  intake.start();
  return {
    close: () => intake.close(),
    lines,
    said: (text: string) =>
      until(`the intake to say ${text}`, () => lines.find((line) => line.includes(text))),
    malformed: async () => (await malformed.get()).values[0]?.value,
  };
}

/** The executions that are recorded, some of them twice: so is a page that took over a second until its markers were gone. */
async function recorded(): Promise<number[]> {
  const rows = await database.query<{ id: number }>(
    'SELECT DISTINCT execution_id AS id FROM tally.outbox ORDER BY id',
  );
  return rows.map(({ id }) => id);
}

/** Waits until so many executions are recorded, however long that takes; fails if no more are for a minute. */
async function allRecorded(count: number): Promise<void> {
  for (let most = 0; most < count;) {
    const before = most;
    const more = async (): Promise<number | undefined> => {
      const now = await countRecorded();
      return now > before ? now : undefined;
    };
    most = await until(`more than ${before} executions to be recorded`, more);
  }
}

async function countRecorded(): Promise<number> {
  const [row] = await database.query<{ count: number }>(
    'SELECT count(DISTINCT execution_id) AS count FROM tally.outbox',
  );
  return row?.count ?? 0;
}

describe('the marker intake', () => {
  it('records the markers of both formats, due after the delay, and leaves none in Redis', async () => {
    injectFault(24, 'markers, whose refreshes are due 35 s later');
    await markInSet(harbor, range(1, 50));
    await markByKeys(harbor, range(51, 50));
    startIntake();
    await allRecorded(100);
    await until('the markers to be gone', async () => (await harbor.dbsize()) === 0);
    expect(await recorded()).toEqual(range(1, 100));
    expect(
      await database.query(
        `SELECT DISTINCT vendor, source, round(extract(epoch FROM due_at - created_at))::int AS delay FROM tally.outbox`,
      ),
    ).toEqual([{ vendor: 'REPLICATION', source: 'marker', delay: 35 }]);
  });

  it('takes in later markers too, also of the same execution', async () => {
    await markByKeys(harbor, [42]);
    const intake = startIntake();
    for (const times of [1, 2, 3]) {
      if (times > 1) await markInSet(harbor, [42]);
      const taken = (): string[] => intake.lines.filter((line) => line === 'took in 1 markers');
      await until(`it to be taken in ${times} times`, () => taken().length === times);
      expect(await outboxRows(database)).toBeGreaterThanOrEqual(times);
    }
    expect(await markedIds(harbor)).toEqual([]);
  });

  it('leaves the 100,000 other keys of a shared database alone, also those with similar names', async () => {
    const foreign = [
      ...range(1, 100_000).map((n) => `session:${n}`),
      'cache:execution:id:1:vendor:REPLICATION:status_outdated',
      'cache:execution:id:1:vendor:REPLICATION',
      'cache:execution:id:1',
      'acache:execution:id:1:vendor:REPLICATION:status_outdate',
      'execution:status_outdate_too',
    ];
    await inPipelines(harbor, foreign, (pipeline, key) => {
      pipeline.set(key, `value of ${key}`);
    });
    await markByKeys(harbor, range(1, 100));
    await harbor.config('RESETSTAT');
    startIntake();
    await allRecorded(100);
    await until('the markers to be gone', async () => (await harbor.dbsize()) === foreign.length);
    const commands = await harbor.info('commandstats');
    expect(commands).toContain('cmdstat_scan:');
    expect(commands).not.toMatch(/cmdstat_(keys|del|smembers|flushdb):/);
    for (let from = 0; from < foreign.length; from += 10_000) {
      const keys = foreign.slice(from, from + 10_000);
      expect(await harbor.mget(keys)).toEqual(keys.map((key) => `value of ${key}`));
    }
  });

  it('drops malformed markers, with one log line and a count, and takes in the others', async () => {
    injectFault(20, 'markers that name no execution, in a set and as keys');
    const bad: (string | Buffer)[] = ['abc', ':SCAN', '0:SCAN', '9007199254740992:SCAN', '7:'];
    await harbor.sadd(
      'execution:status_outdate',
      ...bad,
      Buffer.from([0xff, 0xfe, 0x3a]),
      memberOf(1),
    );
    await harbor.mset({
      'cache:execution:id:x:vendor:SCAN:status_outdate': '',
      'cache:execution:id:1:vendor::status_outdate': '',
      [keyOf(2)]: '',
    });
    const intake = startIntake();
    await allRecorded(2);
    await until('the markers to be gone', async () => (await harbor.dbsize()) === 0);
    await intake.close();
    expect(await recorded()).toEqual([1, 2]);
    expect(await intake.malformed()).toBe(8);
    expect(intake.lines.filter((line) => line.includes('malformed'))).toEqual([
      expect.stringMatching(/^dropped 8 malformed markers, for example ".+"$/),
    ]);
  });

  it('runs in one of several producers, and another one takes over when it ends', async () => {
    const first = startIntake();
    await first.said("taking in Harbor's markers");
    const second = startIntake();
    await second.said("another process takes in Harbor's markers");
    await markInSet(harbor, range(1, 5_000));
    await allRecorded(5_000);
    // In one or several goes, depending on when it looks.
    await first.said('took in');
    expect(second.lines).toHaveLength(1);
    await first.close();
    await second.said("taking in Harbor's markers");
    await markInSet(harbor, [6_000]);
    await second.said('took in 1 markers');
    expect(await recorded()).toEqual([...range(1, 5_000), 6_000]);
  });

  it('commits nothing more after it loses its lease in mid-page, and loses no marker', async () => {
    const terminateInPage = () =>
      database.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'tally marker intake'
            AND wait_event_type = 'Lock'`,
      );
    await markInSet(harbor, range(1, 20_000));
    const holder = await openClient(config.DATABASE_URL);
    await slowRecording(database, 50);
    const intake = startIntake();
    await until('some to be recorded', async () => (await outboxRows(database)) > 0);
    await holder.query('BEGIN; LOCK TABLE tally.outbox IN SHARE MODE');
    await until('a page to be in hand', async () => (await terminateInPage()).length > 0);
    await intake.said('the marker intake is unavailable');
    await holder.query('ROLLBACK');
    await intake.said('the marker intake is back');
    await allRecorded(20_000);
    expect(await recorded()).toEqual(range(1, 20_000));
  });

  it('finishes its page when it is stopped, and leaves the rest for the next one', async () => {
    await markInSet(harbor, range(1, 30_000));
    const slow = await slowRecording(database, 50);
    const intake = startIntake();
    await until('some to be recorded', async () => (await outboxRows(database)) > 0);
    await intake.close();
    const left = await harbor.scard('tally:taken:execution:status_outdate');
    expect(left).toBeGreaterThan(0);
    expect((await recorded()).length + left).toBe(30_000);
    await slow.end();
    startIntake();
    await allRecorded(30_000);
  });

  it('says how far it has come while a set takes it long', async () => {
    await slowRecording(database, 600);
    await markInSet(harbor, range(1, 4_000));
    const intake = startIntake();
    await intake.said('markers so far');
    await intake.said('took in 4,000 markers');
  });

  it('takes in a set of 100,000 without blocking Redis for 50 ms', async () => {
    const server = await newRedis();
    onTestFinished(() => server.stop());
    const own = connectHarborRedis(
      server.url,
      createLogger(config, 'test', () => undefined),
    );
    onTestFinished(() => own.disconnect());
    await until('a connection', () => own.status === 'ready');
    let grownBy = 0;
    const slow = await slowCommands(own, 50, async () => {
      await database.query('TRUNCATE tally.outbox');
      await markInSet(own, range(1, 100_000));
      // What it took to mark them isn't looked at.
      await own.slowlog('RESET');
      const before = process.memoryUsage().rss;
      const intake = startIntake(own);
      await allRecorded(100_000);
      await intake.said('took in 100,000 markers');
      grownBy = Math.max(grownBy, process.memoryUsage().rss - before);
      await intake.close();
    });
    expect(slow).toEqual([]);
    expect(grownBy).toBeLessThan(150_000_000);
    expect(await own.dbsize()).toBe(0);
  });

  it("logs an outage of Harbor's Redis once, and goes on when it is back", async () => {
    const server = await controlledRedis();
    onTestFinished(() => server.remove());
    const lines: string[] = [];
    const log = createLogger(config, 'producer', (line) => lines.push(line));
    const redis = connectHarborRedis(server.url, log);
    onTestFinished(() => redis.disconnect());
    startIntake(redis);
    await until('a connection', () => redis.status === 'ready');
    await server.stop();
    await until('the outage to be noticed', () => lines.length > 0);
    await server.start();
    await until('a connection', () => redis.status === 'ready');
    await markInSet(redis, [1]);
    await allRecorded(1);
    expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
      expect.stringContaining("Harbor's Redis is unavailable"),
      expect.stringContaining("Harbor's Redis is back"),
    ]);
  });

  it('turns a marker into a refreshed execution', async () => {
    const id = await createExecution(database);
    const producer = await openProducer({
      ...environment,
      HARBOR_MARKER_DELAY_MS: '0',
      RECONCILE_INTERVAL_MS: '0',
    });
    await openWorker(environment);
    await markInSet(harbor, [id]);
    await until(
      'the refresh',
      async () => (await readExecution(database, id)).status === 'Success',
    );
    expect(producer.lines.join('\n')).toContain("taking in Harbor's markers");
  });
});
