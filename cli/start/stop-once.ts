import type { Lifecycle } from '../../shared/process/lifecycle.ts';

// npm passes a Ctrl-C on that the terminal has sent already; a second one within this time is the same one.
const SAME_SIGNAL_MS = 500;

/**
 * Resolves with the exit code of the first SIGINT or SIGTERM, for the caller to close everything in
 * its order. A second one, later, leaves at once: the other processes then end by themselves.
 */
export function stopOnce(
  lifecycle: Lifecycle,
  source: NodeJS.Process,
  say: (line: string) => void,
): Promise<number> {
  return new Promise((resolve) => {
    let firstMs: number | undefined;
    const stop = (): void => {
      const nowMs = performance.now();
      if (firstMs === undefined) {
        firstMs = nowMs;
        say('Stopping: finishing what is in hand.');
        resolve(0);
      } else if (nowMs - firstMs > SAME_SIGNAL_MS && lifecycle.stopping) {
        say('Leaving at once; the servers stay until the next start, which stops them.');
        source.exit(1);
      }
    };
    source.on('SIGINT', stop);
    source.on('SIGTERM', stop);
  });
}
