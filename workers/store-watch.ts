import { explainDatabaseError } from '../shared/postgres/advice.ts';
import type { Logger } from '../shared/process/logger.ts';
import { runLoop } from '../shared/process/loop.ts';
import { Outage } from '../shared/process/outage.ts';
import { backoffMs, pause } from '../shared/process/wait.ts';
import type { Probe } from './attempt.ts';

const FIRST_PAUSE_MS = 250;
const MAX_PAUSE_MS = 2_000;
// A store that no job uses counts as available this long after a successful probe.
const TRIAL_MS = 1_000;

/**
 * Stops a worker from taking jobs while a store is unavailable, and lets it go on as soon as a
 * probe succeeds: probes start a quarter of a second apart and end up 2 s apart. A store that
 * answers may still refuse every job (a full disk, a missing right). So the outage ends only once
 * it has served a job, and a job that it refuses pauses the worker again.
 */
export class StoreWatch {
  readonly #probe: Probe;
  readonly #outage: Outage;
  readonly #onUnavailable: () => void;
  readonly #onAvailable: () => void;
  readonly #stop = new AbortController();
  /** Set while the worker takes jobs again and none has shown yet whether the store is back. */
  #trial: { readonly ended: AbortController; failed: boolean } | undefined;

  constructor(
    log: Logger,
    options: { store?: string; probe: Probe; onUnavailable: () => void; onAvailable: () => void },
  ) {
    this.#probe = options.probe;
    this.#onUnavailable = options.onUnavailable;
    this.#onAvailable = options.onAvailable;
    this.#outage = new Outage(log, options.store ?? 'Postgres', explainDatabaseError);
  }

  get unavailable(): boolean {
    return this.#outage.ongoing;
  }

  /**
   * Reports that a job found the store unavailable. Only the first report of an outage or of a
   * trial has an effect.
   */
  reportUnavailable(error: Error): void {
    if (this.#stop.signal.aborted) return;
    if (this.#outage.ongoing) {
      this.#endTrial(true);
      return;
    }
    this.#outage.begin(error);
    this.#onUnavailable();
    void this.#waitUntilBack();
  }

  /** Reports that a job was served. */
  reportServed(): void {
    this.#endTrial(false);
  }

  /** Stops probing; the worker stays as it is. */
  close(): void {
    this.#stop.abort();
    this.#endTrial(true);
  }

  async #waitUntilBack(): Promise<void> {
    const { signal } = this.#stop;
    // The store has just failed, so the first probe waits as well.
    await pause(backoffMs(1, FIRST_PAUSE_MS, MAX_PAUSE_MS), signal);
    await runLoop({
      signal,
      retry: { firstMs: 2 * FIRST_PAUSE_MS, maxMs: MAX_PAUSE_MS },
      step: async () => {
        await this.#probe();
        if (!signal.aborted) await this.#tryRefreshes();
        return undefined;
      },
    });
    if (!signal.aborted) this.#outage.end();
  }

  /**
   * Lets the worker take jobs again, for a trial.
   * @throws Error if the store refuses one of them; then the worker is paused again
   */
  async #tryRefreshes(): Promise<void> {
    const trial = { ended: new AbortController(), failed: false };
    this.#trial = trial;
    this.#onAvailable();
    await pause(TRIAL_MS, trial.ended.signal);
    this.#trial = undefined;
    if (!trial.failed) return;
    if (!this.#stop.signal.aborted) this.#onUnavailable();
    throw new Error('the store still refuses jobs');
  }

  #endTrial(failed: boolean): void {
    if (this.#trial === undefined || this.#trial.ended.signal.aborted) return;
    this.#trial.failed = failed;
    this.#trial.ended.abort();
  }
}
