import { describeError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/process/logger.ts';

/** A change of many executions that somebody began on the dashboard. */
export interface Repair {
  /** It retries the failures of this cause; null: it refreshes what is stuck. */
  readonly cause: string | null;
  readonly user: string | null;
  readonly beganMs: number;
  /** Undefined while it goes on. */
  readonly endedMs?: number;
  readonly progress: RepairProgress;
  /** Why it ended early. */
  readonly problem?: string;
}

/** What a repair is about, as its page and the log name it. */
export function subjectOf(cause: string | null): string {
  return cause === null ? 'all stuck executions' : `all failures with the cause “${cause}”`;
}

/** How far a repair has come. */
interface RepairProgress {
  /** Executions whose refresh was asked for. */
  readonly done: number;
  /** What was examined, and about how much there is to examine. */
  readonly seen: number;
  readonly total: number;
}

/** The work of a repair: reports its progress, and stops after the page in hand once it is aborted. */
export type RepairWork = (
  report: (progress: RepairProgress) => void,
  signal: AbortSignal,
) => Promise<void>;

/**
 * Runs repairs in the background, one at a time, so that nobody waits for an answer for minutes and
 * the stores have one of them to serve. Each does the same as a command of `tally`, page by page,
 * so what a stop or an unavailable store leaves undone can be begun again.
 */
export class Repairs {
  readonly #log: Logger;
  readonly #stop = new AbortController();
  #newest: Repair | undefined;
  #running: Promise<void> | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** The repair that runs or, if none does, the one that ended last. */
  get newest(): Repair | undefined {
    return this.#newest;
  }

  /** Begins a repair. @returns false, and begins nothing, while another one runs */
  begin(cause: string | null, user: string | null, work: RepairWork): boolean {
    if (this.#running !== undefined || this.#stop.signal.aborted) return false;
    const progress = { done: 0, seen: 0, total: 0 };
    this.#newest = { cause, user, beganMs: Date.now(), progress };
    this.#running = this.#run(this.#newest, work);
    return true;
  }

  /** Stops after the page in hand. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(begun: Repair, work: RepairWork): Promise<void> {
    let repair = begun;
    const report = (progress: RepairProgress): void => {
      repair = { ...repair, progress };
      this.#newest = repair;
    };
    const problem = await work(report, this.#stop.signal).then(
      () => (this.#stop.signal.aborted ? 'the dashboard was stopped' : undefined),
      (error: unknown) => describeError(error),
    );
    this.#newest = {
      ...repair,
      endedMs: Date.now(),
      ...(problem === undefined ? {} : { problem }),
    };
    this.#running = undefined;
    const { user, progress } = repair;
    const subject = subjectOf(repair.cause);
    this.#log.info(
      { audit: true, user, subject, done: progress.done, problem: problem ?? null },
      `audit: ${user ?? 'someone on this machine'}: asked for ${progress.done} refreshes of ${subject}${problem === undefined ? '' : `, then it ended: ${problem}`}`,
    );
  }
}
