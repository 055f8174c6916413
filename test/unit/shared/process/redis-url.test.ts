import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../../shared/process/config.ts';
import { parseRedisUrl, type RedisAddress } from '../../../../shared/process/redis-url.ts';

const plain: RedisAddress = {
  kind: 'server',
  hosts: [{ host: 'cache', port: 6379 }],
  path: '',
  master: '',
  username: '',
  password: '',
  sentinelUsername: '',
  sentinelPassword: '',
  db: 0,
  tls: undefined,
};
const noFiles = { ca: undefined, certificate: undefined, key: undefined };

describe('the URL of a Redis', () => {
  it.each<[url: string, address: Partial<RedisAddress>]>([
    ['redis://cache', {}],
    ['REDIS://cache', {}],
    ['redis://cache:6380/', { hosts: [{ host: 'cache', port: 6380 }] }],
    ['redis://cache:6379/2?idle_timeout_seconds=30', { db: 2 }],
    ['redis://cache:6379/2?db=3&pool_size=5', { db: 3 }],
    ['rediss://:p%40ss%3Aword@cache:6379/1', { password: 'p@ss:word', db: 1, tls: noFiles }],
    ['redis://harbor:pa:ss@cache', { username: 'harbor', password: 'pa:ss' }],
    ['redis://harbor:@cache', { username: 'harbor' }],
    ['redis://:p@ss@cache', { password: 'p@ss' }],
    ['redis://:%23%3F%25%2F@cache', { password: '#?%/' }],
    ['redis://cache?password=p%23ss', { password: 'p#ss' }],
    ['redis://[::1]:7000/0', { hosts: [{ host: '::1', port: 7000 }] }],
    ['redis://[fe80::1%eth0]', { hosts: [{ host: 'fe80::1%eth0', port: 6379 }] }],
    [
      'rediss://cache?ssl_ca_certs=/ca.pem&ssl_certfile=/me.crt&ssl_keyfile=/me.key',
      { tls: { ca: '/ca.pem', certificate: '/me.crt', key: '/me.key' } },
    ],
    [
      'redis+cluster://user:secret1@cache,b:7001',
      {
        kind: 'cluster',
        hosts: [
          { host: 'cache', port: 6379 },
          { host: 'b', port: 7001 },
        ],
        username: 'user',
        password: 'secret1',
      },
    ],
    ['rediss+cluster://cache/0', { kind: 'cluster', tls: noFiles }],
    [
      'redis+unix:///run/a%20b.sock?db=4',
      { kind: 'socket', hosts: [], path: '/run/a b.sock', db: 4 },
    ],
    [
      'unix://user:secret1@/run/redis.sock',
      {
        kind: 'socket',
        hosts: [],
        path: '/run/redis.sock',
        username: 'user',
        password: 'secret1',
      },
    ],
  ])('%s', (url, address) => {
    expect(parseRedisUrl(url)).toEqual({ ...plain, ...address });
  });

  it('with sentinels: hosts, master, number, and a user and password for the master alone', () => {
    const url =
      'redis+sentinel://user:secret1@host1:26379,host2:26380,[fe80::1]/mymaster/1?idle_timeout_seconds=30';
    expect(parseRedisUrl(url)).toEqual({
      ...plain,
      kind: 'sentinel',
      hosts: [
        { host: 'host1', port: 26379 },
        { host: 'host2', port: 26380 },
        { host: 'fe80::1', port: 26379 },
      ],
      master: 'mymaster',
      username: 'user',
      password: 'secret1',
      db: 1,
    });
  });

  it('with sentinels and no number it is number 0, as Harbor leaves it out then', () => {
    expect(parseRedisUrl('redis+sentinel://:secret1@host1:26379/mymaster')).toMatchObject({
      master: 'mymaster',
      db: 0,
    });
    expect(parseRedisUrl('rediss+sentinel://host1/mymaster')).toMatchObject({ tls: noFiles });
  });

  it('sentinels that ask for a password themselves get the one that is named for them', () => {
    const url = 'redis+sentinel://:a@host1/m?sentinel_username=watch&sentinel_password=s%23cret';
    expect(parseRedisUrl(url)).toMatchObject({
      password: 'a',
      sentinelUsername: 'watch',
      sentinelPassword: 's#cret',
    });
  });

  it.each([
    ['http://redis:6379', 'must be a URL that starts with'],
    ['redis', 'must be a URL that starts with'],
    ['redis://', 'must name a host'],
    ['redis://:secret1@', 'must name a host'],
    ['redis://redis:port', 'must name a host and a port'],
    ['redis://redis:70000', 'must name a host and a port'],
    ['redis://redis/one', 'number of a database'],
    ['redis://redis/1/2', 'number of a database'],
    ['redis://a:1,b:2/0', 'several hosts'],
    ['redis://secret1@redis', 'a password alone is written redis://:password@host'],
    ['redis://::1:6379', 'write it as redis://[::1]:6379'],
    ['redis://:sec#ret1@redis', 'write it as %23, %3F, %2F or %40'],
    ['redis://:sec?ret1@redis', 'write it as %23, %3F, %2F or %40'],
    ['redis://:sec/ret1@redis', 'write it as %23, %3F, %2F or %40'],
    ['redis+sentinel://a:1,b:2', 'names no master'],
    ['redis+sentinel://a:1,b:2/mymaster/one', 'number of a database'],
    ['redis+sentinel://a:1,/mymaster/1', 'must name a host'],
    ['redis+cluster://a:1,b:2/1', 'a cluster has number 0 only'],
    ['redis+unix://run/redis.sock', 'with three slashes'],
    ['redis+unix://:secret1@', 'with three slashes'],
    ['redis://redis?ssl_ca_certs=/ca.pem', 'start it with rediss://'],
    ['redis://:100%secret1@redis', 'write a literal % as %25'],
  ])("%s is refused in both settings with what to write, and isn't repeated", (url, problem) => {
    for (const name of ['REDIS_URL', 'HARBOR_REDIS_URL']) {
      const load = () => loadConfig([], { [name]: url });
      expect(load).toThrow(problem);
      expect(load).toThrow(`for example ${name}=`);
      expect(load).not.toThrow(/secret1|sec.ret1/);
    }
  });

  it("Harbor isn't looked for on a Redis Cluster", () => {
    expect(() => loadConfig([], { HARBOR_REDIS_URL: 'redis+cluster://a' })).toThrow(
      'names a Redis Cluster, which Harbor does not support',
    );
  });
});

describe('the prefix of all keys', () => {
  it.each([
    ['redis+cluster://a', undefined, '{tally}'],
    ['rediss+cluster://a', 'production', '{production}'],
    ['redis+cluster://a', '{tally}-2', '{tally}-2'],
    ['redis+cluster://a', 'tally{2}', 'tally{2}'],
    ['redis+cluster://a', '{}', '{{}}'],
    ['redis://a', undefined, 'tally'],
    ['redis+sentinel://a/m', 'production', 'production'],
    [undefined, undefined, 'tally'],
  ])('with %s and QUEUE_PREFIX %s it is %s', (REDIS_URL, QUEUE_PREFIX, prefix) => {
    expect(loadConfig([], { REDIS_URL, QUEUE_PREFIX }).QUEUE_PREFIX).toBe(prefix);
  });
});
