import { join } from 'node:path';
import { afterAll, expect, inject, it } from 'vitest';
import { freePort } from '../../cli/embedded/ports.ts';
import { openDatabase } from '../../shared/postgres/database.ts';
import { countDisagreements } from '../../shared/postgres/disagreements.ts';
import { render, type Manifest } from '../deploy/manifests.ts';
import { createExecutions, untilOutboxIsEmpty } from '../support/executions.ts';
import { newPostgres, newRedis } from '../support/servers.ts';
import { silent } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { openPodman } from './podman.ts';
import { IMAGE } from './setup.ts';
import { runProgram } from './shell.ts';

const LONG_MS = 600_000;
const WORKERS = 5;
const { environment, project } = inject('image');
const folder = join(project, '..', 'podman');
const podman = openPodman(folder, environment);
const postgres = await newPostgres();
const redis = await newRedis();
const database = openDatabase(postgres.url, silent, { connections: 5, name: 'test' });
afterAll(async () => {
  await podman.close();
  await database.close();
  await Promise.all([postgres.stop(), redis.stop()]);
}, LONG_MS);

interface Container {
  readonly env: readonly { readonly name: string }[];
  readonly [name: string]: unknown;
}
interface PodSpec {
  readonly containers: readonly Container[];
  readonly [name: string]: unknown;
}

/** What runs of the chart, and where it answers. */
const pods: { readonly container: string; readonly port: number }[] = [];

/**
 * The pod of the chart with what differs on one machine:
 * - the values of the Secret stand in it, because where Podman keeps them differs by version;
 * - it listens on a port of its own and on 127.0.0.1 alone, and names no ports, because all pods share the network of
 *   the machine;
 * - probes are the image's health check, because Podman would call a curl in the container.
 */
function adapt(spec: PodSpec, port: number): PodSpec {
  const values: Readonly<Record<string, string>> = {
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    HTTP_HOST: '127.0.0.1',
    PRODUCER_PORT: `${port}`,
    WORKER_PORT: `${port}`,
  };
  return {
    ...spec,
    containers: spec.containers.map(({ ports: _ports, ...container }) => ({
      ...container,
      env: container.env
        .filter((variable) => 'value' in variable || variable.name in values)
        .map(({ name, ...rest }) =>
          name in values ? { name, value: values[name] } : { name, ...rest },
        ),
      ...Object.fromEntries(
        ['startupProbe', 'livenessProbe', 'readinessProbe'].flatMap((name) => {
          const probe = container[name] as
            { readonly httpGet: { readonly path: string } } | undefined;
          if (probe === undefined) return [];
          const { httpGet, ...times } = probe;
          return [[name, { ...times, exec: { command: ['node', 'health.mjs', httpGet.path] } }]];
        }),
      ),
    })),
  };
}

const templateOf = ({ spec }: Manifest): { readonly spec: PodSpec } & Record<string, unknown> =>
  spec?.template as { readonly spec: PodSpec };

it(
  'five worker pods that the chart renders, with ports and probes as Podman needs them, refresh 1,000 executions',
  async () => {
    const archive = join(folder, 'image.tar');
    await runProgram(['docker', 'save', '--output', archive, IMAGE], { env: environment });
    await podman.run('load', '--quiet', '--input', archive);
    // As a full name, which no registry is asked for.
    await podman.run('tag', IMAGE, `localhost/${IMAGE}`);
    const [name = '', tag = ''] = IMAGE.split(':');
    const image = `image.repository=localhost/${name},image.tag=${tag}`;
    const manifests = await render('--set', `existingSecret=tally,${image}`);
    const find = (kind: string, wanted: string): Manifest => {
      const found = manifests.find((one) => one.kind === kind && one.metadata.name === wanted);
      if (found === undefined) throw new Error(`the chart renders no ${kind} ${wanted}`);
      return found;
    };

    // Podman knows no Jobs.
    const { spec } = templateOf(find('Job', 'tally-migrate'));
    const migration = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'migrate' } };
    const migrate = await podman.play('migrate', [{ ...migration, spec: adapt(spec, 0) }]);
    expect(await podman.run('wait', migrate), await podman.run('logs', migrate)).toBe('0');

    const settings = find('ConfigMap', 'tally-settings');
    const roles = ['producer', ...Array.from({ length: WORKERS }, () => 'worker')];
    for (const [at, role] of roles.entries()) {
      const deployment = find('Deployment', `tally-${role}`);
      const template = templateOf(deployment);
      const port = await freePort(undefined);
      const own = `tally-${role}-${at}`;
      const container = await podman.play(own, [
        settings,
        {
          ...deployment,
          metadata: { ...deployment.metadata, name: own },
          spec: {
            ...deployment.spec,
            replicas: 1,
            template: { ...template, spec: adapt(template.spec, port) },
          },
        },
      ]);
      pods.push({ container, port });
    }
    for (const { port } of pods) {
      await until(
        `the process on port ${port} to be ready`,
        async () => (await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined))?.ok,
        120_000,
      );
    }
    const ids = await createExecutions(database, 1_000, ['Success', 'Stopped']);
    await untilOutboxIsEmpty(database, 120_000);
    expect(await countDisagreements(database, 'outOfDate')).toBe(0);
    const rows = await database.query(
      `SELECT status, count(*) AS count FROM execution WHERE id = ANY ($1) GROUP BY status`,
      [ids],
    );
    expect(rows).toEqual([{ status: 'Stopped', count: 1_000 }]);
  },
  LONG_MS,
);

it('they run as the chart says: not as root, on a read-only root file system, healthy', async () => {
  expect(pods).toHaveLength(1 + WORKERS);
  for (const { container } of pods) {
    const command = 'id -u; touch /app/x 2>&1 || true';
    const said = await podman.run('exec', container, 'sh', '-c', command);
    expect(said).toMatch(/^10000\n.*Read-only file system/);
    await podman.run('healthcheck', 'run', container);
  }
});

it(
  'they stop within their grace period, by themselves',
  async () => {
    expect(pods).toHaveLength(1 + WORKERS);
    for (const { container } of pods) {
      await podman.run('stop', container);
      const state = '{{.State.Status}} {{.State.ExitCode}}';
      expect(await podman.run('inspect', '--format', state, container)).toBe('exited 0');
    }
  },
  LONG_MS,
);
