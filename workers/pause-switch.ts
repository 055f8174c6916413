/** The part of a BullMQ worker that this needs. */
interface Pausable {
  pause(doNotWaitActive: boolean): Promise<void>;
  resume(): Promise<void>;
}

/**
 * Pauses workers while at least one holder asks for it: a store that is available again must not
 * resume them while the other one isn't.
 */
export class PauseSwitch<Holder extends string> {
  readonly #workers: Pausable[] = [];
  readonly #holders = new Set<Holder>();

  /** Adds a worker, before it takes jobs. */
  add(worker: Pausable): void {
    this.#workers.push(worker);
    if (this.#holders.size > 0) void worker.pause(true);
  }

  /** Pauses the workers at once; jobs in hand are finished. */
  hold(holder: Holder): void {
    this.#holders.add(holder);
    for (const worker of this.#workers) void worker.pause(true);
  }

  /** Resumes the workers unless another holder remains. */
  release(holder: Holder): void {
    this.#holders.delete(holder);
    if (this.#holders.size > 0) return;
    for (const worker of this.#workers) void worker.resume();
  }
}
