import type { Logger } from './logger.ts';

type CloseStep = () => Promise<unknown> | void;

interface Step {
  readonly name: string;
  readonly close: CloseStep;
}

/**
 * What a process opened, closed in the opposite order. Stopping is idempotent and shares its
 * promise; every step runs even if one before it threw.
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
   * Registers how to close what was just opened. What was still being opened when the stop began is
   * closed as soon as it is there, and the next `stop()` waits for that, too.
   * @param name for the log, when closing fails
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

/** The parts of `process` that signals need; given by the main file. */
export interface SignalSource {
  on(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'disconnect', listener: () => void): unknown;
  exit(code: number): void;
  /** Of a child process: whether the channel to its parent is open. */
  readonly connected?: boolean | undefined;
}

/**
 * Stops the lifecycle at SIGTERM, SIGINT or SIGHUP (its terminal is closed), or when the parent process is gone, and exits: 0 when all was closed, 1
 * when `graceMs` milliseconds were not enough or a second signal came. Jobs that are cut off are
 * redone elsewhere by stalled-job recovery.
 */
export function stopOnSignals(
  lifecycle: Lifecycle,
  source: SignalSource,
  graceMs: number,
  log: Logger,
): void {
  const force = (reason: string): void => {
    log.error(`${reason}; leaving now, what was in hand is done again by another process`);
    source.exit(1);
  };
  let signals = 0;
  const stop = (signal: string): void => {
    // A terminal that is closed sends SIGHUP more than once.
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
  // The parent may have gone while this process was loading, and then says so no more.
  if (source.connected === false) stop('disconnect');
}
