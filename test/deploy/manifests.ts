import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { newFolder } from '../support/new-folder.ts';
import { helm, runProgram } from './programs.ts';

export const CHART = 'deploy/helm/tally';

/** What the secrets and Harbor's ConfigMap hold. */
export const SECRETS = {
  DATABASE_URL: 'postgres://tally:a1b2c3@db/registry',
  REDIS_URL: 'redis://redis',
  HARBOR_REDIS_URL: 'redis://harbor-redis:6379/0?idle_timeout_seconds=30',
  API_TOKEN: 'f00dfeedf00d',
  DASHBOARD_PASSWORD: 'cafecafecafe',
  DASHBOARD_VIEWER_PASSWORD: 'beefbeefbeef',
  HARBOR_DATABASE_HOST: 'harbor-database',
  HARBOR_DATABASE_PORT: '5432',
  HARBOR_DATABASE_USERNAME: 'postgres',
  HARBOR_DATABASE_PASSWORD: 'p#ss?word@1',
  HARBOR_DATABASE_DATABASE: 'registry',
  HARBOR_DATABASE_SSLMODE: 'disable',
};

const labels = z.record(z.string(), z.string());
const variable = z.object({
  name: z.string(),
  value: z.string().optional(),
  valueFrom: z.unknown().optional(),
});
const container = z.looseObject({
  args: z.array(z.string()),
  env: z.array(variable),
  ports: z.array(z.object({ name: z.string(), containerPort: z.number() })).default([]),
  resources: z.looseObject({ requests: labels, limits: z.object({ memory: z.string() }) }),
});
const podTemplate = z.object({
  metadata: z.looseObject({ labels }),
  spec: z.looseObject({
    containers: z.array(container).length(1),
    terminationGracePeriodSeconds: z.number().optional(),
  }),
});

/** The pods of a Deployment, a StatefulSet or a Job. */
export type PodTemplate = z.infer<typeof podTemplate>;

const manifest = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), labels: labels.default({}) }),
  data: labels.optional(),
  spec: z.looseObject({ template: z.unknown().optional() }).optional(),
});

/** An object that the chart renders. */
export type Manifest = z.infer<typeof manifest>;

/**
 * Renders the chart.
 * @param args of `helm template`, for example `--values`
 * @throws Error with what Helm says
 */
export async function render(...args: string[]): Promise<Manifest[]> {
  return parseManifests(await helm('template', 'tally', CHART, '--namespace', 'jobs', ...args));
}

/** The objects in a text of YAML documents. @throws Error if one is no object of Kubernetes */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document) => {
    const value: unknown = document.toJS();
    return value === null ? [] : [manifest.parse(value)];
  });
}

/** The pods that these objects make, with the object that makes them. */
export function podsOf(
  manifests: readonly Manifest[],
): { readonly owner: Manifest; readonly pod: PodTemplate }[] {
  return manifests
    .filter(({ kind }) => ['Deployment', 'StatefulSet', 'Job'].includes(kind))
    .map((owner) => ({ owner, pod: podTemplate.parse(owner.spec?.template) }));
}

/** The settings that every process finds in its environment. */
export function settingsOf(manifests: readonly Manifest[]): Readonly<Record<string, string>> {
  const found = manifests.find(
    ({ kind, metadata }) => kind === 'ConfigMap' && metadata.name.startsWith('tally-settings'),
  );
  return found?.data ?? {};
}

/** What the pod's process finds in its environment, with the given values for what secrets hold. */
export function environmentOf(
  { spec }: PodTemplate,
  settings: Readonly<Record<string, string>>,
  secrets: Readonly<Record<string, string>>,
): Record<string, string> {
  const [only] = spec.containers;
  const environment = { ...settings };
  for (const { name, value } of only?.env ?? []) {
    const known = value?.replaceAll(/\$\((\w+)\)/g, (_, other: string) => environment[other] ?? '');
    environment[name] = known ?? secrets[name] ?? '';
  }
  return environment;
}

/**
 * Checks objects against the types of Kubernetes, KEDA and the Prometheus operator, which know every
 * field: one that is misspelt, missing or of another type is an error of the compiler.
 */
export async function checkTypes(manifests: readonly Manifest[]): Promise<void> {
  const folder = newFolder();
  symlinkSync(resolve('test/deploy/packages/node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  const lines = manifests.map((value, at) => {
    const type = `import('${packageOf(value.apiVersion)}').I${value.kind}`;
    return `export const object${at}: ${type} = ${JSON.stringify(value, null, 1)};\n`;
  });
  writeFileSync(join(folder, 'objects.ts'), lines.join('\n'));
  const compilerOptions = {
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    types: [],
    module: 'nodenext',
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions }));
  try {
    await runProgram(resolve('node_modules/.bin/tsc'), '--project', folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function packageOf(apiVersion: string): string {
  if (apiVersion.startsWith('keda.sh/')) return `@kubernetes-models/keda/${apiVersion}`;
  if (apiVersion.startsWith('monitoring.coreos.com/')) {
    return `@kubernetes-models/prometheus-operator/${apiVersion}`;
  }
  return `kubernetes-models/${apiVersion}`;
}
