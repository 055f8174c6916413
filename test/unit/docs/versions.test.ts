import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { NEWEST_TESTED_MAJOR, OLDEST_MAJOR } from '../../../shared/postgres/host.ts';

/**
 * Which Node and which Postgres are supported is said once: in the `engines` of package.json, in the matrix of the
 * workflow and in shared/postgres/host.ts. Whatever else names a version has to agree.
 */
const read = (file: string): string => readFileSync(file, 'utf8');
const versions = z.record(z.string(), z.string());
const manifest = z.object({
  engines: z.object({ node: z.string() }),
  dependencies: versions.default({}),
  devDependencies: versions.default({}),
  optionalDependencies: versions.default({}),
});
const packageAt = (file: string) => manifest.parse(JSON.parse(read(file)));

const project = packageAt('package.json');
const oldestNode = project.engines.node.replace('>=', '');
const gate = z
  .object({
    jobs: z.object({
      gate: z.object({
        strategy: z.object({ matrix: z.object({ node: z.array(z.string()) }) }),
      }),
    }),
  })
  .parse(parse(read('.github/workflows/gate.yml')));
const tested = gate.jobs.gate.strategy.matrix.node;
const imageNode = majorOf(/^FROM node:([\d.]+)/m.exec(read('Dockerfile'))?.[1] ?? '');

function majorOf(version: string): number {
  return Number(version.split('.')[0]);
}

const PLACES = ['.github', '.ci', 'deploy', 'docs', 'bench', '.'];
/** What people read or a tool runs, as one line each, without the emphasis of Markdown. */
const texts = PLACES.flatMap((folder) =>
  readdirSync(folder, { recursive: folder !== '.', encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((file) => /\.(?:md|ya?ml|mjs|tpl)$|^Dockerfile$|^\.ci\/run$/.test(file))
    .filter((file) => !/node_modules|results|decisions/.test(file)),
).map((file) => ({ file, text: read(file).replaceAll(/[*`]/g, '').replaceAll(/\s+/g, ' ') }));

/** What the texts say after a word, with the file. */
function named(pattern: RegExp): { file: string; version: string }[] {
  return texts.flatMap(({ file, text }) =>
    [...text.matchAll(pattern)].map(([, version = '']) => ({ file, version })),
  );
}

describe('Node', () => {
  it('is the same in every package, and its types are those of the oldest that is supported', () => {
    const others = ['bench', 'test/environments/servers', 'test/deploy/packages'];
    for (const folder of others) {
      expect(packageAt(`${folder}/package.json`).engines, folder).toEqual(project.engines);
    }
    expect(project.devDependencies['@types/node']).toMatch(new RegExp(`^${oldestNode}\\.`));
    expect(project.devDependencies).toHaveProperty([`@tsconfig/node${majorOf(oldestNode)}`]);
  });

  it('is tested in its oldest version and in newer lines, among them that of the image', () => {
    expect(tested[0]).toBe(oldestNode);
    expect(tested.map(majorOf)).toEqual(tested.map(majorOf).toSorted((a, b) => a - b));
    expect(tested.map(majorOf)).toContain(imageNode);
  });

  it('is refused by the set-up where it is too old', () => {
    const [major, minor] = oldestNode.split('.');
    expect(read('deploy/setup.mjs')).toContain(
      `if (major < ${major} || (major === ${major} && minor < ${minor})) {`,
    );
  });

  it('“or later” is said of the oldest version wherever it is said', () => {
    const oldest = named(/\bNode(?:\.js)? (\d[\d.]*\d) or (?:later|newer)/g);
    const files = new Set(oldest.map(({ file }) => file));
    expect([...files]).toEqual(
      expect.arrayContaining(['README.md', 'docs/start.md', 'deploy/setup.mjs']),
    );
    expect(oldest.filter(({ version }) => version !== oldestNode)).toEqual([]);
  });

  it('is one of the tested lines wherever one is named', () => {
    const lines = named(/\bNode(?:\.js)? (\d+(?:\.\d+)*)/g);
    expect(lines.length).toBeGreaterThan(5);
    const known = tested.map(majorOf);
    expect(lines.filter(({ version }) => !known.includes(majorOf(version)))).toEqual([]);
  });

  it('is that of the image wherever an image or the Node of a workflow is named', () => {
    const images = named(/\bnode(?:-version)?: ?'?(\d+(?:\.\d+)*)/g);
    const files = new Set(images.map(({ file }) => file));
    for (const file of ['Dockerfile', 'docs/deploy.md', '.github/workflows/gate.yml']) {
      expect(files).toContain(file);
    }
    expect(images.filter(({ version }) => majorOf(version) !== imageNode)).toEqual([]);
    // So that an update of the image changes one line, which is all that Dependabot does.
    expect(images.filter(({ version }) => version.includes('.'))).toHaveLength(1);
  });
});

describe('Postgres', () => {
  it('“from … to …” is the same wherever it is said', () => {
    const ranges = named(/\bPostgres (\d+ to \d+)/g);
    const files = new Set(ranges.map(({ file }) => file));
    for (const file of ['README.md', 'docs/operations.md', '.github/workflows/gate.yml']) {
      expect(files).toContain(file);
    }
    const range = `${OLDEST_MAJOR} to ${NEWEST_TESTED_MAJOR}`;
    expect(ranges.filter(({ version }) => version !== range)).toEqual([]);
  });

  it('is one of those wherever one is named', () => {
    const all = named(/\b(?:Postgres |postgres:)(\d{1,2})\b/g);
    expect(all.length).toBeGreaterThan(5);
    const strange = all.filter(
      ({ version }) => Number(version) < OLDEST_MAJOR || Number(version) > NEWEST_TESTED_MAJOR,
    );
    expect(strange).toEqual([]);
  });

  it('is there for the tests in every version, and in the one before, to be refused', () => {
    const older = Object.entries(packageAt('test/environments/servers/package.json').dependencies);
    for (const [name, version] of older) {
      expect(version).toContain(`@${name.replace('postgres-', '')}.`);
    }
    const embedded = Object.values(project.optionalDependencies).map(majorOf);
    expect(new Set(embedded)).toEqual(new Set([NEWEST_TESTED_MAJOR]));
    const majors = older.map(([name]) => Number(name.replace('postgres-', '')));
    const wanted = Array.from(
      { length: NEWEST_TESTED_MAJOR - OLDEST_MAJOR + 1 },
      (_, at) => OLDEST_MAJOR - 1 + at,
    );
    expect(majors.toSorted((a, b) => a - b)).toEqual(wanted);
    const list = wanted.slice(1).concat(NEWEST_TESTED_MAJOR).join(', ');
    expect(read('test/environments/postgres-versions.test.ts')).toContain(`it.each([${list}])`);
  });
});
