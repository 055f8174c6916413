import { describeError } from '../../shared/errors.ts';
import type { Logger } from '../../shared/process/logger.ts';

/** What a repair is about: the failures of one cause, all failures, or all that is stuck. */
export type RepairSubject = { readonly cause: string } | 'failures' | 'stuck';

/** A change of many executions that somebody began on the dashboard. */
export interface Repair {
  readonly subject: RepairSubject;
  readonly user: string | null;
  readonly beganMs: number;
  /** Undefined while it goes on. */
  readonly endedMs?: number;
  readonly progress: RepairProgress;
  /** Why it ended early. */
  readonly problem?: string;
}

/** A repair's subject as its page and the log name it. */
export function nameOf(subject: RepairSubject): string {
  if (subject === 'failures') return 'all failures';
  if (subject === 'stuck') return 'all stuck executions';
  return `all failures with the cause “${subject.cause}”`;
}

/** Why another repair can't begin while one runs. */
export function whyNotNow({ newest }: Repairs): string {
  const running = newest === undefined ? 'another repair' : nameOf(newest.subject);
  return `This dashboard is still at work on ${running}. Try again when that has ended.`;
}

/** How far a repair has come. */
interface RepairProgress {
  /** Executions whose refresh was asked for. */
  readonly done: number;
  /** Failed jobs that were left, because their data is no refresh. */
  readonly left: number;
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
  #running: Promise<Repair> | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** The repair that runs or, if none does, the one that ended last. */
  get newest(): Repair | undefined {
    return this.#newest;
  }

  /** The newest repair, if it is about this. */
  about(subject: RepairSubject): Repair | undefined {
    const newest = this.#newest;
    return newest !== undefined && nameOf(newest.subject) === nameOf(subject) ? newest : undefined;
  }

  /**
   * Begins a repair.
   * @returns resolves with the repair once it has ended, and never rejects; undefined, and begins
   *   nothing, while another one runs
   */
  begin(
    subject: RepairSubject,
    user: string | null,
    work: RepairWork,
  ): Promise<Repair> | undefined {
    if (this.#running !== undefined || this.#stop.signal.aborted) return undefined;
    const progress = { done: 0, left: 0, seen: 0, total: 0 };
    this.#newest = { subject, user, beganMs: Date.now(), progress };
    this.#running = this.#run(this.#newest, work);
    return this.#running;
  }

  /** Stops after the page in hand. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(begun: Repair, work: RepairWork): Promise<Repair> {
    let repair = begun;
    const report = (progress: RepairProgress): void => {
      repair = { ...repair, progress };
      this.#newest = repair;
    };
    const problem = await work(report, this.#stop.signal).then(
      () => (this.#stop.signal.aborted ? 'the dashboard was stopped' : undefined),
      (error: unknown) => describeError(error),
    );
    const ended = {
      ...repair,
      endedMs: Date.now(),
      ...(problem === undefined ? {} : { problem }),
    };
    this.#newest = ended;
    this.#running = undefined;
    const { user, progress } = repair;
    const subject = nameOf(repair.subject);
    this.#log.info(
      { audit: true, user, subject, done: progress.done, problem: problem ?? null },
      `audit: ${user ?? 'someone on this machine'}: asked for ${progress.done} refreshes of ${subject}${problem === undefined ? '' : `, then it ended: ${problem}`}`,
    );
    return ended;
  }
}
