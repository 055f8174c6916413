import { readFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { FILE_VARIABLES, loadConfig, SETTING_DEFAULTS } from '../../../shared/process/config.ts';

export const SETTINGS_PAGE = 'docs/settings.md';

/** Refused by every setting that doesn't take any text. */
const WRONG = '?:';

/**
 * The page of all settings: defaults and permitted values from the schema, meanings from `.env.example`.
 * @throws Error naming a setting that `.env.example` doesn't explain
 */
export async function settingsPage(): Promise<string> {
  const meanings = readMeanings(readFileSync('.env.example', 'utf8'));
  const rows = SETTING_DEFAULTS.map(([name, fallback]) => {
    const meaning = meanings.get(name);
    if (!meaning) throw new Error(`.env.example does not explain ${name}`);
    const shown = fallback === undefined ? '' : `\`${fallback}\``;
    return `| \`${name}\` | ${shown} | ${permitted(name)} | ${asMarkdown(meaning)} |`;
  });
  const files = FILE_VARIABLES.map((name) => `- \`${name}\``);
  const page = [
    INTRODUCTION,
    '| variable | default | values | meaning |\n| --- | --- | --- | --- |',
    ...rows,
    `\n${FILES}\n`,
    ...files,
  ].join('\n');
  return format(`${page}\n`, { ...(await resolveConfig(SETTINGS_PAGE)), parser: 'markdown' });
}

const INTRODUCTION = `<!-- Generated from .env.example and shared/process/config.ts by: npm run docs:settings -->

# Settings

Tally reads its settings from environment variables. An empty variable counts as unset. A process
stops before it connects to anything, with a line that names the variable, when a value is wrong or a
name looks like a misspelt setting. It ignores the variables that Kubernetes and Docker derive from
the name of a service, such as \`PRODUCER_PORT=tcp://10.0.0.1:3001\`.

\`.env.example\` is the same list as a file to copy. Names end in their unit: \`_MS\` is milliseconds.
`;

const FILES = `## Secrets from files

Each of these variables names a file with the value of the setting without \`_FILE\`. Setting both is an
error. Tally ignores line breaks at the end of the file.`;

/** What `.env.example` says above each variable, as one line. */
function readMeanings(text: string): ReadonlyMap<string, string> {
  const meanings = new Map<string, string>();
  let comment: string[] = [];
  for (const line of text.split('\n')) {
    const name = /^#?\s*([A-Z][A-Z0-9_]*)=/.exec(line)?.[1];
    if (name === undefined && line.startsWith('#')) {
      comment.push(line.slice(1).trim());
      continue;
    }
    if (name !== undefined) meanings.set(name, comment.join(' '));
    comment = [];
  }
  return meanings;
}

/** The values that a setting takes, in the words with which it refuses a wrong one; empty where any text will do. */
function permitted(name: string): string {
  if (name.endsWith('_URL')) return 'a URL';
  try {
    loadConfig([], { [name]: WRONG });
    return '';
  } catch (error) {
    const { message } = error as Error;
    const [, rule = message] = /^\S+ must (?:be|have) (.*?); for example/.exec(message) ?? [];
    return rule;
  }
}

/** Names of settings, schemes of URLs and headers as code, pages of the documentation as links. */
function asMarkdown(text: string): string {
  return text
    .replaceAll(
      /\{\w+\}|\b(?:[A-Z][A-Z0-9]*_[A-Z0-9_]+|SIGTERM|Authorization: Bearer …|X-Forwarded-For)|[a-z+]+:\/\/|openssl [\w -]+(?=\.)/g,
      '`$&`',
    )
    .replaceAll(/(Forms|More): docs\/(\S+)/g, '[$1]($2).')
    .replaceAll('|', '\\|');
}
