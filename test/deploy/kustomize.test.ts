import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../shared/process/config.ts';
import { newFolder } from '../support/new-folder.ts';
import { BASE_FILE, byName, chartObjects, KUSTOMIZE, kustomizeBase } from './kustomize.ts';
import {
  checkTypes,
  environmentOf,
  parseManifests,
  podsOf,
  SECRETS,
  settingsOf,
} from './manifests.ts';
import { kubectl } from './programs.ts';

// A clone beside the folder of an operator's own kustomization, as in docs/deploy.md.
const folder = newFolder();
const clone = join(folder, 'tally', KUSTOMIZE);
cpSync(KUSTOMIZE, clone, { recursive: true });
const SECRET = Object.fromEntries(
  (['DATABASE_URL', 'REDIS_URL', 'API_TOKEN', 'DASHBOARD_PASSWORD'] as const).map((name) => [
    name,
    SECRETS[name],
  ]),
);
const lines = Object.entries(SECRET).map(([name, value]) => `${name}=${value}\n`);
writeFileSync(join(clone, 'components/secret/secret.env'), lines.join(''));
afterAll(() => rmSync(folder, { recursive: true }));

const kustomize = (path: string): Promise<string> => kubectl('kustomize', path);
const overlays = readdirSync(`${KUSTOMIZE}/overlays`);
const examples = readdirSync('deploy/helm/examples').map((name) => name.replace('.yaml', ''));
const documentation = readFileSync('docs/deploy.md', 'utf8');

it('the base is what the chart renders; npm run deploy:kustomize writes it', async () => {
  expect(readFileSync(BASE_FILE, 'utf8')).toBe(await kustomizeBase());
});

it('the base makes what the chart makes, with nothing of Helm', async () => {
  const text = await kustomize(join(clone, 'base'));
  expect(byName(text)).toEqual(await chartObjects('tally', '--set', 'existingSecret=tally'));
  expect(text.toLowerCase()).not.toContain('helm');
});

it.each(overlays.filter((name) => examples.includes(name)))(
  'the overlay %s makes what the chart makes with the example of that name',
  async (name) => {
    const made = byName(await kustomize(join(clone, 'overlays', name)));
    const values = ['--values', `deploy/helm/examples/${name}.yaml`];
    const { namespace } = parse(
      readFileSync(`${KUSTOMIZE}/overlays/${name}/kustomization.yaml`, 'utf8'),
    ) as { namespace: string };
    expect(made).toEqual(await chartObjects(namespace, ...values));
  },
);

it('the overlay own-secret makes the Secret from a file, and every process reads that one', async () => {
  const text = await kustomize(join(clone, 'overlays/own-secret'));
  const secret = parseManifests(text).find(({ kind }) => kind === 'Secret');
  const decoded = Object.entries(secret?.data ?? {}).map(([name, value]) => [
    name,
    Buffer.from(value, 'base64').toString(),
  ]);
  expect(Object.fromEntries(decoded)).toEqual(SECRET);
  const named = [...text.matchAll(/secretKeyRef:\s+key: \w+\s+name: (\S+)/g)].map(([, it]) => it);
  expect(named.length).toBeGreaterThan(5);
  expect([...new Set(named)]).toEqual([secret?.metadata.name]);
  expect(secret?.metadata.name).toMatch(/^tally-\w{10}$/);
});

it('its example of a file has the settings that the processes read from the Secret', async () => {
  const example = readFileSync(`${KUSTOMIZE}/components/secret/secret.env.example`, 'utf8');
  const names = [...example.matchAll(/^(\w+)=/gm)].map(([, name]) => name);
  expect(names).toEqual(Object.keys(SECRET));
});

describe.each(overlays)('the overlay %s', (name) => {
  it('has only fields that Kubernetes knows, and settings that every process accepts', async () => {
    const objects = parseManifests(await kustomize(join(clone, 'overlays', name)));
    await checkTypes(objects);
    const settings = settingsOf(objects);
    for (const { pod } of podsOf(objects)) {
      loadConfig(['DATABASE_URL'], environmentOf(pod, settings, SECRETS));
    }
  });
});

it('all parts are named in docs/deploy.md', () => {
  const parts = ['overlays', 'components'].flatMap((kind) =>
    readdirSync(`${KUSTOMIZE}/${kind}`).map((name) => `${kind}/${name}`),
  );
  expect(parts.filter((part) => !documentation.includes(part))).toEqual([]);
});

it('a kustomization of one’s own builds as documented', async () => {
  const [, text = ''] =
    /```yaml\n(# tally-here\/kustomization.yaml\n[^`]+)```/.exec(documentation) ?? [];
  const own = join(folder, 'tally-here');
  mkdirSync(own);
  writeFileSync(join(own, 'kustomization.yaml'), text);
  const made = byName(await kustomize(own));
  expect(made['ConfigMap tally-settings']?.data).toEqual({ QUEUE_HIGH_WATER: '20000' });
  expect(made).toHaveProperty(['HorizontalPodAutoscaler tally-worker']);
  const images = JSON.stringify(made).match(/"image":"[^"]+"/g) ?? [];
  expect([...new Set(images)]).toEqual(['"image":"registry.example/tally-refresh:0.1.0"']);
});

it.each([...documentation.matchAll(/kubectl apply --kustomize (\S+)/g)].map(([, path]) => path))(
  'kubectl finds something to apply in %s',
  async (path = '') => {
    expect(parseManifests(await kustomize(join(folder, 'tally', path))).length).toBeGreaterThan(5);
  },
);
