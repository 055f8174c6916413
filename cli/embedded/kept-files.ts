import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** The password in this file; undefined if there is none or only part of one. */
export function readPassword(file: string): string | undefined {
  const text = readIfThere(file);
  return text !== undefined && /^[0-9a-f]{48}$/.test(text) ? text : undefined;
}

/**
 * The password in this file; the first time, a random one, which only the file's owner can read.
 */
export function keptPassword(file: string): string {
  const kept = readPassword(file);
  if (kept !== undefined) return kept;
  const password = randomBytes(24).toString('hex');
  writeDurably(file, password);
  return password;
}

/** The text of a file; undefined if it doesn't exist. */
export function readIfThere(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/**
 * Writes a file that only its owner can read, completely or not at all, even if the power fails.
 */
export function writeDurably(file: string, text: string): void {
  const partial = `${file}.${process.pid}`;
  try {
    writeFileSync(partial, text, { mode: 0o600, flush: true });
    renameSync(partial, file);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
}

/**
 * Creates a folder, and those above it that are missing. Node's own `recursive` calls a read-only
 * disk ENOENT, and never returns where nobody can create anything, as in /proc.
 * @throws the error of the operating system
 */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return;
    const parent = dirname(folder);
    const canRetry = (error as NodeJS.ErrnoException).code === 'ENOENT' && !existsSync(parent);
    if (!canRetry) throw error;
    makeFolder(parent);
    makeFolder(folder);
  }
}

/** Opens a new log file for appending, and keeps that of the last run as `….previous`. */
export function openLog(file: string): number {
  if (existsSync(file)) renameSync(file, `${file}.previous`);
  return openSync(file, 'a', 0o600);
}
