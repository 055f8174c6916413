import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { isOnPath } from '../../deploy/setup-programs.mjs';
import { until } from '../support/wait.ts';
import { unmountBelow } from './mounts.ts';
import { runProgram, tryProgram, type Environment } from './shell.ts';

/** A Docker engine, and the folder of what these tests write. */
export interface Engine {
  /** In which `docker` and `docker compose` reach it. */
  readonly environment: Environment;
  readonly folder: string;
  /** Stops it, if it was started here, and removes the folder. */
  close(): Promise<void>;
}

// Where a user's PATH lacks them: iptables, which the engine calls.
const MORE_PATHS = ['/usr/sbin', '/sbin'];

/**
 * The engine that answers, else one of its own, for root.
 * @throws Error with the reason, if there is none and none can be started
 */
export async function openEngine(say: (line: string) => void): Promise<Engine> {
  const folder = mkdtempSync(join(tmpdir(), 'tally-image-'));
  // Containers of another user mount files from it.
  chmodSync(folder, 0o755);
  const programs = join(folder, 'bin');
  const inherited = Object.entries(process.env).filter(
    ([name, value]) =>
      value !== undefined && !/^npm_|^COMPOSE_|_(?:URL|PASSWORD|TOKEN)$/.test(name),
  );
  const environment = {
    ...(Object.fromEntries(inherited) as Environment),
    PATH: [programs, process.env['PATH'] ?? '', ...MORE_PATHS].join(delimiter),
  };
  let stop = (): Promise<void> => Promise.resolve();
  try {
    const others = (process.env['PATH'] ?? '').split(delimiter);
    const clients = others.map((path) => join(path, 'docker')).filter(existsSync);
    if (clients.length === 0) throw new Error('There is no docker on PATH: install Docker.');
    let own: Environment = environment;
    let client = await firstThatAnswers(clients, own);
    if (client === undefined) {
      const reason = await whyNot(clients[0] ?? 'docker', own);
      own = { ...environment, DOCKER_HOST: `unix://${join(folder, 'docker.sock')}` };
      say(`no Docker engine answers (${reason}); starting one in ${folder}`);
      const stopDaemon = await startDaemon(folder, own, reason);
      stop = async () => {
        const running = await firstThatAnswers(clients, own);
        if (running !== undefined) await removeAll(running, own);
        await stopDaemon();
      };
      client = await until('a docker client that the engine understands', () =>
        firstThatAnswers(clients, own),
      );
    }
    const tools = await chooseTools(client, own);
    writeDocker(programs, client, tools.compose);
    say(`${await engineName(client, own)}, ${tools.compose.join(' ')}`);
    return {
      environment: { ...own, ...tools.environment },
      folder,
      close: async () => {
        await stop();
        rmSync(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await stop();
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

const VERSION = ['version', '--format', '{{.Server.Version}}'];

/** Not the first on PATH: an old engine refuses a newer client, and the other way round. */
async function firstThatAnswers(
  clients: readonly string[],
  env: Environment,
): Promise<string | undefined> {
  for (const client of clients) {
    const { code } = await tryProgram([client, ...VERSION], { env, timeoutMs: 30_000 });
    if (code === 0) return client;
  }
  return undefined;
}

async function whyNot(client: string, env: Environment): Promise<string> {
  const { printed } = await tryProgram([client, ...VERSION], { env, timeoutMs: 30_000 });
  return printed.trim().split('\n').at(-1) ?? '';
}

/** Starts an engine whose data lies in the folder. @returns stops it */
async function startDaemon(
  folder: string,
  env: Environment,
  reason: string,
): Promise<() => Promise<void>> {
  const none = 'These tests need a Docker engine. None answers';
  if (process.getuid?.() !== 0) {
    throw new Error(`${none} (${reason}), and only root can start one: start Docker first.`);
  }
  if (!isOnPath(['dockerd'])) {
    throw new Error(`${none} (${reason}), and there is no dockerd on PATH: install Docker.`);
  }
  const daemon = spawn(
    'dockerd',
    [
      `--host=${env['DOCKER_HOST']}`,
      `--data-root=${join(folder, 'data')}`,
      `--exec-root=${join(folder, 'run')}`,
      `--pidfile=${join(folder, 'docker.pid')}`,
      // In a sandbox that doesn't let root raise its own limits, no container would start.
      '--default-ulimit=nofile=4096:4096',
      // Compose makes networks of its own, and nobody else is to find a bridge left over.
      '--bridge=none',
    ],
    { env: { ...env }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  daemon.stderr.setEncoding('utf8').on('data', (text: string) => {
    log = `${log}${text}`.slice(-4_000);
  });
  const ended = new Promise<void>((resolve) => {
    daemon.once('error', () => resolve());
    daemon.once('exit', () => resolve());
  });
  const stop = async (): Promise<void> => {
    daemon.kill('SIGTERM');
    await ended;
    await unmountBelow(folder, env);
  };
  try {
    await until(
      () => `dockerd to listen; it said\n${log}`,
      () => {
        if (daemon.exitCode !== null) throw new Error(`dockerd ended at once:\n${log}`);
        return log.includes('API listen on');
      },
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}

/** Removes what a failed test has left: the bridge of a network would outlive its engine. */
async function removeAll(client: string, env: Environment): Promise<void> {
  const ids = await runProgram([client, 'ps', '--all', '--quiet'], { env });
  if (ids !== '') await runProgram([client, 'rm', '--force', ...ids.split('\n')], { env });
  await runProgram([client, 'network', 'prune', '--force'], { env });
}

/** Compose as a plugin, else as a program; BuildKit, if it is there. */
async function chooseTools(
  client: string,
  env: Environment,
): Promise<{ readonly compose: string[]; readonly environment: Environment }> {
  const has = async (...plugin: string[]): Promise<boolean> =>
    (await tryProgram([client, ...plugin, 'version'], { env })).code === 0;
  const buildKit = (await has('buildx')) ? '1' : '0';
  const environment = { DOCKER_BUILDKIT: buildKit, COMPOSE_DOCKER_CLI_BUILD: buildKit };
  if (await has('compose')) return { compose: [client, 'compose'], environment };
  if (isOnPath(['docker-compose'])) return { compose: ['docker-compose'], environment };
  throw new Error('There is no Docker Compose, neither as plugin nor as docker-compose.');
}

/** A `docker` that knows `compose` in either form, so that documented commands run as they stand. */
function writeDocker(folder: string, client: string, compose: readonly string[]): void {
  mkdirSync(folder);
  const file = join(folder, 'docker');
  const alone =
    compose.length === 1
      ? // The program wants to be told that there is no terminal; the plugin sees it.
        `  case "$1" in exec|run) c=$1; shift; set -- "$c" -T "$@" ;; esac\n`
      : '';
  writeFileSync(
    file,
    `#!/bin/sh\nif [ "$1" = compose ]; then\n  shift\n${alone}  exec ${compose.join(' ')} "$@"\nfi\nexec ${client} "$@"\n`,
  );
  chmodSync(file, 0o755);
}

async function engineName(client: string, env: Environment): Promise<string> {
  return `Docker ${await runProgram([client, ...VERSION], { env })}`;
}
