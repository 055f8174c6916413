/** A worker of BullMQ, which may be paused by more than one. */
interface Pausable {
  pause(doNotWaitActive: boolean): Promise<void>;
  resume(): Promise<void>;
}

/** Pauses workers while anything holds them: a store that is back must not resume them while the other one is away. */
export class PauseSwitch<Holder extends string> {
  readonly #workers: Pausable[] = [];
  readonly #holders = new Set<Holder>();

  /** To be called before the worker takes jobs. */
  add(worker: Pausable): void {
    this.#workers.push(worker);
    if (this.#holders.size > 0) void worker.pause(true);
  }

  /** Takes effect at once; jobs in hand are finished. */
  hold(holder: Holder): void {
    this.#holders.add(holder);
    for (const worker of this.#workers) void worker.pause(true);
  }

  release(holder: Holder): void {
    this.#holders.delete(holder);
    if (this.#holders.size > 0) return;
    for (const worker of this.#workers) void worker.resume();
  }
}
