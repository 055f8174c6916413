import { printableJson } from '../shared/process/printable.ts';

/**
 * The text that `--json` prints for a value; every command uses it. Texts from outside (a vendor,
 * an error) keep their meaning but contain no character that could move a terminal's cursor or
 * change the direction of writing.
 */
export function jsonText(value: unknown): string {
  return printableJson(JSON.stringify(value));
}

/**
 * Keeps the process alive if its reader goes away (`| head -1`, a closed terminal), so that work in
 * progress is finished; further output is dropped silently. If output can't be written for another
 * reason, for example a full disk, that is reported on standard error and the exit code becomes 1.
 */
export function outliveReaders(source: NodeJS.Process): void {
  // If standard error fails, there is nowhere left to report it.
  source.stderr.on('error', () => undefined);
  source.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (isReaderGone(error)) return;
    source.exitCode = 1;
    source.stderr.write(`tally: the output is incomplete: ${error.message}\n`);
  });
}

/**
 * Whether output failed because nobody reads it any more: the pipe's other end or the terminal is
 * closed.
 */
export function isReaderGone(error: NodeJS.ErrnoException): boolean {
  return error.code === 'EPIPE' || error.code === 'EIO';
}
