import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { FILE_VARIABLES, loadConfig, SETTING_DEFAULTS } from '../../shared/process/config.ts';
import {
  checkTypes,
  CHART,
  environmentOf,
  podsOf,
  render,
  SECRETS,
  settingsOf,
} from './manifests.ts';
import { helm } from './programs.ts';

const read = (file: string): unknown => parse(readFileSync(file, 'utf8'));

// Everything that is off by default, one way or the other.
const MORE = {
  'keda by Prometheus': ['--set', 'keda.enabled=true,keda.trigger=prometheus'],
  'keda by Postgres': ['--set', 'keda.enabled=true,keda.trigger=postgresql'],
  'workers spread over zones': [
    '--set',
    'worker.topologySpreadConstraints[0].maxSkew=1,worker.topologySpreadConstraints[0].topologyKey=zone,worker.topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule',
  ],
  'a StatefulSet that is scaled': ['--set', 'worker.kind=StatefulSet,hpa.enabled=true'],
  'no dashboard, no migration': ['--set', 'dashboard.enabled=false,migrate.enabled=false'],
  'a digest and a place': [
    '--set',
    `image.digest=sha256:${'a'.repeat(64)},nodeSelector.disk=ssd,imagePullSecrets[0].name=pull`,
  ],
};
const EXAMPLES = 'deploy/helm/examples';
const examples = readdirSync(EXAMPLES);
const renderings: [string, string[]][] = [
  ['the defaults', ['--set', 'existingSecret=tally']],
  ...examples.map((name): [string, string[]] => [name, ['--values', `${EXAMPLES}/${name}`]]),
  ...Object.entries(MORE).map(([title, args]): [string, string[]] => [
    title,
    ['--set', 'existingSecret=tally', ...args],
  ]),
];

const ROLES_OWN = /^(?:HTTP_HOST|NODE_EXTRA_CA_CERTS|HARBOR_DATABASE_\w+)$/;

describe.each(renderings)('the chart with %s', (_title, args) => {
  it('passes the linter and has only fields that Kubernetes knows', async () => {
    await helm('lint', '--strict', CHART, ...args);
    await checkTypes(await render(...args));
  });

  it('gives every process settings that it accepts, and none that is misspelt', async () => {
    const manifests = await render(...args);
    const settings = settingsOf(manifests);
    const known = [...SETTING_DEFAULTS.map(([name]) => name), ...FILE_VARIABLES];
    for (const { pod } of podsOf(manifests)) {
      const environment = environmentOf(pod, settings, SECRETS);
      const strange = Object.keys(environment).filter((name) => !known.includes(name));
      expect(strange.filter((name) => !ROLES_OWN.test(name))).toEqual([]);
      const config = loadConfig(['DATABASE_URL'], environment);
      const grace = pod.spec.terminationGracePeriodSeconds;
      if (grace !== undefined) expect(grace * 1000).toBeGreaterThan(config.SHUTDOWN_GRACE_MS);
      const [container] = pod.spec.containers;
      const port = { producer: 3001, worker: 3002, dashboard: 3000 }[container?.args[0] ?? ''];
      const names = ['PRODUCER_PORT', 'WORKER_PORT', 'DASHBOARD_PORT'] as const;
      const own = names.find((name) => name.toLowerCase() === `${container?.args[0]}_port`);
      if (own !== undefined) expect(config[own]).toBe(port);
      expect(container?.ports.map(({ containerPort }) => containerPort)).toEqual(
        port === undefined ? [] : [port],
      );
    }
  });

  it('locks every pod down', async () => {
    for (const { pod } of podsOf(await render(...args))) {
      expect(pod.spec).toMatchObject({
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: {
          runAsNonRoot: true,
          runAsUser: 10000,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        containers: [
          {
            securityContext: {
              allowPrivilegeEscalation: false,
              readOnlyRootFilesystem: true,
              capabilities: { drop: ['ALL'] },
            },
          },
        ],
      });
    }
  });

  it('selects with every selector the pods of exactly one role', async () => {
    const manifests = await render(...args);
    const pods = podsOf(manifests).map(({ pod }) => pod.metadata.labels);
    const selecting = manifests.filter(({ kind }) =>
      /^(?:Service|PodDisruptionBudget|NetworkPolicy|PodMonitor|Deployment|StatefulSet)$/.test(
        kind,
      ),
    );
    for (const { kind, spec } of selecting) {
      const given = (spec?.['selector'] ?? spec?.['podSelector']) as Record<string, unknown>;
      const wanted = (kind === 'Service' ? given : given['matchLabels']) as Record<string, string>;
      const matching = pods.filter((labels) =>
        Object.entries(wanted).every(([name, value]) => labels[name] === value),
      );
      expect(matching).toHaveLength(1);
    }
  });

  it('scales workloads that exist, and leaves their number to the scaler', async () => {
    const manifests = await render(...args);
    for (const scaler of manifests.filter(({ spec }) => spec?.['scaleTargetRef'] !== undefined)) {
      const target = scaler.spec?.['scaleTargetRef'] as { kind: string; name: string };
      const found = manifests.find(
        ({ kind, metadata }) => kind === target.kind && metadata.name === target.name,
      );
      expect(found?.spec).not.toHaveProperty('replicas');
    }
  });
});

describe('the chart', () => {
  it('accepts exactly the settings of the product, without secrets, addresses and ports', () => {
    const schema = JSON.parse(readFileSync(`${CHART}/values.schema.json`, 'utf8')) as {
      properties: { settings: { properties: Record<string, unknown> } };
    };
    const elsewhere = /_URL$|^API_TOKEN$|_PASSWORD$|_PORT$|^HTTP_HOST$/;
    const names = SETTING_DEFAULTS.map(([name]) => name).filter((name) => !elsewhere.test(name));
    expect(Object.keys(schema.properties.settings.properties)).toEqual(names);
  });

  it('takes every setting as the product reads it, large numbers and variables of OpenTelemetry too', async () => {
    const given = SETTING_DEFAULTS.flatMap(([name, value]) =>
      ['QUEUE_HIGH_WATER', 'FAILED_KEEP_COUNT', 'LOG_LEVEL'].includes(name) && value !== undefined
        ? ['--set', `settings.${name}=${/^\d+$/.test(value) ? `${value}00` : value}`]
        : [],
    );
    given.push('--set-string', 'settings.OTEL_TRACES_SAMPLER_ARG=0.01');
    const manifests = await render('--set', 'existingSecret=tally', ...given);
    expect(settingsOf(manifests)).toEqual({
      QUEUE_HIGH_WATER: '5000000',
      FAILED_KEEP_COUNT: '5000000',
      LOG_LEVEL: 'info',
      OTEL_TRACES_SAMPLER_ARG: '0.01',
    });
  });

  it.each([
    ['settings.WORKER_CONCURENCY=5', 'WORKER_CONCURENCY'],
    ['settings.DATABASE_URL=postgres://db', 'DATABASE_URL'],
    ['worker.kind=DaemonSet', 'worker/kind'],
    ['replicas=5', 'replicas'],
    ['hpa.enabled=true,keda.enabled=true', 'choose one'],
    [
      'hpa.enabled=true,hpa.minReplicas=11',
      'hpa.minReplicas is 11, which is above hpa.maxReplicas (10)',
    ],
    [
      'keda.enabled=true,keda.maxReplicas=1,keda.minReplicas=2',
      'keda.minReplicas is 2, which is above',
    ],
    ['worker.topologySpreadConstraints[0].topologyKey=zone', 'maxSkew'],
    ['worker.topologySpreadConstraints[0].maxSkew=0', 'maxSkew'],
  ])('refuses %s and says what is wrong', async (values, said) => {
    await expect(render('--set', `existingSecret=tally,${values}`)).rejects.toThrow(said);
  });

  it.each(['hpa', 'keda'])('takes as many workers at least as at most for %s', async (scaler) => {
    const values = ['enabled=true', 'minReplicas=4', 'maxReplicas=4'];
    const set = values.map((value) => `${scaler}.${value}`).join();
    await render('--set', `existingSecret=tally,${set}`);
    // As it is off, it can't contradict itself.
    await render('--set', `existingSecret=tally,${scaler}.minReplicas=11`);
  });

  it('spreads the pods of each role over the nodes, unless told otherwise for that role', async () => {
    const spread = async (...args: string[]) => {
      const pods = podsOf(await render('--set', 'existingSecret=tally', ...args));
      return Object.fromEntries(
        pods.map(({ pod }) => [
          pod.metadata.labels['app.kubernetes.io/component'],
          pod.spec['topologySpreadConstraints'],
        ]),
      );
    };
    const overNodes = (role: string) => ({
      maxSkew: 1,
      topologyKey: 'kubernetes.io/hostname',
      whenUnsatisfiable: 'ScheduleAnyway',
      labelSelector: {
        matchLabels: {
          'app.kubernetes.io/name': 'tally',
          'app.kubernetes.io/instance': 'tally',
          'app.kubernetes.io/component': role,
        },
      },
    });
    const others = { producer: [overNodes('producer')], dashboard: [overNodes('dashboard')] };
    expect(await spread()).toEqual({ ...others, worker: [overNodes('worker')] });
    const zones = {
      maxSkew: 2,
      topologyKey: 'topology.kubernetes.io/zone',
      whenUnsatisfiable: 'DoNotSchedule',
    };
    const labelSelector = { matchLabels: { own: 'label' } };
    const constraints = [zones, { ...zones, labelSelector }];
    const given = `worker.topologySpreadConstraints=${JSON.stringify(constraints)}`;
    expect(await spread('--set-json', given)).toEqual({
      ...others,
      worker: [
        { ...zones, labelSelector: overNodes('worker').labelSelector },
        { ...zones, labelSelector },
      ],
    });
    expect(await spread('--set-json', 'worker.topologySpreadConstraints=[]')).toEqual(others);
  });

  it('says that it needs a secret', async () => {
    await expect(render()).rejects.toThrow('existingSecret: name the Secret');
  });

  it('ships the rules of deploy/alerts.yml, and puts the address of the documents before the path', async () => {
    expect(readFileSync(`${CHART}/files/alerts.yml`, 'utf8')).toBe(
      readFileSync('deploy/alerts.yml', 'utf8'),
    );
    const url = 'https://tally.example/';
    const rule = (prefix: string) =>
      render(
        '--set',
        `existingSecret=tally,prometheusRule.enabled=true,prometheusRule.runbookPrefix=${prefix}`,
      ).then((all) => all.find(({ kind }) => kind === 'PrometheusRule')?.spec);
    expect(await rule('')).toEqual(read('deploy/alerts.yml'));
    expect(JSON.stringify(await rule(url))).toContain(
      `"runbook_url":"${url}docs/operations.md#tallynoworkers"`,
    );
  });

  it('ships the dashboard of deploy/grafana/, off unless asked for, labelled for the sidecar of Grafana', async () => {
    const made = async (...values: string[]) =>
      (await render('--set', ['existingSecret=tally', ...values].join())).find(
        ({ metadata }) => metadata.name === 'tally-grafana',
      );
    expect(await made()).toBeUndefined();
    const enabled = 'grafanaDashboard.enabled=true';
    const configMap = await made(enabled);
    expect(configMap).toMatchObject({
      kind: 'ConfigMap',
      metadata: { labels: { grafana_dashboard: '1' } },
      data: { 'tally.json': readFileSync('deploy/grafana/tally.json', 'utf8') },
    });
    expect(configMap?.metadata).not.toHaveProperty('annotations');
    const inFolder = await made(
      enabled,
      'grafanaDashboard.annotations.grafana_folder=Jobs',
      'grafanaDashboard.labels.team=a',
    );
    expect(inFolder?.metadata).toMatchObject({
      labels: { grafana_dashboard: '1', team: 'a' },
      annotations: { grafana_folder: 'Jobs' },
    });
  });

  const documented = ['docs/deploy.md', ...examples.map((name) => `${EXAMPLES}/${name}`)].flatMap(
    (file) =>
      readFileSync(file, 'utf8')
        .replaceAll('\\\n', ' ')
        .split('\n')
        .flatMap((line) => /^[# ]*helm ((?:install|upgrade) .+)/.exec(line)?.[1] ?? []),
  );

  it.each(documented)('installs as documented: helm %s', async (command) => {
    const args = command
      .replaceAll(/["']/g, '')
      .replace('$REGISTRY', 'registry.example')
      .split(/\s+/);
    if (args[0] === 'install') await helm(...args, '--dry-run=client');
    const help = await helm(args[0] ?? '', '--help');
    const options = args.filter((argument) => argument.startsWith('--'));
    expect(options.filter((option) => !help.includes(` ${option} `))).toEqual([]);
  });

  it('has the version of the product', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(read(`${CHART}/Chart.yaml`)).toMatchObject({ version, appVersion: version });
  });
});
