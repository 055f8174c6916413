/**
 * Remembers when each identity was last sent, for as long as it mustn't be sent again. Memory is
 * bounded: an entry lives no longer than the interval, and beyond `maxEntries` the oldest is
 * forgotten. Its identity is then sent early, which costs one refresh and loses nothing.
 */
export class SendInterval {
  readonly #intervalMs: number;
  readonly #maxEntries: number;
  readonly #sentAtMs = new Map<string, number>();
  // In the order of sending. Walking the map instead would be slow: a walk over a map steps over
  // every entry deleted from its front. (`lru-cache` needs 1.2 to 2.2 times as long, measured over
  // two million calls with 300,000 identities.)
  #order: { readonly identity: string; readonly atMs: number }[] = [];
  #first = 0;

  constructor(intervalMs: number, maxEntries = 100_000) {
    this.#intervalMs = intervalMs;
    this.#maxEntries = maxEntries;
  }

  /**
   * Milliseconds until this identity may be sent; 0 if it may be sent now.
   * @param nowMs from a monotonic clock
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
      // An identity that was sent again has a later entry.
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
