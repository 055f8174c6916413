import { printableJson } from '../shared/printable.ts';

/**
 * What `--json` prints of a value: each command's goes through here. Texts from outside (a vendor, an error) mean what they
 * meant, and hold no character that could move the cursor of a terminal or turn the direction of writing.
 */
export function jsonText(value: unknown): string {
  return printableJson(JSON.stringify(value));
}

/**
 * Keeps a reader that goes away (`| head -1`, a terminal that is closed) from ending the work that was
 * begun: from then on its stream takes no more output, and says nothing of it. Output that can't be
 * written for another reason, a full disk say, is told on standard error and makes the exit code 1.
 */
export function outliveReaders(source: NodeJS.Process): void {
  // Standard error is the last place to tell anything: what fails there can be told nowhere.
  source.stderr.on('error', () => undefined);
  source.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (isReaderGone(error)) return;
    source.exitCode = 1;
    source.stderr.write(`tally: the output is incomplete: ${error.message}\n`);
  });
}

/** Whether output failed because nobody reads it: a pipe's other end, or the terminal, is closed. */
export function isReaderGone(error: NodeJS.ErrnoException): boolean {
  return error.code === 'EPIPE' || error.code === 'EIO';
}
