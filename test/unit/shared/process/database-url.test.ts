import { describe, expect, it } from 'vitest';
import { describeHost, parseDatabaseUrl } from '../../../../shared/process/database-url.ts';

describe('parseDatabaseUrl', () => {
  it.each([
    ['postgres://tally:a#b?c@d@db:6000/registry', 'a#b?c@d'],
    ['postgres://tally:a%2Fb%25c@db:6000/registry', 'a/b%c'],
    ['postgres://tally:a:b@db:6000/registry?sslmode=require', 'a:b'],
    ['postgres://db:6000/registry?user=tally&password=a%26b', 'a&b'],
  ])('reads %s as libpq does', (url, password) => {
    expect(parseDatabaseUrl(url)).toMatchObject({
      hosts: [{ host: 'db', port: 6000 }],
      user: 'tally',
      password,
      database: 'registry',
      mustAcceptWrites: false,
    });
  });

  it.each([
    ['postgres://a,b:6000/x', ['a:5432', 'b:6000']],
    ['postgres://[::1],[fe80::2]:6000/x', ['[::1]:5432', '[fe80::2]:6000']],
    ['postgres:///x?host=a,b&port=6000', ['a:6000', 'b:6000']],
    ['postgres:///x?host=/var/run/postgresql', ['/var/run/postgresql/.s.PGSQL.5432']],
    ['postgres://%2Fvar%2Frun/x', ['/var/run/.s.PGSQL.5432']],
  ])('finds the servers of %s', (url, where) => {
    expect(parseDatabaseUrl(url).hosts.map(describeHost)).toEqual(where);
  });

  it.each([
    'postgres://a:6000,b:6001/x',
    'postgres://a/x?target_session_attrs=read-write',
    'postgres://a/x?target_session_attrs=primary',
  ])('%s leads to a server that accepts writes only', (url) => {
    expect(parseDatabaseUrl(url).mustAcceptWrites).toBe(true);
  });

  it.each([
    ['postgres://tally:secret/word@db/x', 'has a / in its user or password'],
    ['postgres://tally:secret%word@db/x', 'has a % that does not start a UTF-8 escape'],
    ['postgres://tally@/x', 'names a host'],
    ['postgres://db:70000/x', 'has something other than host:port'],
    ['postgres://db/x?secret-word=1', 'has an unknown parameter; those'],
    ['postgres://db/x?sslmode=always', 'has an sslmode that is none of'],
    ['postgres://db/x?target_session_attrs=standby', 'but Tally writes; use read-write'],
    ['postgres://a,b,c/x?port=1,2', 'has 3 hosts and 2 ports'],
    ['mysql://db/x', 'must be a URL that starts with postgres://'],
  ])('refuses %s with what is wrong, and no secret', (url, problem) => {
    let message = '';
    try {
      parseDatabaseUrl(url);
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain(problem);
    expect(message).not.toMatch(/secret/);
  });
});
