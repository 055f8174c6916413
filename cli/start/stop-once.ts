import type { Lifecycle } from '../../shared/process/lifecycle.ts';
import { isReaderGone } from '../output.ts';

// npm forwards a Ctrl-C that the terminal has already sent; a second one within this time is the
// same.
const SAME_SIGNAL_MS = 500;

/**
 * Resolves with exit code 0 when this process is to stop, so that the caller can close everything
 * in order: at the first signal, or when nobody reads its output any more. A later second SIGINT or
 * SIGTERM exits at once; the other processes and the servers then end by themselves.
 */
export function stopOnce(
  lifecycle: Lifecycle,
  source: NodeJS.Process,
  say: (line: string) => void,
): Promise<number> {
  return new Promise((resolve) => {
    let firstMs: number | undefined;
    const stop = (): void => {
      if (firstMs !== undefined) return;
      firstMs = performance.now();
      say('Stopping: finishing the work in hand.');
      resolve(0);
    };
    const stopOrLeave = (): void => {
      if (firstMs === undefined) stop();
      else if (performance.now() - firstMs > SAME_SIGNAL_MS && lifecycle.stopping) {
        say('Exiting at once; the processes and servers end by themselves.');
        source.exit(1);
      }
    };
    source.on('SIGINT', stopOrLeave);
    source.on('SIGTERM', stopOrLeave);
    // A closing terminal sends SIGHUP more than once, and reads no more output.
    source.on('SIGHUP', stop);
    source.stdout.on('error', (error) => {
      if (isReaderGone(error)) stop();
    });
  });
}
