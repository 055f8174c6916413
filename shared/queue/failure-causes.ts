import { formatIdentity, type Identity } from '../execution.ts';

// A message may contain a whole statement; what tells causes apart comes first.
const MESSAGE_MAX = 1_000;
// Nobody reads more causes than this; the rest are counted together.
const CAUSES_MAX = 1_000;
const EXAMPLES = 3;
const OTHER_CAUSES = '(other errors)';

// A quoted name after one of these words is what was violated or is missing, so it is part of the
// cause.
const NAMED = `(?:constraint|relation|table|column|view|index|sequence|schema|database|role|function|trigger|type|extension|publication|tablespace)`;
const FOLDS: readonly (readonly [RegExp, string])[] = [
  [/\s+/g, ' '],
  [/\b[a-z][a-z0-9+.-]*:\/\/[^\s"'<>]+/gi, '<address>'],
  [/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/gi, '<id>'],
  [/\b(?:sha\d+:)?(?=[0-9a-f]*\d)[0-9a-f]{12,}\b/gi, '<id>'],
  [/\b\d+:[A-Z][A-Z0-9_]*(?::[\w-]+)?/g, '<id>'],
  [
    /\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?: ?(?:Z|UTC|[+-]\d\d(?::?\d\d)?))?/g,
    '<time>',
  ],
  [/\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?/g, '<address>'],
  [
    /\[[0-9a-f]*:[0-9a-f:.]+\](?::\d+)?|(?<![\w:])(?:[0-9a-f]{1,4}:){2,7}[0-9a-f]{1,4}\b|(?<![\w:])::1\b/gi,
    '<address>',
  ],
  [/\b[a-z][\w-]*(?:\.[\w-]+)+:\d+\b|\blocalhost:\d+\b/gi, '<address>'],
  [new RegExp(`(?<!\\b${NAMED} )"[^"]*"`, 'gi'), '<value>'],
  // An apostrophe inside a word is no quotation mark.
  [/(?<!\w)'[^']*'(?!\w)/g, '<value>'],
  [/(?<=\)=\()[^()]*(?=\))/g, '<value>'],
  [/(?<![A-Za-z<])\d+(?:[.,]\d+)*/g, '<n>'],
];

/**
 * Reduces an error's message to its cause: whatever differs between executions (numbers, ids,
 * quoted values, addresses, times) becomes a placeholder, so that equal causes are equal texts.
 * Names of constraints, tables and the like stay.
 */
export function foldError(text: string): string {
  let folded = text.slice(0, MESSAGE_MAX);
  for (const [pattern, placeholder] of FOLDS) folded = folded.replace(pattern, placeholder);
  return folded.trim() || '(no message)';
}

/** A failure to be grouped by cause. */
export interface Failure {
  readonly jobId: string;
  /** Undefined if its data is no refresh. */
  readonly identity: Identity | undefined;
  readonly error: string;
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
  add({ jobId, identity, error, failedAtMs, firstFailedAtMs = failedAtMs }: Failure): void {
    const cause = this.#causeOf(foldError(error), failedAtMs);
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

  #causeOf(folded: string, failedAtMs: number): Gathered {
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
