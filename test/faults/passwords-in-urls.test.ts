import { Redis } from 'ioredis';
import { afterAll, expect, it } from 'vitest';
import { createExecution } from '../support/executions.ts';
import { injectFault } from '../support/fault.ts';
import { healthAddress } from '../support/health.ts';
import { startProducer, startTally, startWorker } from '../support/processes.ts';
import { controlledPostgres, controlledRedis } from '../support/server-control.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const REDIS_PASSWORD = 'the-word-for-redis';
const servers = await Promise.all([controlledPostgres(), controlledRedis()]);
const [postgres, redis] = servers;
afterAll(() => Promise.all(servers.map((server) => server.remove())));
const unprotected = new Redis(redis.url);
await unprotected.config('SET', 'requirepass', REDIS_PASSWORD);
unprotected.disconnect();
const stores = await createStores({
  postgresUrl: postgres.url,
  redisUrl: Object.assign(new URL(redis.url), { password: REDIS_PASSWORD }).href,
});

it('no page, answer or log line of a process that loses both stores has a password of its URLs', async () => {
  injectFault(30, 'both stores stopped, every page and answer read');
  const { database, environment } = stores;
  const id = await createExecution(database);
  const request = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify([{ executionId: id, vendor: 'SCAN' }]),
  };
  const paths = {
    worker: ['/readyz', '/healthz', '/metrics'],
    producer: ['/readyz', '/healthz', '/metrics', '/v1/refreshes'],
    dashboard: [
      '/',
      '/executions',
      `/executions/${id}`,
      '/failures',
      '/stuck',
      '/readyz',
      '/metrics',
      '/board/',
      '/board/api/queues?activeQueue=refresh',
    ],
  };
  const processes = {
    worker: await startWorker(environment),
    producer: await startProducer(environment),
    dashboard: startTally(['dashboard'], environment),
  };
  const passwords = [new URL(environment.DATABASE_URL).password, REDIS_PASSWORD];
  const roles = ['worker', 'producer', 'dashboard'] as const;
  const addresses = await Promise.all(roles.map((role) => healthAddress(processes[role])));
  await Promise.all(servers.map((server) => server.stop()));

  for (const [nth, role] of roles.entries()) {
    const ask = (path: string): Promise<Response> =>
      fetch(`${addresses[nth]}${path}`, path.startsWith('/v1/') ? request : {});
    await until(`${role} not to be ready`, async () => (await ask('/readyz')).status === 503);
    for (const path of paths[role]) {
      const answer = await ask(path);
      const text = `${JSON.stringify([...answer.headers])}\n${await answer.text()}`;
      for (const password of passwords) expect(text, `${role} ${path}`).not.toContain(password);
    }
  }
  for (const role of roles) {
    expect(processes[role].lines.length, role).toBeGreaterThan(0);
    for (const password of passwords) {
      expect(processes[role].lines.join('\n'), role).not.toContain(password);
    }
  }
});
