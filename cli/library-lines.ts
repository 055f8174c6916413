import { format } from 'node:util';
import type { Logger } from '../shared/process/logger.ts';

// ioredis repeats its lines with every connection that it makes.
const MAX_REMEMBERED = 100;

/**
 * Sends what libraries write to the console to the log, each text once. Between lines of JSON it would be lost, or stop
 * whoever reads them; the log also takes passwords out. A command, whose log is silent, doesn't show it at all.
 * The last call counts.
 */
export function logLibraryLines(
  libraries: Pick<Console, 'log' | 'info' | 'warn' | 'error'>,
  log: Logger,
): void {
  const said = new Set<string>();
  const take =
    (level: 'info' | 'warn') =>
    (...parts: readonly unknown[]): void => {
      const text = format(...parts);
      if (said.has(text)) return;
      if (said.size >= MAX_REMEMBERED) said.clear();
      said.add(text);
      log[level](`a library says: ${text}`);
    };
  libraries.log = take('info');
  libraries.info = take('info');
  libraries.warn = take('warn');
  libraries.error = take('warn');
}
