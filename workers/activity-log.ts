import type { Logger } from '../shared/process/logger.ts';

const INTERVAL_MS = 1_000;

/** What a worker did within a second. Lag is the time from the request to its refresh. */
export interface WorkerFigures {
  readonly refreshed: number;
  readonly failed: number;
  readonly lagMsP99: number | null;
}

/** Logs what a worker did: at most one line per second of each kind, and none while it is idle. */
export class ActivityLog {
  readonly #log: Logger;
  readonly #onFigures: (figures: WorkerFigures) => void;
  readonly #timer: NodeJS.Timeout;
  #claimed = 0;
  #recovered = 0;
  #changed = 0;
  #unchanged = 0;
  #failed = 0;
  #statementsMs = 0;
  #lagsMs: number[] = [];

  /** @param onFigures called for each second in which something was done, whatever the log level */
  constructor(log: Logger, onFigures: (figures: WorkerFigures) => void = () => undefined) {
    this.#log = log;
    this.#onFigures = onFigures;
    this.#timer = setInterval(() => this.#write(), INTERVAL_MS);
  }

  claimed(count: number): void {
    this.#claimed += count;
  }

  recovered(): void {
    this.#recovered++;
  }

  /**
   * @param changed whether the refresh changed what is stored
   * @param lagMs milliseconds since the refresh was requested; null if nobody knows
   */
  refreshed(changed: boolean, lagMs: number | null): void {
    if (changed) this.#changed++;
    else this.#unchanged++;
    if (lagMs !== null) this.#lagsMs.push(lagMs);
  }

  failed(): void {
    this.#failed++;
  }

  /** @param ms duration of one SQL statement */
  statement(ms: number): void {
    this.#statementsMs += ms;
  }

  /** Writes what is left and stops. */
  close(): void {
    clearInterval(this.#timer);
    this.#write();
  }

  #write(): void {
    if (this.#recovered > 0) this.#log.warn(`recovered ${this.#recovered} stalled jobs`);
    if (this.#claimed > 0) this.#log.info(`claimed ${this.#claimed}`);
    const done = this.#changed + this.#unchanged + this.#failed;
    if (done > 0) {
      const ms = Math.round(this.#statementsMs);
      const figures = { refreshed: done, failed: this.#failed, lagMsP99: this.#lagP99() };
      this.#onFigures(figures);
      this.#log.info(
        figures,
        `refreshed ${done}: ${this.#changed} changed, ${this.#unchanged} unchanged, ${this.#failed} failed, ${ms} ms`,
      );
    }
    this.#claimed = this.#recovered = this.#changed = this.#unchanged = this.#failed = 0;
    this.#statementsMs = 0;
    this.#lagsMs = [];
  }

  #lagP99(): number | null {
    const sorted = this.#lagsMs.toSorted((a, b) => a - b);
    const value = sorted[Math.ceil(sorted.length * 0.99) - 1];
    return value === undefined ? null : Math.round(value);
  }
}
