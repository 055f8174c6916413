// A row becomes visible when its transaction commits, so rows may appear before one that was
// already read. A read that continues where the last one ended starts this much earlier.
const LOOK_BACK_S = 2;
// A read from the beginning also finds rows that were committed later than that, or released. It
// must step over every finished row that a long-running transaction elsewhere keeps from being
// vacuumed, which may be millions. So after one, this many times its duration passes before the
// next.
const REST_FACTOR = 20;

/**
 * Where to continue reading the oldest unsent outbox rows, so that the cost doesn't depend on how
 * many rows were done before. It is state of one process and can be lost: it only saves work.
 */
export class OutboxCursor {
  /** Due time of the last row that was read, in seconds since 1970 by the database's clock. */
  #lastS: number | undefined;
  #nextWholeLookMs = 0;

  /**
   * Reads rows in the order of their due time.
   * @param read gets the due time to start at, in seconds since 1970 (undefined: the beginning). It
   *   returns the due time of the last row it read (undefined: none) and whether there may be more
   * @param goesOn whether to continue exactly where the last read ended, without looking back
   * @throws what `read` throws
   */
  async look<T extends { readonly lastS: number | undefined; readonly more: boolean }>(
    read: (fromS: number | undefined) => Promise<T>,
    goesOn = false,
  ): Promise<T> {
    const beginMs = performance.now();
    const fromS =
      beginMs >= this.#nextWholeLookMs || this.#lastS === undefined
        ? undefined
        : this.#lastS - (goesOn ? 0 : LOOK_BACK_S);
    const seen = await read(fromS);
    if (fromS === undefined) {
      const endMs = performance.now();
      this.#nextWholeLookMs = endMs + (endMs - beginMs) * REST_FACTOR;
    }
    if (seen.lastS !== undefined) {
      // If there may be more, they follow the last row. Otherwise a late row must not move the
      // cursor back.
      this.#lastS = seen.more ? seen.lastS : Math.max(seen.lastS, this.#lastS ?? seen.lastS);
    }
    return seen;
  }
}
