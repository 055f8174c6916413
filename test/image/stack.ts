import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { z } from 'zod';
import { freePort } from '../../cli/embedded/ports.ts';
import { openDatabase, type Database } from '../../shared/postgres/database.ts';
import { silent } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import {
  runProgram,
  tryProgram,
  type Environment,
  type Outcome,
  type RunOptions,
} from './shell.ts';

const container = z.object({
  Id: z.string(),
  State: z.object({
    Status: z.string(),
    StartedAt: z.string(),
    ExitCode: z.number(),
    OOMKilled: z.boolean(),
    Health: z.object({ Status: z.string() }).optional(),
  }),
  Config: z.object({ Labels: z.record(z.string(), z.string()) }),
  HostConfig: z.object({ ReadonlyRootfs: z.boolean() }),
});

/** A container of the stack, as `docker inspect` has it. */
export type Container = z.infer<typeof container>;

/** The services of docker-compose.yml in a folder of their own, which is what a user has who cloned the project. */
export interface Stack {
  readonly ports: Readonly<Record<'producer' | 'dashboard' | 'prometheus' | 'grafana', number>>;
  /** Runs a command in the folder, in a shell. */
  run(command: string, options?: Partial<RunOptions>): Promise<string>;
  /** As `run` does, whichever way it ends. */
  attempt(command: string, options?: Partial<RunOptions>): Promise<Outcome>;
  /** Of the services named, or of all; those that have ended, too. */
  containers(...services: readonly string[]): Promise<Container[]>;
  /** Waits until so many containers of a service run and are healthy, or not, and none is anything else. */
  untilHealth(service: string, count: number, health?: 'healthy' | 'unhealthy'): Promise<void>;
  /** A secret of the file .env. */
  secret(name: string): string;
  /** Its Postgres, connected when it is first asked for: the password is written by a documented command. */
  readonly database: Database;
  /** What Docker has of this stack: containers, volumes, networks. */
  left(): Promise<string>;
}

export async function newStack(): Promise<Stack> {
  const { environment, project: folder } = inject('image');
  const name = `tally${randomBytes(4).toString('hex')}`;
  const env: Environment = { ...environment, COMPOSE_PROJECT_NAME: name };
  const port = async (): Promise<number> => freePort(undefined);
  const ports = {
    producer: await port(),
    dashboard: await port(),
    prometheus: await port(),
    grafana: await port(),
  };
  const postgres = await port();
  // Beside a stack that somebody already runs on this machine.
  for (const [service, number] of Object.entries(ports)) {
    appendFileSync(join(folder, '.env'), `${service.toUpperCase()}_PORT=${number}\n`);
  }
  // For the test itself, which looks into the database.
  writeFileSync(
    join(folder, 'docker-compose.override.yml'),
    `services:\n  postgres:\n    ports: ['127.0.0.1:${postgres}:5432']\n`,
  );
  const label = `label=com.docker.compose.project=${name}`;
  const docker = (...args: string[]): Promise<string> => runProgram(['docker', ...args], { env });
  const shell = (command: string): string[] => ['bash', '-euo', 'pipefail', '-c', command];
  const secret = (wanted: string): string =>
    new RegExp(`^${wanted}=(.+)$`, 'm').exec(readFileSync(join(folder, '.env'), 'utf8'))?.[1] ?? '';

  const containers = async (...services: readonly string[]): Promise<Container[]> => {
    const ids = (await docker('ps', '--all', '--quiet', '--filter', label)).split('\n');
    const known = ids.filter((id) => id !== '');
    if (known.length === 0) return [];
    // One may be removed meanwhile: then there is an error, but also the others.
    const { stdout } = await tryProgram(['docker', 'inspect', ...known], { env });
    const all = z.array(container).parse(JSON.parse(stdout));
    return all.filter(({ Config }) => {
      const { 'com.docker.compose.oneoff': once, 'com.docker.compose.service': service = '' } =
        Config.Labels;
      return once !== 'True' && (services.length === 0 || services.includes(service));
    });
  };

  let database: Database | undefined;

  return {
    ports,
    secret,
    containers,
    run: (command, options) => runProgram(shell(command), { env, cwd: folder, ...options }),
    attempt: (command, options) => tryProgram(shell(command), { env, cwd: folder, ...options }),
    async untilHealth(service, count, health = 'healthy') {
      let seen: string[] = [];
      await until(
        () => `${count} ${health} containers of ${service}, but there are: ${seen.join(', ')}`,
        async () => {
          seen = (await containers(service)).map(
            ({ State }) => `${State.Status}, ${State.Health?.Status ?? 'never checked'}`,
          );
          return seen.length === count && seen.every((state) => state === `running, ${health}`);
        },
        180_000,
      );
    },
    get database() {
      database ??= openDatabase(
        `postgres://tally:${secret('POSTGRES_PASSWORD')}@127.0.0.1:${postgres}/tally`,
        silent,
        { connections: 5, name: 'test' },
      );
      return database;
    },
    async left() {
      const kinds = [
        ['ps', '--all'],
        ['volume', 'ls'],
        ['network', 'ls'],
      ];
      const found = await Promise.all(
        kinds.map((kind) => docker(...kind, '--quiet', '--filter', label)),
      );
      return found.filter((text) => text !== '').join('\n');
    },
  };
}
