import { join } from 'node:path';
import { rmSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { freePort } from '../../cli/embedded/ports.ts';
import { newAuthority } from '../support/authority.ts';
import { createExecution, readExecution } from '../support/executions.ts';
import { healthAddress } from '../support/health.ts';
import { watchProcess } from '../support/process-watch.ts';
import { runTally, startProducer, startTally, startWorker } from '../support/processes.ts';
import { startRedisServer } from '../support/redis-servers.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';

const PASSWORD = 'p#a?s%s/w@rd:secret';
const ENCODED = encodeURIComponent(PASSWORD);

const own = newAuthority();
const foreign = newAuthority();
const tlsPort = await freePort(undefined);
const server = await startRedisServer((folder) => [
  `tls-port ${tlsPort}`,
  `tls-cert-file ${own.certificate}`,
  `tls-key-file ${own.key}`,
  `tls-ca-cert-file ${own.ca}`,
  'tls-auth-clients optional',
  `unixsocket ${join(folder, 'redis.sock')}`,
  `requirepass "${PASSWORD}"`,
  'maxmemory-policy noeviction',
]);
afterAll(async () => {
  await server.remove();
  for (const { folder } of [own, foreign]) rmSync(folder, { recursive: true, force: true });
});

const address = `rediss://:${ENCODED}@127.0.0.1:${tlsPort}/2`;
const socketUrl = `redis+unix://:${ENCODED}@${join(server.folder, 'redis.sock')}?db=2`;
const { database, environment } = await createStores({
  settings: { RECONCILE_INTERVAL_MS: '0' },
  redisUrl: socketUrl,
  capture: true,
});

describe('a worker does the jobs of a queue on such a Redis', () => {
  it.each([
    ['TLS with the authority in the URL', `${address}?ssl_ca_certs=${own.ca}`, {}],
    ['TLS with the authority in NODE_EXTRA_CA_CERTS', address, { NODE_EXTRA_CA_CERTS: own.ca }],
    ['a unix socket', socketUrl, {}],
    ['a unix socket as redis-py writes it', socketUrl.replace('redis+unix', 'unix'), {}],
  ])('%s, with a password of special characters', async (_what, url, more) => {
    const all = { ...environment, REDIS_URL: url, ...more };
    await startWorker(all);
    await startProducer(all);
    const id = await createExecution(database);
    await until(
      'the refresh',
      async () => (await readExecution(database, id)).status === 'Success',
    );
    const status = await runTally(['status'], all);
    expect(status.output).not.toContain("can't be asked");
  });
});

describe('a wrong TLS setting is named once, with what to do and without the password', () => {
  it.each([
    [
      'no authority',
      address,
      ['ssl_ca_certs=', 'NODE_EXTRA_CA_CERTS', 'not signed by an authority'],
    ],
    [
      'another authority',
      `${address}?ssl_ca_certs=${foreign.ca}`,
      ['ssl_ca_certs=', 'NODE_EXTRA_CA_CERTS'],
    ],
    [
      'TLS on a port without it',
      address.replace(String(tlsPort), String(server.port)),
      ['start the URL with redis:// instead of rediss://'],
    ],
    [
      'no TLS on a port that has it',
      address.replace('rediss', 'redis'),
      ['if this port uses TLS, start REDIS_URL with rediss://'],
    ],
  ])('%s', async (_what, url, parts) => {
    const all = { ...environment, REDIS_URL: url };
    const worker = startTally(['worker'], all);
    const watch = watchProcess(worker, await healthAddress(worker));
    const line = await worker.said('Redis is unavailable');
    for (const part of parts) expect(line).toContain(part);
    const seen = await watch.look(12);
    expect(seen).toMatchObject({ ready: 0, unanswered: 0 });
    expect(seen.cpuShare).toBeLessThan(0.2);
    const { output } = await runTally(['status'], all);
    expect(output).toContain("Redis can't be asked");
    expect(output).toContain(parts[0]);
    const everything = [...worker.lines, output].join('\n');
    for (const secret of [PASSWORD, ENCODED]) expect(everything).not.toContain(secret);
    expect(worker.lines.filter((said) => said.includes('Redis is unavailable'))).toHaveLength(1);
  });

  it('a missing CA file stops a process before it connects', async () => {
    const all = { ...environment, REDIS_URL: `${address}?ssl_ca_certs=/no/such/ca.pem` };
    const { code, output } = await runTally(['worker'], all);
    expect(code).toBe(2);
    expect(output).toContain("REDIS_URL names a file that can't be read: ENOENT");
    expect(output).toContain('; check the path and that this user may read it');
    expect(output).not.toContain(ENCODED);
  });
});
