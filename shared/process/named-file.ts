import { closeSync, constants, openSync, readFileSync, readSync, statSync } from 'node:fs';

/** How long a named pipe may have no writer. */
const WRITER_TIMEOUT_MS = 5_000;
const POLL_MS = 20;

/**
 * Reads a text file, or a pipe up to its end, as in `API_TOKEN_FILE=<(pass tally)`. It waits for
 * whoever writes into the pipe; where nobody does for 5 s, the text is empty.
 * @throws an error from `node:fs`
 */
export function readTextFile(path: string): string {
  return statSync(path).isFIFO() ? readPipe(path) : readFileSync(path, 'utf8');
}

// An ordinary open waits for a writer: without one, for ever and without a word.
function readPipe(path: string): string {
  const pipe = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const chunks: Buffer[] = [];
    const deadline = performance.now() + WRITER_TIMEOUT_MS;
    for (;;) {
      const chunk = readAvailable(pipe);
      if (chunk !== undefined && chunk.length > 0) chunks.push(chunk);
      else if (chunk === undefined || (chunks.length === 0 && performance.now() < deadline))
        pause();
      else return Buffer.concat(chunks).toString('utf8');
    }
  } finally {
    closeSync(pipe);
  }
}

/** @returns what can be read at once; undefined while the writer hasn't written, empty without one */
function readAvailable(pipe: number): Buffer | undefined {
  const buffer = Buffer.alloc(65_536);
  try {
    return buffer.subarray(0, readSync(pipe, buffer));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined;
    throw error;
  }
}

function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, POLL_MS);
}
