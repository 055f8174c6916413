import type { Logger } from './logger.ts';

type CloseStep = () => Promise<unknown> | void;

interface Step {
  readonly name: string;
  readonly close: CloseStep;
}

/**
 * Closes what a process opened, in reverse order. Stopping is idempotent and shares its promise,
 * and every step runs even if an earlier one threw.
 */
export class Lifecycle {
  readonly #log: Logger;
  readonly #steps: Step[] = [];
  readonly #stop = new AbortController();
  #stopping: Promise<void> | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * Registers how to close what was just opened. If the stop has already begun, it is closed at
   * once, and the next `stop()` waits for that as well.
   * @param name for the log, if closing fails
   */
  onStop(name: string, close: CloseStep): void {
    if (this.#stopping === undefined) this.#steps.push({ name, close });
    else
      this.#stopping = Promise.all([this.#stopping, this.#close({ name, close })]).then(
        () => undefined,
      );
  }

  get stopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** Aborts when the stop begins. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Closes everything, newest first. Never rejects. */
  stop(): Promise<void> {
    this.#stopping ??= this.#closeAll();
    this.#stop.abort();
    return this.#stopping;
  }

  async #closeAll(): Promise<void> {
    for (const step of this.#steps.toReversed()) await this.#close(step);
  }

  async #close({ name, close }: Step): Promise<void> {
    try {
      await close();
    } catch (error) {
      this.#log.warn({ err: error }, `closing ${name} failed`);
    }
  }
}

/** The parts of `process` that `stopOnSignals` needs; the main file passes `process`. */
export interface SignalSource {
  on(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'disconnect', listener: () => void): unknown;
  exit(code: number): void;
  /** In a child process: whether the channel to its parent is open. */
  readonly connected?: boolean | undefined;
}

/**
 * Stops the lifecycle at SIGTERM, SIGINT or SIGHUP (its terminal was closed), or when the parent
 * process is gone, and exits: with 0 once all is closed, with 1 after `graceMs` milliseconds or at
 * a second signal. Stalled-job recovery redoes jobs that are cut off.
 */
export function stopOnSignals(
  lifecycle: Lifecycle,
  source: SignalSource,
  graceMs: number,
  log: Logger,
): void {
  const force = (reason: string): void => {
    log.error(`${reason}; exiting now, another process redoes the work in hand`);
    source.exit(1);
  };
  let signals = 0;
  const stop = (signal: string): void => {
    // A closing terminal sends SIGHUP more than once.
    if (signal === 'SIGTERM' || signal === 'SIGINT') signals++;
    if (lifecycle.stopping) {
      if (signals > 1) force(`${signal} came twice`);
      return;
    }
    log.info(`stopping (${signal})`);
    const deadline = setTimeout(() => force(`not stopped within ${graceMs} ms`), graceMs);
    void lifecycle.stop().then(() => {
      clearTimeout(deadline);
      log.info('stopped');
      source.exit(0);
    });
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'disconnect'] as const) {
    source.on(signal, () => stop(signal));
  }
  // The parent may have gone while this process was loading; then no event follows.
  if (source.connected === false) stop('disconnect');
}
