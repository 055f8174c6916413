import { format } from 'node:util';
import type { Logger } from '../shared/process/logger.ts';

// ioredis repeats its messages for every connection.
const MAX_REMEMBERED = 100;

/**
 * Sends what libraries write to the console to the log instead, each text once. Between JSON lines
 * it would be lost or break the reader, and the log also removes passwords. A command's silent log
 * drops it. The last call wins.
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
