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

const ports: Readonly<Record<string, number>> = {
  producer: await freePort(undefined),
  worker: await freePort(undefined),
};
const values: Readonly<Record<string, string>> = {
  DATABASE_URL: postgres.url,
  REDIS_URL: redis.url,
  // On the network of this machine, where others have ports, too, and strangers no business.
  HTTP_HOST: '127.0.0.1',
  PRODUCER_PORT: `${ports['producer']}`,
  WORKER_PORT: `${ports['worker']}`,
};

interface Container {
  readonly env: readonly { readonly name: string }[];
  readonly [name: string]: unknown;
}
interface PodSpec {
  readonly containers: readonly Container[];
  readonly [name: string]: unknown;
}

/**
 * The pod of the chart, as Podman can run it: the values of the Secret stand in it, because where Podman keeps them
 * differs by version; probes use the image's health check, because Podman would run a curl in the container; and on the
 * network of this machine it publishes no ports.
 */
function adapt(spec: PodSpec): PodSpec {
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

/** Podman's name for it, which differs by version. */
const containerOf = (role: string): Promise<string> =>
  podman.run('ps', '--filter', `name=-${role}$`, '--format', '{{.Names}}');

const templateOf = ({ spec }: Manifest): { readonly spec: PodSpec } & Record<string, unknown> =>
  spec?.template as { readonly spec: PodSpec };

it(
  'refreshes 1,000 executions from the pods that the chart renders',
  async () => {
    const archive = join(folder, 'image.tar');
    await runProgram(['docker', 'save', '--output', archive, IMAGE], { env: environment });
    await podman.run('load', '--quiet', '--input', archive);
    // Of the tag `latest` Podman looks for a newer one.
    await podman.run('tag', `${IMAGE}:latest`, `docker.io/library/${IMAGE}:built`);
    const image = `image.repository=docker.io/library/${IMAGE},image.tag=built`;
    const manifests = await render('--set', `existingSecret=tally,${image}`);
    const find = (kind: string, name: string): Manifest => {
      const found = manifests.find((one) => one.kind === kind && one.metadata.name === name);
      if (found === undefined) throw new Error(`the chart renders no ${kind} ${name}`);
      return found;
    };

    // Podman knows no Jobs.
    const { spec } = templateOf(find('Job', 'tally-migrate'));
    const migration = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'migrate' } };
    await podman.play('migrate', [{ ...migration, spec: adapt(spec) }]);
    expect(await podman.run('wait', 'migrate-migrate')).toBe('0');

    const ids = await createExecutions(database, 1_000, ['Success', 'Stopped']);
    const settings = find('ConfigMap', 'tally-settings');
    for (const role of ['producer', 'worker']) {
      const deployment = find('Deployment', `tally-${role}`);
      const template = templateOf(deployment);
      const replaced = { ...template, spec: adapt(template.spec) };
      await podman.play(role, [
        settings,
        { ...deployment, spec: { ...deployment.spec, replicas: 1, template: replaced } },
      ]);
    }
    for (const role of ['producer', 'worker']) {
      await until(`the ${role} to be ready`, async () => {
        const answer = await fetch(`http://127.0.0.1:${ports[role]}/readyz`).catch(() => undefined);
        return answer?.ok;
      });
    }
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

it('runs them as the chart says: not as root, on a read-only root file system, healthy', async () => {
  for (const role of ['producer', 'worker']) {
    const name = await containerOf(role);
    const command = 'id -u; touch /app/x 2>&1 || true';
    const said = await podman.run('exec', name, 'sh', '-c', command);
    expect(said).toMatch(/^10000\n.*Read-only file system/);
    await podman.run('healthcheck', 'run', name);
  }
});

it(
  'stops them within their grace period, by themselves',
  async () => {
    for (const role of ['producer', 'worker']) {
      const name = await containerOf(role);
      await podman.run('pod', 'stop', name.slice(0, -`-${role}`.length));
      const state = '{{.State.Status}} {{.State.ExitCode}}';
      expect(await podman.run('inspect', '--format', state, name)).toBe('exited 0');
    }
  },
  LONG_MS,
);
