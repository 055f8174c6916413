import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { TallyError } from '../shared/errors.ts';
import { progress } from './report.ts';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));

/** Installs the bench's own packages with `npm ci`, unless they are there in the locked versions. */
export function installPackages(): void {
  if (installedVersions() === wantedVersions()) return;
  progress('installing the packages of other contenders (npm ci in bench/)');
  const { status, error } = spawnSync('npm', ['ci', '--ignore-scripts'], {
    cwd: FOLDER,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status === 0) return;
  const problem = error?.message ?? `npm ci ended with exit ${status}`;
  const hint = 'leave them out with --only, or run npm ci in bench/ to see why';
  throw new TallyError(
    'BENCH_PACKAGES',
    `the other contenders' packages are missing: ${problem}; ${hint}`,
  );
}

function wantedVersions(): string {
  return JSON.stringify(readPackage('package.json').dependencies);
}

function installedVersions(): string {
  const names = Object.keys(readPackage('package.json').dependencies ?? {});
  const versions = names.map((name) => {
    const file = `node_modules/${name}/package.json`;
    return [name, existsSync(`${FOLDER}${file}`) ? readPackage(file).version : undefined];
  });
  return JSON.stringify(Object.fromEntries(versions));
}

function readPackage(file: string): { version?: string; dependencies?: Record<string, string> } {
  return JSON.parse(readFileSync(`${FOLDER}${file}`, 'utf8')) as ReturnType<typeof readPackage>;
}
