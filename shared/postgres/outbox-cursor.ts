// A row becomes visible when its transaction commits, so rows may appear behind one that was seen already. A look
// that goes on where the last one ended starts this much earlier.
const LOOK_BACK_S = 2;
// A look from the very beginning finds what was committed later than that, or made unsent. It has to step over every
// row that is done and that a long-running transaction elsewhere keeps from being cleaned up, which may be millions;
// so after one, this many times what it took passes before the next.
const REST_FACTOR = 20;

/**
 * Where the next look for the oldest unsent outbox rows begins, so that looking costs the same however many
 * rows were done before. State of one process that can be lost: it only saves work.
 */
export class OutboxCursor {
  /** Due time of the last row that was seen, in seconds since 1970 by the database's clock. */
  #lastS: number | undefined;
  #nextWholeLookMs = 0;

  /**
   * Reads rows in the order of their due time.
   * @param read given the due time to begin at, in seconds since 1970; undefined: at the very beginning. It gives the
   *   due time of the last row that it has seen (undefined: there was none) and whether there may be more behind it
   * @param goesOn directly from the last look, without looking back for rows that appeared behind it meanwhile
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
      // When there may be more, they come after the last; otherwise a late row must not move the cursor back.
      this.#lastS = seen.more ? seen.lastS : Math.max(seen.lastS, this.#lastS ?? seen.lastS);
    }
    return seen;
  }
}
