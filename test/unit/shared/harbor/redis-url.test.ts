import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../../../shared/process/config.ts';
import { parseHarborRedisUrl } from '../../../../shared/harbor/redis-url.ts';

const plain = { master: undefined, username: '', password: '', db: 0, tls: false };

describe("the URL of Harbor's Redis", () => {
  test.each([
    ['redis://redis', { ...plain, hosts: [{ host: 'redis', port: 6379 }] }],
    ['redis://redis:6380/', { ...plain, hosts: [{ host: 'redis', port: 6380 }] }],
    [
      'redis://redis:6379/2?idle_timeout_seconds=30',
      { ...plain, hosts: [{ host: 'redis', port: 6379 }], db: 2 },
    ],
    [
      'redis://redis:6379/2?db=3&pool_size=5',
      { ...plain, hosts: [{ host: 'redis', port: 6379 }], db: 3 },
    ],
    [
      'rediss://:p%40ss%3Aword@cache:6379/1',
      { ...plain, hosts: [{ host: 'cache', port: 6379 }], password: 'p@ss:word', db: 1, tls: true },
    ],
    [
      'redis://harbor:pa:ss@cache',
      {
        ...plain,
        hosts: [{ host: 'cache', port: 6379 }],
        username: 'harbor',
        password: 'pa:ss',
      },
    ],
    ['redis://:p@ss@cache', { ...plain, hosts: [{ host: 'cache', port: 6379 }], password: 'p@ss' }],
    ['redis://[::1]:7000/0', { ...plain, hosts: [{ host: '::1', port: 7000 }] }],
  ])('%s', (url, address) => {
    expect(parseHarborRedisUrl(url)).toEqual(address);
  });

  test('with sentinels: hosts, master, number, and one password for both', () => {
    const url =
      'redis+sentinel://user:secret1@host1:26379,host2:26380,[fe80::1]/mymaster/1?idle_timeout_seconds=30';
    expect(parseHarborRedisUrl(url)).toEqual({
      hosts: [
        { host: 'host1', port: 26379 },
        { host: 'host2', port: 26380 },
        { host: 'fe80::1', port: 26379 },
      ],
      master: 'mymaster',
      username: 'user',
      password: 'secret1',
      db: 1,
      tls: false,
    });
  });

  test('with sentinels and no number it is number 0, as Harbor leaves it out then', () => {
    expect(parseHarborRedisUrl('redis+sentinel://:secret1@host1:26379/mymaster')).toMatchObject({
      master: 'mymaster',
      db: 0,
    });
    expect(parseHarborRedisUrl('rediss+sentinel://host1/mymaster')).toMatchObject({ tls: true });
  });

  test.each([
    ['http://redis:6379', 'must be a URL that starts with'],
    ['redis', 'must be a URL that starts with'],
    ['redis://', 'must name a host'],
    ['redis://:secret1@', 'must name a host'],
    ['redis://redis:port', 'must name a host and a port'],
    ['redis://redis:70000', 'must name a host and a port'],
    ['redis://redis/one', 'number of a database'],
    ['redis://redis/1/2', 'number of a database'],
    ['redis://a:1,b:2/0', 'several hosts'],
    ['redis+sentinel://a:1,b:2', 'names no master'],
    ['redis+sentinel://a:1,b:2/mymaster/one', 'number of a database'],
    ['redis+sentinel://a:1,/mymaster/1', 'must name a host'],
    ['redis://:100%secret1@redis', 'write a % itself as %25'],
  ])('%s is refused, and the message does not repeat it', (url, problem) => {
    const load = () => loadConfig([], { HARBOR_REDIS_URL: url });
    expect(load).toThrow(problem);
    expect(load).toThrow('for example HARBOR_REDIS_URL=');
    expect(load).not.toThrow('secret1');
  });
});
