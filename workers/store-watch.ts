import { explainDatabaseError } from '../shared/postgres/advice.ts';
import type { Logger } from '../shared/process/logger.ts';
import { Outage } from '../shared/process/outage.ts';
import { backoffMs, pause } from '../shared/process/wait.ts';
import type { Probe } from './attempt.ts';

// How long a store that nobody asks to serve a job counts as away after a probe that succeeded.
const TRIAL_MS = 1_000;

/**
 * Stops a worker from taking jobs while a store is away, and starts it again as soon as a probe succeeds: at first
 * every quarter of a second, later every 2 s. A store that answers may still refuse every job (a full disk, a right that
 * is missing), so the outage isn't over before it has served one, and one that it refuses pauses the worker again.
 */
export class StoreWatch {
  readonly #probe: Probe;
  readonly #outage: Outage;
  readonly #onAway: () => void;
  readonly #onBack: () => void;
  readonly #stop = new AbortController();
  /** While the worker takes jobs again and none of them has told yet whether the store is back. */
  #trial: { readonly ended: AbortController; failed: boolean } | undefined;

  constructor(
    log: Logger,
    options: { store?: string; probe: Probe; onAway: () => void; onBack: () => void },
  ) {
    this.#probe = options.probe;
    this.#onAway = options.onAway;
    this.#onBack = options.onBack;
    this.#outage = new Outage(log, options.store ?? 'Postgres', explainDatabaseError);
  }

  get away(): boolean {
    return this.#outage.ongoing;
  }

  /** Tells that a job found the store away. Only the first of an outage has an effect. */
  reportAway(error: Error): void {
    if (this.#stop.signal.aborted) return;
    if (this.#outage.ongoing) {
      this.#endTrial(true);
      return;
    }
    this.#outage.begin(error);
    this.#onAway();
    void this.#waitUntilBack();
  }

  /** Tells that a refresh was done. */
  reportServed(): void {
    this.#endTrial(false);
  }

  close(): void {
    this.#stop.abort();
    this.#endTrial(true);
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
      if (back && (await this.#tryRefreshes())) break;
      if (signal.aborted) return;
    }
    this.#outage.end();
  }

  /** Lets the worker take jobs. @returns false when the store is away for them; then the worker is paused again */
  async #tryRefreshes(): Promise<boolean> {
    const trial = { ended: new AbortController(), failed: false };
    this.#trial = trial;
    this.#onBack();
    await pause(TRIAL_MS, trial.ended.signal);
    this.#trial = undefined;
    if (trial.failed && !this.#stop.signal.aborted) this.#onAway();
    return !trial.failed;
  }

  #endTrial(failed: boolean): void {
    if (this.#trial === undefined || this.#trial.ended.signal.aborted) return;
    this.#trial.failed = failed;
    this.#trial.ended.abort();
  }
}
