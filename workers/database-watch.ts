import type { Logger } from '../shared/logger.ts';
import { Outage } from '../shared/outage.ts';
import { backoffMs, pause } from '../shared/wait.ts';
import type { Probe } from './refresh-batch.ts';

/**
 * Stops a worker from taking jobs while the database is away, and starts it again as soon as a
 * probe succeeds: at first every quarter of a second, later every 2 s.
 */
export class DatabaseWatch {
  readonly #probe: Probe;
  readonly #outage: Outage;
  readonly #onAway: () => void;
  readonly #onBack: () => void;
  readonly #stop = new AbortController();

  constructor(log: Logger, options: { probe: Probe; onAway: () => void; onBack: () => void }) {
    this.#probe = options.probe;
    this.#onAway = options.onAway;
    this.#onBack = options.onBack;
    this.#outage = new Outage(log, 'Postgres');
  }

  get away(): boolean {
    return this.#outage.ongoing;
  }

  /** Tells that a refresh found the database away. Only the first of an outage has an effect. */
  reportAway(error: Error): void {
    if (this.#outage.ongoing || this.#stop.signal.aborted) return;
    this.#outage.begin(error);
    this.#onAway();
    void this.#waitUntilBack();
  }

  close(): void {
    this.#stop.abort();
  }

  async #waitUntilBack(): Promise<void> {
    const { signal } = this.#stop;
    for (let attempt = 1; ; attempt++) {
      await pause(backoffMs(attempt, 250, 2_000), signal);
      if (signal.aborted) return;
      const back = await this.#probe().then(
        () => true,
        () => false,
      );
      if (signal.aborted) return;
      if (back) break;
    }
    this.#outage.end();
    this.#onBack();
  }
}
