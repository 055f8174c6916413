/** A worker of BullMQ, which may be paused by more than one. */
interface Pausable {
  pause(doNotWaitActive: boolean): Promise<void>;
  resume(): Promise<void>;
}

/** Pauses a worker while anything holds it: a store that is back must not resume it while the other one is away. */
export class PauseSwitch<Holder extends string> {
  readonly #worker: Pausable;
  readonly #holders = new Set<Holder>();

  constructor(worker: Pausable) {
    this.#worker = worker;
  }

  /** Takes effect at once; jobs in hand are finished. */
  hold(holder: Holder): void {
    this.#holders.add(holder);
    void this.#worker.pause(true);
  }

  release(holder: Holder): void {
    this.#holders.delete(holder);
    if (this.#holders.size === 0) void this.#worker.resume();
  }
}
