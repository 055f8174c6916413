import { existsSync, readFileSync } from 'node:fs';

/** Tally's version, from its `package.json`. */
export function readVersion(): string {
  return findPackage()?.version ?? 'unknown';
}

/**
 * The command that runs everything on this machine, for hints. A clone has the set-up behind
 * `npm start`; where Tally was installed as a package, or runs from an image, there is none.
 * @param options of `tally start`, for example `--data .tally-2`
 */
export function startCommand(options?: string): string {
  const found = findPackage();
  const inClone = found !== undefined && existsSync(new URL('deploy/setup.mjs', found.folder));
  const command = inClone ? 'npm start' : 'tally start';
  if (options === undefined) return command;
  return `${command} ${inClone ? '-- ' : ''}${options}`;
}

function findPackage(): { readonly folder: URL; readonly version: string } | undefined {
  // Works from dist/ and from the sources: the first package.json above.
  for (const path of ['../../', '../../../']) {
    const folder = new URL(path, import.meta.url);
    try {
      const { name, version } = JSON.parse(
        readFileSync(new URL('package.json', folder), 'utf8'),
      ) as Record<string, unknown>;
      if (name === 'tally-refresh') return { folder, version: String(version) };
    } catch {
      // There is none at this level.
    }
  }
  return undefined;
}
