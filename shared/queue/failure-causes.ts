import { formatIdentity, type Identity } from '../execution.ts';
import { causeOf } from './fold-error.ts';

// Nobody reads more causes than this; the rest are counted together.
const CAUSES_MAX = 1_000;
const EXAMPLES = 3;
/** Stands for every cause beyond the most that are told apart. */
export const OTHER_CAUSES = '(other errors)';

/** A failure to be grouped by cause. */
export interface Failure {
  readonly jobId: string;
  /** Undefined if its data is no refresh. */
  readonly identity: Identity | undefined;
  readonly error: string;
  /** The SQLSTATE, if it is known that the error came from Postgres. */
  readonly sqlState?: string | null;
  /** Milliseconds since 1970. */
  readonly failedAtMs: number;
  /** When the execution first failed since its last refresh, if that is known. */
  readonly firstFailedAtMs?: number;
}

/** Failures with the same cause. */
export interface FailureCause {
  readonly error: string;
  readonly count: number;
  readonly vendors: readonly string[];
  /** When the first of them failed; ISO 8601, UTC, as is `last`. */
  readonly first: string;
  readonly last: string;
  /** Up to three of the jobs; the identity is null if the data is no refresh. */
  readonly examples: readonly { readonly jobId: string; readonly identity: string | null }[];
}

interface Gathered {
  count: number;
  firstMs: number;
  lastMs: number;
  readonly vendors: Set<string>;
  readonly examples: { jobId: string; identity: string | null }[];
}

/** Groups failures by cause, one at a time, in memory that doesn't grow with their number. */
export class FailureCauses {
  readonly #byError = new Map<string, Gathered>();

  /** Counts a failure under its cause. */
  add(failure: Failure): void {
    const { jobId, identity, failedAtMs, firstFailedAtMs = failedAtMs } = failure;
    const cause = this.#gatheredFor(causeOf(failure), failedAtMs);
    cause.count++;
    cause.firstMs = Math.min(cause.firstMs, firstFailedAtMs);
    cause.lastMs = Math.max(cause.lastMs, failedAtMs);
    if (identity !== undefined) cause.vendors.add(identity.vendor);
    if (cause.examples.length < EXAMPLES) {
      cause.examples.push({ jobId, identity: identity ? formatIdentity(identity) : null });
    }
  }

  /** All causes, most frequent first. */
  list(): FailureCause[] {
    return [...this.#byError]
      .map(([error, { count, firstMs, lastMs, vendors, examples }]) => ({
        error,
        count,
        vendors: [...vendors].toSorted(),
        first: new Date(firstMs).toISOString(),
        last: new Date(lastMs).toISOString(),
        examples,
      }))
      .toSorted((a, b) => b.count - a.count || a.error.localeCompare(b.error));
  }

  #gatheredFor(folded: string, failedAtMs: number): Gathered {
    const error =
      this.#byError.has(folded) || this.#byError.size < CAUSES_MAX ? folded : OTHER_CAUSES;
    let cause = this.#byError.get(error);
    if (cause === undefined) {
      cause = {
        count: 0,
        firstMs: failedAtMs,
        lastMs: failedAtMs,
        vendors: new Set(),
        examples: [],
      };
      this.#byError.set(error, cause);
    }
    return cause;
  }
}
