import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { rootCertificates } from 'node:tls';
import { installProgram, isOnPath } from '../../deploy/setup-programs.mjs';
import type { Engine } from './engine.ts';
import { runProgram, tryProgram } from './shell.ts';

const RECIPES = resolve('test/image/stand-ins');
/** What takes long to make, for the next run. */
const CACHE = resolve('.tally/image');
const DEBIAN = 'tally-test-debian';
const SERVERS = 'tally-test-servers';
// Below it the engine has either the image or an answer why not.
const PULL_MS = 180_000;

/** What the Dockerfile and docker-compose.yml build on, and which of the recipes makes a stand-in. */
function baseImages(): readonly { readonly name: string; readonly recipe: string }[] {
  const [, node = ''] = /^FROM (\S+) AS node$/m.exec(fs.readFileSync('Dockerfile', 'utf8')) ?? [];
  const compose = fs.readFileSync('docker-compose.yml', 'utf8');
  return ['redis', 'postgres', 'prometheus', 'grafana'].reduce(
    (all, recipe) => {
      const pattern = new RegExp(String.raw`^\s+image: ((?:\w+/)?${recipe}:\S+)$`, 'm');
      const [, name = ''] = pattern.exec(compose) ?? [];
      return [...all, { name, recipe }];
    },
    [{ name: node, recipe: 'node' }],
  );
}

/**
 * Sees to it that the engine has every base image: its own, else the official one, else a stand-in of
 * that name, made of Debian's packages. Says which.
 * @returns removes the stand-ins
 */
export async function provideBaseImages(
  engine: Engine,
  say: (line: string) => void,
): Promise<() => Promise<void>> {
  const docker = (...args: string[]): Promise<string> =>
    runProgram(['docker', ...args], { env: engine.environment });
  const made: string[] = [];
  const missing = await Promise.all(
    baseImages().map(async ({ name, recipe }) => {
      const reason = await whyUnavailable(engine, name);
      return reason === undefined ? [] : [{ name, recipe, reason }];
    }),
  );
  for (const { name, recipe, reason } of missing.flat()) {
    const standIn =
      recipe === 'grafana'
        ? 'its stand-in shows no dashboard, and only looks for the files that it would show'
        : "its stand-in is made of Debian's packages";
    say(`${name} can't be pulled (${reason}): ${standIn}`);
    const context = join(engine.folder, recipe);
    fs.mkdirSync(context);
    if (recipe === 'node' || recipe === 'grafana') {
      if (!made.includes(DEBIAN)) await importDebian(engine, DEBIAN, []);
      made.push(DEBIAN);
      if (recipe === 'node') await addNode(engine, context, name);
    } else {
      const packages = ['redis-server', 'postgresql', 'prometheus'];
      if (!made.includes(SERVERS)) await importDebian(engine, SERVERS, packages);
      made.push(SERVERS);
      fs.cpSync(join(RECIPES, 'postgres-entrypoint.sh'), join(context, 'postgres-entrypoint.sh'));
    }
    const file = join(RECIPES, `${recipe}.dockerfile`);
    await docker('build', '--network', 'none', '--quiet', '--tag', name, '--file', file, context);
    made.push(name);
  }
  return async () => {
    const names = [...new Set(made)].toReversed();
    if (names.length > 0) await docker('image', 'rm', '--force', ...names);
  };
}

/** @returns undefined if the engine has it now */
async function whyUnavailable(
  { environment: env }: Engine,
  name: string,
): Promise<string | undefined> {
  if ((await tryProgram(['docker', 'image', 'inspect', name], { env })).code === 0)
    return undefined;
  const { code, printed } = await tryProgram(['docker', 'pull', '--quiet', name], {
    env,
    timeoutMs: PULL_MS,
  });
  if (code === 0) return undefined;
  return (printed.trim().split('\n').at(-1) ?? '').slice(0, 150);
}

/** Makes an image of a bare Debian with these packages. */
async function importDebian(
  { environment: env }: Engine,
  name: string,
  packages: readonly string[],
): Promise<void> {
  const file = join(CACHE, `${name}.tar`);
  if (!fs.existsSync(file)) {
    fs.mkdirSync(CACHE, { recursive: true });
    if (!isOnPath(['mmdebstrap'])) {
      installProgram({ title: 'mmdebstrap', programs: ['mmdebstrap'], packages: {} }, (line) =>
        process.stdout.write(`${line}\n`),
      );
    }
    const partial = `${file}.${process.pid}.tar`;
    const include = packages.length === 0 ? [] : [`--include=${packages.join(',')}`];
    const options = ['--quiet', '--variant=minbase', ...include, 'bookworm', partial];
    await runProgram(['mmdebstrap', ...options], { env });
    fs.renameSync(partial, file);
  }
  await runProgram(['docker', 'import', file, name], { env });
}

/** Puts Node, npm, and how npm reaches its registry on this machine, into the folder. */
async function addNode({ environment: env }: Engine, folder: string, image: string): Promise<void> {
  const version = /:([\d.]+)/.exec(image)?.[1] ?? '';
  const packages = [`node-${process.platform}-${process.arch}@${version}`, 'npm@11'];
  for (const [at, name] of packages.entries()) {
    const cached = join(CACHE, name.replace('@', '-'));
    if (!fs.existsSync(cached)) {
      const partial = `${cached}.${process.pid}`;
      fs.mkdirSync(partial, { recursive: true });
      await runProgram(['npm', 'pack', '--silent', name, '--pack-destination', partial], { env });
      const tarball = fs.readdirSync(partial)[0] ?? '';
      await runProgram(['tar', '-xzf', tarball], { env, cwd: partial });
      fs.renameSync(partial, cached);
    }
    const from = join(cached, 'package', at === 0 ? 'bin/node' : '');
    fs.cpSync(from, join(folder, at === 0 ? 'node' : 'npm'), { recursive: true });
  }
  const registry = await runProgram(['npm', 'config', 'get', 'registry'], { env });
  fs.writeFileSync(join(folder, 'npmrc'), `registry=${registry}\n`);
  const own = process.env['NODE_EXTRA_CA_CERTS'] ?? '';
  const certificates = own === '' ? rootCertificates.join('\n') : fs.readFileSync(own, 'utf8');
  fs.writeFileSync(join(folder, 'certificates.pem'), certificates);
}
