import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { until } from './wait.ts';

/**
 * Processes that belong to a data folder: it is in their command line, or the folder they work in.
 * @returns one line each, or an empty string
 */
function leftOver(data: string): string {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids
    .map((pid) => ({ pid, command: commandOf(pid), folder: folderOf(pid) }))
    .filter(({ command, folder }) => command.includes(data) || folder.startsWith(data))
    .map(({ pid, command, folder }) => `${pid} ${command} (in ${folder})`)
    .join('\n');
}

/** Waits until no process of a data folder is left. */
export async function nothingLeft(data: string): Promise<void> {
  await until(
    () => `nothing to be left running, but there is\n${leftOver(data)}`,
    () => leftOver(data) === '',
  );
}

function commandOf(pid: string): string {
  return unlessGone(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
}

function folderOf(pid: string): string {
  return unlessGone(() => readlinkSync(`/proc/${pid}/cwd`));
}

/** A process may end while it is looked at, and a strange one may refuse. */
function unlessGone(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}
