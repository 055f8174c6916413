import { execFileSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { tsImport } from 'tsx/esm/api';
import { parse } from 'yaml';
import { z } from 'zod';
import { newFolder } from '../support/new-folder.ts';

// GitHub's own, which its editor extension uses: it knows the schema, the expressions, and what these may name. Loaded
// by tsx, because it imports JSON in a way that Node alone refuses.
const load = (file: string): Promise<unknown> =>
  tsImport(resolve('test/deploy/packages/node_modules', file), import.meta.url);
const { validate } = (await load('@actions/languageservice/dist/index.js')) as {
  validate: (document: unknown) => Promise<unknown>;
};
const { TextDocument } = (await load('vscode-languageserver-textdocument/lib/esm/main.js')) as {
  TextDocument: {
    create: (uri: string, language: string, version: number, text: string) => unknown;
  };
};
const complaintsSchema = z.array(
  z.object({ message: z.string(), range: z.object({ start: z.object({ line: z.number() }) }) }),
);

const WORKFLOWS = '.github/workflows';
const read = (name: string): string => readFileSync(`${WORKFLOWS}/${name}`, 'utf8');

let checked = 0;
/** What is wrong with a workflow, warnings included, by line. */
async function complaints(text: string): Promise<string[]> {
  // What it has read under a name, it remembers.
  const uri = `file:///${WORKFLOWS}/${(checked += 1)}.yml`;
  const found = await validate(TextDocument.create(uri, 'yaml', 0, text));
  return complaintsSchema
    .parse(found)
    .map(({ message, range }) => `line ${range.start.line + 1}: ${message}`);
}

it.each(readdirSync(WORKFLOWS))('GitHub has nothing to say against %s', async (name) => {
  expect(await complaints(read(name))).toEqual([]);
});

it.each([
  ['gate.yml', 'runs-on:', 'run-on:', "Unexpected value 'run-on'"],
  ['gate.yml', '- run: bash', '- rnu: bash', "Unexpected value 'rnu'"],
  ['gate.yml', 'github.ref }', 'githb.ref }', "Unrecognized named-value: 'githb'"],
  ['gate.yml', 'matrix.node }', 'matrix.nod }', 'Context access might be invalid: nod'],
  ['gate.yml', 'github.event_name', 'event()', "Unrecognized function: 'event'"],
  ['release.yml', 'id-token:', 'id-tokn:', "Unexpected value 'id-tokn'"],
  ['release.yml', 'steps.image.', 'steps.imgae.', 'Context access might be invalid: imgae'],
])('in %s, it finds that `%s` has become `%s`', async (name, right, wrong, said) => {
  expect(read(name)).toContain(right);
  expect((await complaints(read(name).replace(right, wrong))).join('\n')).toContain(said);
});

const jobs = z.record(
  z.string(),
  z.object({ steps: z.array(z.object({ run: z.string().optional() })) }),
);
const { package: release } = z.object({ jobs }).parse(parse(read('release.yml'))).jobs;
const commands = release?.steps.flatMap(({ run }) => run ?? []) ?? [];

/** Runs the command of the release that begins so, in a folder with what describes the package. @returns the folder */
function runOfRelease(begin: string): string {
  const folder = newFolder();
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) {
    copyFileSync(name, join(folder, name));
  }
  const command = commands.find((text) => text.startsWith(begin));
  if (command === undefined) throw new Error(`the release doesn't run ${begin}`);
  const env = {
    ...process.env,
    GITHUB_SERVER_URL: 'https://git.example',
    GITHUB_REPOSITORY: 'jobs/tally',
  };
  execFileSync('bash', ['--norc', '-e', '-c', command], { cwd: folder, env });
  return folder;
}

function jsonIn(folder: string, name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(folder, name), 'utf8')) as Record<string, unknown>;
}

it('the released package names the repository that releases it, as npm asks of a provenance', () => {
  const folder = runOfRelease('npm pkg set');
  const { repository, bugs, homepage, ...rest } = jsonIn(folder, 'package.json');
  expect({ repository, bugs, homepage }).toEqual({
    repository: { type: 'git', url: 'git+https://git.example/jobs/tally.git' },
    bugs: { url: 'https://git.example/jobs/tally/issues' },
    homepage: 'https://git.example/jobs/tally#readme',
  });
  expect(rest).toEqual(jsonIn('.', 'package.json'));
  const order = commands.map((text) => text.split(' ').slice(0, 2).join(' '));
  expect(order.indexOf('npm pkg')).toBeLessThan(order.indexOf('npm publish'));
});

it('the bill of materials of a release has what the package depends on, and no tool of its developers', () => {
  const bill = z
    .object({
      bomFormat: z.literal('CycloneDX'),
      components: z.array(z.object({ name: z.string(), version: z.string() })),
    })
    .parse(jsonIn(runOfRelease('npm pkg delete'), 'sbom.cdx.json'));
  const listed = bill.components.map(({ name, version }) => `${name}@${version}`);
  const packages = (kind: string): string[] =>
    Object.entries(jsonIn('.', 'package.json')[kind] as Record<string, string>).map(
      ([name, version]) => `${name}@${version}`,
    );
  for (const kind of ['dependencies', 'optionalDependencies']) {
    expect(listed).toEqual(expect.arrayContaining(packages(kind)));
  }
  const lock = z
    .object({ packages: z.record(z.string(), z.object({ dev: z.boolean().default(false) })) })
    .parse(jsonIn('.', 'package-lock.json'));
  // Not those that a dependency needs, too.
  const onlyForDevelopers = packages('devDependencies').filter(
    (name) => lock.packages[`node_modules/${name.replace(/@[^@]*$/, '')}`]?.dev,
  );
  expect(onlyForDevelopers).not.toEqual([]);
  expect(onlyForDevelopers.filter((name) => listed.includes(name))).toEqual([]);
});
