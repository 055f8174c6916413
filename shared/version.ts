import { readFileSync } from 'node:fs';

/** Tally's version, from its `package.json`. */
export function readVersion(): string {
  // Works from dist/shared and from shared/: the first package.json above.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const { name, version } = JSON.parse(
        readFileSync(new URL(path, import.meta.url), 'utf8'),
      ) as Record<string, unknown>;
      if (name === 'tally-refresh') return String(version);
    } catch {
      // There is none at this level.
    }
  }
  return 'unknown';
}
