/**
 * Remembers when each identity was sent last, for as long as it may not be sent again. Bounded: an
 * entry lives no longer than the interval, and beyond `maxEntries` the oldest is forgotten (its
 * identity is then sent early, which costs a refresh and loses nothing).
 */
export class SendInterval {
  readonly #intervalMs: number;
  readonly #maxEntries: number;
  readonly #sentAtMs = new Map<string, number>();
  // In the order of sending. A map could be walked instead, but one whose first entries were deleted
  // is walked over their remains each time.
  #order: { readonly identity: string; readonly atMs: number }[] = [];
  #first = 0;

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
    this.#sentAtMs.set(identity, nowMs);
    this.#order.push({ identity, atMs: nowMs });
    for (let oldest = this.#order[this.#first]; oldest; oldest = this.#order[++this.#first]) {
      const expired = oldest.atMs + this.#intervalMs <= nowMs;
      if (!expired && this.#sentAtMs.size <= this.#maxEntries) break;
      // One that was sent again since has a later entry.
      if (this.#sentAtMs.get(oldest.identity) === oldest.atMs) {
        this.#sentAtMs.delete(oldest.identity);
      }
    }
    if (this.#first * 2 > this.#order.length) {
      this.#order = this.#order.slice(this.#first);
      this.#first = 0;
    }
  }

  get size(): number {
    return this.#sentAtMs.size;
  }
}
