import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/**
 * Processes that belong to a data folder: it is in their command line, or the folder they work in.
 * @returns one line each, or an empty string
 */
export function leftOver(data: string): string {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids
    .map((pid) => ({ pid, command: commandOf(pid), folder: folderOf(pid) }))
    .filter(({ command, folder }) => command.includes(data) || folder.startsWith(data))
    .map(({ pid, command, folder }) => `${pid} ${command} (in ${folder})`)
    .join('\n');
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
