/**
 * An error that a person can act on: a stable code for programs, and a sentence that says what is
 * wrong and what to do. Commands print the sentence alone. Anything else that is thrown is a
 * defect.
 */
export class TallyError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TallyError';
    this.code = code;
  }
}

/**
 * A command called the wrong way, or a setting with a wrong value. The command line exits with 2.
 */
export class UsageError extends TallyError {
  constructor(message: string, options?: ErrorOptions) {
    super('USAGE', message, options);
    this.name = 'UsageError';
  }
}

// In characters. A message may contain a whole statement; what identifies the cause comes first.
const MESSAGE_MAX = 2_000;

/**
 * Describes whatever was thrown in one line that fits a log: line breaks become spaces, and a
 * message is cut at 2,000 characters. (An AggregateError's own message may be empty; then those of
 * its errors are joined.)
 */
export function describeError(error: unknown): string {
  if (error instanceof AggregateError && error.message === '' && error.errors.length > 0) {
    return error.errors.map(describeError).join('; ');
  }
  const text = error instanceof Error ? error.message || error.name : String(error);
  return shortened(text, MESSAGE_MAX).replaceAll(/\s*[\r\n]+\s*/g, ' ');
}

/** Cuts a text after `max` characters and says how long it was. */
export function shortened(text: string, max: number): string {
  if (text.length <= max) return text;
  // Don't cut a surrogate pair in half.
  const begin = text.slice(0, max).replace(/[\uD800-\uDBFF]$/, '');
  return `${begin}… (${text.length} characters in all)`;
}
