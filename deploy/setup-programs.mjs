// The programs that have to be on PATH, and how a package manager brings them. Plain JavaScript, as setup.mjs is.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { delimiter, join } from 'node:path';

const IS_ROOT = process.getuid?.() === 0;

/** Package managers and their word for it. @type {Record<string, string>} */
const MANAGERS = {
  'apt-get': 'install',
  dnf: 'install',
  apk: 'add',
  pacman: '-S',
  brew: 'install',
};

/**
 * A program that has to be on PATH, and the package of each package manager that brings it.
 * @typedef {{ title: string, programs: string[], insteadSet?: string | undefined, packages: Record<string, string> }} Program
 */

/** @type {Program} */
export const REDIS = {
  title: 'Redis',
  programs: ['redis-server', 'valkey-server'],
  insteadSet: 'REDIS_URL',
  packages: { 'apt-get': 'redis-server', pacman: 'valkey' },
};

/** @type {Program} */
export const CHROMIUM = {
  title: 'Chromium',
  programs: ['chromium', 'chromium-browser', 'google-chrome'],
  insteadSet: 'CHROMIUM_PATH',
  packages: { brew: '--cask chromium' },
};

/** @type {Program} */
export const PGBOUNCER = { title: 'PgBouncer', programs: ['pgbouncer'], packages: {} };

/** @type {Program} */
export const NGINX = { title: 'nginx', programs: ['nginx'], packages: {} };

/** @type {Program} */
export const TMUX = { title: 'tmux', programs: ['tmux'], packages: {} };

/** @type {Program} */
export const ZSH = { title: 'zsh', programs: ['zsh'], packages: {} };

/** @type {Program} */
export const FISH = { title: 'fish', programs: ['fish'], packages: {} };

/** @type {Program} */
export const DOCKER = {
  title: 'Docker',
  programs: ['dockerd'],
  packages: { 'apt-get': 'docker.io', brew: '--cask docker-desktop' },
};

/** @type {Program} */
export const PODMAN = { title: 'Podman', programs: ['podman'], packages: {} };

// Holds the network of a pod.
/** @type {Program} */
export const CATATONIT = { title: 'catatonit', programs: ['catatonit'], packages: {} };

/** @type {Program} */
export const COMPOSE = {
  title: 'Docker Compose',
  programs: ['docker-compose'],
  packages: { 'apt-get': 'docker-compose', brew: 'docker-compose' },
};

// promtool comes with it.
/** @type {Program} */
export const PROMETHEUS = {
  title: 'Prometheus',
  programs: ['prometheus'],
  packages: { 'apt-get': 'prometheus', dnf: 'prometheus', brew: 'prometheus' },
};

/** @type {Program} */
export const UNZIP = { title: 'unzip', programs: ['unzip'], packages: {} };

/** @type {Program} */
export const SENTINEL = {
  title: 'Redis Sentinel',
  programs: ['redis-sentinel'],
  packages: { 'apt-get': 'redis-sentinel' },
};

/**
 * Installs it with the system's package manager where that may be done, and says so.
 * @param {Program} program @param {(line: string) => void} say
 * @throws {Error} with the command that would install it
 */
export function installProgram({ title, programs, insteadSet, packages }, say) {
  const manager = Object.keys(MANAGERS).find((name) => isOnPath([name])) ?? '';
  const name = packages[manager] ?? title.toLowerCase();
  const sudo = IS_ROOT || manager === 'brew' ? '' : 'sudo ';
  const command =
    manager === '' ? `install ${name}` : `run: ${sudo}${manager} ${MANAGERS[manager]} ${name}`;
  const advice = `${command}${insteadSet === undefined ? '' : ` (or set ${insteadSet})`}`;
  if (manager === 'apt-get' && IS_ROOT) {
    say(`Installing ${name} with apt-get, because there is no ${title} on PATH.`);
    aptInstall(name, advice);
  } else if (manager === 'brew' && title === 'Redis') {
    say('Installing Redis with Homebrew, because there is none on PATH.');
    const { status } = spawnSync('brew', ['install', name], { stdio: 'inherit' });
    if (status !== 0) throw new Error(`brew install ${name} failed: see its output above.`);
  }
  if (!isOnPath(programs)) throw new Error(`${title} is needed and not on PATH: ${advice}`);
}

// Packages with a service that nobody asked for.
const SERVICES = new Set(['redis-server', 'prometheus']);

/** @param {string} name @param {string} advice */
function aptInstall(name, advice) {
  // Debian starts a server as soon as it is installed, on a port that isn't ours to take: in
  // runlevel 1 it doesn't, but systemd has to be told.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  // Its failure is not the end: one source of many may be away, or the lists may do as they are.
  spawnSync('apt-get', ['update', '-qq'], { env, stdio: 'ignore' });
  const args = ['-y', '-qq', '-o', 'DPkg::Lock::Timeout=300', '--no-install-recommends', name];
  const { status, stderr } = spawnSync('apt-get', ['install', ...args], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  });
  if (status !== 0) {
    const reason = (stderr ?? '').split('\n').findLast((line) => line.startsWith('E:'));
    throw new Error(`apt-get could not install ${name} (${reason ?? status}): ${advice}`);
  }
  if (SERVICES.has(name) && fs.existsSync('/run/systemd/system')) {
    spawnSync('systemctl', ['disable', '--now', name], { stdio: 'ignore' });
  }
}

/** @param {string[]} names */
export function isOnPath(names) {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  const files = names.flatMap((name) => folders.map((folder) => join(folder, name)));
  return files.some((file) => {
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return fs.statSync(file).isFile();
    } catch {
      return false;
    }
  });
}
