import { describeError } from '../shared/errors.ts';
import type { Logger } from '../shared/process/logger.ts';

const REPEAT_AFTER_MS = 60_000;
const REMEMBERED_MAX = 100;
// The connection logs Redis' outages, and lost locks have an event of their own.
const LOGGED_BY_CONNECTION =
  /^(connect |Connection is closed|Socket timeout|read |write |could not renew lock )/;

/** Logs errors that BullMQ's workers emit, each kind once a minute, whichever worker emits it. */
export class ErrorLog {
  readonly #log: Logger;
  readonly #loggedAtMs = new Map<string, number>();

  constructor(log: Logger) {
    this.#log = log;
  }

  report(error: Error): void {
    // BullMQ emits the same error for each job, and after a freeze or a flush it alternates between
    // several.
    const text = describeError(error)
      .replaceAll(/\d+:[\w.~-]+:[\w-]+/g, '<job>')
      .replaceAll(/backlog-\d+-[\w-]+/g, '<job>');
    if (LOGGED_BY_CONNECTION.test(text)) return;
    const nowMs = performance.now();
    if (nowMs - (this.#loggedAtMs.get(text) ?? -Infinity) < REPEAT_AFTER_MS) return;
    if (this.#loggedAtMs.size > REMEMBERED_MAX) this.#loggedAtMs.clear();
    this.#loggedAtMs.set(text, nowMs);
    this.#log.warn(`queue: ${describeError(error)}`);
  }
}
