import { format, resolveConfig } from 'prettier';
import { isMap, parseAllDocuments, type Document } from 'yaml';
import { CHART, parseManifests, type Manifest } from './manifests.ts';
import { helm } from './programs.ts';

export const KUSTOMIZE = 'deploy/kustomize';
export const BASE_FILE = `${KUSTOMIZE}/base/tally.yaml`;

const HEADER = '# Generated from deploy/helm/tally by: npm run deploy:kustomize\n---\n';
/** What means something to Helm alone, of an object and of the pods that it makes. */
const HELM_ONLY = [[], ['spec', 'template']].flatMap((path) => [
  [...path, 'metadata', 'labels', 'helm.sh/chart'],
  [...path, 'metadata', 'labels', 'app.kubernetes.io/managed-by'],
  [...path, 'metadata', 'annotations', 'helm.sh/hook'],
  [...path, 'metadata', 'annotations', 'helm.sh/hook-delete-policy'],
  // Kustomize restarts pods by the names of what it generates.
  [...path, 'metadata', 'annotations', 'checksum/settings'],
]);
/** Of a Secret or ConfigMap that Kustomize generates. */
const GENERATED_NAME = /\b(tally(?:-settings)?)-[2-9bcdfghkmt]{10}(?=")/g;

/** The base: what the chart renders by default, but for the ConfigMap, which Kustomize generates. */
export async function kustomizeBase(): Promise<string> {
  const documents = await renderWithoutHelm('tally', '--set', 'existingSecret=tally');
  const texts = documents
    .filter((document) => document.get('kind') !== 'ConfigMap')
    .map((document) => document.toString({ lineWidth: 0, directives: false }));
  const options = { ...(await resolveConfig(BASE_FILE)), parser: 'yaml' };
  return format(HEADER + texts.join('---\n').replaceAll(/^# Source: .*\n/gm, ''), options);
}

/**
 * What the chart renders, without what means something to Helm alone, by kind and name.
 * @throws Error with what Helm says
 */
export async function chartObjects(
  namespace: string,
  ...args: string[]
): Promise<Record<string, Manifest>> {
  const documents = await renderWithoutHelm(namespace, ...args);
  return byName(documents.map(String).join('---\n'));
}

/** Objects by kind and name, the names of generated ones as they were given. */
export function byName(text: string): Record<string, Manifest> {
  const objects = parseManifests(text)
    .map((manifest) => JSON.stringify(manifest).replaceAll(GENERATED_NAME, '$1'))
    .map((json) => JSON.parse(json) as Manifest)
    .map((manifest) =>
      manifest.kind === 'ConfigMap' ? { ...manifest, data: manifest.data ?? {} } : manifest,
    );
  return Object.fromEntries(
    objects.map((manifest) => [`${manifest.kind} ${manifest.metadata.name}`, manifest]),
  );
}

async function renderWithoutHelm(namespace: string, ...args: string[]): Promise<Document[]> {
  const text = await helm('template', 'tally', CHART, '--namespace', namespace, ...args);
  const documents: Document[] = parseAllDocuments(text).filter(({ contents }) => contents !== null);
  for (const document of documents) {
    for (const path of HELM_ONLY.filter((path) => document.hasIn(path))) {
      document.deleteIn(path);
      const map = document.getIn(path.slice(0, -1));
      if (isMap(map) && map.items.length === 0) document.deleteIn(path.slice(0, -1));
    }
  }
  return documents;
}
