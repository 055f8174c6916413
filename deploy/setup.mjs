// Makes `npm start`, `npm test` and `npm pack` work on a fresh checkout: dependencies, build, Redis
// and, with --test, a Chromium. It runs before anything is installed, so it is plain JavaScript and imports
// only what Node brings. Says nothing when nothing has to be done.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { composeIsMissing, engineIsMissing } from './setup-docker.mjs';
import { bringTools, toolsAreMissing } from './setup-kubernetes.mjs';
import {
  CATATONIT,
  CHROMIUM,
  COMPOSE,
  DOCKER,
  FISH,
  installProgram,
  isOnPath,
  NGINX,
  PGBOUNCER,
  PODMAN,
  PROMETHEUS,
  REDIS,
  SENTINEL,
  TMUX,
  UNZIP,
  ZSH,
} from './setup-programs.mjs';
import { lock, readIfThere } from './setup-lock.mjs';
import { npm, Stopped } from './setup-npm.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const LOCK = join(ROOT, '.tally', 'setup.lock');
const SOURCES = ['producers', 'workers', 'dashboard', 'shared', 'cli'];
// For npm pack, which needs no servers.
const ONLY_BUILD = process.argv.includes('--build');
const FOR_TESTS = process.argv.includes('--test');
const FOR_ENVIRONMENTS = process.argv.includes('--environments');
const FOR_DEPLOY = process.argv.includes('--deploy');
const FOR_IMAGE = process.argv.includes('--image');
const SERVERS = join(ROOT, 'test', 'environments', 'servers');
const CHECKERS = join(ROOT, 'test', 'deploy', 'packages');

/** @typedef {{ needed: () => boolean, act: () => void | Promise<void>, writesHere: boolean }} Step */

/** @type {Step} */
const KUBERNETES = {
  needed: () => toolsAreMissing(ROOT),
  act: () => bringTools(ROOT, say),
  writesHere: true,
};

/** @returns {Step[]} */
function steps() {
  /** @type {Step[]} */
  const all = [
    { needed: dependenciesAreStale, act: installDependencies, writesHere: true },
    { needed: buildIsStale, act: build, writesHere: true },
  ];
  if (ONLY_BUILD) return all;
  // A test starts and kills servers of its own, whatever REDIS_URL says.
  if (FOR_TESTS) all.push(programStep({ ...REDIS, insteadSet: undefined }));
  else if (!process.env['REDIS_URL']) all.push(programStep(REDIS));
  if (FOR_IMAGE) {
    all.push({ ...programStep(DOCKER), needed: engineIsMissing });
    all.push({ ...programStep(COMPOSE), needed: composeIsMissing });
    all.push(programStep(PODMAN), programStep(CATATONIT), programStep(UNZIP), KUBERNETES);
    return all;
  }
  if (FOR_TESTS && !process.env['CHROMIUM_PATH']) all.push(programStep(CHROMIUM));
  if (FOR_ENVIRONMENTS) {
    const programs = [PGBOUNCER, NGINX, SENTINEL, TMUX, ZSH, FISH];
    all.push(...programs.map(programStep));
    all.push(packagesStep(SERVERS, 'older Postgres servers for the tests'));
  }
  if (FOR_DEPLOY) {
    all.push(programStep(PROMETHEUS), programStep(COMPOSE), programStep(UNZIP));
    all.push(KUBERNETES);
    all.push(packagesStep(CHECKERS, 'the types of Kubernetes and the checker of workflows'));
  }
  return all;
}

/** @param {import('./setup-programs.mjs').Program} program @returns {Step} */
function programStep(program) {
  return {
    needed: () => !isOnPath(program.programs),
    act: () => installProgram(program, say),
    writesHere: false,
  };
}

async function main() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Error(`Node 20.19 or newer is needed; this is ${process.versions.node}.`);
  }
  const all = steps();
  const todo = all.filter((step) => step.needed());
  if (todo.length === 0) return;
  const release = await takeLock(todo.some((step) => step.writesHere));
  try {
    // Looked at again: another run may have done it while this one waited.
    for (const step of all) if (step.needed()) await step.act();
  } finally {
    release();
  }
}

function dependenciesAreStale() {
  return readIfThere(join(ROOT, 'node_modules', '.tally-lock')) !== lockFileHash();
}

function lockFileHash() {
  const text = readIfThere(join(ROOT, 'package-lock.json'));
  if (text === undefined) {
    throw new Error(`There is no package-lock.json in ${ROOT}: get the whole project again.`);
  }
  return createHash('sha256').update(text).digest('hex');
}

async function installDependencies() {
  const hash = lockFileHash();
  say('Installing the dependencies (npm ci).');
  // With NODE_ENV=production npm would leave out the compiler.
  await npm(ROOT, 'ci', '--include=dev');
  writeStamp(join(ROOT, 'node_modules', '.tally-lock'), hash);
}

/**
 * Packages that only some tests need: they stay out of everybody's npm ci.
 * @param {string} folder @param {string} what @returns {Step}
 */
function packagesStep(folder, what) {
  const stamp = join(folder, 'node_modules', '.tally-lock');
  const lockFile = join(folder, 'package-lock.json');
  return {
    needed: () => readIfThere(stamp) !== readIfThere(lockFile),
    act: async () => {
      say(`Installing ${what} (npm ci in ${relative(ROOT, folder)}).`);
      // Some name a newer Node than they need. Below npm run, the project's .npmrc would say otherwise.
      const options = ['--ignore-scripts', '--engine-strict=false'];
      await npm(ROOT, 'ci', ...options, '--prefix', folder);
      writeStamp(stamp, fs.readFileSync(lockFile, 'utf8'));
    },
    writesHere: true,
  };
}

function buildIsStale() {
  return readIfThere(join(ROOT, 'dist', '.tally-sources')) !== sourcesHash();
}

async function build() {
  // Taken before the build: what is changed meanwhile is built by the next run.
  const hash = sourcesHash();
  say('Building (npm run build).');
  await npm(ROOT, 'run', 'build');
  writeStamp(join(ROOT, 'dist', '.tally-sources'), hash);
}

function sourcesHash() {
  const settings = fs.readdirSync(ROOT).filter((name) => /^(package|tsconfig.*)\.json$/.test(name));
  const files = settings.map((name) => join(ROOT, name));
  for (const folder of SOURCES.map((name) => join(ROOT, name)).filter(fs.existsSync)) {
    for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isDirectory()) files.push(join(entry.parentPath, entry.name));
    }
  }
  const hash = createHash('sha256');
  for (const file of files.toSorted()) {
    const isLink = fs.lstatSync(file).isSymbolicLink();
    const content = isLink ? Buffer.from(fs.readlinkSync(file)) : fs.readFileSync(file);
    hash.update(`${relative(ROOT, file)}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

/**
 * Two set-ups at once, of `npm start` and `npm test` say, would delete each other's node_modules.
 * @param {boolean} writesHere whether this run can't do without writing below the project
 * @returns {Promise<() => void>} gives the lock back
 */
async function takeLock(writesHere) {
  try {
    makeFolder(join(ROOT, '.tally'));
    return await lock(LOCK, (pid) => {
      say(`Waiting for another set-up of this project (process ${pid}).`);
    });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    if (!writesHere) return () => {};
    const problem = `The set-up has to write in ${ROOT} and can't: ${describe(error)}`;
    throw new Error(problem, { cause: error });
  }
}

/**
 * Not with `recursive`, by which Node calls a read-only disk ENOENT.
 * @param {string} folder
 */
function makeFolder(folder) {
  try {
    fs.mkdirSync(folder);
  } catch (error) {
    if (!fs.existsSync(folder)) throw error;
  }
}

/** @param {string} file @param {string} text */
function writeStamp(file, text) {
  const partial = `${file}.${process.pid}`;
  fs.writeFileSync(partial, text);
  fs.renameSync(partial, file);
}

/** @param {string} line */
function say(line) {
  console.log(`tally: ${line}`);
}

/** @param {unknown} error */
function describe(error) {
  return error instanceof Error ? error.message.replaceAll(/\s*\n\s*/g, ' ') : String(error);
}

// A reader that goes away (`npm start | head -3`) ends the output, not the work.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

try {
  await main();
} catch (error) {
  // As if it had never been caught, so that the shell and the outer npm know what ended it.
  if (error instanceof Stopped) process.kill(process.pid, error.signal);
  else {
    console.error(`tally: ${describe(error)}`);
    process.exitCode = 1;
  }
}
