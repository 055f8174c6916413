import { readdirSync, readFileSync } from 'node:fs';

const FILES = [
  'README.md',
  'docker-compose.yml',
  'deploy/prometheus.yml',
  ...readdirSync('docs')
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

/** Every `docker compose …` of the documents, once, as somebody would copy it. */
export function documentedCommands(): string[] {
  const found = FILES.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/docker compose [^`\n]+/g)].map(([command]) =>
      // Without the remark behind it.
      command.replace(/\s+#.*/, '').trim(),
    ),
  );
  return [...new Set(found)].toSorted();
}

/** The lines of the first block of shell commands below this heading of a document. */
export function firstBlock(file: string, heading: string): string {
  const [, rest = ''] = readFileSync(file, 'utf8').split(`\n## ${heading}\n`);
  return /```sh\n(.*?)```/s.exec(rest)?.[1] ?? '';
}
