/**
 * Remembers when each identity was sent last, for as long as it may not be sent again. Bounded: an
 * entry lives no longer than the interval, and beyond `maxEntries` the oldest is forgotten (its
 * identity is then sent early, which costs a refresh and loses nothing).
 */
export class SendInterval {
  readonly #intervalMs: number;
  readonly #maxEntries: number;
  readonly #sentAtMs = new Map<string, number>();

  constructor(intervalMs: number, maxEntries = 100_000) {
    this.#intervalMs = intervalMs;
    this.#maxEntries = maxEntries;
  }

  /**
   * How long this identity still has to wait, in milliseconds; 0: it may be sent.
   * @param nowMs of a monotonic clock
   */
  waitMs(identity: string, nowMs: number): number {
    const sentAtMs = this.#sentAtMs.get(identity);
    return sentAtMs === undefined ? 0 : Math.max(0, sentAtMs + this.#intervalMs - nowMs);
  }

  markSent(identity: string, nowMs: number): void {
    this.#sentAtMs.delete(identity);
    this.#sentAtMs.set(identity, nowMs);
    // A map keeps its order of insertion, so the oldest come first.
    for (const [oldest, sentAtMs] of this.#sentAtMs) {
      const expired = sentAtMs + this.#intervalMs <= nowMs;
      if (!expired && this.#sentAtMs.size <= this.#maxEntries) break;
      this.#sentAtMs.delete(oldest);
    }
  }

  get size(): number {
    return this.#sentAtMs.size;
  }
}
