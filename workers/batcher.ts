import { setTimeout as delay } from 'node:timers/promises';
import type { RefreshResult, RefreshResults } from './refresh-batch.ts';

type Refresh = (executionIds: readonly number[], wait: boolean) => Promise<RefreshResults>;
type Settle = (result: RefreshResult) => void;

// When a batch settles, its jobs complete and their successors arrive over some milliseconds. The
// next batch therefore waits until none has arrived for some turns, and for more turns after a
// large batch, because then more are on their way. Turns rather than time: on a busy machine both
// take longer. A time limit ends the wait where refreshes merely trickle in.
const TURN_MS = 1;
const REFRESHES_A_TURN = 12;
const MAX_QUIET_TURNS = 10;
const MAX_GATHER_MS_A_TURN = 10;

/**
 * Gathers single refreshes into batches: while one statement is in flight, the next batch gathers.
 * A refresh requested while its execution is in flight goes into the next batch, never into a
 * result that is already being computed. Executions that another transaction holds are refreshed
 * again alone, in a few lanes beside the batches, where they wait for their lock.
 */
export class Batcher {
  readonly #refresh: Refresh;
  readonly #maxBatchSize: number;
  readonly #lanes: number;
  readonly #onBatch: (size: number) => void;
  #gathering = new Map<number, Settle[]>();
  #flushing = false;
  #lastBatchSize = 0;
  #lanesInUse = 0;
  readonly #busy: [number, Settle[]][] = [];

  /**
   * @param options.maxBatchSize executions per statement
   * @param options.lanes connections that may wait for locked executions at the same time
   * @param options.onBatch called with the size of each batch before it starts
   */
  constructor(options: {
    refresh: Refresh;
    maxBatchSize: number;
    lanes: number;
    onBatch: (size: number) => void;
  }) {
    this.#refresh = options.refresh;
    this.#maxBatchSize = options.maxBatchSize;
    this.#lanes = options.lanes;
    this.#onBatch = options.onBatch;
  }

  /**
   * Resolves once the execution's refresh is committed, or with the reason why it isn't. Never
   * rejects.
   */
  refresh(executionId: number): Promise<RefreshResult> {
    return new Promise((resolve) => {
      const others = this.#gathering.get(executionId);
      if (others) others.push(resolve);
      else this.#gathering.set(executionId, [resolve]);
      if (this.#flushing) return;
      this.#flushing = true;
      void this.#flush();
    });
  }

  async #flush(): Promise<void> {
    for (;;) {
      await this.#gather();
      // The check and the reset of `#flushing` run in one turn of the event loop: a refresh that
      // came in between would wait for ever.
      if (this.#gathering.size === 0) break;
      const batch = this.#takeBatch();
      this.#onBatch(batch.size);
      this.#lastBatchSize = batch.size;
      const results = await this.#refresh([...batch.keys()], false);
      for (const [executionId, waiters] of batch) {
        const result = resultOf(results, executionId);
        if (result.kind === 'refreshed' && result.report.outcome === 'busy') {
          this.#busy.push([executionId, waiters]);
        } else {
          for (const settle of waiters) settle(result);
        }
      }
      this.#openLanes();
    }
    this.#flushing = false;
  }

  /**
   * Waits while refreshes keep arriving, but only for half a batch. A worker has as many jobs in
   * hand as a batch can hold, so while one half is refreshed the other is completed and replaced.
   * (Waiting for a full batch left the database idle meanwhile, and Redis idle during the
   * statement: a fifth less throughput with one worker.)
   */
  async #gather(): Promise<void> {
    const quietTurns = Math.min(
      Math.max(1, Math.floor(this.#lastBatchSize / REFRESHES_A_TURN)),
      MAX_QUIET_TURNS,
    );
    const endMs = performance.now() + quietTurns * MAX_GATHER_MS_A_TURN;
    let size = this.#gathering.size;
    for (let quiet = 0; quiet < quietTurns && size < this.#maxBatchSize / 2;) {
      await delay(TURN_MS);
      quiet = this.#gathering.size > size ? 0 : quiet + 1;
      size = this.#gathering.size;
      if (performance.now() > endMs) break;
    }
  }

  #takeBatch(): Map<number, Settle[]> {
    const all = this.#gathering;
    if (all.size <= this.#maxBatchSize) {
      this.#gathering = new Map();
      return all;
    }
    const batch = new Map([...all].slice(0, this.#maxBatchSize));
    for (const executionId of batch.keys()) all.delete(executionId);
    return batch;
  }

  #openLanes(): void {
    while (this.#lanesInUse < this.#lanes && this.#busy.length > 0) {
      this.#lanesInUse++;
      void this.#runLane();
    }
  }

  async #runLane(): Promise<void> {
    for (let next = this.#busy.shift(); next !== undefined; next = this.#busy.shift()) {
      const [executionId, waiters] = next;
      this.#onBatch(1);
      const result = resultOf(await this.#refresh([executionId], true), executionId);
      for (const settle of waiters) settle(result);
    }
    this.#lanesInUse--;
  }
}

function resultOf(results: RefreshResults, executionId: number): RefreshResult {
  return (
    results.get(executionId) ?? {
      kind: 'failed',
      error: new Error(`the database reported nothing of execution ${executionId}`),
    }
  );
}
