import { afterAll, afterEach, expect, inject, it } from 'vitest';
import { countDisagreements } from '../../shared/postgres/disagreements.ts';
import { Random } from '../chaos/random.ts';
import { countByRevision, createExecutions, untilOutboxIsEmpty } from '../support/executions.ts';
import { witnessRefreshes } from '../support/invariants.ts';
import { keepDoing } from '../support/keep-doing.ts';
import { until } from '../support/wait.ts';
import { documentedCommands, firstBlock } from './documented.ts';
import { runProgram } from './shell.ts';
import { newStack } from './stack.ts';

const PROCESSES = ['producer', 'worker', 'dashboard'];
const ACTIVE_JOBS = 'docker compose exec redis redis-cli LLEN tally:refresh:active';
const LONG_MS = 900_000;

const { environment: env } = inject('image');
const stack = await newStack();
const used = new Set<string>();
let passed = true;

afterEach(({ task }) => {
  if (task.result?.state === 'fail') passed = false;
});
afterAll(async () => {
  if (!passed) process.stdout.write((await stack.attempt('docker compose logs --tail 30')).printed);
  await stack.database.close();
  await stack.attempt('docker compose --profile monitoring down --volumes --timeout 5');
}, LONG_MS);

/** Runs a command of the documents as it stands there. */
async function documented(command: string): Promise<string> {
  expect(documentedCommands()).toContain(command);
  used.add(command);
  return stack.run(command);
}

/** All that runs is healthy, and so many workers do. */
async function allHealthy(workers: number): Promise<void> {
  for (const service of ['redis', 'postgres', 'producer', 'dashboard']) {
    await stack.untilHealth(service, 1);
  }
  await stack.untilHealth('worker', workers);
}

it(
  'starts as docs/deploy.md says, and the doctor finds no problem',
  async () => {
    const block = firstBlock('docs/deploy.md', 'Docker Compose');
    const lines = block.split('\n');
    const at = lines.findIndex((line) => line.startsWith('docker compose'));
    await stack.run(lines.slice(0, at).join('\n'));
    expect(stack.secret('POSTGRES_PASSWORD')).toMatch(/^[0-9a-f]{32}$/);
    const [up = '', doctor = ''] = lines.slice(at);
    await documented(up);
    await allHealthy(2);
    used.add(doctor);
    const { code, printed } = await stack.attempt(doctor);
    // 1 for warnings, such as a busy machine.
    expect([0, 1], printed).toContain(code);
  },
  LONG_MS,
);

it('has one migration that ended well', async () => {
  const [migration, ...others] = await stack.containers('migrate');
  expect(others).toEqual([]);
  expect(migration?.State).toMatchObject({ Status: 'exited', ExitCode: 0 });
});

it('locks every container down', async () => {
  for (const { HostConfig } of await stack.containers())
    expect(HostConfig.ReadonlyRootfs).toBe(true);
  for (const { Id } of await stack.containers(...PROCESSES)) {
    const command = 'id -u; grep CapEff /proc/self/status; touch /app/x 2>&1 || true';
    const said = await runProgram(['docker', 'exec', Id, 'sh', '-c', command], { env });
    expect(said).toMatch(/^10000\nCapEff:\t0{16}\n.*Read-only file system/);
  }
});

it('answers on the ports of this machine alone, and only to who has the secrets', async () => {
  const ask = (token: string): Promise<Response> =>
    fetch(`http://127.0.0.1:${stack.ports.producer}/v1/refreshes`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ executionId: 1, vendor: 'REPLICATION' }),
    });
  expect((await ask('something else')).status).toBe(401);
  expect((await ask(stack.secret('API_TOKEN'))).status).toBe(202);
  const page = `http://127.0.0.1:${stack.ports.dashboard}/`;
  expect((await fetch(page)).status).toBe(401);
  const login = Buffer.from(`admin:${stack.secret('DASHBOARD_PASSWORD')}`).toString('base64');
  expect((await fetch(page, { headers: { authorization: `Basic ${login}` } })).status).toBe(200);
});

it(
  'refreshes 1,000 executions that are out of date with five workers',
  async () => {
    await documented('docker compose up --build --detach --scale worker=5');
    await allHealthy(5);
    const ids = await createExecutions(stack.database, 1_000, ['Success', 'Error']);
    await untilOutboxIsEmpty(stack.database, 120_000);
    expect(await countDisagreements(stack.database, 'outOfDate')).toBe(0);
    const [row] = await stack.database.query<{ count: number }>(
      `SELECT count(*) AS count FROM execution WHERE id = ANY ($1) AND status = 'Error'`,
      [ids],
    );
    expect(row?.count).toBe(1_000);
    expect(await countByRevision(stack.database, ids)).not.toHaveProperty('0');
  },
  LONG_MS,
);

it(
  'loses nothing while workers are scaled and containers are killed at random',
  async () => {
    const seed = 1 + Math.floor(Math.random() * 1e9);
    process.stdout.write(`test:image: kills by seed ${seed}\n`);
    const random = new Random(seed);
    const ids = await createExecutions(stack.database, 500);
    const witness = await witnessRefreshes(stack);
    let changes = 0;
    const load = keepDoing(10, async () => {
      const some = [...new Set(Array.from({ length: 20 }, () => random.pick(ids)))];
      await witness.change(some);
      changes += some.length;
    });
    const kills = { process: 0, container: 0, redis: 0 };
    const killer = keepDoing(700, async () => {
      const running = (await stack.containers('worker', 'producer')).filter(
        ({ State }) => State.Status === 'running',
      );
      if (running.length === 0) return;
      const { Id } = random.pick(running);
      const dice = random.whole(1, 10);
      if (dice <= 5 || running.length === 1) {
        // All processes but the init, which then ends, too: Docker starts the container again.
        await stack.attempt(`docker exec ${Id} sh -c 'kill -9 -1'`);
        kills.process++;
      } else if (dice <= 8) {
        // Docker takes this for somebody's wish, so the container stays dead until Compose is asked again.
        await stack.attempt(`docker kill ${Id}`);
        kills.container++;
      } else {
        const [redis] = await stack.containers('redis');
        await stack.attempt(`docker restart --time 0 ${redis?.Id}`);
        kills.redis++;
      }
    });
    const killed = (): number => kills.process + kills.container + kills.redis;
    for (const workers of [1, 5, 2, 8, 2]) {
      // Compose itself may stumble over a container that dies in its hands; people ask again.
      const command = `docker compose up --detach --scale worker=${workers}`;
      await until(command, async () => (await stack.attempt(command)).code === 0, 120_000);
      if (documentedCommands().includes(command)) used.add(command);
      const before = killed();
      await until('three more kills', () => killed() >= before + 3, 120_000);
    }
    await killer();
    await load();
    await stack.run('docker compose up --detach --scale worker=2');
    await untilOutboxIsEmpty(stack.database, 180_000);
    // A worker that was killed after its commit leaves jobs behind. A later change of their executions waits until they
    // have stalled, which takes up to a minute with the locks of the default settings.
    await until(
      'no job to belong to a worker that was killed',
      async () => (await stack.run(ACTIVE_JOBS)) === '0',
      180_000,
    );
    await witness.verify(180_000);
    await allHealthy(2);
    process.stdout.write(`test:image: ${changes} changes, kills: ${JSON.stringify(kills)}\n`);
  },
  LONG_MS,
);

it(
  'shows as unhealthy what can do no work without Postgres, goes on running it, and recovers',
  async () => {
    const states = async (): Promise<unknown> =>
      (await stack.containers(...PROCESSES)).map(({ Id, State }) => [Id, State.StartedAt]);
    const before = await states();
    await stack.run('docker compose stop postgres');
    await stack.untilHealth('worker', 2, 'unhealthy');
    await stack.untilHealth('producer', 1, 'unhealthy');
    await stack.run('docker compose start postgres');
    await allHealthy(2);
    expect(await states()).toEqual(before);
  },
  LONG_MS,
);

it(
  'stops on SIGTERM by itself and in time, with work in hand, and goes on when started again',
  async () => {
    const ids = await createExecutions(stack.database, 2_000);
    await stack.run(`docker compose stop ${PROCESSES.join(' ')}`);
    // What hasn't ended within its stop_grace_period is killed, and that gives another exit code.
    for (const { State } of await stack.containers(...PROCESSES)) {
      expect(State).toMatchObject({ Status: 'exited', ExitCode: 0, OOMKilled: false });
    }
    await documented('docker compose up --build --detach --scale worker=2');
    await allHealthy(2);
    await untilOutboxIsEmpty(stack.database, 120_000);
    expect(await countDisagreements(stack.database, 'outOfDate')).toBe(0);
    expect(await countByRevision(stack.database, ids)).not.toHaveProperty('0');
  },
  LONG_MS,
);

it(
  'shows the log of the workers as it grows',
  async () => {
    const command = 'docker compose logs --follow worker';
    used.add(command);
    const { printed } = await stack.attempt(command, {
      untilPrinted: /taking jobs/,
      timeoutMs: 60_000,
    });
    expect(printed).toContain('taking jobs');
  },
  LONG_MS,
);

it(
  'with the profile, Prometheus reaches producer and worker and has the rules',
  async () => {
    await documented('docker compose --profile monitoring up --detach');
    const api = `http://127.0.0.1:${stack.ports.prometheus}/api/v1`;
    let seen = '';
    await until(
      () => `two targets that are up, but Prometheus has ${seen}`,
      async () => {
        const answer = await fetch(`${api}/targets`).catch(() => undefined);
        seen = (await answer?.text()) ?? '';
        return seen.split('"health":"up"').length - 1 === 2;
      },
      120_000,
    );
    expect(await (await fetch(`${api}/rules`)).text()).toContain('TallyNoWorkers');
  },
  LONG_MS,
);

it(
  'keeps the data when it is taken down, and removes it when told to',
  async () => {
    const ids = async (): Promise<unknown> =>
      stack.database.query('SELECT id FROM execution ORDER BY id');
    const before = await ids();
    await documented('docker compose --profile monitoring down');
    expect(await stack.containers()).toEqual([]);
    await documented('docker compose up --build --detach');
    await allHealthy(1);
    // Its connections broke.
    expect(await until('an answer', () => ids().catch(() => undefined))).toEqual(before);
    await documented('docker compose --profile monitoring down --volumes');
    expect(await stack.left()).toBe('');
  },
  LONG_MS,
);

it('every documented command was run', () => {
  expect([...used].toSorted()).toEqual(documentedCommands());
});
