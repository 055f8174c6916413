// Whether there is a Docker engine, and Compose. Plain JavaScript, as setup.mjs is.
import { spawnSync } from 'node:child_process';
import { isOnPath } from './setup-programs.mjs';

/** Neither one that answers nor a program that would start one. */
export function engineIsMissing() {
  return !isOnPath(['dockerd']) && !succeeds('version', '--format', '{{.Server.Version}}');
}

/** Neither as the plugin of docker nor as a program. */
export function composeIsMissing() {
  return !isOnPath(['docker-compose']) && !succeeds('compose', 'version');
}

/** @param {string[]} args */
function succeeds(...args) {
  return spawnSync('docker', args, { stdio: 'ignore' }).status === 0;
}
