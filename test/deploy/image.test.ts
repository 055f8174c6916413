import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { addressOf } from '../../deploy/health.mjs';
import { podsOf, render } from './manifests.ts';

const dockerfile = readFileSync('Dockerfile', 'utf8');

describe('the image', () => {
  it('has the version, the licence and the description of the package', () => {
    const { version, license, description } = JSON.parse(
      readFileSync('package.json', 'utf8'),
    ) as Record<string, string>;
    expect(dockerfile).toContain(`ARG VERSION=${version}\n`);
    expect(dockerfile).toContain(`.licenses="${license}"`);
    expect(description).toContain('Keeps the stored status of every execution equal to');
    expect(dockerfile).toContain(
      '.description="Keeps the stored status of every execution equal to what its tasks say."',
    );
  });

  it('runs as the user of the chart, and its processes listen on the ports of the chart', async () => {
    for (const { pod } of podsOf(await render('--set', 'existingSecret=tally'))) {
      const { runAsUser, runAsGroup } = pod.spec['securityContext'] as Record<string, number>;
      expect(dockerfile).toContain(`\nUSER ${runAsUser}:${runAsGroup}\n`);
      for (const { containerPort } of pod.spec.containers[0]?.ports ?? []) {
        expect(dockerfile).toMatch(new RegExp(`^EXPOSE .*\\b${containerPort}\\b`, 'm'));
      }
    }
  });

  it('is built of exactly the files that reach the engine', () => {
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names]) =>
      (names ?? '').split(' '),
    );
    const sent = [...readFileSync('.dockerignore', 'utf8').matchAll(/^!(.+)$/gm)];
    expect([...new Set(copied)].toSorted()).toEqual(sent.map(([, name]) => name ?? '').toSorted());
  });

  it('pins its base to a version of Node in all stages, unless told otherwise', () => {
    const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, name]) => name);
    expect(bases[0]).toMatch(/^node:\d+\.\d+\.\d+-/);
    expect(new Set(bases.slice(1))).toEqual(new Set(['${NODE_IMAGE}']));
  });
});

describe('the health check of the image', () => {
  const node = 'node\0dist/cli/main.js\0';

  it.each([
    ['a worker', `${node}worker\0`, {}, 'http://127.0.0.1:3002'],
    ['a producer', `${node}producer\0`, {}, 'http://127.0.0.1:3001'],
    ['a dashboard', `${node}dashboard\0`, {}, 'http://127.0.0.1:3000'],
    ['one below an init', `/sbin/docker-init\0--\0${node}worker\0`, {}, 'http://127.0.0.1:3002'],
    ['one below a shell', 'sh\0-c\0sleep 1; tally worker\0', {}, 'http://127.0.0.1:3002'],
    ['another port', `${node}producer\0`, { PRODUCER_PORT: '81' }, 'http://127.0.0.1:81'],
    [
      'a variable of the platform',
      `${node}producer\0`,
      { PRODUCER_PORT: 'tcp://10.0.0.1:3001' },
      'http://127.0.0.1:3001',
    ],
    ['one address alone', `${node}producer\0`, { HTTP_HOST: '10.1.2.3' }, 'http://10.1.2.3:3001'],
    ['IPv6', `${node}producer\0`, { HTTP_HOST: '::' }, 'http://[::1]:3001'],
    ['any free port', `${node}worker\0`, { WORKER_PORT: '0' }, undefined],
    ['no port at all', `${node}worker\0`, { WORKER_PORT: '' }, undefined],
    ['a command', `${node}migrate\0`, {}, undefined],
  ])('asks %s where it listens', (_title, commandLine, environment, address) => {
    expect(
      addressOf(commandLine, { HTTP_HOST: '0.0.0.0', WORKER_PORT: '3002', ...environment }),
    ).toBe(address);
  });
});
