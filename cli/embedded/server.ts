import { setTimeout as delay } from 'node:timers/promises';

const POLL_MS = 20;

/** Options of both launchers. */
export interface EmbeddedOptions {
  /** Folder in which data, password and log are kept between runs; created if missing. */
  readonly dataDirectory: string;
  /** Prints a line for people; it never contains a password. */
  readonly say: (line: string) => void;
  /** Used if it is free, else any other. */
  readonly preferredPort?: number;
}

/** A server that this process has started and must stop. */
export interface EmbeddedServer {
  /** Its URL, including user and password: not for a log or a command line. */
  readonly url: string;
  /**
   * Stops the server and resolves once its process is gone. Idempotent: all calls share a promise.
   * @throws Error if the process survives even SIGKILL
   */
  stop(): Promise<void>;
}

/**
 * Checks a condition every 20 ms until it holds.
 * @throws Error with the message `failure` after `timeoutMs` milliseconds
 */
export async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
  failure: string,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(failure);
    await delay(POLL_MS);
  }
}

/** Makes all calls share the promise of the first. */
export function once(action: () => Promise<void>): () => Promise<void> {
  let promise: Promise<void> | undefined;
  return () => (promise ??= action());
}
